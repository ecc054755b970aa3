//! The versions of a secret that were current until recently.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use aws_sdk_secretsmanager::types::SecretVersionsListEntry;

use super::rotation::PENDING;
use super::{CURRENT, PREVIOUS, Secret, SecretContent, SecretError, Version, written_at};
use crate::aws::{self, OPERATION_TIMEOUT};
use crate::clock::UnixTime;

/// A secret now and in the recent past.
#[derive(Debug)]
pub struct History<T> {
    /// The current version.
    pub current: Arc<Version<T>>,
    /// The versions that were replaced recently, newest first.
    pub past: Vec<PastVersion<T>>,
}

/// A version that is no longer current.
#[derive(Debug)]
pub struct PastVersion<T> {
    /// The version.
    pub version: Version<T>,
    /// When the next version was written.
    pub replaced_at: UnixTime,
}

impl<T: SecretContent> Secret<T> {
    /// The secret as it is now, and the versions that were replaced less than `grace` ago.
    ///
    /// The label `AWSPREVIOUS` names one version only. The versions before it have no label. Secrets Manager keeps the newest
    /// hundred, and all that are younger than a day
    /// (<https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html>). They are listed only if the
    /// current version is younger than `grace`; otherwise all others were replaced longer ago than `grace`. All calls together
    /// end within the time-out of one operation, because 8x8 waits for them.
    pub async fn read_history(&self, grace: Duration, now: UnixTime) -> Result<History<T>, SecretError> {
        let read = async {
            let current = self.read(now).await?;
            let is_recent = now.since(current.written_at) < grace;
            let past = if is_recent { self.read_past(&current, grace, now).await? } else { Vec::new() };
            Ok(History { current, past })
        };
        let timed = tokio::time::timeout(OPERATION_TIMEOUT, Box::pin(read)).await;
        timed.unwrap_or_else(|_| Err(self.unavailable("no response in time".to_owned())))
    }

    async fn read_past(
        &self,
        current: &Version<T>,
        grace: Duration,
        now: UnixTime,
    ) -> Result<Vec<PastVersion<T>>, SecretError> {
        let mut listed = self.list_versions().await?;
        listed.sort_by_key(|(_, written_at)| std::cmp::Reverse(*written_at));
        let mut past = Vec::new();
        let (mut replaced_at, mut newer) = (current.written_at, current.written_at);
        for (id, written_at) in listed.into_iter().filter(|(id, _)| *id != current.id) {
            // Versions of the same millisecond have no order, and count as replaced at the same time.
            if written_at < newer {
                (replaced_at, newer) = (newer, written_at);
            }
            if now.since(replaced_at) >= grace {
                break;
            }
            if let Some(version) = self.read_version(&id).await? {
                past.push(PastVersion { version, replaced_at });
            }
        }
        Ok(past)
    }

    /// Id and age of every version, except a version that a rotation has not made current yet.
    async fn list_versions(&self) -> Result<Vec<(String, UnixTime)>, SecretError> {
        let is_pending = |version: &SecretVersionsListEntry| {
            let has = |label: &str| version.version_stages().iter().any(|stage| stage == label);
            // A rotation that crashed at its end leaves the label on a version that was current.
            has(PENDING) && !has(CURRENT) && !has(PREVIOUS)
        };
        let (mut versions, mut next_token) = (Vec::new(), None);
        loop {
            let list = self.client.list_secret_version_ids().secret_id(&*self.id).include_deprecated(true);
            let list = Box::pin(list.set_next_token(next_token).send()).await;
            let page = list.map_err(|error| self.unavailable(aws::failure(&error)))?;
            let listed = page.versions().iter().filter(|version| !is_pending(version));
            versions
                .extend(listed.filter_map(|version| {
                    Some((version.version_id()?.to_owned(), written_at(version.created_date())))
                }));
            // On the last page the token is absent or empty; AWS's own paginators check both.
            next_token = page.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                return Ok(versions);
            }
        }
    }

    /// `None` if the version does not exist any more or is malformed: a mistake that a person has already corrected must not
    /// disable the secret.
    async fn read_version(&self, id: &str) -> Result<Option<Version<T>>, SecretError> {
        let read = self.client.get_secret_value().secret_id(&*self.id).version_id(id);
        match Box::pin(read.send()).await {
            Ok(response) => Ok(Version::read(&self.id, response).ok()),
            Err(error) => match error.as_service_error() {
                Some(GetSecretValueError::ResourceNotFoundException(_)) => Ok(None),
                Some(_) | None => Err(self.unavailable(aws::failure(&error))),
            },
        }
    }
}
