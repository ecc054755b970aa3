//! A token endpoint: the HTTP requests of its grants, and the meaning of a failure.

use std::time::Duration;

use http::StatusCode;
use reqwest::RequestBuilder;
use secrecy::SecretString;
use serde_json::Value;

use super::token::Token;
use crate::clock::UnixTime;
use crate::http::{failure, never_sent, read_body};
use crate::secrets::SecretError;

/// Some token endpoints check a password slowly on purpose. Two grants must fit into one call.
const GRANT_TIMEOUT: Duration = Duration::from_secs(8);

/// A token response has one or two kilobytes, or several if its tokens are JWTs.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// Why a token endpoint gave no token.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum GrantError {
    /// The endpoint was not asked, or is temporarily unavailable: the same request may be sent again later.
    #[error("the token endpoint is unavailable ({0})")]
    Unavailable(String),
    /// The endpoint may have issued a token that we did not receive: a one-time refresh token may be used up.
    #[error("the token endpoint's response is lost ({0})")]
    Lost(&'static str),
    /// The endpoint rejected the grant.
    #[error("the token endpoint refused (status {status}{})", error.as_ref().map(|error| format!(", {error}")).unwrap_or_default())]
    Refused {
        /// HTTP status.
        status: u16,
        /// OAuth's error code, e.g. `invalid_grant` (RFC 6749 §5.2).
        error: Option<String>,
    },
    /// Our credentials for the endpoint cannot be read.
    #[error(transparent)]
    Credentials(#[from] SecretError),
}

/// A token endpoint, and our credentials for it.
pub trait TokenEndpoint {
    /// Requests a token with our credentials, which are read past the cache: the resource owner password credentials grant or
    /// the client credentials grant (RFC 6749 §4.3, §4.4).
    fn credentials_grant(&self, now: UnixTime) -> impl Future<Output = Result<Token, GrantError>> + Send;

    /// Requests a token with a refresh token (RFC 6749 §6).
    fn refresh_grant(
        &self,
        refresh_token: &SecretString,
        now: UnixTime,
    ) -> impl Future<Output = Result<Token, GrantError>> + Send;
}

/// Sends a grant and reads the response.
pub async fn request_token(grant: RequestBuilder, now: UnixTime) -> Result<Token, GrantError> {
    let response = grant.timeout(GRANT_TIMEOUT).send().await.map_err(|error| {
        if never_sent(&error) {
            GrantError::Unavailable(failure(&error).to_owned())
        } else {
            GrantError::Lost(failure(&error))
        }
    })?;
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(GrantError::Unavailable("status 429".to_owned()));
    }
    if status.is_server_error() {
        return Err(GrantError::Lost("a server error"));
    }
    let body = read_body(response, RESPONSE_LIMIT).await;
    let body = body.map_err(|_| GrantError::Lost("its body cannot be read"))?;
    if !status.is_success() {
        return Err(GrantError::Refused { status: status.as_u16(), error: oauth_error(&body) });
    }
    Token::parse(&body, now).ok_or(GrantError::Lost("it holds no access token"))
}

/// The error code, if the response has one in the form of OAuth's codes. Its description is left out: it may repeat the
/// request.
fn oauth_error(body: &[u8]) -> Option<String> {
    let response: Value = serde_json::from_slice(body).ok()?;
    let code = response.get("error").or_else(|| response.get("ErrorCode"))?.as_str()?;
    let is_code = code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_code.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_oauths_error_code_and_nothing_else() {
        assert_eq!(
            oauth_error(br#"{"error":"invalid_grant","error_description":"user acme"}"#).as_deref(),
            Some("invalid_grant")
        );
        assert_eq!(
            oauth_error(br#"{"ErrorCode":"invalid_request","Error":"Unsupported grant type : x"}"#).as_deref(),
            Some("invalid_request")
        );
        assert_eq!(oauth_error(br#"{"error":"password hunter2 is wrong"}"#), None);
        assert_eq!(oauth_error(b"<html>"), None);
    }
}
