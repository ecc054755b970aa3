//! Invoked by an operator (`make doctor`): what is wrong with this integration, and what to do about it.
//!
//! It reads and changes nothing: evidence is gathered first, from secrets, 8x8, the bot platform, queues and logs at the same
//! time; then each check judges it. Two calls are more than reading, and both are harmless: 8x8 is asked to verify the webhook,
//! which sends us an event that is not queued, and the bot platform gets the same event. A log-in takes place only where it
//! cannot invalidate a token (`evidence/mod.rs`).

mod checks;
mod evidence;
mod report;

use aws_config::SdkConfig;
use shared::aws::{self, Transport};
use shared::bot_platform::BotPlatformConfig;
use shared::caller::caller_secret_id;
use shared::contact_center::config::{
    ContactCenterAuthentication, ContactCenterConfig, channel_secret_id, credentials_secret_id,
};
use shared::environment::{ConfigError, Environment};
use shared::http::client;
use shared::integration::integration_name;
use shared::queue::{dead_letter_queue_url, event_queue_url};
use shared::url::VerbatimUrl;

use crate::evidence::Evidence;
pub use crate::report::Report;

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    integration_name: String,
    contact_center: ContactCenterConfig,
    authentication: ContactCenterAuthentication,
    credentials_id: String,
    bot: BotPlatformConfig,
    callback_url: VerbatimUrl,
    /// Whether a load balancer has to add a caller's headers to each event.
    has_load_balancer: bool,
    caller_secret_id: String,
    channel_secret_id: String,
    queue_url: VerbatimUrl,
    dead_letter_queue_url: VerbatimUrl,
    receive_message_log_group: String,
    deliver_message_log_group: String,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let callback_authentication = environment.optional("CALLBACK_AUTHENTICATION");
        Ok(Self {
            integration_name: integration_name(environment)?,
            contact_center: ContactCenterConfig::from_environment(environment)?,
            authentication: ContactCenterAuthentication::from_environment(environment)?,
            credentials_id: credentials_secret_id(environment)?,
            bot: BotPlatformConfig::from_environment(environment)?,
            callback_url: environment.verbatim_url("CALLBACK_URL")?,
            // receive-message checks the value.
            has_load_balancer: callback_authentication.is_some_and(|mode| mode != "signature"),
            caller_secret_id: caller_secret_id(environment)?,
            channel_secret_id: channel_secret_id(environment)?,
            queue_url: event_queue_url(environment)?,
            dead_letter_queue_url: dead_letter_queue_url(environment)?,
            receive_message_log_group: environment.required("RECEIVE_MESSAGE_LOG_GROUP")?,
            deliver_message_log_group: environment.required("DELIVER_MESSAGE_LOG_GROUP")?,
        })
    }
}

/// What the function holds between invocations: no data that it has read, so that each invocation sees the current state.
#[derive(Debug)]
pub struct CheckIntegration {
    config: Config,
    client: reqwest::Client,
    sdk: SdkConfig,
}

impl CheckIntegration {
    /// Prepares the clients.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let sdk = aws::sdk_config(&Transport::new()?).await;
        Ok(Self { config, client: client()?, sdk })
    }

    /// Makes every check. What cannot be found out is part of the report too, so that this never fails.
    pub async fn handle(&self) -> Report {
        // On the heap: the future is large, and the futures around it would be as large.
        let evidence = Box::pin(Evidence::gather(self)).await;
        let report = Report::new(checks::CHECKS.iter().map(|(check, judge)| (*check, judge(&evidence))));
        tracing::info!(status = report.status(), "checked");
        report
    }
}
