//! The console's panel with the report of check-integration.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{Desk, Shared};

/// The panel's own routes.
pub(super) fn routes() -> Router<Arc<Desk>> {
    let file = |content_type: &'static str, content: &'static str| {
        get(move || async move { ([(CONTENT_TYPE, content_type)], content) })
    };
    Router::new()
        .route("/doctor.css", file("text/css; charset=utf-8", include_str!("doctor.css")))
        .route("/doctor.js", file("text/javascript; charset=utf-8", include_str!("doctor.js")))
        .route("/api/doctor", post(check))
}

async fn check(State(desk): Shared) -> Response {
    match desk.sandbox.check_integration().await {
        Ok(report) => Json(report).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("check-integration: {error}")).into_response(),
    }
}
