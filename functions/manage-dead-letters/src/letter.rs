//! A dead letter: what SQS has of it, and what an operator is shown of it. Never a text.

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use serde::Serialize;
use shared::clock::UnixTime;
use shared::queue::QueuedEvent;

/// The attributes that deliver-message gives a dead letter.
pub(crate) const REASON: &str = "reason";
/// See [`REASON`]: the bot platform's HTTP status.
pub(crate) const STATUS: &str = "status";

/// The reason of a letter that has none: SQS moves a message as it is, after the event queue's `maxReceiveCount`.
const UNDELIVERED: &str = "undelivered";

/// A letter that this run has received: hidden from everyone else until it is released or deleted.
#[derive(Debug)]
pub(crate) struct Letter {
    /// SQS's id of the message.
    pub(crate) id: String,
    pub(crate) receipt_handle: String,
    /// As it is in the queue.
    pub(crate) body: String,
    /// The message group: one a conversation.
    pub(crate) group: String,
    /// When it became a dead letter.
    pub(crate) stored_at: UnixTime,
    pub(crate) summary: Summary,
}

/// What an operator is shown. All but age and reason is null if the message is not one of receive-message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    pub(crate) event_id: Option<String>,
    pub(crate) conversation_id: Option<String>,
    /// A type that 8x8 documents, else `undocumented`.
    pub(crate) event_type: Option<String>,
    /// Seconds since 8x8 sent the event; of any other message, since it became a dead letter.
    pub(crate) age_s: u64,
    /// What the bot platform responded with.
    pub(crate) status: Option<u16>,
    pub(crate) reason: String,
}

impl Letter {
    /// Reads a message of the dead-letter queue; `None` without what SQS gives every message of a FIFO queue.
    pub(crate) fn of(message: Message, now: UnixTime) -> Option<Self> {
        let system = |name| message.attributes.as_ref()?.get(&name).map(String::as_str);
        let group = system(MessageSystemAttributeName::MessageGroupId)?.to_owned();
        let stored_at = UnixTime::from_millis(system(MessageSystemAttributeName::SentTimestamp)?.parse().ok()?);
        let attribute = |name| message.message_attributes.as_ref()?.get(name)?.string_value.as_deref();
        let (reason, status) = (attribute(REASON), attribute(STATUS));
        let body = message.body?;
        let summary = Summary::of(&body, reason, status, stored_at, now);
        Some(Self { id: message.message_id?, receipt_handle: message.receipt_handle?, body, group, stored_at, summary })
    }
}

impl Summary {
    fn of(body: &str, reason: Option<&str>, status: Option<&str>, stored_at: UnixTime, now: UnixTime) -> Self {
        let queued = QueuedEvent::from_message(body);
        let event = queued.as_ref().and_then(|queued| queued.event().ok());
        let sent_at = queued.as_ref().map_or(stored_at, QueuedEvent::transmitted_at);
        Self {
            event_id: queued.as_ref().and_then(QueuedEvent::id).map(str::to_owned),
            event_type: event.as_ref().map(|event| event.name().to_owned()),
            conversation_id: event.and_then(|event| event.conversation_id),
            age_s: now.since(sent_at).as_secs(),
            status: status.and_then(|status| status.parse().ok()),
            reason: reason.unwrap_or(UNDELIVERED).to_owned(),
        }
    }

    /// Its bytes in the response.
    pub(crate) fn size(&self) -> usize {
        // Strings and numbers: this cannot fail.
        serde_json::to_vec(self).map_or(0, |json| json.len())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const STORED_AT: UnixTime = UnixTime::from_secs(1_800_000_000);
    const NOW: UnixTime = UnixTime::from_secs(1_800_000_007);

    fn summary(body: &str, reason: Option<&str>, status: Option<&str>) -> serde_json::Value {
        json!(Summary::of(body, reason, status, STORED_AT, NOW))
    }

    fn queued(event: &str) -> String {
        json!({
            "body": STANDARD.encode(event),
            "content_type": "application/json",
            "headers": { "x-8x8-event-id": "e1", "x-8x8-transmission-time": "1799999997000" },
            "received_at": 1_799_999_998_000_u64,
        })
        .to_string()
    }

    #[test]
    fn a_letter_shows_ids_type_age_status_and_reason() {
        let event = queued(r#"{"eventType":"MESSAGE","conversationId":"c1","data":{"text":"confidential"}}"#);
        let expected = json!({
            "event_id": "e1", "conversation_id": "c1", "event_type": "MESSAGE", "age_s": 10, "status": 422, "reason": "refused",
        });
        assert_eq!(summary(&event, Some("refused"), Some("422")), expected);
    }

    #[test]
    fn a_type_that_8x8_does_not_document_is_not_shown() {
        let shown = summary(&queued(r#"{"eventType":"confidential"}"#), None, None);
        assert_eq!((&shown["event_type"], &shown["reason"]), (&json!("undocumented"), &json!("undelivered")));
    }

    #[test]
    fn a_message_that_is_no_event_has_a_reason_and_an_age() {
        let expected = json!({
            "event_id": null, "conversation_id": null, "event_type": null, "age_s": 7, "status": null, "reason": "undelivered",
        });
        assert_eq!(summary("confidential", None, Some("no number")), expected);
        let no_event = summary(&queued("confidential"), None, None);
        assert_eq!((&no_event["event_id"], &no_event["event_type"]), (&json!("e1"), &json!(null)));
    }

    proptest! {
        #[test]
        fn no_text_of_an_event_is_shown(text in "[a-z]{12,20}", event_type in "[A-Z_]{1,10}") {
            let event = json!({ "eventType": event_type, "conversationId": "c1", "data": { "text": text, "name": text } });
            for body in [queued(&event.to_string()), text.clone()] {
                prop_assert!(!summary(&body, None, None).to_string().contains(&text));
            }
        }
    }
}
