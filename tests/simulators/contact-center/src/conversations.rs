//! Conversations of the Chat Gateway: a bot's requests, checked as strictly as 8x8's OpenAPI file describes them.

use std::sync::Arc;
use std::time::Instant;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::{Body, Call, Outcome, json_body, ok};
use crate::checks::{check_assignment, check_message, check_post_agent_assignment, check_user};
use crate::files::FileHeaders;
use crate::multipart::Form;
use crate::problem::Problem;
use crate::record::{Attachment, Message, Participant, Record, iso8601};
use crate::registry::invalid_webhook;
use crate::schema::Object;
use crate::{Agents, ContactCenter, Fault};

impl ContactCenter {
    /// Responds to an operation of the Chat Gateway whose path lies below `conversations`.
    pub(crate) fn conversations(self: &Arc<Self>, call: &Call<'_>, method: &str, path: &[&str]) -> Outcome {
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
                let (is_late, now) = (self.faults.strikes(Fault::ListsLate), Instant::now());
                let shown = record.messages.iter().filter(|message| !is_late || message.listed_late_at <= now);
                let mut messages: Vec<Value> = shown.map(Message::show).collect();
                if !self.faults.strikes(Fault::ListsOldestFirst) {
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
                self.answer_automatically(id, author, &said);
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
                let id = record.attach(filename, bytes, FileHeaders::default());
                ok(record.attachment(&id)?.show())
            }
            ("GET", ["attachments", attachment]) => ok(record.attachment(attachment)?.show()),
            ("GET", ["attachments", attachment, "content"]) => {
                let file = record.file(attachment);
                let (headers, bytes) = file.ok_or_else(|| Problem::not_found("Attachment", attachment))?;
                Ok((StatusCode::OK, Body::File { headers, bytes }))
            }
            _ => Err(Problem::not_found("path", &path.join("/"))),
        }
    }

    /// `PUT /api/v1/tenant/{tenant}/conversations/{id}/cards/{card}/action-…`
    pub(crate) fn card_action(
        self: &Arc<Self>,
        call: &Call<'_>,
        conversation: &str,
        card: &str,
        flag: &str,
    ) -> Outcome {
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

    fn list_conversations(&self, call: &Call<'_>) -> Outcome {
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

    fn create_conversation(self: &Arc<Self>, body: &Value) -> Outcome {
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
        let (id, created_at) = self.open(channel_id, body["user"].clone(), assignment, history)?;
        let created = json!({ "conversationId": id, "createdAt": iso8601(created_at) });
        Ok((StatusCode::ACCEPTED, Body::Json(created)))
    }

    /// Opens a conversation and sends its first events to the webhook; fails if there is no such channel, or its webhook was
    /// removed. Returns the id and the time.
    pub(crate) fn open(
        self: &Arc<Self>,
        channel_id: &str,
        user: Value,
        assignment: Value,
        history: Vec<Value>,
    ) -> Result<(String, u64), Problem> {
        let (id, created_at) = {
            let mut state = self.state();
            let queue_id = match assignment["type"].as_str() {
                Some("queue") => assignment["id"].as_str(),
                Some(_) | None => None,
            };
            let channel = state.channels.get(channel_id).ok_or_else(|| {
                Problem::bad_request("invalid_channel", &format!("Channel ID {channel_id} is invalid."))
            })?;
            if !state.webhooks.contains_key(&channel.webhook_id) {
                return Err(invalid_webhook(&channel.webhook_id));
            }
            let queue_id = queue_id.unwrap_or(&channel.queue_id).to_owned();
            let mut record = Record::new(channel_id, &queue_id, user, assignment);
            record.history = history;
            let (id, created_at) = (simulation::id::base64(), record.created_at);
            state.conversations.insert(id.clone(), record);
            (id, created_at)
        };
        // The channel or its webhook may be removed at this moment.
        if let Some(conversation) = self.conversation(&id) {
            conversation.created();
            conversation.queued();
            if self.settings.agents == Agents::Auto {
                conversation.agent_greets();
            }
        }
        Ok((id, created_at))
    }

    /// The user leaves, which ends the conversation.
    pub(crate) fn end(self: &Arc<Self>, id: &str) {
        match self.conversation(id) {
            Some(conversation) => {
                conversation.user_left();
                if self.settings.agents == Agents::Auto {
                    conversation.agent_says_good_bye();
                }
                conversation.idle();
            }
            // If the channel's webhook was removed, there is no URL to send events to.
            None => {
                if let Some(record) = self.state().conversations.get_mut(id) {
                    record.remove(&record.user_id());
                    record.ended();
                }
            }
        }
    }
}

fn no_content() -> Outcome {
    Ok((StatusCode::NO_CONTENT, Body::Empty))
}

fn newest_first_unless_asked(messages: &mut [Value], call: &Call<'_>) -> Result<(), Problem> {
    match call.query.get("sort").map(String::as_str) {
        None | Some("createdAt:desc") => messages.reverse(),
        Some("createdAt:asc") => {}
        Some(_) => return Err(Problem::constraint("sort", "Only createdAt can be sorted by.")),
    }
    Ok(())
}
