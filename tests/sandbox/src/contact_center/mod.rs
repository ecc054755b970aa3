//! 8x8 Contact Center: its API in both dialects, strict as its OpenAPI files are; its events, signed and sent again until
//! they get a 2xx; and agents who join, type, write, transfer and leave.

mod api;
mod conversations;
mod conversations_v2;
mod events;
mod multipart;
mod problem;
mod recorded;
mod schema;
pub mod signer;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::Client;
use crate::faults::Faults;
use crate::journal::Journal;
use crate::server::Server;
use conversations::{Message, Record};
pub use events::Conversation;
use events::Outgoing;
use signer::Signer;

/// Which of 8x8's APIs is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ContactCenterApi {
    /// Chat Gateway v1.
    #[default]
    ChatGatewayV1,
    /// Chat API v2.
    ChatApiV2,
}

/// How callers have to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Authentication {
    /// `x-api-key`.
    #[default]
    ApiKey,
    /// A bearer token for API key and secret.
    ClientCredentials,
    /// A bearer token for user and password, and `x-api-key`.
    Password,
}

/// How the simulated contact center is set up.
#[derive(Debug, Clone)]
pub struct ContactCenterSettings {
    /// Its API.
    pub api: ContactCenterApi,
    /// Its authentication.
    pub authentication: Authentication,
    /// Its tenant.
    pub tenant_id: String,
    /// What callers are known by.
    pub credentials: Credentials,
    /// How long its access tokens live.
    pub token_life: Duration,
    /// How long the URL of an agent's file works.
    pub file_url_life: Duration,
    /// Whether what is said through the API comes back as an echo.
    pub echoes: bool,
}

/// What callers of 8x8 are known by.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The API key.
    pub api_key: String,
    /// The secret of the API key.
    pub api_secret: String,
    /// A user.
    pub username: String,
    /// The user's password.
    pub password: String,
}

impl Default for ContactCenterSettings {
    fn default() -> Self {
        Self {
            api: ContactCenterApi::default(),
            authentication: Authentication::default(),
            tenant_id: "sandboxtenant".to_owned(),
            credentials: Credentials {
                api_key: "sandbox-api-key".to_owned(),
                api_secret: "sandbox-api-secret".to_owned(),
                username: "sandbox-8x8-user".to_owned(),
                password: "sandbox-8x8-password".to_owned(),
            },
            token_life: Duration::from_secs(1799),
            // 8x8 does not document it; storage that signs URLs gives them some minutes.
            file_url_life: Duration::from_secs(300),
            echoes: true,
        }
    }
}

/// The queues that agents of the simulated contact center work on, with their names.
const QUEUES: [(&str, &str); 3] = [("101", "Support"), ("102", "Sales"), ("103", "Night desk")];

/// The simulated contact center.
#[derive(Debug)]
pub struct ContactCenter {
    settings: ContactCenterSettings,
    signer: Signer,
    faults: Arc<Faults>,
    journal: Arc<Journal>,
    client: Client,
    forged_target: OnceLock<String>,
    /// Where it listens.
    origin: OnceLock<String>,
    state: Mutex<State>,
    /// The next calls of these methods and resources go wrong.
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
    /// The URLs of files that need no credentials: conversation, attachment, and until when.
    file_urls: HashMap<String, (String, String, Instant)>,
    /// Where the events of each conversation wait to be sent.
    outboxes: HashMap<String, mpsc::UnboundedSender<Outgoing>>,
    /// Event ids that got a 2xx, in that order, by conversation.
    accepted: BTreeMap<String, Vec<String>>,
    unanswered: usize,
    retries: usize,
    violations: Vec<String>,
}

#[derive(Debug, Clone)]
struct Webhook {
    name: String,
    uri: String,
    version: String,
}

#[derive(Debug, Clone)]
struct Channel {
    name: String,
    webhook_id: String,
    queue_id: String,
}

/// How the lists of the Chat Gateway are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListForm {
    /// As 8x8 documents it.
    #[default]
    Documented,
    /// One item stands without an array around it, as HAL allows.
    SingleObject,
    /// The numbers of the paging are floats.
    Floats,
    /// The numbers of the paging are text.
    Text,
    /// There are no numbers, but a link to the next page.
    NextLink,
    /// The second page is empty; what follows is one page later.
    EmptyPage,
    /// The second page is answered with 404.
    MissingPage,
    /// The list stands under an unknown field.
    Unknown,
}

/// A call to the API that goes wrong.
#[derive(Debug, Clone)]
struct PlannedFailure {
    method: String,
    path: String,
    kind: FailureKind,
    effect: Effect,
}

/// Whether and when a call that goes wrong has its effect all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    None,
    AtOnce,
    /// So long after the answer, or what there is in its place.
    After(Duration),
}

/// How a call to the API goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It is refused with 400.
    Status400,
    /// It is answered with 500.
    Status500,
    /// It is answered with 504, as a gateway does that has waited for long enough.
    Status504,
    /// It is answered with 429 and `Retry-After: 1`.
    Status429,
    /// The connection is dropped.
    Drops,
    /// There is no answer.
    Hangs,
}

impl ContactCenter {
    /// Starts the contact center.
    pub async fn start(
        settings: ContactCenterSettings,
        faults: Arc<Faults>,
        journal: Arc<Journal>,
    ) -> (Arc<Self>, Server) {
        let contact_center = Arc::new(Self {
            settings,
            signer: Signer::new(),
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
        let server = Server::start(api::router(Arc::clone(&contact_center))).await;
        let _ = contact_center.origin.set(server.url());
        (contact_center, server)
    }

    /// The base URL of its API, for a server at `origin`.
    pub fn endpoint(settings: &ContactCenterSettings, origin: &str) -> String {
        match settings.api {
            ContactCenterApi::ChatGatewayV1 => format!("{origin}/chat-gateway/v1/"),
            ContactCenterApi::ChatApiV2 => format!("{origin}/vcc/us/chat/v2/tenant/{}/", settings.tenant_id),
        }
    }

    /// Where forged events go, if not to the webhook.
    pub(crate) fn aim_forgers_at(&self, url: String) {
        let _ = self.forged_target.set(url);
    }

    /// What signs its events.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Its settings.
    pub fn settings(&self) -> &ContactCenterSettings {
        &self.settings
    }

    /// Event ids that got a 2xx, in that order, by conversation.
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

    /// What should never have happened: a forged event that was accepted.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// The webhooks and channels that exist, as the API shows them.
    pub fn registered(&self) -> (Vec<Value>, Vec<Value>) {
        let state = self.state();
        let webhooks = state.webhooks.iter().map(|(id, webhook)| self.show_webhook(id, webhook)).collect();
        let channels = state.channels.iter().map(|(id, channel)| self.show_channel(id, channel)).collect();
        (webhooks, channels)
    }

    /// Removes a webhook or channel behind the API's back, as an administrator in the console may.
    pub fn remove(&self, id: &str) {
        let mut state = self.state();
        state.webhooks.remove(id);
        state.channels.remove(id);
    }

    /// Adds a channel behind the API's back, to make lists longer than a page.
    pub fn add_channel(&self, name: &str) {
        let channel = Channel { name: name.to_owned(), webhook_id: "w".to_owned(), queue_id: "101".to_owned() };
        self.state().channels.insert(crate::id::base64(), channel);
    }

    /// Adds a webhook and a channel that someone else registered, and gives their ids.
    pub fn add_foreign(&self, name: &str, uri: &str) -> (String, String) {
        let (webhook_id, channel_id) = (crate::id::base64(), crate::id::base64());
        let version = match self.settings.api {
            ContactCenterApi::ChatGatewayV1 => "Chat Gateway v1.0",
            ContactCenterApi::ChatApiV2 => "v1.0",
        };
        let webhook = Webhook { name: name.to_owned(), uri: uri.to_owned(), version: version.to_owned() };
        let channel = Channel { name: name.to_owned(), webhook_id: webhook_id.clone(), queue_id: "102".to_owned() };
        let mut state = self.state();
        state.webhooks.insert(webhook_id.clone(), webhook);
        state.channels.insert(channel_id.clone(), channel);
        (webhook_id, channel_id)
    }

    /// Points a channel to another webhook, as an administrator in the console may.
    pub fn move_channel(&self, channel_id: &str, webhook_id: &str) {
        if let Some(channel) = self.state().channels.get_mut(channel_id) {
            channel.webhook_id = webhook_id.to_owned();
        }
    }

    /// Points a webhook to another URL, as an administrator in the console may.
    pub fn repoint(&self, webhook_id: &str, uri: &str) {
        if let Some(webhook) = self.state().webhooks.get_mut(webhook_id) {
            webhook.uri = uri.to_owned();
        }
    }

    /// Renames a webhook or channel, as an administrator in the console may.
    pub fn rename(&self, id: &str, name: &str) {
        let mut state = self.state();
        if let Some(webhook) = state.webhooks.get_mut(id) {
            webhook.name = name.to_owned();
        }
        if let Some(channel) = state.channels.get_mut(id) {
            channel.name = name.to_owned();
        }
    }

    /// From now on lists are written in another form that HAL or 8x8's gateway allows.
    pub fn write_lists(&self, form: ListForm) {
        *self.list_form.lock().expect("no holder panics") = form;
    }

    /// Routes a channel to another queue behind the API's back.
    pub fn reroute(&self, channel_id: &str, queue_id: &str) {
        if let Some(channel) = self.state().channels.get_mut(channel_id) {
            channel.queue_id = queue_id.to_owned();
        }
    }

    /// The next call of `method` to such a resource is answered with 500; `is_carried_out` says whether it has its effect
    /// all the same.
    pub fn fail_next(&self, method: &'static str, path: &'static str, is_carried_out: bool) {
        self.break_next(method, path, FailureKind::Status500, is_carried_out);
    }

    /// The next call of `method` to such a resource goes wrong in that way; `is_carried_out` says whether it has its
    /// effect all the same.
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

    /// The next call of `method` to such a resource goes wrong in that way, and has its effect so long `after`wards.
    pub fn break_next_late(&self, method: &str, path: &str, kind: FailureKind, after: Duration) {
        let (method, path) = (method.to_owned(), path.to_owned());
        self.failures().push(PlannedFailure { method, path, kind, effect: Effect::After(after) });
    }

    /// Makes all access tokens invalid.
    pub fn revoke_tokens(&self) {
        self.state().tokens.clear();
    }

    /// What was said in a conversation: who by, and what, in order.
    pub fn said(&self, conversation_id: &str) -> Vec<(String, String)> {
        let state = self.state();
        let record = state.conversations.get(conversation_id).expect("the conversation exists");
        let text = |content: &Value| content["text"].as_str().unwrap_or_default().to_owned();
        record.messages.iter().map(|message| (message.author_type.clone(), text(&message.content))).collect()
    }

    /// The same with everything that was said, as the API shows a message; a file has its name as well.
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

    /// Name and content of a file of a conversation.
    pub fn attached_file(&self, conversation_id: &str, attachment_id: &str) -> Option<(String, Vec<u8>)> {
        self.state().conversations.get(conversation_id)?.file(attachment_id)
    }

    /// A conversation as it is kept: what the API shows of it, and its history, activities and assignments.
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

    /// A URL of an attachment that needs no credentials, for a while.
    fn sign_url(&self, conversation: &str, attachment: &str) -> String {
        let token = crate::id::base64();
        let file = (conversation.to_owned(), attachment.to_owned(), Instant::now() + self.settings.file_url_life);
        self.state().file_urls.insert(token.clone(), file);
        format!("{}/files/{token}", self.origin.get().map(String::as_str).unwrap_or_default())
    }

    pub(crate) fn is_gateway(&self) -> bool {
        self.settings.api == ContactCenterApi::ChatGatewayV1
    }

    fn failures(&self) -> MutexGuard<'_, Vec<PlannedFailure>> {
        self.failures.lock().expect("no holder panics")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}
