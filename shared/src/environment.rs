//! Reads the environment variables of a function, once at its cold start. Each is read in the module that it configures. These
//! are all variables:
//!
//! | variable | meaning |
//! |---|---|
//! | `INTEGRATION_NAME` | the name of the integration: letters, digits, hyphens. receive-message needs it to authenticate callers |
//! | `CONTACT_CENTER_ENDPOINT` | base URL of 8x8's chat API: `https://api.8x8.com/chat-gateway/v1/`, or `https://api.8x8.com/vcc/us/chat/v2/tenant/acme/` |
//! | `CONTACT_CENTER_API` | the API at that endpoint: `chat-gateway-v1` (default) or `chat-api-v2` |
//! | `CONTACT_CENTER_TENANT_ID` | optional. Sent as `X-8x8-Tenant`; events of other tenants are rejected. If it is empty, events of every 8x8 tenant are accepted |
//! | `CONTACT_CENTER_AUTHENTICATION` | `api-key` (default), `client-credentials` or `password` |
//! | `CONTACT_CENTER_SECRET_ID` | secret `{"api_key","api_secret","username","password"}`, of which those that the authentication needs |
//! | `CONTACT_CENTER_ACCESS_TOKEN_URL` | for `client-credentials` and `password`, e.g. `https://api.8x8.com/oauth/v2/token` |
//! | `CONTACT_CENTER_TOKEN_SECRET_ID` | for `client-credentials` and `password`: the secret that keeps the token; `{}` at first |
//! | `BOT_ENDPOINT` | base URL of the bot platform, below which the paths of its API are |
//! | `BOT_SECRET_ID` | secret `{"app_token","username","password"}`, as the bot platform issued them |
//! | `BOT_TOKEN_SECRET_ID` | the secret that keeps the token; `{}` at first |
//! | `CALLBACK_URL` | the public URL of `receiveMessage` |
//! | `CALLBACK_AUTHENTICATION` | `signature` (default), `headers`, `either` or `both` |
//! | `CALLER_SECRET_ID` | secret `{"app_token","username","password","signing_key"}`, which authenticates callers. receive-message does not need it for `signature` |
//! | `REFRESH_TOKEN_DAYS` | how long issued refresh tokens live: 1 to 365, 30 by default |
//! | `EVENT_QUEUE_URL` | the SQS FIFO queue of events |
//! | `DEAD_LETTER_QUEUE_URL` | the SQS FIFO queue of events that cannot be delivered |
//! | `MAX_EVENT_AGE_MINUTES` | older events go to the dead-letter queue: 0 (default, delivered however old) to 20160 |
//! | `CHANNEL_SECRET_ID` | the secret that saves webhook and channel; `{}` at first |
//! | `IDEMPOTENCY_TABLE` | the DynamoDB table of the response under each `Idempotency-Key` (for a day) and of the messages that were sent (as digests, for two days): key `id` (string), time to live `expires_at` |
//! | `HANDOVER_TABLE` | the DynamoDB table of hand-overs, for a week: key `id` (string), time to live `expires_at`, index `open` with the key `watched` (string) and all attributes |
//! | `NO_AGENT_MINUTES` | the timer of conversations without an agent: 0 (default, off) to 1440 |
//! | `CUSTOMER_IDLE_MINUTES` | the timer of customers who do not respond: 0 (default, off) to 1440; must be 0 with `chat-api-v2` |
//! | `RECEIVE_MESSAGE_LOG_GROUP` | the log group of receive-message |
//! | `DELIVER_MESSAGE_LOG_GROUP` | the log group of deliver-message |

use std::fmt;

use crate::url::{BaseUrl, SECURE_URL, VerbatimUrl};

/// A variable is missing or malformed. The text names the variable and the expected value, never the actual value.
#[derive(Clone, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The variable is not set, or empty.
    #[error("environment variable {name} is missing")]
    Missing {
        /// The variable's name.
        name: &'static str,
    },
    /// The variable is set to something that cannot be used.
    #[error("environment variable {name} is malformed: it must be {expected}")]
    Malformed {
        /// The variable's name.
        name: &'static str,
        /// The value that is expected.
        expected: &'static str,
    },
}

/// `main` prints an error by its `Debug`: show the sentence there too.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The environment variables of a function, read with a look-up function.
pub struct Environment<'l>(&'l dyn Fn(&str) -> Option<String>);

impl<'l> Environment<'l> {
    /// The environment of this process. A variable that is not UTF-8 counts as missing: no variable of ours can have such a
    /// value.
    pub fn of_process() -> Environment<'static> {
        Environment(&|name| std::env::var(name).ok())
    }

    /// The variables that `look_up` returns.
    pub fn new(look_up: &'l dyn Fn(&str) -> Option<String>) -> Self {
        Self(look_up)
    }

    /// The variable's value without the white space around it; `None` if it is not set or empty.
    pub fn optional(&self, name: &'static str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The variable's value without the white space around it.
    ///
    /// # Errors
    /// The variable is not set, or empty.
    pub fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        self.optional(name).ok_or(ConfigError::Missing { name })
    }

    /// The variable as a base URL.
    ///
    /// # Errors
    /// The variable is missing, or not an absolute https URL (http for a loopback host) without query, fragment and
    /// credentials.
    pub fn base_url(&self, name: &'static str) -> Result<BaseUrl, ConfigError> {
        BaseUrl::parse(&self.required(name)?).ok_or(ConfigError::Malformed { name, expected: SECURE_URL })
    }

    /// The variable as a URL whose text is kept unchanged.
    ///
    /// # Errors
    /// The variable is missing, or not an absolute https URL (http for a loopback host) without credentials.
    pub fn verbatim_url(&self, name: &'static str) -> Result<VerbatimUrl, ConfigError> {
        VerbatimUrl::parse(&self.required(name)?).ok_or(ConfigError::Malformed { name, expected: SECURE_URL })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base_url(value: &str) -> Result<BaseUrl, ConfigError> {
        Environment::new(&|name| (name == "BASE").then(|| value.to_owned())).base_url("BASE")
    }

    #[test]
    fn names_the_variable_that_is_missing() {
        for blank in ["", "  "] {
            let error = base_url(blank).unwrap_err();
            assert_eq!(error.to_string(), "environment variable BASE is missing");
            assert_eq!(format!("{error:?}"), error.to_string());
        }
    }

    #[test]
    fn never_shows_a_malformed_value() {
        let error = base_url("https://user:hunter2@bot.example").unwrap_err().to_string();
        assert!(error.contains("BASE") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn white_space_around_a_value_is_ignored() {
        assert_eq!(base_url(" https://bot.example\n"), base_url("https://bot.example"));
    }
}
