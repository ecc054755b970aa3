//! Hops as data: for the console page and for recordings.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

/// The number of hops that are kept: some hundred events.
const HISTORY: usize = 4000;

/// Only the beginning of a larger body is kept.
const BODY_LIMIT: usize = 256 * 1024;

/// The text that is shown in place of a secret.
const MASK: &str = "•••";

/// Headers that hold a secret, or a value made with a secret.
const SECRET_HEADERS: [&str; 6] =
    ["authorization", "x-app-token", "x-api-key", "x-8x8-signature", "cookie", "set-cookie"];

/// One hop, or a sentence between hops.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Its number in the run, from 1.
    pub number: u64,
    /// Milliseconds since the start.
    pub at_ms: u64,
    /// Milliseconds since 1970.
    pub time: u64,
    /// The sender; empty for a sentence.
    pub from: String,
    /// The receiver.
    pub to: String,
    /// The type of an event or the operation of a call; for a sentence `note`, `fault` or `kill`.
    pub kind: String,
    /// The id of the event, or empty.
    pub event_id: String,
    /// The conversation, if it is known.
    pub conversation_id: String,
    /// A status or another result; for a sentence, its text.
    pub outcome: String,
    /// How long it took.
    pub took_ms: Option<f64>,
    /// How often the same event has made this hop before.
    pub retries: usize,
    /// The request, if it is known.
    #[serde(skip)]
    pub exchange: Option<Exchange>,
}

/// A request and the response to it, without secrets.
#[derive(Debug)]
pub struct Exchange {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: String,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    is_cut: bool,
    reply: OnceLock<Reply>,
}

/// A response, without secrets.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Exchange {
    /// A request whose response is not known yet.
    pub fn new(method: &Method, path: &str, headers: &HeaderMap, body: &Bytes) -> Self {
        Self {
            method: method.clone(),
            path: path.to_owned(),
            headers: masked(headers),
            body: limited(body),
            is_cut: body.len() > BODY_LIMIT,
            reply: OnceLock::new(),
        }
    }

    /// The request with its response.
    pub fn with(self, reply: Reply) -> Self {
        self.reply(reply);
        self
    }

    /// The response, if there was one.
    pub fn replied(&self) -> Option<&Reply> {
        self.reply.get()
    }

    /// Whether the response is a 2xx.
    pub fn is_successful(&self) -> bool {
        self.replied().is_some_and(|reply| (200..300).contains(&reply.status))
    }

    pub(super) fn reply(&self, reply: Reply) {
        let _ = self.reply.set(reply);
    }

    fn show(&self) -> Value {
        let mut shown = json!({
            "method": self.method.as_str(),
            "path": self.path,
            "headers": self.headers,
            "body": text(&self.body),
            "response": self.replied().map(|reply| {
                json!({ "status": reply.status, "headers": reply.headers, "body": text(&reply.body) })
            }),
        });
        // A picture is not text, and a replay sends it again.
        if std::str::from_utf8(&self.body).is_err() {
            shown["body_base64"] = STANDARD.encode(&self.body).into();
        }
        if self.is_cut {
            shown["is_cut"] = true.into();
        }
        shown
    }

    /// The type and the conversation in an event's body; each is empty if it is missing.
    pub(super) fn event(&self) -> (String, String) {
        let event: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        (field("eventType"), field("conversationId"))
    }
}

impl Reply {
    /// A response.
    pub fn new(status: u16, headers: &HeaderMap, body: &Bytes) -> Self {
        Self { status, headers: masked(headers), body: limited(body) }
    }
}

impl Entry {
    /// The whole entry as JSON, with the request.
    pub fn show(&self) -> Value {
        let mut shown = json!(self);
        if let Some(exchange) = &self.exchange {
            shown["request"] = exchange.show();
        }
        shown
    }
}

/// The data that an entry is made from.
pub(super) struct Draft<'a> {
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) what: &'a str,
    pub(super) outcome: &'a str,
    pub(super) event_id: &'a str,
    pub(super) conversation_id: &'a str,
    pub(super) took: Option<Duration>,
    pub(super) exchange: Option<Exchange>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(from: &'a str, to: &'a str, what: &'a str, outcome: &'a str) -> Self {
        Self { from, to, what, outcome, event_id: "", conversation_id: "", took: None, exchange: None }
    }
}

/// Keeps the last hops, notifies of new ones, and records them.
#[derive(Debug)]
pub(super) struct Observer {
    history: Mutex<VecDeque<Arc<Entry>>>,
    newest: watch::Sender<u64>,
    record: Option<Mutex<File>>,
}

impl Observer {
    pub(super) fn new(record: Option<File>) -> Self {
        Self { history: Mutex::default(), newest: watch::Sender::new(0), record: record.map(Mutex::new) }
    }

    pub(super) fn publish(&self, started: &Instant, draft: Draft<'_>) -> Arc<Entry> {
        let entry = {
            let mut history = self.history();
            let is_same = |entry: &&Arc<Entry>| {
                entry.event_id == draft.event_id && entry.from == draft.from && entry.to == draft.to
            };
            let retries = if draft.event_id.is_empty() { 0 } else { history.iter().filter(is_same).count() };
            // The description of an event is its type and its conversation.
            let kind = if draft.event_id.is_empty() { Some(draft.what) } else { draft.what.split_whitespace().next() };
            let entry = Arc::new(Entry {
                number: history.back().map_or(0, |entry| entry.number) + 1,
                at_ms: millis(started.elapsed()),
                time: millis(SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970")),
                from: draft.from.to_owned(),
                to: draft.to.to_owned(),
                kind: kind.unwrap_or("event").to_owned(),
                event_id: draft.event_id.to_owned(),
                conversation_id: draft.conversation_id.to_owned(),
                outcome: draft.outcome.to_owned(),
                took_ms: draft.took.map(|took| took.as_secs_f64() * 1000.0),
                retries,
                exchange: draft.exchange,
            });
            if history.len() == HISTORY {
                history.pop_front();
            }
            history.push_back(Arc::clone(&entry));
            self.newest.send_replace(entry.number);
            entry
        };
        // A request without a response is recorded when the response is there.
        if entry.exchange.as_ref().is_none_or(|exchange| exchange.replied().is_some()) {
            self.record(&entry);
        }
        entry
    }

    pub(super) fn record(&self, entry: &Entry) {
        if let Some(record) = &self.record {
            let line = format!("{}\n", entry.show());
            let mut record = record.lock().expect("no holder panics");
            record.write_all(line.as_bytes()).expect("the recording can be written");
        }
    }

    pub(super) fn entries_after(&self, number: u64) -> Vec<Arc<Entry>> {
        let history = self.history();
        let known = history.partition_point(|entry| entry.number <= number);
        history.range(known..).cloned().collect()
    }

    pub(super) fn entry(&self, number: u64) -> Option<Arc<Entry>> {
        let history = self.history();
        let index = history.binary_search_by_key(&number, |entry| entry.number).ok()?;
        history.get(index).cloned()
    }

    pub(super) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    fn history(&self) -> MutexGuard<'_, VecDeque<Arc<Entry>>> {
        self.history.lock().expect("no holder panics")
    }
}

fn masked(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = headers.iter().map(|(name, value)| {
        let is_secret = SECRET_HEADERS.contains(&name.as_str());
        let value = if is_secret { MASK.into() } else { String::from_utf8_lossy(value.as_bytes()) };
        (name.to_string(), value.into_owned())
    });
    shown.collect()
}

fn limited(body: &Bytes) -> Bytes {
    // A copy, so that the rest of the body can be freed.
    if body.len() > BODY_LIMIT { Bytes::copy_from_slice(&body[..BODY_LIMIT]) } else { body.clone() }
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a time of this age")
}
