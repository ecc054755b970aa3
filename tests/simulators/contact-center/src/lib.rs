//! 8x8 Contact Center: its API in both dialects, as strict as its OpenAPI files; its events, signed and sent again until they
//! get a 2xx; agents who join, type, write, transfer and leave; and a control API to play them.
//!
//! [`signer`], [`captured`] and [`explain`] are about 8x8's signature of an event: signing an event, and explaining why a
//! signature does not verify.

mod agent;
mod api;
pub mod captured;
mod checks;
mod control;
mod conversations;
mod conversations_v2;
mod delivery;
mod events;
pub mod explain;
mod fault;
mod files;
mod keys;
mod lists;
mod multipart;
mod problem;
mod record;
mod recorded;
mod registry;
mod schema;
mod settings;
pub mod signer;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use simulation::client::Client;
use simulation::faults::Faults;
use simulation::journal::Journal;
use simulation::server::Server;
use tokio::net::TcpListener;

pub use delivery::{Attempt, LoggedEvent, Resend};
pub use events::Conversation;
pub use fault::{Fault, LATEST};
pub use files::{FileHeaders, NameEncoding};
pub use lists::ListForm;
pub use settings::{Agents, Authentication, Clients, ContactCenterApi, ContactCenterSettings, Credentials};

use delivery::Outgoing;
use keys::Keys;
use record::{Message, Record};
use registry::{Channel, Webhook};
use signer::Signer;

/// The port of the program without `--port`.
pub const DEFAULT_PORT: u16 = 8188;

/// The queues that agents of the simulated contact center work on, with their names.
const QUEUES: [(&str, &str); 3] = [("101", "Support"), ("102", "Sales"), ("103", "Night desk")];

/// The simulated contact center.
#[derive(Debug)]
pub struct ContactCenter {
    settings: ContactCenterSettings,
    signer: Signer,
    keys: Mutex<Keys>,
    faults: Arc<Faults<Fault>>,
    journal: Arc<Journal>,
    client: Client,
    forged_target: OnceLock<String>,
    /// Its base URL.
    origin: OnceLock<String>,
    state: Mutex<State>,
    /// Calls that will fail: the next ones of these methods and resources.
    failures: Mutex<Vec<PlannedFailure>>,
    list_form: Mutex<ListForm>,
    /// Whether it sends the events of a recording and no others.
    follows_recording: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    webhooks: BTreeMap<String, Webhook>,
    channels: BTreeMap<String, Channel>,
    conversations: BTreeMap<String, Record>,
    tokens: HashMap<String, Instant>,
    /// The URLs of files that need no credentials: conversation, attachment, and the time of expiry.
    file_urls: HashMap<String, (String, String, Instant)>,
    /// The queue in which the events of each conversation wait to be sent.
    outboxes: HashMap<String, mpsc::UnboundedSender<Outgoing>>,
    events: Vec<LoggedEvent>,
    /// The ids of the events that got a 2xx, in that order, by conversation.
    accepted: BTreeMap<String, Vec<String>>,
    unanswered: usize,
    retries: usize,
    violations: Vec<String>,
}

/// A call to the API that will fail.
#[derive(Debug, Clone)]
struct PlannedFailure {
    method: String,
    path: String,
    kind: FailureKind,
    effect: Effect,
}

/// Whether and when a call that fails is carried out all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    AtOnce,
    /// This long after the response, or after the failure in its place.
    After(Duration),
}

/// How a call to the API fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The response is a 400.
    Status400,
    /// The response is a 403, because the credentials lack a permission.
    Status403,
    /// The response is a 500.
    Status500,
    /// The response is a 504, as from a gateway whose time-out is over.
    Status504,
    /// The response is a 429 with `Retry-After: 1`.
    Status429,
    /// The connection is dropped.
    Drops,
    /// There is no response.
    Hangs,
}

impl ContactCenter {
    /// Starts the contact center on a free port.
    pub async fn start(
        settings: ContactCenterSettings,
        faults: Arc<Faults<Fault>>,
        journal: Arc<Journal>,
    ) -> (Arc<Self>, Server) {
        Self::start_on(Server::listener().await, settings, faults, journal)
    }

    /// Starts the contact center, and its control API, on a listener.
    pub fn start_on(
        listener: TcpListener,
        settings: ContactCenterSettings,
        faults: Arc<Faults<Fault>>,
        journal: Arc<Journal>,
    ) -> (Arc<Self>, Server) {
        let signer = Signer::new();
        let contact_center = Arc::new(Self {
            settings,
            keys: Mutex::new(Keys::of(&signer)),
            signer,
            faults,
            journal,
            client: Client::new(),
            forged_target: OnceLock::new(),
            origin: OnceLock::new(),
            state: Mutex::default(),
            failures: Mutex::default(),
            list_form: Mutex::default(),
            follows_recording: AtomicBool::new(false),
        });
        let server =
            Server::on(listener, api::router(Arc::clone(&contact_center)).merge(control::router(&contact_center)));
        let _ = contact_center.origin.set(server.url());
        (contact_center, server)
    }

    /// A second server of the same contact center, without a control API, for clients in another network.
    pub async fn second_server(self: &Arc<Self>) -> Server {
        Server::start(api::router(Arc::clone(self))).await
    }

    /// The base URL of its API, for a server at `origin`.
    pub fn endpoint(settings: &ContactCenterSettings, origin: &str) -> String {
        match settings.api {
            ContactCenterApi::ChatGatewayV1 => format!("{origin}/chat-gateway/v1/"),
            ContactCenterApi::ChatApiV2 => format!("{origin}/vcc/us/chat/v2/tenant/{}/", settings.tenant_id),
        }
    }

    /// The URL of the keys of its signatures, for a server at `origin`.
    pub fn key_url(settings: &ContactCenterSettings, origin: &str) -> String {
        match settings.api {
            ContactCenterApi::ChatGatewayV1 => format!("{origin}/chat-gateway/v1/jwk/{{kid}}/public"),
            ContactCenterApi::ChatApiV2 => format!("{origin}/vcc/us/chat/v2/jwk/{{kid}}/public"),
        }
    }

    /// Sends forged events to `url` instead of the webhook.
    pub fn aim_forgers_at(&self, url: String) {
        let _ = self.forged_target.set(url);
    }

    /// Its signing key.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Its settings.
    pub fn settings(&self) -> &ContactCenterSettings {
        &self.settings
    }

    /// The ids of the events that got a 2xx, in that order, by conversation.
    pub fn accepted(&self) -> BTreeMap<String, Vec<String>> {
        self.state().accepted.clone()
    }

    /// How many events still wait for a 2xx.
    pub fn unanswered(&self) -> usize {
        self.state().unanswered
    }

    /// How often an event had to be sent again.
    pub fn retries(&self) -> usize {
        self.state().retries
    }

    /// Violations: a forged event that was accepted.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// The next call of `method` to such a resource gets a 500; `is_carried_out` sets whether the call is carried out all the
    /// same.
    pub fn fail_next(&self, method: &'static str, path: &'static str, is_carried_out: bool) {
        self.break_next(method, path, FailureKind::Status500, is_carried_out);
    }

    /// The next call of `method` to such a resource fails in this way; `is_carried_out` sets whether the call is carried out
    /// all the same.
    pub fn break_next(
        &self,
        method: impl Into<String>,
        path: impl Into<String>,
        kind: FailureKind,
        is_carried_out: bool,
    ) {
        let effect = if is_carried_out { Effect::AtOnce } else { Effect::None };
        self.failures().push(PlannedFailure { method: method.into(), path: path.into(), kind, effect });
    }

    /// The next call of `method` to such a resource fails in this way, and is carried out this long `after`wards.
    pub fn break_next_late(&self, method: &str, path: &str, kind: FailureKind, after: Duration) {
        let (method, path) = (method.to_owned(), path.to_owned());
        self.failures().push(PlannedFailure { method, path, kind, effect: Effect::After(after) });
    }

    /// How many planned failures have not happened yet.
    pub fn planned_failures(&self) -> usize {
        self.failures().len()
    }

    /// Makes all access tokens invalid.
    pub fn revoke_tokens(&self) {
        self.state().tokens.clear();
    }

    /// The messages of a conversation in order: the author's type and the text.
    pub fn said(&self, conversation_id: &str) -> Vec<(String, String)> {
        let state = self.state();
        let record = state.conversations.get(conversation_id).expect("the conversation exists");
        let text = |content: &Value| content["text"].as_str().unwrap_or_default().to_owned();
        record.messages.iter().map(|message| (message.author_type.clone(), text(&message.content))).collect()
    }

    /// The messages of a conversation as the API shows them, with the names of files added.
    pub fn messages(&self, conversation_id: &str) -> Vec<Value> {
        let state = self.state();
        let record = state.conversations.get(conversation_id).expect("the conversation exists");
        let show = |message: &Message| {
            let mut shown = message.show();
            for attachment in shown.get_mut("attachments").and_then(Value::as_array_mut).into_iter().flatten() {
                let file = record.attachment_kind(attachment["id"].as_str().unwrap_or_default());
                attachment["fileName"] = file.map(|(name, _)| name).into();
            }
            shown
        };
        record.messages.iter().map(show).collect()
    }

    /// Name and content of a file in a conversation.
    pub fn attached_file(&self, conversation_id: &str, attachment_id: &str) -> Option<(String, Vec<u8>)> {
        let state = self.state();
        let attachment = state.conversations.get(conversation_id)?.attachment(attachment_id).ok()?;
        Some((attachment.filename.clone(), attachment.bytes.clone()))
    }

    /// A conversation as it is stored: what the API shows of it, and its history, activities and assignments.
    pub fn kept(&self, conversation_id: &str) -> Value {
        let state = self.state();
        let record = state.conversations.get(conversation_id).expect("the conversation exists");
        json!({
            "channelId": record.channel_id,
            "user": record.user,
            "assignment": record.assignment,
            "state": record.state,
            "history": record.history,
            "activities": record.activities,
            "postAgentAssignments": record.post_agent_assignments,
        })
    }

    /// The ids of all conversations.
    pub fn conversation_ids(&self) -> Vec<String> {
        self.state().conversations.keys().cloned().collect()
    }

    /// A URL of an attachment that needs no credentials until it expires.
    fn sign_url(&self, conversation: &str, attachment: &str) -> String {
        let token = simulation::id::base64();
        let file = (conversation.to_owned(), attachment.to_owned(), Instant::now() + self.settings.file_url_life);
        self.state().file_urls.insert(token.clone(), file);
        format!("{}/files/{token}", self.origin.get().map(String::as_str).unwrap_or_default())
    }

    /// Whether it speaks Chat Gateway v1.
    pub fn is_gateway(&self) -> bool {
        self.settings.api == ContactCenterApi::ChatGatewayV1
    }

    fn failures(&self) -> MutexGuard<'_, Vec<PlannedFailure>> {
        self.failures.lock().expect("no holder panics")
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().expect("no holder panics")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}
