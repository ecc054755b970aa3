//! How long the events that wait take when the bot platform is back after an outage.
//!
//! During an outage each conversation is tried again after 0.2 s, 0.8 s, and then from the queue, with waits that grow to 75 s and
//! stay there. So the queue is the same after six hours as after minutes: what is played is the first wait of 75 s and its end.
//! For the functions six hours pass in that wait: their clock is set ahead, so that the token has expired when the bot platform
//! is back.

use std::time::{Duration, Instant};

use sandbox::{Sandbox, SandboxSettings};
use serde::{Deserialize, Serialize};

/// Conversations that wait, each with one event.
const CONVERSATIONS: usize = 1000;

/// How long the outage is for the functions.
const OUTAGE: Duration = Duration::from_secs(6 * 60 * 60);

/// The sandbox's clock runs so much faster than the machine's.
const TIME_SCALE: u32 = 5;

/// The bot platform asks for a longer wait than the longest one, in seconds.
const RETRY_AFTER: u64 = 300;

/// A log line of deliver-message about an event that waits for the longest time.
const LONGEST_WAIT: &str = "\"wait_s\":75";

/// Far longer than the tries before the longest wait take, and far longer than that wait.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was played, and how long it took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Recovery {
    /// Conversations with an event that waited.
    pub conversations: usize,
    /// Seconds of the sandbox's clock from the bot platform's return to the last event's delivery.
    pub seconds: f64,
}

/// Plays the end of an outage.
pub async fn measure() -> Recovery {
    let settings = SandboxSettings { time_scale: TIME_SCALE, has_clock: true, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).await;
    let channel_id = sandbox.register("101").await.expect("the channel can be registered");
    sandbox.refresh_tokens().await.expect("the bot platform gives a token");
    let conversations: Vec<_> =
        (0..CONVERSATIONS).map(|_| sandbox.contact_center.open_conversation(&channel_id)).collect();
    for conversation in &conversations {
        sandbox.bot.refuse_conversation(conversation.id(), 503, Some(RETRY_AFTER));
        conversation.writes("agent", "confidential: a line");
    }
    let all_wait = async {
        while sandbox.logs().iter().filter(|line| line.text.contains(LONGEST_WAIT)).count() < CONVERSATIONS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_wait).await.expect("every conversation waits for the longest time");
    let grants = || sandbox.bot.grants("password") + sandbox.bot.grants("refresh_token");
    let grants_before = grants();
    sandbox.set_clock_ahead(OUTAGE);
    let back = Instant::now();
    conversations.iter().for_each(|conversation| sandbox.bot.take_conversation(conversation.id()));
    assert!(sandbox.settle(PATIENCE).await, "events are stuck");
    let seconds = back.elapsed().as_secs_f64() * f64::from(TIME_SCALE);
    assert_eq!(sandbox.bot.received(), CONVERSATIONS, "every event is delivered once");
    assert!(grants() > grants_before, "the token has expired meanwhile");
    Recovery { conversations: CONVERSATIONS, seconds }
}
