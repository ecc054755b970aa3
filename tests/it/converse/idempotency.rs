//! The header `Idempotency-Key`: a repeat gets the first answer, whatever became of the first request.

use std::time::Duration;

use contact_center::FailureKind;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use sandbox::deployment::{self, IDEMPOTENCY_TABLE};
use serde_json::json;
use simulation::faults::When;

use super::{KEY, code_of, json_of, opened, send, texts};
use crate::support::Stack;

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_changes_nothing() {
    let stack = Stack::start().await;
    let headers = [(CONTENT_TYPE, "application/json"), (KEY, "creation-1")];
    let body = r#"{"user":{"name":"Sandbox Customer"}}"#;
    let first = stack.chatbot.call(Method::POST, "", &headers, body).await;
    assert!(!first.headers().contains_key("idempotent-replayed"));
    // Another process has the answer too.
    stack.function(deployment::CONVERSE).recycle();
    let again = stack.chatbot.call(Method::POST, "", &headers, body).await;
    assert_eq!((again.status(), again.body()), (first.status(), first.body()));
    assert_eq!(again.headers()[CONTENT_TYPE], first.headers()[CONTENT_TYPE]);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(stack.contact_center.conversation_ids().len(), 1);

    let conversation = json_of(&first)["conversationId"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let answer = stack.chatbot.say(&conversation, "user", "confidential", "line-1").await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(stack.chatbot.say(&conversation, "user", "confidential", "line-2").await.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["confidential", "confidential"]);
    // So does a refusal stay one.
    for _ in 0..2 {
        let answer = stack.chatbot.say(&conversation, "agent", "confidential", "line-3").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_form_is_the_same_whatever_its_boundary_is() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let upload = async |boundary: &str| {
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"a\"\r\n\r\nx\r\n--{boundary}--\r\n"
        );
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let headers = [(CONTENT_TYPE, &*content_type), (KEY, "upload")];
        stack.chatbot.call(Method::POST, &format!("/{conversation}/attachments"), &headers, body).await
    };
    let (first, again) = (upload("one").await, upload("two").await);
    assert_eq!((first.status(), first.body()), (StatusCode::OK, again.body()));
    stack.finish().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    let answer = stack.chatbot.say(&conversation, "user", "something else, confidential", "key").await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(code_of(&json_of(&answer)), "idempotency_key_reused");
    for bad in ["", "two words", &"x".repeat(256)] {
        let answer = stack.chatbot.say(&conversation, "user", "confidential", bad).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

#[tokio::test]
async fn a_repeat_that_comes_too_early_is_told_so() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Hangs, true);
    let first = stack.chatbot.say(&conversation, "user", "confidential", "key");
    let repeats = async {
        while stack.cloud.dynamo_db.items(IDEMPOTENCY_TABLE).is_empty() {
            tokio::task::yield_now().await;
        }
        stack.chatbot.say(&conversation, "user", "confidential", "key").await
    };
    let (first, early) = tokio::join!(first, repeats);
    assert_eq!(early.status(), StatusCode::CONFLICT);
    assert!(early.headers().contains_key(RETRY_AFTER));
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    let kept = stack.cloud.dynamo_db.items(IDEMPOTENCY_TABLE);
    let kept = kept.iter().find(|item| item.get("begun_at").is_some()).expect("the key");
    let number = |field: &str| kept[field]["N"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(number("expires_at") - number("begun_at") / 1000, 24 * 3600);
    // DynamoDB has not deleted it yet.
    stack.cloud.dynamo_db.set(IDEMPOTENCY_TABLE, "expires_at", &json!({ "N": "1000" }));
    let answer = stack.chatbot.say(&conversation, "user", "something else, confidential", "key").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation).len(), 2);
    stack.finish().await;
}

#[tokio::test]
async fn after_an_unknown_outcome_the_same_key_finds_out() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    for is_carried_out in [true, false] {
        let key = format!("key-{is_carried_out}");
        stack.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        stack.fault(contact_center::Fault::Status500, When::For(Duration::from_secs(60)));
        let answer = stack.chatbot.say(&conversation, "user", &key, &key).await;
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        stack.faults.clear();
        stack.function(deployment::CONVERSE).recycle();
        let answer = stack.chatbot.say(&conversation, "user", &key, &key).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(texts(&stack, &conversation), ["key-true", "key-false"]);
    stack.finish().await;
}

#[tokio::test]
async fn a_doubt_outlives_a_repeat_that_cannot_settle_it() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    stack.fault(contact_center::Fault::Status500, When::For(Duration::from_secs(60)));
    let say = async || stack.chatbot.say(&conversation, "user", "confidential", "key").await.status();
    assert_eq!(say().await, StatusCode::GATEWAY_TIMEOUT);
    stack.faults.clear();
    // The next one cannot look either, and began seconds after the line was said: the one after that has to look further
    // back than to it.
    stack.fault(contact_center::Fault::Status429, When::For(Duration::from_secs(60)));
    assert_eq!(say().await, StatusCode::GATEWAY_TIMEOUT);
    stack.faults.clear();
    assert_eq!(say().await, StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

#[tokio::test]
async fn whatever_becomes_of_the_process_the_same_key_says_a_line_once() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let mut said = Vec::new();
    for number in 0..40_u32 {
        let text = format!("confidential: {number}");
        stack.fault(aws::Fault::Kill(deployment::CONVERSE), When::Next(1 + number % 3));
        loop {
            let answer = stack.chatbot.say(&conversation, "user", &text, &text.replace(' ', "")).await;
            match answer.status() {
                StatusCode::ACCEPTED => break,
                // The dead process has the key for half a minute: it passes here.
                StatusCode::CONFLICT => {
                    let items = stack.cloud.dynamo_db.items(IDEMPOTENCY_TABLE);
                    assert!(items.iter().any(|item| item.get("answer_status").is_none()));
                    stack.cloud.dynamo_db.advance(IDEMPOTENCY_TABLE, "taken_at", -30_000);
                }
                status => assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR),
            }
        }
        said.push(text);
    }
    assert_eq!(texts(&stack, &conversation), said);
    stack.finish().await;
}

#[tokio::test]
async fn without_the_table_a_key_is_not_promised_and_nothing_is_sent() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.fault(aws::Fault::TableDown, When::For(Duration::from_secs(60)));
    let answer = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(texts(&stack, &conversation), Vec::<String>::new());
    assert_eq!(send(&stack, &conversation, "confidential: without a key").await, StatusCode::ACCEPTED);
    stack.faults.clear();
    assert_eq!(stack.chatbot.say(&conversation, "user", "confidential", "key").await.status(), StatusCode::ACCEPTED);
    stack.finish().await;
}
