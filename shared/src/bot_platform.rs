//! All of the bot's side: an Aisera tenant, or any bot behind an endpoint that takes the same two calls.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::clock::UnixTime;
use crate::config::Endpoint;
use crate::http::{failure, read_body, retry_after, sensitive_header, warm_up};
use crate::queue::QueuedEvent;
use crate::secrets::{Secret, SecretContent, SecretError, Version};
use crate::token::{GrantError, Token, TokenIssuer, request_token};

/// How long one try of a delivery may take. A bot acknowledges an event and thinks afterwards; one that thinks first
/// gets a few seconds, and a hung one must leave time for a second try within deliver-message's 30 s.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(8);

/// The rest of an answer is read only so that the connection can be used again; more than this is not worth it.
const ANSWER_LIMIT: usize = 64 * 1024;

/// What the bot platform knows us by.
#[derive(Debug, Deserialize)]
pub struct BotCredentials {
    app_token: SecretString,
    username: SecretString,
    password: SecretString,
}

impl SecretContent for BotCredentials {
    const SHAPE: &'static str = r#"{"app_token","username","password"}"#;
}

/// What the bot platform made of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has the event.
    Delivered,
    /// It does not take our token (401, 403).
    Unauthorized,
    /// It may take the event later.
    TryAgain {
        /// `status 503`, `no answer in time`.
        reason: String,
        /// How long it asks us to wait.
        retry_after: Option<Duration>,
    },
    /// It will never take the event.
    Refused {
        /// HTTP status.
        status: u16,
    },
}

/// The bot platform.
#[derive(Debug)]
pub struct BotPlatform {
    client: reqwest::Client,
    receive_message_url: Url,
    token_url: Url,
    credentials: Secret<BotCredentials>,
}

impl BotPlatform {
    /// The bot platform at `endpoint`, which knows us by `credentials`.
    pub fn new(client: reqwest::Client, endpoint: &Endpoint, credentials: Secret<BotCredentials>) -> Self {
        Self {
            client,
            receive_message_url: endpoint.join(["v1", "liveAgent", "receiveMessage"]),
            token_url: endpoint.join(["tenant-users", "oauth2", "token"]),
            credentials,
        }
    }

    /// Opens the connections that the first event will need, while a function starts.
    pub async fn warm_up(&self, now: UnixTime) {
        tokio::join!(warm_up(&self.client, self.receive_message_url.clone()), self.credentials.warm_up(now));
    }

    /// Posts an event once: its bytes, its content type, its `x-8x8-*` headers, our two headers, and nothing else.
    pub async fn deliver(&self, event: &QueuedEvent, token: &Token, now: UnixTime) -> Answer {
        let try_again = |reason: String| Answer::TryAgain { reason, retry_after: None };
        let app_token = match self.app_token(now).await {
            Ok(app_token) => app_token,
            Err(error) => return try_again(error.to_string()),
        };
        let Some(bearer) = token.bearer() else {
            // No header can carry it, so nobody takes it: it is replaced like any token that is refused.
            return Answer::Unauthorized;
        };
        let mut request = self
            .client
            .post(self.receive_message_url.clone())
            .timeout(DELIVERY_TIMEOUT)
            .header("x-app-token", app_token)
            .header(AUTHORIZATION, bearer);
        if let Some(content_type) = &event.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        for (name, value) in &event.headers {
            request = request.header(name, value);
        }
        match request.body(event.body.clone()).send().await {
            Err(error) => try_again(failure(&error).to_owned()),
            Ok(response) => {
                let answer = Answer::from_status(response.status(), retry_after(response.headers(), now));
                // Read so that the connection can be used again; its status has said all.
                let _ = read_body(response, ANSWER_LIMIT).await;
                answer
            }
        }
    }

    async fn app_token(&self, now: UnixTime) -> Result<HeaderValue, SecretError> {
        let credentials = self.credentials.get(now).await?;
        sensitive_header(credentials.content.app_token.expose_secret()).ok_or_else(|| self.credentials.malformed())
    }

    async fn grant(
        &self,
        fields: &[(&str, &str)],
        credentials: &Version<BotCredentials>,
        now: UnixTime,
    ) -> Result<Token, GrantError> {
        // `clientid`, not OAuth's `client_id`: Aisera's name for it.
        let client_id = ("clientid", credentials.content.app_token.expose_secret());
        let form: Vec<_> = fields.iter().copied().chain([client_id]).collect();
        request_token(self.client.post(self.token_url.clone()).form(&form), now).await
    }
}

impl TokenIssuer for BotPlatform {
    async fn log_in(&self, now: UnixTime) -> Result<Token, GrantError> {
        let credentials = self.credentials.read(now).await?;
        let (username, password) =
            (credentials.content.username.expose_secret(), credentials.content.password.expose_secret());
        let fields = [("grant_type", "password"), ("username", username), ("password", password)];
        self.grant(&fields, &credentials, now).await
    }

    async fn refresh(&self, refresh_token: &SecretString, now: UnixTime) -> Result<Token, GrantError> {
        let credentials = self.credentials.read(now).await?;
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
        self.grant(&fields, &credentials, now).await
    }
}

impl Answer {
    /// Who must act: nobody, the token's keeper, time, or a person.
    fn from_status(status: StatusCode, retry_after: Option<Duration>) -> Self {
        match status.as_u16() {
            200..=299 => Self::Delivered,
            401 | 403 => Self::Unauthorized,
            status @ (408 | 425 | 429 | 500..=599) => {
                Self::TryAgain { reason: format!("status {status}"), retry_after }
            }
            // Redirects among them: an event must not go where nobody configured it to go.
            status => Self::Refused { status },
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
                200..=299 => Answer::Delivered,
                401 | 403 => Answer::Unauthorized,
                408 | 425 | 429 | 500..=599 => {
                    Answer::TryAgain { reason: format!("status {status}"), retry_after: wait }
                }
                _ => Answer::Refused { status },
            };
            assert_eq!(Answer::from_status(StatusCode::from_u16(status).unwrap(), wait), expected);
        }
    }
}
