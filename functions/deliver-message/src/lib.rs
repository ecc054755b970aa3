//! Invoked by the event queue: posts each event to the bot platform, in order within its conversation.
//!
//! | the bot platform says | what becomes of the event |
//! |---|---|
//! | 2xx | done |
//! | 401, 403 | one more try with a token that is read again or new; then as 5xx |
//! | 403, again and again, while other events are accepted with the same token | as anything else |
//! | 408, 425, 429, 5xx, nothing | a few tries at once; then back to the queue, hidden for a wait that doubles |
//! | anything else | to the dead-letter queue, so that the conversation goes on |
//!
//! A typing event is worth nothing later: it is tried once, and skipped if that fails or if it is old. An event that is
//! older than `MAX_EVENT_AGE_MINUTES` goes to the dead-letter queue; one that comes from there is delivered however old it
//! is.

mod batch;
mod handover;

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::LambdaEvent;
use shared::aws::{self, Lazy, Transport, lazily};
use shared::bot_platform::{BotPlatform, BotPlatformConfig, DELIVERY_TIMEOUT, DeliveryOutcome};
use shared::clock::UnixTime;
use shared::environment::{ConfigError, Environment};
use shared::handover::table::{HandoverTable, handover_table};
use shared::http::client;
use shared::queue::{
    self, DeadLetterQueue, DeadLetterReason, EventQueue, QueuedEvent, dead_letter_queue_url, event_queue_url,
    permitted_id,
};
use shared::secrets::SecretsManager;
use shared::url::VerbatimUrl;
use shared::{telemetry, trace};
use tracing::{Instrument, Span};

/// Pauses before the second and the third try: what a restarting process or a full connection pool needs.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(800)];

/// How long the tries of one invocation may take. A hung bot platform gets two of 8 s, and the function's 30 s leave
/// time to give the message back.
const BUDGET: Duration = Duration::from_secs(20);

/// What has to be left of the invocation to give messages back, even if SQS needs its three attempts.
const RESERVE: Duration = Duration::from_secs(8);

/// The first wait in the queue, and the longest. It doubles from 2 s to 64 s and stays at 75 s: with 15 s for the delivery
/// itself, everything is delivered 90 s after the bot platform is back.
const WAIT: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(75);

/// A typing event that is older is skipped: the agent has written or has stopped since.
const MAX_TYPING_AGE: Duration = Duration::from_secs(30);

/// How long the try of a typing event may take. While an agent types, the next event follows after about as long: a bot
/// platform that does not respond delays what follows by no more than that.
const TYPING_TIMEOUT: Duration = Duration::from_secs(3);

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    bot: BotPlatformConfig,
    queue_url: VerbatimUrl,
    dead_letter_queue_url: VerbatimUrl,
    max_event_age: Option<Duration>,
    handover_table: String,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            bot: BotPlatformConfig::from_environment(environment)?,
            queue_url: event_queue_url(environment)?,
            dead_letter_queue_url: dead_letter_queue_url(environment)?,
            max_event_age: max_event_age(environment)?,
            handover_table: handover_table(environment)?,
        })
    }
}

/// `MAX_EVENT_AGE_MINUTES`: how old an event may be that is delivered; `None`, however old, unless it is set to more than 0.
fn max_event_age(environment: &Environment<'_>) -> Result<Option<Duration>, ConfigError> {
    let name = "MAX_EVENT_AGE_MINUTES";
    let minutes = match environment.optional(name) {
        None => Some(0),
        // The queue keeps a message for 14 days.
        Some(text) => text.parse().ok().filter(|minutes| *minutes <= 14 * 24 * 60),
    };
    let minutes: u64 =
        minutes.ok_or(ConfigError::Malformed { name, expected: "a number of minutes from 0 to 20160" })?;
    Ok((minutes > 0).then(|| Duration::from_secs(minutes * 60)))
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct DeliverMessage {
    bot: BotPlatform,
    /// Needed for events that are not delivered.
    queues: Lazy<Queues>,
    max_event_age: Option<Duration>,
    /// Needed for life-cycle events.
    handovers: Lazy<HandoverTable>,
}

#[derive(Debug)]
struct Queues {
    events: EventQueue,
    dead_letters: DeadLetterQueue,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// SQS may delete it.
    Settled,
    /// It has to come again after this time, and all later ones of its conversation after it.
    Delayed(Duration),
}

impl DeliverMessage {
    /// Opens the connections that the first event will need.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let client = client()?;
        let sdk = aws::sdk_config(&Transport::new()?).await;
        let secrets = SecretsManager::new(&sdk);
        let bot = BotPlatform::new(client, &secrets, config.bot)?;
        bot.warm_up(UnixTime::now()).await;
        Ok(Self {
            bot,
            queues: lazily(&sdk, move |sdk| {
                let events = EventQueue::new(sdk, &config.queue_url);
                Queues { dead_letters: DeadLetterQueue::new(&events, &config.dead_letter_queue_url), events }
            }),
            max_event_age: config.max_event_age,
            handovers: lazily(&sdk, |sdk| HandoverTable::new(sdk, config.handover_table)),
        })
    }

    /// Delivers a batch. The response names the messages that have to come again.
    pub async fn handle(&self, event: LambdaEvent<SqsEvent>) -> SqsBatchResponse {
        let deadline = UnixTime::from_millis(event.context.deadline) - RESERVE;
        let deliver = async |message: &SqsMessage| {
            let event = message.body.as_deref().and_then(QueuedEvent::from_message);
            let deadline = deadline.min(UnixTime::now() + BUDGET);
            self.settle(message, event.as_ref(), deadline).instrument(span_of(message, event.as_ref())).await
        };
        let delay = async |message: &SqsMessage, wait: Duration| {
            let event = message.body.as_deref().and_then(QueuedEvent::from_message);
            self.delay(message, wait).instrument(span_of(message, event.as_ref())).await;
        };
        batch::process(event.payload.records, deliver, delay).await
    }

    /// Decides what becomes of a message.
    async fn settle(&self, message: &SqsMessage, event: Option<&QueuedEvent>, deadline: UnixTime) -> Outcome {
        let Some(event) = event else {
            return self.dead_letter(message, DeadLetterReason::Invalid).await;
        };
        if is_redriven(message) {
            return self.deliver(message, event, deadline).await;
        }
        let age = UnixTime::now().since(event.transmitted_at());
        if event.is_typing {
            return self.deliver_once(message, event, age).await;
        }
        match self.max_event_age {
            Some(longest) if age > longest => {
                // The hand-over has changed, although the bot platform does not get the event.
                handover::record(&self.handovers, event).await;
                self.dead_letter(message, DeadLetterReason::Expired).await
            }
            _ => self.deliver(message, event, deadline).await,
        }
    }

    /// Delivers an event now or later.
    async fn deliver(&self, message: &SqsMessage, event: &QueuedEvent, deadline: UnixTime) -> Outcome {
        let began = UnixTime::now();
        // At the same time: a delivery neither waits for the table nor depends on it.
        let ((outcome, tries), ()) = tokio::join!(self.post(event, deadline), handover::record(&self.handovers, event));
        let retry_after = match outcome {
            DeliveryOutcome::Delivered => return delivered(message, event, began, tries),
            DeliveryOutcome::Rejected { status } => {
                return self.dead_letter(message, DeadLetterReason::Rejected(status)).await;
            }
            DeliveryOutcome::RetryLater { retry_after, .. } => retry_after,
            DeliveryOutcome::Unauthorized { .. } | DeliveryOutcome::Forbidden => None,
        };
        let wait = wait(receive_count(message), retry_after);
        telemetry::event_retried();
        tracing::warn!(
            step = trace::TRIED,
            reason = outcome.reason(),
            tries,
            receives = receive_count(message),
            took_ms = millis_since(began),
            age_s = UnixTime::now().since(event.transmitted_at()).as_secs(),
            wait_s = wait.as_secs(),
            "not delivered, to be tried again"
        );
        Outcome::Delayed(wait)
    }

    /// Delivers an event now or never.
    async fn deliver_once(&self, message: &SqsMessage, event: &QueuedEvent, age: Duration) -> Outcome {
        let began = UnixTime::now();
        let reason = if age > MAX_TYPING_AGE {
            Some("too old".to_owned())
        } else {
            // As long again as the try for a token that has to be read or replaced first.
            self.bot.deliver(event, began, TYPING_TIMEOUT, began + TYPING_TIMEOUT * 2).await.reason()
        };
        let Some(reason) = reason else { return delivered(message, event, began, 1) };
        telemetry::event_skipped();
        let age_ms = age.as_millis() as u64;
        tracing::info!(
            step = trace::SKIPPED,
            reason,
            age_ms,
            took_ms = millis_since(began),
            "a typing event is skipped"
        );
        Outcome::Settled
    }

    /// Tries a few times, as long as a whole try fits in before `deadline`. Gives the number of tries too.
    async fn post(&self, event: &QueuedEvent, deadline: UnixTime) -> (DeliveryOutcome, usize) {
        let mut pauses = PAUSES.into_iter();
        loop {
            let outcome = self.bot.deliver(event, UnixTime::now(), DELIVERY_TIMEOUT, deadline).await;
            let tries = PAUSES.len() + 1 - pauses.len();
            let DeliveryOutcome::RetryLater { retry_after, .. } = &outcome else { return (outcome, tries) };
            let Some(pause) = pauses.next() else { return (outcome, tries) };
            let pause = retry_after.unwrap_or_default().max(pause);
            if UnixTime::now() + pause + DELIVERY_TIMEOUT > deadline {
                return (outcome, tries);
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn dead_letter(&self, message: &SqsMessage, reason: DeadLetterReason) -> Outcome {
        let body = message.body.as_deref().unwrap_or_default();
        let id = message.message_id.as_deref().unwrap_or_default();
        let (name, status) = (reason.name(), reason.status());
        match self.queues.dead_letters.send(body, batch::group_of(message), id, reason).await {
            Ok(()) => {
                telemetry::event_dead_lettered();
                if reason == DeadLetterReason::Expired {
                    telemetry::event_expired();
                }
                tracing::error!(
                    step = trace::DEAD_LETTERED,
                    message_id = id,
                    reason = name,
                    status,
                    "moved to the dead-letter queue"
                );
                Outcome::Settled
            }
            Err(error) => {
                // Keep it where it is until the dead-letter queue takes it.
                telemetry::event_retried();
                let wait = wait(receive_count(message), None);
                tracing::error!(
                    step = trace::TRIED,
                    message_id = id,
                    reason = name,
                    status,
                    %error,
                    wait_s = wait.as_secs(),
                    "cannot be moved to the dead-letter queue yet"
                );
                Outcome::Delayed(wait)
            }
        }
    }

    async fn delay(&self, message: &SqsMessage, wait: Duration) {
        let Some(receipt_handle) = &message.receipt_handle else { return };
        if let Err(error) = self.queues.events.change_visibility(receipt_handle, wait).await {
            // It comes again all the same, when the queue's own visibility time-out ends.
            tracing::warn!(%error, "comes again at the queue's time instead of ours");
        }
    }
}

/// The bot platform has the event.
fn delivered(message: &SqsMessage, event: &QueuedEvent, began: UnixTime, tries: usize) -> Outcome {
    let age = UnixTime::now().since(event.transmitted_at());
    // Where they are 1, as nearly always, the line is shorter.
    let more_than_one = |count: usize| (count > 1).then_some(count);
    tracing::info!(
        step = trace::DELIVERED,
        tries = more_than_one(tries),
        receives = more_than_one(receive_count(message) as usize),
        took_ms = millis_since(began),
        age_ms = age.as_millis() as u64
    );
    Outcome::Settled
}

/// The span of a message: its group is the conversation, and its deduplication id the event's id unless it comes from the
/// dead-letter queue.
fn span_of(message: &SqsMessage, event: Option<&QueuedEvent>) -> Span {
    let deduplication_id = message.attributes.get("MessageDeduplicationId").map(String::as_str);
    let event_id = event.and_then(QueuedEvent::id).or(deduplication_id).unwrap_or_default();
    let event_type = event.and_then(|event| event.event_type.as_deref()).unwrap_or("unknown");
    let span = trace::event_span();
    trace::identify(&span, batch::group_of(message), &permitted_id(event_id), event_type);
    span
}

/// Whether a message comes from the dead-letter queue: an operator wants it delivered. SQS itself moves messages with
/// their attributes, and receive-message gives them none.
fn is_redriven(message: &SqsMessage) -> bool {
    [queue::REDRIVEN, queue::REASON].iter().any(|name| message.message_attributes.contains_key(*name))
}

fn millis_since(began: UnixTime) -> u64 {
    UnixTime::now().since(began).as_millis() as u64
}

/// How long a message waits that has been received `count` times: at least as long as the bot platform `asked` for.
fn wait(count: u32, asked: Option<Duration>) -> Duration {
    let (first, longest) = (*WAIT.start(), *WAIT.end());
    let doubled = first.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1)));
    doubled.max(asked.unwrap_or_default()).min(longest)
}

fn receive_count(message: &SqsMessage) -> u32 {
    message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_two_seconds_to_seventy_five() {
        let waits: Vec<_> = (0..10).map(|count| wait(count, None).as_secs()).collect();
        assert_eq!(waits, [2, 2, 4, 8, 16, 32, 64, 75, 75, 75]);
        assert_eq!(wait(u32::MAX, None).as_secs(), 75);
    }

    #[test]
    fn the_templates_receives_cover_twenty_hours() {
        let template = include_str!("../../../template.yaml");
        let receives = template.lines().find_map(|line| line.trim().strip_prefix("maxReceiveCount: "));
        let receives: u32 = receives.and_then(|count| count.parse().ok()).expect("the template limits the receives");
        // The bot platform responds at once without `Retry-After`: the receives are used up in the shortest time.
        let covered: Duration = (1..receives).map(|count| wait(count, None)).sum();
        assert_eq!(covered.as_secs(), 74_601);
        assert!(covered >= Duration::from_secs(20 * 3600), "{covered:?}");
    }

    #[test]
    fn retry_after_of_the_bot_platform_is_honoured_up_to_the_longest_wait() {
        assert_eq!(wait(1, Some(Duration::from_secs(60))).as_secs(), 60);
        assert_eq!(wait(6, Some(Duration::from_secs(60))).as_secs(), 64);
        assert_eq!(wait(1, Some(Duration::from_secs(86_400))).as_secs(), 75);
    }
}
