//! The bot's half of a conversation: a bot that has our address and credentials, and uses 8x8's conversation API.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::deployment::CONVERSE;
use simulation::client::Client;
use simulation::journal::{Exchange, Journal, Reply};

const BOUNDARY: &str = "sandbox-boundary";

/// A bot.
#[derive(Debug)]
pub struct Chatbot {
    base: String,
    /// Its credentials at our token endpoint.
    pub caller: Caller,
    client: Client,
    journal: Arc<Journal>,
}

impl Chatbot {
    /// A bot that calls the API at `origin`.
    pub fn new(origin: &str, journal: Arc<Journal>) -> Self {
        Self {
            base: format!("{origin}{}", crate::CONVERSATIONS),
            caller: Caller::new("chatbot", format!("{origin}{}", crate::TOKEN), Arc::clone(&journal)),
            client: Client::new(),
            journal,
        }
    }

    /// Makes one call. `path` is the part after `conversations`, with the query.
    ///
    /// # Panics
    /// If the bridge gives no response.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        let (app_token, access_token) = self.caller.credentials().await.expect("a caller gets tokens");
        let request = Request::builder().method(method.clone()).uri(format!("{}{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, *value));
        let request =
            request.header("x-app-token", app_token).header("authorization", format!("Bearer {access_token}"));
        let started = Instant::now();
        let body = body.into();
        let request = request.body(body.clone()).expect("a request");
        let headers = request.headers().clone();
        let response = self.client.send(request).await;
        let response = response.expect("the bridge answers");
        let what = path.split('?').next().unwrap_or_default().rsplit('/').next().filter(|segment| segment.len() < 22);
        let what = format!("{method} {}", what.filter(|what| !what.is_empty()).unwrap_or("conversation"));
        let outcome = response.status();
        self.journal.exchange("chatbot", CONVERSE, &what, outcome.as_str(), Some(started.elapsed()), || {
            let reply = Reply::new(outcome.as_u16(), response.headers(), response.body());
            let path = format!("{}{path}", crate::CONVERSATIONS);
            let conversation = conversation_id(&path, response.body());
            (conversation, Some(Exchange::new(&method, &path, &headers, &body).with(reply)))
        });
        response
    }

    /// Starts a conversation with a person, under an idempotency key.
    pub async fn open(&self, body: &Value, key: &str) -> (StatusCode, Value) {
        let headers = [(CONTENT_TYPE, "application/json"), (HeaderName::from_static("idempotency-key"), key)];
        let response = self.call(Method::POST, "", &headers, body.to_string()).await;
        (response.status(), serde_json::from_slice(response.body()).unwrap_or_default())
    }

    /// Makes one call with a JSON body and returns the status and the response's JSON, or null.
    pub async fn json(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let response = self.call(method, path, &[(CONTENT_TYPE, "application/json")], body.to_string()).await;
        (response.status(), serde_json::from_slice(response.body()).unwrap_or_default())
    }

    /// Makes one call without a body.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.call(Method::GET, path, &[], Bytes::new()).await;
        (response.status(), serde_json::from_slice(response.body()).unwrap_or_default())
    }

    /// Sends a text under an idempotency key.
    pub async fn say(&self, conversation: &str, author_type: &str, text: &str, key: &str) -> Response<Bytes> {
        let body = json!({ "authorType": author_type, "text": text }).to_string();
        let headers = [(CONTENT_TYPE, "application/json"), (HeaderName::from_static("idempotency-key"), key)];
        self.call(Method::POST, &format!("/{conversation}/messages"), &headers, body).await
    }

    /// Uploads a file.
    pub async fn upload(&self, conversation: &str, filename: &str, content: &[u8]) -> (StatusCode, Value) {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"authorType\"\r\n\r\nuser\r\n--{BOUNDARY}\r\n\
             Content-Disposition: form-data; name=\"attachment\"; filename=\"{filename}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let body = [head.as_bytes(), content, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat();
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let headers = [(CONTENT_TYPE, &*content_type)];
        let response = self.call(Method::POST, &format!("/{conversation}/attachments"), &headers, body).await;
        (response.status(), serde_json::from_slice(response.body()).unwrap_or_default())
    }
}

/// The conversation in a path, or the conversation that a response says was created; otherwise an empty text.
fn conversation_id(path: &str, response: &[u8]) -> String {
    let below = path.strip_prefix(crate::CONVERSATIONS).unwrap_or_default().trim_start_matches('/');
    match below.split(['/', '?']).next() {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => {
            let created: Value = serde_json::from_slice(response).unwrap_or_default();
            created["conversationId"].as_str().unwrap_or_default().to_owned()
        }
    }
}
