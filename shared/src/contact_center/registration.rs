//! Webhooks and channels: what has to exist at 8x8 so that its events reach us. Both dialects.

use http::Method;
use serde_json::{Value, json};

use super::client::{ContactCenter, ContactCenterError, found};
use crate::config::ContactCenterApi;

/// As many as fit on a page of a few dozen kilobytes.
const PAGE_SIZE: usize = 100;

/// No contact center has ten thousand webhooks; a server that never ends its list must not hold us for ever.
const PAGES: usize = 100;

/// Where 8x8 posts events to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// 8x8's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The URL that is called.
    pub uri: String,
    /// The dialect of the events; 8x8 may leave it out.
    pub version: Option<String>,
}

/// What a bot opens conversations on, and where they are routed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// 8x8's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The webhook that gets its events.
    pub webhook_id: String,
    /// The queue whose agents take its conversations.
    pub queue_id: String,
}

impl ContactCenter {
    /// The webhook of that name, if there is one; the first one if there are several.
    pub async fn find_webhook(&self, name: &str) -> Result<Option<Webhook>, ContactCenterError> {
        let call = "list the webhooks";
        self.find(call, self.webhooks(), name, parse_webhook).await
    }

    /// The webhook of that id.
    pub async fn webhook(&self, id: &str) -> Result<Option<Webhook>, ContactCenterError> {
        let call = "show the webhook";
        let webhook = found(self.call(call, Method::GET, &[self.webhooks(), id], &[], None).await)?;
        webhook.map(|webhook| usable(call, parse_webhook(&webhook))).transpose()
    }

    /// Creates a webhook. 8x8 calls `uri` with a `WEB_HOOK_VERIFY` before it answers.
    pub async fn create_webhook(&self, name: &str, uri: &str) -> Result<Webhook, ContactCenterError> {
        let call = "create the webhook";
        let body = self.webhook_body(name, uri);
        let webhook = self.call(call, Method::POST, &[self.webhooks()], &[], Some(&body)).await?;
        usable(call, parse_webhook(&webhook))
    }

    /// Replaces a webhook's name, URL and version.
    pub async fn update_webhook(&self, id: &str, name: &str, uri: &str) -> Result<(), ContactCenterError> {
        let body = self.webhook_body(name, uri);
        self.call("update the webhook", Method::PUT, &[self.webhooks(), id], &[], Some(&body)).await.map(drop)
    }

    /// Deletes a webhook; `false` if it was gone already.
    pub async fn delete_webhook(&self, id: &str) -> Result<bool, ContactCenterError> {
        let deleted = self.call("delete the webhook", Method::DELETE, &[self.webhooks(), id], &[], None).await;
        Ok(found(deleted)?.is_some())
    }

    /// The channel of that name, if there is one; the first one if there are several.
    pub async fn find_channel(&self, name: &str) -> Result<Option<Channel>, ContactCenterError> {
        let call = "list the channels";
        self.find(call, CHANNELS, name, parse_channel).await
    }

    /// The channel of that id.
    pub async fn channel(&self, id: &str) -> Result<Option<Channel>, ContactCenterError> {
        let call = "show the channel";
        let channel = found(self.call(call, Method::GET, &[CHANNELS, id], &[], None).await)?;
        channel.map(|channel| usable(call, parse_channel(&channel))).transpose()
    }

    /// Creates a channel whose conversations go to that queue and whose events go to that webhook.
    pub async fn create_channel(
        &self,
        name: &str,
        webhook_id: &str,
        queue_id: &str,
    ) -> Result<Channel, ContactCenterError> {
        let call = "create the channel";
        let body = self.channel_body(name, webhook_id, queue_id);
        let channel = self.call(call, Method::POST, &[CHANNELS], &[], Some(&body)).await?;
        usable(call, parse_channel(&channel))
    }

    /// Replaces a channel's name, webhook and queue.
    pub async fn update_channel(
        &self,
        id: &str,
        name: &str,
        webhook_id: &str,
        queue_id: &str,
    ) -> Result<(), ContactCenterError> {
        let body = self.channel_body(name, webhook_id, queue_id);
        self.call("update the channel", Method::PUT, &[CHANNELS, id], &[], Some(&body)).await.map(drop)
    }

    /// Deletes a channel; `false` if it was gone already.
    pub async fn delete_channel(&self, id: &str) -> Result<bool, ContactCenterError> {
        let deleted = self.call("delete the channel", Method::DELETE, &[CHANNELS, id], &[], None).await;
        Ok(found(deleted)?.is_some())
    }

    /// The version of events that our webhooks ask for.
    pub fn webhook_version(&self) -> &'static str {
        match self.api() {
            ContactCenterApi::ChatGatewayV1 => "Chat Gateway v1.0",
            ContactCenterApi::ChatApiV2 => "v2.0",
        }
    }

    fn webhooks(&self) -> &'static str {
        match self.api() {
            ContactCenterApi::ChatGatewayV1 => "webhooks",
            ContactCenterApi::ChatApiV2 => "web-hooks",
        }
    }

    /// The schema requires `notificationVersion` and defines `version`: send both.
    fn webhook_body(&self, name: &str, uri: &str) -> Value {
        let version = self.webhook_version();
        json!({ "name": name, "uri": uri, "version": version, "notificationVersion": version })
    }

    fn channel_body(&self, name: &str, webhook_id: &str, queue_id: &str) -> Value {
        let routing = json!({ "type": "queue", "id": queue_id });
        match self.api() {
            ContactCenterApi::ChatGatewayV1 => {
                json!({ "name": name, "type": "ChatAPI", "webHookId": webhook_id, "routingOptions": routing })
            }
            ContactCenterApi::ChatApiV2 => json!({ "name": name, "webHookId": webhook_id, "routingOptions": routing }),
        }
    }

    /// Goes through all pages. 8x8's filter language is left alone: the older API lacks it for webhooks, and a name that
    /// it would read as an operator must not lead to a second webhook.
    async fn find<T>(
        &self,
        call: &'static str,
        collection: &str,
        name: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ContactCenterError> {
        for page in 0..PAGES {
            let query = [("size", &*PAGE_SIZE.to_string()), ("page", &*page.to_string())];
            // 8x8 documents 404 for a list too: there is nothing yet.
            let Some(list) = found(self.call(call, Method::GET, &[collection], &query, None).await)? else {
                return Ok(None);
            };
            let items = items(&list);
            if let Some(item) = items.iter().find(|item| text(item, &["name"]).as_deref() == Some(name)) {
                return usable(call, parse(item)).map(Some);
            }
            let pages = ["/page/totalPages", "/page/pageCount"].iter().find_map(|path| list.pointer(path)?.as_u64());
            let more = pages.map_or(items.len() == PAGE_SIZE, |pages| (page as u64) + 1 < pages);
            if !more || items.is_empty() {
                return Ok(None);
            }
        }
        Err(ContactCenterError::Unusable { call, reason: "it has no end" })
    }
}

const CHANNELS: &str = "channels";

fn usable<T>(call: &'static str, parsed: Option<T>) -> Result<T, ContactCenterError> {
    parsed.ok_or(ContactCenterError::Unusable { call, reason: "it lacks an id or another field that 8x8 documents" })
}

/// The Gateway's `_embedded.<collection>[]`, which may be missing when empty, or the older API's `data[]`.
fn items(list: &Value) -> &[Value] {
    let embedded = list.get("_embedded").and_then(Value::as_object).and_then(|embedded| embedded.values().next());
    embedded.or_else(|| list.get("data")).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The first of `names` that is there, as text; ids may come as numbers.
fn text(item: &Value, names: &[&str]) -> Option<String> {
    match names.iter().find_map(|name| item.get(name))? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn parse_webhook(item: &Value) -> Option<Webhook> {
    Some(Webhook {
        id: text(item, &["id"])?,
        name: text(item, &["name"])?,
        uri: text(item, &["uri", "url"])?,
        version: text(item, &["notificationVersion", "version"]),
    })
}

fn parse_channel(item: &Value) -> Option<Channel> {
    let routing = item.get("routingOptions").or_else(|| item.get("routingOption"))?;
    Some(Channel {
        id: text(item, &["id"])?,
        name: text(item, &["name"])?,
        webhook_id: text(item, &["webHookId", "webhookId", "webHookID", "webhookID"])?,
        queue_id: text(routing, &["id"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_of_both_dialects_and_none() {
        let item = json!({ "id": 25 });
        assert_eq!(items(&json!({ "_embedded": { "channels": [item] } })), std::slice::from_ref(&item));
        assert_eq!(items(&json!({ "data": [item] })), [item]);
        assert!(items(&json!({ "page": { "totalElements": 0 } })).is_empty());
        assert!(items(&json!([])).is_empty());
    }

    #[test]
    fn reads_other_spellings_and_numbers() {
        let channel =
            json!({ "id": 25, "name": "n", "webhookId": "12", "routingOptions": { "type": "queue", "id": 101 } });
        let expected = Channel { id: "25".into(), name: "n".into(), webhook_id: "12".into(), queue_id: "101".into() };
        assert_eq!(parse_channel(&channel), Some(expected));
        assert_eq!(parse_channel(&json!({ "id": "25", "name": "n" })), None);
        assert_eq!(parse_webhook(&json!({ "name": "n", "uri": "https://a.example" })), None);
    }
}
