//! The API of the contact center in both dialects: who may call it, which path is what, and its webhooks, channels, keys and
//! tokens. Conversations are a module of their own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State as Shared};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::problem::Problem;
use super::schema::Object;
use super::{
    Authentication, Channel, ContactCenter, ContactCenterApi, Effect, FailureKind, ListForm, PlannedFailure, QUEUES,
    Webhook,
};
use crate::faults::Fault;
use crate::journal::{Exchange, Reply};

pub(super) fn router(contact_center: Arc<ContactCenter>) -> Router {
    // An attachment may have what API Gateway lets through.
    Router::new().fallback(answer).with_state(contact_center).layer(DefaultBodyLimit::max(10 * 1024 * 1024))
}

/// A request to the API.
pub(super) struct Call<'r> {
    method: &'r str,
    path: Vec<&'r str>,
    pub(super) query: &'r HashMap<String, String>,
    pub(super) headers: &'r HeaderMap,
    pub(super) body: &'r [u8],
}

/// How long a slow answer takes: just below what callers usually wait, ten seconds.
const SLOW: Duration = Duration::from_secs(9);

/// What an answer carries.
pub(super) enum Body {
    Empty,
    Json(Value),
    File { name: String, bytes: Vec<u8> },
}

pub(super) type Answer = Result<(StatusCode, Body), Problem>;

async fn answer(
    Shared(contact_center): Shared<Arc<ContactCenter>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::HEAD {
        // Somebody opens a connection.
        return StatusCode::NOT_FOUND.into_response();
    }
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let path = uri.path().trim_matches('/').split('/').collect();
    let call = Call { method: method.as_str(), path, query: &query, headers: &headers, body: &body };
    let answer = contact_center.answer(&call).await;
    let outcome = answer.as_ref().map_or_else(Problem::shown, |(status, _)| status.as_u16().to_string());
    let caller = match uri.path() {
        path if path.ends_with("/public") => "receive-message",
        path if path.contains("/conversations") => "converse",
        _ => "register-channel",
    };
    contact_center.journal.exchange(caller, "8x8", &shown(&call), &outcome, None, || details(&call, &uri, &answer));
    match answer {
        Ok((status, Body::Empty)) => status.into_response(),
        Ok((status, Body::File { name, bytes })) => {
            let disposition = format!("attachment; filename=\"{name}\"");
            let headers = [("content-type", "application/octet-stream"), ("content-disposition", &disposition)];
            (status, headers, bytes).into_response()
        }
        Ok((status, Body::Json(body))) => {
            let content_type = match contact_center.settings.api {
                ContactCenterApi::ChatGatewayV1 if !uri.path().ends_with("/public") => "application/hal+json",
                ContactCenterApi::ChatGatewayV1 | ContactCenterApi::ChatApiV2 => "application/json",
            };
            (status, [("content-type", content_type)], body.to_string()).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// What the caller gets of a call that goes wrong.
async fn failed(kind: FailureKind) -> Answer {
    Err(match kind {
        FailureKind::Status400 => Problem::bad_request("invalid_request", "The sandbox refuses this call."),
        FailureKind::Status500 => Problem::internal(),
        FailureKind::Status504 => Problem::gateway_timeout(),
        FailureKind::Status429 => Problem::too_many_requests(),
        FailureKind::Drops => Problem::dropped(),
        FailureKind::Hangs => {
            // Longer than any caller waits.
            tokio::time::sleep(Duration::from_secs(60)).await;
            Problem::dropped()
        }
    })
}

/// The conversation that a call is about, and the call itself as an observer sees it. Of a log-in only that it took place.
fn details(call: &Call<'_>, uri: &Uri, answer: &Answer) -> (String, Option<Exchange>) {
    if call.path.last() == Some(&"token") {
        return (String::new(), None);
    }
    let mut segments = call.path.iter().skip_while(|segment| **segment != "conversations").skip(1);
    let conversation = match (segments.next(), answer) {
        (Some(id), _) => (*id).to_owned(),
        (None, Ok((_, Body::Json(created)))) => created["conversationId"].as_str().unwrap_or_default().to_owned(),
        (None, _) => String::new(),
    };
    let method = call.method.parse().unwrap_or_default();
    let exchange = Exchange::new(&method, uri.path(), call.headers, &Bytes::copy_from_slice(call.body));
    let reply = |status: StatusCode, body: Bytes| Reply::new(status.as_u16(), &HeaderMap::new(), &body);
    let reply = match answer {
        Ok((status, Body::Json(body))) => Some(reply(*status, body.to_string().into())),
        Ok((status, Body::Empty)) => Some(reply(*status, Bytes::new())),
        Ok((status, Body::File { bytes, .. })) => Some(reply(*status, bytes.clone().into())),
        Err(problem) => problem.answered().map(|(status, body)| reply(status, body.to_string().into())),
    };
    (
        conversation,
        Some(match reply {
            Some(reply) => exchange.with(reply),
            None => exchange,
        }),
    )
}

/// Method and path without ids.
fn shown(call: &Call<'_>) -> String {
    let known = [
        "jwk",
        "webhooks",
        "web-hooks",
        "channels",
        "conversations",
        "token",
        "verify",
        "interactions",
        "post-agent-assignment",
        "typing",
        "thinking",
        "read-receipt",
        "participants",
        "messages",
        "attachments",
        "content",
        "cards",
    ];
    let resource = call.path.iter().rev().find(|segment| known.contains(segment)).copied().unwrap_or("?");
    format!("{} {resource}", call.method)
}

impl ContactCenter {
    async fn answer(self: &Arc<Self>, call: &Call<'_>) -> Answer {
        let tenant = self.settings.tenant_id.as_str();
        match (self.settings.api, call.method, call.path.as_slice()) {
            (_, "POST", ["oauth", "v2", "token"]) => match self.planned_failure("POST", "token") {
                Some(failure) => failed(failure.kind).await,
                None => self.token(call),
            },
            (ContactCenterApi::ChatGatewayV1, "GET", ["chat-gateway", "v1", "jwk", id, "public"])
            | (ContactCenterApi::ChatApiV2, "GET", ["vcc", "us", "chat", "v2", "jwk", id, "public"]) => self.key(id),
            (ContactCenterApi::ChatGatewayV1, "GET", ["files", token]) => self.file(token),
            (ContactCenterApi::ChatGatewayV1, method, ["chat-gateway", "v1", path @ ..]) => {
                self.authorized(call, method, path).await
            }
            (ContactCenterApi::ChatGatewayV1, "PUT", ["api", "v1", "tenant", id, path @ ..]) if *id == tenant => {
                self.authorized(call, "PUT", path).await
            }
            (ContactCenterApi::ChatApiV2, method, ["vcc", "us", "chat", "v2", "tenant", id, path @ ..])
                if *id == tenant =>
            {
                self.authorized(call, method, path).await
            }
            (ContactCenterApi::ChatGatewayV1 | ContactCenterApi::ChatApiV2, _, path) => {
                Err(Problem::not_found("path", &path.join("/")))
            }
        }
    }

    async fn authorized(self: &Arc<Self>, call: &Call<'_>, method: &str, path: &[&str]) -> Answer {
        self.check_credentials(call.headers)?;
        let answer = match self.failure(method, path) {
            None => self.carry_out(call, method, path).await,
            Some(failure) => self.go_wrong(&failure, call, method, path).await,
        };
        if method == "POST" && self.faults.strikes(Fault::ContactCenterSlow) {
            tokio::time::sleep(SLOW).await;
        }
        answer
    }

    async fn go_wrong(
        self: &Arc<Self>,
        failure: &PlannedFailure,
        call: &Call<'_>,
        method: &str,
        path: &[&str],
    ) -> Answer {
        match failure.effect {
            Effect::None => {}
            Effect::AtOnce => {
                self.carry_out(call, method, path).await?;
            }
            Effect::After(time) => self.carry_out_later(time, call, method, path),
        }
        failed(failure.kind).await
    }

    /// Does what is asked for when the caller has given up.
    fn carry_out_later(self: &Arc<Self>, after: Duration, call: &Call<'_>, method: &str, path: &[&str]) {
        let (contact_center, method) = (Arc::clone(self), method.to_owned());
        let path: Vec<String> = path.iter().map(|segment| (*segment).to_owned()).collect();
        let (query, headers, body) = (call.query.clone(), call.headers.clone(), call.body.to_vec());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let call = Call { method: &method, path: path.clone(), query: &query, headers: &headers, body: &body };
            let outcome = match contact_center.carry_out(&call, &method, &path).await {
                Ok((status, _)) => status.as_u16().to_string(),
                Err(problem) => problem.shown(),
            };
            contact_center.journal.hop("8x8", "8x8", &shown(&call), &format!("{outcome}, late"), None);
        });
    }

    /// What goes wrong with this call: what was planned for it, or what strikes any call about conversations.
    fn failure(&self, method: &str, path: &[&str]) -> Option<PlannedFailure> {
        // Every second segment is an id.
        let resource = path.iter().step_by(2).next_back().copied().unwrap_or_default();
        if let Some(planned) = self.planned_failure(method, resource) {
            return Some(planned);
        }
        if path.first() != Some(&"conversations") {
            return None;
        }
        let planned =
            |kind, effect| Some(PlannedFailure { method: method.to_owned(), path: resource.to_owned(), kind, effect });
        if method == "POST" && self.faults.strikes(Fault::ContactCenterLate) {
            let kinds = [FailureKind::Drops, FailureKind::Hangs, FailureKind::Status500, FailureKind::Status504];
            let kind = fastrand::choice(kinds)?;
            return planned(kind, Effect::After(Duration::from_millis(fastrand::u64(1000..4000))));
        }
        let faults = [
            (Fault::ContactCenterDrops, FailureKind::Drops),
            (Fault::ContactCenterHangs, FailureKind::Hangs),
            (Fault::ContactCenter500, FailureKind::Status500),
            (Fault::ContactCenter429, FailureKind::Status429),
        ];
        let (_, kind) = faults.into_iter().find(|(fault, _)| self.faults.strikes(*fault))?;
        let is_carried_out = kind != FailureKind::Status429 && fastrand::bool();
        planned(kind, if is_carried_out { Effect::AtOnce } else { Effect::None })
    }

    fn planned_failure(&self, method: &str, resource: &str) -> Option<PlannedFailure> {
        let mut failures = self.failures();
        let planned = failures.iter().position(|failure| failure.method == method && failure.path == resource)?;
        Some(failures.remove(planned))
    }

    async fn carry_out(self: &Arc<Self>, call: &Call<'_>, method: &str, path: &[&str]) -> Answer {
        let webhooks = match self.settings.api {
            ContactCenterApi::ChatGatewayV1 => "webhooks",
            ContactCenterApi::ChatApiV2 => "web-hooks",
        };
        match (method, path) {
            ("PUT", ["conversations", id, "cards", card, "action-submit"]) if self.is_gateway() => {
                self.card_action(call, id, card, "actionSubmitted")
            }
            ("PUT", ["conversations", id, "cards", card, "action-execute"]) if self.is_gateway() => {
                self.card_action(call, id, card, "actionExecuted")
            }
            (method, ["conversations", path @ ..]) if self.is_gateway() => self.conversations(call, method, path),
            (method, ["conversations", path @ ..]) => self.conversations_v2(call, method, path),
            ("GET", [resource]) if *resource == webhooks => {
                let state = self.state();
                let all = state.webhooks.iter().map(|(id, webhook)| self.show_webhook(id, webhook)).collect();
                self.list("webhooks", all, call.query)
            }
            ("POST", [resource]) if *resource == webhooks => self.create_webhook(call).await,
            ("GET", [resource, id]) if *resource == webhooks => {
                let state = self.state();
                let webhook = state.webhooks.get(*id).ok_or_else(|| Problem::not_found("WebHook", id))?;
                ok(self.show_webhook(id, webhook))
            }
            ("PUT", [resource, id]) if *resource == webhooks => {
                let webhook = self.webhook_of(&json_body(call)?)?;
                let mut state = self.state();
                *state.webhooks.get_mut(*id).ok_or_else(|| Problem::not_found("WebHook", id))? = webhook.clone();
                ok(self.show_webhook(id, &webhook))
            }
            ("DELETE", [resource, id]) if *resource == webhooks => self.delete_webhook(id),
            ("GET", ["channels"]) => {
                let state = self.state();
                let all = state.channels.iter().map(|(id, channel)| self.show_channel(id, channel)).collect();
                self.list("channels", all, call.query)
            }
            ("POST", ["channels"]) => {
                let channel = self.channel_of(&json_body(call)?)?;
                let id = crate::id::base64();
                let answer = self.show_channel(&id, &channel);
                self.state().channels.insert(id, channel);
                ok(answer)
            }
            ("GET", ["channels", id]) => {
                let state = self.state();
                let channel = state.channels.get(*id).ok_or_else(|| Problem::not_found("Channel", id))?;
                ok(self.show_channel(id, channel))
            }
            ("PUT", ["channels", id]) => {
                let channel = self.channel_of(&json_body(call)?)?;
                let mut state = self.state();
                *state.channels.get_mut(*id).ok_or_else(|| Problem::not_found("Channel", id))? = channel.clone();
                ok(self.show_channel(id, &channel))
            }
            ("DELETE", ["channels", id]) => {
                let removed = self.state().channels.remove(*id);
                removed.map(|_| (StatusCode::NO_CONTENT, Body::Empty)).ok_or_else(|| Problem::not_found("Channel", id))
            }
            (_, path) => Err(Problem::not_found("path", &path.join("/"))),
        }
    }

    fn check_credentials(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let has_api_key = header("x-api-key") == Some(&self.settings.credentials.api_key);
        let has_token = || {
            let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
            token.is_some_and(|token| self.state().tokens.get(token).is_some_and(|until| Instant::now() < *until))
        };
        let is_known = match self.settings.authentication {
            Authentication::ApiKey => has_api_key,
            Authentication::ClientCredentials => has_token(),
            Authentication::Password => has_api_key && has_token(),
        };
        if !is_known {
            return Err(match self.settings.api {
                ContactCenterApi::ChatGatewayV1 => Problem::access_denied(),
                ContactCenterApi::ChatApiV2 => Problem::fault(),
            });
        }
        match header("x-8x8-tenant") {
            Some(tenant) if tenant != self.settings.tenant_id => {
                Err(Problem::forbidden("Header X-8x8-Tenant doesn't match tenant information for customerId=sandbox"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A file of a conversation under its signed URL, without credentials, until that expires.
    fn file(&self, token: &str) -> Answer {
        let state = self.state();
        let known = state.file_urls.get(token).filter(|(_, _, until)| Instant::now() < *until);
        let (conversation, attachment, _) = known.ok_or_else(|| Problem::forbidden("Request has expired"))?;
        let file = state.conversations.get(conversation).and_then(|record| record.file(attachment));
        let (name, bytes) = file.ok_or_else(|| Problem::not_found("Attachment", attachment))?;
        Ok((StatusCode::OK, Body::File { name, bytes }))
    }

    fn token(&self, call: &Call<'_>) -> Answer {
        if content_type(call.headers) != "application/x-www-form-urlencoded" {
            return Err(Problem::oauth(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", "A form is needed"));
        }
        let form: HashMap<_, _> = form_urlencoded::parse(call.body).into_owned().collect();
        let header = |name: &str| call.headers.get(name).and_then(|value| value.to_str().ok());
        let known = &self.settings.credentials;
        let basic = format!("Basic {}", STANDARD.encode(format!("{}:{}", known.api_key, known.api_secret)));
        let is_known = match form.get("grant_type").map(String::as_str) {
            Some("client_credentials") => header("authorization") == Some(&basic),
            Some("password") => {
                header("x-api-key") == Some(&known.api_key)
                    && form.get("username") == Some(&known.username)
                    && form.get("password") == Some(&known.password)
            }
            Some(_) | None => {
                return Err(Problem::oauth(StatusCode::BAD_REQUEST, "invalid_request", "Unsupported grant type"));
            }
        };
        if !is_known {
            return Err(Problem::oauth(StatusCode::UNAUTHORIZED, "invalid_client", "ClientId is Invalid"));
        }
        let token = format!("8x8-access-{}", crate::id::base64());
        self.state().tokens.insert(token.clone(), Instant::now() + self.settings.token_life);
        ok(json!({
            "refresh_token_expires_in": "0",
            "api_product_list": ["vcc"],
            "organization_name": "8x8gateway",
            "token_type": "BearerToken",
            "issued_at": "1632731766687",
            "access_token": token,
            "scope": "",
            "expires_in": self.settings.token_life.as_secs().to_string(),
            "refresh_count": "0",
            "status": "approved",
        }))
    }

    fn key(&self, id: &str) -> Answer {
        if self.faults.strikes(Fault::KeysDown) {
            return Err(Problem::internal());
        }
        if id != self.signer.key_id() {
            return Err(Problem::not_found("JWK", id));
        }
        ok(self.signer.jwk())
    }

    /// A page of a list, as each dialect writes it; an empty list has no `_embedded`.
    pub(super) fn list(&self, name: &str, all: Vec<Value>, query: &HashMap<String, String>) -> Answer {
        self.list_shown(name, &all, Value::clone, query)
    }

    /// The same, where only what is on the page is worth the work of showing it.
    pub(super) fn list_shown<T>(
        &self,
        name: &str,
        all: &[T],
        show: impl Fn(&T) -> Value,
        query: &HashMap<String, String>,
    ) -> Answer {
        let number = |field: &str, default: usize| match query.get(field).map(|text| text.parse()) {
            None => Ok(default),
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) => Err(Problem::constraint(field, "Must be a number.")),
        };
        let (size, page) = (number("size", 20)?, number("page", 0)?);
        if !(1..=100).contains(&size) {
            return Err(Problem::constraint("size", "Must be from 1 to 100."));
        }
        let form = *self.list_form.lock().expect("no holder panics");
        let (total, mut pages) = (all.len(), all.len().div_ceil(size));
        let mut first = page * size;
        match form {
            ListForm::MissingPage if page == 1 => return Err(Problem::not_found("page", "1")),
            ListForm::EmptyPage if page == 1 => first = total,
            ListForm::EmptyPage if page > 1 => first -= size,
            _ => {}
        }
        if form == ListForm::EmptyPage {
            pages += 1;
        }
        let items: Vec<Value> = all.iter().skip(first).take(size).map(show).collect();
        ok(match self.settings.api {
            ContactCenterApi::ChatGatewayV1 if form == ListForm::Unknown => json!({ "items": items }),
            ContactCenterApi::ChatGatewayV1 => {
                let mut list = json!({
                    "page": { "size": size, "number": page, "totalElements": total, "totalPages": pages },
                    "_links": { "self": { "href": format!("/chat-gateway/v1/{name}") } },
                });
                if !items.is_empty() {
                    list["_embedded"] = json!({ name: items });
                }
                match form {
                    ListForm::SingleObject if items.len() == 1 => list["_embedded"][name] = items[0].clone(),
                    ListForm::Floats => {
                        list["page"] = json!({ "totalElements": total as f64, "totalPages": pages as f64 });
                    }
                    ListForm::Text => {
                        list["page"] = json!({ "totalElements": total.to_string(), "totalPages": pages.to_string() });
                    }
                    ListForm::NextLink => {
                        list.as_object_mut().expect("it is an object").remove("page");
                        if page + 1 < pages {
                            list["_links"]["next"] = json!({ "href": format!("/chat-gateway/v1/{name}?page=next") });
                        }
                    }
                    _ => {}
                }
                list
            }
            ContactCenterApi::ChatApiV2 => json!({
                "data": items,
                "page": { "pageSize": size, "pageIndex": page, "elementCount": total, "pageCount": pages },
            }),
        })
    }

    async fn create_webhook(&self, call: &Call<'_>) -> Answer {
        let webhook = self.webhook_of(&json_body(call)?)?;
        if !self.verify(&webhook).await {
            let message = format!("The webhook {} did not answer with a 2xx status code.", webhook.uri);
            return Err(Problem::bad_request("invalid_webhook", &message));
        }
        let id = crate::id::base64();
        let answer = self.show_webhook(&id, &webhook);
        self.state().webhooks.insert(id, webhook);
        ok(answer)
    }

    /// Sends WEB_HOOK_VERIFY, unsigned: whether 8x8 signs it is not documented.
    async fn verify(&self, webhook: &Webhook) -> bool {
        let body = json!({ "notificationVersion": webhook.version, "eventType": "WEB_HOOK_VERIFY" }).to_string();
        let started = Instant::now();
        let status = self.client.post(&webhook.uri, [("content-type", "application/json")], body).await;
        let shown = status.map_or("no answer".to_owned(), |status| status.as_u16().to_string());
        self.journal.hop("8x8", "receive-message", "WEB_HOOK_VERIFY", &shown, Some(started.elapsed()));
        status.is_some_and(|status| status.is_success())
    }

    fn delete_webhook(&self, id: &str) -> Answer {
        let mut state = self.state();
        if state.channels.values().any(|channel| channel.webhook_id == id) {
            return Err(Problem::bad_request("webhook_in_use", "A channel uses this webhook."));
        }
        let removed = state.webhooks.remove(id);
        removed.map(|_| (StatusCode::NO_CONTENT, Body::Empty)).ok_or_else(|| Problem::not_found("WebHook", id))
    }

    fn webhook_of(&self, body: &Value) -> Result<Webhook, Problem> {
        let body = Object::of(body, "body")?;
        let versions: &[&str] = match self.settings.api {
            ContactCenterApi::ChatGatewayV1 => &["Chat Gateway v1.0"],
            ContactCenterApi::ChatApiV2 => &["v1.0", "v2.0"],
        };
        body.one_of("version", versions)?;
        Ok(Webhook {
            name: body.required("name", 255)?.to_owned(),
            uri: body.uri("uri")?.to_owned(),
            version: body.required("notificationVersion", usize::MAX)?.to_owned(),
        })
    }

    fn channel_of(&self, body: &Value) -> Result<Channel, Problem> {
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
            return Err(Problem::bad_request("invalid_webhook", &format!("WebHook ID {webhook_id} is invalid.")));
        }
        if !QUEUES.iter().any(|(id, _)| *id == queue_id) {
            return Err(Problem::bad_request("invalid_queue", &format!("Queue ID {queue_id} is invalid.")));
        }
        Ok(Channel { name, webhook_id, queue_id })
    }

    pub(super) fn show_webhook(&self, id: &str, webhook: &Webhook) -> Value {
        json!({ "id": id, "name": webhook.name, "uri": webhook.uri, "version": webhook.version })
    }

    pub(super) fn show_channel(&self, id: &str, channel: &Channel) -> Value {
        let routing = json!({ "type": "queue", "id": channel.queue_id });
        let mut shown =
            json!({ "id": id, "name": channel.name, "webHookId": channel.webhook_id, "routingOptions": routing });
        if self.settings.api == ContactCenterApi::ChatGatewayV1 {
            shown["type"] = "ChatAPI".into();
        }
        shown
    }
}

pub(super) fn ok(body: Value) -> Answer {
    Ok((StatusCode::OK, Body::Json(body)))
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

pub(super) fn json_body(call: &Call<'_>) -> Result<Value, Problem> {
    if content_type(call.headers) != "application/json" {
        return Err(Problem::bad_request("invalid_content_type", "Content-Type must be application/json."));
    }
    serde_json::from_slice(call.body).map_err(|_| Problem::bad_request("invalid_json_object", "The body is not JSON."))
}
