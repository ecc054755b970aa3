//! Plays a recording.
//!
//! A replay repeats what came from outside the function set, in the order and at the pace of the recording: the bot's calls,
//! through converse; 8x8's events, each once; and the faults and kills. The functions then process all of it again.
//!
//! While a recording is played, the simulated 8x8 sends only the recorded events. An event that follows from a call (the first
//! events of a conversation, the echo of a message, the end) is in the recording like every other event, so that it is sent
//! once. The same rule holds for a recording that was made with another contact center.
//!
//! Conversations, files, webhook and channel get new ids. An id of the recording is replaced by the new one wherever a later
//! path or body names it.
//!
//! The bot's calls are made one after another. A fault that was switched off during a call is switched off after it.
//!
//! Some things are not recorded, and so not repeated: failures that are planned for a single call at 8x8
//! (`ContactCenter::break_next`), as in the scripted hand-over; faults that are switched on over a simulator's control API; and
//! events that are sent once more by hand.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderName, Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use simulation::faults::PlannedFault;

use crate::faults::Fault;
use crate::{CONVERSATIONS, Sandbox};

/// A longer pause in the recording is shortened to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Ids of 8x8 have 22 characters or more. Shorter ids, such as those of queues and people, are not replaced.
const SHORTEST_ID: usize = 16;

/// The result of a replay.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The bot's calls.
    pub calls: usize,
    /// 8x8's events.
    pub events: usize,
    /// Faults that were switched on or off, and kills.
    pub faults: usize,
    /// The calls whose status differs from the recording.
    pub differences: Vec<String>,
}

/// Plays a recording in new conversations on that channel.
///
/// # Errors
/// Fails if the file cannot be read, or has a line that is not part of a recording.
pub async fn replay(sandbox: &Sandbox, channel_id: &str, file: &Path) -> Result<Replayed, String> {
    let file = File::open(file).map_err(|error| error.to_string())?;
    let Recorded { steps, registered, files } = Recorded::read(BufReader::new(file))?;
    let (_, channels) = sandbox.contact_center.registered();
    let own = channels.iter().find(|channel| channel["id"] == channel_id).ok_or("the channel does not exist")?;
    let own = |resource: &str| own[if resource == "POST webhooks" { "webHookId" } else { "id" }].as_str();
    let ids = registered.into_iter().filter_map(|(resource, id)| Some((id, own(&resource)?.to_owned()))).collect();
    let mut player = Player { sandbox, channel_id, files, ids, replayed: Replayed::default() };
    sandbox.contact_center.follow_recording(true);
    let played = player.play(&steps).await;
    sandbox.contact_center.follow_recording(false);
    played.map(|()| player.replayed)
}

/// An action of the recording, and its time in milliseconds since 1970.
struct Step {
    at: f64,
    action: Action,
}

enum Action {
    Call(Call),
    Event { kind: String, conversation: String, body: String },
    Fault(String),
    Kill(String),
}

/// A call of the bot.
struct Call {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
    status: u64,
    response: Value,
}

/// A recording that was read.
struct Recorded {
    /// The actions, in the order in which they happened.
    steps: Vec<Step>,
    /// `POST webhooks` or `POST channels`, and the id that 8x8 gave.
    registered: Vec<(String, String)>,
    /// The content of agents' files, by id.
    files: HashMap<String, Bytes>,
}

impl Recorded {
    fn read(file: impl BufRead) -> Result<Self, String> {
        let (mut steps, mut registered, mut files) = (Vec::new(), Vec::new(), HashMap::new());
        let (mut arrivals, mut accepted) = (HashMap::<String, f64>::new(), HashSet::new());
        let mut started = f64::INFINITY;
        for (index, line) in file.lines().enumerate() {
            let line = line.map_err(|error| error.to_string())?;
            let wrong = |error: &str| format!("line {}: {error}", index + 1);
            let hop: Value = serde_json::from_str(&line).map_err(|error| wrong(&error.to_string()))?;
            let time = hop["time"].as_f64().ok_or_else(|| wrong("it has no time"))?;
            started = started.min(time);
            let text = |field: &str| hop[field].as_str().unwrap_or_default().to_owned();
            let request = &hop["request"];
            let status = request["response"]["status"].as_u64().unwrap_or_default();
            match (&*text("from"), &*text("to"), &*text("kind")) {
                ("", "", "fault") => steps.push(Step { at: time, action: Action::Fault(text("outcome")) }),
                ("", "", "kill") => steps.push(Step { at: time, action: Action::Kill(text("outcome")) }),
                ("chatbot", "converse", _) | ("8x8", "receive-message", _) | ("an agent", "8x8", _)
                    if request["is_cut"] == true =>
                {
                    return Err(wrong("this request is so long that the recording holds only its beginning"));
                }
                ("chatbot", "converse", kind) if request.is_object() => {
                    let call = Call::from(request).ok_or_else(|| wrong("it has no whole request"))?;
                    // Times are cut to the millisecond, so the result of the subtraction is up to 1 ms early. That is right for
                    // a creation, whose events follow it. Another call may itself follow an event.
                    let began = time - hop["took_ms"].as_f64().unwrap_or_default();
                    let at = if kind == "POST conversation" { began } else { began + 1.0 };
                    steps.push(Step { at, action: Action::Call(call) });
                }
                ("8x8", "receive-message", kind) if request.is_object() => {
                    let arrival = arrivals.entry(text("event_id")).or_insert(time);
                    *arrival = arrival.min(time);
                    // A forged request has the id of an event too, but it is not accepted.
                    if status / 100 == 2 && accepted.insert(text("event_id")) {
                        let body = request["body"].as_str().unwrap_or_default().to_owned();
                        let (kind, conversation) = (kind.to_owned(), text("conversation_id"));
                        steps.push(Step { at: *arrival, action: Action::Event { kind, conversation, body } });
                    }
                }
                ("an agent", "8x8", "POST attachments") => {
                    let id = parsed(&request["response"]["body"])["id"].as_str().map(str::to_owned);
                    files.extend(id.zip(content(request)));
                }
                ("register-channel", "8x8", "POST webhooks" | "POST channels") if status / 100 == 2 => {
                    let id = parsed(&request["response"]["body"])["id"].as_str().map(str::to_owned);
                    registered.extend(id.map(|id| (text("kind"), id)));
                }
                _ => {}
            }
        }
        for step in &mut steps {
            // 8x8 may have sent an event long after the event was made, behind others of the conversation.
            if let Action::Event { body, .. } = &step.action
                && let Ok(event) = serde_json::from_str::<Value>(body)
                && let Some(made) = event["timestamp"].as_f64().filter(|made| (started..step.at).contains(made))
            {
                step.at = made;
            }
        }
        steps.sort_by(|one, other| one.at.total_cmp(&other.at));
        Ok(Self { steps, registered, files })
    }
}

impl Call {
    fn from(request: &Value) -> Option<Self> {
        // The replaying bot has its own credentials.
        let is_credential = |name: &HeaderName| ["x-app-token", "authorization"].contains(&name.as_str());
        let header = |header: &Value| Some((header[0].as_str()?.parse().ok()?, header[1].as_str()?.to_owned()));
        let headers = request["headers"].as_array()?.iter().filter_map(header);
        Some(Self {
            method: request["method"].as_str()?.parse().ok()?,
            path: request["path"].as_str()?.strip_prefix(CONVERSATIONS)?.to_owned(),
            headers: headers.filter(|(name, _)| !is_credential(name)).collect(),
            body: content(request)?,
            status: request["response"]["status"].as_u64()?,
            response: parsed(&request["response"]["body"]),
        })
    }
}

struct Player<'s> {
    sandbox: &'s Sandbox,
    channel_id: &'s str,
    files: HashMap<String, Bytes>,
    /// The ids of the recording, each with its id in this sandbox.
    ids: HashMap<String, String>,
    replayed: Replayed,
}

impl Player<'_> {
    async fn play(&mut self, steps: &[Step]) -> Result<(), String> {
        let mut last_at = steps.first().map_or(0.0, |step| step.at);
        for step in steps {
            let pause = Duration::from_secs_f64((step.at - last_at) / 1000.0);
            last_at = step.at;
            tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
            match &step.action {
                Action::Call(call) => self.call(call).await,
                Action::Event { kind, conversation, body } => self.event(kind, conversation, body)?,
                Action::Fault(fault) => self.switch(fault)?,
                Action::Kill(function) => {
                    self.replayed.faults += 1;
                    if !self.sandbox.kill(function) {
                        return Err(format!("no such function: {function}"));
                    }
                }
            }
        }
        Ok(())
    }

    async fn call(&mut self, call: &Call) {
        let path = self.here(&call.path);
        let body = match std::str::from_utf8(&call.body) {
            Ok(text) => self.here(text).into(),
            Err(_) => call.body.clone(),
        };
        let mut headers = call.headers.clone();
        for (_, value) in headers.iter_mut().filter(|(name, _)| name == "idempotency-key") {
            // A new key, so that a recording can be played twice. A repeated key stays a repeated key.
            *value = self.ids.entry(value.clone()).or_insert_with(simulation::id::uuid).clone();
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), value.as_str())).collect();
        let response = self.sandbox.chatbot.call(call.method.clone(), &path, &headers, body).await;
        self.replayed.calls += 1;
        self.learn(&call.response, &serde_json::from_slice(response.body()).unwrap_or_default());
        if u64::from(response.status().as_u16()) != call.status {
            let was = StatusCode::from_u16(call.status as u16).map_or_else(|_| "?".to_owned(), |was| was.to_string());
            let difference = format!("{} {path}: {} instead of {was}", call.method, response.status());
            self.replayed.differences.push(difference);
        }
    }

    fn event(&mut self, kind: &str, conversation: &str, body: &str) -> Result<(), String> {
        let contact_center = &self.sandbox.contact_center;
        let own = match self.ids.get(conversation) {
            Some(id) => {
                contact_center.conversation(id).ok_or_else(|| format!("the conversation {id} has no webhook"))?
            }
            // The bot has not started the conversation.
            None => contact_center.open_conversation(self.channel_id),
        };
        self.ids.insert(conversation.to_owned(), own.id().to_owned());
        own.send_recorded(kind, self.here(body), &self.files);
        self.replayed.events += 1;
        Ok(())
    }

    fn switch(&mut self, fault: &str) -> Result<(), String> {
        self.replayed.faults += 1;
        if let Some(seconds) = fault.strip_prefix("bot-slow=").and_then(|time| time.strip_suffix('s')) {
            let by = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let by = by.ok_or_else(|| format!("no such time: {seconds}"))?;
            self.sandbox.slow_bot((!by.is_zero()).then_some(by));
            return Ok(());
        }
        let planned: PlannedFault<Fault> = fault.parse()?;
        self.sandbox.fault(planned.fault, planned.when);
        Ok(())
    }

    /// Pairs the ids in a recorded response with the ids in the new response.
    fn learn(&mut self, recorded: &Value, own: &Value) {
        match (recorded, own) {
            (Value::Object(recorded), Value::Object(own)) => {
                for (name, value) in recorded {
                    let Some(own) = own.get(name) else { continue };
                    match (&**name, value.as_str(), own.as_str()) {
                        ("id" | "conversationId", Some(recorded), Some(own)) => {
                            if recorded.len() < SHORTEST_ID {
                                continue;
                            }
                            self.ids.entry(recorded.to_owned()).or_insert_with(|| own.to_owned());
                        }
                        _ => self.learn(value, own),
                    }
                }
            }
            (Value::Array(recorded), Value::Array(own)) => {
                for (recorded, own) in recorded.iter().zip(own) {
                    self.learn(recorded, own);
                }
            }
            _ => {}
        }
    }

    /// A path or body with the ids of this sandbox.
    fn here(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (recorded, own)| text.replace(recorded, own))
    }
}

/// The bytes of a recorded request's body.
fn content(request: &Value) -> Option<Bytes> {
    match request["body_base64"].as_str() {
        Some(base64) => Some(STANDARD.decode(base64).ok()?.into()),
        None => Some(request["body"].as_str()?.to_owned().into()),
    }
}

fn parsed(body: &Value) -> Value {
    body.as_str().and_then(|body| serde_json::from_str(body).ok()).unwrap_or_default()
}
