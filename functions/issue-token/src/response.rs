//! The responses of a token endpoint (RFC 6749 §5.1, §5.2). No cache may store one.
//!
//! | status | error | when |
//! |---|---|---|
//! | 200 | | access token and refresh token are issued |
//! | 400 | `invalid_request` | the body is not a form and not a JSON object, or a field is missing or comes twice |
//! | 400 | `invalid_grant` | user name, password or refresh token are wrong, expired or revoked |
//! | 400 | `unsupported_grant_type` | `grant_type` is neither `password` nor `refresh_token` |
//! | 401 | `invalid_client` | the app token (`clientid`) is missing or unknown |
//! | 503 | `temporarily_unavailable` | the secret of the callers cannot be read, or lacks something. Repeat after `Retry-After` |

use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use shared::caller::{ACCESS_LIFE, CallerError, IssuedTokens};
use shared::secrets::SecretError;
use shared::telemetry;

/// Why there are no tokens.
#[derive(Debug)]
pub(crate) enum Error {
    InvalidRequest(&'static str),
    InvalidClient,
    InvalidGrant,
    UnsupportedGrantType,
    Unavailable(SecretError),
}

impl Error {
    /// `rejected` if the caller's credentials are wrong.
    pub(crate) fn of(error: CallerError, rejected: Self) -> Self {
        match error {
            CallerError::Refused => rejected,
            CallerError::Secret(error) => Self::Unavailable(error),
        }
    }

    /// Status, OAuth's code, and a description. The descriptions of wrong credentials do not say which one is wrong.
    fn outcome(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidRequest(description) => (StatusCode::BAD_REQUEST, "invalid_request", description),
            Self::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client", "clientid is missing or unknown"),
            Self::InvalidGrant => (StatusCode::BAD_REQUEST, "invalid_grant", "the credentials are not valid"),
            Self::UnsupportedGrantType => {
                (StatusCode::BAD_REQUEST, "unsupported_grant_type", "password and refresh_token are supported")
            }
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "try again later"),
        }
    }
}

pub(crate) fn into_response(outcome: Result<IssuedTokens, Error>) -> Response<Body> {
    match outcome {
        Ok(tokens) => response(StatusCode::OK, &tokens_json(&tokens)),
        Err(error) => {
            let (status, code, description) = error.outcome();
            telemetry::token_refused(code);
            match &error {
                Error::Unavailable(reason) => tracing::error!(error = code, %reason, "no tokens issued"),
                Error::InvalidRequest(_) | Error::InvalidClient | Error::InvalidGrant | Error::UnsupportedGrantType => {
                    tracing::warn!(error = code, "no tokens issued")
                }
            }
            let mut response = response(status, &json!({ "error": code, "error_description": description }));
            match status {
                // For a client that uses the Authorization header (RFC 6749 §5.2).
                StatusCode::UNAUTHORIZED => {
                    let scheme = HeaderValue::from_static("Basic realm=\"live-agent\"");
                    response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                }
                StatusCode::SERVICE_UNAVAILABLE => {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
                }
                _ => {}
            }
            response
        }
    }
}

/// The tokens at the top level, as OAuth has them, and under `values`, as an Aisera tenant repeats them.
fn tokens_json(tokens: &IssuedTokens) -> Value {
    let (access, refresh) = (tokens.access_token.expose_secret(), tokens.refresh_token.expose_secret());
    let life = ACCESS_LIFE.as_secs();
    json!({
        "access_token": access,
        "refresh_token": refresh,
        "values": { "access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": life },
        "token_type": "bearer",
        "expires_in": life,
    })
}

fn response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::Text(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
