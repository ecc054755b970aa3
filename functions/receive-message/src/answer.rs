//! Why an event is refused, and the answer that follows: by who must act. The sender of a bad request must not send it
//! again; 8x8 must send again what we could not take.

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use lambda_http::{Body, Response};
use shared::caller::CallerError;
use shared::contact_center::event::NotAnEvent;
use shared::contact_center::signature::SignatureError;
use shared::queue::QueueError;
use shared::telemetry;

/// What 8x8 is asked to wait before it tries again: an outage of ours is over within seconds, or lasts.
const WAIT: Duration = Duration::from_secs(5);

/// Why an event is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the body is over 512 KiB")]
    TooLarge,
    #[error(transparent)]
    NotAnEvent(#[from] NotAnEvent),
    #[error("it carries no credentials, or not all that are asked for")]
    Unproven,
    #[error("{0}")]
    Signature(#[from] SignatureError),
    #[error("{0}")]
    Caller(#[from] CallerError),
    #[error("the event is of another tenant of 8x8's")]
    ForeignTenant { tenant_id: Option<String> },
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Refusal {
    /// Whether it is not the sender's fault.
    pub(crate) fn is_ours(&self) -> bool {
        self.outcome().0.is_server_error()
    }

    /// The tenant of an event of another tenant. A caller vouches for it, or 8x8's signature.
    fn tenant_id(&self) -> Option<&str> {
        if let Self::ForeignTenant { tenant_id } = self { tenant_id.as_deref() } else { None }
    }

    /// The status, and the metric's reason.
    fn outcome(&self) -> (StatusCode, &'static str) {
        match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Self::NotAnEvent(NotAnEvent) => (StatusCode::BAD_REQUEST, "not-an-event"),
            Self::Unproven => (StatusCode::UNAUTHORIZED, "no-credentials"),
            Self::Caller(CallerError::Refused) => (StatusCode::UNAUTHORIZED, "unknown-caller"),
            Self::Caller(CallerError::Secret(_)) => (StatusCode::SERVICE_UNAVAILABLE, "secret-unavailable"),
            Self::Signature(error) => match error {
                SignatureError::Missing(_) | SignatureError::Malformed(_) => {
                    (StatusCode::UNAUTHORIZED, "malformed-signature")
                }
                SignatureError::Stale | SignatureError::Early => (StatusCode::UNAUTHORIZED, "stale"),
                SignatureError::UnknownKey => (StatusCode::UNAUTHORIZED, "unknown-key"),
                SignatureError::Forged => (StatusCode::UNAUTHORIZED, "forged"),
                SignatureError::KeyUnavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "key-unavailable"),
            },
            Self::ForeignTenant { .. } => (StatusCode::UNAUTHORIZED, "foreign-tenant"),
            Self::Queue(_) => (StatusCode::SERVICE_UNAVAILABLE, "queue-unavailable"),
        }
    }
}

/// The answer to 8x8. The body of a 401 is the same for every cause: it tells a forger nothing.
pub(crate) fn answer(outcome: Result<(), Refusal>) -> Response<Body> {
    let Err(refusal) = outcome else { return Response::new(Body::Empty) };
    let (status, reason) = refusal.outcome();
    telemetry::event_refused(reason);
    if status.is_server_error() {
        tracing::error!(reason, error = %refusal, "refused, 8x8 has to try again");
    } else {
        tracing::warn!(reason, tenant_id = refusal.tenant_id(), error = %refusal, "refused");
    }
    let message = match status {
        StatusCode::UNAUTHORIZED => "unauthorized".to_owned(),
        StatusCode::SERVICE_UNAVAILABLE => "try again later".to_owned(),
        _ => refusal.to_string(),
    };
    let mut response = Response::new(Body::Text(format!(r#"{{"message":"{message}"}}"#)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, WAIT.as_secs().into());
    }
    response
}
