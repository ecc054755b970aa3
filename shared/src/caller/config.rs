//! The configuration of callers: their secret, and how long their refresh tokens live.

use std::time::Duration;

use crate::environment::{ConfigError, Environment};
use crate::integration::integration_name;

/// The callers that may call us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallersConfig {
    /// The integration that their tokens are issued for.
    pub integration_name: String,
    /// The secret that holds their credentials and our signing key.
    pub secret_id: String,
}

impl CallersConfig {
    /// Reads `INTEGRATION_NAME` and `CALLER_SECRET_ID`.
    ///
    /// # Errors
    /// A variable is missing or malformed.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self { integration_name: integration_name(environment)?, secret_id: caller_secret_id(environment)? })
    }
}

/// `CALLER_SECRET_ID`: the secret `{"app_token","username","password","signing_key"}`, which authenticates callers.
///
/// # Errors
/// The variable is missing.
pub fn caller_secret_id(environment: &Environment<'_>) -> Result<String, ConfigError> {
    environment.required("CALLER_SECRET_ID")
}

/// `REFRESH_TOKEN_DAYS`: the lifetime of the refresh tokens that we issue; 30 days unless it is set.
///
/// # Errors
/// The variable is malformed.
pub fn refresh_token_lifetime(environment: &Environment<'_>) -> Result<Duration, ConfigError> {
    let name = "REFRESH_TOKEN_DAYS";
    let days = match environment.optional(name) {
        None => Some(30),
        // A replaced signing key is kept as long as a refresh token lives; no key should be kept for more than a year.
        Some(text) => text.parse().ok().filter(|days| (1..=365).contains(days)),
    };
    let days = days.ok_or(ConfigError::Malformed { name, expected: "a number of days from 1 to 365" })?;
    Ok(Duration::from_secs(days * 24 * 3600))
}
