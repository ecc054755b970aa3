//! A call to 8x8's chat API: its credentials, its tenant, its time-out, and how its response is handled.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::authentication::Authenticator;
use super::config::{ContactCenterApi, ContactCenterConfig};
use super::problem::Problem;
use crate::clock::UnixTime;
use crate::http::{BodyError, failure, never_sent, read_body};
use crate::oauth::{GrantError, TokenError};

/// When a webhook is created, 8x8 calls us and waits for our response before it responds itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest response that is read, in bytes: an attachment of 4 MiB in base64 fits into the 6 MB to which Lambda limits a
/// function's response. <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const RESPONSE_LIMIT: usize = 4 * 1024 * 1024;

/// A request to 8x8, without credentials and tenant.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    /// The method.
    pub method: Method,
    /// The complete URL.
    pub url: Url,
    /// The content type of the body, if there is a body.
    pub content_type: Option<HeaderValue>,
    /// The body.
    pub body: Bytes,
    /// The value of `Idempotency-Key`, for an API that defines this header.
    pub idempotency_key: Option<HeaderValue>,
    /// The time-out of the whole call.
    pub timeout: Duration,
}

/// A response of 8x8, with any status.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Response {
    /// 8x8's description of the error, if the response is an error.
    pub fn problem(&self) -> Problem {
        Problem::parse(self.status.as_u16(), &self.body)
    }
}

/// 8x8's chat API, in either of its two versions.
#[derive(Debug)]
pub struct ContactCenter {
    client: reqwest::Client,
    config: ContactCenterConfig,
    authenticator: Authenticator,
}

/// Why a call to 8x8 failed. `call` completes "to …": `create the webhook`.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ContactCenterError {
    /// 8x8 responded with an error.
    #[error("8x8 refused to {call}: {problem}")]
    Refused {
        /// What the call was to do.
        call: &'static str,
        /// 8x8's description of the error.
        problem: Problem,
    },
    /// There is no response. If the call was `sent`, 8x8 may have carried it out all the same.
    #[error("8x8 gave no response when asked to {call} ({reason})")]
    NoResponse {
        /// What the call was to do.
        call: &'static str,
        /// Why there is no response.
        reason: &'static str,
        /// Whether 8x8 may have received the call.
        sent: bool,
    },
    /// The response is not what 8x8 documents.
    #[error("8x8's response cannot be used when asked to {call} ({reason})")]
    Unusable {
        /// What the call was to do.
        call: &'static str,
        /// What is wrong with the response.
        reason: &'static str,
    },
    /// There are no credentials to log in with.
    #[error("no credentials to {call}: {error}")]
    NoCredentials {
        /// What the call was to do.
        call: &'static str,
        /// Why there are no credentials.
        error: TokenError,
    },
}

impl ContactCenterError {
    /// Whether 8x8 may have carried out the call although no response confirms it.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Refused { problem, .. } => problem.status >= 500,
            Self::NoResponse { sent, .. } => *sent,
            Self::Unusable { .. } => true,
            Self::NoCredentials { .. } => false,
        }
    }

    /// Whether the same call may succeed in a moment and can do no harm: 8x8 is overloaded, failed or unreachable, or 8x8 could
    /// not reach our callback URL (8x8 does not document the status of that case; it is a 4xx to a call about the webhook). A
    /// creation whose outcome is unknown is not repeated: 8x8 may still carry it out, and then there would be two.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { call, problem } => match problem.status {
                400 | 422 => call.ends_with(" the webhook"),
                429 => true,
                status => status >= 500 && !call.starts_with("create "),
            },
            Self::NoResponse { call, sent, .. } => !sent || !call.starts_with("create "),
            Self::NoCredentials { error, .. } => {
                matches!(error, TokenError::Grant(GrantError::Unavailable(_) | GrantError::Lost(_)))
            }
            Self::Unusable { .. } => false,
        }
    }

    /// Whether 8x8 or its token endpoint does not accept our credentials. A token endpoint may use status 400 for that
    /// (RFC 6749 §5.2).
    pub fn is_unauthorized(&self) -> bool {
        match self {
            Self::Refused { problem, .. } => matches!(problem.status, 401 | 403),
            Self::NoCredentials { error: TokenError::Grant(GrantError::Refused { status, .. }), .. } => {
                matches!(status, 400 | 401 | 403)
            }
            Self::NoCredentials { .. } | Self::NoResponse { .. } | Self::Unusable { .. } => false,
        }
    }

    fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.status == StatusCode::NOT_FOUND.as_u16())
    }
}

/// Replaces the error of an object that does not exist with `None`.
pub(super) fn found<T>(result: Result<T, ContactCenterError>) -> Result<Option<T>, ContactCenterError> {
    match result {
        Ok(thing) => Ok(Some(thing)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl ContactCenter {
    /// The contact center at `config`, with the credentials that `authenticator` adds to each call.
    pub fn new(client: reqwest::Client, config: ContactCenterConfig, authenticator: Authenticator) -> Self {
        Self { client, config, authenticator }
    }

    /// Replaces cached credentials: reads them from the secret, and if they are used to get a token, logs in with them. `call`
    /// names the call that needs them.
    ///
    /// # Errors
    /// The credentials cannot be read, or a token endpoint refuses them or does not respond.
    pub async fn renew_credentials(&self, call: &'static str) -> Result<(), ContactCenterError> {
        let renewed = self.authenticator.renew(UnixTime::now()).await;
        renewed.map_err(|error| ContactCenterError::NoCredentials { call, error })
    }

    /// Which of the two APIs the contact center speaks.
    pub fn api(&self) -> ContactCenterApi {
        self.config.api
    }

    /// Its configuration.
    pub fn config(&self) -> &ContactCenterConfig {
        &self.config
    }

    /// Sends a request with our credentials and the tenant, and returns the response, with any status.
    ///
    /// # Errors
    /// There are no credentials, or there is no response that can be read: every error but [`ContactCenterError::Refused`].
    pub async fn send(&self, call: &'static str, request: &ApiRequest) -> Result<Response, ContactCenterError> {
        let prepared = || {
            let mut prepared = self.client.request(request.method.clone(), request.url.clone());
            prepared =
                prepared.timeout(request.timeout).header(ACCEPT, "application/hal+json, application/json, */*;q=0.1");
            if let Some(tenant_id) = &self.config.tenant_id {
                prepared = prepared.header("X-8x8-Tenant", tenant_id);
            }
            if let Some(key) = &request.idempotency_key {
                prepared = prepared.header("Idempotency-Key", key);
            }
            if let Some(content_type) = &request.content_type {
                prepared = prepared.header(CONTENT_TYPE, content_type);
            }
            prepared.body(request.body.clone())
        };
        let response = self.authenticator.send(prepared, UnixTime::now()).await;
        let response = response.map_err(|error| ContactCenterError::NoCredentials { call, error })?;
        let response = response.map_err(|error| ContactCenterError::NoResponse {
            call,
            reason: failure(&error),
            sent: !never_sent(&error),
        })?;
        let (status, headers) = (response.status(), response.headers().clone());
        match read_body(response, RESPONSE_LIMIT).await {
            Ok(body) => Ok(Response { status, headers, body }),
            // The status says enough; the text of the error is not needed.
            Err(_) if !status.is_success() => Ok(Response { status, headers, body: Bytes::new() }),
            Err(BodyError::TooLong) => Err(ContactCenterError::Unusable {
                call,
                reason: "it is longer than 4 MiB, the most that can be passed on",
            }),
            Err(BodyError::CutOff) => Err(ContactCenterError::Unusable { call, reason: "it was cut off" }),
        }
    }

    /// Makes one call with a JSON body, or none, and returns the JSON of the response, or `null` if it has no body.
    pub(super) async fn call(
        &self,
        call: &'static str,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, ContactCenterError> {
        let mut url = self.config.endpoint.join(path.iter().copied());
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = ApiRequest {
            method,
            url,
            content_type: body.map(|_| HeaderValue::from_static("application/json")),
            body: body.map(|body| body.to_string().into()).unwrap_or_default(),
            idempotency_key: None,
            timeout: CALL_TIMEOUT,
        };
        let response = self.send(call, &request).await?;
        if !response.status.is_success() {
            return Err(ContactCenterError::Refused { call, problem: response.problem() });
        }
        if response.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&response.body)
            .map_err(|_| ContactCenterError::Unusable { call, reason: "it is not JSON" })
    }
}
