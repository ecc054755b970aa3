//! A call to 8x8's chat API: its credentials, its tenant, its time-out, and what becomes of its answer.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;

use super::authentication::Access;
use super::problem::Problem;
use crate::clock::UnixTime;
use crate::config::{ContactCenterApi, ContactCenterConfig};
use crate::http::{failure, never_sent, read_body};
use crate::token::TokenError;

/// Creating a webhook makes 8x8 call us and wait for our answer before it gives its own.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// A page of a hundred channels has about 40 KiB.
const ANSWER_LIMIT: usize = 1024 * 1024;

/// 8x8's chat API, whichever of the two it is.
#[derive(Debug)]
pub struct ContactCenter {
    client: reqwest::Client,
    config: ContactCenterConfig,
    access: Access,
}

/// Why a call to 8x8 failed. `call` completes "to …": `create the webhook`.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ContactCenterError {
    /// 8x8 answered with an error.
    #[error("8x8 refused to {call}: {problem}")]
    Refused {
        /// What was to be done.
        call: &'static str,
        /// What 8x8 says.
        problem: Problem,
    },
    /// There is no answer. The call may have been carried out all the same if it was `sent`.
    #[error("8x8 gave no answer when asked to {call} ({reason})")]
    NoAnswer {
        /// What was to be done.
        call: &'static str,
        /// Why there is none.
        reason: &'static str,
        /// Whether 8x8 may have got it.
        sent: bool,
    },
    /// The answer is not what 8x8 documents.
    #[error("8x8's answer cannot be used when asked to {call} ({reason})")]
    Unusable {
        /// What was to be done.
        call: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// We have nothing to log in with.
    #[error("no credentials to {call}: {error}")]
    NoCredentials {
        /// What was to be done.
        call: &'static str,
        /// Why.
        error: TokenError,
    },
}

impl ContactCenterError {
    /// Whether 8x8 may have carried out the call although we have no answer that says so.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Refused { problem, .. } => problem.status >= 500,
            Self::NoAnswer { sent, .. } => *sent,
            Self::Unusable { .. } => true,
            Self::NoCredentials { .. } => false,
        }
    }

    fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { problem, .. } if problem.status == StatusCode::NOT_FOUND.as_u16())
    }
}

/// `None` instead of the error that says that there is no such thing.
pub(super) fn found<T>(result: Result<T, ContactCenterError>) -> Result<Option<T>, ContactCenterError> {
    match result {
        Ok(thing) => Ok(Some(thing)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

impl ContactCenter {
    /// The contact center at `config`, called with `access`.
    pub fn new(client: reqwest::Client, config: ContactCenterConfig, access: Access) -> Self {
        Self { client, config, access }
    }

    /// Which of the two APIs it speaks.
    pub fn api(&self) -> ContactCenterApi {
        self.config.api
    }

    /// Makes one call with a JSON body, or none, and returns the JSON of the answer, or `null` if it has no body.
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
        let request = || {
            let mut request = self.client.request(method.clone(), url.clone()).timeout(CALL_TIMEOUT);
            request = request.header(http::header::ACCEPT, "application/hal+json, application/json");
            if let Some(tenant_id) = &self.config.tenant_id {
                request = request.header("X-8x8-Tenant", tenant_id);
            }
            match body {
                Some(body) => request.header(http::header::CONTENT_TYPE, "application/json").body(body.to_string()),
                None => request,
            }
        };
        let answer = self.access.send(request, UnixTime::now()).await;
        let answer = answer.map_err(|error| ContactCenterError::NoCredentials { call, error })?;
        let answer = answer.map_err(|error| ContactCenterError::NoAnswer {
            call,
            reason: failure(&error),
            sent: !never_sent(&error),
        })?;
        let status = answer.status();
        let body = read_body(answer, ANSWER_LIMIT).await;
        if !status.is_success() {
            let problem = Problem::parse(status.as_u16(), &body.unwrap_or_default());
            return Err(ContactCenterError::Refused { call, problem });
        }
        let body = body.ok_or(ContactCenterError::Unusable { call, reason: "it is too long or was cut off" })?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| ContactCenterError::Unusable { call, reason: "it is not JSON" })
    }
}
