//! `POST /v1/liveAgent/receiveMessage`: verifies a callback of 8x8, queues its event, responds.
//!
//! 8x8 sends an event again until it gets a 2xx, so the response is a 2xx only when SQS has the event.

mod error;
mod response;
mod tenant;

use http::HeaderMap;
use http::header::{AsHeaderName, CONTENT_TYPE};
use lambda_http::{Body, Request, Response};
use shared::aws::{self, Transport};
use shared::caller::Callers;
use shared::clock::UnixTime;
use shared::contact_center::callback::{Callback, CallbackAuthentication, CallbackVerifier, Verification, Verified};
use shared::contact_center::config::ContactCenterConfig;
use shared::contact_center::event::Event;
use shared::contact_center::keys::PublicKeys;
use shared::digest::sha256_hex;
use shared::environment::{ConfigError, Environment};
use shared::http::client;
use shared::http_api::{header_text, header_texts};
use shared::queue::{EventQueue, QueuedEvent, event_queue_url, permitted_id};
use shared::secrets::SecretsManager;
use shared::url::VerbatimUrl;
use shared::{telemetry, trace};
use tracing::{Instrument, Span};

use crate::error::Rejection;
use crate::response::into_response;
use crate::tenant::Tenant;

/// The largest body that is accepted, in bytes: in base64 it is two thirds of what fits into a queue message.
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
    verifier: CallbackVerifier,
    tenant: Tenant,
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
        let verifier = match config.authentication {
            CallbackAuthentication::Signature => CallbackVerifier::Signature(keys()),
            CallbackAuthentication::Headers(config) => CallbackVerifier::Headers(callers(config)),
            CallbackAuthentication::Either(config) => CallbackVerifier::Either(keys(), callers(config)),
            CallbackAuthentication::Both(config) => CallbackVerifier::Both(keys(), callers(config)),
        };
        // The queue's client is made while 8x8 and SQS respond.
        let ((), (), queue) =
            tokio::join!(verifier.warm_up(UnixTime::now()), transport.warm_up(config.queue_url.url()), async {
                EventQueue::new(&sdk, &config.queue_url)
            });
        Ok(Self { verifier, tenant: Tenant::new(config.contact_center.tenant_id), queue })
    }

    /// Responds to one request.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        async { into_response(self.receive(request, UnixTime::now()).await) }.instrument(trace::event_span()).await
    }

    async fn receive(&self, request: Request, now: UnixTime) -> Result<(), Rejection> {
        if request.body().len() > BODY_LIMIT {
            return Err(Rejection::TooLarge);
        }
        let callback = match self.verifier.verify(request.into(), now).await? {
            Verification::Complete(callback) => callback,
            Verification::Missing(callback) => return verify_handshake(&callback),
        };
        let event = callback.event()?;
        // Under a signature the id is there and genuine. A load balancer may leave it out.
        let event_id = match text(callback.headers(), "x-8x8-event-id") {
            Some(event_id) => event_id.to_owned(),
            None => sha256_hex(callback.body()),
        };
        let group = event.conversation_id.as_deref().unwrap_or(NO_CONVERSATION);
        trace::identify(&Span::current(), &permitted_id(group), &permitted_id(&event_id), event.name());
        self.tenant.check(&event, callback.headers())?;
        if event.is_web_hook_verify() {
            webhook_reached();
            return Ok(());
        }
        self.enqueue(&event, &event_id, group, callback, now).await
    }

    async fn enqueue(
        &self,
        event: &Event,
        event_id: &str,
        group: &str,
        callback: Verified,
        now: UnixTime,
    ) -> Result<(), Rejection> {
        let (headers, body) = callback.into_parts();
        let queued = QueuedEvent {
            body,
            content_type: headers.get(CONTENT_TYPE).map(header_text),
            headers: header_texts(headers.iter().filter(|(name, _)| name.as_str().starts_with("x-8x8-"))),
            received_at: now,
            event_type: Some(event.name().to_owned()),
            is_typing: event.is_typing,
        };
        self.queue.send(&queued, group, event_id).await?;
        let retry =
            text(&headers, "x-8x8-retry").and_then(|retry| retry.parse::<u64>().ok()).filter(|retry| *retry > 0);
        if !event.is_documented() {
            telemetry::event_undocumented();
        }
        if retry.is_some() {
            telemetry::event_repeated();
        }
        let tenant_id = self.tenant.record_accepted(&headers);
        let took_ms = UnixTime::now().since(now).as_millis() as u64;
        match retry {
            None => tracing::info!(step = trace::QUEUED, took_ms, tenant_id),
            // SQS has dropped it if it had been queued before.
            Some(retry) => {
                tracing::info!(step = trace::QUEUED, took_ms, retry, tenant_id, "queued after 8x8 has sent it again");
            }
        }
        Ok(())
    }
}

/// Without all credentials, only 8x8's question whether the webhook can be reached is answered.
fn verify_handshake(callback: &Callback) -> Result<(), Rejection> {
    if !callback.is_handshake() {
        return Err(Rejection::NoCredentials);
    }
    webhook_reached();
    Ok(())
}

fn webhook_reached() {
    tracing::info!("the webhook can be reached");
}

/// The header's value, if it has one that is text.
fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    std::str::from_utf8(headers.get(name)?.as_bytes()).ok().filter(|text| !text.is_empty())
}
