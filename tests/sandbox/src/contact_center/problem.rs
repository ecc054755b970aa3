//! 8x8's error answers, in the shapes that its two APIs use.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    body: Value,
}

impl Problem {
    /// 400: `errors` as objects.
    pub(super) fn bad_request(code: &str, message: &str) -> Self {
        let body = json!({ "message": message, "errors": [{ "code": code, "message": message }] });
        Self { status: StatusCode::BAD_REQUEST, body }
    }

    /// 400: `errors` as strings.
    pub(super) fn constraint(field: &str, violation: &str) -> Self {
        let body = json!({ "message": "Constraint Violation", "errors": [format!("{field}: {violation}")] });
        Self { status: StatusCode::BAD_REQUEST, body }
    }

    /// 404.
    pub(super) fn not_found(kind: &str, id: &str) -> Self {
        let message = format!("Resource of type {kind} with id {id} was not found.");
        Self { status: StatusCode::NOT_FOUND, body: json!({ "message": message, "errors": [message] }) }
    }

    /// 401 of the Chat Gateway.
    pub(super) fn access_denied() -> Self {
        let error = json!({ "message": "Access Denied", "code": "access_denied" });
        let body = json!({ "message": "Access Denied", "errors": [error], "referenceId": "dacd0dd252723a2" });
        Self { status: StatusCode::UNAUTHORIZED, body }
    }

    /// 401 of the gateway in front of the older API.
    pub(super) fn fault() -> Self {
        let detail = json!({ "errorcode": "keymanagement.service.invalid_access_token" });
        let body = json!({ "fault": { "faultstring": "Invalid Access Token", "detail": detail } });
        Self { status: StatusCode::UNAUTHORIZED, body }
    }

    /// 403.
    pub(super) fn forbidden(message: &str) -> Self {
        let body = json!({ "message": "The tenant does not belong to customer.", "errors": [message] });
        Self { status: StatusCode::FORBIDDEN, body }
    }

    /// An error of the token endpoint.
    pub(super) fn oauth(status: StatusCode, code: &str, error: &str) -> Self {
        Self { status, body: json!({ "ErrorCode": code, "Error": error }) }
    }

    /// 500.
    pub(super) fn internal() -> Self {
        let body =
            json!({ "message": "Internal error.", "errors": [{ "code": "internal", "message": "Internal error." }] });
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, body }
    }

    /// Its status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, [("content-type", "application/problem+json")], self.body.to_string()).into_response()
    }
}
