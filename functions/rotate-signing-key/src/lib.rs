//! The rotation of the signing key, which Secrets Manager invokes in four steps. The old key stays in the secret until
//! the last token that it signed has expired: no caller is rejected because of a rotation.

use std::time::Duration;

use lambda_runtime::Diagnostic;
use serde::Deserialize;
use serde_json::Value;
use shared::aws::{self, Transport};
use shared::caller::{CallerContent, GRACE, caller_secret_id, refresh_token_lifetime};
use shared::clock::UnixTime;
use shared::environment::{ConfigError, Environment};
use shared::secrets::rotation::{Rotation, Stage};
use shared::secrets::{History, Replaced, Secret, SecretError, SecretsManager};

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    secret_id: String,
    refresh_token_lifetime: Duration,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            secret_id: caller_secret_id(environment)?,
            refresh_token_lifetime: refresh_token_lifetime(environment)?,
        })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct RotateSigningKey {
    secret: Secret<CallerContent>,
    refresh_token_lifetime: Duration,
}

/// Secrets Manager's event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    step: Step,
    client_request_token: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Step {
    #[serde(rename = "createSecret")]
    Create,
    #[serde(rename = "setSecret")]
    Set,
    #[serde(rename = "testSecret")]
    Test,
    #[serde(rename = "finishSecret")]
    Finish,
}

/// Why a step failed. Secrets Manager repeats it.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(r#"the event must be Secrets Manager's: {{"Step","SecretId","ClientRequestToken"}}"#)]
    NotAStep,
    #[error("Secrets Manager knows no rotation of that ClientRequestToken")]
    NoRotation,
    #[error("there is no random number for a new key")]
    NoRandomNumber,
    #[error("the new version was not made")]
    NotMade,
    #[error("the new version does not accept the logins and tokens that the current one accepts")]
    Unfit,
    #[error("the secret was edited during the rotation")]
    Edited,
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl RotateSigningKey {
    /// Prepares the client.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let secrets = SecretsManager::new(&aws::sdk_config(&Transport::new()?).await);
        Ok(Self { secret: secrets.secret(config.secret_id), refresh_token_lifetime: config.refresh_token_lifetime })
    }

    /// Takes one step.
    ///
    /// # Errors
    /// An event of another shape, or a failure of Secrets Manager.
    pub async fn handle(&self, event: &Value) -> Result<(), Diagnostic> {
        self.step(event, UnixTime::now())
            .await
            .map_err(|error| Diagnostic { error_type: "RotationFailed".to_owned(), error_message: error.to_string() })
    }

    async fn step(&self, event: &Value, now: UnixTime) -> Result<(), Error> {
        let event = Event::deserialize(event).map_err(|_| Error::NotAStep)?;
        let rotation = Rotation::new(&self.secret, event.client_request_token);
        match rotation.stage().await? {
            Stage::Unknown => return Err(Error::NoRotation),
            Stage::Finished => return Ok(()),
            Stage::Pending => {}
        }
        match event.step {
            Step::Create => self.create(&rotation, now).await,
            // The key is used nowhere else.
            Step::Set => Ok(()),
            Step::Test => self.test(&rotation, now).await,
            Step::Finish => self.finish(&rotation, now).await,
        }
    }

    async fn create(&self, rotation: &Rotation<'_, CallerContent>, now: UnixTime) -> Result<(), Error> {
        if rotation.pending().await?.is_some() {
            return Ok(());
        }
        let History { current, past } = self.secret.read_history(GRACE, now).await?;
        let rotated =
            current.rotated(&past, None, self.refresh_token_lifetime, now).map_err(|_| Error::NoRandomNumber)?;
        Ok(rotation.make(&rotated).await?)
    }

    /// What the current version accepts, the new one must accept too, unless a person has edited the secret since it was
    /// made: then it is not put in force.
    async fn test(&self, rotation: &Rotation<'_, CallerContent>, now: UnixTime) -> Result<(), Error> {
        let current = self.secret.read(now).await?;
        let pending = rotation.pending().await?.ok_or(Error::NotMade)?;
        let is_edited = !pending.content.is_rotated_from(&current.id);
        if is_edited || pending.succeeds(&current, now) { Ok(()) } else { Err(Error::Unfit) }
    }

    /// Puts the new version in force, in the place of the version that it was made of. If that one has been edited since,
    /// the edit gets the new key, as one more version: Secrets Manager refuses another value for the pending one.
    async fn finish(&self, rotation: &Rotation<'_, CallerContent>, now: UnixTime) -> Result<(), Error> {
        let pending = rotation.pending().await?.ok_or(Error::NotMade)?.content;
        let History { current, past } = self.secret.read_history(GRACE, now).await?;
        if pending.is_rotated_from(&current.id) {
            rotation.finish(&current).await?;
        } else if !pending.has_signing_key_of(&current.content) {
            let rotated = current.rotated(&past, pending.signing_key(), self.refresh_token_lifetime, now);
            match self.secret.replace(&current, rotated.map_err(|_| Error::NoRandomNumber)?).await? {
                Replaced::Stored => {}
                Replaced::Superseded => return Err(Error::Edited),
            }
        }
        rotation.end().await?;
        tracing::info!("the signing key is rotated");
        Ok(())
    }
}
