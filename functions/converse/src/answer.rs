//! What a caller gets: 8x8's answer as it is, or an error of ours in 8x8's own shape.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use serde_json::json;
use shared::caller::CallerError;
use shared::contact_center::client::{Answer, ContactCenterError};
use shared::contact_center::problem::Problem;
use shared::telemetry;

use crate::operation::{NoOperation, Operation};

/// Why a caller does not get an answer of 8x8's.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// 401: not a caller of ours.
    Unauthorized,
    /// 404: no such path.
    NotFound,
    /// 405: the path has other methods.
    MethodNotAllowed(Vec<&'static str>),
    /// 400: the body has to be translated, and is no JSON object.
    NotAnObject,
    /// 400: an `Idempotency-Key` that none is.
    InvalidIdempotencyKey,
    /// 409: a request with that key is being worked on.
    InProgress,
    /// 422: that key belongs to another request.
    IdempotencyKeyReused,
    /// 501: the older API, or this configuration, has no such thing.
    NotSupported(&'static str),
    /// 502: 8x8 does not know us.
    Credentials(Problem),
    /// 502: 8x8's answer cannot be passed on.
    Unusable(&'static str),
    /// 503: something of ours cannot be had. Nothing was sent.
    Unavailable(String),
    /// 503: there is no channel to create a conversation on.
    NotRegistered,
    /// 504: 8x8 does not answer, and the operation may be repeated.
    NoAnswer(String),
    /// 504: 8x8 may have carried the operation out, or not.
    Unknown(String),
}

/// An error that a moment may mend.
const SOON: HeaderValue = HeaderValue::from_static("5");

impl Refusal {
    /// Why an exchange with 8x8 gave no answer at all.
    pub(crate) fn of(error: ContactCenterError) -> Self {
        match error {
            ContactCenterError::NoAnswer { reason, .. } => Self::NoAnswer(reason.to_owned()),
            ContactCenterError::Unusable { reason, .. } => Self::Unusable(reason),
            ContactCenterError::Refused { problem, .. } => Self::Credentials(problem),
            error @ ContactCenterError::NoCredentials { .. } => Self::Unavailable(error.to_string()),
        }
    }

    /// Whether 8x8 may have carried the operation out all the same.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Unusable(_))
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::InvalidIdempotencyKey | Self::NotAnObject => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::InProgress => StatusCode::CONFLICT,
            Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NotSupported(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Credentials(_) | Self::Unusable(_) => StatusCode::BAD_GATEWAY,
            Self::Unavailable(_) | Self::NotRegistered => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoAnswer(_) | Self::Unknown(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::NotAnObject => "invalid_json_object",
            Self::InvalidIdempotencyKey => "invalid_idempotency_key",
            Self::InProgress => "in_progress",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::NotSupported(_) => "not_supported",
            Self::Credentials(_) => "contact_center_credentials",
            Self::Unusable(_) => "contact_center_answer",
            Self::Unavailable(_) => "unavailable",
            Self::NotRegistered => "channel_not_registered",
            Self::NoAnswer(_) => "no_answer",
            Self::Unknown(_) => "unknown",
        }
    }

    /// What failed and what to do, for the bot's developer.
    fn message(&self, operation: Option<Operation>) -> String {
        let to = operation.map_or("answer", Operation::name);
        match self {
            Self::Unauthorized => "x-app-token or the bearer token is missing or wrong.".to_owned(),
            Self::NotFound => "There is no such path.".to_owned(),
            Self::MethodNotAllowed(methods) => format!("This path has {}.", methods.join(", ")),
            Self::NotAnObject => "The body is not a JSON object.".to_owned(),
            Self::InvalidIdempotencyKey => "Idempotency-Key must be 1 to 255 visible ASCII characters.".to_owned(),
            Self::InProgress => {
                "A request with this Idempotency-Key is being worked on. Repeat this one later.".to_owned()
            }
            Self::IdempotencyKeyReused => "This Idempotency-Key belongs to another request.".to_owned(),
            Self::NotSupported(reason) => format!("This contact center's API cannot {to}: {reason}."),
            Self::Credentials(problem) => format!(
                "8x8 does not take the bridge's credentials to {to} ({problem}). Its administrator has to mend them."
            ),
            Self::Unusable(reason) => format!("8x8's answer when asked to {to} cannot be passed on: {reason}."),
            Self::Unavailable(_) => format!("The bridge cannot {to} now. Nothing was sent. Repeat the request."),
            Self::NotRegistered => {
                "No channel is registered. Its administrator has to run register-channel.".to_owned()
            }
            Self::NoAnswer(reason) => format!("8x8 gave no answer when asked to {to} ({reason}). Repeat the request."),
            Self::Unknown(reason) => format!(
                "It is unknown whether 8x8 did {to} ({reason}). Repeat the request with the same Idempotency-Key, or \
                 look at the conversation before you send it again."
            ),
        }
    }

    fn header(&self) -> Option<(http::HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::MethodNotAllowed(methods) => {
                HeaderValue::from_str(&methods.join(", ")).ok().map(|methods| (ALLOW, methods))
            }
            Self::InProgress | Self::Unavailable(_) | Self::NotRegistered => Some((RETRY_AFTER, SOON)),
            Self::NotFound
            | Self::NotAnObject
            | Self::InvalidIdempotencyKey
            | Self::IdempotencyKeyReused
            | Self::NotSupported(_)
            | Self::Credentials(_)
            | Self::Unusable(_)
            | Self::NoAnswer(_)
            | Self::Unknown(_) => None,
        }
    }

    /// What the bridge's operator has to know; none where it is the caller's mistake.
    fn cause(&self) -> Option<String> {
        match self {
            Self::Unavailable(reason) | Self::Unknown(reason) | Self::NoAnswer(reason) => Some(reason.clone()),
            Self::Credentials(problem) => Some(problem.to_string()),
            Self::Unusable(reason) => Some((*reason).to_owned()),
            Self::NotRegistered => Some("no channel is registered".to_owned()),
            Self::Unauthorized
            | Self::NotFound
            | Self::MethodNotAllowed(_)
            | Self::NotAnObject
            | Self::InvalidIdempotencyKey
            | Self::InProgress
            | Self::IdempotencyKeyReused
            | Self::NotSupported(_) => None,
        }
    }
}

impl From<NoOperation> for Refusal {
    fn from(error: NoOperation) -> Self {
        match error {
            NoOperation::Path => Self::NotFound,
            NoOperation::Method(allowed) => Self::MethodNotAllowed(allowed),
        }
    }
}

impl From<CallerError> for Refusal {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::Refused => Self::Unauthorized,
            CallerError::Secret(error) => Self::Unavailable(error.to_string()),
        }
    }
}

/// 8x8's answer, or the error, as the caller gets it.
pub(crate) fn answer(operation: Option<Operation>, outcome: Result<Answer, Refusal>) -> Response<Body> {
    let name = operation.map_or("none", Operation::name);
    match outcome {
        Ok(answer) => {
            telemetry::conversation_call(answer.status.as_u16());
            if answer.status.is_success() {
                tracing::info!(operation = name, status = answer.status.as_u16(), "8x8 did it");
            } else {
                // Its words may quote what was sent; the error's name does not.
                let problem = answer.problem();
                tracing::warn!(operation = name, status = problem.status, code = problem.code, "8x8 refused");
            }
            passed_on(answer)
        }
        Err(refusal) => {
            let (status, code) = (refusal.status(), refusal.code());
            telemetry::conversation_call(status.as_u16());
            match refusal.cause() {
                Some(reason) => tracing::error!(operation = name, code, reason, "not done"),
                None => tracing::warn!(operation = name, code, "refused"),
            }
            let message = refusal.message(operation);
            let body = json!({ "message": message, "errors": [{ "code": code, "message": message }] });
            let mut response = Response::new(Body::Text(body.to_string()));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            response.headers_mut().extend(refusal.header());
            response
        }
    }
}

fn passed_on(answer: Answer) -> Response<Body> {
    let Answer { status, headers, body } = answer;
    let mut response = Response::new(content(body));
    *response.status_mut() = status;
    for name in [CONTENT_TYPE, CONTENT_DISPOSITION, RETRY_AFTER, REPLAYED] {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// Says that an answer is the one that a former request with the same `Idempotency-Key` got.
pub(crate) const REPLAYED: http::HeaderName = http::HeaderName::from_static("idempotent-replayed");

/// Text goes to API Gateway as text, everything else in base64.
fn content(body: Bytes) -> Body {
    if body.is_empty() {
        return Body::Empty;
    }
    match String::from_utf8(body.into()) {
        Ok(text) => Body::Text(text),
        Err(error) => Body::Binary(error.into_bytes()),
    }
}
