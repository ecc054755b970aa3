//! Sends the events of what happens in a conversation, in either dialect.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::{HeaderMap, Method};
use serde_json::{Value, json};
use simulation::journal::{Exchange, Reply};

use crate::record::Record;
use crate::{ContactCenter, ContactCenterApi, FileHeaders, QUEUES};

/// The content type of quick replies.
const QUICK_REPLIES: &str = "application/8x8.quick.replies";

/// The content type of adaptive cards.
const ADAPTIVE: &str = "application/vnd.microsoft.card.adaptive";

/// A conversation with an agent.
#[derive(Debug, Clone)]
pub struct Conversation {
    pub(crate) contact_center: Arc<ContactCenter>,
    id: String,
    /// The ids of the events that were sent through this handle.
    sent: Arc<Mutex<Vec<String>>>,
}

impl ContactCenter {
    /// Opens a conversation on a channel of our bridge, without sending an event.
    pub fn open_conversation(self: &Arc<Self>, channel_id: &str) -> Conversation {
        let id = simulation::id::base64();
        let user = json!({ "name": "Sandbox Customer", "userId": "c-1", "language": "en" });
        let mut state = self.state();
        let queue_id = state.channels.get(channel_id).map(|channel| channel.queue_id.clone()).unwrap_or_default();
        state.conversations.insert(id.clone(), Record::new(channel_id, &queue_id, user, Value::Null));
        drop(state);
        self.conversation(&id).expect("the channel has a webhook")
    }

    /// The conversation with that id; `None` if its channel has no webhook that could receive its events.
    pub fn conversation(self: &Arc<Self>, id: &str) -> Option<Conversation> {
        self.webhook_of(id)?;
        Some(Conversation { contact_center: Arc::clone(self), id: id.to_owned(), sent: Arc::default() })
    }

    /// The URL to which an event of the conversation goes now: that of its channel's webhook.
    fn webhook_of(&self, conversation_id: &str) -> Option<String> {
        let state = self.state();
        let channel = state.channels.get(&state.conversations.get(conversation_id)?.channel_id)?;
        Some(state.webhooks.get(&channel.webhook_id)?.uri.clone())
    }
}

impl Conversation {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The ids of the events that were sent through this handle and its clones.
    pub fn sent(&self) -> Vec<String> {
        self.sent.lock().expect("no holder panics").clone()
    }

    /// The conversation was created, and the user is in it.
    pub fn created(&self) {
        if self.is_gateway() {
            self.updated();
            let user = self.record(|record| record.user_id());
            self.members_changed("user", &user, "joined");
        }
    }

    /// The conversation waits in a queue: the queue of its channel, or the queue that it was transferred to.
    pub fn queued(&self) {
        let id = self.record(|record| {
            record.waiting_since.get_or_insert_with(Instant::now);
            record.queue_id.clone()
        });
        let name = QUEUES.iter().find(|(queue, _)| *queue == id).map_or("", |(_, name)| name);
        match self.contact_center.settings.api {
            ContactCenterApi::ChatGatewayV1 => {
                self.gateway("QUEUED", Some(json!({ "queueId": id, "queueName": name })))
            }
            ContactCenterApi::ChatApiV2 => {
                self.flat("QUEUED", json!({ "messageType": "SYSTEM", "queueId": id, "queueName": name }))
            }
        }
    }

    /// An agent joins, and the conversation is assigned to the agent.
    pub fn joined(&self, agent: &str) {
        self.record(|record| {
            record.join(agent, "agent");
            record.waiting_since = None;
            record.state = "active";
            record.assignment = json!({ "type": "agent", "id": agent });
        });
        match self.contact_center.settings.api {
            ContactCenterApi::ChatGatewayV1 => {
                self.members_changed("agent", agent, "joined");
                self.updated();
            }
            ContactCenterApi::ChatApiV2 => {
                self.flat("AGENT_JOINED", json!({ "messageType": "SYSTEM", "agentId": agent, "agentName": agent }));
            }
        }
    }

    /// An agent types. The older API has no event for it.
    pub fn types(&self, agent: &str) {
        self.typing(&json!([{ "type": "agent", "id": agent }]));
    }

    /// An agent stops typing; no agent types any more.
    pub fn stops_typing(&self) {
        self.typing(&json!([]));
    }

    fn typing(&self, users: &Value) {
        if self.is_gateway() {
            self.gateway("ACTIVITY", Some(json!({ "name": "typing", "value": { "users": users } })));
        }
    }

    /// An agent has read the messages so far. The older API has no event for it.
    pub fn reads(&self, agent: &str) {
        if self.is_gateway() {
            let receipt = json!({ "type": "agent", "id": agent, "readAt": now_millis() as u64 });
            self.gateway("ACTIVITY", Some(json!({ "name": "read-receipts", "value": [receipt] })));
        }
    }

    /// The webhook also receives the customer's or bot's action on a card.
    pub(crate) fn acted_on_card(&self, content_type: &str, action: &Value) {
        let name = if content_type == QUICK_REPLIES { "quickReply/action" } else { "adaptiveCard/action" };
        self.gateway("ACTIVITY", Some(json!({ "name": name, "value": action })));
    }

    /// A message that the bridge has sent as customer or bot comes back as an echo. The older API has no echoes.
    pub(crate) fn echo(&self, author: &str, message: &Value) {
        let mut data = json!({ "isEcho": true, "sender": { "id": author, "type": author } });
        for field in ["text", "cards"] {
            if let Some(value) = message.get(field) {
                data[field] = value.clone();
            }
        }
        let attachments = message["attachments"].as_array().into_iter().flatten();
        let attachments: Vec<Value> =
            attachments.filter_map(|attachment| self.attachment(attachment["id"].as_str()?)).collect();
        if !attachments.is_empty() {
            data["attachments"] = attachments.into();
        }
        self.gateway("MESSAGE", Some(data));
    }

    /// An agent writes.
    pub fn writes(&self, agent: &str, text: &str) {
        self.record(|record| record.say(agent, "agent", json!({ "text": text })));
        match self.contact_center.settings.api {
            ContactCenterApi::ChatGatewayV1 => {
                let sender = json!({ "id": agent, "type": "agent" });
                self.gateway("MESSAGE", Some(json!({ "isEcho": false, "sender": sender, "text": text })));
            }
            ContactCenterApi::ChatApiV2 => {
                let message = json!({ "messageType": "AGENT", "agentId": agent, "agentName": agent, "message": text });
                self.flat("TEXT", message);
            }
        }
    }

    /// An agent sends a file. The older API has no files.
    pub fn sends_file(&self, agent: &str, name: &str, bytes: &[u8]) {
        self.sends_file_with(agent, name, bytes, FileHeaders::default());
    }

    /// An agent sends a file, which 8x8 serves with these headers. The older API has no files.
    pub fn sends_file_with(&self, agent: &str, name: &str, bytes: &[u8], headers: FileHeaders) {
        if !self.is_gateway() {
            return;
        }
        let id = self.record(|record| {
            let id = record.attach(name, bytes, headers);
            record.say(agent, "agent", json!({ "attachments": [{ "id": id }] }));
            id
        });
        self.uploaded(&id, bytes);
        let sender = json!({ "id": agent, "type": "agent" });
        let attachments: Vec<Value> = self.attachment(&id).into_iter().collect();
        self.gateway("MESSAGE", Some(json!({ "isEcho": false, "sender": sender, "attachments": attachments })));
    }

    /// Shows an observer the content of an agent's file. The event does not hold it, and a replay needs it.
    fn uploaded(&self, id: &str, bytes: &[u8]) {
        self.contact_center.journal.exchange("an agent", "8x8", "POST attachments", "200", None, || {
            let path = format!("/conversations/{}/attachments", self.id);
            let content = Bytes::copy_from_slice(bytes);
            let response = json!({ "id": id }).to_string().into();
            let exchange = Exchange::new(&Method::POST, &path, &HeaderMap::new(), &content);
            (self.id.clone(), Some(exchange.with(Reply::new(200, &HeaderMap::new(), &response))))
        });
    }

    /// An attachment as an event shows it, with a URL that needs no credentials and expires.
    fn attachment(&self, id: &str) -> Option<Value> {
        let (name, kind) = self.record(|record| record.attachment_kind(id))?;
        let url = self.contact_center.sign_url(&self.id, id);
        Some(json!({ "id": id, "type": kind, "preSignedUrl": url, "fileName": name }))
    }

    /// An agent sends a card with quick replies, and the card's id is returned. The older API has no cards.
    pub fn sends_card(&self, agent: &str, content: &Value) -> Option<String> {
        self.sends_card_of(agent, QUICK_REPLIES, content)
    }

    /// An agent sends an adaptive card, and the card's id is returned. The older API has no cards.
    pub fn sends_adaptive_card(&self, agent: &str, content: &Value) -> Option<String> {
        self.sends_card_of(agent, ADAPTIVE, content)
    }

    fn sends_card_of(&self, agent: &str, content_type: &str, content: &Value) -> Option<String> {
        if !self.is_gateway() {
            return None;
        }
        let card = json!({ "contentType": content_type, "content": content });
        let card = self.record(|record| {
            record.say(agent, "agent", json!({ "cards": [card] }));
            record.messages.last().map(|message| message.content["cards"][0].clone())
        })?;
        let sender = json!({ "id": agent, "type": "agent" });
        self.gateway("MESSAGE", Some(json!({ "isEcho": false, "sender": sender, "cards": [card] })));
        card["id"].as_str().map(str::to_owned)
    }

    /// The conversation is transferred: when the agent leaves after this, the conversation does not end.
    pub fn transferred(&self) {
        match self.contact_center.settings.api {
            ContactCenterApi::ChatGatewayV1 => self.gateway("TRANSFER", None),
            ContactCenterApi::ChatApiV2 => self.flat("TRANSFER", json!({})),
        }
    }

    /// An agent hands the conversation to a queue, and leaves.
    pub fn transferred_to(&self, agent: &str, queue_id: &str) {
        self.record(|record| {
            record.queue_id = queue_id.to_owned();
            record.assignment = json!({ "type": "queue", "id": queue_id });
        });
        self.transferred();
        self.left(agent);
        self.queued();
    }

    /// An agent leaves.
    pub fn left(&self, agent: &str) {
        self.record(|record| record.remove(agent));
        match self.contact_center.settings.api {
            ContactCenterApi::ChatGatewayV1 => self.members_changed("agent", agent, "left"),
            ContactCenterApi::ChatApiV2 => {
                self.flat("AGENT_LEFT", json!({ "messageType": "SYSTEM", "agentId": agent, "agentName": agent }));
            }
        }
    }

    /// The user leaves. The older API has no event for it.
    pub(crate) fn user_left(&self) {
        let user = self.record(|record| {
            let user = record.user_id();
            record.remove(&user);
            user
        });
        if self.is_gateway() {
            self.members_changed("user", &user, "left");
        }
    }

    /// The conversation ends.
    pub fn idle(&self) {
        self.record(Record::ended);
        if self.is_gateway() {
            self.updated();
        }
    }

    /// Sends any body as an event of this conversation, and returns the event's id. If the conversation's channel or webhook
    /// was removed, the event is not sent.
    pub fn event(&self, event_type: &str, body: String) -> String {
        let event_id = simulation::id::base64();
        match self.contact_center.webhook_of(&self.id) {
            Some(webhook) => {
                self.contact_center.enqueue(&event_id, &self.id, webhook, event_type, body);
                self.sent.lock().expect("no holder panics").push(event_id.clone());
            }
            None => self.contact_center.journal.hop("8x8", "8x8", event_type, "not sent: no webhook", None),
        }
        event_id
    }

    pub(crate) fn record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(self.contact_center.state().conversations.get_mut(&self.id).expect("conversations are never forgotten"))
    }

    fn is_gateway(&self) -> bool {
        self.contact_center.is_gateway()
    }

    /// Sends the state of the conversation, with all fields that 8x8 includes.
    fn updated(&self) {
        let data = self.record(|record| {
            json!({
                "state": record.state,
                "assignment": record.assignment,
                "user": record.user,
                "channel": "ChatAPI",
            })
        });
        let known = data.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let known: Value = known.map(|(name, value)| (name.clone(), value.clone())).collect();
        self.gateway("CONVERSATION_UPDATE", Some(known));
    }

    fn members_changed(&self, kind: &str, id: &str, change: &str) {
        self.gateway("MEMBERS_CHANGED", Some(json!({ "memberType": kind, "change": change, "id": id })));
    }

    /// Chat Gateway v1.0: the payload in `data`.
    fn gateway(&self, event_type: &'static str, data: Option<Value>) {
        if self.contact_center.follows_recording() {
            return;
        }
        let timestamp = self.record(Record::next_time);
        let mut event = json!({ "eventType": event_type, "conversationId": self.id, "timestamp": timestamp });
        if let Some(data) = data {
            event["data"] = data;
        }
        self.event(event_type, event.to_string());
    }

    /// Chat API v2.0: the payload at the top level.
    fn flat(&self, event_type: &'static str, mut event: Value) {
        if self.contact_center.follows_recording() {
            return;
        }
        event["eventType"] = event_type.into();
        event["conversationId"] = self.id.clone().into();
        event["timestamp"] = self.record(Record::next_time).into();
        self.event(event_type, event.to_string());
    }
}

pub(crate) fn now_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis()
}
