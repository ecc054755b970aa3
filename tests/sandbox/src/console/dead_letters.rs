//! The dead letters on the page. The real manage-dead-letters lists, redrives and discards them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Shared;

pub(super) async fn list(state: Shared) -> Response {
    settle(state, Json(json!({ "operation": "list" }))).await
}

pub(super) async fn settle(State(desk): Shared, Json(request): Json<Value>) -> Response {
    match desk.sandbox.manage_dead_letters(request).await {
        Ok(response) => Json(response).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("manage-dead-letters failed: {error}")).into_response(),
    }
}
