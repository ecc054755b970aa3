//! AWS Secrets Manager: reads a secret, caches it, and replaces it without overwriting the value of another process.

mod history;
pub mod rotation;

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput};
use aws_sdk_secretsmanager::operation::put_secret_value::PutSecretValueError;
use aws_sdk_secretsmanager::primitives::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use crate::aws;
use crate::cache::{Absence, Cached, Policy};
use crate::clock::UnixTime;
use crate::digest::sha256_hex;
use crate::http::WARM_UP_TIMEOUT;
pub use history::{History, PastVersion};

/// How long a secret is used without a refresh. Long enough that reading costs next to nothing ($0.05 for 10,000 reads), and
/// short enough that an administrator's change is in use after some minutes. If a credential is refused, the secret is read
/// again at once.
pub const TTL: Duration = Duration::from_secs(300);

/// How long secrets are cached.
static POLICY: Policy<SecretError> = Policy::of_secret("secret");

impl Policy<SecretError> {
    /// The policy for a secret, or for something that is made from one. Every error is a failure: deleting a secret by mistake
    /// must not stop what works without reading it.
    pub const fn of_secret(what: &'static str) -> Self {
        let absence = Absence { is: |_| false, ttl: Duration::ZERO, grace: Duration::ZERO };
        // A sender without credentials causes at most one read in a second.
        Self { what, ttl: TTL, min_refresh_interval: Duration::from_secs(1), absence }
    }
}

/// The staging label of the current version.
const CURRENT: &str = "AWSCURRENT";

/// The staging label of the version before the current one.
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret that cannot be used. The text never holds any part of the value.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// Secrets Manager did not return the secret, or did not accept the new value.
    #[error("secret `{id}` is unavailable ({reason})")]
    Unavailable {
        /// Name or ARN.
        id: String,
        /// AWS's error code, or why there was no response.
        reason: String,
    },
    /// The secret does not have the expected content.
    #[error("secret `{id}` does not hold {expected}")]
    Malformed {
        /// Name or ARN.
        id: String,
        /// The expected content, and if it is not obvious, how to create it.
        expected: &'static str,
    },
}

/// The content of a secret, as JSON.
pub trait SecretContent: DeserializeOwned + Send + Sync + 'static {
    /// Its fields, for the person who has to correct it: `{"api_key","api_secret"}`.
    const SHAPE: &'static str;
}

/// One version of a secret.
#[derive(Debug)]
pub struct Version<T> {
    /// The content of the version.
    pub content: T,
    /// When the version was written.
    pub written_at: UnixTime,
    /// The version's id in Secrets Manager.
    pub id: String,
}

/// How [`Secret::replace`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// The new value is the current one.
    Stored,
    /// Another process replaced the version that was read, and was first; its value is the current one.
    Superseded,
}

/// One secret, cached in memory.
#[derive(Debug)]
pub struct Secret<T> {
    client: Client,
    id: Arc<str>,
    cached: Cached<Version<T>, SecretError>,
}

/// AWS Secrets Manager.
#[derive(Debug, Clone)]
pub struct SecretsManager {
    client: Client,
}

impl SecretsManager {
    /// Secrets Manager in the region of `config`.
    #[tracing::instrument(level = "debug", name = "secrets client", skip_all)]
    pub fn new(config: &SdkConfig) -> Self {
        Self { client: Client::new(config) }
    }

    /// The secret with that name or ARN. Nothing is read yet.
    pub fn secret<T: SecretContent>(&self, id: String) -> Secret<T> {
        Secret { client: self.client.clone(), id: id.into(), cached: Cached::new(&POLICY) }
    }
}

impl<T: SecretContent> Secret<T> {
    /// The cached secret, read at most [`TTL`] ago. If the secret cannot be read again, the cached one stays in use: an outage
    /// of Secrets Manager must not stop what works without it.
    pub async fn get(&self, now: UnixTime) -> Result<Arc<Version<T>>, SecretError> {
        self.cached.get(now, || self.fetch()).await
    }

    /// The secret as it is now, read past the cache.
    pub async fn read(&self, now: UnixTime) -> Result<Arc<Version<T>>, SecretError> {
        self.cached.refresh(now, || self.fetch()).await
    }

    /// Reads the secret while a function starts, when Lambda gives it a whole vCPU: the TLS handshake is then already done, and
    /// the first event uses the cached secret, or waits for the rest of this read. A failure is left to the first event.
    #[tracing::instrument(level = "debug", name = "secret", skip_all)]
    pub async fn warm_up(&self, now: UnixTime) {
        match tokio::time::timeout(WARM_UP_TIMEOUT, self.get(now)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a secret is not read at the start"),
            Err(_) => tracing::debug!("a secret is not read at the start yet"),
        }
    }

    fn fetch(&self) -> impl Future<Output = Result<Arc<Version<T>>, SecretError>> + Send + use<T> {
        let (client, id) = (self.client.clone(), Arc::clone(&self.id));
        async move {
            let operation = client.get_secret_value().secret_id(&*id).version_stage(CURRENT);
            let response = Box::pin(operation.send()).await;
            let response = response.map_err(|error| unavailable(&id, aws::failure(&error)))?;
            Version::read(&id, response).map(Arc::new)
        }
    }

    async fn read_stage(&self, stage: &str) -> Result<Option<Version<T>>, SecretError> {
        let operation = self.client.get_secret_value().secret_id(&*self.id).version_stage(stage);
        match Box::pin(operation.send()).await {
            Ok(response) => Version::read(&self.id, response).map(Some),
            Err(error) => match error.as_service_error() {
                Some(GetSecretValueError::ResourceNotFoundException(_)) => Ok(None),
                Some(_) | None => Err(self.unavailable(aws::failure(&error))),
            },
        }
    }

    /// Makes `value` the current version, unless another process has replaced `read` meanwhile.
    ///
    /// The caller of PutSecretValue chooses the id of the new version (`ClientRequestToken`), and PutSecretValue refuses a
    /// second value under the same id. Every process that replaces the version R chooses the id that follows from R, so that
    /// the first process wins and the others are refused: a compare-and-swap on R. Sending the same value again is a no-op.
    pub async fn replace(&self, read: &Version<T>, value: SecretString) -> Result<Replaced, SecretError> {
        /// If R is current although its successor exists, an operator has moved AWSCURRENT back to R: then the next id is
        /// tried. More than a few such rollbacks within the lifetime of R are not expected.
        const ROLL_BACKS: u32 = 8;

        for roll_back in 0..ROLL_BACKS {
            let put = self
                .client
                .put_secret_value()
                .secret_id(&*self.id)
                .client_request_token(successor(&read.id, roll_back))
                .secret_string(value.expose_secret());
            match Box::pin(put.send()).await {
                Ok(_) => {
                    self.cached.invalidate();
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

    /// The error for content that was parsed and still cannot be used.
    pub fn malformed(&self) -> SecretError {
        self.lacks(T::SHAPE)
    }

    /// The error for a secret without something that it needs.
    pub fn lacks(&self, expected: &'static str) -> SecretError {
        malformed(&self.id, expected)
    }

    fn unavailable(&self, reason: String) -> SecretError {
        unavailable(&self.id, reason)
    }
}

impl<T: SecretContent> Version<T> {
    /// The version of the secret `secret_id` that Secrets Manager returned.
    fn read(secret_id: &str, mut response: GetSecretValueOutput) -> Result<Self, SecretError> {
        let id = response.version_id.take();
        let id = id.ok_or_else(|| unavailable(secret_id, "a response without a version".to_owned()))?;
        let written_at = written_at(response.created_date());
        let malformed = || malformed(secret_id, T::SHAPE);
        let value = SecretString::from(response.secret_string.take().ok_or_else(malformed)?);
        // serde's own error may contain the value.
        let content = serde_json::from_str(value.expose_secret()).map_err(|_| malformed())?;
        Ok(Self { content, written_at, id })
    }
}

fn unavailable(id: &str, reason: String) -> SecretError {
    SecretError::Unavailable { id: id.to_owned(), reason }
}

fn malformed(id: &str, expected: &'static str) -> SecretError {
    SecretError::Malformed { id: id.to_owned(), expected }
}

fn written_at(created: Option<&DateTime>) -> UnixTime {
    let millis = created.and_then(|date| u64::try_from(date.to_millis().ok()?).ok());
    UnixTime::from_millis(millis.unwrap_or(0))
}

/// The id of the version that replaces `version_id`: 32 to 64 characters are allowed, and the hexadecimal SHA-256 is 64.
fn successor(version_id: &str, roll_back: u32) -> String {
    sha256_hex(format!("replaces {version_id}, {roll_back}").as_bytes())
}
