//! AWS Secrets Manager: read a secret, keep it for a while, replace it without overwriting what someone else wrote.

mod history;
mod kept;
pub mod rotation;

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Config;
use aws_sdk_secretsmanager::config::retry::RetryConfig;
use aws_sdk_secretsmanager::operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput};
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use aws_sdk_secretsmanager::primitives::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use crate::aws;
use crate::clock::UnixTime;
use crate::digest::sha256_hex;
pub use history::{History, PastVersion};
pub use kept::{KEPT_FOR, Kept};

/// The staging label of the version in force.
const CURRENT: &str = "AWSCURRENT";

/// The staging label of the version before that.
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret that cannot be used. Nothing of its value is ever in the text.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// Secrets Manager did not give it, or did not take the new value.
    #[error("secret `{id}` is unavailable ({reason})")]
    Unavailable {
        /// Name or ARN.
        id: String,
        /// AWS's error code, or why there was no answer.
        reason: String,
    },
    /// It does not hold what it should.
    #[error("secret `{id}` does not hold {expected}")]
    Malformed {
        /// Name or ARN.
        id: String,
        /// What belongs there, and where it is not obvious, how to get it there.
        expected: &'static str,
    },
}

/// What a secret holds, as JSON.
pub trait SecretContent: DeserializeOwned + Send + Sync + 'static {
    /// Its fields, for the person who has to mend it: `{"api_key","api_secret"}`.
    const SHAPE: &'static str;
}

/// One version of a secret.
#[derive(Debug)]
pub struct Version<T> {
    /// What it holds.
    pub content: T,
    /// When it was written.
    pub written_at: UnixTime,
    /// What Secrets Manager calls it.
    pub id: String,
}

/// How [`Secret::replace`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The new value is the current one.
    Stored,
    /// Someone else replaced the version that was read first; theirs is the current one.
    Superseded,
}

/// One secret, kept in memory for five minutes.
#[derive(Debug)]
pub struct Secret<T> {
    client: Client,
    is_on_loopback: bool,
    id: String,
    kept: Kept<Version<T>>,
}

/// AWS Secrets Manager.
#[derive(Debug, Clone)]
pub struct SecretsManager {
    client: Client,
    is_on_loopback: bool,
}

impl SecretsManager {
    /// The Secrets Manager of that configuration's region.
    #[tracing::instrument(level = "debug", name = "secrets client", skip_all)]
    pub fn new(config: &SdkConfig) -> Self {
        let is_on_loopback = config.endpoint_url().is_some_and(|url| url.starts_with("http:"));
        Self { client: Client::new(config), is_on_loopback }
    }

    /// The secret of that name or ARN. Nothing is read yet.
    pub fn secret<T: SecretContent>(&self, id: String) -> Secret<T> {
        Secret { client: self.client.clone(), is_on_loopback: self.is_on_loopback, id, kept: Kept::default() }
    }
}

impl<T: SecretContent> Secret<T> {
    /// The secret as it was at most five minutes ago.
    pub async fn get(&self, now: UnixTime) -> Result<Arc<Version<T>>, SecretError> {
        self.kept.get(now, self.fetch(None)).await
    }

    /// The secret as it is now, past what is kept.
    pub async fn read(&self, now: UnixTime) -> Result<Arc<Version<T>>, SecretError> {
        self.kept.renew(now, self.fetch(None)).await
    }

    /// Reads the secret while a function starts, when Lambda gives it a whole vCPU: the TLS handshake is paid by then, and
    /// the first event finds the secret. One try; a failure is left to the first event. On loopback there is nothing to
    /// gain.
    #[tracing::instrument(level = "debug", name = "secret", skip_all)]
    pub async fn warm_up(&self, now: UnixTime) {
        if self.is_on_loopback {
            return;
        }
        if let Err(error) = self.kept.renew(now, self.fetch(Some(RetryConfig::disabled()))).await {
            tracing::debug!(%error, "a secret is not read at the start");
        }
    }

    /// Whether Secrets Manager is simulated on this machine.
    pub fn is_on_loopback(&self) -> bool {
        self.is_on_loopback
    }

    /// `retries` in the place of the SDK's standard.
    async fn fetch(&self, retries: Option<RetryConfig>) -> Result<Arc<Version<T>>, SecretError> {
        let operation = self.client.get_secret_value().secret_id(&self.id).version_stage(CURRENT);
        let answer = match retries {
            None => Box::pin(operation.send()).await,
            Some(retries) => {
                let changed = Config::builder().retry_config(retries);
                Box::pin(operation.customize().config_override(changed).send()).await
            }
        };
        self.version(answer.map_err(|error| self.unavailable(aws::failure(&error)))?).map(Arc::new)
    }

    async fn read_stage(&self, stage: &str) -> Result<Option<Version<T>>, SecretError> {
        let operation = self.client.get_secret_value().secret_id(&self.id).version_stage(stage);
        match Box::pin(operation.send()).await {
            Ok(answer) => self.version(answer).map(Some),
            Err(error) => match error.as_service_error() {
                Some(GetSecretValueError::ResourceNotFoundException(_)) => Ok(None),
                Some(_) | None => Err(self.unavailable(aws::failure(&error))),
            },
        }
    }

    fn version(&self, mut answer: GetSecretValueOutput) -> Result<Version<T>, SecretError> {
        let id = answer.version_id.take().ok_or_else(|| self.unavailable("an answer without a version".to_owned()))?;
        let written_at = written_at(answer.created_date());
        let value = SecretString::from(answer.secret_string.take().ok_or_else(|| self.malformed())?);
        // serde's own error may quote the value.
        let content = serde_json::from_str(value.expose_secret()).map_err(|_| self.malformed())?;
        Ok(Version { content, written_at, id })
    }

    /// Makes `value` the current version, unless someone else has replaced `read` meanwhile.
    ///
    /// PutSecretValue takes the id of the new version from the caller (`ClientRequestToken`) and refuses a second value
    /// under the same id. Everyone who replaces the version R asks for the id that follows from R, so that the first one
    /// wins and all others learn that they lost: a compare-and-swap on R. Sending the same value again is a no-op.
    pub async fn replace(&self, read: &Version<T>, value: SecretString) -> Result<Replaced, SecretError> {
        /// If R is current although its successor exists, someone has moved AWSCURRENT back to R by hand: then the next
        /// id is asked for. Nobody does that more than a few times within the life of R.
        const ROLL_BACKS: u32 = 8;

        for roll_back in 0..ROLL_BACKS {
            let put = self
                .client
                .put_secret_value()
                .secret_id(&self.id)
                .client_request_token(successor(&read.id, roll_back))
                .secret_string(value.expose_secret());
            match Box::pin(put.send()).await {
                Ok(_) => {
                    self.kept.forget().await;
                    return Ok(Replaced::Stored);
                }
                Err(error) => match error.as_service_error() {
                    Some(PutSecretValueError::ResourceExistsException(_)) => {
                        if self.read(UnixTime::now()).await?.id != read.id {
                            return Ok(Replaced::Superseded);
                        }
                    }
                    Some(_) | None => return Err(self.unavailable(aws::failure(&error))),
                },
            }
        }
        Err(self.unavailable("every successor of its version exists".to_owned()))
    }

    /// The error for content that reads well and still cannot be used.
    pub fn malformed(&self) -> SecretError {
        self.lacks(T::SHAPE)
    }

    /// The error for a secret that lacks something that it needs.
    pub fn lacks(&self, expected: &'static str) -> SecretError {
        SecretError::Malformed { id: self.id.clone(), expected }
    }

    fn unavailable(&self, reason: String) -> SecretError {
        SecretError::Unavailable { id: self.id.clone(), reason }
    }
}

fn written_at(created: Option<&DateTime>) -> UnixTime {
    let millis = created.and_then(|date| u64::try_from(date.to_millis().ok()?).ok());
    UnixTime::from_millis(millis.unwrap_or(0))
}

/// The id of the version that replaces `version_id`: 32 to 64 characters are allowed, and the hexadecimal SHA-256 is 64.
fn successor(version_id: &str, roll_back: u32) -> String {
    sha256_hex(format!("replaces {version_id}, {roll_back}").as_bytes())
}
