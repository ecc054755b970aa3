//! A rotation by Secrets Manager: a new version is made under `AWSPENDING`, tested, and becomes the current one.
//!
//! <https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html>

use secrecy::{ExposeSecret, SecretString};

use super::{CURRENT, Secret, SecretContent, SecretError, Version};
use crate::aws;

pub(super) const PENDING: &str = "AWSPENDING";

/// One rotation of a secret. Each step may be repeated.
#[derive(Debug)]
pub struct Rotation<'s, T> {
    secret: &'s Secret<T>,
    /// The id of the new version.
    token: String,
}

/// The stage of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Secrets Manager does not know the rotation, or its version is neither pending nor current.
    Unknown,
    /// The rotation has begun and has not ended.
    Pending,
    /// The rotation has ended: the new version is the current one.
    Finished,
}

impl<'s, T: SecretContent> Rotation<'s, T> {
    /// The rotation that makes the version `token`, which is the event's `ClientRequestToken`.
    pub fn new(secret: &'s Secret<T>, token: String) -> Self {
        Self { secret, token }
    }

    /// The stage of this rotation.
    pub async fn stage(&self) -> Result<Stage, SecretError> {
        let described = self.secret.client.describe_secret().secret_id(&*self.secret.id).send().await;
        let described = described.map_err(|error| self.secret.unavailable(aws::failure(&error)))?;
        let stages = described.version_ids_to_stages().and_then(|versions| versions.get(&self.token));
        Ok(match stages {
            None => Stage::Unknown,
            Some(stages) if stages.iter().any(|stage| stage == PENDING) => Stage::Pending,
            Some(stages) if stages.iter().any(|stage| stage == CURRENT) => Stage::Finished,
            Some(_) => Stage::Unknown,
        })
    }

    /// The new version, if it has been made.
    pub async fn pending(&self) -> Result<Option<Version<T>>, SecretError> {
        self.secret.read_stage(PENDING).await.map(|version| version.filter(|version| version.id == self.token))
    }

    /// Makes the new version.
    pub async fn make(&self, value: &SecretString) -> Result<(), SecretError> {
        let put = self.secret.client.put_secret_value().secret_id(&*self.secret.id).client_request_token(&self.token);
        let put = put.version_stages(PENDING).secret_string(value.expose_secret());
        put.send().await.map_err(|error| self.secret.unavailable(aws::failure(&error)))?;
        Ok(())
    }

    /// Makes the new version the current one, in place of `current`.
    pub async fn finish(&self, current: &Version<T>) -> Result<(), SecretError> {
        let update =
            self.secret.client.update_secret_version_stage().secret_id(&*self.secret.id).version_stage(CURRENT);
        let update = update.move_to_version_id(&self.token).remove_from_version_id(&current.id);
        update.send().await.map_err(|error| self.secret.unavailable(aws::failure(&error)))?;
        Ok(())
    }

    /// Removes the label `AWSPENDING`, whether or not the new version is the current one. A later edit can leave the label on a
    /// version that is not current. Secrets Manager would then not begin another rotation
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html>).
    pub async fn end(&self) -> Result<(), SecretError> {
        let update =
            self.secret.client.update_secret_version_stage().secret_id(&*self.secret.id).version_stage(PENDING);
        let update = update.remove_from_version_id(&self.token);
        update.send().await.map_err(|error| self.secret.unavailable(aws::failure(&error)))?;
        Ok(())
    }
}
