//! converse: 8x8's conversation API through the bridge.

mod bodies;
mod credentials;
mod idempotency;
mod load;
mod older_api;
mod operations;
mod outcome;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, Method, Request, Response, StatusCode};
use sandbox::SandboxSettings;
use sandbox::deployment::{CONVERSE, IDEMPOTENCY_TABLE};
use serde_json::{Value, json};
use simulation::client::Client;

use crate::support::Stack;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A conversation that a bot has opened.
async fn opened(stack: &Stack) -> String {
    let (status, created) =
        stack.chatbot.json(Method::POST, "", &json!({ "user": { "name": "Sandbox Customer" } })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{created}");
    created["conversationId"].as_str().expect("a creation has an id").to_owned()
}

/// A set whose converse has ten seconds for a call instead of 29, so that a test of what it cannot find out is as much shorter.
async fn impatient() -> Stack {
    let timeouts = BTreeMap::from([(CONVERSE, Duration::from_secs(10))]);
    Stack::with(SandboxSettings { timeouts, ..SandboxSettings::default() }).await
}

/// Half a minute passes since the last attempt under each key: what 8x8 has not done by now it never does.
fn half_a_minute_passes(stack: &Stack) {
    stack.cloud.dynamo_db.advance(IDEMPOTENCY_TABLE, "ended_at", -30_000);
}

async fn send(stack: &Stack, conversation: &str, text: &str) -> StatusCode {
    let body = json!({ "authorType": "user", "text": text });
    stack.chatbot.json(Method::POST, &format!("/{conversation}/messages"), &body).await.0
}

fn texts(stack: &Stack, conversation: &str) -> Vec<String> {
    stack.contact_center.said(conversation).into_iter().map(|(_, text)| text).collect()
}

fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or_default()
}

fn code_of(response: &Value) -> &str {
    response["errors"][0]["code"].as_str().unwrap_or_default()
}

/// 8x8's own API, without the bridge.
async fn directly(stack: &Stack, method: Method, path: &str, body: &Value) -> Response<Bytes> {
    let endpoint = stack.addresses.iter().find(|(name, _)| *name == "8x8").unwrap().1.clone();
    let request = Request::builder().method(method).uri(format!("{endpoint}conversations{path}"));
    let key = &stack.contact_center.settings().credentials.api_key;
    let request = request.header("x-api-key", key).header(CONTENT_TYPE, "application/json");
    Client::new().send(request.body(body.to_string().into()).unwrap()).await.expect("8x8 answers")
}
