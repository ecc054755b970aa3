//! Conversations of Chat API v2: the same conversations, in that API's format and with the fields that it has.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::ContactCenter;
use crate::api::{Body, Call, Outcome, json_body, ok};
use crate::fault::Fault;
use crate::problem::Problem;
use crate::record::{Message, Participant, Record, iso8601};
use crate::schema::Object;

impl Record {
    fn show_v2(&self, id: &str) -> Value {
        json!({
            "id": id,
            "channelId": self.channel_id,
            "customer": self.user,
            "startTime": iso8601(self.created_at),
            "interactions": [{ "id": format!("int-{id}-chat-00-tenant"), "startTime": iso8601(self.created_at) }],
        })
    }
}

impl ContactCenter {
    /// Responds to an operation of Chat API v2 whose path lies below `conversations`.
    pub(crate) fn conversations_v2(self: &Arc<Self>, call: &Call<'_>, method: &str, path: &[&str]) -> Outcome {
        let mut state = self.state();
        let found = |id: &str| Problem::not_found("Conversation", id);
        match (method, path) {
            ("GET", []) => {
                let mut conversations: Vec<Value> =
                    state.conversations.iter().map(|(id, record)| record.show_v2(id)).collect();
                for (name, value) in call.query {
                    if let Some(key) = name.strip_prefix("customer.") {
                        conversations.retain(|conversation| conversation["customer"][key] == **value);
                    } else if !["size", "page", "channel-id", "status", "order", "userId"].contains(&name.as_str()) {
                        return Err(Problem::constraint(name, "Is not supported."));
                    }
                }
                self.list("conversations", conversations, call.query)
            }
            ("POST", []) => {
                drop(state);
                self.create_conversation_v2(&json_body(call)?)
            }
            ("GET", [id]) => ok(state.conversations.get(*id).ok_or_else(|| found(id))?.show_v2(id)),
            ("GET", [id, "participants"]) => {
                let show = |participant: &Participant| json!({ "id": participant.id, "type": participant.kind });
                let record = state.conversations.get(*id).ok_or_else(|| found(id))?;
                ok(json!({ "participants": record.participants.iter().map(show).collect::<Vec<_>>() }))
            }
            ("DELETE", [id, "participants", "customer"]) => {
                state.conversations.get(*id).ok_or_else(|| found(id))?;
                drop(state);
                self.end(id);
                Ok((StatusCode::NO_CONTENT, Body::Empty))
            }
            ("GET", [id, "messages"]) => {
                let record = state.conversations.get(*id).ok_or_else(|| found(id))?;
                let show = |message: &Message| {
                    json!({
                        "interactionId": format!("int-{id}-chat-00-tenant"),
                        "originalText": message.content["text"],
                        "authorType": message.author_type,
                        "participantId": message.author_id,
                    })
                };
                let (is_late, now) = (self.faults.strikes(Fault::ListsLate), Instant::now());
                let shown = record.messages.iter().filter(|message| !is_late || message.listed_late_at <= now);
                ok(json!({ "messages": shown.map(show).collect::<Vec<_>>(), "participants": [] }))
            }
            ("POST", [id, "messages"]) => {
                let record = state.conversations.get_mut(*id).ok_or_else(|| found(id))?;
                let body = json_body(call)?;
                let author = check_message(&body, "authorType")?;
                record.say(author, author, body.clone());
                drop(state);
                self.answer_automatically(id, author, &body);
                Ok((StatusCode::ACCEPTED, Body::Empty))
            }
            _ => Err(Problem::not_found("path", &path.join("/"))),
        }
    }

    fn create_conversation_v2(self: &Arc<Self>, body: &Value) -> Outcome {
        let creation = Object::of(body, "body")?;
        let channel_id = creation.required("channelId", usize::MAX)?;
        // The description defines one of the two names and requires the other.
        let customer = creation.object("customer")?;
        creation.object("user")?;
        for field in ["name", "customerId", "email", "company", "caseId", "language"] {
            customer.optional(field, usize::MAX)?;
        }
        if body["customer"].as_object().is_some_and(|customer| customer.values().any(|value| !value.is_string())) {
            return Err(Problem::constraint("customer", "Has only strings."));
        }
        if creation.optional_object("assignment")?.is_some() {
            return Err(Problem::constraint("assignment", "Is not supported."));
        }
        let mut history = Vec::new();
        if let Some(given) = creation.optional_object("history")? {
            history = given.array("messages", 200)?.to_vec();
            for message in &history {
                check_message(message, "type")?;
            }
        }
        let (id, created_at) = self.open(channel_id, body["customer"].clone(), Value::Null, history)?;
        Ok((StatusCode::ACCEPTED, Body::Json(json!({ "conversationId": id, "timestamp": created_at }))))
    }
}

/// The text, and its author in the field `author`.
fn check_message<'m>(message: &'m Value, author: &str) -> Result<&'m str, Problem> {
    let fields = Object::of(message, "message")?;
    fields.required("text", usize::MAX)?;
    if ["attachments", "cards", "externalProvider"].iter().any(|field| message.get(field).is_some()) {
        return Err(Problem::constraint("message", "Has only text."));
    }
    Ok(fields.one_of(author, &["bot", "user"])?.unwrap_or("user"))
}
