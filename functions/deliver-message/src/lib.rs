//! Invoked by the event queue: posts each event to the bot platform, in order within its conversation.
//!
//! | the bot platform says | what becomes of the event |
//! |---|---|
//! | 2xx | done |
//! | 401, 403 | one more try with a token that is read again or new; then as 5xx |
//! | 403, again and again, while other events are accepted with the same token | as anything else |
//! | 408, 425, 429, 5xx, nothing | a few tries at once; then back to the queue, hidden for a wait that doubles |
//! | anything else | to the dead-letter queue, so that the conversation goes on |

mod batch;
mod handover;

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use lambda_runtime::LambdaEvent;
use shared::aws::{self, Transport};
use shared::bot_platform::{BotPlatform, BotPlatformConfig, DELIVERY_TIMEOUT, DeliveryOutcome};
use shared::clock::UnixTime;
use shared::environment::{ConfigError, Environment};
use shared::handover::table::{HandoverTable, handover_table};
use shared::http::client;
use shared::queue::{
    DeadLetterQueue, DeadLetterReason, EventQueue, QueuedEvent, dead_letter_queue_url, event_queue_url,
};
use shared::secrets::SecretsManager;
use shared::telemetry;
use shared::url::VerbatimUrl;

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

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    bot: BotPlatformConfig,
    queue_url: VerbatimUrl,
    dead_letter_queue_url: VerbatimUrl,
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
            handover_table: handover_table(environment)?,
        })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct DeliverMessage {
    bot: BotPlatform,
    queue: EventQueue,
    dead_letters: DeadLetterQueue,
    handovers: HandoverTable,
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
            queue: EventQueue::new(&sdk, &config.queue_url),
            dead_letters: DeadLetterQueue::new(&sdk, &config.dead_letter_queue_url),
            handovers: HandoverTable::new(&sdk, config.handover_table),
        })
    }

    /// Delivers a batch. The response names the messages that have to come again.
    pub async fn handle(&self, event: LambdaEvent<SqsEvent>) -> SqsBatchResponse {
        let deadline = UnixTime::from_millis(event.context.deadline) - RESERVE;
        let deliver = async |message: &SqsMessage| self.deliver(message, deadline.min(UnixTime::now() + BUDGET)).await;
        batch::process(event.payload.records, deliver, async |message, wait| self.delay(message, wait).await).await
    }

    async fn deliver(&self, message: &SqsMessage, deadline: UnixTime) -> Outcome {
        let Some(event) = message.body.as_deref().and_then(QueuedEvent::from_message) else {
            return self.dead_letter(message, DeadLetterReason::NotAnEvent).await;
        };
        // At the same time: a delivery neither waits for the table nor depends on it.
        let (outcome, ()) = tokio::join!(self.post(&event, deadline), handover::record(&self.handovers, &event));
        match outcome {
            DeliveryOutcome::Delivered => {
                let age = UnixTime::now().since(event.transmitted_at());
                telemetry::event_delivered(age);
                tracing::info!(event_id = event.id(), age_ms = age.as_millis() as u64, "delivered");
                Outcome::Settled
            }
            DeliveryOutcome::Rejected { status } => {
                self.dead_letter(message, DeadLetterReason::RefusedByBot(status)).await
            }
            DeliveryOutcome::RetryLater { reason, retry_after } => {
                self.retry_later(message, &event, &reason, retry_after)
            }
            DeliveryOutcome::Unauthorized { status } => {
                self.retry_later(message, &event, &format!("our token is refused (status {status})"), None)
            }
            DeliveryOutcome::Forbidden => {
                self.retry_later(message, &event, "status 403, although our token is accepted for other events", None)
            }
        }
    }

    /// Tries a few times, as long as a whole try fits in before `deadline`.
    async fn post(&self, event: &QueuedEvent, deadline: UnixTime) -> DeliveryOutcome {
        let mut pauses = PAUSES.into_iter();
        loop {
            let outcome = self.bot.deliver(event, UnixTime::now(), deadline).await;
            let DeliveryOutcome::RetryLater { retry_after, .. } = &outcome else { return outcome };
            let Some(pause) = pauses.next() else { return outcome };
            let pause = retry_after.unwrap_or_default().max(pause);
            if UnixTime::now() + pause + DELIVERY_TIMEOUT > deadline {
                return outcome;
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn retry_later(&self, message: &SqsMessage, event: &QueuedEvent, reason: &str, asked: Option<Duration>) -> Outcome {
        let wait = wait(receive_count(message), asked);
        telemetry::event_retried();
        let age_s = UnixTime::now().since(event.transmitted_at()).as_secs();
        tracing::warn!(
            event_id = event.id(),
            reason,
            age_s,
            wait_s = wait.as_secs(),
            "not delivered, to be tried again"
        );
        Outcome::Delayed(wait)
    }

    async fn dead_letter(&self, message: &SqsMessage, reason: DeadLetterReason) -> Outcome {
        let body = message.body.as_deref().unwrap_or_default();
        let id = message.message_id.as_deref().unwrap_or_default();
        match self.dead_letters.send(body, batch::group_of(message), id, reason).await {
            Ok(()) => {
                telemetry::event_dead_lettered();
                tracing::error!(message_id = id, reason = %reason, "to the dead-letter queue");
                Outcome::Settled
            }
            Err(error) => {
                // Keep it where it is until the dead-letter queue takes it.
                telemetry::event_retried();
                tracing::error!(message_id = id, %error, "cannot be moved to the dead-letter queue yet");
                Outcome::Delayed(wait(receive_count(message), None))
            }
        }
    }

    async fn delay(&self, message: &SqsMessage, wait: Duration) {
        let Some(receipt_handle) = &message.receipt_handle else { return };
        if let Err(error) = self.queue.change_visibility(receipt_handle, wait).await {
            // It comes again all the same, when the queue's own visibility time-out ends.
            tracing::warn!(message_id = message.message_id, %error, "comes again at the queue's time instead of ours");
        }
    }
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
        // The bot platform answers at once and asks for no patience: the fastest way through the receives.
        let covered: Duration = (1..receives).map(|count| wait(count, None)).sum();
        assert_eq!(covered.as_secs(), 74_601);
        assert!(covered >= Duration::from_secs(20 * 3600), "{covered:?}");
    }

    #[test]
    fn the_bot_platforms_wish_to_wait_is_honoured_up_to_the_longest_wait() {
        assert_eq!(wait(1, Some(Duration::from_secs(60))).as_secs(), 60);
        assert_eq!(wait(6, Some(Duration::from_secs(60))).as_secs(), 64);
        assert_eq!(wait(1, Some(Duration::from_secs(86_400))).as_secs(), 75);
    }
}
