//! A stand-in for 8x8 that responds with whatever a test wants, byte for byte, and keeps what it gets as it came.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use contact_center::ContactCenterApi;
use http::request::Parts;
use http::{Response, StatusCode};
use sandbox::deployment::CHANNEL_SECRET;
use sandbox::{Sandbox, SandboxSettings};
use serde_json::json;
use simulation::server::Server;

/// The running stand-in, with a set in front of it in which a channel is registered.
pub(super) struct StandIn {
    pub(super) sandbox: Sandbox,
    requests: Arc<Mutex<Vec<(Parts, Bytes)>>>,
    _server: Server,
}

impl StandIn {
    /// Starts both; `respond` makes the responses.
    pub(super) async fn start(
        api: ContactCenterApi,
        respond: impl Fn(&Parts, &Bytes) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let mut settings = SandboxSettings::default();
        settings.contact_center.api = api;
        Self::with(settings, respond).await
    }

    /// As [`Self::start`], with other settings of the set.
    pub(super) async fn with(
        settings: SandboxSettings,
        respond: impl Fn(&Parts, &Bytes) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, respond) = (Arc::clone(&requests), Arc::new(respond));
        let handler = move |request: Request| {
            let (kept, respond) = (Arc::clone(&kept), Arc::clone(&respond));
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.expect("the bridge sends a whole body");
                let response = respond(&parts, &body);
                if let Some(Delay(time)) = response.extensions().get() {
                    tokio::time::sleep(*time).await;
                }
                kept.lock().expect("no holder panics").push((parts, body));
                response.map(Body::from)
            }
        };
        let server = Server::start(Router::new().fallback(handler)).await;
        let path = match settings.contact_center.api {
            ContactCenterApi::ChatGatewayV1 => "chat-gateway/v1/",
            ContactCenterApi::ChatApiV2 => "vcc/us/chat/v2/tenant/sandboxtenant/",
        };
        let settings = SandboxSettings {
            contact_center_endpoint: Some(format!("{}/{path}", server.url())),
            access_token_url: Some(format!("{}/oauth/v2/token", server.url())),
            ..settings
        };
        let sandbox = Sandbox::start(settings).await;
        let registered = json!({
            "channel_id": "25", "webhook_id": "12", "queue_id": "101", "callback_url": sandbox.callback_url(), "registered_at": 1,
        });
        sandbox.cloud.secrets.set(CHANNEL_SECRET, &registered);
        Self { sandbox, requests, _server: server }
    }

    /// What it got so far, which it forgets.
    pub(super) fn take(&self) -> Vec<(Parts, Bytes)> {
        std::mem::take(&mut self.requests.lock().expect("no holder panics"))
    }
}

/// An extension of a response that is sent so much later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delay(pub(super) Duration);

/// A response with that status and body.
pub(super) fn response(status: StatusCode, headers: &[(&str, &[u8])], body: impl Into<Bytes>) -> Response<Bytes> {
    let builder = headers.iter().fold(Response::builder().status(status), |builder, (name, value)| {
        builder.header(*name, http::HeaderValue::from_bytes(value).expect("a header's value"))
    });
    builder.body(body.into()).expect("a response")
}
