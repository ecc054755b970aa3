//! Webhooks and channels: what must exist at 8x8 so that its events reach us. In both dialects.

use http::Method;
use serde_json::{Value, json};

use super::client::{ContactCenter, ContactCenterError, found};
use super::config::ContactCenterApi;

/// The number of items that fit on a page of a few dozen kilobytes.
const PAGE_SIZE: usize = 100;

/// No contact center has ten thousand webhooks. A server whose list never ends must not keep us busy for ever.
const PAGES: usize = 100;

/// The address that 8x8 posts events to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// 8x8's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The URL that 8x8 calls.
    pub uri: String,
    /// The dialect of the events; 8x8 may leave it out.
    pub version: Option<String>,
}

/// A channel: a bot opens conversations on it, and it routes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// 8x8's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The webhook that gets its events.
    pub webhook_id: String,
    /// The queue whose agents get its conversations, if it is routed to a queue.
    pub queue_id: Option<String>,
}

impl ContactCenter {
    /// The webhook of that name, if there is one; the first one if there are several.
    pub async fn find_webhook(&self, name: &str) -> Result<Option<Webhook>, ContactCenterError> {
        let call = "list the webhooks";
        let webhook = named(self.list(call, self.webhooks()).await?, name);
        webhook.map(|webhook| usable(call, parse_webhook(&webhook))).transpose()
    }

    /// The webhook of that id.
    pub async fn webhook(&self, id: &str) -> Result<Option<Webhook>, ContactCenterError> {
        let call = "show the webhook";
        let webhook = found(self.call(call, Method::GET, &[self.webhooks(), id], &[], None).await)?;
        webhook.map(|webhook| usable(call, parse_webhook(&webhook))).transpose()
    }

    /// Creates a webhook. 8x8 calls `uri` with a `WEB_HOOK_VERIFY` before it responds.
    pub async fn create_webhook(&self, name: &str, uri: &str) -> Result<Webhook, ContactCenterError> {
        let call = "create the webhook";
        let body = webhook_body(name, uri, self.webhook_version());
        let webhook = self.call(call, Method::POST, &[self.webhooks()], &[], Some(&body)).await?;
        usable(call, parse_webhook(&webhook))
    }

    /// Replaces a webhook's name, URL and version.
    pub async fn update_webhook(
        &self,
        id: &str,
        name: &str,
        uri: &str,
        version: &str,
    ) -> Result<(), ContactCenterError> {
        let body = webhook_body(name, uri, version);
        self.call("update the webhook", Method::PUT, &[self.webhooks(), id], &[], Some(&body)).await.map(drop)
    }

    /// Deletes a webhook; `false` if the webhook did not exist any more.
    pub async fn delete_webhook(&self, id: &str) -> Result<bool, ContactCenterError> {
        let deleted = self.call("delete the webhook", Method::DELETE, &[self.webhooks(), id], &[], None).await;
        Ok(found(deleted)?.is_some())
    }

    /// The channel of that name, if there is one; the first one if there are several.
    pub async fn find_channel(&self, name: &str) -> Result<Option<Channel>, ContactCenterError> {
        let call = LIST_CHANNELS;
        let channel = named(self.list(call, CHANNELS).await?, name);
        channel.map(|channel| usable(call, parse_channel(&channel))).transpose()
    }

    /// The names of the other channels than `channel_id` whose events go to that webhook too; the id of a channel without a
    /// name.
    pub async fn other_channels_of(
        &self,
        webhook_id: &str,
        channel_id: &str,
    ) -> Result<Vec<String>, ContactCenterError> {
        let channels = self.list(LIST_CHANNELS, CHANNELS).await?;
        // Channels of other types need no webhook, and are not relevant here.
        let others = channels.iter().filter(|channel| {
            text(channel, &WEBHOOK_ID).as_deref() == Some(webhook_id)
                && text(channel, &["id"]).as_deref() != Some(channel_id)
        });
        Ok(others.map(|channel| text(channel, &["name", "id"]).unwrap_or_else(|| "(no name)".to_owned())).collect())
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

    /// Deletes a channel; `false` if the channel did not exist any more.
    pub async fn delete_channel(&self, id: &str) -> Result<bool, ContactCenterError> {
        let deleted = self.call("delete the channel", Method::DELETE, &[CHANNELS, id], &[], None).await;
        Ok(found(deleted)?.is_some())
    }

    /// The version of events with which our webhooks are registered.
    pub fn webhook_version(&self) -> &'static str {
        match self.api() {
            ContactCenterApi::ChatGatewayV1 => "Chat Gateway v1.0",
            ContactCenterApi::ChatApiV2 => "v2.0",
        }
    }

    pub(super) fn webhooks(&self) -> &'static str {
        match self.api() {
            ContactCenterApi::ChatGatewayV1 => "webhooks",
            ContactCenterApi::ChatApiV2 => "web-hooks",
        }
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

    /// All items of a collection, page by page. 8x8's filter language is not used: the older API lacks it for webhooks, and a
    /// name that it would parse as an operator must not lead to a second webhook.
    ///
    /// # Errors
    /// [`ContactCenterError::Unusable`] if a page has none of the known forms, or if 8x8 counts more items than it listed: a
    /// page that is not understood does not count as empty.
    async fn list(&self, call: &'static str, collection: &str) -> Result<Vec<Value>, ContactCenterError> {
        let unusable = |reason| ContactCenterError::Unusable { call, reason };
        let mut all = Vec::new();
        for page in 0..PAGES {
            let query = [("size", &*PAGE_SIZE.to_string()), ("page", &*page.to_string())];
            // 8x8 documents 404 for a list too. On the first page it means that there is nothing yet.
            let Some(list) = found(self.call(call, Method::GET, &[collection], &query, None).await)? else {
                return if page == 0 { Ok(all) } else { Err(unusable("one of its pages is missing")) };
            };
            let items = items(&list, collection).ok_or_else(|| unusable("it is a list of an unknown form"))?;
            let listed = items.len();
            all.extend(items);
            let pages = count(&list, &["/page/totalPages", "/page/pageCount"]);
            let total = count(&list, &["/page/totalElements", "/page/elementCount"]);
            let more = match (pages, total) {
                (Some(pages), _) => page + 1 < pages,
                (None, Some(total)) => all.len() < total && listed > 0,
                (None, None) => list.pointer("/_links/next").is_some_and(|next| !next.is_null()) || listed == PAGE_SIZE,
            };
            if !more {
                return match total {
                    Some(total) if all.len() < total => Err(unusable("it holds fewer items than 8x8 counts")),
                    Some(_) | None => Ok(all),
                };
            }
        }
        Err(unusable("it has no end"))
    }
}

const CHANNELS: &str = "channels";

const LIST_CHANNELS: &str = "list the channels";

/// The spellings of a channel's webhook id that 8x8's documents use.
const WEBHOOK_ID: [&str; 4] = ["webHookId", "webhookId", "webHookID", "webhookID"];

/// The schema requires `notificationVersion` and defines `version`: send both.
fn webhook_body(name: &str, uri: &str, version: &str) -> Value {
    json!({ "name": name, "uri": uri, "version": version, "notificationVersion": version })
}

fn named(items: Vec<Value>, name: &str) -> Option<Value> {
    items.into_iter().find(|item| text(item, &["name"]).as_deref() == Some(name))
}

fn usable<T>(call: &'static str, parsed: Option<T>) -> Result<T, ContactCenterError> {
    parsed.ok_or(ContactCenterError::Unusable { call, reason: "it lacks an id or another field that 8x8 documents" })
}

/// The items of a page: the Gateway's `_embedded.<collection>`, the older API's `data`, or a bare array. HAL allows one object
/// in place of an array. `None` if the page has none of these forms. An empty list may lack both fields if the page's other
/// fields are there (`page` or `_links`).
pub(super) fn items(list: &Value, collection: &str) -> Option<Vec<Value>> {
    let items = match list {
        Value::Array(_) => list,
        Value::Object(fields) => match (fields.get("_embedded"), fields.get("data")) {
            (Some(Value::Object(embedded)), _) => match embedded.get(collection).or_else(|| embedded.values().next()) {
                Some(items) => items,
                None => return Some(Vec::new()),
            },
            (None | Some(Value::Null), Some(data)) => data,
            (None | Some(Value::Null), None) => {
                return (fields.contains_key("page") || fields.contains_key("_links")).then(Vec::new);
            }
            (Some(_), _) => return None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    match items {
        Value::Array(items) => Some(items.clone()),
        Value::Object(_) => Some(vec![items.clone()]),
        Value::Null => Some(Vec::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The first of these fields that is a whole number: `3`, `3.0` or `"3"`.
fn count(list: &Value, pointers: &[&str]) -> Option<usize> {
    let field = pointers.iter().find_map(|pointer| list.pointer(pointer))?;
    let number = field.as_f64().or_else(|| field.as_str()?.trim().parse().ok())?;
    // Far above any count here, and exactly representable as an f64.
    ((0.0..=1e9).contains(&number) && number.fract() == 0.0).then_some(number as usize)
}

/// The first of `names` that exists, as text; ids may be numbers.
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
    let routing = item.get("routingOptions").or_else(|| item.get("routingOption"));
    Some(Channel {
        id: text(item, &["id"])?,
        name: text(item, &["name"])?,
        webhook_id: text(item, &WEBHOOK_ID)?,
        queue_id: routing.filter(|routing| is_queue(routing)).and_then(|routing| text(routing, &["id"])),
    })
}

fn is_queue(routing: &Value) -> bool {
    text(routing, &["type"]).is_none_or(|kind| kind.eq_ignore_ascii_case("queue"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_a_list_and_takes_no_other_for_an_empty_one() {
        let item = json!({ "id": 25 });
        let one = Some(vec![item.clone()]);
        for list in [
            json!({ "_embedded": { "channels": [item] } }),
            json!({ "_embedded": { "channels": item } }),
            json!({ "_embedded": { "others": [], "channels": [item] } }),
            json!({ "_embedded": { "channelList": [item] } }),
            json!({ "data": [item] }),
            json!([item]),
        ] {
            assert_eq!(items(&list, "channels"), one, "{list}");
        }
        for list in [json!({ "page": { "totalElements": 0 } }), json!({ "_embedded": {}, "page": {} }), json!([])] {
            assert_eq!(items(&list, "channels"), Some(vec![]), "{list}");
        }
        for list in [json!({}), json!({ "channels": [item] }), json!({ "_embedded": "x" }), json!("x"), Value::Null] {
            assert_eq!(items(&list, "channels"), None, "{list}");
        }
    }

    #[test]
    fn reads_counts_as_numbers_floats_and_text() {
        for (value, expected) in [
            (json!(3), Some(3)),
            (json!(3.0), Some(3)),
            (json!("3"), Some(3)),
            (json!("3.0"), Some(3)),
            (json!(2.5), None),
            (json!(-1), None),
            (json!("many"), None),
        ] {
            assert_eq!(count(&json!({ "page": { "totalPages": value } }), &["/page/totalPages"]), expected, "{value}");
        }
    }

    #[test]
    fn reads_other_spellings_and_numbers() {
        let channel =
            json!({ "id": 25, "name": "n", "webhookId": "12", "routingOptions": { "type": "queue", "id": 101 } });
        let expected =
            Channel { id: "25".into(), name: "n".into(), webhook_id: "12".into(), queue_id: Some("101".into()) };
        assert_eq!(parse_channel(&channel), Some(expected));
        assert_eq!(parse_channel(&json!({ "id": "25", "name": "n" })), None);
        assert_eq!(parse_webhook(&json!({ "name": "n", "uri": "https://a.example" })), None);
    }
}
