//! The same calls in the words of Chat API v2.

use std::collections::BTreeMap;
use std::time::Duration;

use contact_center::{Authentication, ContactCenterApi, ContactCenterSettings, FailureKind};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::deployment::CONVERSE;
use serde_json::json;

use super::operations::OPERATIONS;
use super::{KEY, code_of, half_a_minute_passes, json_of, opened, send, texts};
use crate::support::Stack;

async fn older() -> Stack {
    let contact_center = ContactCenterSettings {
        api: ContactCenterApi::ChatApiV2,
        authentication: Authentication::ClientCredentials,
        ..ContactCenterSettings::default()
    };
    let timeouts = BTreeMap::from([(CONVERSE, Duration::from_secs(10))]);
    Stack::with(SandboxSettings { contact_center, timeouts, ..SandboxSettings::default() }).await
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
    assert_eq!(said, ["confidential: hi", "confidential: hello"], "newest first, as the Gateway lists them");
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
    let (status, response) = stack.chatbot.get("/unknown").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(response["message"].as_str().unwrap().contains("was not found"), "8x8's own words: {response}");
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
            ("GET", "/{c}/messages?sort=createdAt:asc"),
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
        let response = stack.chatbot.call(method.parse().unwrap(), &path, &headers, body).await;
        assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED, "{method} {path}");
        let response = json_of(&response);
        assert_eq!(code_of(&response), "not_supported");
        assert!(response["message"].as_str().unwrap().starts_with("This contact center's API cannot "), "{response}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_outcome_is_found_out_in_the_older_api_too() {
    let stack = older().await;
    let headers = |key: &'static str| [(CONTENT_TYPE, "application/json"), (KEY, key)];
    let create = async |key: &'static str| {
        stack.chatbot.call(Method::POST, "", &headers(key), r#"{"user":{"name":"Sandbox Customer"}}"#).await
    };
    for (number, is_carried_out) in [true, false].into_iter().enumerate() {
        let (creation, message) = [("creation-1", "message-1"), ("creation-2", "message-2")][number];
        stack.contact_center.break_next("POST", "conversations", FailureKind::Drops, is_carried_out);
        let mut created = create(creation).await;
        if !is_carried_out {
            assert_eq!(code_of(&json_of(&created)), "unknown");
            half_a_minute_passes(&stack);
            created = create(creation).await;
        }
        assert_eq!(created.status(), StatusCode::ACCEPTED);
        assert_eq!(stack.contact_center.conversation_ids().len(), number + 1);
        let conversation = json_of(&created)["conversationId"].as_str().unwrap().to_owned();
        // The same was said before: the older API shows no times, so that all of them are counted.
        assert_eq!(send(&stack, &conversation, "yes").await, StatusCode::ACCEPTED);
        stack.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        let mut response = stack.chatbot.say(&conversation, "user", "yes", message).await;
        if !is_carried_out {
            assert_eq!(code_of(&json_of(&response)), "unknown");
            half_a_minute_passes(&stack);
            response = stack.chatbot.say(&conversation, "user", "yes", message).await;
        }
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(texts(&stack, &conversation), ["yes", "yes"]);
    }
    stack.finish().await;
}

#[tokio::test]
async fn an_assignment_that_is_null_is_none_and_messages_have_both_orders() {
    let stack = older().await;
    let body = json!({ "user": { "name": "Sandbox Customer" }, "assignment": null });
    let (status, created) = stack.chatbot.json(Method::POST, "", &body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{created}");
    let conversation = created["conversationId"].as_str().unwrap();
    for text in ["one", "two"] {
        assert_eq!(send(&stack, conversation, text).await, StatusCode::ACCEPTED);
    }
    for (query, expected) in
        [("", ["two", "one"]), ("?sort=createdAt:desc", ["two", "one"]), ("?sort=createdAt:asc", ["one", "two"])]
    {
        let (_, messages) = stack.chatbot.get(&format!("/{conversation}/messages{query}")).await;
        let said = messages["_embedded"]["messages"].as_array().unwrap().iter().map(|message| message["text"].as_str());
        assert_eq!(said.collect::<Vec<_>>(), expected.map(Some), "{query}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_customer_with_all_the_properties_there_can_be_gets_none_of_the_bridge() {
    let stack = older().await;
    let properties = |count: usize| -> Vec<_> {
        (0..count).map(|number| json!({ "key": format!("k{number}"), "value": "v" })).collect()
    };
    for count in [28, 29] {
        let user = json!({ "name": "Sandbox Customer", "additionalProperties": properties(count) });
        let (status, created) = stack.chatbot.json(Method::POST, "", &json!({ "user": user })).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{created}");
        let kept = stack.contact_center.kept(created["conversationId"].as_str().unwrap());
        assert_eq!(kept["user"].as_object().unwrap().len(), 30);
    }
    stack.finish().await;
}
