//! How the bridge logs in at 8x8: with an API key on each call, or with a token of 8x8's OAuth endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use reqwest::{RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::config::{ContactCenterAuthentication, ContactCenterGrant, ContactCenterTokenConfig};
use crate::clock::UnixTime;
use crate::http::sensitive_header;
use crate::oauth::{Authorizer, GrantError, Token, TokenEndpoint, TokenError, TokenStore, request_token};
use crate::secrets::{Secret, SecretContent, SecretError, SecretsManager, Version};

/// Our credentials at 8x8: the fields that the configured authentication needs.
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

impl ContactCenterCredentials {
    /// The names of the members that `authentication` needs and that are missing or blank.
    pub fn missing(&self, authentication: &ContactCenterAuthentication) -> Vec<&'static str> {
        let api_key = ("api_key", &self.api_key);
        let needed = match authentication {
            ContactCenterAuthentication::ApiKey => vec![api_key],
            ContactCenterAuthentication::Token(config) => match config.grant {
                ContactCenterGrant::ClientCredentials => vec![api_key, ("api_secret", &self.api_secret)],
                ContactCenterGrant::Password => {
                    vec![api_key, ("username", &self.username), ("password", &self.password)]
                }
            },
        };
        let is_given =
            |field: &Option<SecretString>| field.as_ref().is_some_and(|text| !text.expose_secret().trim().is_empty());
        needed.into_iter().filter(|(_, field)| !is_given(field)).map(|(name, _)| name).collect()
    }
}

/// 8x8's token endpoint.
#[derive(Debug)]
pub struct ContactCenterTokenEndpoint {
    client: reqwest::Client,
    url: Url,
    grant: ContactCenterGrant,
    credentials: Arc<Secret<ContactCenterCredentials>>,
}

impl ContactCenterTokenEndpoint {
    /// The token endpoint of `config`, with our `credentials`.
    pub fn new(
        client: reqwest::Client,
        config: &ContactCenterTokenConfig,
        credentials: Arc<Secret<ContactCenterCredentials>>,
    ) -> Self {
        Self { client, url: config.access_token_url.url(), grant: config.grant, credentials }
    }
}

impl TokenEndpoint for ContactCenterTokenEndpoint {
    async fn credentials_grant(&self, now: UnixTime) -> Result<Token, GrantError> {
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

    /// 8x8 documents no refresh grant: its tokens are renewed by logging in again.
    async fn refresh_grant(&self, _: &SecretString, now: UnixTime) -> Result<Token, GrantError> {
        self.credentials_grant(now).await
    }
}

/// Adds the credentials to our calls to 8x8.
#[derive(Debug)]
pub struct Authenticator {
    credentials: Arc<Secret<ContactCenterCredentials>>,
    authorizer: Option<Authorizer<ContactCenterTokenEndpoint>>,
    sends_api_key: bool,
    stores_tokens: bool,
}

impl Authenticator {
    /// Authenticates as `authentication` describes, with the credentials in the secret `secret_id`.
    pub fn new(
        client: reqwest::Client,
        secrets: &SecretsManager,
        authentication: ContactCenterAuthentication,
        secret_id: String,
    ) -> Self {
        let credentials = Arc::new(secrets.secret(secret_id));
        match authentication {
            ContactCenterAuthentication::ApiKey => {
                Self { credentials, authorizer: None, sends_api_key: true, stores_tokens: true }
            }
            ContactCenterAuthentication::Token(config) => {
                let sends_api_key = config.grant == ContactCenterGrant::Password;
                let endpoint = ContactCenterTokenEndpoint::new(client, &config, Arc::clone(&credentials));
                let authorizer = Authorizer::new(TokenStore::new(secrets.secret(config.secret_id)), endpoint);
                Self { credentials, authorizer: Some(authorizer), sends_api_key, stores_tokens: true }
            }
        }
    }

    /// The same, but does not store the token of a log-in: it is kept in memory only. For a function that has only read access.
    pub fn read_only(self) -> Self {
        Self { stores_tokens: false, ..self }
    }

    /// Reads the credentials while a function starts.
    pub async fn warm_up(&self, now: UnixTime) {
        match &self.authorizer {
            None => self.credentials.warm_up(now).await,
            Some(authorizer) => authorizer.warm_up(now).await,
        }
    }

    /// Replaces former credentials: reads the secret past the cache, and if its credentials are used to get a token, logs in
    /// with them.
    pub async fn renew(&self, now: UnixTime) -> Result<(), TokenError> {
        self.credentials.read(now).await?;
        match &self.authorizer {
            None => Ok(()),
            Some(authorizer) => authorizer.renew(now).await,
        }
    }

    /// Sends a request with our credentials. If 8x8 does not accept them (401), the credentials are read again or the token is
    /// renewed, and the request is sent once more: the refused request has had no effect.
    ///
    /// The outer error means that there are no credentials to send; the inner error means that there is no response.
    pub async fn send(
        &self,
        request: impl Fn() -> RequestBuilder,
        now: UnixTime,
    ) -> Result<reqwest::Result<Response>, TokenError> {
        let is_refusal = |response: &reqwest::Result<Response>| {
            response.as_ref().is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED)
        };
        let Some(authorizer) = &self.authorizer else {
            let credentials = self.credentials.get(now).await?;
            let response = self.with_api_key(request(), &credentials)?.send().await;
            if !is_refusal(&response) {
                return Ok(response);
            }
            let credentials = self.credentials.read(now).await?;
            return Ok(self.with_api_key(request(), &credentials)?.send().await);
        };
        let is_retry = AtomicBool::new(false);
        let send = async |token: Arc<Token>| {
            let mut request = request();
            // 8x8 may have refused the API key: the second try reads the key past the cache.
            let is_retry = is_retry.swap(true, Ordering::Relaxed);
            if self.sends_api_key {
                let credentials =
                    if is_retry { self.credentials.read(now).await? } else { self.credentials.get(now).await? };
                request = self.with_api_key(request, &credentials)?;
            }
            // If no header can carry the token, an empty one is sent, and 8x8 refuses it.
            let bearer = token.bearer().unwrap_or_else(|| HeaderValue::from_static("Bearer"));
            Ok(request.header(AUTHORIZATION, bearer).send().await)
        };
        // All calls are one subject: a 401 of 8x8 is about our credentials, not about one call.
        let response = authorizer.authorize("8x8", now, send, |response| response.as_ref().is_ok_and(is_refusal)).await;
        if self.stores_tokens {
            authorizer.store(now).await;
        }
        response?
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
