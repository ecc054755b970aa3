//! Invoked by CloudFormation as a custom resource, by a daily schedule, or directly by an operator: registers, reviews, updates and removes the webhook and the channel that carry an
//! integration at 8x8.
//!
//! Both are named `live-agent-<INTEGRATION_NAME>` and are found by that name, so that an interrupted registration is
//! completed by the next one and none is ever made twice.

mod custom_resource;
mod operation;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;
use shared::aws::{self, Transport};
use shared::clock::UnixTime;
use shared::config::{ConfigError, ContactCenterAuthentication, ContactCenterConfig, Environment, ExactUrl};
use shared::contact_center::authentication::Access;
use shared::contact_center::client::{ContactCenter, ContactCenterError};
use shared::contact_center::saved::SavedChannel;
use shared::http::client;
use shared::secrets::{Secret, SecretError, SecretsManager};

use crate::custom_resource::CustomResource;
use crate::operation::Operation;

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    integration_name: String,
    callback_url: ExactUrl,
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
    pub fn read(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            integration_name: environment.integration_name()?,
            callback_url: environment.callback_url()?,
            contact_center: environment.contact_center()?,
            authentication: environment.contact_center_authentication()?,
            credentials_id: environment.contact_center_secret_id()?,
            channel_secret_id: environment.channel_secret_id()?,
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
        r#"the request must be {{"operation":"register"|"review"|"update"|"deregister","queue_id"?,"callback_url"?}}"#
    )]
    NotAnOperation,
    #[error("`queue_id` is needed: which queue of 8x8's takes the conversations?")]
    NoQueue,
    #[error("`callback_url` must be an absolute https URL (http only for a loopback host)")]
    BadCallbackUrl,
    #[error("nothing is registered yet: run `register` first")]
    NotRegistered,
    #[error("the {0} that was registered is gone at 8x8: run `register` to make it anew")]
    Gone(&'static str),
    #[error("someone else registered at the same time: run it again")]
    Superseded,
    #[error("CloudFormation could not be told the outcome ({0})")]
    Unanswered(String),
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
        let access = Access::new(client.clone(), &secrets, config.authentication, config.credentials_id);
        Ok(Self {
            name: format!("live-agent-{}", config.integration_name),
            callback_url: config.callback_url.as_str().to_owned(),
            contact_center: ContactCenter::new(client.clone(), config.contact_center, access),
            saved: secrets.secret(config.channel_secret_id),
            client,
        })
    }

    /// Carries out an operation and answers with what it did or found.
    ///
    /// # Errors
    /// A request that is none, and everything that keeps 8x8 or Secrets Manager from doing their part, with 8x8's own
    /// reason where it gave one.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let LambdaEvent { payload: request, context } = event;
        let result = match CustomResource::parse(&request) {
            Some(request) => request.answer(self, UnixTime::from_millis(context.deadline)).await,
            None => self.operate(&request).await,
        };
        result.map_err(|error| Diagnostic {
            error_type: "RegistrationFailed".to_owned(),
            error_message: error.to_string(),
        })
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
