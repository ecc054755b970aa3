//! The whole path in the sandbox, every part of it on this machine: from 8x8's post to the bot platform's receipt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use contact_center::Conversation;
use sandbox::{Sandbox, SandboxSettings};
use serde::{Deserialize, Serialize};
use simulation::faults::When;
use simulation::journal::EventTrace;

use crate::process;
use crate::statistics::percentile;

/// Events a second where conversations are compared: a tenth or so of what two processors can do, so that what is
/// measured is the path and not a queue before it.
const CALM: u32 = 100;

/// Events at that rate, so that a thousandth of them is several.
const CALM_EVENTS: usize = 3000;

/// How many conversations are compared.
const CONVERSATIONS: [usize; 3] = [1, 100, 10_000];

/// Conversations where the rate is what matters.
pub(crate) const MANY: usize = 100;

/// Rates that are tried until one is too much.
const RATES: [u32; 9] = [100, 200, 400, 600, 800, 1000, 1300, 1600, 2000];

/// How long each of them lasts.
const RATE_LASTS: Duration = Duration::from_secs(4);

/// Events of the long run.
pub const LONG_RUN: usize = 100_000;

/// Events a second for bots that are slow or fail: eight deliveries at a time of 200 ms each are forty a second at most.
const SLOWLY: u32 = 25;

/// Events for such a bot.
const SLOWLY_EVENTS: usize = 500;

/// A bot that thinks before it answers.
const SLOW: Duration = Duration::from_millis(200);

/// The share of events that a failing bot refuses.
const FAILING: f64 = 0.1;

/// How long the last event of a phase may take: a bot that fails has an event wait in the queue.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was played and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Phase {
    /// What is particular about it.
    pub name: String,
    /// Conversations at a time.
    pub conversations: usize,
    /// Events a second that 8x8 had.
    pub offered: f64,
    /// Events a second that the bot platform got.
    pub delivered: f64,
    /// Milliseconds from 8x8's post to the bot platform's receipt: p50, p99, p99.9.
    pub latency: [f64; 3],
}

/// Memory of the processes of one program at one time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    /// Events delivered by then.
    pub events: usize,
    /// MiB of the largest process, by program.
    pub largest: BTreeMap<String, f64>,
}

/// Everything about the whole path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WholePath {
    /// The same rate with more and more conversations.
    pub conversations: Vec<Phase>,
    /// More and more events a second, until it is too much.
    pub rising: Vec<Phase>,
    /// A bot that is slow, and one that fails.
    pub bots: Vec<Phase>,
    /// The long run.
    pub long_run: Phase,
    /// Memory during the long run.
    pub memory: Vec<Memory>,
    /// Bytes of log lines an event, by function, in the long run.
    pub log_bytes: BTreeMap<String, f64>,
    /// Calls of Secrets Manager in the long run.
    pub secret_calls: usize,
}

/// Plays everything. A phase has a sandbox of its own where one must not disturb the next.
pub async fn measure() -> WholePath {
    let mut conversations = Vec::new();
    let calm = Player::start().await;
    for count in CONVERSATIONS {
        let name = if count == 1 { "1 conversation".to_owned() } else { format!("{count} conversations") };
        conversations.push(calm.play(&name, &calm.open(count), CALM_EVENTS.max(count), CALM).await);
    }

    let mut rising = Vec::new();
    let opened = calm.open(MANY);
    for rate in RATES {
        let events = (f64::from(rate) * RATE_LASTS.as_secs_f64()) as usize;
        let phase = calm.play("rising", &opened, events, rate).await;
        let is_too_much = phase.delivered < 0.9 * phase.offered;
        rising.push(phase);
        if is_too_much {
            break;
        }
    }

    let mut bots = vec![calm.play("a bot that answers at once", &opened, SLOWLY_EVENTS, SLOWLY).await];
    calm.sandbox.bot.delay_responses(None, SLOW);
    bots.push(calm.play("a slow bot: 200 ms", &opened, SLOWLY_EVENTS, SLOWLY).await);
    calm.sandbox.bot.delay_responses(None, Duration::ZERO);
    calm.sandbox.fault(bot_platform::Fault::Status500, When::Share(FAILING));
    bots.push(calm.play("a bot that fails a tenth of the time", &opened, SLOWLY_EVENTS, SLOWLY).await);
    calm.sandbox.faults.clear();
    drop(calm);

    let (long_run, memory, log_bytes, secret_calls) = long_run(&rising).await;
    WholePath { conversations, rising, bots, long_run, memory, log_bytes, secret_calls }
}

/// A sandbox and its channel.
pub(crate) struct Player {
    pub(crate) sandbox: Sandbox,
    channel_id: String,
}

impl Player {
    pub(crate) async fn start() -> Self {
        let sandbox = Sandbox::start(SandboxSettings::default()).await;
        let channel_id = sandbox.register("101").await.expect("the channel can be registered");
        sandbox.refresh_tokens().await.expect("the bot platform gives a token");
        let player = Self { sandbox, channel_id };
        // Starts the processes.
        let opened = player.open(MANY);
        player.play("warming up", &opened, 500, CALM).await;
        player
    }

    pub(crate) fn open(&self, conversations: usize) -> Vec<Conversation> {
        (0..conversations).map(|_| self.sandbox.contact_center.open_conversation(&self.channel_id)).collect()
    }

    /// Lets the conversations have events in turn and waits for the last.
    async fn play(&self, name: &str, conversations: &[Conversation], events: usize, rate: u32) -> Phase {
        self.send(conversations, events, rate).await;
        assert!(self.sandbox.settle(PATIENCE).await, "events are stuck");
        Phase::of(name, conversations.len(), rate, &self.sandbox.journal.take())
    }

    /// Sends `rate` events a second, whatever becomes of them.
    async fn send(&self, conversations: &[Conversation], events: usize, rate: u32) {
        self.sandbox.journal.take();
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
        for conversation in conversations.iter().cycle().take(events) {
            pace.tick().await;
            conversation.writes("agent", "confidential: a line");
        }
    }
}

impl Phase {
    fn of(name: &str, conversations: usize, rate: u32, traces: &[EventTrace]) -> Self {
        let milliseconds = |latency: Duration| latency.as_secs_f64() * 1000.0;
        let latencies: Vec<f64> = traces.iter().filter_map(|trace| trace.latency()).map(milliseconds).collect();
        let first: Option<Instant> = traces.iter().map(|trace| trace.sent_at).min();
        let last = traces.iter().filter_map(|trace| trace.received_at).max();
        let took = first.zip(last).map_or(Duration::ZERO, |(first, last)| last.duration_since(first));
        Self {
            name: name.to_owned(),
            conversations,
            offered: f64::from(rate),
            delivered: latencies.len() as f64 / took.as_secs_f64().max(0.001),
            latency: [0.5, 0.99, 0.999].map(|share| percentile(latencies.clone(), share)),
        }
    }
}

/// A hundred thousand events, at two thirds of what the rising load has shown to pass.
async fn long_run(rising: &[Phase]) -> (Phase, Vec<Memory>, BTreeMap<String, f64>, usize) {
    let most = rising.iter().map(|phase| phase.delivered).fold(0.0, f64::max);
    let rate = (most * 2.0 / 3.0) as u32;
    let player = Player::start().await;
    let log_bytes_before = log_bytes(&player.sandbox);
    let calls_before = secret_calls(&player.sandbox);
    let conversations = player.open(1000);
    let samples = Arc::new(Mutex::new(Vec::new()));
    let bot = Arc::clone(&player.sandbox.bot);
    let sampler = {
        let samples = Arc::clone(&samples);
        tokio::spawn(async move {
            loop {
                let sample = Memory { events: bot.received(), largest: largest() };
                samples.lock().expect("no holder panics").push(sample);
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        })
    };
    let phase = player.play("100,000 events", &conversations, LONG_RUN, rate).await;
    sampler.abort();
    let mut log_bytes = log_bytes(&player.sandbox);
    for (function, bytes) in &mut log_bytes {
        *bytes = (*bytes - log_bytes_before.get(function).unwrap_or(&0.0)) / LONG_RUN as f64;
    }
    let calls = secret_calls(&player.sandbox) - calls_before;
    let samples = samples.lock().expect("no holder panics").clone();
    (phase, samples, log_bytes, calls)
}

/// Of every program the process with the most memory; the sandbox's own is not ours.
fn largest() -> BTreeMap<String, f64> {
    let mut largest = BTreeMap::new();
    for process in process::children(std::process::id()) {
        let memory = process::memory(process.id).unwrap_or(0.0);
        let most: &mut f64 = largest.entry(process.name).or_default();
        *most = most.max(memory);
    }
    largest
}

fn log_bytes(sandbox: &Sandbox) -> BTreeMap<String, f64> {
    let mut bytes = BTreeMap::new();
    for line in sandbox.logs() {
        *bytes.entry(line.function.to_owned()).or_default() += line.text.len() as f64;
    }
    bytes
}

fn secret_calls(sandbox: &Sandbox) -> usize {
    let calls = sandbox.cloud.calls();
    calls.iter().filter(|(call, _)| call.action.starts_with("secretsmanager:")).map(|(_, times)| times).sum()
}
