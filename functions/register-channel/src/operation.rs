//! The operations, as an operator or the daily schedule asks for them.
//!
//! | request | does |
//! |---|---|
//! | `{"operation":"register","queue_id":"101"}` | finds or creates the webhook and the channel `live-agent-<INTEGRATION_NAME>` and brings both into the wanted state. Run twice, it changes nothing; interrupted, the next run completes it. `"take_over":true` changes a webhook or channel of that name even if its URL is not ours |
//! | `{"operation":"adopt","channel_id":"…"}` | takes over a channel that another system registered: saves the URL and version of its webhook and points the webhook to us. Creates and renames nothing. `"shared":true` adopts a webhook that other channels use too |
//! | `{"operation":"release"}` | restores the former URL and version. A webhook that no longer points to us is left alone |
//! | `{"operation":"review"}` | compares what is at 8x8 with what is saved: `{"in_sync":false,"differences":[{"field":"queue_id","expected":"101","actual":"102"}]}` |
//! | `{"operation":"update","callback_url":"https://…"}` | registers another callback URL or `queue_id`. `register` and updates of the stack keep it |
//! | `{"operation":"deregister"}` | removes webhook and channel; what does not exist any more is a success. A webhook whose URL is not ours is left alone |

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::contact_center::saved::{Registration, SavedChannel};
use shared::secrets::{Replaced, Version};
use shared::telemetry;
use shared::url::VerbatimUrl;

use crate::{Error, RegisterChannel};

/// A direct invoke's payload.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "operation", rename_all = "lowercase")]
pub(crate) enum Operation {
    Register(RegistrationParams),
    Adopt(AdoptionParams),
    Release,
    Review,
    Update(RegistrationParams),
    Deregister,
}

/// What the operator wants; what is left out stays as it is.
#[derive(Debug, Default, Clone, Deserialize)]
pub(crate) struct RegistrationParams {
    pub(crate) queue_id: Option<String>,
    pub(crate) callback_url: Option<String>,
    /// Re-point a webhook or a channel of our name even if it calls an address that is not ours.
    #[serde(default)]
    pub(crate) take_over: bool,
}

/// Which channel is to be taken over from the one who registered it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AdoptionParams {
    pub(crate) channel_id: String,
    pub(crate) callback_url: Option<String>,
    /// Adopt the webhook although other channels use it: their events come to us too.
    #[serde(default)]
    pub(crate) shared: bool,
}

impl Operation {
    pub(crate) fn parse(request: &Value) -> Result<Self, Error> {
        Self::deserialize(request).map_err(|_| Error::NotAnOperation)
    }
}

impl RegisterChannel {
    pub(crate) async fn perform(&self, operation: Operation) -> Result<Value, Error> {
        match operation {
            Operation::Register(params) => self.register(params).await,
            Operation::Adopt(params) => self.adopt(params).await,
            Operation::Release => self.release().await,
            Operation::Review => self.review().await,
            Operation::Update(params) => self.update(params).await,
            Operation::Deregister => self.deregister().await,
        }
    }

    pub(crate) async fn read_saved(&self) -> Result<Arc<Version<SavedChannel>>, Error> {
        Ok(self.saved.read(UnixTime::now()).await?)
    }

    /// Whether a webhook that calls `uri` is ours: the URL is saved, or it is this stack's.
    pub(crate) fn owns(&self, saved: &SavedChannel, uri: &str) -> bool {
        uri == self.callback_url || saved.owns(uri)
    }

    /// Stores `registration` unless it is stored already, and gives the response of the operation.
    pub(crate) async fn save(
        &self,
        saved: &Version<SavedChannel>,
        registration: Registration,
        changes: &[&'static str],
    ) -> Result<Value, Error> {
        let registration = match saved.content.registration() {
            Some(saved) if saved.same(&registration) => saved.clone(),
            Some(_) | None => {
                let registration = registration.registered_at(UnixTime::now());
                self.replace(saved, &SavedChannel::Registered(registration.clone())).await?;
                registration
            }
        };
        let Registration { channel_id, webhook_id, queue_id, callback_url, registered_at, .. } = &registration;
        tracing::info!(channel_id, webhook_id, queue_id, ?changes, "registered");
        // What a review found before is repaired.
        telemetry::channel_reviewed(0);
        Ok(json!({
            "channel_id": channel_id,
            "webhook_id": webhook_id,
            "queue_id": queue_id,
            "callback_url": callback_url,
            "registered_at": registered_at,
            "changes": changes,
        }))
    }

    /// # Errors
    /// [`Error::Superseded`] if another process has replaced what was read.
    pub(crate) async fn replace(&self, saved: &Version<SavedChannel>, new: &SavedChannel) -> Result<(), Error> {
        match self.saved.replace(saved, new.to_json()).await? {
            Replaced::Stored => Ok(()),
            Replaced::Superseded => Err(Error::Superseded),
        }
    }
}

/// A text that was given: blank is not a value.
pub(crate) fn given(text: String) -> Option<String> {
    (!text.trim().is_empty()).then_some(text)
}

pub(crate) fn checked(callback_url: String) -> Result<String, Error> {
    VerbatimUrl::parse(&callback_url).map(|_| callback_url).ok_or(Error::BadCallbackUrl)
}

/// The host of a foreign URL: a path or a query may hold a secret.
pub(crate) fn host(uri: &str) -> String {
    reqwest::Url::parse(uri)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_else(|| "(no host)".to_owned())
}
