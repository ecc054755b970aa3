//! Webhook and channel of our own: `register`, `update`, `deregister`.
//!
//! Both have the name `live-agent-<INTEGRATION_NAME>`. The saved ids are looked up first, then the name, so that an
//! interrupted registration is completed by the next one and nothing is created twice.
//!
//! Ownership: a webhook that calls an address which is not ours is never re-pointed or deleted, whatever its name is.
//! Before anything is created, the secret says so: a rollback removes only what was created.

use std::sync::Arc;

use serde_json::{Value, json};
use shared::contact_center::client::ContactCenterError;
use shared::contact_center::registration::{Channel, Webhook};
use shared::contact_center::saved::{Creation, Part, Registration, SavedChannel};
use shared::secrets::Version;

use crate::operation::{RegistrationParams, checked, given, host};
use crate::{Error, RegisterChannel};

impl RegisterChannel {
    /// Finds or creates the webhook, then the channel, and brings both into the wanted state.
    pub(crate) async fn register(&self, params: RegistrationParams) -> Result<Value, Error> {
        let saved = self.read_saved().await?;
        let registered = saved.content.registration();
        if registered.is_some_and(|registered| registered.adopted.is_some()) {
            return Err(Error::Adopted);
        }
        let queue_id = match params.queue_id {
            Some(queue_id) => given(queue_id),
            None => registered.and_then(|registered| registered.queue_id.clone()),
        };
        let queue_id = queue_id.ok_or(Error::NoQueue)?;
        let saved_url = registered.map(|registered| registered.callback_url.clone());
        let callback_url = checked(params.callback_url.or(saved_url).unwrap_or_else(|| self.callback_url.clone()))?;

        let webhook = self.current_webhook(registered).await?;
        let channel = self.current_channel(registered).await?;
        if !params.take_over {
            let content = &saved.content;
            let is_ours = |uri: &str| uri == callback_url || self.owns(content, uri);
            self.refuse_foreign(webhook.as_ref(), channel.as_ref(), registered, is_ours).await?;
        }
        let saved = self.announce(&saved, webhook.as_ref(), channel.as_ref(), &callback_url).await?;
        let mut changes = Vec::new();
        let webhook_id = self.ensure_webhook(webhook, &callback_url, &mut changes).await?;
        let channel_id = self.ensure_channel(channel, &webhook_id, &queue_id, &mut changes).await?;
        let registration = Registration {
            channel_id,
            webhook_id,
            queue_id: Some(queue_id),
            callback_url,
            pending_callback_url: None,
            adopted: None,
            registered_at: 0,
        };
        self.save(&saved, registration, &changes).await
    }

    /// Puts a new callback URL or queue in place.
    pub(crate) async fn update(&self, params: RegistrationParams) -> Result<Value, Error> {
        let saved = self.read_saved().await?;
        let registered = saved.content.registration().ok_or(Error::NotRegistered)?;
        let callback_url = checked(params.callback_url.unwrap_or_else(|| registered.callback_url.clone()))?;
        let queue_id = match params.queue_id {
            Some(_) if registered.adopted.is_some() => return Err(Error::AdoptedQueue),
            Some(queue_id) => Some(given(queue_id).ok_or(Error::NoQueue)?),
            None => registered.queue_id.clone(),
        };
        let (webhook, channel) = tokio::try_join!(
            self.contact_center.webhook(&registered.webhook_id),
            self.contact_center.channel(&registered.channel_id),
        )?;
        let (webhook, channel) = (webhook.ok_or(Error::Gone("webhook"))?, channel.ok_or(Error::Gone("channel"))?);
        if !params.take_over && webhook.uri != callback_url && !self.owns(&saved.content, &webhook.uri) {
            return Err(Error::Foreign { part: "webhook", name: webhook.name, host: host(&webhook.uri) });
        }
        // What another system created keeps its name.
        let name = if registered.adopted.is_some() { webhook.name.clone() } else { self.name.clone() };
        let updated = Registration {
            queue_id,
            callback_url: callback_url.clone(),
            pending_callback_url: None,
            ..registered.clone()
        };
        let saved = self.announce(&saved, Some(&webhook), Some(&channel), &callback_url).await?;
        let mut changes = Vec::new();
        if !self.is_current(&webhook, &callback_url) {
            let version = self.contact_center.webhook_version();
            self.contact_center.update_webhook(&webhook.id, &name, &callback_url, version).await?;
            changes.push("webhook updated");
        }
        if let (None, Some(queue_id)) = (&updated.adopted, &updated.queue_id)
            && (channel.webhook_id != webhook.id || channel.queue_id.as_ref() != Some(queue_id))
        {
            self.contact_center.update_channel(&channel.id, &name, &webhook.id, queue_id).await?;
            changes.push("channel updated");
        }
        self.save(&saved, updated, &changes).await
    }

    /// Removes the channel and the webhook that are saved, or what an interrupted registration has created. What calls an
    /// address that is not ours is left alone.
    pub(crate) async fn deregister(&self) -> Result<Value, Error> {
        let saved = self.read_saved().await?;
        let (channel, webhook) = match &saved.content {
            SavedChannel::Empty => return Ok(json!({ "channel_id": null, "webhook_id": null, "changes": [] })),
            SavedChannel::Registered(registered) if registered.adopted.is_some() => return Err(Error::Adopted),
            SavedChannel::Registered(registered) => self.registered_parts(registered, &saved.content).await?,
            SavedChannel::Creating(creation) => self.created_parts(creation, &saved.content).await?,
        };
        let mut changes = Vec::new();
        // The channel first: it points to the webhook.
        if let Some(channel) = &channel
            && self.contact_center.delete_channel(&channel.id).await?
        {
            changes.push("channel deleted");
        }
        if let Some(webhook) = &webhook
            && self.contact_center.delete_webhook(&webhook.id).await?
        {
            changes.push("webhook deleted");
        }
        self.replace(&saved, &SavedChannel::Empty).await?;
        tracing::info!(?changes, "deregistered");
        let (channel_id, webhook_id) = (channel.map(|channel| channel.id), webhook.map(|webhook| webhook.id));
        Ok(json!({ "channel_id": channel_id, "webhook_id": webhook_id, "changes": changes }))
    }

    /// What of a registration exists and is ours.
    async fn registered_parts(
        &self,
        registered: &Registration,
        saved: &SavedChannel,
    ) -> Result<(Option<Channel>, Option<Webhook>), Error> {
        let (channel, webhook) = tokio::try_join!(
            self.contact_center.channel(&registered.channel_id),
            self.contact_center.webhook(&registered.webhook_id),
        )?;
        // The channel may have been moved to another webhook.
        let target = match &channel {
            Some(channel) if channel.webhook_id != registered.webhook_id => {
                self.contact_center.webhook(&channel.webhook_id).await?
            }
            Some(_) | None => webhook.clone(),
        };
        let is_ours = |webhook: &Webhook| {
            let is_ours = self.owns(saved, &webhook.uri);
            if !is_ours {
                tracing::warn!(host = host(&webhook.uri), "left alone: the webhook calls an address that is not ours");
            }
            is_ours
        };
        let channel = channel.filter(|_| target.as_ref().is_none_or(is_ours));
        Ok((channel, webhook.filter(is_ours)))
    }

    /// What an interrupted registration has created.
    async fn created_parts(
        &self,
        creation: &Creation,
        saved: &SavedChannel,
    ) -> Result<(Option<Channel>, Option<Webhook>), Error> {
        let webhook = self.contact_center.find_webhook(&self.name).await?;
        let Some(webhook) = webhook.filter(|webhook| self.owns(saved, &webhook.uri)) else { return Ok((None, None)) };
        let mut channel = None;
        if creation.creating.contains(&Part::Channel) {
            let found = self.contact_center.find_channel(&self.name).await?;
            channel = found.filter(|channel| channel.webhook_id == webhook.id);
        }
        Ok((channel, Some(webhook).filter(|_| creation.creating.contains(&Part::Webhook))))
    }

    async fn current_webhook(&self, registered: Option<&Registration>) -> Result<Option<Webhook>, ContactCenterError> {
        if let Some(registered) = registered
            && let Some(webhook) = self.contact_center.webhook(&registered.webhook_id).await?
        {
            return Ok(Some(webhook));
        }
        self.contact_center.find_webhook(&self.name).await
    }

    async fn current_channel(&self, registered: Option<&Registration>) -> Result<Option<Channel>, ContactCenterError> {
        if let Some(registered) = registered
            && let Some(channel) = self.contact_center.channel(&registered.channel_id).await?
        {
            return Ok(Some(channel));
        }
        self.contact_center.find_channel(&self.name).await
    }

    async fn refuse_foreign(
        &self,
        webhook: Option<&Webhook>,
        channel: Option<&Channel>,
        registered: Option<&Registration>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        if let Some(webhook) = webhook
            && !is_ours(&webhook.uri)
        {
            return Err(Error::Foreign { part: "webhook", name: webhook.name.clone(), host: host(&webhook.uri) });
        }
        if let Some(channel) = channel
            && registered.is_none_or(|registered| registered.channel_id != channel.id)
            && webhook.is_none_or(|webhook| webhook.id != channel.webhook_id)
            && let Some(target) = self.contact_center.webhook(&channel.webhook_id).await?
            && !is_ours(&target.uri)
        {
            return Err(Error::Foreign { part: "channel", name: channel.name.clone(), host: host(&target.uri) });
        }
        Ok(())
    }

    /// Stores what is about to be created or which URL is about to be put in place.
    async fn announce(
        &self,
        saved: &Arc<Version<SavedChannel>>,
        webhook: Option<&Webhook>,
        channel: Option<&Channel>,
        callback_url: &str,
    ) -> Result<Arc<Version<SavedChannel>>, Error> {
        let next = match &saved.content {
            SavedChannel::Registered(registered) => SavedChannel::Registered(Registration {
                pending_callback_url: (registered.callback_url != callback_url).then(|| callback_url.to_owned()),
                ..registered.clone()
            }),
            SavedChannel::Empty | SavedChannel::Creating(_) => {
                let mut creating = match &saved.content {
                    SavedChannel::Creating(creation) => creation.creating.clone(),
                    SavedChannel::Empty | SavedChannel::Registered(_) => Vec::new(),
                };
                for (part, is_missing) in [(Part::Webhook, webhook.is_none()), (Part::Channel, channel.is_none())] {
                    if is_missing && !creating.contains(&part) {
                        creating.push(part);
                    }
                }
                SavedChannel::Creating(Creation { creating, callback_url: callback_url.to_owned() })
            }
        };
        let is_new = match &next {
            SavedChannel::Creating(creation) => !creation.creating.is_empty() && next != saved.content,
            SavedChannel::Registered(_) | SavedChannel::Empty => next != saved.content,
        };
        if !is_new {
            return Ok(Arc::clone(saved));
        }
        self.replace(saved, &next).await?;
        self.read_saved().await
    }

    async fn ensure_webhook(
        &self,
        webhook: Option<Webhook>,
        uri: &str,
        changes: &mut Vec<&'static str>,
    ) -> Result<String, Error> {
        let name = &self.name;
        match webhook {
            Some(webhook) if webhook.name == *name && self.is_current(&webhook, uri) => Ok(webhook.id),
            Some(webhook) => {
                let version = self.contact_center.webhook_version();
                self.contact_center.update_webhook(&webhook.id, name, uri, version).await?;
                changes.push("webhook updated");
                Ok(webhook.id)
            }
            None => {
                let created = self.contact_center.create_webhook(name, uri).await;
                changes.push("webhook created");
                let found = async || self.contact_center.find_webhook(name).await;
                Ok(or_find_existing(created, found).await?.id)
            }
        }
    }

    async fn ensure_channel(
        &self,
        channel: Option<Channel>,
        webhook_id: &str,
        queue_id: &str,
        changes: &mut Vec<&'static str>,
    ) -> Result<String, Error> {
        let name = &self.name;
        match channel {
            Some(channel)
                if channel.name == *name
                    && channel.webhook_id == webhook_id
                    && channel.queue_id.as_deref() == Some(queue_id) =>
            {
                Ok(channel.id)
            }
            Some(channel) => {
                self.contact_center.update_channel(&channel.id, name, webhook_id, queue_id).await?;
                changes.push("channel updated");
                Ok(channel.id)
            }
            None => {
                let created = self.contact_center.create_channel(name, webhook_id, queue_id).await;
                changes.push("channel created");
                let found = async || self.contact_center.find_channel(name).await;
                Ok(or_find_existing(created, found).await?.id)
            }
        }
    }

    pub(crate) fn is_current(&self, webhook: &Webhook, uri: &str) -> bool {
        let version = self.contact_center.webhook_version();
        webhook.uri == uri && webhook.version.as_deref().unwrap_or(version) == version
    }
}

/// What was created; or, if the outcome is unknown, what is found there now. A POST is never sent twice.
async fn or_find_existing<T>(
    created: Result<T, ContactCenterError>,
    find: impl AsyncFn() -> Result<Option<T>, ContactCenterError>,
) -> Result<T, ContactCenterError> {
    match created {
        Err(error) if error.is_ambiguous() => find().await?.ok_or(error),
        settled => settled,
    }
}
