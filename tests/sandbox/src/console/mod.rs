//! The console page of `make run`: both sides of each conversation, every hop between them as it happens, and buttons for the
//! customer, the agent and the faults.
//!
//! The console listens on loopback only, rejects any other Host (a web page elsewhere could point its own name at 127.0.0.1),
//! and lets no page of another origin post to it.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /` | the page |
//! | `GET /api/stream` | server-sent events: `hello` (the run), `hops` (new ones), `state` (twice a second) |
//! | `GET /api/hops/{number}` | a hop with its request, the other hops of its event, and the log lines |
//! | `POST /api/hops/{number}/send` `{"how"}` | sends the event of a hop to us once more: `again`, `late`, `forged` |
//! | `GET /api/conversations/{id}` | what the customer and what the agent sees |
//! | `GET /api/conversations/{id}/handover` | where the hand-over is, as converse responds to the bot |
//! | `GET /api/conversations/{id}/attachments/{attachment}` | a file of the conversation |
//! | `POST /api/conversations` `{"messages"}` | the chatbot asks for a person |
//! | `POST /api/conversations/{id}/customer` `{"action",…}` | see `actions.rs` |
//! | `POST /api/conversations/{id}/agent` `{"action","agent",…}` | see `actions.rs` |
//! | `POST /api/faults` `{"name","on"}` | see `actions.rs` |
//! | `GET /api/dead-letters` | the dead letters, as manage-dead-letters lists them |
//! | `POST /api/dead-letters` `{"operation",…}` | what manage-dead-letters responds to this request |
//! | `POST /api/doctor` `{}` | the report of check-integration |
//! | `POST /api/kill` `{"function"}` | kills the waiting processes of a function, and the next one in the middle of its work |

mod actions;
mod dead_letters;
mod doctor;
mod handovers;
mod recording;
mod sides;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::Stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Sandbox;
pub use recording::{Replayed, replay};
use simulation::journal::Entry;
use simulation::server::Server;

/// The port of the page without `--console-port`.
pub const DEFAULT_PORT: u16 = 8088;

/// How often the page gets the numbers of waiting events.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// The number of samples in the chart: three minutes.
const SAMPLES: usize = 360;

/// The page loads only its own files, and no other page can show it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The running console.
#[derive(Debug)]
pub struct Console {
    server: Server,
    sampler: JoinHandle<()>,
}

/// The state that the routes share.
#[derive(Debug)]
struct Desk {
    sandbox: Arc<Sandbox>,
    /// Identifies this run, so that a page that is still open notices the next run.
    run: String,
    hosts: [String; 2],
    samples: Mutex<VecDeque<Sample>>,
}

/// What is waiting at one time: events for which 8x8 has no 2xx, and events in the queue.
#[derive(Debug, Clone, Copy, serde::Serialize)]
struct Sample {
    time: u64,
    waiting: usize,
    /// The age of the oldest event in the queue.
    oldest_ms: u64,
}

type Shared = State<Arc<Desk>>;

/// A listener for the console on `port`, or on [`DEFAULT_PORT`] if `port` is `None`, or on a free port if that one is in use.
///
/// # Errors
/// Fails if `port` is given and in use.
pub async fn listen(port: Option<u16>) -> io::Result<TcpListener> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    match port {
        Some(port) => bind(port).await,
        None => match bind(DEFAULT_PORT).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => bind(0).await,
            bound => bound,
        },
    }
}

impl Console {
    /// Serves the page for a sandbox whose journal is observed.
    ///
    /// # Errors
    /// Fails if the listener has no address.
    pub fn start(sandbox: Arc<Sandbox>, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk {
            sandbox,
            run: simulation::id::base64(),
            hosts: [format!("127.0.0.1:{}", address.port()), format!("localhost:{}", address.port())],
            samples: Mutex::default(),
        });
        let sampler = tokio::spawn(sample(Arc::clone(&desk)));
        Ok(Self { server: Server::on(listener, router(desk)), sampler })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The URL of the page.
    pub fn url(&self) -> String {
        format!("{}/", self.server.url())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}

fn router(desk: Arc<Desk>) -> Router {
    let file = |content_type: &'static str, content: &'static str| {
        get(move || async move { ([(CONTENT_TYPE, content_type)], content) })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page.html")))
        .route("/console.css", file("text/css; charset=utf-8", include_str!("page.css")))
        .route("/console.js", file("text/javascript; charset=utf-8", include_str!("page.js")))
        .route("/dead-letters.js", file("text/javascript; charset=utf-8", include_str!("dead_letters.js")))
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/api/stream", get(stream))
        .route("/api/hops/{number}", get(hop))
        .route("/api/hops/{number}/send", post(actions::send))
        .route("/api/conversations", post(actions::open))
        .route("/api/conversations/{id}", get(conversation))
        .route("/api/conversations/{id}/attachments/{attachment}", get(attachment))
        .route("/api/conversations/{id}/customer", post(actions::customer))
        .route("/api/conversations/{id}/agent", post(actions::agent))
        .route("/api/faults", post(actions::fault))
        .route("/api/dead-letters", get(dead_letters::list).post(dead_letters::settle))
        .route("/api/kill", post(actions::kill))
        .merge(doctor::routes())
        .merge(handovers::routes())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&desk), guard))
        .with_state(desk)
}

/// Accepts only requests of this page or of a program on this machine.
async fn guard(State(desk): Shared, request: Request, next: Next) -> Response {
    if let Err((status, reason)) = check(&desk, request.method(), request.headers()) {
        return (status, reason).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn check(desk: &Desk, method: &Method, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let host = single(headers, HOST).filter(|host| desk.hosts.iter().any(|own| own == host));
    let host = host.ok_or((StatusCode::MISDIRECTED_REQUEST, "The console answers only to 127.0.0.1 and localhost."))?;
    if method != Method::POST {
        return Ok(());
    }
    let is_own_origin = !headers.contains_key(ORIGIN)
        || single(headers, ORIGIN).and_then(|origin| origin.strip_prefix("http://")) == Some(host);
    // A form on another page can post without a preflight request, but not JSON.
    let is_json =
        single(headers, CONTENT_TYPE).is_some_and(|content_type| content_type.starts_with("application/json"));
    match is_own_origin && is_json {
        true => Ok(()),
        false => Err((StatusCode::FORBIDDEN, "Only the console's own page may do that, with JSON.")),
    }
}

/// A header that occurs exactly once.
fn single(headers: &HeaderMap, name: axum::http::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

async fn sample(desk: Arc<Desk>) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    loop {
        ticks.tick().await;
        let sandbox = &desk.sandbox;
        let queued = sandbox.queues.events.contents();
        let time = unix_millis();
        let oldest = queued.iter().map(|message| message.sent_at).min();
        let sample = Sample {
            time: u64::try_from(time).unwrap_or_default(),
            waiting: queued.len() + sandbox.contact_center.unanswered(),
            oldest_ms: oldest.map_or(0, |oldest| u64::try_from(time.saturating_sub(oldest)).unwrap_or_default()),
        };
        let mut samples = desk.samples.lock().expect("no holder panics");
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
    }
}

impl Desk {
    /// The present state.
    fn state(&self) -> Value {
        let sandbox = &self.sandbox;
        let eight_by_eight = |fault: contact_center::Fault| sandbox.faults.is_on(fault);
        let bot = |fault: bot_platform::Fault| sandbox.faults.is_on(fault);
        let violations = [sandbox.contact_center.violations(), sandbox.bot.violations()].concat();
        let functions: Vec<&str> = sandbox.functions.iter().map(|function| function.name()).collect();
        json!({
            "sent": sandbox.contact_center.accepted().values().map(Vec::len).sum::<usize>(),
            "unanswered": sandbox.contact_center.unanswered(),
            "queued": sandbox.queues.events.len(),
            "received": sandbox.bot.received(),
            "repeats": sandbox.bot.repeats(),
            "dead_letters": sandbox.queues.dead_letters.len(),
            "violations": violations,
            "functions": functions,
            "faults": {
                "bot-down": bot(bot_platform::Fault::Status500),
                "bot-slow": sandbox.bot.is_slow(),
                "bot-401": bot(bot_platform::Fault::Status401),
                "bot-422": bot(bot_platform::Fault::Status422),
                "duplicate": eight_by_eight(contact_center::Fault::Duplicate),
                "late": eight_by_eight(contact_center::Fault::Late),
                "forged": eight_by_eight(contact_center::Fault::Forged),
            },
            "samples": *self.samples.lock().expect("no holder panics"),
        })
    }
}

/// The position of a connected page in the stream.
struct Listener {
    desk: Arc<Desk>,
    newest: watch::Receiver<u64>,
    ticks: tokio::time::Interval,
    last: u64,
    is_greeted: bool,
}

async fn stream(State(desk): Shared, headers: HeaderMap) -> Response {
    let Some(newest) = desk.sandbox.journal.newest() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the journal is not observed").into_response();
    };
    // A browser that has lost the connection sends the number of the last hop that it received.
    let last = headers.get("last-event-id").and_then(|last| last.to_str().ok()?.parse().ok()).unwrap_or(0);
    let ticks = tokio::time::interval(SAMPLE_INTERVAL);
    let listener = Listener { desk, newest, ticks, last, is_greeted: false };
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (headers, axum::body::Body::from_stream(events(listener))).into_response()
}

fn events(listener: Listener) -> impl Stream<Item = Result<String, Infallible>> {
    futures_util::stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    })
}

impl Listener {
    /// The next server-sent event; `None` when the sandbox ends.
    async fn next(&mut self) -> Option<String> {
        if !self.is_greeted {
            self.is_greeted = true;
            return Some(format!("event: hello\ndata: {}\n\n", json!({ "run": self.desk.run })));
        }
        loop {
            let new = self.desk.sandbox.journal.entries_after(self.last);
            if let Some(newest) = new.last() {
                self.last = newest.number;
                let new: Vec<&Entry> = new.iter().map(|entry| &**entry).collect();
                return Some(format!("event: hops\nid: {}\ndata: {}\n\n", self.last, json!(new)));
            }
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                _ = self.ticks.tick() => return Some(format!("event: state\ndata: {}\n\n", self.desk.state())),
            }
        }
    }
}

async fn hop(State(desk): Shared, Path(number): Path<u64>) -> Response {
    let Some(entry) = desk.sandbox.journal.entry(number) else {
        return (StatusCode::NOT_FOUND, "this hop is not kept any more").into_response();
    };
    let is_same = |other: &&Arc<Entry>| !entry.event_id.is_empty() && other.event_id == entry.event_id;
    let others = desk.sandbox.journal.entries_after(0);
    let others: Vec<Value> = others.iter().filter(is_same).map(|other| other.show()).collect();
    let logs = desk.log_lines(&entry);
    Json(json!({ "hop": entry.show(), "event": others, "logs": logs })).into_response()
}

impl Desk {
    /// The log lines of a hop's event: the lines that name the event, and all other lines of the same invocations. For a hop
    /// without an event, the lines of its two ends during the hop.
    fn log_lines(&self, entry: &Entry) -> Vec<Value> {
        let lines = self.sandbox.logs();
        let invocations: Vec<String> = lines
            .iter()
            .filter(|line| is_of(entry, line.function, &line.text))
            .filter_map(|line| request_id(&line.text))
            .collect();
        let is_shown =
            |text: &str| request_id(text).is_some_and(|id| invocations.contains(&id)) || names_event(entry, text);
        let shown = lines.iter().filter(|line| is_shown(&line.text));
        shown.map(|line| json!({ "function": line.function, "line": line.text })).collect()
    }
}

fn names_event(entry: &Entry, text: &str) -> bool {
    !entry.event_id.is_empty() && text.contains(&entry.event_id)
}

fn is_of(entry: &Entry, function: &str, text: &str) -> bool {
    if !entry.event_id.is_empty() {
        return names_event(entry, text);
    }
    let is_end = [&entry.from, &entry.to].iter().any(|end| *end == function);
    is_end && logged_at(text).is_some_and(|time| (started(entry)..=entry.time).contains(&time))
}

/// When a call began. Its hop is written when the call has ended.
fn started(entry: &Entry) -> u64 {
    entry.time.saturating_sub(entry.took_ms.unwrap_or(0.0) as u64 + 1)
}

fn request_id(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["requestId"].as_str().map(str::to_owned)
}

fn logged_at(line: &str) -> Option<u64> {
    let line: Value = serde_json::from_str(line).ok()?;
    let format = aws_smithy_types::date_time::Format::DateTime;
    let time = aws_smithy_types::DateTime::from_str(line["timestamp"].as_str()?, format).ok()?;
    u64::try_from(time.to_millis().ok()?).ok()
}

async fn conversation(State(desk): Shared, Path(id): Path<String>) -> Json<Value> {
    let entries = desk.sandbox.journal.entries_after(0);
    let entries: Vec<&Entry> =
        entries.iter().map(|entry| &**entry).filter(|entry| entry.conversation_id == id).collect();
    let received = desk.sandbox.bot.receipts().remove(&id).unwrap_or_default();
    let received = received.iter().map(|receipt| receipt.event_id.as_str()).collect();
    let agent = match desk.sandbox.contact_center.conversation_ids().contains(&id) {
        true => {
            let kept = desk.sandbox.contact_center.kept(&id);
            json!({
                "state": kept["state"],
                "assignment": kept["assignment"],
                "history": sides::agent(kept["history"].as_array().map(Vec::as_slice).unwrap_or_default()),
                "lines": sides::agent(&desk.sandbox.contact_center.messages(&id)),
            })
        }
        // The conversation is at a contact center outside the sandbox.
        false => Value::Null,
    };
    Json(json!({ "customer": sides::customer(&entries, &received), "agent": agent }))
}

/// A file of a customer or an agent. The browser only saves the file, because it may be a page with scripts; its name is in the
/// link.
async fn attachment(State(desk): Shared, Path((conversation, attachment)): Path<(String, String)>) -> Response {
    match desk.sandbox.contact_center.attached_file(&conversation, &attachment) {
        Some((_, bytes)) => {
            let headers = [(CONTENT_TYPE, "application/octet-stream"), (CONTENT_DISPOSITION, "attachment")];
            (headers, bytes).into_response()
        }
        None => (StatusCode::NOT_FOUND, "8x8 does not have this file").into_response(),
    }
}

fn unix_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis()
}
