//! The same calls in the words of Chat API v2.

use contact_center::{Authentication, ContactCenterApi, ContactCenterSettings, FailureKind};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use serde_json::json;

use super::operations::OPERATIONS;
use super::{code_of, json_of, opened, send, texts};
use crate::support::Stack;

async fn older() -> Stack {
    let contact_center = ContactCenterSettings {
        api: ContactCenterApi::ChatApiV2,
        authentication: Authentication::ClientCredentials,
        ..ContactCenterSettings::default()
    };
    Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await
}

#[tokio::test]
async fn the_older_api_takes_the_same_calls() {
    let stack = older().await;
    let user = json!({
        "name": "Sandbox Customer", "userId": "c-1", "additionalProperties": [{ "key": "plan", "value": "gold" }],
    });
    let history = json!({ "messages": [{ "authorType": "bot", "text": "confidential" }] });
    let (status, created) = stack.chatbot.json(Method::POST, "", &json!({ "user": user, "history": history })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{created}");
    assert!(created["createdAt"].is_string() && created.get("timestamp").is_none(), "{created}");
    let conversation = created["conversationId"].as_str().unwrap();
    let kept = stack.contact_center.kept(conversation);
    assert_eq!((&kept["user"]["customerId"], &kept["user"]["plan"]), (&json!("c-1"), &json!("gold")));
    assert_eq!(kept["history"], json!([{ "type": "bot", "text": "confidential" }]));

    assert_eq!(send(&stack, conversation, "confidential: hello").await, StatusCode::ACCEPTED);
    stack.contact_center.conversation(conversation).unwrap().writes("agent", "confidential: hi");
    let (_, shown) = stack.chatbot.get(&format!("/{conversation}")).await;
    assert_eq!((&shown["id"], &shown["user"]["userId"]), (&json!(conversation), &json!("c-1")));
    let (_, list) = stack.chatbot.get("?size=1&page=0").await;
    assert_eq!(list["_embedded"]["conversations"][0]["user"]["name"], "Sandbox Customer");
    assert_eq!(list["page"], json!({ "size": 1, "number": 0, "totalElements": 1, "totalPages": 1 }));
    let (_, messages) = stack.chatbot.get(&format!("/{conversation}/messages")).await;
    let said: Vec<_> = messages["_embedded"]["messages"].as_array().unwrap().iter().map(|line| &line["text"]).collect();
    assert_eq!(said, ["confidential: hello", "confidential: hi"]);
    let (_, participants) = stack.chatbot.get(&format!("/{conversation}/participants")).await;
    assert_eq!(participants["_embedded"]["participants"][0]["type"], "user");
    let (_, interactions) = stack.chatbot.get(&format!("/{conversation}/interactions")).await;
    assert!(interactions["_embedded"]["interactions"][0]["id"].is_string());
    let (status, _) = stack
        .chatbot
        .json(Method::PATCH, &format!("/{conversation}/participants/user"), &json!({ "removed": true }))
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(stack.contact_center.kept(conversation)["state"], "idle");
    let (status, answer) = stack.chatbot.get("/unknown").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer["message"].as_str().unwrap().contains("was not found"), "8x8's own words: {answer}");
    stack.finish().await;
}

#[tokio::test]
async fn what_the_older_api_lacks_is_a_501_with_the_reason() {
    let stack = older().await;
    let conversation = opened(&stack).await;
    for (_, method, path, body, _) in OPERATIONS {
        let is_there = [
            ("GET", "?size=5&page=0"),
            ("POST", ""),
            ("GET", "/{c}"),
            ("GET", "/{c}/interactions"),
            ("GET", "/{c}/participants"),
            ("POST", "/{c}/messages"),
            ("PATCH", "/{c}/participants/user"),
        ];
        if is_there.contains(&(method, path)) {
            continue;
        }
        let path = ["{m}", "{a}", "{k}"]
            .into_iter()
            .fold(path.replace("{c}", &conversation), |path, id| path.replace(id, "1"));
        let headers = [(CONTENT_TYPE, "application/json")];
        let answer = stack.chatbot.call(method.parse().unwrap(), &path, &headers, body).await;
        assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED, "{method} {path}");
        let answer = json_of(&answer);
        assert_eq!(code_of(&answer), "not_supported");
        assert!(answer["message"].as_str().unwrap().starts_with("This contact center's API cannot "), "{answer}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn the_older_api_is_looked_at_too_when_it_does_not_say_what_it_did() {
    let stack = older().await;
    let others = stack.contact_center.conversation_ids().len();
    for (number, is_carried_out) in [true, false].into_iter().enumerate() {
        stack.contact_center.break_next("POST", "conversations", FailureKind::Drops, is_carried_out);
        let conversation = opened(&stack).await;
        assert_eq!(stack.contact_center.conversation_ids().len(), others + number + 1);
        stack.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        assert_eq!(send(&stack, &conversation, "confidential").await, StatusCode::ACCEPTED);
        assert_eq!(texts(&stack, &conversation), ["confidential"]);
    }
    stack.finish().await;
}
