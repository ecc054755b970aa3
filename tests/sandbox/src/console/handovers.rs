//! The hand-overs on the page: for each conversation, the response of the real converse when the bot asks for the state.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::{Desk, Shared};

/// The panel's own routes.
pub(super) fn routes() -> Router<Arc<Desk>> {
    let script = get(|| async { ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("handovers.js")) });
    Router::new().route("/handovers.js", script).route("/api/conversations/{id}/handover", get(show))
}

async fn show(State(desk): Shared, Path(id): Path<String>) -> Response {
    let (status, handover) = desk.sandbox.chatbot.get(&format!("/{id}/handover")).await;
    (status, Json(handover)).into_response()
}
