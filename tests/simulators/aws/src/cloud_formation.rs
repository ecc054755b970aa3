//! CloudFormation from the view of a custom resource's function: an event with a pre-signed URL, to which the response is sent
//! with PUT.
//!
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html>

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::put;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::lambda::Function;
use simulation::server::Server;

/// A stack with one custom resource.
#[derive(Debug)]
pub struct CloudFormation {
    server: Server,
    state: Arc<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    awaited: Mutex<HashMap<String, oneshot::Sender<Value>>>,
    refusals: AtomicUsize,
    /// The properties of the last request to the function. A roll-back is an update too, from the properties that failed.
    properties: Mutex<Value>,
}

impl CloudFormation {
    /// Starts the server that receives the responses.
    pub async fn start() -> Self {
        let state = Arc::new(Answers::default());
        let router = Router::new().route("/{request_id}", put(take)).with_state(Arc::clone(&state));
        Self { server: Server::start(router).await, state }
    }

    /// The next responses are refused with 503.
    pub fn refuse(&self, responses: usize) {
        self.state.refusals.store(responses, Ordering::Relaxed);
    }

    /// Sends the function a `Create`, an `Update` or a `Delete` and returns its response; `None` if the invocation ends without
    /// one: then the stack would hang.
    pub async fn request(
        &self,
        function: &Function,
        request_type: &str,
        physical_id: Option<&str>,
        properties: Value,
    ) -> Option<Value> {
        let request = self.prepare(request_type, physical_id, properties);
        // CloudFormation invokes asynchronously and ignores the function's own response.
        let _ = function.invoke(request.event()).await;
        request.response()
    }

    /// A request of this CloudFormation with which the caller invokes the function itself.
    pub fn prepare(&self, request_type: &str, physical_id: Option<&str>, properties: Value) -> CustomResourceRequest {
        let request_id = simulation::id::uuid();
        let mut event = json!({
            "RequestType": request_type,
            "ServiceToken": "arn:aws:lambda:us-east-1:123456789012:function:custom-resource",
            "ResponseURL": format!("{}/{request_id}?X-Amz-Signature=confidential", self.server.url()),
            "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/acme/1",
            "RequestId": request_id,
            "LogicalResourceId": "Channel",
            "ResourceType": "Custom::LiveAgentChannel",
            "ResourceProperties": properties,
        });
        if let Some(physical_id) = physical_id {
            event["PhysicalResourceId"] = physical_id.into();
        }
        let mut asked = self.state.properties.lock().expect("no holder panics");
        if request_type == "Update" {
            event["OldResourceProperties"] = asked.take();
        }
        *asked = event["ResourceProperties"].clone();
        drop(asked);
        let (sender, response) = oneshot::channel();
        self.state.awaited.lock().expect("no holder panics").insert(request_id, sender);
        CustomResourceRequest { event, response }
    }
}

/// A request to a custom resource's function.
#[derive(Debug)]
pub struct CustomResourceRequest {
    event: Value,
    response: oneshot::Receiver<Value>,
}

impl CustomResourceRequest {
    /// The event that the function is invoked with.
    pub fn event(&self) -> &Value {
        &self.event
    }

    /// The response that the function has sent to the pre-signed URL, if there is one.
    pub fn response(mut self) -> Option<Value> {
        self.response.try_recv().ok()
    }
}

async fn take(
    State(state): State<Arc<Answers>>,
    Path(request_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if state.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    // The URL is signed for an empty content type; S3 refuses any other.
    if headers.get("content-type").is_none_or(|value| !value.is_empty()) {
        return StatusCode::FORBIDDEN;
    }
    let Some(response) = serde_json::from_slice(&body).ok().filter(|_| body.len() <= 4096) else {
        return StatusCode::BAD_REQUEST;
    };
    match state.awaited.lock().expect("no holder panics").remove(&request_id) {
        Some(awaited) => {
            let _ = awaited.send(response);
            StatusCode::OK
        }
        None => StatusCode::NOT_FOUND,
    }
}
