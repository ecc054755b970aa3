//! The four operations.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::config::ExactUrl;
use shared::contact_center::client::ContactCenterError;
use shared::contact_center::registration::{Channel, Webhook};
use shared::contact_center::saved::{Registration, SavedChannel};
use shared::secrets::{Replaced, Version};
use shared::telemetry;

use crate::{Error, RegisterChannel};

/// A direct invoke's payload.
#[derive(Debug, Deserialize)]
#[serde(tag = "operation", rename_all = "lowercase")]
pub(crate) enum Operation {
    Register(Wishes),
    Review,
    Update(Wishes),
    Deregister,
}

/// What the operator wants; what is left out stays as it is.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wishes {
    pub(crate) queue_id: Option<String>,
    pub(crate) callback_url: Option<String>,
}

/// A field that is not as it was registered.
#[derive(Debug, Serialize)]
struct Difference<'a> {
    field: &'static str,
    expected: &'a str,
    actual: Option<&'a str>,
}

impl Operation {
    pub(crate) fn parse(request: &Value) -> Result<Self, Error> {
        Self::deserialize(request).map_err(|_| Error::NotAnOperation)
    }
}

impl RegisterChannel {
    pub(crate) async fn perform(&self, operation: Operation) -> Result<Value, Error> {
        let saved = self.saved.read(UnixTime::now()).await?;
        match operation {
            Operation::Register(wishes) => self.register(&saved, wishes).await,
            Operation::Review => self.review(&saved).await,
            Operation::Update(wishes) => self.update(&saved, wishes).await,
            Operation::Deregister => self.deregister(&saved).await,
        }
    }

    /// Whether the secret remembers a registration.
    pub(crate) async fn is_registered(&self) -> Result<bool, Error> {
        Ok(self.saved.read(UnixTime::now()).await?.content.0.is_some())
    }

    /// Finds or creates the webhook, then the channel, and brings both into the wanted state.
    async fn register(&self, saved: &Version<SavedChannel>, wishes: Wishes) -> Result<Value, Error> {
        let registered = saved.content.0.as_ref();
        let queue_id =
            wishes.queue_id.or_else(|| registered.map(|saved| saved.queue_id.clone())).ok_or(Error::NoQueue)?;
        let callback_url = checked(wishes.callback_url.unwrap_or_else(|| self.callback_url.clone()))?;
        let mut changes = Vec::new();
        let webhook_id = self.ensure_webhook(&callback_url, &mut changes).await?;
        let channel_id = self.ensure_channel(&webhook_id, &queue_id, &mut changes).await?;
        let registration = Registration { channel_id, webhook_id, queue_id, callback_url, registered_at: 0 };
        self.save(saved, registration, &changes).await
    }

    async fn ensure_webhook(&self, uri: &str, changes: &mut Vec<&'static str>) -> Result<String, Error> {
        let name = &self.name;
        match self.contact_center.find_webhook(name).await? {
            Some(webhook) if self.is_current(&webhook, uri) => Ok(webhook.id),
            Some(webhook) => {
                self.contact_center.update_webhook(&webhook.id, name, uri).await?;
                changes.push("webhook updated");
                Ok(webhook.id)
            }
            None => {
                let created = self.contact_center.create_webhook(name, uri).await;
                changes.push("webhook created");
                let found = async || self.contact_center.find_webhook(name).await;
                Ok(settled(created, found).await?.id)
            }
        }
    }

    async fn ensure_channel(
        &self,
        webhook_id: &str,
        queue_id: &str,
        changes: &mut Vec<&'static str>,
    ) -> Result<String, Error> {
        let name = &self.name;
        match self.contact_center.find_channel(name).await? {
            Some(channel) if channel.webhook_id == webhook_id && channel.queue_id == queue_id => Ok(channel.id),
            Some(channel) => {
                self.contact_center.update_channel(&channel.id, name, webhook_id, queue_id).await?;
                changes.push("channel updated");
                Ok(channel.id)
            }
            None => {
                let created = self.contact_center.create_channel(name, webhook_id, queue_id).await;
                changes.push("channel created");
                let found = async || self.contact_center.find_channel(name).await;
                Ok(settled(created, found).await?.id)
            }
        }
    }

    /// Compares what is at 8x8 with what is saved.
    async fn review(&self, saved: &Version<SavedChannel>) -> Result<Value, Error> {
        let registered = saved.content.0.as_ref().ok_or(Error::NotRegistered)?;
        let (webhook, channel) = tokio::try_join!(
            self.contact_center.webhook(&registered.webhook_id),
            self.contact_center.channel(&registered.channel_id),
        )?;
        let differences = self.differences(registered, webhook.as_ref(), channel.as_ref());
        telemetry::channel_reviewed(differences.len());
        if !differences.is_empty() {
            let fields: Vec<_> = differences.iter().map(|difference| difference.field).collect();
            tracing::warn!(?fields, "what is at 8x8 is not what was registered");
        }
        Ok(json!({ "in_sync": differences.is_empty(), "differences": differences }))
    }

    fn differences<'a>(
        &'a self,
        saved: &'a Registration,
        webhook: Option<&'a Webhook>,
        channel: Option<&'a Channel>,
    ) -> Vec<Difference<'a>> {
        let version = self.contact_center.webhook_version();
        let mut fields = vec![("webhook_id", &*saved.webhook_id, webhook.map(|webhook| &*webhook.id))];
        if let Some(webhook) = webhook {
            fields.push(("webhook_name", &self.name, Some(&webhook.name)));
            fields.push(("callback_url", &saved.callback_url, Some(&webhook.uri)));
            fields.push(("webhook_version", version, Some(webhook.version.as_deref().unwrap_or(version))));
        }
        fields.push(("channel_id", &saved.channel_id, channel.map(|channel| &*channel.id)));
        if let Some(channel) = channel {
            fields.push(("channel_name", &self.name, Some(&channel.name)));
            fields.push(("channel_webhook_id", &saved.webhook_id, Some(&channel.webhook_id)));
            fields.push(("queue_id", &saved.queue_id, Some(&channel.queue_id)));
        }
        let differs = fields.into_iter().filter(|(_, expected, actual)| Some(*expected) != *actual);
        differs.map(|(field, expected, actual)| Difference { field, expected, actual }).collect()
    }

    /// Puts a new callback URL or queue in place.
    async fn update(&self, saved: &Version<SavedChannel>, wishes: Wishes) -> Result<Value, Error> {
        let registered = saved.content.0.as_ref().ok_or(Error::NotRegistered)?;
        let Registration { channel_id, webhook_id, .. } = registered.clone();
        let callback_url = checked(wishes.callback_url.unwrap_or_else(|| registered.callback_url.clone()))?;
        let queue_id = wishes.queue_id.unwrap_or_else(|| registered.queue_id.clone());
        let (webhook, channel) =
            tokio::try_join!(self.contact_center.webhook(&webhook_id), self.contact_center.channel(&channel_id))?;
        let (webhook, channel) = (webhook.ok_or(Error::Gone("webhook"))?, channel.ok_or(Error::Gone("channel"))?);
        let mut changes = Vec::new();
        if !self.is_current(&webhook, &callback_url) {
            self.contact_center.update_webhook(&webhook_id, &self.name, &callback_url).await?;
            changes.push("webhook updated");
        }
        if channel.webhook_id != webhook_id || channel.queue_id != queue_id {
            self.contact_center.update_channel(&channel_id, &self.name, &webhook_id, &queue_id).await?;
            changes.push("channel updated");
        }
        let registration = Registration { channel_id, webhook_id, queue_id, callback_url, registered_at: 0 };
        self.save(saved, registration, &changes).await
    }

    /// Removes the channel and the webhook that are saved, or, if a registration was interrupted before it saved anything,
    /// those of our name.
    async fn deregister(&self, saved: &Version<SavedChannel>) -> Result<Value, Error> {
        let Some(registered) = saved.content.0.as_ref() else { return self.remove_by_name(&self.name).await };
        let removed = self.remove(Some(registered.channel_id.clone()), Some(registered.webhook_id.clone())).await?;
        self.replace(saved, &SavedChannel(None)).await?;
        Ok(removed)
    }

    /// Removes the channel and the webhook of that name, if they exist.
    pub(crate) async fn remove_by_name(&self, name: &str) -> Result<Value, Error> {
        let channel_id = self.contact_center.find_channel(name).await?.map(|channel| channel.id);
        let webhook_id = self.contact_center.find_webhook(name).await?.map(|webhook| webhook.id);
        self.remove(channel_id, webhook_id).await
    }

    /// The channel first: it points to the webhook.
    async fn remove(&self, channel_id: Option<String>, webhook_id: Option<String>) -> Result<Value, Error> {
        let mut changes = Vec::new();
        if let Some(channel_id) = &channel_id
            && self.contact_center.delete_channel(channel_id).await?
        {
            changes.push("channel deleted");
        }
        if let Some(webhook_id) = &webhook_id
            && self.contact_center.delete_webhook(webhook_id).await?
        {
            changes.push("webhook deleted");
        }
        tracing::info!(?changes, "deregistered");
        Ok(json!({ "channel_id": channel_id, "webhook_id": webhook_id, "changes": changes }))
    }

    fn is_current(&self, webhook: &Webhook, uri: &str) -> bool {
        let version = self.contact_center.webhook_version();
        webhook.uri == uri && webhook.version.as_deref().unwrap_or(version) == version
    }

    async fn save(
        &self,
        saved: &Version<SavedChannel>,
        registration: Registration,
        changes: &[&'static str],
    ) -> Result<Value, Error> {
        let registration = match &saved.content.0 {
            Some(saved) if saved.same(&registration) => saved.clone(),
            Some(_) | None => {
                let registration = registration.registered_at(UnixTime::now());
                self.replace(saved, &SavedChannel(Some(registration.clone()))).await?;
                registration
            }
        };
        let Registration { channel_id, webhook_id, queue_id, callback_url, registered_at } = registration;
        tracing::info!(channel_id, webhook_id, queue_id, ?changes, "registered");
        Ok(json!({
            "channel_id": channel_id,
            "webhook_id": webhook_id,
            "queue_id": queue_id,
            "callback_url": callback_url,
            "registered_at": registered_at,
            "changes": changes,
        }))
    }

    async fn replace(&self, saved: &Version<SavedChannel>, new: &SavedChannel) -> Result<(), Error> {
        match self.saved.replace(saved, new.to_json()).await? {
            Replaced::Stored => Ok(()),
            Replaced::Superseded => Err(Error::Superseded),
        }
    }
}

/// What was created; or, if 8x8 may have created it without our learning of it, what is found there now. A POST is never
/// sent twice.
async fn settled<T>(
    created: Result<T, ContactCenterError>,
    find: impl AsyncFn() -> Result<Option<T>, ContactCenterError>,
) -> Result<T, ContactCenterError> {
    match created {
        Err(error) if error.is_ambiguous() => find().await?.ok_or(error),
        settled => settled,
    }
}

fn checked(callback_url: String) -> Result<String, Error> {
    ExactUrl::parse(&callback_url).map(|_| callback_url).ok_or(Error::BadCallbackUrl)
}
