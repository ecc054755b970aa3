//! The journal: one line for each hop between the parts, with sender, receiver, content and duration. A line holds no message
//! text, no person and no token, so that it can be shown to anyone.
//!
//! Once the journal is observed, it also keeps the last hops as [`Entry`]s, with their requests, for the console page and for
//! recordings. Until then nothing is kept.

mod entry;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use entry::{Draft, Observer};
pub use entry::{Entry, Exchange, Reply};

/// The hops of a run.
#[derive(Debug)]
pub struct Journal {
    is_shown: bool,
    started: Instant,
    events: Mutex<HashMap<String, EventTrace>>,
    observer: OnceLock<Observer>,
}

/// The times and places at which an event was seen.
#[derive(Debug, Clone)]
pub struct EventTrace {
    what: String,
    /// Its conversation; empty if it is not known.
    pub conversation_id: String,
    /// When its sender began to send it, at the attempt that was accepted.
    pub sent_at: Instant,
    last_hop: Instant,
    /// When the last receiver first received it.
    pub received_at: Option<Instant>,
}

impl EventTrace {
    /// The time from the sender's post to the last receiver's receipt, if the event was received.
    pub fn latency(&self) -> Option<Duration> {
        Some(self.received_at?.duration_since(self.sent_at))
    }
}

impl Journal {
    /// With `is_shown`, every hop is printed as it happens.
    pub fn new(is_shown: bool) -> Self {
        Self { is_shown, started: Instant::now(), events: Mutex::default(), observer: OnceLock::new() }
    }

    /// Keeps the hops from now on, and writes each to the file `record` as a line of JSON.
    ///
    /// # Errors
    /// Fails if the file cannot be created.
    pub fn observe(&self, record: Option<&Path>) -> io::Result<()> {
        let record = record.map(File::create).transpose()?;
        self.observer.get_or_init(|| Observer::new(record));
        Ok(())
    }

    /// The hops after that number that are still kept, oldest first; after number 0, all of them.
    pub fn entries_after(&self, number: u64) -> Vec<Arc<Entry>> {
        self.observer.get().map(|observer| observer.entries_after(number)).unwrap_or_default()
    }

    /// The hop with that number, if it is still kept.
    pub fn entry(&self, number: u64) -> Option<Arc<Entry>> {
        self.observer.get()?.entry(number)
    }

    /// The number of the newest hop, sent for each new hop; `None` if the journal is not observed.
    pub fn newest(&self) -> Option<watch::Receiver<u64>> {
        self.observer.get().map(Observer::newest)
    }

    /// Records the arrival of an event, for an observer only: the response is what is printed. `details` returns the outcome
    /// and the request.
    pub fn event_arrived(
        &self,
        event_id: &str,
        from: &str,
        to: &str,
        details: impl FnOnce() -> (String, Exchange),
    ) -> Option<Arc<Entry>> {
        let observer = self.observer.get()?;
        let (outcome, request) = details();
        let (mut what, mut conversation_id) = self.known(event_id);
        // Our simulated 8x8 has not sent it: a forger or another contact center did.
        if conversation_id.is_empty() {
            (what, conversation_id) = request.event();
        }
        let draft = Draft {
            event_id,
            conversation_id: &conversation_id,
            exchange: Some(request),
            ..Draft::new(from, to, &what, &outcome)
        };
        Some(observer.publish(&self.started, draft))
    }

    /// Adds the response to an arrival that [`Self::event_arrived`] recorded.
    pub fn event_replied(&self, arrival: &Entry, reply: Reply) {
        if let Some(exchange) = &arrival.exchange {
            exchange.reply(reply);
        }
        if let Some(observer) = self.observer.get() {
            observer.record(arrival);
        }
    }

    /// The sender of an event begins to send it, or sends it again.
    pub fn event_sent(&self, event_id: &str, event_type: &str, conversation_id: &str) {
        let now = Instant::now();
        let what = format!("{event_type:<19} {}", short(conversation_id));
        let mut events = self.events();
        let trace = events.entry(event_id.to_owned()).or_insert(EventTrace {
            what,
            conversation_id: conversation_id.to_owned(),
            sent_at: now,
            last_hop: now,
            received_at: None,
        });
        if trace.received_at.is_none() {
            (trace.sent_at, trace.last_hop) = (now, now);
        }
    }

    /// An event arrives at one of the parts.
    pub fn event_hop(&self, event_id: &str, from: &str, to: &str, outcome: &str) {
        self.event_exchange(event_id, from, to, outcome, || None);
    }

    /// The same as [`Self::event_hop`], with the request that carried the event.
    pub fn event_exchange(
        &self,
        event_id: &str,
        from: &str,
        to: &str,
        outcome: &str,
        exchange: impl FnOnce() -> Option<Exchange>,
    ) {
        let now = Instant::now();
        let (what, conversation_id, took) = {
            let mut events = self.events();
            let trace = events.entry(event_id.to_owned()).or_insert_with(|| EventTrace {
                what: format!("{:<19} {}", "event", short(event_id)),
                conversation_id: String::new(),
                sent_at: now,
                last_hop: now,
                received_at: None,
            });
            let took = now - trace.last_hop;
            trace.last_hop = now;
            (trace.what.clone(), self.if_observed(trace), took)
        };
        self.show(from, to, &what, outcome, Some(took));
        if let Some(observer) = self.observer.get() {
            let draft = Draft {
                event_id,
                conversation_id: &conversation_id,
                took: Some(took),
                exchange: exchange(),
                ..Draft::new(from, to, &what, outcome)
            };
            observer.publish(&self.started, draft);
        }
    }

    /// The last receiver has received an event for the first time.
    pub fn event_received(&self, event_id: &str) {
        if let Some(trace) = self.events().get_mut(event_id) {
            trace.received_at = Some(Instant::now());
        }
    }

    /// The sender of an event has got a response, `took` after it began to send the event.
    pub fn event_answered(&self, event_id: &str, from: &str, to: &str, outcome: &str, took: Duration) {
        let (what, conversation_id) = self.known(event_id);
        self.show(from, to, &what, outcome, Some(took));
        if let Some(observer) = self.observer.get() {
            let draft = Draft {
                event_id,
                conversation_id: &conversation_id,
                took: Some(took),
                ..Draft::new(from, to, &what, outcome)
            };
            observer.publish(&self.started, draft);
        }
    }

    /// Any other hop.
    pub fn hop(&self, from: &str, to: &str, what: &str, outcome: &str, took: Option<Duration>) {
        self.exchange(from, to, what, outcome, took, || (String::new(), None));
    }

    /// The same as [`Self::hop`], with the conversation that it belongs to and the request, if they are known.
    pub fn exchange(
        &self,
        from: &str,
        to: &str,
        what: &str,
        outcome: &str,
        took: Option<Duration>,
        details: impl FnOnce() -> (String, Option<Exchange>),
    ) {
        self.show(from, to, what, outcome, took);
        if let Some(observer) = self.observer.get() {
            let (conversation_id, exchange) = details();
            let draft =
                Draft { conversation_id: &conversation_id, took, exchange, ..Draft::new(from, to, what, outcome) };
            observer.publish(&self.started, draft);
        }
    }

    /// A sentence between the hops.
    pub fn say(&self, sentence: &str) {
        self.note("note", sentence, sentence);
    }

    /// A fault is switched on or off, as the command line writes it: `bot-500=3`.
    pub fn switched(&self, fault: &str) {
        self.note("fault", fault, &format!("fault {fault}"));
    }

    /// The idle processes of a function are killed, and the next process during its work.
    pub fn killed(&self, function: &str) {
        self.note("kill", function, &format!("kill {function}"));
    }

    fn note(&self, kind: &str, outcome: &str, shown: &str) {
        if self.is_shown {
            println!("{:>9}  — {shown}", clock(self.started.elapsed()));
        }
        if let Some(observer) = self.observer.get() {
            observer.publish(&self.started, Draft::new("", "", kind, outcome));
        }
    }

    /// The time from the sender's post to the last receiver's receipt, for each event that was received.
    pub fn latencies(&self) -> Vec<Duration> {
        let mut latencies: Vec<_> = self.events().values().filter_map(EventTrace::latency).collect();
        latencies.sort();
        latencies
    }

    /// The traces so far.
    pub fn traces(&self) -> Vec<EventTrace> {
        self.events().values().cloned().collect()
    }

    /// Returns the traces so far and forgets them.
    pub fn take(&self) -> Vec<EventTrace> {
        std::mem::take(&mut *self.events()).into_values().collect()
    }

    fn show(&self, from: &str, to: &str, what: &str, outcome: &str, took: Option<Duration>) {
        if self.is_shown {
            let took = took.map(|took| format!("{:>8.1} ms", took.as_secs_f64() * 1000.0)).unwrap_or_default();
            let time = clock(self.started.elapsed());
            println!("{time:>9}  {from:>16} → {to:<16} {what:<32} {outcome:<24} {took}");
        }
    }

    /// What is known about an event: its description and its conversation.
    fn known(&self, event_id: &str) -> (String, String) {
        let events = self.events();
        let trace = events.get(event_id);
        trace.map(|trace| (trace.what.clone(), self.if_observed(trace))).unwrap_or_default()
    }

    /// The conversation of an event, which only an observer needs.
    fn if_observed(&self, trace: &EventTrace) -> String {
        self.observer.get().map(|_| trace.conversation_id.clone()).unwrap_or_default()
    }

    fn events(&self) -> MutexGuard<'_, HashMap<String, EventTrace>> {
        self.events.lock().expect("no holder panics")
    }
}

/// The value below which this share of the sorted values lies.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let index = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

fn clock(elapsed: Duration) -> String {
    format!("{:.3} s", elapsed.as_secs_f64())
}

fn short(id: &str) -> String {
    if id.chars().count() > 10 { id.chars().take(9).chain(['…']).collect() } else { id.to_owned() }
}
