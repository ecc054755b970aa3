//! `POST /v1/liveAgent/receiveMessage`: takes an event of 8x8, has it proven genuine, queues it, answers.
//!
//! 8x8 sends an event again until it gets a 2xx, so a 2xx is said only when SQS has the event.

mod answer;
mod authentication;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{AsHeaderName, CONTENT_TYPE};
use lambda_http::{Body, Request, Response};
use shared::aws::{self, Transport};
use shared::caller::Callers;
use shared::clock::UnixTime;
use shared::contact_center::config::ContactCenterConfig;
use shared::contact_center::event::Event;
use shared::contact_center::keys::PublicKeys;
use shared::digest::sha256_hex;
use shared::environment::{ConfigError, Environment};
use shared::http::client;
use shared::queue::{EventQueue, QueuedEvent, event_queue_url, permitted_id};
use shared::secrets::SecretsManager;
use shared::url::VerbatimUrl;
use shared::{telemetry, trace};
use tracing::{Instrument, Span};

use crate::answer::{Refusal, answer};
use crate::authentication::{Authentication, CallbackAuthentication, Proof};

/// The largest body that is taken, in bytes: in base64 it is two thirds of what fits into a queue message.
const BODY_LIMIT: usize = 512 * 1024;

/// Events of no conversation share one group, and so keep their order among themselves.
const NO_CONVERSATION: &str = "no-conversation";

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    contact_center: ContactCenterConfig,
    authentication: CallbackAuthentication,
    queue_url: VerbatimUrl,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            contact_center: ContactCenterConfig::from_environment(environment)?,
            authentication: CallbackAuthentication::from_environment(environment)?,
            queue_url: event_queue_url(environment)?,
        })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct ReceiveMessage {
    authentication: Authentication,
    tenant_id: Option<String>,
    queue: EventQueue,
}

impl ReceiveMessage {
    /// Opens the connections that the first event will need.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let client = client()?;
        let transport = Transport::new()?;
        let sdk = aws::sdk_config(&transport).await;
        let keys = || PublicKeys::new(client.clone(), config.contact_center.key_endpoint.clone());
        let callers = |config| Callers::new(config, &SecretsManager::new(&sdk));
        let authentication = match config.authentication {
            CallbackAuthentication::Signature => Authentication::Signature(keys()),
            CallbackAuthentication::Headers(config) => Authentication::Headers(callers(config)),
            CallbackAuthentication::Either(config) => Authentication::Either(keys(), callers(config)),
            CallbackAuthentication::Both(config) => Authentication::Both(keys(), callers(config)),
        };
        tokio::join!(authentication.warm_up(UnixTime::now()), transport.warm_up(config.queue_url.url()));
        Ok(Self {
            authentication,
            tenant_id: config.contact_center.tenant_id,
            queue: EventQueue::new(&sdk, &config.queue_url),
        })
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        async { answer(self.receive(&request, UnixTime::now()).await) }.instrument(trace::event_span()).await
    }

    async fn receive(&self, request: &Request, now: UnixTime) -> Result<(), Refusal> {
        let (headers, body) = (request.headers(), Bytes::copy_from_slice(request.body()));
        if body.len() > BODY_LIMIT {
            return Err(Refusal::TooLarge);
        }
        if self.authentication.prove(headers, &body, now).await? == Proof::Incomplete {
            return unproven(&body);
        }
        let event = Event::parse(&body)?;
        // Under a signature the id is there and genuine. A load balancer may leave it out.
        let event_id = match text(headers, "x-8x8-event-id") {
            Some(event_id) => event_id.to_owned(),
            None => sha256_hex(&body),
        };
        let group = event.conversation_id.as_deref().unwrap_or(NO_CONVERSATION);
        trace::identify(&Span::current(), &permitted_id(group), &permitted_id(&event_id), event.name());
        self.check_tenant(&event, headers)?;
        if event.is_web_hook_verify() {
            tracing::info!("the webhook can be reached");
            return Ok(());
        }
        self.enqueue(&event, &event_id, group, headers, body, now).await
    }

    /// Every event is of a tenant; a verification, which a load balancer vouches for, need not be.
    fn check_tenant(&self, event: &Event, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_ours = match (&self.tenant_id, text(headers, "x-8x8-tenant-id")) {
            (None, _) => true,
            (Some(ours), Some(tenant_id)) => ours == tenant_id,
            (Some(_), None) => event.is_web_hook_verify(),
        };
        if is_ours { Ok(()) } else { Err(Refusal::ForeignTenant) }
    }

    async fn enqueue(
        &self,
        event: &Event,
        event_id: &str,
        group: &str,
        headers: &HeaderMap,
        body: Bytes,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let queued = QueuedEvent {
            body,
            content_type: text(headers, CONTENT_TYPE).map(str::to_owned),
            headers: headers_of_8x8(headers),
            received_at: now,
            event_type: Some(event.name().to_owned()),
            is_typing: event.is_typing,
        };
        self.queue.send(&queued, group, event_id).await?;
        let retry = text(headers, "x-8x8-retry").and_then(|retry| retry.parse::<u64>().ok()).filter(|retry| *retry > 0);
        telemetry::event_received(event.is_documented(), retry.is_some());
        let took_ms = UnixTime::now().since(now).as_millis() as u64;
        match retry {
            None => tracing::info!(step = trace::QUEUED, took_ms, "queued"),
            // SQS has dropped it if it had been queued before.
            Some(retry) => tracing::info!(step = trace::QUEUED, took_ms, retry, "queued after 8x8 has sent it again"),
        }
        Ok(())
    }
}

/// 8x8 does not say whether it signs the event that it verifies a webhook with, so that one passes without credentials:
/// nothing follows from it. No other does.
fn unproven(body: &[u8]) -> Result<(), Refusal> {
    match Event::parse(body) {
        Ok(event) if event.is_web_hook_verify() => {
            tracing::info!(event_type = event.name(), "the webhook can be reached");
            Ok(())
        }
        Ok(_) | Err(_) => Err(Refusal::Unproven),
    }
}

fn headers_of_8x8(headers: &HeaderMap) -> BTreeMap<String, String> {
    let names = headers.keys().filter(|name| name.as_str().starts_with("x-8x8-"));
    names.filter_map(|name| Some((name.to_string(), text(headers, name)?.to_owned()))).collect()
}

/// The header's value, if it has one with only the characters that a header is meant to have.
fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())
}
