//! Invoked by CloudFormation as a custom resource, by a daily schedule, or directly by an operator: registers, reviews, updates and removes the webhook and the channel that carry an
//! integration at 8x8.
//!
//! Both are named `live-agent-<INTEGRATION_NAME>` and are found by that name, so that an interrupted registration is
//! completed by the next one and none is ever made twice.

mod custom_resource;
mod operation;
mod saved;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::Value;
use shared::aws;
use shared::clock::UnixTime;
use shared::config::Environment;
use shared::contact_center::authentication::Access;
use shared::contact_center::client::{ContactCenter, ContactCenterError};
use shared::http::client;
use shared::secrets::{Secret, SecretError, SecretsManager};

use crate::custom_resource::CustomResource;
use crate::operation::Operation;
use crate::saved::SavedChannel;

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
    /// Reads the configuration.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    pub async fn start(environment: &Environment<'_>) -> Result<Self, lambda_runtime::Error> {
        let name = format!("live-agent-{}", environment.integration_name()?);
        let callback_url = environment.callback_url()?.as_str().to_owned();
        let config = environment.contact_center()?;
        let authentication = environment.contact_center_authentication()?;
        let credentials_id = environment.contact_center_secret_id()?;
        let saved_id = environment.channel_secret_id()?;
        let client = client()?;
        let secrets = SecretsManager::new(&aws::sdk_config(&client).await);
        let access = Access::new(client.clone(), &secrets, authentication, credentials_id);
        let contact_center = ContactCenter::new(client.clone(), config, access);
        Ok(Self { name, callback_url, client, contact_center, saved: secrets.secret(saved_id) })
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
