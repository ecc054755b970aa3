//! `/v1/liveAgent/conversations…`: 8x8's Chat Gateway conversation API, one to one, for the bot. The bridge adds 8x8's
//! credentials and tenant, the registered channel and queue, and what 8x8 lacks: a request takes effect once although 8x8 may
//! not respond.
//!
//! | module | owns |
//! |---|---|
//! | `routes` | the operations: one row each |
//! | `conversation` | what the bridge adds to a creation |
//! | `idempotency` | the header `Idempotency-Key`: a request is carried out once |
//! | `delivery` | what happens when 8x8 does not respond: a request takes effect once |
//! | `upstream` | 8x8, in either of its two APIs |
//! | `handover` | the state of a hand-over, which is the bridge's own |
//! | `table` | the DynamoDB table behind `idempotency` and `delivery` |
//! | `error`, `response`, `file_name` | what the caller gets |
//! | `json` | changes in a body that leave the rest as it is |

mod conversation;
mod delivery;
mod error;
mod file_name;
mod handover;
mod idempotency;
mod json;
mod response;
mod routes;
mod table;
mod upstream;

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use lambda_http::{Body, Request, RequestExt, Response};
use serde_json::Value;
use shared::aws::{self, Lazy, Transport, lazily};
use shared::caller::{Callers, CallersConfig};
use shared::clock::UnixTime;
use shared::contact_center::authentication::Authenticator;
use shared::contact_center::client::{self, ContactCenter};
use shared::contact_center::config::{
    ContactCenterAuthentication, ContactCenterConfig, channel_secret_id, credentials_secret_id,
};
use shared::contact_center::saved::{Registration, SavedChannel};
use shared::digest::sha256_hex;
use shared::environment::{ConfigError, Environment};
use shared::handover::table::{HandoverTable, handover_table};
use shared::http::{client, warm_up};
use shared::queue::permitted_id;
use shared::secrets::{Secret, SecretsManager};
use shared::trace;
use tokio::task::yield_now;
use tokio::time::timeout;
use tracing::{Instrument, Span};

use crate::conversation::{apply_defaults, lacks_channel};
use crate::delivery::{
    Delivered, Delivery, Entry, Fingerprint, Interval, LogChange, MessageFingerprint, NotDelivered, SentLog,
};
use crate::error::Error;
use crate::idempotency::{IdempotencyStore, Key, KeyedRequest, Once};
use crate::json::{Object, text_of};
use crate::response::{ENDED, respond};
use crate::routes::{Call, NoRoute, Operation, Route};
use crate::table::{Table, table_name};
use crate::upstream::Upstream;

/// What is left of the function's time-out when 8x8's response is there at the latest: for one write to the table
/// ([`idempotency::STORE_TIMEOUT`]) and the way back.
const RESPONSE_TIME: Duration = Duration::from_millis(2500);

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    contact_center: ContactCenterConfig,
    authentication: ContactCenterAuthentication,
    credentials_secret_id: String,
    channel_secret_id: String,
    callers: CallersConfig,
    idempotency_table: String,
    handover_table: String,
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
            authentication: ContactCenterAuthentication::from_environment(environment)?,
            credentials_secret_id: credentials_secret_id(environment)?,
            channel_secret_id: channel_secret_id(environment)?,
            callers: CallersConfig::from_environment(environment)?,
            idempotency_table: table_name(environment)?,
            handover_table: handover_table(environment)?,
        })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct Converse {
    callers: Callers,
    upstream: Upstream,
    channel: Secret<SavedChannel>,
    table: Table,
    handovers: Lazy<HandoverTable>,
}

/// A request of a known caller to an operation.
struct Incoming<'r> {
    call: Call<'r>,
    query: Option<&'r str>,
    content_type: Option<HeaderValue>,
    body: Bytes,
    /// Lambda's id of the invocation.
    invocation: String,
    now: UnixTime,
    /// When 8x8's response has to be there.
    deadline: UnixTime,
}

impl Incoming<'_> {
    /// If it sends a message: what the message is recognised by.
    fn message(&self) -> Option<MessageFingerprint> {
        let is_message = self.call.route.operation == Operation::SendMessage;
        if is_message { text_of(&self.body).and_then(MessageFingerprint::of_sent) } else { None }
    }
}

impl Converse {
    /// Opens the connections that the first request will need.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let client = client()?;
        let sdk = aws::sdk_config(&Transport::new()?).await;
        let secrets = SecretsManager::new(&sdk);
        let callers = Callers::new(config.callers, &secrets);
        let channel = secrets.secret(config.channel_secret_id);
        let authenticator =
            Authenticator::new(client.clone(), &secrets, config.authentication, config.credentials_secret_id);
        let (endpoint, now) = (config.contact_center.endpoint.url(), UnixTime::now());
        // The table's client is made while 8x8 and Secrets Manager respond.
        let ((), (), (), (), table) = tokio::join!(
            warm_up(&client, endpoint),
            callers.warm_up(now),
            authenticator.warm_up(now),
            channel.warm_up(now),
            async { Table::new(&sdk, config.idempotency_table) }
        );
        Ok(Self {
            callers,
            upstream: Upstream::new(ContactCenter::new(client, config.contact_center, authenticator)),
            channel,
            table,
            handovers: lazily(&sdk, |sdk| HandoverTable::new(sdk, config.handover_table)),
        })
    }

    /// Responds to one request, with one log line of the step `call`.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        let began = UnixTime::now();
        let context = request.lambda_context();
        let (parts, body) = request.into_parts();
        let call = Call::parse(&parts.method, parts.uri.path());
        let (operation, conversation) = match &call {
            Ok(call) => (call.route.name, call.conversation()),
            Err(_) => ("unknown", None),
        };
        let span = trace::call_span(operation, conversation.map(permitted_id).as_deref());
        let invocation = context.request_id.clone();
        async {
            let (route, outcome) = self.result(&parts, body, call, context).await;
            respond(route, outcome, &invocation, began)
        }
        .instrument(span)
        .await
    }

    /// 8x8's response or the error, and the operation where the caller is known.
    async fn result(
        &self,
        parts: &http::request::Parts,
        body: Body,
        call: Result<Call<'_>, NoRoute>,
        context: lambda_runtime::Context,
    ) -> (Option<&'static Route>, Result<client::Response, Error>) {
        let call = match self.callers.check(&parts.headers, UnixTime::now()).await {
            Ok(()) => call.map_err(Error::from),
            Err(error) => Err(error.into()),
        };
        let call = match call {
            Ok(call) => call,
            Err(error) => return (None, Err(error)),
        };
        let route = call.route;
        let incoming = Incoming {
            call,
            query: parts.uri.query(),
            content_type: parts.headers.get(CONTENT_TYPE).cloned(),
            body: bytes_of(body),
            invocation: context.request_id,
            now: UnixTime::now(),
            deadline: UnixTime::from_millis(context.deadline) - RESPONSE_TIME,
        };
        if let (Operation::ShowHandover, Some(conversation)) = (route.operation, incoming.call.conversation()) {
            return (Some(route), handover::show(&self.handovers, conversation).await);
        }
        let outcome = match if route.takes_key { Key::read(&parts.headers) } else { Ok(None) } {
            Ok(Some(key)) => {
                Span::current().record("key", key.short());
                self.converse_once(incoming, &key).await
            }
            Ok(None) => self.converse_without_key(incoming).await,
            Err(error) => Err(error),
        };
        if let Ok(response) = &outcome
            && route.operation == Operation::CreateConversation
            && let Some(id) = created_id(response)
        {
            Span::current().record("conversation_id", &*permitted_id(&id));
        }
        (Some(route), outcome)
    }

    /// A request with an `Idempotency-Key`.
    async fn converse_once(&self, incoming: Incoming<'_>, key: &Key) -> Result<client::Response, Error> {
        let Incoming { call, content_type, body, .. } = &incoming;
        let fingerprint = idempotency::fingerprint(call.route.method(), &call.path, content_type.as_ref(), body).await;
        let message = call.conversation().zip(incoming.message());
        let request = KeyedRequest { key, fingerprint, invocation: &incoming.invocation, message };
        let work = async |acquired: &idempotency::Acquired| {
            self.converse(&incoming, &acquired.correlation, acquired.previous_attempt).await
        };
        let Once { mut response, is_replayed } =
            IdempotencyStore::new(&self.table).once(&request, incoming.now, work).await?;
        if is_replayed
            && call.route.operation == Operation::CreateConversation
            && self.has_ended(&incoming, &response).await
        {
            response.headers.insert(ENDED, HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    /// A request without an `Idempotency-Key`: a repeat of it is another request.
    async fn converse_without_key(&self, incoming: Incoming<'_>) -> Result<client::Response, Error> {
        let correlation = sha256_hex(incoming.invocation.as_bytes()).split_off(32);
        let entry = incoming.call.conversation().zip(incoming.message());
        let entry = entry.map(|(conversation, message)| Entry::new(conversation, &correlation, message));
        let sending = async {
            // The request to 8x8 leaves first, and this is prepared while 8x8 works on it.
            yield_now().await;
            match &entry {
                Some(entry) => {
                    let log = SentLog::new(&self.table);
                    log.apply(log.sending(entry, incoming.now)?).await
                }
                None => Ok(()),
            }
        };
        // At the same time: without a key nothing is promised for a process that ends in between.
        let (outcome, logged) = tokio::join!(biased; self.converse(&incoming, &correlation, None), sending);
        let log_change = match &outcome {
            Ok(delivered) => delivered.log_change,
            Err(NotDelivered { unknown: None, .. }) => LogChange::Removed,
            // It stays a message that may be at 8x8.
            Err(NotDelivered { unknown: Some(_), .. }) => LogChange::None,
        };
        match (logged, entry) {
            (Ok(()), Some(entry)) => log_after_response(self.table.clone(), entry, log_change),
            (Ok(()), None) => {}
            (Err(error), _) => tracing::warn!(%error, "a message is not recorded as sent"),
        }
        outcome.map(|delivered| delivered.response).map_err(|failed| failed.error)
    }

    /// Asks 8x8. `correlation` is the name of what the request creates there.
    async fn converse(
        &self,
        incoming: &Incoming<'_>,
        correlation: &str,
        previous: Option<Interval>,
    ) -> Result<Delivered, NotDelivered> {
        let fingerprint = match (incoming.call.route.operation, incoming.call.conversation(), incoming.message()) {
            (Operation::CreateConversation, ..) => return self.create(incoming, correlation, previous).await,
            (Operation::SendMessage, Some(conversation), Some(message)) => {
                Fingerprint::Message { conversation: conversation.to_owned(), message }
            }
            _ => Fingerprint::None,
        };
        self.deliver(incoming, incoming.body.clone(), &fingerprint, correlation, previous).await
    }

    /// Creates a conversation, on the registered channel if the body names none.
    async fn create(
        &self,
        incoming: &Incoming<'_>,
        correlation: &str,
        previous: Option<Interval>,
    ) -> Result<Delivered, NotDelivered> {
        let failed = |error| NotDelivered { error, unknown: previous };
        let body = text_of(&incoming.body).and_then(Object::parse).ok_or_else(|| failed(Error::InvalidBody))?;
        let is_filled_in = lacks_channel(&body);
        let registered = match is_filled_in {
            true => Some(self.registration(incoming.now).await.map_err(failed)?),
            false => None,
        };
        let create = async |registered: Option<&Registration>, previous| {
            let creation = apply_defaults(&body, registered, correlation, self.upstream.creation_rules());
            let fingerprint = match creation.is_correlated {
                true => Fingerprint::Conversation { correlation: correlation.to_owned() },
                false => Fingerprint::None,
            };
            self.deliver(incoming, creation.body.into(), &fingerprint, correlation, previous).await
        };
        let mut delivered = create(registered.as_ref(), previous).await?;
        if !is_filled_in || !delivered.response.status.is_client_error() {
            return Ok(delivered);
        }
        // It may be about what the bridge has filled in, which may have changed since it was read.
        let remaining = incoming.deadline.since(UnixTime::now());
        let current = match timeout(remaining, self.channel.read(UnixTime::now())).await {
            Ok(Ok(saved)) => saved.content.registration().cloned(),
            Ok(Err(error)) => {
                tracing::warn!(%error, "it is unknown whether the registered channel has changed");
                None
            }
            Err(_) => None,
        };
        if let Some(current) = &current
            && registered.as_ref().is_none_or(|used| !used.same(current))
        {
            delivered = create(Some(current), None).await?;
        }
        // A rejection that the bot did not cause is not kept for a day.
        delivered.is_final &= !delivered.response.status.is_client_error();
        Ok(delivered)
    }

    async fn deliver(
        &self,
        incoming: &Incoming<'_>,
        body: Bytes,
        fingerprint: &Fingerprint,
        correlation: &str,
        previous: Option<Interval>,
    ) -> Result<Delivered, NotDelivered> {
        let request = upstream::Request {
            call: &incoming.call,
            query: incoming.query,
            content_type: incoming.content_type.clone(),
            body,
            key: Some(correlation),
        };
        let delivery = Delivery { upstream: &self.upstream, table: &self.table, deadline: incoming.deadline };
        delivery.deliver(&request, fingerprint, correlation, previous).await
    }

    /// What is registered, as it was read at most five minutes ago, or now if nothing was registered then.
    async fn registration(&self, now: UnixTime) -> Result<Registration, Error> {
        let unavailable = |error: shared::secrets::SecretError| Error::Unavailable(error.to_string());
        let saved = self.channel.get(now).await.map_err(unavailable)?;
        if let Some(registered) = saved.content.registration() {
            return Ok(registered.clone());
        }
        let saved = self.channel.read(now).await.map_err(unavailable)?;
        saved.content.registration().cloned().ok_or(Error::NotRegistered)
    }

    /// Whether the conversation that a replayed response names has ended. If that cannot be found out, it has not.
    async fn has_ended(&self, incoming: &Incoming<'_>, replayed: &client::Response) -> bool {
        let Some(id) = created_id(replayed) else { return false };
        let call = Call { route: Route::of(Operation::ShowConversation), path: vec![&id] };
        let show = upstream::Request { call: &call, query: None, content_type: None, body: Bytes::new(), key: None };
        match self.upstream.send(&show, incoming.deadline).await {
            Ok(shown) => {
                let shown: Value = serde_json::from_slice(&shown.body).unwrap_or_default();
                shown.get("state").is_some_and(|state| state == "idle")
            }
            Err(_) => false,
        }
    }
}

/// Records what became of a message without a key. The bot does not wait for it: its response does not depend on it. Lambda
/// may freeze the process first, and let it go on with the next invocation
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>). Until it is recorded, the message is one
/// that may be at 8x8: an equal one whose outcome is unknown is not mistaken for it, but may stay unknown.
fn log_after_response(table: Table, entry: Entry, change: LogChange) {
    let write = async move {
        // The response leaves first.
        yield_now().await;
        let log = SentLog::new(&table);
        match log.outcome(&entry, change)? {
            Some(change) => log.apply(change).await,
            None => Ok(()),
        }
    };
    let write = async {
        if let Err(error) = write.await {
            tracing::warn!(%error, "a message is not recorded as sent");
        }
    };
    tokio::spawn(write.in_current_span());
}

/// The conversation that a response to its creation names.
fn created_id(response: &client::Response) -> Option<String> {
    let created: Value = serde_json::from_slice(&response.body).ok()?;
    created.get("conversationId").and_then(Value::as_str).map(str::to_owned)
}

fn bytes_of(body: Body) -> Bytes {
    match body {
        Body::Empty => Bytes::new(),
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        // No other kind exists; the enumeration is open.
        _ => Bytes::new(),
    }
}
