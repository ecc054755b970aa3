//! How we log in at 8x8: with an API key on each call, or with a token of its OAuth endpoint.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::clock::UnixTime;
use crate::config::{ContactCenterAuthentication, ContactCenterGrant, ContactCenterTokenConfig};
use crate::http::sensitive_header;
use crate::secrets::{Secret, SecretContent, SecretError, SecretsManager, Version};
use crate::token::{GrantError, KeptToken, Token, TokenError, TokenIssuer, request_token};

/// What 8x8 knows us by: those fields that the configured authentication needs.
#[derive(Debug, Deserialize)]
pub struct ContactCenterCredentials {
    api_key: Option<SecretString>,
    api_secret: Option<SecretString>,
    username: Option<SecretString>,
    password: Option<SecretString>,
}

impl SecretContent for ContactCenterCredentials {
    const SHAPE: &'static str =
        r#"{"api_key","api_secret","username","password"}, those that CONTACT_CENTER_AUTHENTICATION needs"#;
}

/// 8x8's token endpoint.
#[derive(Debug)]
pub struct ContactCenterIssuer {
    client: reqwest::Client,
    url: Url,
    grant: ContactCenterGrant,
    credentials: Arc<Secret<ContactCenterCredentials>>,
}

impl ContactCenterIssuer {
    /// The token endpoint of `config`, which knows us by `credentials`.
    pub fn new(
        client: reqwest::Client,
        config: &ContactCenterTokenConfig,
        credentials: Arc<Secret<ContactCenterCredentials>>,
    ) -> Self {
        Self { client, url: config.access_token_url.url(), grant: config.grant, credentials }
    }
}

impl TokenIssuer for ContactCenterIssuer {
    async fn log_in(&self, now: UnixTime) -> Result<Token, GrantError> {
        let credentials = self.credentials.read(now).await?;
        let given = |field: &Option<SecretString>| {
            field.clone().ok_or_else(|| GrantError::Credentials(self.credentials.malformed()))
        };
        let ContactCenterCredentials { api_key, api_secret, username, password } = &credentials.content;
        let request = self.client.post(self.url.clone());
        let request = match self.grant {
            ContactCenterGrant::ClientCredentials => request
                .basic_auth(given(api_key)?.expose_secret(), Some(given(api_secret)?.expose_secret()))
                .form(&[("grant_type", "client_credentials")]),
            ContactCenterGrant::Password => {
                request.header("x-api-key", api_key_header(&credentials, &self.credentials)?).form(&[
                    ("grant_type", "password"),
                    ("username", given(username)?.expose_secret()),
                    ("password", given(password)?.expose_secret()),
                ])
            }
        };
        request_token(request, now).await
    }

    /// 8x8 documents no refresh grant: logging in again is how its tokens are renewed.
    async fn refresh(&self, _: &SecretString, now: UnixTime) -> Result<Token, GrantError> {
        self.log_in(now).await
    }
}

/// The credentials of our calls to 8x8.
#[derive(Debug)]
pub struct Access {
    credentials: Arc<Secret<ContactCenterCredentials>>,
    token: Option<KeptToken<ContactCenterIssuer>>,
    sends_api_key: bool,
}

impl Access {
    /// The access that `authentication` describes, with the credentials in the secret `secret_id`.
    pub fn new(
        client: reqwest::Client,
        secrets: &SecretsManager,
        authentication: ContactCenterAuthentication,
        secret_id: String,
    ) -> Self {
        let credentials = Arc::new(secrets.secret(secret_id));
        match authentication {
            ContactCenterAuthentication::ApiKey => Self { credentials, token: None, sends_api_key: true },
            ContactCenterAuthentication::Token(config) => {
                let sends_api_key = config.grant == ContactCenterGrant::Password;
                let issuer = ContactCenterIssuer::new(client, &config, Arc::clone(&credentials));
                let token = KeptToken::new(secrets.secret(config.secret_id), issuer);
                Self { credentials, token: Some(token), sends_api_key }
            }
        }
    }

    /// Reads the credentials while a function starts.
    pub async fn warm_up(&self, now: UnixTime) {
        match &self.token {
            None => self.credentials.warm_up(now).await,
            Some(token) => token.warm_up(now).await,
        }
    }

    /// Forgets former credentials: reads them past what is kept, and where they are good for a token, logs in with them.
    pub async fn renew(&self, now: UnixTime) -> Result<(), TokenError> {
        self.credentials.read(now).await?;
        match &self.token {
            None => Ok(()),
            Some(token) => token.log_in(now).await,
        }
    }

    /// Sends a request with our credentials. If 8x8 does not take them (401), they are read again or renewed, and the
    /// request is sent once more: what was refused has done nothing.
    ///
    /// The outer error means that there are no credentials to send, the inner one that there is no answer.
    pub async fn send(
        &self,
        request: impl Fn() -> RequestBuilder,
        now: UnixTime,
    ) -> Result<reqwest::Result<Response>, TokenError> {
        let is_refusal = |answer: &reqwest::Result<Response>| {
            answer.as_ref().is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED)
        };
        let credentials = self.credentials.get(now).await?;
        match &self.token {
            None => {
                let answer = self.with_api_key(request(), &credentials)?.send().await;
                if !is_refusal(&answer) {
                    return Ok(answer);
                }
                let credentials = self.credentials.read(now).await?;
                Ok(self.with_api_key(request(), &credentials)?.send().await)
            }
            Some(token) => {
                let send = |token: Arc<Token>| {
                    let request =
                        if self.sends_api_key { self.with_api_key(request(), &credentials) } else { Ok(request()) };
                    async move {
                        // A token that no header can carry is sent as none, and refused.
                        let bearer = token.bearer().unwrap_or_else(|| HeaderValue::from_static("Bearer"));
                        Ok(request?.header(AUTHORIZATION, bearer).send().await)
                    }
                };
                token.authorize(now, send, |answer| answer.as_ref().is_ok_and(is_refusal)).await?
            }
        }
    }

    fn with_api_key(
        &self,
        request: RequestBuilder,
        credentials: &Version<ContactCenterCredentials>,
    ) -> Result<RequestBuilder, TokenError> {
        Ok(request.header("x-api-key", api_key_header(credentials, &self.credentials)?))
    }
}

fn api_key_header(
    credentials: &Version<ContactCenterCredentials>,
    secret: &Secret<ContactCenterCredentials>,
) -> Result<HeaderValue, SecretError> {
    let api_key = credentials.content.api_key.as_ref();
    api_key.and_then(|key| sensitive_header(key.expose_secret())).ok_or_else(|| secret.malformed())
}
