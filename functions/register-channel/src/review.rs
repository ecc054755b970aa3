//! `review`: compares what is at 8x8 with what is saved.

use serde::Serialize;
use serde_json::{Value, json};
use shared::contact_center::registration::{Channel, Webhook};
use shared::contact_center::saved::Registration;
use shared::telemetry;

use crate::{Error, RegisterChannel};

/// A field that is not as it was registered.
#[derive(Debug, Serialize)]
struct Difference<'a> {
    field: &'static str,
    expected: &'a str,
    actual: Option<&'a str>,
}

impl RegisterChannel {
    pub(crate) async fn review(&self) -> Result<Value, Error> {
        let saved = self.read_saved().await?;
        let Some(registered) = saved.content.registration() else {
            return Ok(json!({ "in_sync": false, "differences": [], "registered": false }));
        };
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

    /// Names and queue of an adopted channel belong to the one who registered it and are not compared.
    fn differences<'a>(
        &'a self,
        saved: &'a Registration,
        webhook: Option<&'a Webhook>,
        channel: Option<&'a Channel>,
    ) -> Vec<Difference<'a>> {
        let version = self.contact_center.webhook_version();
        let is_adopted = saved.adopted.is_some();
        let mut fields = vec![("webhook_id", &*saved.webhook_id, webhook.map(|webhook| &*webhook.id))];
        if let Some(webhook) = webhook {
            if !is_adopted {
                fields.push(("webhook_name", &self.name, Some(&webhook.name)));
            }
            fields.push(("callback_url", &saved.callback_url, Some(&webhook.uri)));
            fields.push(("webhook_version", version, Some(webhook.version.as_deref().unwrap_or(version))));
        }
        fields.push(("channel_id", &saved.channel_id, channel.map(|channel| &*channel.id)));
        if let Some(channel) = channel {
            fields.push(("channel_webhook_id", &saved.webhook_id, Some(&channel.webhook_id)));
            if !is_adopted {
                fields.push(("channel_name", &self.name, Some(&channel.name)));
                if let Some(queue_id) = &saved.queue_id {
                    fields.push(("queue_id", queue_id, channel.queue_id.as_deref()));
                }
            }
        }
        let differs = fields.into_iter().filter(|(_, expected, actual)| Some(*expected) != *actual);
        differs.map(|(field, expected, actual)| Difference { field, expected, actual }).collect()
    }
}
