//! Every event has the shape that 8x8 documents, in both dialects.

use std::collections::BTreeSet;

use contact_center::{Authentication, ContactCenterApi, ContactCenterSettings};
use sandbox::{SandboxSettings, handover};
use serde_json::{Value, json};

use super::shapes::Shapes;
use crate::support::Stack;

fn documented() -> Value {
    serde_json::from_str(include_str!("../fixtures/8x8_events.json")).expect("the fixture is JSON")
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
    let shapes = Shapes::default();
    let mut wrong = Vec::new();
    let mut kinds = BTreeSet::new();
    for event in everything(ContactCenterApi::ChatGatewayV1).await {
        let envelope =
            json!({ "eventType": "string", "conversationId": "string", "timestamp": "number", "data?": "any" });
        wrong.extend(shapes.differences(&envelope, &event, ""));
        let kind = event["eventType"].as_str().unwrap_or_default();
        let data = &event["data"];
        match documented["Chat Gateway v1.0"].get(kind) {
            Some(shape) => wrong.extend(shapes.differences(shape, data, kind)),
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
                    Some(shape) => wrong.extend(shapes.differences(shape, &data["value"], name)),
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
        "ACTIVITY adaptiveCard/action",
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
    let shapes = Shapes::default();
    let mut wrong = Vec::new();
    let mut kinds = BTreeSet::new();
    for mut event in everything(ContactCenterApi::ChatApiV2).await {
        let kind = event["eventType"].as_str().unwrap_or_default().to_owned();
        let fields = event.as_object_mut().expect("an event is an object");
        let envelope = ["eventType", "conversationId", "timestamp"].map(|field| fields.remove(field));
        assert!(envelope.iter().all(Option::is_some), "{kind}");
        match documented["Chat API v2.0"].get(&kind) {
            Some(shape) => wrong.extend(shapes.differences(shape, &event, &kind)),
            None => wrong.push(format!("{kind} is not documented")),
        }
        kinds.insert(kind);
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["AGENT_JOINED", "AGENT_LEFT", "QUEUED", "TEXT", "TRANSFER"]);
}
