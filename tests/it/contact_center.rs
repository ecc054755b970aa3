//! The simulated 8x8 is no kinder than 8x8: it sends what 8x8 documents, in the shapes of its published examples, and can be
//! late and slow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contact_center::{Authentication, ContactCenter, ContactCenterApi, ContactCenterSettings, FailureKind};
use http::header::CONTENT_DISPOSITION;
use http::{Method, Request, Response, StatusCode};
use sandbox::{SandboxSettings, handover};
use serde_json::{Map, Value, json};
use simulation::client::Client;
use simulation::faults::{Faults, When};
use simulation::journal::Journal;
use simulation::server::Server;

use crate::support::{PATIENCE, Stack};

fn documented() -> Value {
    serde_json::from_str(include_str!("fixtures/8x8_events.json")).expect("the fixture is JSON")
}

/// Where `value` is not of the shape that 8x8 documents.
fn differences(shape: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let is_right = match shape {
        Value::Null => value.is_null(),
        Value::String(kind) => match kind.as_str() {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            _ => true,
        },
        Value::Array(list) if list.first().is_some_and(Value::is_array) => match value.as_array() {
            Some(items) => {
                items.iter().for_each(|item| differences(&list[0][0], item, &format!("{place}[]"), found));
                true
            }
            None => false,
        },
        Value::Array(allowed) => allowed.contains(value),
        Value::Object(fields) => match value.as_object() {
            Some(value) => {
                members(fields, value, place, found);
                true
            }
            None => false,
        },
        Value::Bool(_) | Value::Number(_) => panic!("{shape} is no shape"),
    };
    if !is_right {
        found.push(format!("{place} is {value} instead of {shape}"));
    }
}

fn members(fields: &Map<String, Value>, value: &Map<String, Value>, place: &str, found: &mut Vec<String>) {
    for (name, shape) in fields {
        match (value.get(name.trim_end_matches('?')), name.ends_with('?')) {
            (Some(member), _) => differences(shape, member, &format!("{place}.{name}"), found),
            (None, true) => {}
            (None, false) => found.push(format!("{place}.{name} is missing")),
        }
    }
    for name in value.keys().filter(|name| !fields.contains_key(*name) && !fields.contains_key(&format!("{name}?"))) {
        found.push(format!("{place}.{name} is not documented"));
    }
}

/// What the bot platform has of the hand-over, with more of what agents and customers do.
async fn everything(api: ContactCenterApi) -> Vec<Value> {
    let authentication = match api {
        ContactCenterApi::ChatGatewayV1 => Authentication::ApiKey,
        ContactCenterApi::ChatApiV2 => Authentication::ClientCredentials,
    };
    let contact_center = ContactCenterSettings { api, authentication, ..ContactCenterSettings::default() };
    let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
    stack.refresh_tokens().await.expect("the tokens are refreshed");
    let verdict = handover::play(&stack).await.expect("the hand-over is played");
    assert!(verdict.is_good(), "{verdict}");
    let receipts = stack.bot.receipts();
    let bodies = receipts.values().flatten().map(|receipt| serde_json::from_slice(&receipt.body).expect("JSON"));
    let events = bodies.collect();
    stack.finish().await;
    events
}

#[tokio::test]
async fn every_event_has_the_shape_that_8x8_documents() {
    let documented = documented();
    let mut wrong = Vec::new();
    let mut kinds = BTreeSet::new();
    for event in everything(ContactCenterApi::ChatGatewayV1).await {
        let envelope =
            json!({ "eventType": "string", "conversationId": "string", "timestamp": "number", "data?": "any" });
        differences(&envelope, &event, "", &mut wrong);
        let kind = event["eventType"].as_str().unwrap_or_default();
        let data = &event["data"];
        let shapes = &documented["Chat Gateway v1.0"];
        match shapes.get(kind) {
            Some(shape) => differences(shape, data, kind, &mut wrong),
            None => wrong.push(format!("{kind} is not documented")),
        }
        kinds.insert(match kind {
            "CONVERSATION_UPDATE" => format!("{kind} {} {}", data["state"], data["assignment"]["type"]),
            "MEMBERS_CHANGED" => format!("{kind} {} {}", data["memberType"], data["change"]),
            "MESSAGE" => {
                let content = ["text", "attachments", "cards"].into_iter().find(|field| data.get(*field).is_some());
                format!("{kind} {} {}", data["isEcho"], content.unwrap_or("nothing"))
            }
            "ACTIVITY" => {
                let name = data["name"].as_str().unwrap_or_default();
                match documented["activities"].get(name) {
                    Some(shape) => differences(shape, &data["value"], name, &mut wrong),
                    None => wrong.push(format!("the activity {name} is not documented")),
                }
                let users = data["value"]["users"].as_array().map_or(0, Vec::len);
                if name == "typing" { format!("{kind} {name} {users}") } else { format!("{kind} {name}") }
            }
            _ => kind.to_owned(),
        });
    }
    assert_eq!(wrong, Vec::<String>::new());
    let expected = [
        "ACTIVITY quickReply/action",
        "ACTIVITY read-receipts",
        "ACTIVITY typing 0",
        "ACTIVITY typing 1",
        "CONVERSATION_UPDATE \"active\" \"agent\"",
        "CONVERSATION_UPDATE \"created\" \"queue\"",
        "CONVERSATION_UPDATE \"idle\" \"agent\"",
        "MEMBERS_CHANGED \"agent\" \"joined\"",
        "MEMBERS_CHANGED \"agent\" \"left\"",
        "MEMBERS_CHANGED \"user\" \"joined\"",
        "MEMBERS_CHANGED \"user\" \"left\"",
        "MESSAGE false attachments",
        "MESSAGE false cards",
        "MESSAGE false text",
        "MESSAGE true attachments",
        "MESSAGE true text",
        "QUEUED",
        "TRANSFER",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn every_event_of_the_older_api_has_the_shape_that_8x8_documents() {
    let documented = documented();
    let mut wrong = Vec::new();
    let mut kinds = BTreeSet::new();
    for mut event in everything(ContactCenterApi::ChatApiV2).await {
        let kind = event["eventType"].as_str().unwrap_or_default().to_owned();
        let fields = event.as_object_mut().expect("an event is an object");
        let envelope = ["eventType", "conversationId", "timestamp"].map(|field| fields.remove(field));
        assert!(envelope.iter().all(Option::is_some), "{kind}");
        match documented["Chat API v2.0"].get(&kind) {
            Some(shape) => differences(shape, &event, &kind, &mut wrong),
            None => wrong.push(format!("{kind} is not documented")),
        }
        kinds.insert(kind);
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["AGENT_JOINED", "AGENT_LEFT", "QUEUED", "TEXT", "TRANSFER"]);
}

#[tokio::test]
async fn an_agents_file_can_be_fetched_without_credentials_until_its_url_expires() {
    const NAME: &str = "Rechnung \"für\" \\ März\n.pdf";
    for (life, expected) in [(Duration::from_secs(60), StatusCode::OK), (Duration::ZERO, StatusCode::FORBIDDEN)] {
        let contact_center = ContactCenterSettings { file_url_life: life, ..ContactCenterSettings::default() };
        let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        conversation.sends_file("anna", NAME, b"\x00\xff not text");
        assert!(stack.settle(PATIENCE).await);
        let receipts = stack.bot.receipts();
        let event: Value = serde_json::from_slice(&receipts[conversation.id()][0].body).expect("JSON");
        let attachment = &event["data"]["attachments"][0];
        assert_eq!(attachment["fileName"], NAME);
        let url = attachment["preSignedUrl"].as_str().expect("a URL");
        let request = Request::builder().method(Method::GET).uri(url).body(Bytes::new()).expect("a request");
        let file = Client::new().send(request).await.expect("an answer");
        assert_eq!(file.status(), expected);
        if expected == StatusCode::OK {
            assert_eq!(&file.body()[..], b"\x00\xff not text");
            let expected = r#"attachment; filename="Rechnung \"für\" \\ März_.pdf""#;
            assert_eq!(file.headers()[CONTENT_DISPOSITION].as_bytes(), expected.as_bytes());
        }
        stack.finish().await;
    }
}

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

    async fn call(&self, method: Method, query: &str, body: &Value) -> Option<Response<Bytes>> {
        let endpoint = ContactCenter::endpoint(self.contact_center.settings(), &self.server.url());
        let request = Request::builder()
            .method(method)
            .uri(format!("{endpoint}conversations/{}/messages{query}", self.conversation))
            .header("x-api-key", &self.contact_center.settings().credentials.api_key)
            .header("content-type", "application/json");
        Client::new().send(request.body(body.to_string().into()).expect("a request")).await
    }

    async fn say(&self, text: &str) -> Option<StatusCode> {
        let body = json!({ "authorType": "user", "text": text });
        self.call(Method::POST, "", &body).await.map(|answer| answer.status())
    }

    async fn listed(&self, query: &str) -> Vec<String> {
        let answer = self.call(Method::GET, query, &Value::Null).await.expect("an answer");
        let list: Value = serde_json::from_slice(answer.body()).expect("JSON");
        let messages = list["_embedded"]["messages"].as_array().cloned().unwrap_or_default();
        messages.iter().map(|message| message["text"].as_str().unwrap_or_default().to_owned()).collect()
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

#[tokio::test]
async fn what_is_not_answered_may_be_done_later() {
    /// Far more than an answer takes, also on a busy machine.
    const LATE: Duration = Duration::from_secs(2);

    let alone = Alone::start().await;
    let answers = [
        (FailureKind::Drops, None),
        (FailureKind::Status500, Some(StatusCode::INTERNAL_SERVER_ERROR)),
        (FailureKind::Status504, Some(StatusCode::GATEWAY_TIMEOUT)),
    ];
    for (number, (kind, answer)) in answers.into_iter().enumerate() {
        alone.contact_center.break_next_late("POST", "messages", kind, LATE);
        assert_eq!(alone.say("late").await, answer);
        assert_eq!(alone.contact_center.said(&alone.conversation).len(), number, "not yet");
        alone.until_said(number + 1).await;
    }
    // As a fault of the whole, in any of those ways or with no answer at all.
    alone.faults.set(contact_center::Fault::CarriesOutLate, When::Next(1));
    let answer = tokio::time::timeout(Duration::from_secs(1), alone.say("late")).await;
    assert!(!matches!(answer, Ok(Some(status)) if status.is_success()), "{answer:?}");
    alone.until_said(4).await;
}

#[tokio::test]
async fn a_slow_8x8_answers_after_nine_seconds() {
    let alone = Alone::start().await;
    alone.faults.set(contact_center::Fault::AnswersSlowly, When::Next(1));
    let begun = Instant::now();
    assert_eq!(alone.say("slow").await, Some(StatusCode::ACCEPTED));
    assert!(begun.elapsed() >= Duration::from_secs(9));
}

#[tokio::test]
async fn a_list_may_lack_the_latest_and_be_in_another_order() {
    let alone = Alone::start().await;
    alone.say("one").await;
    alone.say("two").await;
    assert_eq!(alone.listed("?sort=createdAt:desc").await, ["two", "one"]);
    alone.faults.set(contact_center::Fault::ListsOldestFirst, When::Next(1));
    assert_eq!(alone.listed("?sort=createdAt:desc").await, ["one", "two"]);
    alone.faults.set(contact_center::Fault::ListsLate, When::For(PATIENCE));
    alone.say("three").await;
    assert!(!alone.listed("").await.contains(&"three".to_owned()));
    let until = Instant::now() + PATIENCE;
    while !alone.listed("").await.contains(&"three".to_owned()) {
        assert!(Instant::now() < until, "it is never listed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
