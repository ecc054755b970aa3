//! What 8x8 does not say: a call without an answer is said once, or said to be unknown.

use std::collections::BTreeSet;
use std::time::Duration;

use contact_center::FailureKind;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use serde_json::json;
use simulation::faults::When;

use super::{KEY, code_of, json_of, opened, send, texts};
use crate::support::Stack;

const UNSAID: [FailureKind; 3] = [FailureKind::Status500, FailureKind::Drops, FailureKind::Hangs];

#[tokio::test]
async fn a_line_is_said_once_whether_8x8_took_it_without_saying_so_or_not() {
    let stack = Stack::start().await;
    for kind in UNSAID {
        for is_carried_out in [true, false] {
            let conversation = opened(&stack).await;
            stack.contact_center.break_next("POST", "messages", kind, is_carried_out);
            let status = send(&stack, &conversation, "confidential").await;
            assert_eq!(status, StatusCode::ACCEPTED, "{kind:?} {is_carried_out}");
            assert_eq!(texts(&stack, &conversation), ["confidential"], "{kind:?} {is_carried_out}");
        }
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_customer_is_queued_once_whether_8x8_did_it_without_saying_so_or_not() {
    let stack = Stack::start().await;
    // More open conversations than fit on a page.
    for _ in 0..120 {
        stack.contact_center.open_conversation(&stack.channel_id);
    }
    let others: BTreeSet<String> = stack.contact_center.conversation_ids().into_iter().collect();
    let mut ours = BTreeSet::new();
    for kind in UNSAID {
        for is_carried_out in [true, false] {
            stack.contact_center.break_next("POST", "conversations", kind, is_carried_out);
            ours.insert(opened(&stack).await);
        }
    }
    let all: BTreeSet<String> = stack.contact_center.conversation_ids().into_iter().collect();
    assert_eq!(all.difference(&others).cloned().collect::<BTreeSet<_>>(), ours);
    assert_eq!(ours.len(), 6);
    stack.finish().await;
}

#[tokio::test]
async fn the_same_line_again_is_another_line() {
    let stack = Stack::start().await;
    for is_carried_out in [true, false] {
        let conversation = opened(&stack).await;
        assert_eq!(send(&stack, &conversation, "yes").await, StatusCode::ACCEPTED);
        stack.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        assert_eq!(send(&stack, &conversation, "yes").await, StatusCode::ACCEPTED);
        assert_eq!(texts(&stack, &conversation), ["yes", "yes"], "{is_carried_out}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_look_that_gets_no_answer_is_repeated() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    for kind in [FailureKind::Drops, FailureKind::Status500, FailureKind::Status429] {
        stack.contact_center.break_next("GET", "messages", kind, false);
    }
    assert_eq!(send(&stack, &conversation, "confidential").await, StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

#[tokio::test]
async fn what_is_harmless_is_simply_sent_again() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "typing", FailureKind::Drops, true);
    let (status, _) =
        stack.chatbot.json(Method::POST, &format!("/{conversation}/typing"), &json!({ "authorType": "bot" })).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    stack.contact_center.break_next("GET", "participants", FailureKind::Status500, false);
    assert_eq!(stack.chatbot.get(&format!("/{conversation}/participants")).await.0, StatusCode::OK);
    stack.contact_center.break_next("POST", "attachments", FailureKind::Drops, true);
    assert_eq!(stack.chatbot.upload(&conversation, "a", b"a").await.0, StatusCode::OK);
    stack.finish().await;
}

#[tokio::test]
async fn what_cannot_be_settled_is_said_to_be_unknown_and_not_sent_again() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let (webhooks, _) = stack.contact_center.registered();
    let body = json!({ "type": "webhook", "id": webhooks[0]["id"] }).to_string();
    let path = format!("/{conversation}/post-agent-assignment");
    stack.contact_center.break_next("POST", "post-agent-assignment", FailureKind::Drops, true);
    for _ in 0..2 {
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, "hand-back")];
        let answer = stack.chatbot.call(Method::POST, &path, &headers, body.clone()).await;
        let answer_json = json_of(&answer);
        assert_eq!((answer.status(), code_of(&answer_json)), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
        let message = answer_json["message"].as_str().unwrap();
        assert!(message.contains("unknown") && message.contains("Repeat"), "{message}");
        assert_eq!(stack.contact_center.kept(&conversation)["postAgentAssignments"].as_array().unwrap().len(), 1);
    }
    assert_eq!(stack.logged("\"OutcomesUnknown\":1"), 2);
    stack.finish().await;
}

#[tokio::test]
async fn while_8x8_is_down_nothing_is_a_success() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    // 8x8's own error, if there is one and nothing has been done.
    for _ in 0..3 {
        stack.contact_center.break_next("POST", "messages", FailureKind::Status500, false);
    }
    assert_eq!(send(&stack, &conversation, "confidential").await, StatusCode::INTERNAL_SERVER_ERROR);
    stack.fault(contact_center::Fault::Drops, When::For(Duration::from_secs(60)));
    let (status, answer) = stack.chatbot.get(&format!("/{conversation}")).await;
    assert_eq!((status, code_of(&answer)), (StatusCode::GATEWAY_TIMEOUT, "no_answer"));
    let body = json!({ "authorType": "user", "text": "confidential" });
    let (status, answer) = stack.chatbot.json(Method::POST, &format!("/{conversation}/messages"), &body).await;
    assert_eq!((status, code_of(&answer)), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
    stack.faults.clear();
    stack.finish().await;
}

#[tokio::test]
async fn while_8x8_hangs_the_answer_comes_before_api_gateway_gives_up() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    // Two attempts that are known not to have been carried out, a third one that nobody can look after any more.
    for is_carried_out in [false, false, true] {
        stack.contact_center.break_next("POST", "messages", FailureKind::Hangs, is_carried_out);
    }
    let answer = stack.chatbot.say(&conversation, "user", "confidential", "key");
    let gone = async {
        while stack.logged("8x8 has not done it") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stack.fault(contact_center::Fault::Hangs, When::For(Duration::from_secs(60)));
    };
    let (answer, ()) = tokio::join!(answer, gone);
    assert_eq!((answer.status(), code_of(&json_of(&answer))), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
    stack.faults.clear();
    let again = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!((again.status(), texts(&stack, &conversation).len()), (StatusCode::ACCEPTED, 1));
    stack.finish().await;
}

#[tokio::test]
async fn when_8x8_is_busy_the_bridge_waits_as_long_as_it_is_told_and_then_says_so() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Status429, false);
    assert_eq!(send(&stack, &conversation, "confidential").await, StatusCode::ACCEPTED);
    stack.fault(contact_center::Fault::Status429, When::For(Duration::from_secs(60)));
    let path = format!("/{conversation}/messages");
    let headers = [(CONTENT_TYPE, "application/json")];
    let answer = stack.chatbot.call(Method::POST, &path, &headers, r#"{"authorType":"user","text":"x"}"#).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()[RETRY_AFTER], "1");
    stack.faults.clear();
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}
