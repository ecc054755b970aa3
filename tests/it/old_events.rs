//! Typing events and old events: what is worth nothing later is not delivered later.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sandbox::SandboxSettings;
use sandbox::trace::Trace;
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::queue::QueuedEvent;
use simulation::faults::When;

use crate::support::{PATIENCE, Stack, message, received, wait_until};

fn typing(conversation_id: &str) -> String {
    let data = json!({ "name": "typing", "value": { "users": [{ "type": "agent", "id": "a" }] } });
    json!({ "eventType": "ACTIVITY", "conversationId": conversation_id, "timestamp": 1, "data": data }).to_string()
}

/// Puts an event into the queue as receive-message did so long ago.
fn queue(stack: &Stack, conversation_id: &str, id: &str, body: String, age: Duration) {
    let event = QueuedEvent {
        is_typing: body.contains("typing"),
        body: Bytes::from(body),
        content_type: Some("application/json".to_owned()),
        headers: [("x-8x8-event-id".to_owned(), id.to_owned())].into(),
        received_at: UnixTime::now() - age,
        event_type: Some("ACTIVITY".to_owned()),
    };
    stack.queues.events.send(event.to_message().expect("it is JSON"), json!({}), conversation_id, id);
}

/// How many events have that step.
fn count(stack: &Stack, ids: &[String], step: &str) -> usize {
    let trace = Trace::of(&stack.logs());
    ids.iter().map(|id| trace.count(id, step)).sum()
}

#[tokio::test]
async fn after_ten_minutes_of_outage_the_first_post_is_the_message() {
    let stack = Stack::with(SandboxSettings { time_scale: 60, ..SandboxSettings::default() }).await;
    let conversation = "c";
    stack.bot.refuse_conversation(conversation, 503, None);
    let mut ids = Vec::new();
    // Every three seconds an agent types; five minutes ago one wrote.
    for seconds in (0..600).rev().step_by(3) {
        let id = format!("typing-{seconds}");
        queue(&stack, conversation, &id, typing(conversation), Duration::from_secs(seconds));
        ids.push(id);
        if ids.len() == 100 {
            queue(&stack, conversation, "message", message(conversation), Duration::from_secs(seconds));
            ids.push("message".to_owned());
        }
    }
    wait_until(|| count(&stack, &ids, "tried") > 0).await;
    assert_eq!(count(&stack, &ids, "skipped"), 100, "what came before the message has not waited");
    stack.bot.take_conversation(conversation);
    assert!(stack.settle(PATIENCE).await);

    let received = received(&stack, conversation);
    assert_eq!(received.first().map(String::as_str), Some("message"));
    let fresh: Vec<&String> = ids.iter().skip(201 - (received.len() - 1)).collect();
    assert_eq!(received[1..].iter().collect::<Vec<_>>(), fresh, "only the last typing events are fresh");
    assert!(fresh.len() <= 11, "{fresh:?}");
    wait_until(|| count(&stack, &ids, "delivered") + count(&stack, &ids, "skipped") == ids.len()).await;
    assert_eq!(count(&stack, &ids, "delivered"), received.len());
    assert_eq!(stack.logged(r#""EventsSkipped":1"#), ids.len() - received.len());
    assert_eq!(stack.queues.dead_letters.len(), 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_typing_event_that_fails_is_skipped_and_not_tried_again() {
    for status in [400, 401, 403, 429, 503] {
        let stack = Stack::start().await;
        stack.refresh_tokens().await.expect("the first token");
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        stack.bot.refuse_conversation(conversation.id(), status, Some(60));
        let id = conversation.event("ACTIVITY", typing(conversation.id()));
        assert!(stack.settle(PATIENCE).await);
        wait_until(|| count(&stack, std::slice::from_ref(&id), "skipped") == 1).await;
        // With a token that is refused, once more with another one.
        let tries = if [401, 403].contains(&status) { 2 } else { 1 };
        assert_eq!(stack.bot.refused_with(status), tries, "{status}");
        assert_eq!((stack.logged("tried again"), stack.queues.dead_letters.len()), (0, 0), "{status}");
        stack.bot.take_conversation(conversation.id());
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_typing_event_that_gets_no_response_delays_what_follows_by_three_seconds() {
    let stack = Stack::start().await;
    stack.refresh_tokens().await.expect("the first token");
    stack.fault(bot_platform::Fault::Hangs, When::Next(1));
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let started = Instant::now();
    conversation.event("ACTIVITY", typing(conversation.id()));
    let message = conversation.event("MESSAGE", message(conversation.id()));
    wait_until(|| received(&stack, conversation.id()).contains(&message)).await;
    // The try of a message may take 8 s.
    let elapsed = started.elapsed();
    assert!((3..8).contains(&elapsed.as_secs()), "{elapsed:?}");
    stack.finish().await;
}

#[tokio::test]
async fn an_event_that_is_too_old_goes_to_the_dead_letters_and_is_delivered_when_it_comes_from_there() {
    let stack = Stack::with(SandboxSettings { max_event_age_minutes: 10, ..SandboxSettings::default() }).await;
    let minute = Duration::from_secs(60);
    queue(&stack, "c", "old", message("c"), minute * 10 + Duration::from_secs(1));
    queue(&stack, "c", "young", message("c"), minute * 9);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, "c"), ["young"]);
    let dead = stack.queues.dead_letters.contents().remove(0);
    let reason = json!({ "reason": { "DataType": "String", "StringValue": "expired" } });
    assert_eq!((&dead.message_attributes, dead.group.as_str()), (&reason, "c"));
    wait_until(|| count(&stack, &["old".to_owned()], "dead-lettered") == 1).await;
    assert_eq!(stack.logged(r#""EventsExpired":1"#), 1);

    // By manage-dead-letters; by SQS's own redrive, which keeps the attributes.
    let redriven = json!({ "redriven": { "DataType": "String", "StringValue": "true" } });
    for (number, attributes) in [redriven, reason].into_iter().enumerate() {
        let body = dead.body.replace("old", &format!("old-{number}"));
        stack.queues.events.send(body, attributes, "c", &format!("redriven-{number}"));
    }
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, "c"), ["young", "old-0", "old-1"]);
    stack.finish().await;
}

#[tokio::test]
async fn without_a_limit_an_event_is_delivered_however_old_it_is() {
    let stack = Stack::start().await;
    queue(&stack, "c", "old", message("c"), Duration::from_secs(13 * 24 * 3600));
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, "c"), ["old"]);
    stack.finish().await;
}

#[tokio::test]
async fn a_typing_event_that_comes_from_the_dead_letters_is_delivered_as_any_other() {
    let stack = Stack::with(SandboxSettings { time_scale: 60, ..SandboxSettings::default() }).await;
    stack.bot.refuse_conversation("c", 503, None);
    let event = QueuedEvent {
        body: Bytes::from(typing("c")),
        content_type: Some("application/json".to_owned()),
        headers: [("x-8x8-event-id".to_owned(), "typing".to_owned())].into(),
        received_at: UnixTime::from_secs(0),
        event_type: Some("ACTIVITY".to_owned()),
        is_typing: true,
    };
    let redriven = json!({ "redriven": { "DataType": "String", "StringValue": "true" } });
    stack.queues.events.send(event.to_message().expect("it is JSON"), redriven, "c", "again");
    wait_until(|| stack.logged("tried again") > 0).await;
    stack.bot.take_conversation("c");
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, "c"), ["typing"]);
    stack.finish().await;
}

#[tokio::test]
async fn what_a_former_version_has_queued_is_delivered() {
    let stack = Stack::start().await;
    let mut event: Value =
        json!({ "content_type": "application/json", "headers": { "x-8x8-event-id": "e" }, "received_at": 1 });
    event["body"] = json!(base64::Engine::encode(&base64::engine::general_purpose::STANDARD, message("c")));
    stack.queues.events.send(event.to_string(), json!({}), "c", "e");
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, "c"), ["e"]);
    wait_until(|| count(&stack, &["e".to_owned()], "delivered") == 1).await;
    assert_eq!(Trace::of(&stack.logs()).nameless(), [""; 0]);
    stack.finish().await;
}
