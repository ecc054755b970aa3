//! Webhooks and channels: an administrator's actions in 8x8's console, and calls that fail.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use simulation::control::{Rejection, json_body};

use super::Shared;
use crate::{ContactCenter, FailureKind};

type Done = Result<StatusCode, Rejection>;

pub(super) async fn registered(State(contact_center): Shared) -> Json<Value> {
    let (webhooks, channels) = contact_center.registered();
    Json(json!({ "webhooks": webhooks, "channels": channels }))
}

#[derive(Deserialize)]
struct Foreign {
    name: String,
    uri: String,
}

pub(super) async fn foreign(State(contact_center): Shared, body: Bytes) -> Result<Json<Value>, Rejection> {
    let foreign: Foreign = json_body(&body)?;
    let (webhook_id, channel_id) = contact_center.add_foreign(&foreign.name, &foreign.uri);
    Ok(Json(json!({ "webhook_id": webhook_id, "channel_id": channel_id })))
}

#[derive(Deserialize)]
struct Repointed {
    webhook_id: String,
    uri: String,
}

pub(super) async fn repoint(State(contact_center): Shared, body: Bytes) -> Done {
    let repointed: Repointed = json_body(&body)?;
    exists(&contact_center, &repointed.webhook_id)?;
    contact_center.repoint(&repointed.webhook_id, &repointed.uri);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Moved {
    channel_id: String,
    webhook_id: String,
}

pub(super) async fn move_channel(State(contact_center): Shared, body: Bytes) -> Done {
    let moved: Moved = json_body(&body)?;
    exists(&contact_center, &moved.channel_id)?;
    contact_center.move_channel(&moved.channel_id, &moved.webhook_id);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Renamed {
    id: String,
    name: String,
}

pub(super) async fn rename(State(contact_center): Shared, body: Bytes) -> Done {
    let renamed: Renamed = json_body(&body)?;
    exists(&contact_center, &renamed.id)?;
    contact_center.rename(&renamed.id, &renamed.name);
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Removed {
    id: String,
}

pub(super) async fn remove(State(contact_center): Shared, body: Bytes) -> Done {
    let removed: Removed = json_body(&body)?;
    exists(&contact_center, &removed.id)?;
    contact_center.remove(&removed.id);
    Ok(StatusCode::NO_CONTENT)
}

fn exists(contact_center: &ContactCenter, id: &str) -> Result<(), Rejection> {
    let state = contact_center.state();
    if state.webhooks.contains_key(id) || state.channels.contains_key(id) {
        return Ok(());
    }
    Err(Rejection::not_found(format!(
        "There is no webhook or channel {id}; GET /_control/registered lists those that there are."
    )))
}

#[derive(Deserialize)]
struct Failing {
    method: String,
    path: String,
    #[serde(default = "bad_request")]
    status: u16,
    #[serde(default = "once")]
    times: usize,
}

const fn bad_request() -> u16 {
    400
}

const fn once() -> usize {
    1
}

pub(super) async fn fail(State(contact_center): Shared, body: Bytes) -> Done {
    let failing: Failing = json_body(&body)?;
    let kind = match failing.status {
        400 => FailureKind::Status400,
        429 => FailureKind::Status429,
        500 => FailureKind::Status500,
        504 => FailureKind::Status504,
        _ => return Err(Rejection::bad_request("A call fails with status 400, 429, 500 or 504.")),
    };
    for _ in 0..failing.times {
        contact_center.break_next(&*failing.method, &*failing.path, kind, false);
    }
    Ok(StatusCode::NO_CONTENT)
}
