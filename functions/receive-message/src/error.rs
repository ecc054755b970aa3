//! Why a callback is not accepted, one row a reason: by who must act. The sender of a bad request must not send it again;
//! 8x8 must send again what we could not accept.
//!
//! | status | reason | when |
//! |---|---|---|
//! | 200 | | SQS has the event. The body is empty |
//! | 200 | | `WEB_HOOK_VERIFY`, signed or not. Nothing is queued |
//! | 400 | `not-an-event` | the body is not a JSON object with an `eventType` |
//! | 401 | `no-credentials` | the request has no credentials, or not all that the mode asks for |
//! | 401 | `malformed-signature` | the signature is not a JWS of the documented form, or a signed header is missing |
//! | 401 | `stale` | the event was sent more than 240 s ago, or lies more than 60 s in the future |
//! | 401 | `unknown-key` | 8x8 does not know the key that the signature names |
//! | 401 | `forged` | the signature does not fit the request |
//! | 401 | `unknown-caller` | app token or bearer token are wrong or expired |
//! | 401 | `foreign-tenant` | the event is of another 8x8 tenant than `TenantId` |
//! | 413 | `too-large` | the body is over 512 KiB |
//! | 503 | `key-unavailable` | 8x8's key cannot be fetched |
//! | 503 | `queue-unavailable` | SQS does not accept the event |
//! | 503 | `secret-unavailable` | the secret of the callers cannot be read |
//!
//! The body of a 401 is the same for every reason. A 503 has `Retry-After`.

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
