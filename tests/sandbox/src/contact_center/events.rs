//! Conversations and their events: what an agent does becomes an event, signed, sent in order, and sent again until it
//! gets a 2xx.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::conversations::Record;
use super::signer::{Claims, Signer};
use super::{ContactCenter, ContactCenterApi, QUEUES};
use crate::faults::Fault;

/// The "brief delay" before an event is sent again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The content type of quick replies.
const QUICK_REPLIES: &str = "application/8x8.quick.replies";

/// An event that waits to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    event_id: String,
    event_type: String,
    body: String,
}

/// A conversation with an agent.
#[derive(Debug, Clone)]
pub struct Conversation {
    pub(super) contact_center: Arc<ContactCenter>,
    id: String,
    webhook: String,
}

impl ContactCenter {
    /// A conversation on a channel, which is that of our bridge. Nothing is said of it to anyone.
    pub fn open_conversation(self: &Arc<Self>, channel_id: &str) -> Conversation {
        let id = crate::id::base64();
        let user = json!({ "name": "Sandbox Customer", "userId": "c-1", "language": "en" });
        self.state().conversations.insert(id.clone(), Record::new(channel_id, user, Value::Null));
        self.conversation(&id).expect("the channel has a webhook")
    }

    /// The conversation of that id; `None` if its channel has no webhook that could be told of it.
    pub fn conversation(self: &Arc<Self>, id: &str) -> Option<Conversation> {
        let state = self.state();
        let channel = state.channels.get(&state.conversations.get(id)?.channel_id)?;
        let webhook = state.webhooks.get(&channel.webhook_id)?.uri.clone();
        Some(Conversation { contact_center: Arc::clone(self), id: id.to_owned(), webhook })
    }

    /// Sends the events of one conversation in order, each until it gets a 2xx.
    async fn deliver(
        self: Arc<Self>,
        conversation_id: String,
        webhook: String,
        mut outbox: mpsc::UnboundedReceiver<Outgoing>,
    ) {
        while let Some(event) = outbox.recv().await {
            let follower = if self.faults.strikes(Fault::Reorder) { outbox.try_recv().ok() } else { None };
            if let Some(follower) = follower {
                self.send_until_accepted(&conversation_id, &webhook, &follower).await;
            }
            self.send_until_accepted(&conversation_id, &webhook, &event).await;
        }
    }

    async fn send_until_accepted(&self, conversation_id: &str, webhook: &str, event: &Outgoing) {
        if self.faults.strikes(Fault::Forged) {
            self.send_forged(conversation_id, webhook, event).await;
        }
        let mut is_late = self.faults.strikes(Fault::Late);
        for retry in 0.. {
            let five_minutes = if is_late { 300_000 } else { 0 };
            is_late = false;
            let claims = self.claims(event, retry, now_millis() - five_minutes);
            self.journal.event_sent(&event.event_id, &event.event_type, conversation_id);
            let headers = self.signer.headers(event.body.as_bytes(), &claims);
            let started = Instant::now();
            let status = self.post(webhook, &headers, &event.body).await;
            self.journal.event_answered(&event.event_id, &shown(status), started.elapsed());
            if status.is_some_and(|status| status.is_success()) {
                self.accept(conversation_id, &event.event_id);
                if self.faults.strikes(Fault::Duplicate) {
                    let again = self.post(webhook, &headers, &event.body).await;
                    let outcome = format!("{}, a repeat", shown(again));
                    self.journal.event_answered(&event.event_id, &outcome, started.elapsed());
                }
                return;
            }
            self.state().retries += 1;
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    fn accept(&self, conversation_id: &str, event_id: &str) {
        let mut state = self.state();
        state.accepted.entry(conversation_id.to_owned()).or_default().push(event_id.to_owned());
        state.unanswered -= 1;
    }

    /// Somebody who has seen a genuine request sends another body with it, and one who has not signs with a key of theirs.
    async fn send_forged(&self, conversation_id: &str, webhook: &str, event: &Outgoing) {
        let body = event.body.replacen('}', " }", 1);
        let claims = self.claims(event, 0, now_millis());
        let changed = self.signer.headers(event.body.as_bytes(), &claims);
        let foreign = Signer::new().headers(body.as_bytes(), &claims);
        // Past a load balancer, which would vouch for anyone.
        let target = self.forged_target.get().map_or(webhook, String::as_str);
        for headers in [changed, foreign] {
            let status = self.post(target, &headers, &body).await;
            // Not as a hop of the event, which 8x8 has not sent yet.
            self.journal.exchange("a forger", "receive-message", &event.event_type, &shown(status), None, || {
                (conversation_id.to_owned(), None)
            });
            if status.is_some_and(|status| status.is_success()) {
                self.state().violations.push(format!("a forged {} was accepted", event.event_type));
            }
        }
    }

    fn claims(&self, event: &Outgoing, retry: u64, transmission_time: u128) -> Claims {
        Claims {
            tenant_id: self.settings.tenant_id.clone(),
            customer_id: "sandbox-customer".to_owned(),
            event_id: event.event_id.clone(),
            retry,
            transmission_time,
        }
    }

    async fn post(&self, webhook: &str, headers: &[(&'static str, String)], body: &str) -> Option<StatusCode> {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        self.client.post(webhook, headers, body.to_owned()).await
    }
}

impl Conversation {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The conversation was created, and the user is in it.
    pub fn created(&self) {
        if self.is_gateway() {
            self.updated();
            let user = self.record(|record| record.user_id());
            self.members_changed("user", &user, "joined");
        }
    }

    /// It waits in a queue.
    pub fn queued(&self) {
        let (id, name) = QUEUES[0];
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

    /// An agent types. The older API does not tell.
    pub fn types(&self, agent: &str) {
        self.typing(&json!([{ "type": "agent", "id": agent }]));
    }

    /// An agent stops typing: nobody types any more.
    pub fn stops_typing(&self) {
        self.typing(&json!([]));
    }

    fn typing(&self, users: &Value) {
        if self.is_gateway() {
            self.gateway("ACTIVITY", Some(json!({ "name": "typing", "value": { "users": users } })));
        }
    }

    /// An agent has read what was said so far. The older API does not tell.
    pub fn reads(&self, agent: &str) {
        if self.is_gateway() {
            let receipt = json!({ "type": "agent", "id": agent, "readAt": now_millis() as u64 });
            self.gateway("ACTIVITY", Some(json!({ "name": "read-receipts", "value": [receipt] })));
        }
    }

    /// What customer or bot did with a card is told to the webhook as well.
    pub(super) fn acted_on_card(&self, content_type: &str, action: &Value) {
        let name = if content_type == QUICK_REPLIES { "quickReply/action" } else { "adaptiveCard/action" };
        self.gateway("ACTIVITY", Some(json!({ "name": name, "value": action })));
    }

    /// What the bridge has sent as customer or bot comes back as an echo. The older API has none.
    pub(super) fn echo(&self, author: &str, message: &Value) {
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

    /// An agent sends a file. The older API has none.
    pub fn sends_file(&self, agent: &str, name: &str, bytes: &[u8]) {
        if !self.is_gateway() {
            return;
        }
        let id = self.record(|record| {
            let id = record.attach(name, bytes);
            record.say(agent, "agent", json!({ "attachments": [{ "id": id }] }));
            id
        });
        let sender = json!({ "id": agent, "type": "agent" });
        let attachments: Vec<Value> = self.attachment(&id).into_iter().collect();
        self.gateway("MESSAGE", Some(json!({ "isEcho": false, "sender": sender, "attachments": attachments })));
    }

    /// An attachment as an event shows it, with a URL that needs no credentials and expires.
    fn attachment(&self, id: &str) -> Option<Value> {
        let (name, kind) = self.record(|record| record.attachment_kind(id))?;
        let url = self.contact_center.sign_url(&self.id, id);
        Some(json!({ "id": id, "type": kind, "preSignedUrl": url, "fileName": name }))
    }

    /// An agent sends a card. The older API has none. Gives the card's id.
    pub fn sends_card(&self, agent: &str, content: &Value) -> Option<String> {
        if !self.is_gateway() {
            return None;
        }
        let card = json!({ "contentType": QUICK_REPLIES, "content": content });
        let card = self.record(|record| {
            record.say(agent, "agent", json!({ "cards": [card] }));
            record.messages.last().map(|message| message.content["cards"][0].clone())
        })?;
        let sender = json!({ "id": agent, "type": "agent" });
        self.gateway("MESSAGE", Some(json!({ "isEcho": false, "sender": sender, "cards": [card] })));
        card["id"].as_str().map(str::to_owned)
    }

    /// The conversation is transferred: that the agent leaves is then not the end.
    pub fn transferred(&self) {
        match self.contact_center.settings.api {
            ContactCenterApi::ChatGatewayV1 => self.gateway("TRANSFER", None),
            ContactCenterApi::ChatApiV2 => self.flat("TRANSFER", json!({})),
        }
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

    /// The user leaves. The older API does not tell.
    pub(super) fn user_left(&self) {
        let user = self.record(|record| {
            let user = record.user_id();
            record.remove(&user);
            user
        });
        if self.is_gateway() {
            self.members_changed("user", &user, "left");
        }
    }

    /// The end.
    pub fn idle(&self) {
        self.record(|record| record.state = "idle");
        if self.is_gateway() {
            self.updated();
        }
    }

    /// Any body at all as an event of this conversation.
    pub fn event(&self, event_type: &str, body: String) -> String {
        let event_id = crate::id::base64();
        let outgoing = Outgoing { event_id: event_id.clone(), event_type: event_type.to_owned(), body };
        let mut state = self.contact_center.state();
        state.unanswered += 1;
        let outbox = state.outboxes.entry(self.id.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let contact_center = Arc::clone(&self.contact_center);
            tokio::spawn(contact_center.deliver(self.id.clone(), self.webhook.clone(), receiver));
            sender
        });
        outbox.send(outgoing).expect("the conversation's task lives as long as the contact center");
        event_id
    }

    pub(super) fn record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(self.contact_center.state().conversations.get_mut(&self.id).expect("conversations are never forgotten"))
    }

    fn is_gateway(&self) -> bool {
        self.contact_center.is_gateway()
    }

    /// The state of the conversation, with all that 8x8 tells of it.
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
        let mut event = json!({ "eventType": event_type, "conversationId": self.id, "timestamp": now_millis() as u64 });
        if let Some(data) = data {
            event["data"] = data;
        }
        self.event(event_type, event.to_string());
    }

    /// Chat API v2.0: the payload beside the rest.
    fn flat(&self, event_type: &'static str, mut event: Value) {
        if self.contact_center.follows_recording() {
            return;
        }
        event["eventType"] = event_type.into();
        event["conversationId"] = self.id.clone().into();
        event["timestamp"] = (now_millis() as u64).into();
        self.event(event_type, event.to_string());
    }
}

fn shown(status: Option<StatusCode>) -> String {
    status.map_or("no answer".to_owned(), |status| status.as_u16().to_string())
}

pub(super) fn now_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis()
}
