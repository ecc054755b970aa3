//! A channel that another system registered, an Aisera tenant for example: `adopt` points its webhook at us, `release` puts
//! the former URL and version back. Nothing is created, renamed or deleted.
//!
//! The former URL is stored before the webhook is changed, so that `release` restores it also after an interruption at any
//! call.

use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::contact_center::registration::{Channel, Webhook};
use shared::contact_center::saved::{FormerWebhook, Registration, SavedChannel};

use crate::operation::{AdoptionParams, checked, given, host};
use crate::{Error, RegisterChannel};

impl RegisterChannel {
    pub(crate) async fn adopt(&self, params: AdoptionParams) -> Result<Value, Error> {
        let saved = self.read_saved().await?;
        let registered = match &saved.content {
            SavedChannel::Empty => None,
            SavedChannel::Registered(registered)
                if registered.adopted.is_some() && registered.channel_id == params.channel_id =>
            {
                Some(registered)
            }
            SavedChannel::Registered(registered) if registered.adopted.is_some() => return Err(Error::Adopted),
            SavedChannel::Registered(_) | SavedChannel::Creating(_) => return Err(Error::Registered),
        };
        let (channel, webhook) = self.adoptable(&params).await?;
        if registered.is_some_and(|registered| registered.webhook_id != webhook.id) {
            // The channel was moved to another webhook meanwhile: the former one still has to be given back.
            return Err(Error::Adopted);
        }
        let saved_url = registered.map(|registered| registered.callback_url.clone());
        let callback_url = checked(params.callback_url.or(saved_url).unwrap_or_else(|| self.callback_url.clone()))?;
        let former = match registered.and_then(|registered| registered.adopted.clone()) {
            Some(former) if self.owns(&saved.content, &webhook.uri) => former,
            // It calls us already: its former URL is unknown.
            None if webhook.uri == callback_url || self.owns(&saved.content, &webhook.uri) => {
                FormerWebhook { uri: None, version: webhook.version.clone() }
            }
            Some(_) | None => FormerWebhook { uri: Some(webhook.uri.clone()), version: webhook.version.clone() },
        };
        let adopted = Registration {
            channel_id: channel.id,
            webhook_id: webhook.id.clone(),
            queue_id: channel.queue_id,
            callback_url: callback_url.clone(),
            pending_callback_url: None,
            adopted: Some(former),
            registered_at: 0,
        };
        if self.is_current(&webhook, &callback_url) {
            return self.save(&saved, adopted, &[]).await;
        }
        // A callback URL of an earlier adoption stays known until the webhook has left it.
        let pending_callback_url = registered.map(|registered| registered.callback_url.clone());
        let announced = Registration {
            pending_callback_url: pending_callback_url.filter(|url| *url != callback_url),
            ..adopted.clone()
        };
        self.replace(&saved, &SavedChannel::Registered(announced.registered_at(UnixTime::now()))).await?;
        let announced = self.read_saved().await?;
        let version = self.contact_center.webhook_version();
        match self.contact_center.update_webhook(&webhook.id, &webhook.name, &callback_url, version).await {
            Ok(()) => self.save(&announced, adopted, &["webhook adopted"]).await,
            Err(error) => {
                if !error.is_ambiguous() {
                    // The webhook is as it was.
                    self.replace(&announced, &saved.content).await?;
                }
                Err(error.into())
            }
        }
    }

    /// The channel and its webhook, if they may be adopted.
    ///
    /// # Errors
    /// One of them does not exist, or other channels use the webhook.
    pub(crate) async fn adoptable(&self, params: &AdoptionParams) -> Result<(Channel, Webhook), Error> {
        let channel_id = given(params.channel_id.clone()).ok_or(Error::NoChannel)?;
        let channel = self.contact_center.channel(&channel_id).await?;
        let channel = channel.ok_or(Error::UnknownChannel(channel_id))?;
        let webhook = self.contact_center.webhook(&channel.webhook_id).await?.ok_or(Error::Gone("webhook"))?;
        if !params.shared {
            let others = self.contact_center.other_channels_of(&webhook.id, &channel.id).await?;
            if !others.is_empty() {
                return Err(Error::Shared { webhook: webhook.name, channels: others.join("`, `") });
            }
        }
        Ok((channel, webhook))
    }

    pub(crate) async fn release(&self) -> Result<Value, Error> {
        let saved = self.read_saved().await?;
        let registered = saved.content.registration().ok_or(Error::NotAdopted)?;
        let former = registered.adopted.as_ref().ok_or(Error::NotAdopted)?;
        let mut changes = Vec::new();
        match self.contact_center.webhook(&registered.webhook_id).await? {
            Some(webhook) if !self.owns(&saved.content, &webhook.uri) => {
                tracing::warn!(host = host(&webhook.uri), "left alone: the webhook calls an address that is not ours");
            }
            Some(webhook) => {
                if let Some(uri) = &former.uri {
                    let version = former.version.as_deref().unwrap_or(self.contact_center.webhook_version());
                    self.contact_center.update_webhook(&webhook.id, &webhook.name, uri, version).await?;
                    changes.push("webhook released");
                }
            }
            None => tracing::warn!(webhook_id = registered.webhook_id, "the adopted webhook does not exist any more"),
        }
        self.replace(&saved, &SavedChannel::Empty).await?;
        tracing::info!(?changes, "released");
        Ok(json!({
            "channel_id": registered.channel_id,
            "webhook_id": registered.webhook_id,
            "callback_url": former.uri,
            "changes": changes,
        }))
    }
}
