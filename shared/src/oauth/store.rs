//! The secret that holds a token. refresh-tokens and every sender read this secret and may replace its value.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::token::Token;
use crate::clock::UnixTime;
use crate::secrets::{Replaced, Secret, SecretContent, SecretError, Version};

/// The content of a token secret: a token, or `{}` before the first one.
#[derive(Debug)]
pub struct TokenContent(Option<Arc<Token>>);

impl TokenContent {
    /// The token, if there is one.
    pub fn token(&self) -> Option<&Arc<Token>> {
        self.0.as_ref()
    }
}

impl SecretContent for TokenContent {
    const SHAPE: &'static str = r#"{"access_token","refresh_token","token_type","expires_at"} or {}"#;
}

impl<'de> Deserialize<'de> for TokenContent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            access_token: Option<SecretString>,
            refresh_token: Option<SecretString>,
            token_type: Option<String>,
            issued_at: Option<u64>,
            expires_at: Option<u64>,
        }
        let Fields { access_token, refresh_token, token_type, issued_at, expires_at } =
            Fields::deserialize(deserializer)?;
        let issued_at = issued_at.map(UnixTime::from_secs);
        let expires_at = UnixTime::from_secs(expires_at.unwrap_or(0));
        Ok(Self(Token::new(access_token, refresh_token, token_type, issued_at, expires_at).map(Arc::new)))
    }
}

/// The secret that holds a token.
#[derive(Debug)]
pub struct TokenStore(Secret<TokenContent>);

impl TokenStore {
    /// Keeps the token in `secret`.
    pub fn new(secret: Secret<TokenContent>) -> Self {
        Self(secret)
    }

    /// Reads the token while a function starts.
    pub(super) async fn warm_up(&self, now: UnixTime) {
        self.0.warm_up(now).await;
    }

    /// The cached token, read at most five minutes ago.
    pub(super) async fn get(&self, now: UnixTime) -> Result<Arc<Version<TokenContent>>, SecretError> {
        self.0.get(now).await
    }

    /// The token as it is now, read past the cache.
    pub(super) async fn read(&self, now: UnixTime) -> Result<Arc<Version<TokenContent>>, SecretError> {
        self.0.read(now).await
    }

    /// Stores a token in place of the version that was read. If another token was stored first, that token stays: it is as
    /// good.
    pub(super) async fn replace(&self, read: &Version<TokenContent>, token: &Token) -> Result<(), SecretError> {
        match self.0.replace(read, token.to_json()).await? {
            Replaced::Stored | Replaced::Superseded => Ok(()),
        }
    }

    /// As [`Self::replace`], with retries for up to 40 s: a rotated refresh token that is not stored is lost.
    pub(super) async fn persist(&self, read: &Version<TokenContent>, token: &Token) -> Result<(), SecretError> {
        /// Milliseconds between tries. Together with the SDK's own retries this takes up to 40 s, within the function's
        /// time-out of a minute.
        const PAUSES: [u64; 4] = [500, 1000, 2000, 4000];

        for pause in PAUSES {
            match self.replace(read, token).await {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, "a new token is not stored yet"),
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.replace(read, token).await
    }
}
