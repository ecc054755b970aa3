//! Logs as JSON lines, and metrics.
//!
//! Three metrics belong to the ordinary path of an event. Metric filters of the template derive them from its log lines
//! ([`crate::trace`]), because metrics written beside these lines would double the cost of an event's logs. Their namespace is
//! `LiveAgentBridge/<stack>`. They have no dimension: each line would have to hold its value.
//!
//! All others are written as log lines in CloudWatch's embedded metric format, into the namespace `LiveAgentBridge`.
//!
//! | metric | unit | dimension beside `FunctionName` | written by | counts |
//! |---|---|---|---|---|
//! | `EventsReceived` | count | no `FunctionName` either | the filter of receive-message's step `queued` | events that are accepted and stored |
//! | `EventsUndocumented` | count | | receive-message | of those, of a type that 8x8 does not document |
//! | `EventsRepeated` | count | | receive-message | of those, sent again by 8x8 (`x-8x8-retry` above 0), because it got no 2xx the first time |
//! | `EventsWithoutTenantCheck` | count | | receive-message | of those, accepted while `TenantId` is empty |
//! | `EventsRefused` | count | none, and `Reason` | receive-message | rejected requests, by the reasons of its statuses |
//! | `EventsDelivered` | count | no `FunctionName` either | the filter of deliver-message's step `delivered` | events that the bot platform accepted |
//! | `EventsRetried` | count | | deliver-message | events that are back in the queue, to be tried later |
//! | `EventsDeadLettered` | count | | deliver-message | events that are moved to the dead-letter queue |
//! | `EventsExpired` | count | | deliver-message | of those, older than `MaxEventAgeMinutes` |
//! | `EventsSkipped` | count | | deliver-message | typing events that are not delivered |
//! | `EventAge` | milliseconds | no `FunctionName` either | the filter of deliver-message's step `delivered` | `age_ms`: from 8x8's transmission to the bot platform's 2xx |
//! | `TokenSecondsLeft` | seconds | `Token` | refresh-tokens | remaining life of `bot` and `contact-center` after a run |
//! | `TokenLifeLeft` | percent | `Token` | refresh-tokens | the same as a share of the token's whole life |
//! | `TokenOverdue` | count | `Token` | refresh-tokens | 1 if the token should have been renewed and was not, else 0 |
//! | `ChannelDifferences` | count | | register-channel | differences that a review found; 0 after a registration |
//! | `TokensRefused` | count | none, and `Reason` | issue-token | token requests that got none, by the errors of its statuses |
//! | `ConversationCalls` | count | none, and `Outcome` | converse | calls of the bot: `done`, `refused`, `failed`, `unsupported` |
//! | `OutcomesToReconcile` | count | | converse | of those, calls of which 8x8 did not say whether it carried them out |
//! | `OutcomesUnknown` | count | | converse | of those, never found out: answered 504 `unknown` |
//! | `HandoversNotRecorded` | count | | deliver-message | life-cycle events whose hand-over could not be written to the table |
//! | `HandoversWaiting` | count | | watch-handovers | customers who wait for an agent, every minute |
//! | `OldestWaiting` | seconds | | watch-handovers | how long the first of them has waited |
//! | `TimeToAgent` | seconds | | watch-handovers | from the queue to the first agent, once a hand-over |
//! | `CustomersLeftWaiting` | count | | watch-handovers | customers who left while they waited |
//! | `HandoversEnded` | count | none, and `Reason` | watch-handovers | ended hand-overs, once each: `before_agent`, `after_agent`, `user_ended`, `no_agent`, `idle` |
//!
//! None of them holds anything of a message, a person, a header or a secret.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::log_line::{FieldFormat, LineFormat};

const NAMESPACE: &str = "LiveAgentBridge";

static COLLECTOR: OnceLock<&'static Collector> = OnceLock::new();

/// Starts logs and metrics. A second call changes nothing.
///
/// `AWS_LAMBDA_LOG_LEVEL` (Lambda's own setting) chooses the level of our lines: those of this crate and of `function`, the
/// crate of the function that is started. Libraries log only warnings and errors, whatever the level is: at lower levels, the
/// AWS SDK and the HTTP client log requests, which hold secrets. At `DEBUG` there is a line for each span of the start.
pub(crate) fn init(function: &'static str) {
    let level = match std::env::var("AWS_LAMBDA_LOG_LEVEL").as_deref() {
        Ok("FATAL") => Level::ERROR, // Lambda's level above the highest that there is here
        Ok(level) => level.parse().unwrap_or(Level::INFO),
        Err(_) => Level::INFO,
    };
    let filter = Targets::new()
        .with_default(Level::WARN.min(level))
        .with_targets([env!("CARGO_CRATE_NAME"), function].map(|target| (target, level)))
        // The span with the request's id.
        .with_target("lambda_runtime", Level::INFO)
        // Warns that our transport cannot close a connection after a time-out. This is not needed: hyper closes it.
        .with_target("aws_smithy_runtime::client::http::connection_poisoning", LevelFilter::OFF);
    let is_debug = level >= Level::DEBUG;
    let spans = if is_debug { FmtSpan::CLOSE } else { FmtSpan::NONE };
    let lines = tracing_subscriber::fmt::layer().with_span_events(spans);
    let lines = lines.fmt_fields(FieldFormat).event_format(LineFormat { names_span: is_debug });
    // Fails only if logs were already started.
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();

    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|_| "unknown".to_owned());
    let metrics = Builder::new().cloudwatch_namespace(NAMESPACE).with_dimension("FunctionName", function);
    // Fails only if metrics were already started.
    if let Ok(collector) = metrics.init() {
        let _ = COLLECTOR.set(collector);
    }
    for name in ["EventsUndocumented", "EventsRepeated", "EventsRefused", "TokensRefused"] {
        describe_counter!(name, Unit::Count, "");
    }
    describe_counter!("EventsWithoutTenantCheck", Unit::Count, "");
    for name in ["EventsRetried", "EventsDeadLettered", "EventsExpired", "EventsSkipped"] {
        describe_counter!(name, Unit::Count, "");
    }
    for name in ["ConversationCalls", "OutcomesToReconcile", "OutcomesUnknown"] {
        describe_counter!(name, Unit::Count, "");
    }
    // No gauges: the collector repeats a gauge at every flush, even if it was not set since the last flush.
    describe_histogram!("TokenSecondsLeft", Unit::Seconds, "");
    describe_histogram!("TokenLifeLeft", Unit::Percent, "");
    describe_histogram!("TokenOverdue", Unit::Count, "");
    describe_histogram!("ChannelDifferences", Unit::Count, "");
    describe_counter!("HandoversNotRecorded", Unit::Count, "");
    describe_counter!("HandoversEnded", Unit::Count, "");
    describe_counter!("CustomersLeftWaiting", Unit::Count, "");
    describe_histogram!("HandoversWaiting", Unit::Count, "");
    describe_histogram!("OldestWaiting", Unit::Seconds, "");
    describe_histogram!("TimeToAgent", Unit::Seconds, "");
}

/// An event of a type that 8x8 does not document was accepted and queued.
pub fn event_undocumented() {
    counter!("EventsUndocumented").increment(1);
}

/// An event that 8x8 has sent again was accepted and queued.
pub fn event_repeated() {
    counter!("EventsRepeated").increment(1);
}

/// An event was accepted and queued although no tenant is configured.
pub fn event_without_tenant_check() {
    counter!("EventsWithoutTenantCheck").increment(1);
}

/// The response to a request was not a 2xx, for one of a fixed set of reasons.
pub fn event_refused(reason: &'static str) {
    counter!("EventsRefused").increment(1);
    counter!("EventsRefused", "Reason" => reason).increment(1);
}

/// An event went back to the queue.
pub fn event_retried() {
    counter!("EventsRetried").increment(1);
}

/// An event went to the dead-letter queue.
pub fn event_dead_lettered() {
    counter!("EventsDeadLettered").increment(1);
}

/// An event that went to the dead-letter queue was too old to be delivered.
pub fn event_expired() {
    counter!("EventsExpired").increment(1);
}

/// A typing event was skipped.
pub fn event_skipped() {
    counter!("EventsSkipped").increment(1);
}

/// How much of a token's lifetime remains, and as a part of the whole lifetime, from 0 to 1.
pub fn token_left(token: &'static str, left: Duration, share: f64) {
    histogram!("TokenSecondsLeft", "Token" => token).record(left.as_secs() as f64);
    histogram!("TokenLifeLeft", "Token" => token).record(share * 100.0);
}

/// Whether a token should have been renewed by now and was not.
pub fn token_overdue(token: &'static str, is_overdue: bool) {
    histogram!("TokenOverdue", "Token" => token).record(if is_overdue { 1.0 } else { 0.0 });
}

/// A caller got no tokens, for one of OAuth's reasons.
pub fn token_refused(reason: &'static str) {
    counter!("TokensRefused").increment(1);
    counter!("TokensRefused", "Reason" => reason).increment(1);
}

/// The outcome of a caller's operation on a conversation.
pub fn conversation_call(status: u16) {
    let outcome = match status {
        200..300 => "done",
        501 => "unsupported",
        500.. => "failed",
        _ => "refused",
    };
    counter!("ConversationCalls").increment(1);
    counter!("ConversationCalls", "Outcome" => outcome).increment(1);
}

/// 8x8 did not say whether it carried an operation out.
pub fn outcome_to_reconcile() {
    counter!("OutcomesToReconcile").increment(1);
}

/// The outcome of such an operation could not be found out either.
pub fn outcome_unknown() {
    counter!("OutcomesUnknown").increment(1);
}

/// A life-cycle event was delivered, but the state of its hand-over was not recorded.
pub fn handover_not_recorded() {
    counter!("HandoversNotRecorded").increment(1);
}

/// How many customers wait for an agent, and how long the first of them has waited; zero if no customer waits.
pub fn handovers_waiting(customers: usize, oldest: Duration) {
    histogram!("HandoversWaiting").record(customers as f64);
    histogram!("OldestWaiting").record(oldest.as_secs_f64());
}

/// The first agent has joined a conversation, after the customer waited for this time. At most a hundred of these are written
/// at a time: call [`flush`] after them.
pub fn agent_joined(waited: Duration) {
    histogram!("TimeToAgent").record(waited.as_secs_f64());
}

/// A customer left while waiting for an agent.
pub fn customer_left_waiting() {
    counter!("CustomersLeftWaiting").increment(1);
}

/// A hand-over ended, for one of a fixed set of reasons.
pub fn handover_ended(reason: &'static str) {
    counter!("HandoversEnded").increment(1);
    counter!("HandoversEnded", "Reason" => reason).increment(1);
}

/// The number of differences that a review found between what was registered and what is at 8x8. A registration or an update
/// leaves none.
pub fn channel_reviewed(differences: usize) {
    histogram!("ChannelDifferences").record(differences as f64);
}

/// Writes the metrics collected so far, as the end of an invocation does.
pub fn flush() {
    if let Some(collector) = COLLECTOR.get()
        && let Err(error) = collector.flush(io::stdout())
    {
        tracing::error!(%error, "the metrics of this invocation are lost");
    }
}
