//! The API of the contact center in both dialects: its access control, its paths, its keys and its tokens. Webhooks and
//! channels, and conversations, have modules of their own.

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

use crate::problem::Problem;
use crate::{Authentication, ContactCenter, ContactCenterApi, Effect, FailureKind, Fault, PlannedFailure, fault};
use simulation::journal::{Exchange, Reply};

pub(crate) fn router(contact_center: Arc<ContactCenter>) -> Router {
    // An attachment may have the size that API Gateway allows.
    Router::new().fallback(respond).with_state(contact_center).layer(DefaultBodyLimit::max(10 * 1024 * 1024))
}

/// A request to the API.
pub(crate) struct Call<'r> {
    method: &'r str,
    path: Vec<&'r str>,
    pub(crate) query: &'r HashMap<String, String>,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) body: &'r [u8],
}

/// How long a slow response takes: just below what callers usually wait, ten seconds.
const SLOW: Duration = Duration::from_secs(9);

/// The body of a response.
pub(crate) enum Body {
    Empty,
    Json(Value),
    File { headers: HeaderMap, bytes: Vec<u8> },
}

pub(crate) type Outcome = Result<(StatusCode, Body), Problem>;

async fn respond(
    Shared(contact_center): Shared<Arc<ContactCenter>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::HEAD {
        // A client is opening a connection.
        return StatusCode::NOT_FOUND.into_response();
    }
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let path = uri.path().trim_matches('/').split('/').collect();
    let call = Call { method: method.as_str(), path, query: &query, headers: &headers, body: &body };
    let response = contact_center.respond(&call).await;
    let outcome = response.as_ref().map_or_else(Problem::shown, |(status, _)| status.as_u16().to_string());
    let clients = contact_center.settings.clients;
    let caller = match uri.path() {
        path if path.ends_with("/public") => clients.webhook,
        path if path.contains("/conversations") => clients.conversations,
        _ => clients.registrar,
    };
    contact_center.journal.exchange(caller, "8x8", &shown(&call), &outcome, None, || details(&call, &uri, &response));
    match response {
        Ok((status, Body::Empty)) => status.into_response(),
        // Not as a `Vec<u8>`: that would add a content type.
        Ok((status, Body::File { headers, bytes })) => (status, headers, axum::body::Body::from(bytes)).into_response(),
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

/// The response to a call that fails on purpose.
pub(crate) async fn failed(kind: FailureKind, api: ContactCenterApi) -> Outcome {
    Err(match kind {
        FailureKind::Status400 => Problem::bad_request("invalid_request", "The call fails on purpose."),
        FailureKind::Status403 => Problem::forbidden("Access is denied"),
        FailureKind::Status500 => Problem::internal(api),
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

/// The conversation that a call is about, and the call itself as an observer sees it. For a log-in, an observer only sees that
/// it took place.
fn details(call: &Call<'_>, uri: &Uri, response: &Outcome) -> (String, Option<Exchange>) {
    if call.path.last() == Some(&"token") {
        return (String::new(), None);
    }
    let mut segments = call.path.iter().skip_while(|segment| **segment != "conversations").skip(1);
    let conversation = match (segments.next(), response) {
        (Some(id), _) => (*id).to_owned(),
        (None, Ok((_, Body::Json(created)))) => created["conversationId"].as_str().unwrap_or_default().to_owned(),
        (None, _) => String::new(),
    };
    let method = call.method.parse().unwrap_or_default();
    let exchange = Exchange::new(&method, uri.path(), call.headers, &Bytes::copy_from_slice(call.body));
    let reply = |status: StatusCode, body: Bytes| Reply::new(status.as_u16(), &HeaderMap::new(), &body);
    let reply = match response {
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

/// Method and path, without ids.
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
    async fn respond(self: &Arc<Self>, call: &Call<'_>) -> Outcome {
        let tenant = self.settings.tenant_id.as_str();
        match (self.settings.api, call.method, call.path.as_slice()) {
            (_, "POST", ["oauth", "v2", "token"]) => match self.planned_failure("POST", "token") {
                Some(failure) => failed(failure.kind, self.settings.api).await,
                None => self.token(call),
            },
            (ContactCenterApi::ChatGatewayV1, "GET", ["chat-gateway", "v1", "jwk", id, "public"])
            | (ContactCenterApi::ChatApiV2, "GET", ["vcc", "us", "chat", "v2", "jwk", id, "public"]) => {
                self.key(id).await
            }
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

    async fn authorized(self: &Arc<Self>, call: &Call<'_>, method: &str, path: &[&str]) -> Outcome {
        self.check_credentials(call.headers)?;
        let response = match self.failure(method, path) {
            None => self.carry_out(call, method, path).await,
            Some(failure) => self.go_wrong(&failure, call, method, path).await,
        };
        if method == "POST" && self.faults.strikes(Fault::AnswersSlowly) {
            tokio::time::sleep(SLOW).await;
        }
        response
    }

    async fn go_wrong(
        self: &Arc<Self>,
        failure: &PlannedFailure,
        call: &Call<'_>,
        method: &str,
        path: &[&str],
    ) -> Outcome {
        match failure.effect {
            Effect::None => {}
            Effect::AtOnce => {
                self.carry_out(call, method, path).await?;
            }
            Effect::After(time) => self.carry_out_later(time, call, method, path),
        }
        failed(failure.kind, self.settings.api).await
    }

    /// Carries out the call after the caller has given up.
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

    /// How this call fails: as planned for it, or by a fault of all calls about conversations.
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
        if method == "POST" && self.faults.strikes(Fault::CarriesOutLate) {
            let kinds = [FailureKind::Drops, FailureKind::Hangs, FailureKind::Status500, FailureKind::Status504];
            let kind = fastrand::choice(kinds)?;
            return planned(kind, Effect::After(fault::delay()));
        }
        let faults = [
            (Fault::Drops, FailureKind::Drops),
            (Fault::Hangs, FailureKind::Hangs),
            (Fault::Status500, FailureKind::Status500),
            (Fault::Status429, FailureKind::Status429),
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

    async fn carry_out(self: &Arc<Self>, call: &Call<'_>, method: &str, path: &[&str]) -> Outcome {
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
            (method, [resource, path @ ..]) if *resource == webhooks => self.webhooks(call, method, path).await,
            (method, ["channels", path @ ..]) => self.channels(call, method, path),
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

    /// A file of a conversation at its signed URL, without credentials, until the URL expires.
    fn file(&self, token: &str) -> Outcome {
        let state = self.state();
        let known = state.file_urls.get(token).filter(|(_, _, until)| Instant::now() < *until);
        let (conversation, attachment, _) = known.ok_or_else(|| Problem::forbidden("Request has expired"))?;
        let file = state.conversations.get(conversation).and_then(|record| record.file(attachment));
        let (headers, bytes) = file.ok_or_else(|| Problem::not_found("Attachment", attachment))?;
        Ok((StatusCode::OK, Body::File { headers, bytes }))
    }

    fn token(&self, call: &Call<'_>) -> Outcome {
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
        let token = format!("8x8-access-{}", simulation::id::base64());
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
}

pub(crate) fn ok(body: Value) -> Outcome {
    Ok((StatusCode::OK, Body::Json(body)))
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

pub(crate) fn json_body(call: &Call<'_>) -> Result<Value, Problem> {
    if content_type(call.headers) != "application/json" {
        return Err(Problem::bad_request("invalid_content_type", "Content-Type must be application/json."));
    }
    serde_json::from_slice(call.body).map_err(|_| Problem::bad_request("invalid_json_object", "The body is not JSON."))
}
