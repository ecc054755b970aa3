//! Invoked by a schedule every minute: says how many customers wait for an agent and for how long, counts each joining and each
//! end once, and, where a timer is set, ends the conversations whose time is over.
//!
//! | module | owns |
//! |---|---|
//! | `figures` | what is counted |
//! | `due` | which conversation is due for what |
//! | `timers` | what 8x8 is asked about those that are due |

mod due;
mod figures;
mod timers;

use lambda_runtime::Diagnostic;
use serde::Serialize;
use shared::aws::{self, Transport};
use shared::clock::UnixTime;
use shared::contact_center::authentication::Authenticator;
use shared::contact_center::client::ContactCenter;
use shared::contact_center::config::{
    ContactCenterApi, ContactCenterAuthentication, ContactCenterConfig, credentials_secret_id,
};
use shared::environment::{ConfigError, Environment};
use shared::handover::state::Handover;
use shared::handover::table::{HandoverTable, Record, handover_table};
use shared::http::client;
use shared::secrets::SecretsManager;

use crate::due::{CUSTOMER_IDLE, Limits};

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    contact_center: ContactCenterConfig,
    authentication: ContactCenterAuthentication,
    credentials_secret_id: String,
    handover_table: String,
    limits: Limits,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let contact_center = ContactCenterConfig::from_environment(environment)?;
        let limits = Limits::from_environment(environment)?;
        if limits.customer_idle.is_some() && contact_center.api == ContactCenterApi::ChatApiV2 {
            let expected = "0 with chat-api-v2, whose messages have no times";
            return Err(ConfigError::Malformed { name: CUSTOMER_IDLE, expected });
        }
        Ok(Self {
            contact_center,
            authentication: ContactCenterAuthentication::from_environment(environment)?,
            credentials_secret_id: credentials_secret_id(environment)?,
            handover_table: handover_table(environment)?,
            limits,
        })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct WatchHandovers {
    contact_center: ContactCenter,
    table: HandoverTable,
    limits: Limits,
}

/// A hand-over as the index has it.
#[derive(Debug)]
struct Watched {
    record: Record,
    handover: Handover,
}

/// What a run has found and done.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Customers who wait for an agent.
    waiting: usize,
    /// How long the first of them has waited, in seconds.
    oldest_waiting_s: u64,
    /// Conversations that the run ended at 8x8.
    closed: usize,
}

impl WatchHandovers {
    /// Prepares the clients.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let client = client()?;
        let sdk = aws::sdk_config(&Transport::new()?).await;
        let secrets = SecretsManager::new(&sdk);
        let authenticator =
            Authenticator::new(client.clone(), &secrets, config.authentication, config.credentials_secret_id);
        Ok(Self {
            contact_center: ContactCenter::new(client, config.contact_center, authenticator),
            table: HandoverTable::new(&sdk, config.handover_table),
            limits: config.limits,
        })
    }

    /// One run. `deadline` is when Lambda ends it.
    ///
    /// # Errors
    /// The table is not available: there are no figures of this minute.
    pub async fn handle(&self, deadline: UnixTime) -> Result<Report, Diagnostic> {
        let now = UnixTime::now();
        let failed = |error: shared::handover::table::HandoverTableError| Diagnostic {
            error_type: "HandoversUnknown".to_owned(),
            error_message: error.to_string(),
        };
        let records = self.table.open().await.map_err(failed)?;
        let watched: Vec<Watched> =
            records.into_iter().map(|record| Watched { handover: record.handover(), record }).collect();
        let (waiting, oldest) = figures::waiting(&watched, now);
        let watched = figures::count(&self.table, watched).await;
        let closed = timers::run(self, watched, now, deadline).await;
        tracing::info!(waiting, oldest_waiting_s = oldest.as_secs(), closed, "the hand-overs were watched");
        Ok(Report { waiting, oldest_waiting_s: oldest.as_secs(), closed })
    }
}
