//! The verdict on a run: was every accepted event delivered, once, in order, and nothing else?

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use contact_center::LoggedEvent;
use simulation::journal::percentile;

use crate::Sandbox;
use crate::deployment::RECEIVE_MESSAGE;
use crate::faults::Fault;
use crate::trace::{Surplus, Trace};

/// How long to wait for the last log lines; they arrive far sooner.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// A text that only the body of the simulated 8x8's typing events has.
const TYPING: &str = r#""name":"typing""#;

/// The counts of a run, and what is wrong with them.
#[derive(Debug)]
pub struct Verdict {
    /// Events that 8x8 got a 2xx for.
    pub accepted: usize,
    /// Events that the bot platform has received; `None` if it is outside the sandbox and cannot be asked.
    pub received: Option<usize>,
    /// Typing events that were skipped, and that the bot platform has not received.
    pub skipped: usize,
    /// Events that the bot platform received again and dropped by their id.
    pub repeats: usize,
    /// Messages of customer and bot that 8x8 has, if a bot has sent any.
    pub said: Option<usize>,
    /// Messages in the dead-letter queue.
    pub dead_letters: usize,
    /// How often each fault struck.
    pub struck: Vec<(Fault, u64)>,
    /// The times from 8x8's post to the bot platform's receipt, sorted.
    pub latencies: Vec<Duration>,
    /// Processes that were started, of all functions.
    pub processes: usize,
    /// What is wrong.
    pub failures: Vec<String>,
}

impl Verdict {
    /// Checks everything that a sandbox has recorded.
    pub async fn on(sandbox: &Sandbox) -> Self {
        let trace = complete_trace(sandbox).await;
        let events = events(sandbox);
        let possible =
            Surplus { queued: times_killed(sandbox, RECEIVE_MESSAGE), ends: sandbox.queues.events.timeouts() };
        let mut failures = sandbox.contact_center.violations();
        failures.extend(trace.failures(&events, possible).into_iter().map(|failure| format!("log lines: {failure}")));
        failures.extend(sandbox.bot.violations());
        failures.extend(
            sandbox.leaks().into_iter().map(|line| format!("a log line holds a secret or a message text: {line}")),
        );
        let accepted = sandbox.contact_center.accepted();
        if sandbox.contact_center.unanswered() > 0 {
            failures.push(format!("{} events have not been accepted", sandbox.contact_center.unanswered()));
        }
        if !sandbox.queues.events.is_empty() {
            failures.push(format!("{} events wait in the queue", sandbox.queues.events.len()));
        }
        let dead_letters = sandbox.queues.dead_letters.len();
        if dead_letters > 0 {
            failures.push(format!("{dead_letters} events are in the dead-letter queue"));
        }
        let typing: BTreeSet<&str> =
            events.iter().filter(|event| event.body.contains(TYPING)).map(|event| event.id.as_str()).collect();
        let may_be_skipped: BTreeSet<&str> = trace.skipped().intersection(&typing).copied().collect();
        let mut skipped = 0;
        let received = sandbox.plays_bot.then(|| {
            let receipts = sandbox.bot.receipts();
            for (conversation, accepted) in &accepted {
                let got: Vec<_> =
                    receipts.get(conversation).into_iter().flatten().map(|receipt| &receipt.event_id).collect();
                // The bot platform may have an event whose only try failed after the bot platform received it.
                let is_skipped = |id: &String| may_be_skipped.contains(id.as_str()) && !got.contains(&id);
                let expected: Vec<_> = accepted.iter().filter(|id| !is_skipped(id)).cloned().collect();
                skipped += accepted.len() - expected.len();
                if !got.iter().copied().eq(&expected) {
                    failures.push(compare(conversation, &expected, &got));
                }
            }
            sandbox.bot.received()
        });
        Self {
            accepted: accepted.values().map(Vec::len).sum(),
            received,
            skipped,
            repeats: sandbox.bot.repeats(),
            said: None,
            dead_letters,
            struck: sandbox.faults.struck(),
            latencies: sandbox.journal.latencies(),
            processes: sandbox.functions.iter().map(|function| function.started()).sum(),
            failures,
        }
    }

    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.received.is_none_or(|received| received + self.skipped == self.accepted)
    }
}

/// The log lines, after the last one has arrived: it may arrive later than the event leaves the queue.
async fn complete_trace(sandbox: &Sandbox) -> Trace {
    let deadline = Instant::now() + LOG_PATIENCE;
    loop {
        let trace = Trace::of(&sandbox.logs());
        let accepted = sandbox.contact_center.accepted();
        if accepted.values().flatten().all(|id| trace.ends(id) > 0) || Instant::now() > deadline {
            return trace;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The events that 8x8 has sent to this sandbox.
fn events(sandbox: &Sandbox) -> Vec<LoggedEvent> {
    let events = sandbox.contact_center.events().into_iter();
    events.filter(|event| event.webhook == sandbox.callback_url()).collect()
}

fn times_killed(sandbox: &Sandbox, function: &'static str) -> u64 {
    let struck = sandbox.faults.struck();
    let killed = Fault::Aws(aws::Fault::Kill(function));
    struck.into_iter().find(|(fault, _)| *fault == killed).map_or(0, |(_, times)| times)
}

fn compare(conversation: &str, accepted: &[String], got: &[&String]) -> String {
    let lost = accepted.iter().filter(|id| !got.contains(id)).count();
    let foreign = got.iter().filter(|id| !accepted.contains(id)).count();
    match (lost, foreign) {
        (0, 0) => format!("conversation {conversation}: delivered out of order"),
        (lost, foreign) => {
            format!("conversation {conversation}: {lost} accepted events lost, {foreign} delivered unaccepted")
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<42} {value}");
        row("events accepted from 8x8 (2xx)", self.accepted.to_string())?;
        match self.received {
            Some(received) => row("of them at the bot platform", format!("{received}, each once and in order"))?,
            None => row("of them at the bot platform", "not ours to count; none is left in a queue".to_owned())?,
        }
        row("typing events that were skipped", self.skipped.to_string())?;
        row("repeats that the bot platform dropped", self.repeats.to_string())?;
        if let Some(said) = self.said {
            row("lines of customer and bot at 8x8", format!("{said}, each once and in order"))?;
        }
        row("dead letters", self.dead_letters.to_string())?;
        for (fault, times) in self.struck.iter().filter(|(_, times)| *times > 0) {
            row(&format!("fault {}", simulation::faults::Fault::name(*fault)), format!("{times} ×"))?;
        }
        row("processes started", self.processes.to_string())?;
        let ms = |share| format!("{:.1} ms", percentile(&self.latencies, share).as_secs_f64() * 1000.0);
        row("8x8's post to the bot platform's receipt", format!("p50 {}, p99 {}", ms(0.5), ms(0.99)))?;
        for failure in self.failures.iter().take(10) {
            row("WRONG", failure.clone())?;
        }
        row(
            "verdict",
            if self.is_good() { "good".to_owned() } else { format!("{} things are wrong", self.failures.len().max(1)) },
        )
    }
}
