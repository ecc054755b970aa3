//! The configuration of the bot platform.

use crate::environment::{ConfigError, Environment};
use crate::url::BaseUrl;

/// The address of the bot platform, and the secrets for it.
#[derive(Debug, Clone)]
pub struct BotPlatformConfig {
    /// Base URL; the paths of the API are appended to it.
    pub endpoint: BaseUrl,
    /// The secret `{"app_token","username","password"}`.
    pub secret_id: String,
    /// The secret that stores our access token.
    pub token_secret_id: String,
}

impl BotPlatformConfig {
    /// Reads `BOT_ENDPOINT`, `BOT_SECRET_ID` and `BOT_TOKEN_SECRET_ID`.
    ///
    /// # Errors
    /// A variable is missing or malformed.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            endpoint: environment.base_url("BOT_ENDPOINT")?,
            secret_id: environment.required("BOT_SECRET_ID")?,
            token_secret_id: environment.required("BOT_TOKEN_SECRET_ID")?,
        })
    }
}
