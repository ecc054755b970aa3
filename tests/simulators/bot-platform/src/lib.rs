//! A bot platform like an Aisera tenant: its token endpoint with tokens that expire and can be revoked, and
//! `receiveMessage`, which checks both headers and drops repeats by their event id.

mod control;
mod fault;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use simulation::faults::Faults;
use simulation::journal::{Exchange, Journal, Reply};
use simulation::server::{DropConnection, Server};
use tokio::net::TcpListener;

pub use fault::Fault;

/// The port of the program without `--port`.
pub const DEFAULT_PORT: u16 = 8189;

/// The settings of the simulated bot platform.
#[derive(Debug, Clone)]
pub struct BotPlatformSettings {
    /// The value of `x-app-token`, and the OAuth client.
    pub app_token: String,
    /// A user.
    pub username: String,
    /// The user's password.
    pub password: String,
    /// How long access tokens live.
    pub token_life: Duration,
    /// The names of its callers in the journal.
    pub callers: Callers,
}

/// The names of the bot platform's callers in the journal.
#[derive(Debug, Clone, Copy)]
pub struct Callers {
    /// The client that logs in.
    pub logs_in: &'static str,
    /// The client that delivers events.
    pub delivers: &'static str,
}

impl Default for BotPlatformSettings {
    fn default() -> Self {
        Self {
            app_token: "sandbox-app-token".to_owned(),
            username: "sandbox-bot-user".to_owned(),
            password: "sandbox-bot-password".to_owned(),
            token_life: Duration::from_secs(3600),
            callers: Callers { logs_in: "client", delivers: "client" },
        }
    }
}

/// An event as it was received.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// `x-8x8-event-id`.
    pub event_id: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The bytes.
    pub body: Bytes,
}

/// The simulated bot platform.
#[derive(Debug)]
pub struct BotPlatform {
    settings: BotPlatformSettings,
    faults: Arc<Faults<Fault>>,
    journal: Arc<Journal>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    access_tokens: HashMap<String, Instant>,
    refresh_tokens: HashSet<String>,
    used_refresh_tokens: HashSet<String>,
    grants: BTreeMap<&'static str, usize>,
    /// By conversation, each event once, in the order of arrival.
    receipts: BTreeMap<String, Vec<Receipt>>,
    seen: HashSet<String>,
    repeats: usize,
    refusals: BTreeMap<u16, usize>,
    violations: Vec<String>,
    refused_conversations: HashMap<String, (u16, Option<u64>)>,
    /// How long a response takes: for one conversation, or for all (`None`).
    delays: HashMap<Option<String>, Duration>,
}

impl BotPlatform {
    /// Starts the bot platform on a free port.
    pub async fn start(
        settings: BotPlatformSettings,
        faults: Arc<Faults<Fault>>,
        journal: Arc<Journal>,
    ) -> (Arc<Self>, Server) {
        Self::start_on(Server::listener().await, settings, faults, journal)
    }

    /// Starts the bot platform, and its control API, on a listener.
    pub fn start_on(
        listener: TcpListener,
        settings: BotPlatformSettings,
        faults: Arc<Faults<Fault>>,
        journal: Arc<Journal>,
    ) -> (Arc<Self>, Server) {
        let bot = Arc::new(Self { settings, faults, journal, state: Mutex::default() });
        let router = Router::new().fallback(respond).with_state(Arc::clone(&bot)).merge(control::router(&bot));
        (bot, Server::on(listener, router))
    }

    /// Its settings.
    pub fn settings(&self) -> &BotPlatformSettings {
        &self.settings
    }

    /// The events that it has received, by conversation, each event once, in the order of arrival.
    pub fn receipts(&self) -> BTreeMap<String, Vec<Receipt>> {
        self.state().receipts.clone()
    }

    /// How many events it has received.
    pub fn received(&self) -> usize {
        self.state().seen.len()
    }

    /// How many repeated events it has dropped.
    pub fn repeats(&self) -> usize {
        self.state().repeats
    }

    /// How often each grant was used: `password`, `refresh_token`.
    pub fn grants(&self, grant: &str) -> usize {
        self.state().grants.get(grant).copied().unwrap_or(0)
    }

    /// How often it responded to an event with that status.
    pub fn refused_with(&self, status: u16) -> usize {
        self.state().refusals.get(&status).copied().unwrap_or(0)
    }

    /// Requests that an Aisera tenant would reject in any state.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Makes all access tokens invalid; refresh tokens stay valid.
    pub fn revoke_access_tokens(&self) {
        self.state().access_tokens.clear();
    }

    /// Makes all refresh tokens invalid.
    pub fn revoke_refresh_tokens(&self) {
        self.state().refresh_tokens.clear();
    }

    /// Responds to events of that conversation with that status, and with `Retry-After` if it is given.
    pub fn refuse_conversation(&self, conversation_id: &str, status: u16, retry_after: Option<u64>) {
        self.state().refused_conversations.insert(conversation_id.to_owned(), (status, retry_after));
    }

    /// The conversations whose events are refused.
    pub fn refused_conversations(&self) -> Vec<String> {
        self.state().refused_conversations.keys().cloned().collect()
    }

    /// Accepts events of that conversation again.
    pub fn take_conversation(&self, conversation_id: &str) {
        self.state().refused_conversations.remove(conversation_id);
    }

    /// Delays the response to an event of that conversation, or of every one. The event itself is stored at once.
    pub fn delay_responses(&self, conversation_id: Option<&str>, by: Duration) {
        self.state().delays.insert(conversation_id.map(str::to_owned), by);
    }

    /// Ends all delays of responses.
    pub fn answer_at_once(&self) {
        self.state().delays.clear();
    }

    /// Whether responses to every event are delayed.
    pub fn is_slow(&self) -> bool {
        self.state().delays.contains_key(&None)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    fn token(&self, headers: &HeaderMap, body: &[u8]) -> (StatusCode, Value) {
        let error = |status: StatusCode, code: &str| (status, json!({ "error": code, "error_description": code }));
        let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !content_type.starts_with("application/x-www-form-urlencoded") {
            return error(StatusCode::BAD_REQUEST, "invalid_request");
        }
        let form: HashMap<_, _> = form_urlencoded::parse(body).into_owned().collect();
        if form.get("clientid") != Some(&self.settings.app_token) {
            return error(StatusCode::UNAUTHORIZED, "invalid_client");
        }
        let mut state = self.state();
        let grant = match form.get("grant_type").map(String::as_str) {
            Some("password") => {
                let is_known = form.get("username") == Some(&self.settings.username)
                    && form.get("password") == Some(&self.settings.password);
                if !is_known {
                    return error(StatusCode::BAD_REQUEST, "invalid_grant");
                }
                "password"
            }
            Some("refresh_token") => {
                let Some(token) = form.get("refresh_token") else {
                    return error(StatusCode::BAD_REQUEST, "invalid_request");
                };
                if state.used_refresh_tokens.contains(token) {
                    // RFC 9700 §4.14.2: an old refresh token is used again, so one of its users may have stolen it. Revoke all.
                    state.violations.push("a refresh token was used twice".to_owned());
                    state.access_tokens.clear();
                    state.refresh_tokens.clear();
                }
                if !state.refresh_tokens.remove(token) {
                    return error(StatusCode::BAD_REQUEST, "invalid_grant");
                }
                state.used_refresh_tokens.insert(token.clone());
                "refresh_token"
            }
            Some(_) => return error(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            None => return error(StatusCode::BAD_REQUEST, "invalid_request"),
        };
        *state.grants.entry(grant).or_default() += 1;
        let (access, refresh) =
            (format!("bot-access-{}", simulation::id::base64()), format!("bot-refresh-{}", simulation::id::base64()));
        state.access_tokens.insert(access.clone(), Instant::now() + self.settings.token_life);
        state.refresh_tokens.insert(refresh.clone());
        let life = self.settings.token_life.as_secs();
        let values =
            json!({ "access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": life });
        let response = json!({
            "access_token": access,
            "refresh_token": refresh,
            "values": values,
            "token_type": "bearer",
            "expires_in": life,
        });
        (StatusCode::OK, response)
    }

    /// Checks the request, stores the event, and returns the response.
    fn receive(&self, headers: &HeaderMap, body: &Bytes) -> Reaction {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut state = self.state();
        for name in ["x-app-token", "authorization", "content-type"] {
            if headers.get_all(name).iter().count() != 1 {
                state.violations.push(format!("{name} is not there exactly once"));
            }
        }
        if header("x-app-token") != Some(&self.settings.app_token) {
            return Reaction::status(401);
        }
        let token = header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if state.access_tokens.get(token).is_none_or(|until| *until <= Instant::now()) {
            return Reaction::status(401);
        }
        if serde_json::from_slice::<Event>(body).is_ok_and(|event| event.is_verification()) {
            // 8x8's verification of a webhook: there is nothing to store.
            let struck = [(Fault::Status401, 401), (Fault::Status500, 500)];
            let struck = struck.into_iter().find(|(fault, _)| self.faults.strikes(*fault));
            return Reaction::status(struck.map_or(200, |(_, status)| status));
        }
        let Some(event_id) = header("x-8x8-event-id").map(str::to_owned) else {
            state.violations.push("an event without x-8x8-event-id".to_owned());
            return Reaction::status(400);
        };
        let Ok(event) = serde_json::from_slice::<Event>(body) else {
            state.violations.push("an event that is not JSON".to_owned());
            return Reaction::status(400);
        };
        let conversation = event.conversation_id.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some((status, retry_after)) = state.refused_conversations.get(&conversation) {
            return Reaction::Respond(StatusCode::from_u16(*status).expect("a status"), *retry_after);
        }
        let strikes = |fault| self.faults.strikes(fault);
        if strikes(Fault::TokenRevoked) {
            state.access_tokens.clear();
            return Reaction::status(401);
        }
        if strikes(Fault::Status401) {
            return Reaction::status(401);
        }
        if strikes(Fault::Status422) {
            return Reaction::status(422);
        }
        if strikes(Fault::Status429) {
            return Reaction::Respond(StatusCode::TOO_MANY_REQUESTS, Some(1));
        }
        if strikes(Fault::Status500) {
            return Reaction::status(500);
        }
        let broken = [(Fault::Hangs, Reaction::Hang), (Fault::Drops, Reaction::Drop)];
        let broken = broken.into_iter().find(|(fault, _)| strikes(*fault)).map(|(_, reaction)| reaction);
        // The fault strikes before or after the event is stored: a sender cannot know which.
        if let Some(broken) = broken
            && fastrand::bool()
        {
            return broken;
        }
        let everyones = state.delays.get(&None).copied();
        let delay = state.delays.get(&Some(conversation.clone())).copied().or(everyones);
        if state.seen.insert(event_id.clone()) {
            self.journal.event_received(&event_id);
            let receipt = Receipt { event_id, headers: headers.clone(), body: body.clone() };
            state.receipts.entry(conversation).or_default().push(receipt);
        } else {
            state.repeats += 1;
        }
        broken.or(delay.map(Reaction::Late)).unwrap_or(Reaction::status(200))
    }
}

/// The members of an event that are read. The other members may be any JSON, even a string that is not valid Unicode.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "conversationId")]
    conversation_id: Option<Value>,
    #[serde(rename = "eventType")]
    event_type: Option<Value>,
}

impl Event {
    fn is_verification(&self) -> bool {
        self.event_type.as_ref().and_then(Value::as_str) == Some("WEB_HOOK_VERIFY")
    }
}

/// The reaction to a request.
#[derive(Debug, Clone, Copy)]
enum Reaction {
    /// With `Retry-After` in seconds.
    Respond(StatusCode, Option<u64>),
    /// 200, after this time.
    Late(Duration),
    Hang,
    Drop,
}

impl Reaction {
    fn status(status: u16) -> Self {
        Self::Respond(StatusCode::from_u16(status).expect("a status"), None)
    }
}

async fn respond(
    Shared(bot): Shared<Arc<BotPlatform>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match (method.as_str(), uri.path()) {
        ("HEAD", _) => StatusCode::NOT_FOUND.into_response(),
        ("POST", "/tenant-users/oauth2/token") => {
            let (status, response) = bot.token(&headers, &body);
            bot.journal.hop(bot.settings.callers.logs_in, "bot platform", "POST token", status.as_str(), None);
            (status, axum::Json(response)).into_response()
        }
        ("POST", "/v1/liveAgent/receiveMessage") => {
            let reaction = bot.receive(&headers, &body);
            let event_id = headers.get("x-8x8-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
            let shown = match reaction {
                Reaction::Respond(status, _) => status.as_u16().to_string(),
                Reaction::Late(_) => "200, late".to_owned(),
                Reaction::Hang => "no response".to_owned(),
                Reaction::Drop => "connection dropped".to_owned(),
            };
            bot.journal.event_exchange(event_id, bot.settings.callers.delivers, "bot platform", &shown, || {
                let exchange = Exchange::new(&method, uri.path(), &headers, &body);
                Some(match reaction {
                    Reaction::Respond(status, _) => {
                        exchange.with(Reply::new(status.as_u16(), &HeaderMap::new(), &Bytes::new()))
                    }
                    Reaction::Late(_) => exchange.with(Reply::new(200, &HeaderMap::new(), &Bytes::new())),
                    Reaction::Hang | Reaction::Drop => exchange,
                })
            });
            match reaction {
                Reaction::Respond(status, retry_after) => {
                    let mut response = status.into_response();
                    if !status.is_success() {
                        *bot.state().refusals.entry(status.as_u16()).or_default() += 1;
                    }
                    if let Some(seconds) = retry_after {
                        response.headers_mut().insert("retry-after", seconds.into());
                    }
                    if status.is_redirection() {
                        // A client that follows the redirect fails: no such path exists.
                        response.headers_mut().insert("location", HeaderValue::from_static("/elsewhere"));
                    }
                    response
                }
                Reaction::Late(by) => {
                    tokio::time::sleep(by).await;
                    StatusCode::OK.into_response()
                }
                Reaction::Hang => {
                    // Longer than any caller waits.
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    StatusCode::GATEWAY_TIMEOUT.into_response()
                }
                Reaction::Drop => {
                    let mut response = StatusCode::OK.into_response();
                    response.extensions_mut().insert(DropConnection);
                    response
                }
            }
        }
        (_, path) => {
            bot.state().violations.push(format!("{method} {path} does not exist"));
            StatusCode::NOT_FOUND.into_response()
        }
    }
}
