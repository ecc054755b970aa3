//! Conversations and events: lists them, and sends events.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use simulation::control::{Rejection, json_body};

use super::{Shared, with_webhook};
use crate::Resend;
use crate::delivery::LoggedEvent;
use crate::events::now_millis;
use crate::record::Record;

pub(super) async fn conversations(State(contact_center): Shared) -> Json<Value> {
    let state = contact_center.state();
    let show = |(id, record): (&String, &Record)| {
        json!({
            "id": id,
            "channelId": record.channel_id,
            "state": record.state,
            "agents": record.agents(),
            "waits": record.waiting_since.is_some(),
        })
    };
    Json(state.conversations.iter().map(show).collect())
}

pub(super) async fn conversation(
    State(contact_center): Shared,
    Path(id): Path<String>,
) -> Result<Json<Value>, Rejection> {
    let state = contact_center.state();
    let record = state.conversations.get(&id).ok_or_else(|| no_conversation(&id))?;
    let participants = record
        .participants
        .iter()
        .map(|participant| json!({ "id": participant.id, "type": participant.kind, "removed": participant.removed }));
    let mut shown = record.show(&id);
    shown["waits"] = record.waiting_since.is_some().into();
    shown["participants"] = participants.collect();
    shown["history"] = json!(record.history);
    shown["messages"] = record.messages.iter().map(|message| message.show()).collect();
    shown["attachments"] = record.attachments.iter().map(|attachment| attachment.show()).collect();
    shown["activities"] = json!(record.activities);
    shown["postAgentAssignments"] = json!(record.post_agent_assignments);
    Ok(Json(shown))
}

fn no_conversation(id: &str) -> Rejection {
    Rejection::not_found(format!(
        "There is no conversation {id}; GET /_control/conversations lists those that there are."
    ))
}

#[derive(Deserialize)]
struct Opened {
    channel_id: String,
}

pub(super) async fn open(State(contact_center): Shared, body: Bytes) -> Result<Json<Value>, Rejection> {
    let opened: Opened = json_body(&body)?;
    let has_webhook = {
        let state = contact_center.state();
        let channel = state.channels.get(&opened.channel_id);
        channel.is_some_and(|channel| state.webhooks.contains_key(&channel.webhook_id))
    };
    if !has_webhook {
        return Err(Rejection::not_found(format!(
            "There is no channel {} with a webhook; GET /_control/registered lists those that there are.",
            opened.channel_id
        )));
    }
    let conversation = contact_center.open_conversation(&opened.channel_id);
    Ok(Json(json!({ "conversation": conversation.id() })))
}

pub(super) async fn send_any(
    State(contact_center): Shared,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    body: String,
) -> Result<Json<Value>, Rejection> {
    let event_type =
        query.get("type").ok_or_else(|| Rejection::bad_request("The type of the event is missing: ?type="))?;
    let conversation = with_webhook(&contact_center, &id)?;
    let event_id = conversation.event(event_type, body);
    Ok(Json(json!({ "conversation": id, "events": [event_id] })))
}

pub(super) async fn events(
    State(contact_center): Shared,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Rejection> {
    let conversation = query.get("conversation");
    if let Some(id) = conversation
        && !contact_center.state().conversations.contains_key(id)
    {
        return Err(no_conversation(id));
    }
    let state = contact_center.state();
    let asked = state.events.iter().filter(|event| conversation.is_none_or(|id| event.conversation_id == *id));
    Ok(Json(asked.map(show).collect()))
}

fn show(event: &LoggedEvent) -> Value {
    let headers: BTreeMap<_, _> = event.headers.iter().map(|(name, value)| (*name, value)).collect();
    let attempts = event
        .attempts
        .iter()
        .map(|attempt| json!({ "time": attempt.time as u64, "status": attempt.status.map(|status| status.as_u16()) }));
    json!({
        "id": event.id,
        "type": event.event_type,
        "conversation": event.conversation_id,
        "webhook": event.webhook,
        "headers": headers,
        "body": event.body,
        "attempts": attempts.collect::<Vec<_>>(),
    })
}

#[derive(Deserialize)]
struct Resent {
    #[serde(default)]
    late: bool,
    #[serde(default)]
    forged: bool,
}

pub(super) async fn resend(
    State(contact_center): Shared,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Rejection> {
    let resent: Resent = json_body(&body)?;
    let how = match (resent.late, resent.forged) {
        (false, false) => Resend::Again,
        (true, false) => Resend::Late,
        (false, true) => Resend::Forged,
        (true, true) => return Err(Rejection::bad_request("An event is sent either late or forged.")),
    };
    let status = contact_center.resend(&id, how).await.ok_or_else(|| {
        Rejection::not_found(format!("There is no event {id}; GET /_control/events lists those that there are."))
    })?;
    Ok(Json(json!({ "event": id, "status": status.map(|status| status.as_u16()) })))
}

pub(super) async fn accepted(State(contact_center): Shared) -> Json<Value> {
    Json(json!(contact_center.accepted()))
}

pub(super) async fn sign(State(contact_center): Shared, body: Bytes) -> Json<Value> {
    let claims = contact_center.claims(&simulation::id::base64(), 0, now_millis());
    let headers: BTreeMap<_, _> = contact_center.signer().headers(&body, &claims).into_iter().collect();
    Json(json!({ "headers": headers }))
}

pub(super) async fn violations(State(contact_center): Shared) -> Json<Value> {
    Json(json!(contact_center.violations()))
}
