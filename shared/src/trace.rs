//! Follows one conversation through the log lines: the fields of every line about an event or a call of the bot, and the steps
//! of their way.
//!
//! Every event has the lines of its ordinary path, [`QUEUED`] and [`DELIVERED`]. They are therefore short: no message repeats
//! the step, and no metric is written beside them. The template's metric filters derive metrics from these lines.
//!
//! A line is written after a step is done, and not in one transaction with it. A process that is killed in between writes no
//! line. If the step is done again, there may be two lines.

use tracing::{Span, field};

/// The field `step`: 8x8 gets a 2xx for an event, and SQS has stored it. There is a line for each time that 8x8 sends the
/// event.
pub const QUEUED: &str = "queued";
/// The bot platform does not have an event; the event waits in the queue.
pub const TRIED: &str = "tried";
/// The bot platform has an event.
pub const DELIVERED: &str = "delivered";
/// A typing event was skipped.
pub const SKIPPED: &str = "skipped";
/// An event is in the dead-letter queue.
pub const DEAD_LETTERED: &str = "dead-lettered";
/// A call of the bot got its response.
pub const CALL: &str = "call";

/// The fields of all lines about an event, as soon as [`identify`] has recorded which event it is. Enabled at every level,
/// because lines of every level need it.
pub fn event_span() -> Span {
    tracing::error_span!("event", conversation_id = field::Empty, event_id = field::Empty, event_type = field::Empty)
}

/// Records which event a span is about: the ids under which SQS stores it ([`crate::queue::permitted_id`]), which are short,
/// and its type if 8x8 documents the type, or that it does not.
pub fn identify(span: &Span, conversation_id: &str, event_id: &str, event_type: &str) {
    span.record("conversation_id", conversation_id).record("event_id", event_id).record("event_type", event_type);
}

/// The fields of all lines about a call of the bot: the operation; the conversation, which a creation has after 8x8 has created
/// it (`conversation_id`); and for a call with an `Idempotency-Key` the first eight characters of the key's digest (`key`).
pub fn call_span(operation: &str, conversation_id: Option<&str>) -> Span {
    tracing::error_span!("call", operation, conversation_id, key = field::Empty)
}
