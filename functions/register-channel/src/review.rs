//! `review`: compares what is at 8x8 with what is saved.

use serde_json::{Value, json};
use shared::telemetry;

use crate::{Error, RegisterChannel};

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
        let version = self.contact_center.webhook_version();
        let mut differences = registered.webhook_differences(&self.name, version, webhook.as_ref());
        differences.extend(registered.channel_differences(&self.name, channel.as_ref()));
        telemetry::channel_reviewed(differences.len());
        if !differences.is_empty() {
            let fields: Vec<_> = differences.iter().map(|difference| difference.field).collect();
            tracing::warn!(?fields, "what is at 8x8 is not what was registered");
        }
        Ok(json!({ "in_sync": differences.is_empty(), "differences": differences }))
    }
}
