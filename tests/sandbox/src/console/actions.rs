//! The actions of the page's buttons.
//!
//! | who | actions |
//! |---|---|
//! | customer | `say` (`text`), `choose` (`card`, `text`), `end` |
//! | agent | `join`, `type`, `stop`, `write` (`text`), `file` (`text`: its name, `content`: base64), `card`, `transfer`, `leave`, `end` |
//! | faults | `bot-down`, `bot-slow`, `bot-401`, `bot-422` until they are switched off; `duplicate`, `late`, `forged` at the next event |

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contact_center::Resend;
use serde::Deserialize;
use serde_json::{Value, json};
use simulation::faults::When;

use crate::faults::Fault;

use super::Shared;

/// The response time of a slow bot platform: less than deliver-message waits.
const SLOW: Duration = Duration::from_secs(3);

/// An outage that lasts until it is ended by hand.
const UNTIL_SWITCHED_OFF: Duration = Duration::from_secs(24 * 3600);

#[derive(Deserialize)]
pub(super) struct Opening {
    /// The messages so far, in 8x8's form: `authorType` and `text`.
    messages: Vec<Value>,
}

pub(super) async fn open(State(desk): Shared, Json(opening): Json<Opening>) -> Response {
    let mut body =
        json!({ "user": { "name": "Console Customer", "userId": simulation::id::base64(), "language": "en" } });
    if !opening.messages.is_empty() {
        body["history"] = json!({ "messages": opening.messages });
    }
    let (status, created) = desk.sandbox.chatbot.open(&body, &simulation::id::uuid()).await;
    match created["conversationId"].as_str() {
        Some(id) if status.is_success() => Json(json!({ "conversation_id": id })).into_response(),
        _ => refused("the conversation", status, &created),
    }
}

#[derive(Deserialize)]
pub(super) struct CustomerAction {
    action: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    card: String,
}

pub(super) async fn customer(
    State(desk): Shared,
    Path(id): Path<String>,
    Json(request): Json<CustomerAction>,
) -> Response {
    let chatbot = &desk.sandbox.chatbot;
    let (status, response) = match request.action.as_str() {
        "say" => {
            let response = chatbot.say(&id, "user", &request.text, &simulation::id::uuid()).await;
            (response.status(), serde_json::from_slice(response.body()).unwrap_or_default())
        }
        "choose" => {
            let path = format!("/{id}/cards/{}/action-submit", request.card);
            chatbot.json(Method::PUT, &path, &json!({ "name": request.text })).await
        }
        "end" => chatbot.json(Method::PATCH, &format!("/{id}/participants/user"), &json!({ "removed": true })).await,
        action => return unknown("customer's action", action),
    };
    if status.is_success() { done() } else { refused("the customer's action", status, &response) }
}

#[derive(Deserialize)]
pub(super) struct AgentAction {
    action: String,
    agent: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    content: String,
}

pub(super) async fn agent(State(desk): Shared, Path(id): Path<String>, Json(request): Json<AgentAction>) -> Response {
    let Some(conversation) = desk.sandbox.contact_center.conversation(&id) else {
        return (StatusCode::NOT_FOUND, "8x8 does not have this conversation").into_response();
    };
    let (agent, text) = (request.agent.as_str(), request.text.as_str());
    match request.action.as_str() {
        "join" => conversation.joined(agent),
        "type" => conversation.types(agent),
        "stop" => conversation.stops_typing(),
        "write" => conversation.writes(agent, text),
        "file" => match STANDARD.decode(&request.content) {
            Ok(bytes) => conversation.sends_file(agent, text, &bytes),
            Err(_) => return (StatusCode::BAD_REQUEST, "the content is not base64").into_response(),
        },
        "card" => {
            let options = json!([{ "title": "Send it again" }, { "title": "Refund" }]);
            let content = json!({ "title": "What shall we do?", "options": options });
            if conversation.sends_card(agent, &content).is_none() {
                return (StatusCode::NOT_IMPLEMENTED, "this API of 8x8 has no cards").into_response();
            }
        }
        "transfer" => {
            conversation.transferred();
            conversation.left(agent);
            conversation.queued();
        }
        "leave" => conversation.left(agent),
        "end" => conversation.idle(),
        action => return unknown("agent's action", action),
    }
    done()
}

#[derive(Deserialize)]
pub(super) struct Switch {
    name: String,
    on: bool,
}

pub(super) async fn fault(State(desk): Shared, Json(switch): Json<Switch>) -> Response {
    let sandbox = &desk.sandbox;
    let set = |fault: Fault, when| sandbox.fault(fault, if switch.on { when } else { When::Next(0) });
    let outage = When::For(UNTIL_SWITCHED_OFF);
    match (switch.name.as_str(), switch.on) {
        ("bot-down", _) => set(bot_platform::Fault::Status500.into(), outage),
        ("bot-401", _) => set(bot_platform::Fault::Status401.into(), outage),
        ("bot-422", _) => set(bot_platform::Fault::Status422.into(), outage),
        ("bot-slow", is_on) => sandbox.slow_bot(is_on.then_some(SLOW)),
        ("duplicate", _) => set(contact_center::Fault::Duplicate.into(), When::Next(1)),
        ("late", _) => set(contact_center::Fault::Late.into(), When::Next(1)),
        ("forged", _) => set(contact_center::Fault::Forged.into(), When::Next(1)),
        (name, _) => return unknown("fault", name),
    }
    done()
}

#[derive(Deserialize)]
pub(super) struct Killing {
    function: String,
}

pub(super) async fn kill(State(desk): Shared, Json(killing): Json<Killing>) -> Response {
    if desk.sandbox.kill(&killing.function) { done() } else { unknown("function", &killing.function) }
}

#[derive(Deserialize)]
pub(super) struct Sending {
    how: String,
}

/// Sends the event of a hop once more: as a retry of 8x8, too late, or forged.
pub(super) async fn send(State(desk): Shared, Path(number): Path<u64>, Json(sending): Json<Sending>) -> Response {
    let Some(entry) = desk.sandbox.journal.entry(number) else {
        return (StatusCode::NOT_FOUND, "this hop is not kept any more").into_response();
    };
    let how = match sending.how.as_str() {
        "again" => Resend::Again,
        "late" => Resend::Late,
        "forged" => Resend::Forged,
        how => return unknown("way to send an event", how),
    };
    match desk.sandbox.contact_center.resend(&entry.event_id, how).await {
        Some(status) => Json(json!({ "status": status.map(|status| status.as_u16()) })).into_response(),
        None => (StatusCode::CONFLICT, "this hop is no event of 8x8").into_response(),
    }
}

fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

fn unknown(what: &str, name: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("no such {what}: {name}")).into_response()
}

/// A call that the bridge refused.
fn refused(what: &str, status: StatusCode, response: &Value) -> Response {
    (StatusCode::BAD_GATEWAY, format!("{what} was answered with {status}: {response}")).into_response()
}
