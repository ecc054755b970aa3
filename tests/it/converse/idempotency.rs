//! The header `Idempotency-Key`: a repeat gets the first response, whatever became of the first request.

use std::time::Duration;

use contact_center::{FailureKind, Fault};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use sandbox::deployment::{self, IDEMPOTENCY_TABLE};
use serde_json::json;
use simulation::faults::When;

use super::{KEY, code_of, half_a_minute_passes, impatient, json_of, opened, send, texts};
use crate::support::{PATIENCE, Stack, wait_until};

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_changes_nothing() {
    let stack = Stack::start().await;
    let headers = [(CONTENT_TYPE, "application/json"), (KEY, "creation-1")];
    let body = r#"{"user":{"name":"Sandbox Customer"}}"#;
    let first = stack.chatbot.call(Method::POST, "", &headers, body).await;
    assert!(!first.headers().contains_key("idempotent-replayed"));
    // Another process has the response too.
    stack.function(deployment::CONVERSE).recycle();
    let again = stack.chatbot.call(Method::POST, "", &headers, body).await;
    assert_eq!((again.status(), again.body()), (first.status(), first.body()));
    assert_eq!(again.headers()[CONTENT_TYPE], first.headers()[CONTENT_TYPE]);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(stack.contact_center.conversation_ids().len(), 1);

    let conversation = json_of(&first)["conversationId"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let response = stack.chatbot.say(&conversation, "user", "confidential", "line-1").await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(stack.chatbot.say(&conversation, "user", "confidential", "line-2").await.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["confidential", "confidential"]);
    // So does a refusal stay one.
    for _ in 0..2 {
        let response = stack.chatbot.say(&conversation, "agent", "confidential", "line-3").await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_message_with_a_key_makes_two_requests_to_the_table() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let requests = || stack.cloud.requests_of(deployment::CONVERSE, "dynamodb");
    for key in ["first", "second"] {
        let before = requests();
        assert_eq!(stack.chatbot.say(&conversation, "user", key, key).await.status(), StatusCode::ACCEPTED);
        assert_eq!(requests() - before, 2, "{key}: the claim before 8x8 is asked, and the response after it");
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
async fn another_file_is_another_request() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let upload = async |name: &str, kind: &str, content: &str| {
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n\
             {content}\r\n--b--\r\n"
        );
        let headers = [(CONTENT_TYPE, "multipart/form-data; boundary=b"), (KEY, "upload")];
        stack.chatbot.call(Method::POST, &format!("/{conversation}/attachments"), &headers, body).await.status()
    };
    assert_eq!(upload("a.txt", "text/plain", "x").await, StatusCode::OK);
    assert_eq!(upload("a.txt", "text/plain", "x").await, StatusCode::OK);
    for (name, kind, content) in
        [("b.txt", "text/plain", "x"), ("a.txt", "text/csv", "x"), ("a.txt", "text/plain", "y")]
    {
        assert_eq!(upload(name, kind, content).await, StatusCode::UNPROCESSABLE_ENTITY, "{name} {kind} {content}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    let response = stack.chatbot.say(&conversation, "user", "something else, confidential", "key").await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(code_of(&json_of(&response)), "idempotency_key_reused");
    for bad in ["", "two words", &"x".repeat(256)] {
        let response = stack.chatbot.say(&conversation, "user", "confidential", bad).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

#[tokio::test]
async fn a_repeat_that_comes_too_early_is_answered_409() {
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
    let kept = kept.iter().find(|item| item.get("claimed_at").is_some()).expect("the key");
    let number = |field: &str| kept[field]["N"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(number("expires_at") - number("claimed_at") / 1000, 24 * 3600);
    // DynamoDB has not deleted it yet.
    stack.cloud.dynamo_db.set(IDEMPOTENCY_TABLE, "expires_at", &json!({ "N": "1000" }));
    let response = stack.chatbot.say(&conversation, "user", "something else, confidential", "key").await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation).len(), 2);
    stack.finish().await;
}

#[tokio::test]
async fn after_an_unknown_outcome_the_same_key_finds_out_in_any_process() {
    let stack = impatient().await;
    let conversation = opened(&stack).await;
    for is_carried_out in [true, false] {
        let key = format!("key-{is_carried_out}");
        stack.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        stack.fault(Fault::Status500, When::For(Duration::from_secs(60)));
        let response = stack.chatbot.say(&conversation, "user", &key, &key).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        stack.faults.clear();
        stack.function(deployment::CONVERSE).recycle();
        if !is_carried_out {
            half_a_minute_passes(&stack);
        }
        let response = stack.chatbot.say(&conversation, "user", &key, &key).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(texts(&stack, &conversation), ["key-true", "key-false"]);
    stack.finish().await;
}

#[tokio::test]
async fn an_error_of_8x8_leaves_its_key_unknown_until_it_is_looked_for() {
    let stack = impatient().await;
    let conversation = opened(&stack).await;
    // 8x8 answers 500, carries it out twelve seconds later, and the bot repeats at once.
    stack.contact_center.break_next_late("POST", "messages", FailureKind::Status500, Duration::from_secs(12));
    let mut responses = Vec::new();
    while responses.last() != Some(&StatusCode::ACCEPTED) {
        assert!(responses.len() < 5, "{responses:?}");
        responses.push(stack.chatbot.say(&conversation, "user", "confidential", "key").await.status());
    }
    assert_eq!(responses, [StatusCode::GATEWAY_TIMEOUT, StatusCode::ACCEPTED]);
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

#[tokio::test]
async fn an_unknown_outcome_outlives_a_repeat_that_cannot_settle_it() {
    let stack = impatient().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    stack.fault(Fault::Status500, When::For(Duration::from_secs(60)));
    let say = async || stack.chatbot.say(&conversation, "user", "confidential", "key").await.status();
    assert_eq!(say().await, StatusCode::GATEWAY_TIMEOUT);
    stack.faults.clear();
    // The next one cannot look either, and began seconds after the message was sent: the one after that has to look further
    // back than to it, and counts the half minute from the first.
    stack.fault(Fault::Status429, When::For(Duration::from_secs(60)));
    assert_eq!(say().await, StatusCode::GATEWAY_TIMEOUT);
    stack.faults.clear();
    assert_eq!(say().await, StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

#[tokio::test]
async fn two_equal_messages_of_unknown_outcome_do_not_take_the_same_one_for_theirs() {
    let stack = impatient().await;
    let conversation = opened(&stack).await;
    // One is carried out, the other is not, and 8x8 answers neither.
    for is_carried_out in [true, false] {
        stack.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
    }
    stack.fault(Fault::ListsLate, When::For(Duration::from_secs(60)));
    let say = |key: &'static str| stack.chatbot.say(&conversation, "user", "yes", key);
    let (one, other) = tokio::join!(say("one"), say("other"));
    let accepted = [one, other].iter().filter(|response| response.status() == StatusCode::ACCEPTED).count();
    assert!(accepted <= 1, "8x8 has only one");
    stack.faults.clear();
    half_a_minute_passes(&stack);
    for key in ["one", "other"] {
        assert_eq!(say(key).await.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(texts(&stack, &conversation), ["yes", "yes"]);
    stack.finish().await;
}

/// One message is accepted after nine seconds, and 8x8 lists it at once. An equal one, sent meanwhile, is lost.
#[tokio::test]
async fn a_message_is_not_mistaken_for_an_equal_one_that_is_being_sent() {
    for is_keyed in [true, false] {
        let stack = Stack::start().await;
        let conversation = opened(&stack).await;
        stack.fault(Fault::AnswersSlowly, When::Next(1));
        let slow = async {
            match is_keyed {
                true => stack.chatbot.say(&conversation, "user", "yes", "slow").await.status(),
                false => send(&stack, &conversation, "yes").await,
            }
        };
        let lost = async {
            while texts(&stack, &conversation).is_empty() {
                tokio::task::yield_now().await;
            }
            stack.contact_center.break_next("POST", "messages", FailureKind::Drops, false);
            stack.chatbot.say(&conversation, "user", "yes", "lost").await
        };
        let (slow, lost) = tokio::join!(slow, lost);
        assert_eq!((slow, code_of(&json_of(&lost))), (StatusCode::ACCEPTED, "unknown"), "{is_keyed}");
        half_a_minute_passes(&stack);
        let again = stack.chatbot.say(&conversation, "user", "yes", "lost").await;
        assert_eq!(again.status(), StatusCode::ACCEPTED);
        assert_eq!(texts(&stack, &conversation), ["yes", "yes"]);
        stack.finish().await;
    }
}

#[tokio::test]
async fn writes_that_meet_each_other_are_repeated() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.cloud.dynamo_db.conflict(4);
    let response = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    stack.cloud.dynamo_db.conflict(2);
    assert_eq!(send(&stack, &conversation, "confidential: without a key").await, StatusCode::ACCEPTED);
    let again = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(texts(&stack, &conversation).len(), 2);
    stack.finish().await;
}

#[tokio::test]
async fn a_burst_of_messages_in_one_conversation_is_sent_once() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let say = async |number: usize| {
        let key = format!("key-{number}");
        stack.chatbot.say(&conversation, "user", "yes", &key).await.status()
    };
    let statuses = futures_util::future::join_all((0..20).map(say)).await;
    assert!(statuses.iter().all(|status| *status == StatusCode::ACCEPTED), "{statuses:?}");
    assert_eq!(texts(&stack, &conversation).len(), 20);
    stack.finish().await;
}

/// An administrator gives the API key the right that it lacks.
#[tokio::test]
async fn a_missing_right_is_not_remembered_under_a_key() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Status403, false);
    let say = async || stack.chatbot.say(&conversation, "user", "confidential", "key").await.status();
    assert_eq!(say().await, StatusCode::FORBIDDEN);
    assert_eq!(say().await, StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

/// A key is taken over just before it expires, and repeated just after.
#[tokio::test]
async fn an_unknown_outcome_is_known_for_a_day_after_its_last_attempt() {
    let stack = impatient().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    stack.fault(Fault::Status500, When::For(Duration::from_secs(60)));
    let say = async || stack.chatbot.say(&conversation, "user", "confidential", "key").await.status();
    assert_eq!(say().await, StatusCode::GATEWAY_TIMEOUT);
    // Twenty seconds are left of the day, and then none.
    stack.cloud.dynamo_db.advance(IDEMPOTENCY_TABLE, "expires_at", -24 * 3600 + 20);
    assert_eq!(say().await, StatusCode::GATEWAY_TIMEOUT);
    stack.cloud.dynamo_db.advance(IDEMPOTENCY_TABLE, "expires_at", -20);
    stack.faults.clear();
    assert_eq!(say().await, StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

#[tokio::test]
async fn a_creation_is_not_repeated_for_a_conversation_that_has_ended_and_the_answer_says_so() {
    let stack = Stack::start().await;
    let create = async || {
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, "one key for a whole session")];
        let headers = [headers[0].clone(), (KEY, &headers[1].1.replace(' ', "-"))];
        stack.chatbot.call(Method::POST, "", &headers, r#"{"user":{"name":"Sandbox Customer"}}"#).await
    };
    let first = create().await;
    assert!(!create().await.headers().contains_key("live-agent-conversation-ended"));
    let id = json_of(&first)["conversationId"].as_str().unwrap().to_owned();
    stack.contact_center.conversation(&id).unwrap().idle();
    let again = create().await;
    assert_eq!((again.status(), again.body()), (first.status(), first.body()));
    assert_eq!(again.headers()["live-agent-conversation-ended"], "true");
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
            let response = stack.chatbot.say(&conversation, "user", &text, &text.replace(' ', "")).await;
            match response.status() {
                StatusCode::ACCEPTED => break,
                // The dead process has the key for half a minute: it passes here.
                StatusCode::CONFLICT => {
                    let items = stack.cloud.dynamo_db.items(IDEMPOTENCY_TABLE);
                    assert!(items.iter().any(|item| item.get("response_status").is_none()));
                    // And another half a minute until it is settled what it did.
                    stack.cloud.dynamo_db.advance(IDEMPOTENCY_TABLE, "claimed_at", -60_000);
                    stack.cloud.dynamo_db.advance(IDEMPOTENCY_TABLE, "unknown_since", -60_000);
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
    let response = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(texts(&stack, &conversation), Vec::<String>::new());
    assert_eq!(send(&stack, &conversation, "confidential: without a key").await, StatusCode::ACCEPTED);
    stack.faults.clear();
    assert_eq!(stack.chatbot.say(&conversation, "user", "confidential", "key").await.status(), StatusCode::ACCEPTED);
    stack.finish().await;
}

/// The first write to the table is made while 8x8 works on the message, and the second one after its response.
#[tokio::test]
async fn a_message_without_a_key_does_not_wait_for_what_is_recorded_after_it() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let requests = || stack.cloud.requests_of(deployment::CONVERSE, "dynamodb");
    let before = requests();
    stack.fault(Fault::AnswersSlowly, When::Next(1));
    let table_hangs = async {
        wait_until(|| requests() == before + 1).await;
        stack.fault(aws::Fault::TableHangs, When::For(PATIENCE));
    };
    let (status, ()) = tokio::join!(send(&stack, &conversation, "yes"), table_hangs);
    assert_eq!((status, requests() - before), (StatusCode::ACCEPTED, 1));
    stack.faults.clear();
    wait_until(|| requests() == before + 2).await;
    stack.finish().await;
}
