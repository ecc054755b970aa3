//! Webhooks and channels: the operations of the API, and an administrator's changes in 8x8's console.

use std::time::Instant;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::api::{Body, Call, Outcome, json_body, ok};
use crate::problem::Problem;
use crate::schema::Object;
use crate::{ContactCenter, ContactCenterApi, QUEUES};

/// A URL to which events are sent.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) name: String,
    pub(crate) uri: String,
    pub(crate) version: String,
}

/// A channel, on which conversations are opened.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) webhook_id: String,
    pub(crate) queue_id: String,
}

pub(crate) fn invalid_webhook(id: &str) -> Problem {
    Problem::bad_request("invalid_webhook", &format!("WebHook ID {id} is invalid."))
}

impl ContactCenter {
    /// Responds to an operation whose path lies below `webhooks`, or `web-hooks` in the older API.
    pub(crate) async fn webhooks(&self, call: &Call<'_>, method: &str, path: &[&str]) -> Outcome {
        match (method, path) {
            ("GET", []) => {
                let state = self.state();
                let all = state.webhooks.iter().map(|(id, webhook)| self.show_webhook(id, webhook)).collect();
                self.list("webhooks", all, call.query)
            }
            ("POST", []) => self.create_webhook(call).await,
            ("POST", ["verify"]) => {
                let body = json_body(call)?;
                let body = Object::of(&body, "body")?;
                let version = body.required_one_of("version", self.versions())?;
                self.verify(body.uri("uri")?, version).await?;
                Ok((StatusCode::NO_CONTENT, Body::Empty))
            }
            ("GET", [id]) => {
                let state = self.state();
                let webhook = state.webhooks.get(*id).ok_or_else(|| Problem::not_found("WebHook", id))?;
                ok(self.show_webhook(id, webhook))
            }
            ("PUT", [id]) => {
                let webhook = self.webhook_from(&json_body(call)?)?;
                let mut state = self.state();
                *state.webhooks.get_mut(*id).ok_or_else(|| Problem::not_found("WebHook", id))? = webhook.clone();
                ok(self.show_webhook(id, &webhook))
            }
            ("DELETE", [id]) => self.delete_webhook(id),
            (_, path) => Err(Problem::not_found("path", &format!("webhooks/{}", path.join("/")))),
        }
    }

    /// Responds to an operation whose path lies below `channels`.
    pub(crate) fn channels(&self, call: &Call<'_>, method: &str, path: &[&str]) -> Outcome {
        match (method, path) {
            ("GET", []) => {
                let state = self.state();
                let all = state.channels.iter().map(|(id, channel)| self.show_channel(id, channel)).collect();
                self.list("channels", all, call.query)
            }
            ("POST", []) => {
                let channel = self.channel_from(&json_body(call)?)?;
                let id = simulation::id::base64();
                let response = self.show_channel(&id, &channel);
                self.state().channels.insert(id, channel);
                ok(response)
            }
            ("GET", [id]) => {
                let state = self.state();
                let channel = state.channels.get(*id).ok_or_else(|| Problem::not_found("Channel", id))?;
                ok(self.show_channel(id, channel))
            }
            ("PUT", [id]) => {
                let channel = self.channel_from(&json_body(call)?)?;
                let mut state = self.state();
                *state.channels.get_mut(*id).ok_or_else(|| Problem::not_found("Channel", id))? = channel.clone();
                ok(self.show_channel(id, &channel))
            }
            ("DELETE", [id]) => {
                let removed = self.state().channels.remove(*id);
                removed.map(|_| (StatusCode::NO_CONTENT, Body::Empty)).ok_or_else(|| Problem::not_found("Channel", id))
            }
            (_, path) => Err(Problem::not_found("path", &format!("channels/{}", path.join("/")))),
        }
    }

    async fn create_webhook(&self, call: &Call<'_>) -> Outcome {
        let webhook = self.webhook_from(&json_body(call)?)?;
        self.verify(&webhook.uri, &webhook.version).await?;
        let id = simulation::id::base64();
        let response = self.show_webhook(&id, &webhook);
        self.state().webhooks.insert(id, webhook);
        ok(response)
    }

    /// Sends WEB_HOOK_VERIFY without a signature: whether 8x8 signs it is not documented.
    async fn verify(&self, uri: &str, version: &str) -> Result<(), Problem> {
        let body = json!({ "notificationVersion": version, "eventType": "WEB_HOOK_VERIFY" }).to_string();
        let started = Instant::now();
        let status = self.client.post(uri, [("content-type", "application/json")], body).await;
        let shown = status.map_or("no response".to_owned(), |status| status.as_u16().to_string());
        self.journal.hop("8x8", self.settings.clients.webhook, "WEB_HOOK_VERIFY", &shown, Some(started.elapsed()));
        if status.is_some_and(|status| status.is_success()) {
            return Ok(());
        }
        let message = format!("The webhook {uri} did not answer with a 2xx status code.");
        Err(Problem::bad_request("invalid_webhook", &message))
    }

    fn delete_webhook(&self, id: &str) -> Outcome {
        let mut state = self.state();
        if state.channels.values().any(|channel| channel.webhook_id == id) {
            return Err(Problem::bad_request("webhook_in_use", "A channel uses this webhook."));
        }
        let removed = state.webhooks.remove(id);
        removed.map(|_| (StatusCode::NO_CONTENT, Body::Empty)).ok_or_else(|| Problem::not_found("WebHook", id))
    }

    /// The versions of events.
    fn versions(&self) -> &'static [&'static str] {
        match self.settings.api {
            ContactCenterApi::ChatGatewayV1 => &["Chat Gateway v1.0"],
            ContactCenterApi::ChatApiV2 => &["v1.0", "v2.0"],
        }
    }

    fn webhook_from(&self, body: &Value) -> Result<Webhook, Problem> {
        let body = Object::of(body, "body")?;
        body.one_of("version", self.versions())?;
        Ok(Webhook {
            name: body.required("name", 255)?.to_owned(),
            uri: body.uri("uri")?.to_owned(),
            version: body.required("notificationVersion", usize::MAX)?.to_owned(),
        })
    }

    fn channel_from(&self, body: &Value) -> Result<Channel, Problem> {
        let body = Object::of(body, "body")?;
        let name = body.required("name", 255)?.to_owned();
        if body.optional("type", 25)?.is_some_and(|kind| kind != "ChatAPI") {
            return Err(Problem::constraint("type", "Only ChatAPI channels can be created."));
        }
        let webhook_id = body.required("webHookId", usize::MAX)?.to_owned();
        let routing = body.object("routingOptions")?;
        if routing.one_of("type", &["queue"])?.is_none() {
            return Err(Problem::constraint("routingOptions.type", "May not be empty."));
        }
        let queue_id = routing.required("id", usize::MAX)?.to_owned();
        if !self.state().webhooks.contains_key(&webhook_id) {
            return Err(invalid_webhook(&webhook_id));
        }
        if !QUEUES.iter().any(|(id, _)| *id == queue_id) {
            return Err(Problem::bad_request("invalid_queue", &format!("Queue ID {queue_id} is invalid.")));
        }
        Ok(Channel { name, webhook_id, queue_id })
    }

    pub(crate) fn show_webhook(&self, id: &str, webhook: &Webhook) -> Value {
        json!({ "id": id, "name": webhook.name, "uri": webhook.uri, "version": webhook.version })
    }

    pub(crate) fn show_channel(&self, id: &str, channel: &Channel) -> Value {
        let routing = json!({ "type": "queue", "id": channel.queue_id });
        let mut shown =
            json!({ "id": id, "name": channel.name, "webHookId": channel.webhook_id, "routingOptions": routing });
        if self.settings.api == ContactCenterApi::ChatGatewayV1 {
            shown["type"] = "ChatAPI".into();
        }
        shown
    }

    /// The webhooks and channels that exist, as the API shows them.
    pub fn registered(&self) -> (Vec<Value>, Vec<Value>) {
        let state = self.state();
        let webhooks = state.webhooks.iter().map(|(id, webhook)| self.show_webhook(id, webhook)).collect();
        let channels = state.channels.iter().map(|(id, channel)| self.show_channel(id, channel)).collect();
        (webhooks, channels)
    }

    /// Removes a webhook or channel outside the API, as an administrator in the console may.
    pub fn remove(&self, id: &str) {
        let mut state = self.state();
        state.webhooks.remove(id);
        state.channels.remove(id);
    }

    /// Adds a channel outside the API, to make lists longer than a page. The channel gets the first of the webhooks.
    pub fn add_channel(&self, name: &str) {
        let mut state = self.state();
        let webhook_id = state.webhooks.keys().next().cloned().unwrap_or_default();
        let channel = Channel { name: name.to_owned(), webhook_id, queue_id: "101".to_owned() };
        state.channels.insert(simulation::id::base64(), channel);
    }

    /// Adds a webhook and a channel as if another system had registered them, and returns their ids.
    pub fn add_foreign(&self, name: &str, uri: &str) -> (String, String) {
        let (webhook_id, channel_id) = (simulation::id::base64(), simulation::id::base64());
        let version = match self.settings.api {
            ContactCenterApi::ChatGatewayV1 => "Chat Gateway v1.0",
            ContactCenterApi::ChatApiV2 => "v1.0",
        };
        let webhook = Webhook { name: name.to_owned(), uri: uri.to_owned(), version: version.to_owned() };
        let channel = Channel { name: name.to_owned(), webhook_id: webhook_id.clone(), queue_id: "102".to_owned() };
        let mut state = self.state();
        state.webhooks.insert(webhook_id.clone(), webhook);
        state.channels.insert(channel_id.clone(), channel);
        (webhook_id, channel_id)
    }

    /// Points a channel to another webhook, as an administrator in the console may.
    pub fn move_channel(&self, channel_id: &str, webhook_id: &str) {
        if let Some(channel) = self.state().channels.get_mut(channel_id) {
            channel.webhook_id = webhook_id.to_owned();
        }
    }

    /// Points a webhook to another URL, as an administrator in the console may.
    pub fn repoint(&self, webhook_id: &str, uri: &str) {
        if let Some(webhook) = self.state().webhooks.get_mut(webhook_id) {
            webhook.uri = uri.to_owned();
        }
    }

    /// Renames a webhook or channel, as an administrator in the console may.
    pub fn rename(&self, id: &str, name: &str) {
        let mut state = self.state();
        if let Some(webhook) = state.webhooks.get_mut(id) {
            webhook.name = name.to_owned();
        }
        if let Some(channel) = state.channels.get_mut(id) {
            channel.name = name.to_owned();
        }
    }

    /// Routes a channel to another queue outside the API.
    pub fn reroute(&self, channel_id: &str, queue_id: &str) {
        if let Some(channel) = self.state().channels.get_mut(channel_id) {
            channel.queue_id = queue_id.to_owned();
        }
    }
}
