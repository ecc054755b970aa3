//! The simulated 8x8 is no kinder than 8x8: it sends and answers what 8x8 documents, can be late and slow, and hands out files
//! under any name.

mod events;
mod files;
mod late;
mod responses;
mod shapes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contact_center::{ContactCenter, ContactCenterSettings, Conversation};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use simulation::client::Client;
use simulation::faults::Faults;
use simulation::journal::Journal;
use simulation::server::Server;

use crate::support::PATIENCE;

/// 8x8 alone, with a conversation, called without a bridge.
struct Alone {
    contact_center: Arc<ContactCenter>,
    faults: Arc<Faults<contact_center::Fault>>,
    conversation: String,
    server: Server,
}

impl Alone {
    async fn start() -> Self {
        let faults = Arc::new(Faults::default());
        let journal = Arc::new(Journal::new(false));
        let (contact_center, server) =
            ContactCenter::start(ContactCenterSettings::default(), Arc::clone(&faults), journal).await;
        let (_, channel_id) = contact_center.add_foreign("alone", &format!("{}/nowhere", server.url()));
        let conversation = contact_center.open_conversation(&channel_id).id().to_owned();
        Self { contact_center, faults, conversation, server }
    }

    /// Calls the API below the conversation.
    async fn call(&self, method: Method, path: &str, body: &Value) -> Option<Response<Bytes>> {
        let endpoint = ContactCenter::endpoint(self.contact_center.settings(), &self.server.url());
        let request = Request::builder()
            .method(method)
            .uri(format!("{endpoint}conversations/{}/{path}", self.conversation))
            .header("x-api-key", &self.contact_center.settings().credentials.api_key)
            .header("content-type", "application/json");
        Client::new().send(request.body(body.to_string().into()).expect("a request")).await
    }

    async fn say(&self, text: &str) -> Option<StatusCode> {
        let body = json!({ "authorType": "user", "text": text });
        self.call(Method::POST, "messages", &body).await.map(|response| response.status())
    }

    /// The list of messages, as it is answered.
    async fn list(&self, query: &str) -> Value {
        let response = self.call(Method::GET, &format!("messages{query}"), &Value::Null).await.expect("a response");
        serde_json::from_slice(response.body()).expect("JSON")
    }

    /// The texts of a page of the list of messages.
    async fn listed(&self, query: &str) -> Vec<String> {
        let list = self.list(query).await;
        let messages = list["_embedded"]["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(|message| message["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn conversation(&self) -> Conversation {
        self.contact_center.conversation(&self.conversation).expect("its channel has a webhook")
    }

    /// Waits until so many lines are said.
    async fn until_said(&self, lines: usize) {
        let until = Instant::now() + PATIENCE;
        while self.contact_center.said(&self.conversation).len() < lines {
            assert!(Instant::now() < until, "it is never said");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
