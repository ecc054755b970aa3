//! Invoked by a schedule every five minutes, one run at a time: refreshes the bot platform's access token and, where
//! 8x8 is called with one, 8x8's.

use lambda_runtime::Diagnostic;
use serde::Serialize;
use shared::aws::{self, Transport};
use shared::bot_platform::{BotPlatformConfig, BotTokenEndpoint};
use shared::clock::UnixTime;
use shared::contact_center::authentication::ContactCenterTokenEndpoint;
use shared::contact_center::config::{ContactCenterAuthentication, ContactCenterTokenConfig, credentials_secret_id};
use shared::environment::{ConfigError, Environment};
use shared::http::client;
use shared::oauth::{Refresh, Refresher, TokenEndpoint, TokenError, TokenStore};
use shared::secrets::SecretsManager;
use shared::telemetry;

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    bot: BotPlatformConfig,
    contact_center: Option<ContactCenterToken>,
}

#[derive(Debug)]
struct ContactCenterToken {
    config: ContactCenterTokenConfig,
    credentials_id: String,
}

impl Config {
    /// Reads the environment. 8x8's credentials are needed only where they are traded for a token.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let contact_center = match ContactCenterAuthentication::from_environment(environment)? {
            ContactCenterAuthentication::ApiKey => None,
            ContactCenterAuthentication::Token(config) => {
                Some(ContactCenterToken { config, credentials_id: credentials_secret_id(environment)? })
            }
        };
        Ok(Self { bot: BotPlatformConfig::from_environment(environment)?, contact_center })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct RefreshTokens {
    /// `None` where an API key needs no token.
    contact_center: Option<Refresher<ContactCenterTokenEndpoint>>,
    bot: Refresher<BotTokenEndpoint>,
}

/// The result for each token.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Tokens that were replaced.
    refreshed: Vec<&'static str>,
    /// Tokens whose remaining lifetime is long enough.
    fresh: Vec<&'static str>,
    /// Tokens that could not be refreshed.
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    token: &'static str,
    reason: String,
}

impl RefreshTokens {
    /// Prepares the clients.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let Config { bot, contact_center } = config;
        let client = client()?;
        let secrets = SecretsManager::new(&aws::sdk_config(&Transport::new()?).await);
        let contact_center = contact_center.map(|ContactCenterToken { config, credentials_id }| {
            let credentials = secrets.secret(credentials_id).into();
            let endpoint = ContactCenterTokenEndpoint::new(client.clone(), &config, credentials);
            Refresher::new(TokenStore::new(secrets.secret(config.secret_id)), endpoint)
        });
        let endpoint = BotTokenEndpoint::new(client, &bot.endpoint, secrets.secret(bot.secret_id).into());
        let bot = Refresher::new(TokenStore::new(secrets.secret(bot.token_secret_id)), endpoint);
        Ok(Self { contact_center, bot })
    }

    /// Refreshes what has to be. One token's failure does not keep the other from being refreshed.
    ///
    /// # Errors
    /// The report, as soon as one token failed, so that Lambda counts an error and alarms see it.
    pub async fn handle(&self) -> Result<Report, Diagnostic> {
        let now = UnixTime::now();
        let contact_center = async {
            match &self.contact_center {
                Some(token) => Some(token.refresh(now).await),
                None => None,
            }
        };
        let (contact_center, bot) = tokio::join!(contact_center, self.bot.refresh(now));
        let mut report = Report::default();
        if let (Some(token), Some(result)) = (&self.contact_center, contact_center) {
            report.add("contact-center", token, result, now).await;
        }
        report.add("bot", &self.bot, bot, now).await;
        report.into_result()
    }
}

impl Report {
    async fn add<E: TokenEndpoint>(
        &mut self,
        name: &'static str,
        token: &Refresher<E>,
        result: Result<Refresh, TokenError>,
        now: UnixTime,
    ) {
        // After a failed run, a token is overdue, or its state is unknown.
        telemetry::token_overdue(name, result.is_err());
        let lifetime = match result {
            Ok(Refresh::Refreshed(lifetime)) => {
                tracing::info!(token = name, left_s = lifetime.remaining.as_secs(), "refreshed");
                self.refreshed.push(name);
                lifetime
            }
            Ok(Refresh::Fresh(lifetime)) => {
                self.fresh.push(name);
                lifetime
            }
            Err(error) => {
                self.failed.push(Failed { token: name, reason: error.to_string() });
                token.lifetime(now).await
            }
        };
        telemetry::token_left(name, lifetime.remaining, lifetime.fraction());
    }

    fn into_result(self) -> Result<Self, Diagnostic> {
        if self.failed.is_empty() {
            return Ok(self);
        }
        // A struct of strings becomes JSON without fail.
        let error_message = serde_json::to_string(&self).unwrap_or_default();
        Err(Diagnostic { error_type: "TokensNotRefreshed".to_owned(), error_message })
    }
}
