//! 8x8's error responses, in the forms that its two APIs use.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use simulation::server::DropConnection;

use crate::ContactCenterApi;

/// A response that is an error.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    body: Value,
    is_dropped: bool,
}

impl Problem {
    fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body, is_dropped: false }
    }

    /// There is no response: the connection is dropped.
    pub(crate) fn dropped() -> Self {
        Self { is_dropped: true, ..Self::new(StatusCode::INTERNAL_SERVER_ERROR, Value::Null) }
    }

    /// 400: `errors` as objects.
    pub(crate) fn bad_request(code: &str, message: &str) -> Self {
        let body = json!({ "message": message, "errors": [{ "code": code, "message": message }] });
        Self::new(StatusCode::BAD_REQUEST, body)
    }

    /// 400: `errors` as strings.
    pub(crate) fn constraint(field: &str, violation: &str) -> Self {
        let body = json!({ "message": "Constraint Violation", "errors": [format!("{field}: {violation}")] });
        Self::new(StatusCode::BAD_REQUEST, body)
    }

    /// 400: a member is missing.
    pub(crate) fn missing(field: &str) -> Self {
        Self::constraint(field, "May not be empty.")
    }

    /// 404.
    pub(crate) fn not_found(kind: &str, id: &str) -> Self {
        let message = format!("Resource of type {kind} with id {id} was not found.");
        Self::new(StatusCode::NOT_FOUND, json!({ "message": message, "errors": [message] }))
    }

    /// 401 of the Chat Gateway.
    pub(crate) fn access_denied() -> Self {
        let error = json!({ "message": "Access Denied", "code": "access_denied" });
        let body = json!({ "message": "Access Denied", "errors": [error], "referenceId": "dacd0dd252723a2" });
        Self::new(StatusCode::UNAUTHORIZED, body)
    }

    /// 401 of the gateway in front of the older API.
    pub(crate) fn fault() -> Self {
        let detail = json!({ "errorcode": "keymanagement.service.invalid_access_token" });
        let body = json!({ "fault": { "faultstring": "Invalid Access Token", "detail": detail } });
        Self::new(StatusCode::UNAUTHORIZED, body)
    }

    /// 403.
    pub(crate) fn forbidden(message: &str) -> Self {
        let body = json!({ "message": "The tenant does not belong to customer.", "errors": [message] });
        Self::new(StatusCode::FORBIDDEN, body)
    }

    /// An error of the token endpoint.
    pub(crate) fn oauth(status: StatusCode, code: &str, error: &str) -> Self {
        Self::new(status, json!({ "ErrorCode": code, "Error": error }))
    }

    /// 500: each API writes `errors` in its own form.
    pub(crate) fn internal(api: ContactCenterApi) -> Self {
        let message = "Internal error.";
        let body = match api {
            ContactCenterApi::ChatGatewayV1 => {
                json!({ "message": message, "errors": [{ "code": "internal", "message": message }] })
            }
            ContactCenterApi::ChatApiV2 => {
                json!({ "message": message, "errors": [message], "referenceId": "dacd0dd252723a2" })
            }
        };
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, body)
    }

    /// 504 of a gateway, whose body is not 8x8's.
    pub(crate) fn gateway_timeout() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, json!({ "message": "Endpoint request timed out" }))
    }

    /// 429.
    pub(crate) fn too_many_requests() -> Self {
        let body = json!({ "message": "Too many requests.", "errors": ["Too many requests."] });
        Self::new(StatusCode::TOO_MANY_REQUESTS, body)
    }

    /// Status and body; `None` if the connection is dropped instead.
    pub(crate) fn answered(&self) -> Option<(StatusCode, &Value)> {
        (!self.is_dropped).then_some((self.status, &self.body))
    }

    /// The error as it is shown in a line.
    pub(crate) fn shown(&self) -> String {
        if self.is_dropped { "no response".to_owned() } else { self.status.as_u16().to_string() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response =
            (self.status, [("content-type", "application/problem+json")], self.body.to_string()).into_response();
        if self.is_dropped {
            response.extensions_mut().insert(DropConnection);
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert("retry-after", 1.into());
        }
        response
    }
}
