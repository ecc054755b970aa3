//! What each function is invoked with.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contact_center::signer::Claims;
use sandbox::Sandbox;
use sandbox::deployment::CALLER_SECRET;
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::queue::QueuedEvent;

/// Makes events for the functions of a sandbox.
#[derive(Debug)]
pub struct Events<'s> {
    sandbox: &'s Sandbox,
    rotation: String,
    /// App token and access token.
    caller: (String, String),
    conversation: String,
}

impl<'s> Events<'s> {
    /// Those of a sandbox with a registered channel.
    pub async fn new(sandbox: &'s Sandbox) -> Self {
        let (_, channels) = sandbox.contact_center.registered();
        let channel_id = channels[0]["id"].as_str().expect("a channel has an id");
        Self {
            sandbox,
            rotation: sandbox.cloud.secrets.begin_rotation(CALLER_SECRET),
            caller: sandbox.chatbot.caller.credentials().await.expect("a caller gets tokens"),
            conversation: sandbox.contact_center.open_conversation(channel_id).id().to_owned(),
        }
    }

    /// What AWS would invoke that function with. A function that is not named here gets an empty object: its start and
    /// its memory are measured, and its response is an error.
    pub fn next(&self, function: &str) -> Value {
        match function {
            "receive-message" => self.signed(),
            "deliver-message" => self.queued(),
            "refresh-tokens" | "watch-handovers" => fixture(include_str!("../../it/fixtures/schedule.json")),
            "register-channel" => json!({ "operation": "review" }),
            "issue-token" => self.login(),
            "rotate-signing-key" => {
                json!({ "Step": "setSecret", "SecretId": CALLER_SECRET, "ClientRequestToken": self.rotation })
            }
            "converse" => self.line(),
            "manage-dead-letters" => json!({ "operation": "list" }),
            _ => json!({}),
        }
    }

    fn headers(&self, body: &str) -> Vec<(&'static str, String)> {
        let claims = Claims {
            tenant_id: self.sandbox.contact_center.settings().tenant_id.clone(),
            customer_id: "customer".to_owned(),
            event_id: STANDARD.encode(now_nanos().to_le_bytes()),
            retry: 0,
            transmission_time: now_nanos() / 1_000_000,
        };
        self.sandbox.contact_center.signer().headers(body.as_bytes(), &claims)
    }

    fn signed(&self) -> Value {
        let mut event = fixture(include_str!("../../it/fixtures/http-api.json"));
        let body = body();
        for (name, value) in self.headers(&body) {
            event["headers"][name] = value.into();
        }
        event["body"] = body.into();
        event
    }

    fn queued(&self) -> Value {
        let mut event = fixture(include_str!("../../it/fixtures/sqs.json"));
        let body = body();
        let headers = self.headers(&body).into_iter().map(|(name, value)| (name.to_owned(), value));
        let queued = QueuedEvent {
            headers: headers.filter(|(name, _)| name.starts_with("x-8x8-")).collect(),
            body: Bytes::from(body),
            content_type: Some("application/json".to_owned()),
            received_at: UnixTime::now(),
            event_type: Some("MESSAGE".to_owned()),
            is_typing: false,
        };
        let record = &mut event["Records"][0];
        record["body"] = serde_json::to_string(&queued).expect("it is JSON").into();
        record["attributes"]["MessageGroupId"] = "c".into();
        event
    }

    fn line(&self) -> Value {
        let mut event = fixture(include_str!("../../it/fixtures/http-api.json"));
        let path = format!("{}/{}/messages", sandbox::CONVERSATIONS, self.conversation);
        event["rawPath"] = path.clone().into();
        event["requestContext"]["http"]["path"] = path.into();
        event["headers"]["content-type"] = "application/json".into();
        event["headers"]["x-app-token"] = self.caller.0.clone().into();
        event["headers"]["authorization"] = format!("Bearer {}", self.caller.1).into();
        event["body"] = json!({ "authorType": "user", "text": "Where is my order?" }).to_string().into();
        event
    }

    fn login(&self) -> Value {
        let mut event = fixture(include_str!("../../it/fixtures/http-api.json"));
        let login = self.sandbox.caller_login();
        event["headers"]["content-type"] = "application/json".into();
        let form = json!({
            "grant_type": "password",
            "client_id": login.app_token,
            "username": login.username,
            "password": login.password,
        });
        event["body"] = form.to_string().into();
        event
    }
}

/// A line that an agent writes, as 8x8 sends it.
fn body() -> String {
    json!({
        "eventType": "MESSAGE",
        "conversationId": "Aka5NMHU8MtIG7lUQOxI0DTOvM4",
        "timestamp": (now_nanos() / 1_000_000) as u64,
        "data": { "isEcho": false, "sender": { "id": "agent", "type": "agent" }, "text": "I am looking at your order" },
    })
    .to_string()
}

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).expect("a fixture is JSON")
}

fn now_nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos()
}
