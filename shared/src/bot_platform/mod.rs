//! The bot's side: an Aisera tenant, or any bot behind an endpoint that has the same two calls.

mod client;
mod config;
mod forbidden;
mod probe;
mod token_endpoint;

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use secrecy::ExposeSecret;
use url::Url;

use self::client::Client;
use self::forbidden::{Cause, ForbiddenEvents};
use crate::clock::UnixTime;
use crate::http::{ClientError, retry_after, sensitive_header};
use crate::oauth::{Authorizer, Token, TokenStore};
use crate::queue::QueuedEvent;
use crate::secrets::{Secret, SecretError, SecretsManager};

pub use config::BotPlatformConfig;
pub use probe::{Probe, probe};
pub use token_endpoint::{BotCredentials, BotTokenEndpoint};

/// How long one try of a delivery may take. A bot is expected to acknowledge an event before it processes it. A bot that
/// processes the event first has a few seconds. A bot that hangs must leave time for a second try within deliver-message's
/// 30 s.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(8);

/// The result of delivering an event to the bot platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The bot platform has the event.
    Delivered,
    /// The bot platform does not accept our token (401, 403).
    Unauthorized {
        /// HTTP status.
        status: u16,
    },
    /// The bot platform does not accept the event for now (403), although it accepts our token for other events.
    Forbidden,
    /// The bot platform may accept the event later.
    RetryLater {
        /// `status 503`, `no response in time`.
        reason: String,
        /// How long the bot platform asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The bot platform will never accept the event.
    Rejected {
        /// HTTP status.
        status: u16,
    },
}

/// The bot platform, with our credentials there.
#[derive(Debug)]
pub struct BotPlatform {
    client: Client,
    base_url: Url,
    receive_message_url: Url,
    credentials: Arc<Secret<BotCredentials>>,
    authorizer: Authorizer<BotTokenEndpoint>,
    forbidden: ForbiddenEvents,
}

impl BotPlatform {
    /// The bot platform of `config`, with the credentials and the token in its secrets. Tokens are requested with
    /// `token_client`.
    ///
    /// # Errors
    /// The client for events cannot be built.
    pub fn new(
        token_client: reqwest::Client,
        secrets: &SecretsManager,
        config: BotPlatformConfig,
    ) -> Result<Self, ClientError> {
        let credentials = Arc::new(secrets.secret(config.secret_id));
        let endpoint = BotTokenEndpoint::new(token_client, &config.endpoint, Arc::clone(&credentials));
        Ok(Self {
            client: Client::new()?,
            base_url: config.endpoint.url(),
            receive_message_url: config.endpoint.join(["v1", "liveAgent", "receiveMessage"]),
            credentials,
            authorizer: Authorizer::new(TokenStore::new(secrets.secret(config.token_secret_id)), endpoint),
            forbidden: ForbiddenEvents::default(),
        })
    }

    /// Opens the connections that the first event will need, and reads the secrets, while a function starts. The connection is
    /// opened at the base URL, so that the bot platform's handler of events does not get a request without an event.
    pub async fn warm_up(&self, now: UnixTime) {
        tokio::join!(
            self.client.warm_up(self.base_url.as_str()),
            self.credentials.warm_up(now),
            self.authorizer.warm_up(now)
        );
    }

    /// Posts an event with a valid token, and a second time if the token is refused; `timeout` is for one try. A try that would
    /// not end before `deadline` is not begun: if a bot platform is slow to refuse a token and to issue a new one, the event
    /// waits for the next invocation.
    pub async fn deliver(
        &self,
        event: &QueuedEvent,
        now: UnixTime,
        timeout: Duration,
        deadline: UnixTime,
    ) -> DeliveryOutcome {
        let send = async |token: Arc<Token>| {
            if UnixTime::now() + timeout > deadline {
                return DeliveryOutcome::retry_later("no time left for another try".to_owned());
            }
            let outcome = self.post(event, &token, timeout, now).await;
            self.attribute(outcome, event, &token)
        };
        let is_refusal = |outcome: &DeliveryOutcome| matches!(outcome, DeliveryOutcome::Unauthorized { .. });
        let authorized = self.authorizer.authorize(event.id().unwrap_or_default(), now, send, is_refusal);
        let outcome = match tokio::time::timeout(deadline.since(now), authorized).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => DeliveryOutcome::retry_later(error.to_string()),
            Err(_) => DeliveryOutcome::retry_later("no time left for a log-in".to_owned()),
        };
        self.authorizer.store(now).await;
        outcome
    }

    /// Decides whether a 403 is about the token or about the event.
    fn attribute(&self, outcome: DeliveryOutcome, event: &QueuedEvent, token: &Arc<Token>) -> DeliveryOutcome {
        let Some(id) = event.id() else { return outcome };
        if outcome == DeliveryOutcome::Delivered {
            self.forbidden.accepted(id, token);
        }
        let status = StatusCode::FORBIDDEN.as_u16();
        if outcome != (DeliveryOutcome::Unauthorized { status }) {
            return outcome;
        }
        match self.forbidden.forbidden(id, token) {
            Cause::Token => outcome,
            Cause::Event => DeliveryOutcome::Forbidden,
            Cause::Rejection => DeliveryOutcome::Rejected { status },
        }
    }

    /// Posts an event once: its bytes, its content type, its `x-8x8-*` headers, our two headers, and nothing else.
    async fn post(&self, event: &QueuedEvent, token: &Token, timeout: Duration, now: UnixTime) -> DeliveryOutcome {
        let app_token = match self.app_token(now).await {
            Ok(app_token) => app_token,
            Err(error) => return DeliveryOutcome::retry_later(error.to_string()),
        };
        let Some(bearer) = token.bearer() else {
            // No header can carry the token, so no server accepts it: it is replaced like any refused token.
            return DeliveryOutcome::Unauthorized { status: StatusCode::UNAUTHORIZED.as_u16() };
        };
        let mut request = Request::post(self.receive_message_url.as_str())
            .header("x-app-token", app_token)
            .header(AUTHORIZATION, bearer);
        if let Some(content_type) = &event.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        for (name, value) in &event.headers {
            request = request.header(name, value);
        }
        let Ok(request) = request.body(event.body.clone().into()) else {
            return DeliveryOutcome::retry_later("the request cannot be built".to_owned());
        };
        match self.client.send(request, timeout).await {
            Ok((status, headers)) => DeliveryOutcome::from_status(status, retry_after(&headers, now)),
            Err(reason) => DeliveryOutcome::retry_later(reason.to_owned()),
        }
    }

    async fn app_token(&self, now: UnixTime) -> Result<HeaderValue, SecretError> {
        let credentials = self.credentials.get(now).await?;
        sensitive_header(credentials.content.app_token.expose_secret()).ok_or_else(|| self.credentials.malformed())
    }
}

impl DeliveryOutcome {
    /// Why the bot platform does not have the event, for a log line; `None` if the event was delivered.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Delivered => None,
            Self::Unauthorized { status } => Some(format!("our token is refused (status {status})")),
            Self::Forbidden => Some("status 403, although our token is accepted for other events".to_owned()),
            Self::RetryLater { reason, .. } => Some(reason.clone()),
            Self::Rejected { status } => Some(format!("status {status}")),
        }
    }

    fn retry_later(reason: String) -> Self {
        Self::RetryLater { reason, retry_after: None }
    }

    /// Classifies a status by what has to follow: nothing, a new token, a later try, or an action by a person.
    fn from_status(status: StatusCode, retry_after: Option<Duration>) -> Self {
        match status.as_u16() {
            200..=299 => Self::Delivered,
            status @ (401 | 403) => Self::Unauthorized { status },
            status @ (408 | 425 | 429 | 500..=599) => {
                Self::RetryLater { reason: format!("status {status}"), retry_after }
            }
            // Includes redirects: an event must not go to a host that was not configured.
            status => Self::Rejected { status },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_row() {
        let wait = Some(Duration::from_secs(7));
        for status in 100..=999 {
            let expected = match status {
                200..=299 => DeliveryOutcome::Delivered,
                401 | 403 => DeliveryOutcome::Unauthorized { status },
                408 | 425 | 429 | 500..=599 => {
                    DeliveryOutcome::RetryLater { reason: format!("status {status}"), retry_after: wait }
                }
                _ => DeliveryOutcome::Rejected { status },
            };
            assert_eq!(DeliveryOutcome::from_status(StatusCode::from_u16(status).unwrap(), wait), expected);
        }
    }
}
