//! How one conversation is followed through the log lines: the fields of every line about an event or a call of the bot, and
//! the steps of their way.
//!
//! Every event has the lines of its ordinary path, [`QUEUED`] and [`DELIVERED`], so that they are short: no message repeats the
//! step, and no metric is written beside them. The template's metric filters make metrics of these lines.
//!
//! A line is written when a step is done, not in one transaction with it: a process that is killed in between leaves no line,
//! and leaves the line twice if the step is done again.

use tracing::{Span, field};

/// The field `step`: 8x8 gets a 2xx for an event, and SQS has it. A line for each time that 8x8 sends it.
pub const QUEUED: &str = "queued";
/// The bot platform does not have an event; it waits in the queue.
pub const TRIED: &str = "tried";
/// The bot platform has an event.
pub const DELIVERED: &str = "delivered";
/// A typing event is not delivered, and will not be.
pub const SKIPPED: &str = "skipped";
/// An event is in the dead-letter queue.
pub const DEAD_LETTERED: &str = "dead-lettered";
/// A call of the bot is answered.
pub const CALL: &str = "call";

/// What all lines about an event have, as soon as [`identify`] has said which event it is. Enabled at every level, since it
/// is for lines of every level.
pub fn event_span() -> Span {
    tracing::error_span!("event", conversation_id = field::Empty, event_id = field::Empty, event_type = field::Empty)
}

/// Says which event a span is about: by the ids under which SQS has it ([`crate::queue::permitted_id`]), which are short, and
/// a type that 8x8 documents or the fact that it does not.
pub fn identify(span: &Span, conversation_id: &str, event_id: &str, event_type: &str) {
    span.record("conversation_id", conversation_id).record("event_id", event_id).record("event_type", event_type);
}

/// What all lines about a call of the bot have: the operation; the conversation, which a creation has when 8x8 has made it
/// (`conversation_id`); and for a call with an `Idempotency-Key` the first eight characters of the key's digest (`key`).
pub fn call_span(operation: &str, conversation_id: Option<&str>) -> Span {
    tracing::error_span!("call", operation, conversation_id, key = field::Empty)
}
