//! Every operation of the API is answered in the shape that 8x8 documents, in both dialects, and so is every kind of error.

use std::collections::BTreeSet;

use bytes::Bytes;
use contact_center::{ContactCenter, ContactCenterApi, ContactCenterSettings, FailureKind};
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response};
use sandbox::SandboxSettings;
use serde_json::{Value, json};
use simulation::client::Client;

use super::shapes::Shapes;
use crate::support::Stack;

const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"authorType\"\r\n\r\nuser\r\n--b\r\n\
                    Content-Disposition: form-data; name=\"attachment\"; filename=\"a.txt\"\r\n\r\nfile\r\n--b--\r\n";

/// 8x8's API, without the bridge, and what is documented of it.
struct Api {
    stack: Stack,
    origin: String,
    endpoint: String,
    documented: Value,
    shapes: Shapes,
    called: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Api {
    async fn start(api: ContactCenterApi) -> Self {
        let contact_center = ContactCenterSettings { api, ..ContactCenterSettings::default() };
        let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        let origin = stack.contact_center_server.url();
        let endpoint = ContactCenter::endpoint(stack.contact_center.settings(), &origin);
        let documented: Value =
            serde_json::from_str(include_str!("../fixtures/8x8_responses.json")).expect("the fixture is JSON");
        let name = match api {
            ContactCenterApi::ChatGatewayV1 => "Chat Gateway v1",
            ContactCenterApi::ChatApiV2 => "Chat API v2",
        };
        let documented = documented[name].clone();
        let shapes = Shapes::named(&documented["shapes"]);
        Self { stack, origin, endpoint, documented, shapes, called: BTreeSet::new(), wrong: Vec::new() }
    }

    async fn send(&self, method: &str, path: &str, body: &Value, headers: &[(&str, &str)]) -> Response<Bytes> {
        let (url, content_type, body) = match (path, body) {
            ("token", Value::String(form)) => {
                (format!("{}/oauth/v2/token", self.origin), "application/x-www-form-urlencoded", form.clone())
            }
            (path, Value::String(form)) => {
                (format!("{}{path}", self.endpoint), "multipart/form-data; boundary=b", form.clone())
            }
            (path, body) if path.starts_with('/') => {
                (format!("{}{path}", self.origin), "application/json", body.to_string())
            }
            (path, body) => (format!("{}{path}", self.endpoint), "application/json", body.to_string()),
        };
        let method: Method = method.parse().expect("a method");
        let request = Request::builder().method(method).uri(url).header(CONTENT_TYPE, content_type);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Client::new().send(request.body(body.into()).expect("a request")).await.expect("a response")
    }

    /// Calls an operation, named as in the fixture, and compares the response. Returns its body.
    async fn call(&mut self, operation: &str, path: &str, body: Value) -> Value {
        let (method, _) = operation.split_once(' ').expect("method and path");
        let known = self.stack.contact_center.settings().credentials.clone();
        let headers = match operation {
            "POST token" => {
                use base64::Engine;
                let basic = format!("{}:{}", known.api_key, known.api_secret);
                ("authorization", format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(basic)))
            }
            _ => ("x-api-key", known.api_key),
        };
        let response = self.send(method, path, &body, &[(headers.0, &headers.1)]).await;
        let documented = self.documented["operations"][operation].clone();
        assert!(documented.is_object(), "{operation} is not documented");
        let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.to_str().expect("ASCII"));
        let expected = (&documented["status"], documented["type"].as_str());
        if (&json!(response.status().as_u16()), content_type) != expected {
            self.wrong.push(format!("{operation}: {} {content_type:?} {:?}", response.status(), response.body()));
        }
        self.called.insert(operation.to_owned());
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match documented.get("body") {
            Some(shape) => self.wrong.extend(self.shapes.differences(shape, &body, operation)),
            None if content_type.is_none() => {
                let is_empty = response.body().is_empty();
                self.wrong.extend((!is_empty).then(|| format!("{operation} has a body")));
            }
            None => {}
        }
        body
    }

    /// Makes a call that fails, and compares the error.
    async fn fail(&mut self, error: &str, method: &str, path: &str, body: Value, headers: &[(&str, &str)]) {
        let response = self.send(method, path, &body, headers).await;
        let documented = &self.documented["errors"][error];
        assert!(!documented.is_null(), "{error} is not documented");
        assert_eq!(error.split(' ').next(), Some(response.status().as_str()), "{error}: {:?}", response.body());
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json", "{error}");
        let body: Value = serde_json::from_slice(response.body()).expect("an error is JSON");
        self.wrong.extend(self.shapes.differences(documented, &body, error));
        self.called.insert(error.to_owned());
    }

    /// What fails in both dialects.
    async fn fail_in_every_way(&mut self) {
        let key = self.stack.contact_center.settings().credentials.api_key.clone();
        let key = ("x-api-key", key.as_str());
        let creation = json!({ "channelId": "unknown", "user": {}, "customer": {} });
        self.fail("400 a wrong member", "POST", "channels", json!({}), &[key]).await;
        self.fail("400 an unknown id", "POST", "conversations", creation, &[key]).await;
        self.fail("401", "GET", "channels", Value::Null, &[("x-api-key", "wrong")]).await;
        self.fail("403", "GET", "channels", Value::Null, &[key, ("x-8x8-tenant", "another")]).await;
        self.fail("404", "GET", "conversations/unknown", Value::Null, &[key]).await;
        self.stack.contact_center.break_next("GET", "channels", FailureKind::Status500, false);
        self.fail("500", "GET", "channels", Value::Null, &[key]).await;
    }

    /// Registers, changes and lists webhook and channel.
    async fn registrations(&mut self, webhooks: &str, version: &str) -> (String, String) {
        let uri = self.stack.callback_url().to_owned();
        let webhook = json!({ "name": "shapes", "uri": uri, "version": version, "notificationVersion": version });
        let id = text(&self.call(&format!("POST {webhooks}"), webhooks, webhook.clone()).await["id"]);
        let path = format!("{webhooks}/{id}");
        let verification = json!({ "version": version, "uri": uri });
        self.call(&format!("POST {webhooks}/verify"), &format!("{webhooks}/verify"), verification).await;
        self.call(&format!("GET {webhooks}"), webhooks, Value::Null).await;
        self.call(&format!("GET {webhooks}/{{id}}"), &path, Value::Null).await;
        self.call(&format!("PUT {webhooks}/{{id}}"), &path, webhook).await;
        let routing = json!({ "type": "queue", "id": "101" });
        let channel = json!({ "name": "shapes", "type": "ChatAPI", "webHookId": id, "routingOptions": routing });
        let channel_id = text(&self.call("POST channels", "channels", channel.clone()).await["id"]);
        self.call("GET channels", "channels", Value::Null).await;
        self.call("GET channels/{id}", &format!("channels/{channel_id}"), Value::Null).await;
        self.call("PUT channels/{id}", &format!("channels/{channel_id}"), channel).await;
        let key_url = ContactCenter::key_url(self.stack.contact_center.settings(), "");
        let key_path = key_url.replace("{kid}", self.stack.contact_center.signer().key_id());
        self.call("GET jwk/{id}/public", &key_path, Value::Null).await;
        (id, channel_id)
    }

    /// Removes webhook and channel, and asserts that nothing was wrong and nothing was left out.
    async fn finish(mut self, webhooks: &str, webhook_id: &str, channel_id: &str) {
        self.call("DELETE channels/{id}", &format!("channels/{channel_id}"), Value::Null).await;
        self.call(&format!("DELETE {webhooks}/{{id}}"), &format!("{webhooks}/{webhook_id}"), Value::Null).await;
        assert_eq!(self.wrong, Vec::<String>::new());
        let documented = ["operations", "errors"].map(|kind| self.documented[kind].as_object().expect("an object"));
        let documented: BTreeSet<String> = documented.into_iter().flat_map(|kind| kind.keys().cloned()).collect();
        assert_eq!(self.called, documented);
        self.stack.finish().await;
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

#[tokio::test]
async fn every_operation_is_answered_in_the_shape_that_8x8_documents() {
    let mut api = Api::start(ContactCenterApi::ChatGatewayV1).await;
    let (webhook_id, channel_id) = api.registrations("webhooks", "Chat Gateway v1.0").await;
    let empty = api.call("GET conversations", "conversations", Value::Null).await;
    assert_eq!(empty.get("_embedded"), None, "an empty list has none");

    let property = json!({ "key": "plan", "value": "gold" });
    let user = json!({ "name": "Chris", "userId": "c", "language": "en", "additionalProperties": [property] });
    let creation = json!({ "channelId": channel_id, "user": user });
    let id = text(&api.call("POST conversations", "conversations", creation.clone()).await["conversationId"]);
    let path = format!("conversations/{id}");
    let conversation = api.stack.contact_center.conversation(&id).expect("its channel has a webhook");
    api.call("GET conversations/{id}", &path, Value::Null).await;
    api.call("PUT conversations/{id}", &path, creation).await;
    let assignment = json!({ "assignment": { "type": "queue", "id": "102" } });
    api.call("PATCH conversations/{id}", &path, assignment).await;
    conversation.joined("anna");
    let quick_replies = conversation.sends_card("anna", &json!({ "options": [] })).expect("a card");
    let adaptive = conversation.sends_adaptive_card("anna", &json!({ "type": "AdaptiveCard" })).expect("a card");
    conversation.sends_file("anna", "a.txt", b"a");
    api.call("GET conversations", "conversations", Value::Null).await;

    let mut below = async |operation: &str, body: Value| {
        let (method, path_below) = operation.split_once(' ').expect("method and path");
        let name = format!("{method} conversations/{{id}}/{path_below}");
        api.call(&name, &format!("{path}/{path_below}"), body).await
    };
    below("GET interactions", Value::Null).await;
    below("POST typing", json!({ "authorType": "user" })).await;
    below("POST thinking", json!({})).await;
    below("POST read-receipt", json!({ "authorType": "user", "readAt": 1 })).await;
    below("POST post-agent-assignment", json!({ "type": "webhook", "id": webhook_id })).await;
    below("GET participants", Value::Null).await;
    let attachment = below("POST attachments", FORM.into()).await;
    let message = json!({ "authorType": "user", "text": "a", "attachments": [{ "id": attachment["id"] }] });
    below("POST messages", message).await;
    let external = json!({ "name": "X", "externalMessageId": "1" });
    below("POST messages", json!({ "authorType": "user", "externalProvider": external })).await;
    let messages = below("GET messages", Value::Null).await;
    below("GET attachments", Value::Null).await;

    let attachment = format!("{path}/attachments/{}", text(&attachment["id"]));
    api.call("GET conversations/{id}/attachments/{id}", &attachment, Value::Null).await;
    api.call("GET conversations/{id}/attachments/{id}/content", &format!("{attachment}/content"), Value::Null).await;
    let messages = messages["_embedded"]["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 5);
    for (card, action) in [(quick_replies, "action-submit"), (adaptive, "action-execute")] {
        let tenant = &api.stack.contact_center.settings().tenant_id;
        let path = format!("/api/v1/tenant/{tenant}/{path}/cards/{card}/{action}");
        api.call(&format!("PUT cards/{{id}}/{action}"), &path, json!({ "name": "a" })).await;
    }
    for message in messages {
        let message = format!("{path}/messages/{}", text(&message["id"]));
        api.call("GET conversations/{id}/messages/{id}", &message, Value::Null).await;
        api.call("GET conversations/{id}/messages/{id}/cards", &format!("{message}/cards"), Value::Null).await;
    }
    let leaves = json!({ "removed": true });
    api.call("PATCH conversations/{id}/participants/user", &format!("{path}/participants/user"), leaves).await;
    api.fail_in_every_way().await;
    api.finish("webhooks", &webhook_id, &channel_id).await;
}

#[tokio::test]
async fn every_operation_of_the_older_api_is_answered_in_the_shape_that_8x8_documents() {
    let mut api = Api::start(ContactCenterApi::ChatApiV2).await;
    api.call("POST token", "token", "grant_type=client_credentials".into()).await;
    let (webhook_id, channel_id) = api.registrations("web-hooks", "v2.0").await;
    let customer = json!({ "name": "Chris", "email": "chris@customer.example" });
    let creation = json!({ "channelId": channel_id, "customer": customer, "user": customer });
    let id = text(&api.call("POST conversations", "conversations", creation).await["conversationId"]);
    let path = format!("conversations/{id}");
    api.stack.contact_center.conversation(&id).expect("its channel has a webhook").joined("anna");
    api.call("GET conversations", "conversations", Value::Null).await;
    api.call("GET conversations/{id}", &path, Value::Null).await;
    let message = json!({ "authorType": "user", "text": "a" });
    api.call("POST conversations/{id}/messages", &format!("{path}/messages"), message).await;
    api.call("GET conversations/{id}/messages", &format!("{path}/messages"), Value::Null).await;
    api.call("GET conversations/{id}/participants", &format!("{path}/participants"), Value::Null).await;
    let customer = format!("{path}/participants/customer");
    api.call("DELETE conversations/{id}/participants/customer", &customer, Value::Null).await;
    api.fail("400 a wrong grant", "POST", "token", "grant_type=device_code".into(), &[]).await;
    api.fail_in_every_way().await;
    api.finish("web-hooks", &webhook_id, &channel_id).await;
}
