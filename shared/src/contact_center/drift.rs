//! Drift: the fields in which the registration at 8x8 differs from what was registered.

use serde::Serialize;

use super::registration::{Channel, Webhook};
use super::saved::Registration;

/// A field that differs from what was registered.
#[derive(Debug, Serialize)]
pub struct Difference<'a> {
    /// Its name: `callback_url`.
    pub field: &'static str,
    /// The value that was registered.
    pub expected: &'a str,
    /// The value at 8x8; `None` if the object does not exist there.
    pub actual: Option<&'a str>,
}

impl Registration {
    /// The fields in which the webhook at 8x8 differs. `name` and `version` are the values that we register. The name of an
    /// adopted webhook belongs to the system that registered it and is not compared.
    pub fn webhook_differences<'a>(
        &'a self,
        name: &'a str,
        version: &'a str,
        webhook: Option<&'a Webhook>,
    ) -> Vec<Difference<'a>> {
        let mut fields = vec![("webhook_id", &*self.webhook_id, webhook.map(|webhook| &*webhook.id))];
        if let Some(webhook) = webhook {
            if self.adopted.is_none() {
                fields.push(("webhook_name", name, Some(&webhook.name)));
            }
            fields.push(("callback_url", &self.callback_url, Some(&webhook.uri)));
            fields.push(("webhook_version", version, Some(webhook.version.as_deref().unwrap_or(version))));
        }
        differing(fields)
    }

    /// The fields in which the channel at 8x8 differs. Name and queue of an adopted channel are not compared.
    pub fn channel_differences<'a>(&'a self, name: &'a str, channel: Option<&'a Channel>) -> Vec<Difference<'a>> {
        let mut fields = vec![("channel_id", &*self.channel_id, channel.map(|channel| &*channel.id))];
        if let Some(channel) = channel {
            fields.push(("channel_webhook_id", &self.webhook_id, Some(&channel.webhook_id)));
            if self.adopted.is_none() {
                fields.push(("channel_name", name, Some(&channel.name)));
                if let Some(queue_id) = &self.queue_id {
                    fields.push(("queue_id", queue_id, channel.queue_id.as_deref()));
                }
            }
        }
        differing(fields)
    }
}

fn differing<'a>(fields: Vec<(&'static str, &'a str, Option<&'a str>)>) -> Vec<Difference<'a>> {
    let differs = fields.into_iter().filter(|(_, expected, actual)| Some(*expected) != *actual);
    differs.map(|(field, expected, actual)| Difference { field, expected, actual }).collect()
}
