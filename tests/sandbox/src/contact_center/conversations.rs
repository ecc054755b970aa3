//! Conversations of the Chat Gateway: what a bot asks of them, checked as strictly as 8x8's OpenAPI file describes it.

use std::sync::Arc;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::api::{Answer, Body, Call, json_body, ok};
use super::events::now_millis;
use super::multipart::Form;
use super::problem::Problem;
use super::schema::Object;
use super::{ContactCenter, QUEUES};
use crate::faults::Fault;

/// Milliseconds after which a message is listed, where that takes a while.
const SHOWN_AFTER: u64 = 3000;

const LANGUAGES: [&str; 21] = [
    "en", "ru", "de", "ja", "es", "fr", "pt", "it", "pl", "hr", "nl", "ar", "da", "ko", "no", "sv", "vi", "cy", "th",
    "zh-CN", "zh-TW",
];

const CARDS: [&str; 8] = [
    "application/vnd.microsoft.card.adaptive",
    "application/8x8.quick.replies",
    "Interactive",
    "Location",
    "Template",
    "Suggestions",
    "Buttons",
    "Carousel",
];

/// A conversation as 8x8 keeps it.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) channel_id: String,
    pub(super) user: Value,
    pub(super) assignment: Value,
    pub(super) state: &'static str,
    pub(super) created_at: u64,
    pub(super) history: Vec<Value>,
    pub(super) messages: Vec<Message>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) participants: Vec<Participant>,
    /// Signs of activity and other things that leave nothing to read: `typing`, `thinking`, …
    pub(super) activities: Vec<String>,
    pub(super) post_agent_assignments: Vec<Value>,
}

/// Something that was said.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) created_at: u64,
    pub(super) author_id: String,
    pub(super) author_type: String,
    /// As it was sent: `text`, `attachments`, `cards`, `externalProvider`; the cards with ids.
    pub(super) content: Value,
}

#[derive(Debug, Clone)]
pub(super) struct Attachment {
    id: String,
    filename: String,
    created_at: u64,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct Participant {
    pub(super) id: String,
    pub(super) kind: &'static str,
    pub(super) removed: bool,
}

impl Record {
    pub(super) fn new(channel_id: &str, user: Value, assignment: Value) -> Self {
        let user_id = user["userId"].as_str().unwrap_or("user").to_owned();
        Self {
            channel_id: channel_id.to_owned(),
            user,
            assignment,
            state: "created",
            created_at: now_millis() as u64,
            history: Vec::new(),
            messages: Vec::new(),
            attachments: Vec::new(),
            participants: vec![Participant { id: user_id, kind: "user", removed: false }],
            activities: Vec::new(),
            post_agent_assignments: Vec::new(),
        }
    }

    pub(super) fn say(&mut self, author_id: &str, author_type: &str, mut content: Value) {
        for card in content.get_mut("cards").and_then(Value::as_array_mut).into_iter().flatten() {
            card["id"] = crate::id::base64().into();
        }
        self.messages.push(Message {
            id: crate::id::base64(),
            created_at: now_millis() as u64,
            author_id: author_id.to_owned(),
            author_type: author_type.to_owned(),
            content,
        });
    }

    pub(super) fn join(&mut self, id: &str, kind: &'static str) {
        self.participants.push(Participant { id: id.to_owned(), kind, removed: false });
    }

    pub(super) fn user_id(&self) -> String {
        let user = self.participants.iter().find(|participant| participant.kind == "user");
        user.map(|user| user.id.clone()).unwrap_or_default()
    }

    /// Adds a file and gives its id.
    pub(super) fn attach(&mut self, filename: &str, bytes: &[u8]) -> String {
        let id = crate::id::base64();
        self.attach_as(&id, filename, bytes);
        id
    }

    pub(super) fn attach_as(&mut self, id: &str, filename: &str, bytes: &[u8]) {
        self.attachments.push(Attachment {
            id: id.to_owned(),
            filename: filename.to_owned(),
            created_at: now_millis() as u64,
            bytes: bytes.to_vec(),
        });
    }

    /// Name and media type of a file.
    pub(super) fn attachment_kind(&self, id: &str) -> Option<(String, &'static str)> {
        let attachment = self.attachment(id).ok()?;
        let kind = match attachment.filename.rsplit('.').next() {
            Some("png") => "image/png",
            Some("txt") => "text/plain",
            _ => "application/octet-stream",
        };
        Some((attachment.filename.clone(), kind))
    }

    /// Name and content of a file.
    pub(super) fn file(&self, id: &str) -> Option<(String, Vec<u8>)> {
        self.attachment(id).ok().map(|attachment| (attachment.filename.clone(), attachment.bytes.clone()))
    }

    pub(super) fn remove(&mut self, id: &str) {
        for participant in self.participants.iter_mut().filter(|participant| participant.id == id) {
            participant.removed = true;
        }
    }

    fn show(&self, id: &str) -> Value {
        json!({
            "id": id,
            "state": self.state,
            "channelId": self.channel_id,
            "user": self.user,
            "assignment": self.assignment,
        })
    }

    fn message(&self, id: &str) -> Result<&Message, Problem> {
        self.messages.iter().find(|message| message.id == id).ok_or_else(|| Problem::not_found("Message", id))
    }

    fn attachment(&self, id: &str) -> Result<&Attachment, Problem> {
        let attachment = self.attachments.iter().find(|attachment| attachment.id == id);
        attachment.ok_or_else(|| Problem::not_found("Attachment", id))
    }
}

impl Message {
    pub(super) fn show(&self) -> Value {
        let mut shown = json!({
            "id": self.id,
            "text": self.content["text"].as_str().unwrap_or_default(),
            "createdAt": iso8601(self.created_at),
            "author": { "id": self.author_id, "type": self.author_type },
        });
        for field in ["attachments", "cards", "externalProvider"] {
            if let Some(value) = self.content.get(field) {
                shown[field] = value.clone();
            }
        }
        shown
    }
}

impl Attachment {
    fn show(&self) -> Value {
        json!({
            "id": self.id,
            "filename": self.filename,
            "sizeInBytes": self.bytes.len(),
            "createdAt": iso8601(self.created_at),
        })
    }
}

impl ContactCenter {
    /// Answers an operation of the Chat Gateway whose path lies below `conversations`.
    pub(super) fn conversations(self: &Arc<Self>, call: &Call<'_>, method: &str, path: &[&str]) -> Answer {
        let Some((id, below)) = path.split_first() else {
            return match method {
                "GET" => self.list_conversations(call),
                "POST" => self.create_conversation(&json_body(call)?),
                _ => Err(Problem::not_found("path", "conversations")),
            };
        };
        let mut state = self.state();
        let webhooks: Vec<String> = state.webhooks.keys().cloned().collect();
        let record = state.conversations.get_mut(*id).ok_or_else(|| Problem::not_found("Conversation", id))?;
        match (method, below) {
            ("GET", []) => ok(record.show(id)),
            ("PUT" | "PATCH", []) => {
                let body = json_body(call)?;
                let changes = Object::of(&body, "body")?;
                if let Some(user) = body.get("user") {
                    check_user(Object::of(user, "user")?)?;
                    record.user = user.clone();
                }
                if let Some(assignment) = changes.optional_object("assignment")? {
                    check_assignment(assignment)?;
                    record.assignment = body["assignment"].clone();
                }
                Ok((StatusCode::ACCEPTED, Body::Json(record.show(id))))
            }
            ("GET", ["interactions"]) => {
                let start = iso8601(record.created_at);
                let interaction = json!({ "id": format!("int-{id}-chat-00-tenant"), "startTime": start });
                self.list("interactions", vec![interaction], call.query)
            }
            ("POST", ["post-agent-assignment"]) => {
                let body = json_body(call)?;
                check_post_agent_assignment(Object::of(&body, "body")?, &webhooks)?;
                record.post_agent_assignments.push(body);
                Ok((StatusCode::CREATED, Body::Empty))
            }
            ("POST", ["typing"]) => {
                let body = json_body(call)?;
                let author = Object::of(&body, "body")?.required_one_of("authorType", &["bot", "user"])?;
                record.activities.push(format!("{author} types"));
                no_content()
            }
            ("POST", ["thinking"]) => {
                if !call.body.is_empty() {
                    let body = json_body(call)?;
                    let body = Object::of(&body, "body")?;
                    body.one_of("authorType", &["bot"])?;
                    body.integer("maxThinkingTimeSeconds", 1..=600)?;
                }
                record.activities.push("bot thinks".to_owned());
                no_content()
            }
            ("POST", ["read-receipt"]) => {
                let body = json_body(call)?;
                let receipt = Object::of(&body, "body")?;
                let author = receipt.required_one_of("authorType", &["bot", "user"])?;
                receipt.integer("readAt", 0..=i64::MAX)?.ok_or_else(|| Problem::missing("readAt"))?;
                record.activities.push(format!("{author} has read"));
                no_content()
            }
            ("GET", ["participants"]) => {
                let show = |participant: &Participant| json!({ "id": participant.id, "type": participant.kind, "removed": participant.removed });
                self.list("participants", record.participants.iter().map(show).collect(), call.query)
            }
            ("PATCH", ["participants", "user"]) => {
                if json_body(call)?.get("removed") != Some(&Value::Bool(true)) {
                    return Err(Problem::constraint("removed", "Must be true."));
                }
                drop(state);
                self.end(id);
                no_content()
            }
            ("GET", ["messages"]) => {
                let hidden = if self.faults.strikes(Fault::ContactCenterShowsLate) { SHOWN_AFTER } else { 0 };
                let until = (now_millis() as u64).saturating_sub(hidden);
                let shown = record.messages.iter().filter(|message| message.created_at <= until);
                let mut messages: Vec<Value> = shown.map(Message::show).collect();
                if !self.faults.strikes(Fault::ContactCenterOldestFirst) {
                    newest_first_unless_asked(&mut messages, call)?;
                }
                self.list("messages", messages, call.query)
            }
            ("POST", ["messages"]) => {
                let body = json_body(call)?;
                check_message(&body, &record.attachments)?;
                let author = body["authorType"].as_str().unwrap_or_default();
                record.say(author, author, body.clone());
                let said = record.messages.last().map(|message| message.content.clone()).unwrap_or_default();
                drop(state);
                if self.settings.echoes
                    && let Some(conversation) = self.conversation(id)
                {
                    conversation.echo(author, &said);
                }
                Ok((StatusCode::ACCEPTED, Body::Empty))
            }
            ("GET", ["messages", message]) => ok(record.message(message)?.show()),
            ("GET", ["messages", message, "cards"]) => {
                let cards = record.message(message)?.content["cards"].as_array().cloned().unwrap_or_default();
                self.list("cards", cards, call.query)
            }
            ("GET", ["attachments"]) => {
                self.list("attachments", record.attachments.iter().map(Attachment::show).collect(), call.query)
            }
            ("POST", ["attachments"]) => {
                let form = Form::parse(call.headers, call.body)?;
                let (filename, bytes) = form.file("attachment")?;
                form.one_of("authorType", &["bot", "user"])?;
                let id = record.attach(filename, bytes);
                ok(record.attachment(&id)?.show())
            }
            ("GET", ["attachments", attachment]) => ok(record.attachment(attachment)?.show()),
            ("GET", ["attachments", attachment, "content"]) => {
                let attachment = record.attachment(attachment)?;
                let (name, bytes) = (attachment.filename.clone(), attachment.bytes.clone());
                Ok((StatusCode::OK, Body::File { name, bytes }))
            }
            _ => Err(Problem::not_found("path", &path.join("/"))),
        }
    }

    /// `PUT /api/v1/tenant/{tenant}/conversations/{id}/cards/{card}/action-…`
    pub(super) fn card_action(self: &Arc<Self>, call: &Call<'_>, conversation: &str, card: &str, flag: &str) -> Answer {
        let body = json_body(call)?;
        Object::of(&body, "body")?.optional("name", usize::MAX)?;
        let mut state = self.state();
        let record = state.conversations.get_mut(conversation);
        let record = record.ok_or_else(|| Problem::not_found("Conversation", conversation))?;
        let cards = record
            .messages
            .iter_mut()
            .filter_map(|message| message.content.get_mut("cards").and_then(Value::as_array_mut))
            .flatten();
        let card =
            cards.into_iter().find(|found| found["id"] == card).ok_or_else(|| Problem::not_found("Card", card))?;
        card[flag] = true.into();
        let content_type = card["contentType"].as_str().unwrap_or_default().to_owned();
        drop(state);
        if let Some(conversation) = self.conversation(conversation) {
            conversation.acted_on_card(&content_type, &body);
        }
        no_content()
    }

    fn list_conversations(&self, call: &Call<'_>) -> Answer {
        let filter = call.query.get("filter").map(String::as_str);
        let condition: Box<dyn Fn(&Record) -> bool> = match filter {
            None => Box::new(|_| true),
            Some("state!=idle") => Box::new(|record| record.state != "idle"),
            Some(filter) => match filter.split_once("==") {
                Some(("state", state)) => Box::new(move |record| record.state == state),
                Some(("channelId", id)) => Box::new(move |record| record.channel_id == id),
                _ => return Err(Problem::constraint("filter", "Is not supported.")),
            },
        };
        let state = self.state();
        let found: Vec<_> = state.conversations.iter().filter(|(_, record)| condition(record)).collect();
        self.list_shown("conversations", &found, |(id, record)| record.show(id), call.query)
    }

    fn create_conversation(self: &Arc<Self>, body: &Value) -> Answer {
        let creation = Object::of(body, "body")?;
        let channel_id = creation.required("channelId", usize::MAX)?;
        let user = creation.object("user")?;
        check_user(user)?;
        let assignment = match creation.optional_object("assignment")? {
            Some(assignment) => {
                check_assignment(assignment)?;
                body["assignment"].clone()
            }
            None => {
                let state = self.state();
                let queue_id = state.channels.get(channel_id).map(|channel| channel.queue_id.clone());
                json!({ "type": "queue", "id": queue_id })
            }
        };
        let mut history = Vec::new();
        if let Some(given) = creation.optional_object("history")? {
            history = given.array("messages", 200)?.to_vec();
            for message in &history {
                check_message(message, &[])?;
            }
        }
        let (id, created_at) = self
            .open(channel_id, body["user"].clone(), assignment, history)
            .ok_or_else(|| invalid_channel(channel_id))?;
        let created = json!({ "conversationId": id, "createdAt": iso8601(created_at) });
        Ok((StatusCode::ACCEPTED, Body::Json(created)))
    }

    /// Opens a conversation and says so to the webhook; `None` if there is no such channel. Gives its id and the time.
    pub(super) fn open(
        self: &Arc<Self>,
        channel_id: &str,
        user: Value,
        assignment: Value,
        history: Vec<Value>,
    ) -> Option<(String, u64)> {
        let mut record = Record::new(channel_id, user, assignment);
        record.history = history;
        let (id, created_at) = (crate::id::base64(), record.created_at);
        {
            let mut state = self.state();
            if !state.channels.contains_key(channel_id) {
                return None;
            }
            state.conversations.insert(id.clone(), record);
        }
        // A channel whose webhook is gone has nobody to tell.
        if let Some(conversation) = self.conversation(&id) {
            conversation.created();
            conversation.queued();
        }
        Some((id, created_at))
    }

    /// The user leaves: the end of a conversation.
    pub(super) fn end(self: &Arc<Self>, id: &str) {
        match self.conversation(id) {
            Some(conversation) => {
                conversation.user_left();
                conversation.idle();
            }
            // A channel whose webhook is gone has nobody to tell.
            None => {
                if let Some(record) = self.state().conversations.get_mut(id) {
                    record.remove(&record.user_id());
                    record.state = "idle";
                }
            }
        }
    }
}

fn no_content() -> Answer {
    Ok((StatusCode::NO_CONTENT, Body::Empty))
}

pub(super) fn invalid_channel(id: &str) -> Problem {
    Problem::bad_request("invalid_channel", &format!("Channel ID {id} is invalid."))
}

pub(super) fn iso8601(millis: u64) -> String {
    let time = DateTime::from_millis(i64::try_from(millis).expect("a time of this age"));
    time.fmt(Format::DateTime).expect("a time of this age")
}

fn newest_first_unless_asked(messages: &mut [Value], call: &Call<'_>) -> Result<(), Problem> {
    match call.query.get("sort").map(String::as_str) {
        None | Some("createdAt:desc") => messages.reverse(),
        Some("createdAt:asc") => {}
        Some(_) => return Err(Problem::constraint("sort", "Only createdAt can be sorted by.")),
    }
    Ok(())
}

fn check_user(user: Object<'_>) -> Result<(), Problem> {
    for field in ["name", "userId", "phone", "company", "caseId"] {
        user.optional(field, usize::MAX)?;
    }
    user.one_of("language", &LANGUAGES)?;
    if user.optional("email", usize::MAX)?.is_some_and(|email| !email.contains('@')) {
        return Err(Problem::constraint("user.email", "Must be an e-mail address."));
    }
    for property in user.optional_array("additionalProperties", 30)?.unwrap_or_default() {
        let property = Object::of(property, "additionalProperties")?;
        property.optional("key", usize::MAX)?;
        property.optional("value", usize::MAX)?;
    }
    Ok(())
}

fn check_assignment(assignment: Object<'_>) -> Result<(), Problem> {
    let kind = assignment.one_of("type", &["queue", "script"])?.unwrap_or("queue");
    let id = assignment.required("id", usize::MAX)?;
    match kind {
        "queue" if !QUEUES.iter().any(|(queue, _)| *queue == id) => {
            Err(Problem::bad_request("invalid_queue", &format!("Queue ID {id} is invalid.")))
        }
        _ => Ok(()),
    }
}

fn check_post_agent_assignment(body: Object<'_>, webhooks: &[String]) -> Result<(), Problem> {
    body.required_one_of("type", &["webhook"])?;
    let id = body.required("id", usize::MAX)?;
    if !webhooks.iter().any(|webhook| webhook == id) {
        return Err(Problem::not_found("WebHook", id));
    }
    if let Some(configuration) = body.optional_object("configuration")? {
        configuration.optional("notifyChannelWebhookIfExists", usize::MAX)?;
        configuration.integer("maxTotalMinutes", 20..=600)?;
        configuration.integer("userTimeoutInMinutes", 10..=300)?;
    }
    Ok(())
}

/// Text, attachments and cards; or the message of another provider, which 8x8 fetches.
fn check_message(message: &Value, attachments: &[Attachment]) -> Result<(), Problem> {
    let message = Object::of(message, "message")?;
    message.required_one_of("authorType", &["bot", "user"])?;
    let text = message.optional("text", usize::MAX)?;
    let provider = message.optional_object("externalProvider")?;
    if let Some(provider) = provider {
        provider.required_one_of("name", &["X"])?;
        provider.required("externalMessageId", usize::MAX)?;
    }
    let given = message.optional_array("attachments", usize::MAX)?.unwrap_or_default();
    for attachment in given {
        let id = Object::of(attachment, "attachments")?.required("id", usize::MAX)?;
        if !attachments.iter().any(|attachment| attachment.id == id) {
            return Err(Problem::bad_request("invalid_attachment", &format!("Attachment ID {id} is invalid.")));
        }
    }
    let cards = message.optional_array("cards", usize::MAX)?.unwrap_or_default();
    for card in cards {
        let card = Object::of(card, "cards")?;
        card.one_of("contentType", &CARDS)?;
        card.object("content")?;
    }
    match (text, provider) {
        (Some(_), Some(_)) => Err(Problem::constraint("text", "Excludes externalProvider.")),
        (None, None) if given.is_empty() && cards.is_empty() => Err(Problem::missing("text")),
        _ => Ok(()),
    }
}
