//! What happens when 8x8 does not respond: a message is sent once, or its outcome is said to be unknown until it is known.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use contact_center::{FailureKind, Fault};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use sandbox::deployment::IDEMPOTENCY_TABLE;
use serde_json::json;
use simulation::faults::When;

use super::{KEY, code_of, half_a_minute_passes, impatient, json_of, opened, send, texts};
use crate::support::Stack;

const UNANSWERED: [FailureKind; 4] =
    [FailureKind::Status500, FailureKind::Status504, FailureKind::Drops, FailureKind::Hangs];

#[tokio::test]
async fn what_8x8_has_done_without_saying_so_is_found_in_the_same_call() {
    for kind in UNANSWERED {
        let stack = Stack::start().await;
        let conversation = opened(&stack).await;
        stack.contact_center.break_next("POST", "messages", kind, true);
        assert_eq!(send(&stack, &conversation, "confidential").await, StatusCode::ACCEPTED, "{kind:?}");
        assert_eq!(texts(&stack, &conversation), ["confidential"], "{kind:?}");
        stack.finish().await;
    }
}

#[tokio::test]
async fn what_8x8_does_seconds_later_is_found_in_the_same_call() {
    for kind in UNANSWERED {
        let stack = Stack::start().await;
        let conversation = opened(&stack).await;
        stack.contact_center.break_next_late("POST", "messages", kind, Duration::from_secs(3));
        assert_eq!(send(&stack, &conversation, "confidential").await, StatusCode::ACCEPTED, "{kind:?}");
        assert_eq!(texts(&stack, &conversation), ["confidential"], "{kind:?}");
        stack.finish().await;
    }
}

#[tokio::test]
async fn what_8x8_does_after_the_call_is_found_by_the_repeat() {
    let stack = impatient().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next_late("POST", "messages", FailureKind::Drops, Duration::from_secs(10));
    let response = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!((response.status(), code_of(&json_of(&response))), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
    assert_eq!(texts(&stack, &conversation), Vec::<String>::new());
    let again = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!(again.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

/// Each kind has a set of its own, and all of them wait at the same time.
#[tokio::test]
async fn what_8x8_has_not_done_is_sent_again_half_a_minute_later_and_not_before() {
    let settle = async |kind: FailureKind| {
        let stack = impatient().await;
        let conversation = opened(&stack).await;
        stack.contact_center.break_next("POST", "messages", kind, false);
        for _ in 0..2 {
            let response = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
            let code = code_of(&json_of(&response)).to_owned();
            assert_eq!((response.status(), &*code), (StatusCode::GATEWAY_TIMEOUT, "unknown"), "{kind:?}");
            let wait: u64 = response.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
            assert!((1..=30).contains(&wait), "{wait}");
            assert_eq!(texts(&stack, &conversation), Vec::<String>::new(), "{kind:?}");
        }
        half_a_minute_passes(&stack);
        let response = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{kind:?}");
        assert_eq!(texts(&stack, &conversation), ["confidential"], "{kind:?}");
        stack.finish().await;
    };
    let [one, two, three, four] = UNANSWERED.map(settle);
    tokio::join!(one, two, three, four);
}

#[tokio::test]
async fn a_slow_8x8_is_waited_for() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.fault(Fault::AnswersSlowly, When::Next(1));
    let started = Instant::now();
    assert_eq!(send(&stack, &conversation, "confidential").await, StatusCode::ACCEPTED);
    assert!(started.elapsed() > Duration::from_secs(8), "the fault strikes");
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    assert_eq!(stack.logged("\"OutcomesToReconcile\""), 0, "its response is the outcome");
    stack.finish().await;
}

#[tokio::test]
async fn a_customer_is_queued_once_whether_8x8_did_it_without_saying_so_or_not() {
    let stack = impatient().await;
    // More open conversations than fit on a page.
    for _ in 0..120 {
        stack.contact_center.open_conversation(&stack.channel_id);
    }
    let others: BTreeSet<String> = stack.contact_center.conversation_ids().into_iter().collect();
    let mut ours = BTreeSet::new();
    let create = async |key: &str| {
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, key)];
        stack.chatbot.call(Method::POST, "", &headers, r#"{"user":{"name":"Sandbox Customer"}}"#).await
    };
    for kind in [FailureKind::Status500, FailureKind::Drops] {
        for is_carried_out in [true, false] {
            let key = format!("{kind:?} {is_carried_out}").replace(' ', "");
            stack.contact_center.break_next("POST", "conversations", kind, is_carried_out);
            let mut response = create(&key).await;
            if !is_carried_out {
                assert_eq!(code_of(&json_of(&response)), "unknown");
                half_a_minute_passes(&stack);
                response = create(&key).await;
            }
            assert_eq!(response.status(), StatusCode::ACCEPTED);
            ours.insert(json_of(&response)["conversationId"].as_str().unwrap().to_owned());
        }
    }
    let all: BTreeSet<String> = stack.contact_center.conversation_ids().into_iter().collect();
    assert_eq!(all.difference(&others).cloned().collect::<BTreeSet<_>>(), ours);
    assert_eq!(ours.len(), 4);
    stack.finish().await;
}

/// What a filter on the state would hide.
#[tokio::test]
async fn a_conversation_that_has_ended_meanwhile_is_not_created_again() {
    let stack = impatient().await;
    stack.contact_center.break_next("POST", "conversations", FailureKind::Drops, true);
    stack.fault(Fault::Status500, When::For(Duration::from_secs(60)));
    let create = async || {
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, "creation")];
        stack.chatbot.call(Method::POST, "", &headers, r#"{"user":{"name":"Sandbox Customer"}}"#).await
    };
    assert_eq!(code_of(&json_of(&create().await)), "unknown");
    stack.faults.clear();
    let ids = stack.contact_center.conversation_ids();
    stack.contact_center.conversation(&ids[0]).unwrap().idle();
    half_a_minute_passes(&stack);
    let response = create().await;
    assert_eq!(
        (response.status(), json_of(&response)["conversationId"].as_str()),
        (StatusCode::ACCEPTED, Some(&*ids[0]))
    );
    assert_eq!(stack.contact_center.conversation_ids().len(), 1);
    stack.finish().await;
}

#[tokio::test]
async fn the_same_text_again_is_another_message() {
    let stack = impatient().await;
    for is_carried_out in [true, false] {
        let conversation = opened(&stack).await;
        assert_eq!(send(&stack, &conversation, "yes").await, StatusCode::ACCEPTED);
        stack.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        let key = format!("key-{is_carried_out}");
        let mut response = stack.chatbot.say(&conversation, "user", "yes", &key).await;
        if !is_carried_out {
            assert_eq!(code_of(&json_of(&response)), "unknown");
            half_a_minute_passes(&stack);
            response = stack.chatbot.say(&conversation, "user", "yes", &key).await;
        }
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{is_carried_out}");
        assert_eq!(texts(&stack, &conversation), ["yes", "yes"], "{is_carried_out}");
    }
    stack.finish().await;
}

/// The first one is listed for the time in which it was answered, which is later than the second was sent.
#[tokio::test]
async fn the_same_text_after_a_slow_answer_is_another_message() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.fault(Fault::AnswersSlowly, When::Next(1));
    assert_eq!(send(&stack, &conversation, "yes").await, StatusCode::ACCEPTED);
    stack.contact_center.break_next("POST", "messages", FailureKind::Drops, false);
    let response = stack.chatbot.say(&conversation, "user", "yes", "key").await;
    assert_eq!(code_of(&json_of(&response)), "unknown");
    half_a_minute_passes(&stack);
    assert_eq!(stack.chatbot.say(&conversation, "user", "yes", "key").await.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&stack, &conversation), ["yes", "yes"]);
    stack.finish().await;
}

#[tokio::test]
async fn a_message_is_found_behind_a_hundred_others_and_in_a_list_that_is_sorted_the_other_way() {
    let stack = impatient().await;
    for is_oldest_first in [false, true] {
        let conversation = opened(&stack).await;
        let key = format!("key-{is_oldest_first}");
        stack.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
        stack.fault(Fault::Status500, When::For(Duration::from_secs(60)));
        let response = stack.chatbot.say(&conversation, "user", "confidential", &key).await;
        assert_eq!(code_of(&json_of(&response)), "unknown");
        stack.faults.clear();
        let agent = stack.contact_center.conversation(&conversation).unwrap();
        for number in 0..250 {
            agent.writes("agent", &format!("confidential: {number}"));
        }
        if is_oldest_first {
            stack.fault(Fault::ListsOldestFirst, When::For(Duration::from_secs(60)));
        }
        half_a_minute_passes(&stack);
        let response = stack.chatbot.say(&conversation, "user", "confidential", &key).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let said = texts(&stack, &conversation);
        assert_eq!((said.len(), said.iter().filter(|text| *text == "confidential").count()), (251, 1));
        stack.faults.clear();
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_probe_that_gets_no_response_is_repeated() {
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
async fn what_8x8_does_not_list_is_never_sent_again_under_its_key_and_a_new_key_sends_it() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let (webhooks, _) = stack.contact_center.registered();
    let body = json!({ "type": "webhook", "id": webhooks[0]["id"] }).to_string();
    let path = format!("/{conversation}/post-agent-assignment");
    let assignments = || stack.contact_center.kept(&conversation)["postAgentAssignments"].as_array().unwrap().len();
    stack.contact_center.break_next("POST", "post-agent-assignment", FailureKind::Drops, false);
    let assign = async |key: &str| {
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, key)];
        stack.chatbot.call(Method::POST, &path, &headers, body.clone()).await
    };
    for _ in 0..2 {
        let response = assign("hand-back").await;
        let response_json = json_of(&response);
        assert_eq!((response.status(), code_of(&response_json)), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
        let message = response_json["message"].as_str().unwrap();
        assert!(message.contains("never sends it again") && message.contains("with a new key"), "{message}");
        assert!(!response.headers().contains_key(RETRY_AFTER), "there is nothing to wait for");
        assert_eq!(assignments(), 0);
        half_a_minute_passes(&stack);
    }
    assert_eq!(stack.logged("\"OutcomesUnknown\":1"), 2);
    assert_eq!(assign("hand-back-2").await.status(), StatusCode::CREATED);
    assert_eq!(assignments(), 1);
    stack.finish().await;
}

/// 8x8 informs the agent and the webhook of every action: a second one would be seen.
#[tokio::test]
async fn a_card_action_of_unknown_outcome_is_never_sent_again_under_its_key_and_a_new_key_sends_it() {
    for (resource, flag) in [("action-submit", "actionSubmitted"), ("action-execute", "actionExecuted")] {
        for is_carried_out in [true, false] {
            let stack = Stack::start().await;
            let conversation = opened(&stack).await;
            let content = json!({ "title": "confidential", "options": [{ "title": "Refund" }] });
            let card = json!({ "contentType": "application/8x8.quick.replies", "content": content });
            let message = json!({ "authorType": "bot", "cards": [card] });
            let path = format!("/{conversation}/messages");
            assert_eq!(stack.chatbot.json(Method::POST, &path, &message).await.0, StatusCode::ACCEPTED);
            let card = || stack.contact_center.messages(&conversation)[0]["cards"][0].clone();
            let path = format!("/{conversation}/cards/{}/{resource}", card()["id"].as_str().expect("a card has an id"));
            let act = async |key: &str| {
                let headers = [(CONTENT_TYPE, "application/json"), (KEY, key)];
                stack.chatbot.call(Method::PUT, &path, &headers, r#"{"name":"Refund"}"#).await
            };
            stack.contact_center.break_next("PUT", resource, FailureKind::Drops, is_carried_out);
            for _ in 0..2 {
                let response = act("choice").await;
                assert_eq!((response.status(), code_of(&json_of(&response))), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
                assert!(!response.headers().contains_key(RETRY_AFTER), "there is nothing to wait for");
                half_a_minute_passes(&stack);
            }
            assert_eq!(card()[flag] == true, is_carried_out, "{resource}");
            assert_eq!(act("choice-2").await.status(), StatusCode::NO_CONTENT);
            assert_eq!(card()[flag], true);
            stack.finish().await;
        }
    }
}

#[tokio::test]
async fn while_8x8_is_down_nothing_is_a_success() {
    let stack = impatient().await;
    let conversation = opened(&stack).await;
    stack.fault(Fault::Drops, When::For(Duration::from_secs(60)));
    let (status, response) = stack.chatbot.get(&format!("/{conversation}")).await;
    assert_eq!((status, code_of(&response)), (StatusCode::GATEWAY_TIMEOUT, "no_response"));
    let body = json!({ "authorType": "user", "text": "confidential" });
    let (status, response) = stack.chatbot.json(Method::POST, &format!("/{conversation}/messages"), &body).await;
    assert_eq!((status, code_of(&response)), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
    stack.faults.clear();
    // 8x8's own error, where nothing is added.
    for _ in 0..3 {
        stack.contact_center.break_next("GET", "participants", FailureKind::Status500, false);
    }
    let (status, _) = stack.chatbot.get(&format!("/{conversation}/participants")).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    stack.finish().await;
}

#[tokio::test]
async fn while_8x8_hangs_the_answer_comes_before_api_gateway_gives_up() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.fault(Fault::Hangs, When::For(Duration::from_secs(300)));
    let started = Instant::now();
    let response = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!((response.status(), code_of(&json_of(&response))), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
    assert!(started.elapsed() < Duration::from_secs(29), "{:?}", started.elapsed());
    stack.faults.clear();
    half_a_minute_passes(&stack);
    let again = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!((again.status(), texts(&stack, &conversation).len()), (StatusCode::ACCEPTED, 1));
    stack.finish().await;
}

#[tokio::test]
async fn when_8x8_is_busy_the_bridge_waits_as_long_as_8x8_says_and_then_passes_it_on() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Status429, false);
    assert_eq!(send(&stack, &conversation, "confidential").await, StatusCode::ACCEPTED);
    stack.fault(Fault::Status429, When::For(Duration::from_secs(60)));
    let path = format!("/{conversation}/messages");
    let headers = [(CONTENT_TYPE, "application/json")];
    let response = stack.chatbot.call(Method::POST, &path, &headers, r#"{"authorType":"user","text":"x"}"#).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    stack.faults.clear();
    assert_eq!(texts(&stack, &conversation), ["confidential"]);
    stack.finish().await;
}

/// 8x8 answers every probe with 429 and `Retry-After: 1`.
#[tokio::test]
async fn a_busy_8x8_is_not_asked_more_often_than_it_says() {
    let stack = impatient().await;
    let conversation = opened(&stack).await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Drops, false);
    for _ in 0..100 {
        stack.contact_center.break_next("GET", "messages", FailureKind::Status429, false);
    }
    let before = stack.contact_center.planned_failures();
    let response = stack.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!(code_of(&json_of(&response)), "unknown");
    let probes = before - stack.contact_center.planned_failures();
    assert!((2..=7).contains(&probes), "{probes} probes in 7.5 s");
    assert!(stack.cloud.dynamo_db.items(IDEMPOTENCY_TABLE).iter().any(|item| item.get("ended_at").is_some()));
    stack.finish().await;
}
