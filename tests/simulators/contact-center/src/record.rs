//! A conversation as 8x8 stores it, and as the Chat Gateway shows it.

use std::time::Instant;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::events::now_millis;
use crate::fault;
use crate::files::FileHeaders;
use crate::problem::Problem;

/// A conversation as 8x8 stores it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) channel_id: String,
    pub(crate) user: Value,
    pub(crate) assignment: Value,
    pub(crate) state: &'static str,
    pub(crate) created_at: u64,
    pub(crate) history: Vec<Value>,
    pub(crate) messages: Vec<Message>,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) participants: Vec<Participant>,
    /// Activities without a message: `typing`, `thinking`, …
    pub(crate) activities: Vec<String>,
    pub(crate) post_agent_assignments: Vec<Value>,
    /// The queue that the conversation came from or was transferred to.
    pub(crate) queue_id: String,
    /// Since when the conversation has waited for an agent.
    pub(crate) waiting_since: Option<Instant>,
    /// The time of the conversation's last event.
    last_event_at: u64,
}

/// A message of a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) created_at: u64,
    /// When the message is listed while 8x8 lists messages late.
    pub(crate) listed_late_at: Instant,
    pub(crate) author_id: String,
    pub(crate) author_type: String,
    /// The content as it was sent: `text`, `attachments`, `cards`, `externalProvider`; cards have got ids.
    pub(crate) content: Value,
}

#[derive(Debug, Clone)]
pub(crate) struct Attachment {
    pub(crate) id: String,
    pub(crate) filename: String,
    headers: FileHeaders,
    created_at: u64,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) struct Participant {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) removed: bool,
}

impl Record {
    pub(crate) fn new(channel_id: &str, queue_id: &str, user: Value, assignment: Value) -> Self {
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
            queue_id: queue_id.to_owned(),
            waiting_since: Some(Instant::now()),
            last_event_at: 0,
        }
    }

    /// The time of the next event: now, but later than the event before it. A script needs less than a millisecond for what
    /// takes people seconds.
    pub(crate) fn next_time(&mut self) -> u64 {
        self.last_event_at = (now_millis() as u64).max(self.last_event_at + 1);
        self.last_event_at
    }

    pub(crate) fn say(&mut self, author_id: &str, author_type: &str, mut content: Value) {
        for card in content.get_mut("cards").and_then(Value::as_array_mut).into_iter().flatten() {
            card["id"] = simulation::id::base64().into();
        }
        self.messages.push(Message {
            id: simulation::id::base64(),
            created_at: now_millis() as u64,
            listed_late_at: Instant::now() + fault::delay(),
            author_id: author_id.to_owned(),
            author_type: author_type.to_owned(),
            content,
        });
    }

    pub(crate) fn join(&mut self, id: &str, kind: &'static str) {
        self.participants.push(Participant { id: id.to_owned(), kind, removed: false });
    }

    /// Ends the conversation.
    pub(crate) fn ended(&mut self) {
        self.state = "idle";
        self.waiting_since = None;
    }

    /// The agents who are in the conversation.
    pub(crate) fn agents(&self) -> Vec<&str> {
        let present =
            self.participants.iter().filter(|participant| participant.kind == "agent" && !participant.removed);
        present.map(|agent| agent.id.as_str()).collect()
    }

    pub(crate) fn user_id(&self) -> String {
        let user = self.participants.iter().find(|participant| participant.kind == "user");
        user.map(|user| user.id.clone()).unwrap_or_default()
    }

    /// Adds a file and returns its id.
    pub(crate) fn attach(&mut self, filename: &str, bytes: &[u8], headers: FileHeaders) -> String {
        let id = simulation::id::base64();
        self.attach_as(&id, filename, bytes, headers);
        id
    }

    pub(crate) fn attach_as(&mut self, id: &str, filename: &str, bytes: &[u8], headers: FileHeaders) {
        self.attachments.push(Attachment {
            id: id.to_owned(),
            filename: filename.to_owned(),
            headers,
            created_at: now_millis() as u64,
            bytes: bytes.to_vec(),
        });
    }

    /// Name and media type of a file.
    pub(crate) fn attachment_kind(&self, id: &str) -> Option<(String, &'static str)> {
        let attachment = self.attachment(id).ok()?;
        let kind = match attachment.filename.rsplit('.').next() {
            Some("png") => "image/png",
            Some("txt") => "text/plain",
            _ => "application/octet-stream",
        };
        Some((attachment.filename.clone(), kind))
    }

    /// Headers and content of a file.
    pub(crate) fn file(&self, id: &str) -> Option<(HeaderMap, Vec<u8>)> {
        let attachment = self.attachment(id).ok()?;
        Some((attachment.headers.of(&attachment.filename), attachment.bytes.clone()))
    }

    pub(crate) fn remove(&mut self, id: &str) {
        for participant in self.participants.iter_mut().filter(|participant| participant.id == id) {
            participant.removed = true;
        }
    }

    pub(crate) fn show(&self, id: &str) -> Value {
        let mut shown = json!({ "id": id, "state": self.state, "channelId": self.channel_id, "user": self.user });
        if !self.assignment.is_null() {
            shown["assignment"] = self.assignment.clone();
        }
        shown
    }

    pub(crate) fn message(&self, id: &str) -> Result<&Message, Problem> {
        self.messages.iter().find(|message| message.id == id).ok_or_else(|| Problem::not_found("Message", id))
    }

    pub(crate) fn attachment(&self, id: &str) -> Result<&Attachment, Problem> {
        let attachment = self.attachments.iter().find(|attachment| attachment.id == id);
        attachment.ok_or_else(|| Problem::not_found("Attachment", id))
    }
}

impl Message {
    pub(crate) fn show(&self) -> Value {
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
    pub(crate) fn show(&self) -> Value {
        json!({
            "id": self.id,
            "filename": self.filename,
            "sizeInBytes": self.bytes.len(),
            "createdAt": iso8601(self.created_at),
        })
    }
}

pub(crate) fn iso8601(millis: u64) -> String {
    let time = DateTime::from_millis(i64::try_from(millis).expect("a time of this age"));
    time.fmt(Format::DateTime).expect("a time of this age")
}
