//! The answers of a token endpoint (RFC 6749 §5.1, §5.2). None of them may be kept by a cache.

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
pub(crate) enum Refusal {
    InvalidRequest(&'static str),
    InvalidClient,
    InvalidGrant,
    UnsupportedGrantType,
    Unavailable(SecretError),
}

impl Refusal {
    /// A caller's error: `refused` if it is one of the caller's.
    pub(crate) fn of(error: CallerError, refused: Self) -> Self {
        match error {
            CallerError::Refused => refused,
            CallerError::Secret(error) => Self::Unavailable(error),
        }
    }

    /// Status, OAuth's code, and a description. The descriptions of wrong credentials tell nothing about them.
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

pub(crate) fn answer(outcome: Result<IssuedTokens, Refusal>) -> Response<Body> {
    match outcome {
        Ok(tokens) => response(StatusCode::OK, &tokens_json(&tokens)),
        Err(refusal) => {
            let (status, error, description) = refusal.outcome();
            telemetry::token_refused(error);
            match &refusal {
                Refusal::Unavailable(reason) => tracing::error!(error, %reason, "no tokens issued"),
                Refusal::InvalidRequest(_)
                | Refusal::InvalidClient
                | Refusal::InvalidGrant
                | Refusal::UnsupportedGrantType => tracing::warn!(error, "no tokens issued"),
            }
            let mut response = response(status, &json!({ "error": error, "error_description": description }));
            match status {
                // A client that uses the Authorization header is told the scheme (RFC 6749 §5.2).
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
