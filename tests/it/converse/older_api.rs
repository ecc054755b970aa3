//! The same calls in the words of Chat API v2.

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::contact_center::{Authentication, ContactCenterApi, ContactCenterSettings, FailureKind};
use serde_json::json;

use super::operations::OPERATIONS;
use super::{code_of, json_of, opened, send, texts};
use crate::support::Bench;

async fn older() -> Bench {
    let contact_center = ContactCenterSettings {
        api: ContactCenterApi::ChatApiV2,
        authentication: Authentication::ClientCredentials,
        ..ContactCenterSettings::default()
    };
    Bench::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await
}

#[tokio::test]
async fn the_older_api_takes_the_same_calls() {
    let bench = older().await;
    let user = json!({
        "name": "Sandbox Customer", "userId": "c-1", "additionalProperties": [{ "key": "plan", "value": "gold" }],
    });
    let history = json!({ "messages": [{ "authorType": "bot", "text": "confidential" }] });
    let (status, created) = bench.chatbot.json(Method::POST, "", &json!({ "user": user, "history": history })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{created}");
    assert!(created["createdAt"].is_string() && created.get("timestamp").is_none(), "{created}");
    let conversation = created["conversationId"].as_str().unwrap();
    let kept = bench.contact_center.kept(conversation);
    assert_eq!((&kept["user"]["customerId"], &kept["user"]["plan"]), (&json!("c-1"), &json!("gold")));
    assert_eq!(kept["history"], json!([{ "type": "bot", "text": "confidential" }]));

    assert_eq!(send(&bench, conversation, "confidential: hello").await, StatusCode::ACCEPTED);
    bench.contact_center.conversation(conversation).unwrap().writes("agent", "confidential: hi");
    let (_, shown) = bench.chatbot.get(&format!("/{conversation}")).await;
    assert_eq!((&shown["id"], &shown["user"]["userId"]), (&json!(conversation), &json!("c-1")));
    let (_, list) = bench.chatbot.get("?size=1&page=0").await;
    assert_eq!(list["_embedded"]["conversations"][0]["user"]["name"], "Sandbox Customer");
    assert_eq!(list["page"], json!({ "size": 1, "number": 0, "totalElements": 1, "totalPages": 1 }));
    let (_, messages) = bench.chatbot.get(&format!("/{conversation}/messages")).await;
    let said: Vec<_> = messages["_embedded"]["messages"].as_array().unwrap().iter().map(|line| &line["text"]).collect();
    assert_eq!(said, ["confidential: hello", "confidential: hi"]);
    let (_, participants) = bench.chatbot.get(&format!("/{conversation}/participants")).await;
    assert_eq!(participants["_embedded"]["participants"][0]["type"], "user");
    let (_, interactions) = bench.chatbot.get(&format!("/{conversation}/interactions")).await;
    assert!(interactions["_embedded"]["interactions"][0]["id"].is_string());
    let (status, _) = bench
        .chatbot
        .json(Method::PATCH, &format!("/{conversation}/participants/user"), &json!({ "removed": true }))
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(bench.contact_center.kept(conversation)["state"], "idle");
    let (status, answer) = bench.chatbot.get("/unknown").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer["message"].as_str().unwrap().contains("was not found"), "8x8's own words: {answer}");
    bench.finish().await;
}

#[tokio::test]
async fn what_the_older_api_lacks_is_a_501_with_the_reason() {
    let bench = older().await;
    let conversation = opened(&bench).await;
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
        let answer = bench.chatbot.call(method.parse().unwrap(), &path, &headers, body).await;
        assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED, "{method} {path}");
        let answer = json_of(&answer);
        assert_eq!(code_of(&answer), "not_supported");
        assert!(answer["message"].as_str().unwrap().starts_with("This contact center's API cannot "), "{answer}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn the_older_api_is_looked_at_too_when_it_does_not_say_what_it_did() {
    let bench = older().await;
    let others = bench.contact_center.conversation_ids().len();
    for (number, is_carried_out) in [true, false].into_iter().enumerate() {
        bench.contact_center.break_next("POST", "conversations", FailureKind::Drops, is_carried_out);
        let conversation = opened(&bench).await;
        assert_eq!(bench.contact_center.conversation_ids().len(), others + number + 1);
        bench.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        assert_eq!(send(&bench, &conversation, "confidential").await, StatusCode::ACCEPTED);
        assert_eq!(texts(&bench, &conversation), ["confidential"]);
    }
    bench.finish().await;
}
