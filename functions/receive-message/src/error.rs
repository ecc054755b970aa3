//! Why a callback is not accepted, one row a reason: by who must act. The sender of a bad request must not send it again;
//! 8x8 must send again what we could not accept.

use http::StatusCode;
use shared::caller::CallerError;
use shared::contact_center::callback::VerificationError;
use shared::contact_center::event::NotAnEvent;
use shared::contact_center::signature::SignatureError;
use shared::queue::QueueError;

/// Why a callback is not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("the body is over 512 KiB")]
    TooLarge,
    #[error(transparent)]
    NotAnEvent(#[from] NotAnEvent),
    #[error("the request has no credentials, or not all that are asked for")]
    NoCredentials,
    #[error(transparent)]
    Verification(#[from] VerificationError),
    #[error("the event is not of the 8x8 tenant in CONTACT_CENTER_TENANT_ID")]
    ForeignTenant { tenant_id: Option<String> },
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl Rejection {
    /// The status for the sender, and the reason for the metric and the log.
    pub(crate) fn describe(&self) -> (StatusCode, &'static str) {
        use CallerError as Caller;
        use SignatureError as Signature;
        use StatusCode as S;
        use VerificationError as By;

        match self {
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large"),
            Self::NotAnEvent(NotAnEvent) => (S::BAD_REQUEST, "not-an-event"),
            Self::NoCredentials => (S::UNAUTHORIZED, "no-credentials"),
            Self::Verification(By::Caller(Caller::Refused)) => (S::UNAUTHORIZED, "unknown-caller"),
            Self::Verification(By::Caller(Caller::Secret(_))) => (S::SERVICE_UNAVAILABLE, "secret-unavailable"),
            Self::Verification(By::Signature(error)) => match error {
                Signature::Missing(_) | Signature::Malformed(_) => (S::UNAUTHORIZED, "malformed-signature"),
                Signature::Stale | Signature::Early => (S::UNAUTHORIZED, "stale"),
                Signature::UnknownKey => (S::UNAUTHORIZED, "unknown-key"),
                Signature::Forged => (S::UNAUTHORIZED, "forged"),
                Signature::KeyUnavailable(_) => (S::SERVICE_UNAVAILABLE, "key-unavailable"),
            },
            Self::ForeignTenant { .. } => (S::UNAUTHORIZED, "foreign-tenant"),
            Self::Queue(_) => (S::SERVICE_UNAVAILABLE, "queue-unavailable"),
        }
    }

    /// The tenant of an event of another tenant, which its signature or a caller confirms.
    pub(crate) fn tenant_id(&self) -> Option<&str> {
        if let Self::ForeignTenant { tenant_id } = self { tenant_id.as_deref() } else { None }
    }
}
