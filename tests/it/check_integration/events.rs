//! What is wrong with events: in the queue, dead, or refused.

use std::sync::Arc;

use http::StatusCode;
use sandbox::deployment::{DEAD_LETTER_QUEUE, EVENT_QUEUE};
use serde_json::json;

use crate::support::{PATIENCE, message, now_millis};

use super::{CheckedStack, base64};

#[tokio::test]
async fn a_queue_that_does_not_exist_is_named() {
    let checked = CheckedStack::start().await;
    for (check, name) in [("event-queue", EVENT_QUEUE), ("dead-letters", DEAD_LETTER_QUEUE)] {
        let queue = checked.stack.cloud.sqs.remove(name).expect("there is one");
        let action = checked.suffers(check, "failed", "does not exist").await;
        assert!(action.starts_with("create the FIFO queue") && action.contains(name), "{action}");
        checked.stack.cloud.sqs.add(name, queue);
        checked.is_well().await;
    }
    checked.leaves().await;
}

#[tokio::test]
async fn an_event_that_waits_for_long_is_named_with_the_bot_platforms_reason() {
    let mut checked = CheckedStack::start().await;
    checked.stack.bot.refuse_conversation("slow", 503, None);
    // It came ten minutes ago.
    let event = json!({
        "body": base64(&message("slow")),
        "content_type": "application/json",
        "headers": { "x-8x8-event-id": "waits" },
        "received_at": now_millis() as u64 - 600_000,
    });
    checked.stack.queues.events.send(event.to_string(), json!({}), "slow", "waits");
    checked.until_logged("to be tried again", 1).await;
    let action = checked.suffers("event-queue", "failed", "the oldest for 10 min: status 503").await;
    checked.is_cured_by(&action).await;
    checked.leaves().await;
}

#[tokio::test]
async fn events_that_deliver_message_leaves_alone_are_named() {
    let mut checked = CheckedStack::start().await;
    // A queue without a trigger.
    let settings = checked.stack.queues.dead_letters.settings().clone();
    let queue = aws::cloud::fifo::FifoQueue::new(settings);
    queue.send(message("alone"), json!({}), "alone", "alone");
    checked.stack.cloud.sqs.add("alone.fifo", Arc::clone(&queue));
    checked.variables.insert("EVENT_QUEUE_URL", checked.stack.cloud.queue_url("alone.fifo"));
    let action = checked.suffers("event-queue", "failed", "deliver-message receives none").await;
    assert!(action.contains("trigger"), "{action}");
    for received in queue.receive(1, None) {
        queue.delete(&received.receipt_handle).expect("it was received");
    }
    checked.is_well().await;
    checked.leaves().await;
}

#[tokio::test]
async fn dead_letters_are_counted_by_their_reason() {
    let mut checked = CheckedStack::start().await;
    checked.stack.bot.refuse_conversation("dead", 400, None);
    for _ in 0..2 {
        assert_eq!(checked.stack.post_signed(message("dead")).await.status(), StatusCode::OK);
        assert!(checked.stack.settle(PATIENCE).await);
    }
    checked.until_logged("to the dead-letter queue", 2).await;
    let found = "2 dead letters; moved there within a day: 2 × rejected";
    let action = checked.suffers("dead-letters", "failed", found).await;
    checked.is_cured_by(&action).await;
    checked.leaves().await;
}

#[tokio::test]
async fn requests_without_a_signature_are_no_finding() {
    let checked = CheckedStack::start().await;
    let refused = checked.stack.post(&Vec::new(), message("noise")).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    checked.until_logged("no-credentials", 1).await;
    checked.is_well().await;
    // A forger is one.
    let body = message("forged");
    let mut headers = checked.stack.signed(body.as_bytes());
    for (name, value) in &mut headers {
        if *name == "x-8x8-event-id" {
            *value = "another".to_owned();
        }
    }
    assert_eq!(checked.stack.post(&headers, body).await.status(), StatusCode::UNAUTHORIZED);
    checked.until_logged("\"reason\":\"forged\"", 1).await;
    checked.suffers("refused-events", "failed", "1 × forged").await;
    checked.leaves().await;
}
