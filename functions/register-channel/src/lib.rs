//! Invoked by CloudFormation as a custom resource, by a daily schedule, or directly by an operator: registers, adopts,
//! reviews, updates, releases and removes the webhook and the channel that carry an integration at 8x8.

mod adoption;
mod custom_resource;
mod operation;
mod registration;
mod review;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;
use shared::aws::{self, Transport};
use shared::clock::UnixTime;
use shared::contact_center::authentication::Authenticator;
use shared::contact_center::client::{ContactCenter, ContactCenterError};
use shared::contact_center::config::{
    ContactCenterAuthentication, ContactCenterConfig, channel_secret_id, credentials_secret_id,
};
use shared::contact_center::saved::SavedChannel;
use shared::environment::{ConfigError, Environment};
use shared::http::client;
use shared::integration::integration_name;
use shared::secrets::{Secret, SecretError, SecretsManager};
use shared::url::VerbatimUrl;

use crate::custom_resource::CustomResource;
use crate::operation::Operation;

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    integration_name: String,
    callback_url: VerbatimUrl,
    contact_center: ContactCenterConfig,
    authentication: ContactCenterAuthentication,
    credentials_id: String,
    channel_secret_id: String,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            integration_name: integration_name(environment)?,
            // Compared with what 8x8 has saved, character by character.
            callback_url: environment.verbatim_url("CALLBACK_URL")?,
            contact_center: ContactCenterConfig::from_environment(environment)?,
            authentication: ContactCenterAuthentication::from_environment(environment)?,
            credentials_id: credentials_secret_id(environment)?,
            channel_secret_id: channel_secret_id(environment)?,
        })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct RegisterChannel {
    name: String,
    callback_url: String,
    client: reqwest::Client,
    contact_center: ContactCenter,
    saved: Secret<SavedChannel>,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        r#"the request must be {{"operation":"register"|"update","queue_id"?,"callback_url"?,"take_over"?}}, {{"operation":"adopt","channel_id","callback_url"?,"shared"?}} or {{"operation":"review"|"release"|"deregister"}}"#
    )]
    NotAnOperation,
    #[error("`queue_id` is missing or blank: name the queue of 8x8 that takes the conversations")]
    NoQueue,
    #[error("`channel_id` is blank: name the channel that is to be adopted")]
    NoChannel,
    #[error("8x8 has no channel `{0}`: check the channel id and the tenant")]
    UnknownChannel(String),
    #[error("`callback_url` must be an absolute https URL (http only for a loopback host)")]
    BadCallbackUrl,
    #[error("nothing is registered yet: run `register` first")]
    NotRegistered,
    #[error("a channel is adopted: run `release` first")]
    Adopted,
    #[error("no channel is adopted: there is nothing to release")]
    NotAdopted,
    #[error("the queue of an adopted channel belongs to the one who registered it: change it there")]
    AdoptedQueue,
    #[error("a webhook and a channel of our own are registered: run `deregister` first")]
    Registered,
    #[error(
        "webhook `{webhook}` also carries the channels `{channels}`, whose events would come to us too: give the channel a webhook of its own, or repeat with \"shared\":true"
    )]
    Shared { webhook: String, channels: String },
    #[error(
        "the {part} `{name}` at 8x8 sends its events to {host}, which is not ours: give this integration a name of its own, or repeat `register` with \"take_over\":true if nothing uses that address any more"
    )]
    Foreign { part: &'static str, name: String, host: String },
    #[error("the {0} that was registered does not exist any more at 8x8: run `register` to create it again")]
    Gone(&'static str),
    #[error("the registration was changed by another process at the same time: run it again")]
    Superseded,
    #[error("CloudFormation did not accept the response ({0})")]
    Unanswered(String),
    #[error("the configuration is wrong: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    ContactCenter(#[from] ContactCenterError),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl RegisterChannel {
    /// Prepares the clients.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let client = client()?;
        let secrets = SecretsManager::new(&aws::sdk_config(&Transport::new()?).await);
        let authenticator = Authenticator::new(client.clone(), &secrets, config.authentication, config.credentials_id);
        Ok(Self {
            name: format!("live-agent-{}", config.integration_name),
            callback_url: config.callback_url.as_str().to_owned(),
            contact_center: ContactCenter::new(client.clone(), config.contact_center, authenticator),
            saved: secrets.secret(config.channel_secret_id),
            client,
        })
    }

    /// Carries out an operation and responds with what it did or found.
    ///
    /// # Errors
    /// An invalid request, or a failure of 8x8 or Secrets Manager, with 8x8's own reason where it gave one.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let LambdaEvent { payload: request, context } = event;
        let result = match CustomResource::parse(&request) {
            Some(request) => request.respond(self, UnixTime::from_millis(context.deadline)).await,
            None => self.operate(&request).await,
        };
        result.map_err(diagnostic)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn client(&self) -> &reqwest::Client {
        &self.client
    }

    async fn operate(&self, request: &Value) -> Result<Value, Error> {
        self.perform(Operation::parse(request)?).await
    }
}

/// The function when its configuration is wrong. It starts all the same, since a stack that gets no response hangs for an
/// hour, and its rollback too.
#[derive(Debug)]
pub struct Misconfigured {
    error: ConfigError,
    client: reqwest::Client,
    saved: Option<Secret<SavedChannel>>,
}

impl Misconfigured {
    /// Prepares the responses that name `error`.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(error: ConfigError, environment: &Environment<'_>) -> Result<Self, lambda_runtime::Error> {
        let secrets = SecretsManager::new(&aws::sdk_config(&Transport::new()?).await);
        // If this variable is missing too, it is not known whether something is registered.
        let saved = channel_secret_id(environment).ok().map(|id| secrets.secret(id));
        Ok(Self { error, client: client()?, saved })
    }

    /// Responds with the configuration error; a deletion succeeds if nothing was registered.
    ///
    /// # Errors
    /// Always, but for CloudFormation's requests, whose response says so.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let result = match CustomResource::parse(&event.payload) {
            Some(request) => request.respond_misconfigured(self).await,
            None => Err(Error::Config(self.error.clone())),
        };
        result.map_err(diagnostic)
    }

    async fn is_empty(&self) -> bool {
        let Some(saved) = &self.saved else { return false };
        matches!(saved.read(UnixTime::now()).await, Ok(version) if version.content == SavedChannel::Empty)
    }
}

fn diagnostic(error: Error) -> Diagnostic {
    Diagnostic { error_type: "RegistrationFailed".to_owned(), error_message: error.to_string() }
}
