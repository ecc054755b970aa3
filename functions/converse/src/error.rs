//! Why a caller does not get a response of 8x8, one row an error.
//!
//! | status | code | means | the bot |
//! |---|---|---|---|
//! | 2xx, other 4xx, 501 of 8x8 | 8x8's | 8x8's own response, passed on with its body | does what 8x8's reference says |
//! | 408, 425, 429 of 8x8 | 8x8's | 8x8 is busy and stayed so. Nothing was carried out | repeats, after `Retry-After` if there is one |
//! | 5xx of 8x8 | 8x8's | 8x8 failed. A repetition is harmless, since others get 504 | repeats, after `Retry-After` if there is one |
//! | 400 | `invalid_json_object` | the bridge has to complete or translate the body, and it is not a JSON object in UTF-8 | corrects the body |
//! | 400 | `invalid_idempotency_key` | the `Idempotency-Key` is not 1 to 255 visible ASCII characters | corrects the key |
//! | 401 | `unauthorized` | app token or bearer token are missing, wrong or expired | logs in again |
//! | 404 | `not_found` | there is no such path, or no event of the conversation's hand-over has arrived within a week | corrects the path, or asks again after the first event |
//! | 405 | `method_not_allowed` | the path has other methods: those of the header `Allow` | corrects the method |
//! | 409 | `in_progress` | a request with the same key is in progress | repeats after `Retry-After` |
//! | 422 | `idempotency_key_reused` | the key was used for a different request | uses a new key |
//! | 501 | `not_supported` | the older API has no such operation; the message has the reason | does without it |
//! | 502 | `contact_center_credentials` | 8x8 rejects the bridge's credentials | reports it to its operator |
//! | 502 | `contact_center_response` | 8x8's response cannot be passed on: an attachment is larger than 4 MiB, or it is a redirection | reports it to its operator |
//! | 503 | `unavailable` | a secret, the table or 8x8's credentials are not available. This request has sent nothing | repeats after `Retry-After` |
//! | 503 | `channel_not_registered` | there is no registered channel to create a conversation on | reports it to its operator, and repeats after `Retry-After` |
//! | 504 | `no_response` | 8x8 does not respond; a repetition is harmless | repeats |
//! | 504 | `unknown` | with `Retry-After`: a message or a creation may have been carried out | repeats with the same key after that time |
//! | 504 | `unknown` | without `Retry-After`: a request may have been carried out that the bridge cannot recognise at 8x8 | looks for it at 8x8; if it was not done, sends it with a **new** key |

use std::time::Duration;

use http::header::{ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use shared::caller::CallerError;
use shared::contact_center::problem::Problem;

use crate::routes::NoRoute;

/// An error of the bridge's own.
#[derive(Debug)]
pub(crate) enum Error {
    /// The caller is not known.
    Unauthorized,
    /// There is no such path.
    NotFound,
    /// No event of that conversation has arrived, or the last one is a week ago.
    NoHandover,
    /// The path has other methods: these.
    MethodNotAllowed(Vec<&'static str>),
    /// The bridge has to complete or translate the body, and it is not a JSON object.
    InvalidBody,
    /// An `Idempotency-Key` is invalid.
    InvalidIdempotencyKey,
    /// A request with that key is in progress.
    InProgress,
    /// That key was used for a different request.
    IdempotencyKeyReused,
    /// The older API, or this configuration, has no such thing.
    NotSupported(&'static str),
    /// 8x8 rejects our credentials.
    Credentials(Problem),
    /// 8x8's response cannot be passed on.
    UnusableResponse(&'static str),
    /// A secret, a table or a token is not available. This request has sent nothing.
    Unavailable(String),
    /// There is no channel to create a conversation on.
    NotRegistered,
    /// 8x8 does not respond, and has done nothing, or nothing that matters.
    NoResponse(&'static str),
    /// 8x8 may have carried the operation out. A repeat after that time finds out.
    Unknown { reason: String, retry_after: Duration },
    /// 8x8 may have carried the operation out, and lists nothing that shows whether it has.
    UnknownForGood { reason: String },
}

/// How an error is shown to the caller and to the operator.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) status: StatusCode,
    /// For programs.
    pub(crate) code: &'static str,
    /// What failed and what to do, for the bot's developer.
    pub(crate) message: String,
    pub(crate) header: Option<(HeaderName, HeaderValue)>,
    /// For the operator's log; `None` where the caller has made a mistake.
    pub(crate) cause: Option<String>,
}

impl Error {
    /// The row of an error; `operation` completes "to …".
    pub(crate) fn describe(&self, operation: &str) -> Description {
        use StatusCode as S;

        let to = operation;
        let row = |status, code, message: String| Description { status, code, message, header: None, cause: None };
        match self {
            Self::Unauthorized => {
                row(S::UNAUTHORIZED, "unauthorized", "x-app-token or the bearer token is missing or wrong.".to_owned())
                    .with((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Self::NotFound => row(S::NOT_FOUND, "not_found", "There is no such path.".to_owned()),
            Self::NoHandover => row(
                S::NOT_FOUND,
                "not_found",
                "Nothing is known of a hand-over of this conversation. 8x8's first event of it makes it known.".to_owned(),
            ),
            Self::MethodNotAllowed(methods) => {
                let methods = methods.join(", ");
                let allow = HeaderValue::from_str(&methods).unwrap_or_else(|_| HeaderValue::from_static(""));
                row(S::METHOD_NOT_ALLOWED, "method_not_allowed", format!("This path allows {methods}."))
                    .with((ALLOW, allow))
            }
            Self::InvalidBody => {
                row(S::BAD_REQUEST, "invalid_json_object", "The body is not a JSON object in UTF-8.".to_owned())
            }
            Self::InvalidIdempotencyKey => row(
                S::BAD_REQUEST,
                "invalid_idempotency_key",
                "Idempotency-Key must be 1 to 255 visible ASCII characters.".to_owned(),
            ),
            Self::InProgress => row(
                S::CONFLICT,
                "in_progress",
                "A request with this Idempotency-Key is in progress. Repeat this one later.".to_owned(),
            )
            .retry_after(SOON),
            Self::IdempotencyKeyReused => row(
                S::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "This Idempotency-Key was used for a different request. Use a new key for a new request.".to_owned(),
            ),
            Self::NotSupported(reason) => row(
                S::NOT_IMPLEMENTED,
                "not_supported",
                format!("This contact center's API cannot {to}: {reason}."),
            ),
            Self::Credentials(problem) => row(
                S::BAD_GATEWAY,
                "contact_center_credentials",
                format!("8x8 rejects the bridge's credentials to {to} ({problem}). Its administrator has to fix them."),
            )
            .because(problem.to_string()),
            Self::UnusableResponse(reason) => row(
                S::BAD_GATEWAY,
                "contact_center_response",
                format!("8x8's response when asked to {to} cannot be passed on: {reason}."),
            )
            .because((*reason).to_owned()),
            Self::Unavailable(reason) => row(
                S::SERVICE_UNAVAILABLE,
                "unavailable",
                format!("The bridge cannot {to} now. This request has sent nothing. Repeat it."),
            )
            .retry_after(SOON)
            .because(reason.clone()),
            Self::NotRegistered => row(
                S::SERVICE_UNAVAILABLE,
                "channel_not_registered",
                "No channel is registered. The bridge's administrator has to run register-channel.".to_owned(),
            )
            .retry_after(SOON)
            .because("no channel is registered".to_owned()),
            Self::NoResponse(reason) => row(
                S::GATEWAY_TIMEOUT,
                "no_response",
                format!("8x8 did not respond when asked to {to} ({reason}). Repeat the request."),
            )
            .because((*reason).to_owned()),
            Self::Unknown { reason, retry_after } => row(
                S::GATEWAY_TIMEOUT,
                "unknown",
                format!(
                    "It is unknown whether 8x8 did {to} ({reason}). Repeat the request with the same Idempotency-Key after \
                     {} s: the bridge then finds out. Without a key, look at the conversation before you send it again.",
                    seconds(*retry_after)
                ),
            )
            .retry_after(*retry_after)
            .because(reason.clone()),
            Self::UnknownForGood { reason } => row(
                S::GATEWAY_TIMEOUT,
                "unknown",
                format!(
                    "It is unknown whether 8x8 did {to} ({reason}), and the bridge cannot recognise it in what 8x8 lists. This \
                     Idempotency-Key never sends it again. Look for it at 8x8; if it was not done, send it with a new key."
                ),
            )
            .because(reason.clone()),
        }
    }
}

/// After an error of ours that may be over in a moment.
const SOON: Duration = Duration::from_secs(5);

impl Description {
    fn with(self, header: (HeaderName, HeaderValue)) -> Self {
        Self { header: Some(header), ..self }
    }

    fn retry_after(self, wait: Duration) -> Self {
        self.with((RETRY_AFTER, HeaderValue::from(seconds(wait))))
    }

    fn because(self, cause: String) -> Self {
        Self { cause: Some(cause), ..self }
    }
}

/// Whole seconds, rounded up, so that a caller that waits this long is not too early.
fn seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

impl From<NoRoute> for Error {
    fn from(error: NoRoute) -> Self {
        match error {
            NoRoute::Path => Self::NotFound,
            NoRoute::Method(allowed) => Self::MethodNotAllowed(allowed),
        }
    }
}

impl From<CallerError> for Error {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::Refused => Self::Unauthorized,
            CallerError::Secret(error) => Self::Unavailable(error.to_string()),
        }
    }
}
