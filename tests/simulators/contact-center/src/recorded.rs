//! Events of a recording. While a recording is played, 8x8 sends only these events: an event that follows from a call, such as
//! an echo, is in the recording, and would be sent twice.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use serde_json::{Value, json};

use crate::files::FileHeaders;
use crate::record::Record;
use crate::{ContactCenter, Conversation};

/// Replaces an agent's file that was sent at another contact center: the recording has only its name.
const UNKNOWN_CONTENT: &[u8] = b"The recording does not hold the content of this file.\n";

impl ContactCenter {
    /// Whether a recording is being played: then calls and agents change conversations, but cause no events.
    pub fn follow_recording(&self, is_played: bool) {
        self.follows_recording.store(is_played, Ordering::Relaxed);
    }

    pub(crate) fn follows_recording(&self) -> bool {
        self.follows_recording.load(Ordering::Relaxed)
    }
}

impl Conversation {
    /// Sends a recorded event of this conversation. Its content is stored as if it had happened here, and files get URLs of
    /// this contact center. `files` holds the content of agents' files by id.
    pub fn send_recorded(&self, event_type: &str, mut body: String, files: &HashMap<String, Bytes>) {
        let event: Value = serde_json::from_str(&body).unwrap_or_default();
        let data = event.get("data").unwrap_or(&event);
        for attachment in data["attachments"].as_array().into_iter().flatten() {
            let text = |field: &str| attachment[field].as_str().unwrap_or_default();
            let (id, url) = (text("id"), text("preSignedUrl"));
            self.record(|record| {
                if record.file(id).is_none() {
                    let content = files.get(id).map_or(UNKNOWN_CONTENT, |content| content);
                    record.attach_as(id, text("fileName"), content, FileHeaders::default());
                }
            });
            if !url.is_empty() {
                body = body.replace(url, &self.contact_center.sign_url(self.id(), id));
            }
        }
        self.record(|record| record.follow(event_type, data));
        self.event(event_type, body);
    }
}

impl Record {
    /// Changes the conversation as an event says, in either dialect. The actions of user and bot are in their calls.
    fn follow(&mut self, event_type: &str, data: &Value) {
        let text = |field: &str| data[field].as_str().unwrap_or_default();
        match (event_type, text("memberType"), text("change")) {
            ("MEMBERS_CHANGED", "agent", "joined") => self.join(text("id"), "agent"),
            ("MEMBERS_CHANGED", "agent", "left") => self.remove(text("id")),
            ("CONVERSATION_UPDATE", ..) => {
                let states = ["created", "active", "idle"];
                self.state = states.into_iter().find(|state| *state == text("state")).unwrap_or(self.state);
                if data["assignment"].is_object() {
                    self.assignment = data["assignment"].clone();
                }
            }
            ("MESSAGE", ..) if data["isEcho"] == true => self.name_cards(data),
            ("MESSAGE", ..) => self.hear(data),
            ("AGENT_JOINED", ..) => {
                self.join(text("agentId"), "agent");
                self.state = "active";
                self.assignment = json!({ "type": "agent", "id": text("agentId") });
            }
            ("AGENT_LEFT", ..) => self.remove(text("agentId")),
            ("TEXT", ..) if text("messageType") == "AGENT" => {
                self.say(text("agentId"), "agent", json!({ "text": text("message") }));
            }
            _ => {}
        }
    }

    /// An agent's message. Its cards keep their ids, because the customer's choice refers to them.
    fn hear(&mut self, data: &Value) {
        let mut content = json!({});
        for field in ["text", "cards"] {
            if let Some(value) = data.get(field) {
                content[field] = value.clone();
            }
        }
        if let Some(files) = data["attachments"].as_array() {
            content["attachments"] = files.iter().map(|file| json!({ "id": file["id"] })).collect();
        }
        let sender = |field: &str| data["sender"][field].as_str().unwrap_or("agent");
        self.say(sender("id"), sender("type"), content);
        if let (Some(cards), Some(message)) = (data.get("cards"), self.messages.last_mut()) {
            message.content["cards"] = cards.clone();
        }
    }

    /// Copies the ids of the cards from the echo of a message.
    fn name_cards(&mut self, data: &Value) {
        let cards = data["cards"].as_array().into_iter().flatten();
        let own = self.messages.iter_mut().rev().find(|message| message.author_type == data["sender"]["type"]);
        let own = own.and_then(|message| message.content.get_mut("cards")?.as_array_mut()).into_iter().flatten();
        for (own, recorded) in own.zip(cards) {
            own["id"] = recorded["id"].clone();
        }
    }
}
