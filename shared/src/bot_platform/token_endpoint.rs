//! The bot platform's token endpoint, and our credentials for it.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::clock::UnixTime;
use crate::oauth::{GrantError, Token, TokenEndpoint, request_token};
use crate::secrets::{Secret, SecretContent, Version};
use crate::url::BaseUrl;

/// Our credentials at the bot platform.
#[derive(Debug, Deserialize)]
pub struct BotCredentials {
    pub(super) app_token: SecretString,
    username: SecretString,
    password: SecretString,
}

impl SecretContent for BotCredentials {
    const SHAPE: &'static str = r#"{"app_token","username","password"}"#;
}

impl BotCredentials {
    /// The names of the members that are blank.
    pub fn missing(&self) -> Vec<&'static str> {
        let members = [("app_token", &self.app_token), ("username", &self.username), ("password", &self.password)];
        let is_blank = |text: &SecretString| text.expose_secret().trim().is_empty();
        members.into_iter().filter(|(_, text)| is_blank(text)).map(|(name, _)| name).collect()
    }
}

/// The bot platform's token endpoint.
#[derive(Debug)]
pub struct BotTokenEndpoint {
    client: reqwest::Client,
    url: Url,
    credentials: Arc<Secret<BotCredentials>>,
}

impl BotTokenEndpoint {
    /// The token endpoint of the bot platform at `endpoint`.
    pub fn new(client: reqwest::Client, endpoint: &BaseUrl, credentials: Arc<Secret<BotCredentials>>) -> Self {
        Self { client, url: endpoint.join(["tenant-users", "oauth2", "token"]), credentials }
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
        request_token(self.client.post(self.url.clone()).form(&form), now).await
    }
}

impl TokenEndpoint for BotTokenEndpoint {
    async fn credentials_grant(&self, now: UnixTime) -> Result<Token, GrantError> {
        let credentials = self.credentials.read(now).await?;
        let (username, password) =
            (credentials.content.username.expose_secret(), credentials.content.password.expose_secret());
        let fields = [("grant_type", "password"), ("username", username), ("password", password)];
        self.grant(&fields, &credentials, now).await
    }

    async fn refresh_grant(&self, refresh_token: &SecretString, now: UnixTime) -> Result<Token, GrantError> {
        let credentials = self.credentials.read(now).await?;
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
        self.grant(&fields, &credentials, now).await
    }
}
