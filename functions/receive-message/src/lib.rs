//! `POST /v1/liveAgent/receiveMessage`: takes an event of 8x8, proves that it is genuine, queues it, answers.
//!
//! 8x8 sends an event again until it gets a 2xx, so a 2xx is said only when SQS has the event.

mod answer;

use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use lambda_http::{Body, Request, Response};
use shared::aws;
use shared::clock::UnixTime;
use shared::config::{CallbackAuthentication, ConfigError, ContactCenterConfig, Environment, ExactUrl};
use shared::contact_center::event::Event;
use shared::contact_center::keys::PublicKeys;
use shared::contact_center::signature::{self, SignatureError, Signed};
use shared::http::{client, warm_up};
use shared::queue::{EventQueue, QueuedEvent};
use shared::telemetry;

use crate::answer::{Refusal, answer};

/// The largest body that is taken, in bytes: in base64 it is two thirds of what fits into a queue message.
const BODY_LIMIT: usize = 512 * 1024;

/// Events of no conversation share one group, and so keep their order among themselves.
const NO_CONVERSATION: &str = "no-conversation";

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    contact_center: ContactCenterConfig,
    queue_url: ExactUrl,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    pub fn read(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let CallbackAuthentication::Signature = environment.callback_authentication()?;
        Ok(Self { contact_center: environment.contact_center()?, queue_url: environment.event_queue_url()? })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct ReceiveMessage {
    keys: PublicKeys,
    tenant_id: Option<String>,
    queue: EventQueue,
}

impl ReceiveMessage {
    /// Opens the connections that the first event will need.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let Config { contact_center, queue_url } = config;
        let client = client()?;
        let sdk = aws::sdk_config(&client).await;
        tokio::join!(warm_up(&client, contact_center.key_endpoint.url()), warm_up(&client, queue_url.url()));
        Ok(Self {
            keys: PublicKeys::new(client, contact_center.key_endpoint),
            tenant_id: contact_center.tenant_id,
            queue: EventQueue::new(&sdk, &queue_url),
        })
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        answer(self.receive(&request, UnixTime::now()).await)
    }

    async fn receive(&self, request: &Request, now: UnixTime) -> Result<(), Refusal> {
        let (headers, body) = (request.headers(), bytes_of(request.body()));
        if body.len() > BODY_LIMIT {
            return Err(Refusal::TooLarge);
        }
        if !signature::is_present(headers) {
            return unsigned(&body);
        }
        let signed = signature::verify(&self.keys, headers, &body, now).await?;
        self.check_tenant(&signed)?;
        let event = Event::parse(&body)?;
        if event.is_web_hook_verify() {
            tracing::info!(event_type = event.name(), "the webhook can be reached");
            return Ok(());
        }
        self.enqueue(&event, &signed, headers, body, now).await
    }

    fn check_tenant(&self, signed: &Signed<'_>) -> Result<(), Refusal> {
        match &self.tenant_id {
            Some(tenant_id) if tenant_id != signed.tenant_id() => Err(Refusal::ForeignTenant),
            Some(_) | None => Ok(()),
        }
    }

    async fn enqueue(
        &self,
        event: &Event,
        signed: &Signed<'_>,
        headers: &HeaderMap,
        body: Bytes,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let queued = QueuedEvent {
            body,
            content_type: text(headers, CONTENT_TYPE.as_str()),
            headers: headers_of_8x8(headers),
            received_at: now,
        };
        let group = event.conversation_id.as_deref().unwrap_or(NO_CONVERSATION);
        self.queue.send(&queued, group, signed.event_id()).await?;
        let retry = signed.retry();
        telemetry::event_received(event.is_documented(), retry > 0);
        tracing::info!(event_type = event.name(), event_id = signed.event_id(), conversation = group, retry, "queued");
        Ok(())
    }
}

/// 8x8 does not say whether it signs the event that it verifies a webhook with, so that one passes unsigned: nothing
/// follows from it. No other does.
fn unsigned(body: &[u8]) -> Result<(), Refusal> {
    match Event::parse(body) {
        Ok(event) if event.is_web_hook_verify() => {
            tracing::info!(event_type = event.name(), "the webhook can be reached");
            Ok(())
        }
        Ok(_) | Err(_) => Err(SignatureError::Missing(signature::SIGNATURE).into()),
    }
}

fn bytes_of(body: &Body) -> Bytes {
    Bytes::copy_from_slice(body)
}

fn headers_of_8x8(headers: &HeaderMap) -> BTreeMap<String, String> {
    let names = headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-8x8-"));
    names.filter_map(|name| Some((name.to_owned(), text(headers, name)?))).collect()
}

/// The header's value, if it has only characters that a header is meant to have.
fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
