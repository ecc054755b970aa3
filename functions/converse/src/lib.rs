//! `/v1/liveAgent/conversations…`: 8x8's Chat Gateway conversation API, one to one, for the bot. The bridge adds 8x8's
//! credentials and tenant, the registered channel and queue, and what 8x8 lacks: that a request which got no answer can be
//! repeated without anything being said twice.

mod answer;
mod chat_api_v2;
mod creation;
mod dialect;
mod memory;
mod operation;
mod read_back;
mod sending;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use lambda_http::{Body, Request, RequestExt, Response};
use serde_json::{Map, Value};
use shared::aws::{self, Transport};
use shared::caller::Callers;
use shared::clock::UnixTime;
use shared::config::{CallersConfig, ConfigError, ContactCenterAuthentication, ContactCenterConfig, Environment};
use shared::contact_center::authentication::Access;
use shared::contact_center::client::{Answer, ContactCenter};
use shared::contact_center::saved::SavedChannel;
use shared::digest::sha256_hex;
use shared::http::{client, warm_up};
use shared::secrets::{Secret, SecretsManager};

use crate::answer::{Refusal, answer};
use crate::creation::{correlate, fill_in, lacks_channel};
use crate::memory::{Key, Memo, Memory, Window};
use crate::operation::{Call, Content, Operation};
use crate::read_back::{Evidence, Line};

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    contact_center: ContactCenterConfig,
    authentication: ContactCenterAuthentication,
    credentials_secret_id: String,
    channel_secret_id: String,
    callers: CallersConfig,
    idempotency_table: String,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn read(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            contact_center: environment.contact_center()?,
            authentication: environment.contact_center_authentication()?,
            credentials_secret_id: environment.contact_center_secret_id()?,
            channel_secret_id: environment.channel_secret_id()?,
            callers: environment.callers()?,
            idempotency_table: environment.idempotency_table()?,
        })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct Converse {
    callers: Callers,
    contact_center: ContactCenter,
    channel: Secret<SavedChannel>,
    memory: Memory,
}

/// One request, as far as it is known before anything is asked of anyone.
struct Incoming<'r> {
    call: Call<'r>,
    method: &'r http::Method,
    content: Content,
    /// Lambda's id of the invocation.
    id: String,
    now: UnixTime,
}

/// One request that 8x8 has answered.
struct Done {
    answer: Answer,
    /// When the attempt began that was answered.
    at: UnixTime,
    /// The id of the line that it would say.
    line: Option<String>,
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
        let access = Access::new(client.clone(), &secrets, config.authentication, config.credentials_secret_id);
        let (endpoint, now) = (config.contact_center.endpoint.url(), UnixTime::now());
        tokio::join!(callers.warm_up(now), access.warm_up(now), channel.warm_up(now), warm_up(&client, endpoint));
        Ok(Self {
            callers,
            contact_center: ContactCenter::new(client, config.contact_center, access),
            channel,
            memory: Memory::new(&sdk, config.idempotency_table),
        })
    }

    /// Answers one request.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        let id = request.lambda_context().request_id;
        let (parts, body) = request.into_parts();
        let call = match self.callers.check(&parts.headers, UnixTime::now()).await {
            Ok(()) => Call::parse(&parts.method, parts.uri.path()).map_err(Refusal::from),
            Err(error) => Err(error.into()),
        };
        let call = match call {
            Ok(call) => call,
            Err(refusal) => return answer(None, Err(refusal)),
        };
        let content = Content {
            query: parts.uri.query().map(str::to_owned),
            content_type: parts.headers.get(CONTENT_TYPE).cloned(),
            body: bytes_of(body),
        };
        let operation = call.operation;
        let incoming = Incoming { call, method: &parts.method, content, id, now: UnixTime::now() };
        let key = if operation.adds() { Key::read(&parts.headers) } else { Ok(None) };
        let outcome = match key {
            Ok(Some(key)) => self.converse_once(incoming, &key).await,
            Ok(None) => self.converse_unkept(incoming).await,
            Err(refusal) => Err(refusal),
        };
        answer(Some(operation), outcome)
    }

    /// A request without an `Idempotency-Key`.
    async fn converse_unkept(&self, incoming: Incoming<'_>) -> Result<Answer, Refusal> {
        let correlation = correlation_of(&incoming.id);
        let done = self.converse(incoming, correlation, None).await?;
        self.remember(&done).await;
        Ok(done.answer)
    }

    /// A request with an `Idempotency-Key`: worked on once, answered as often as it comes.
    async fn converse_once(&self, incoming: Incoming<'_>, key: &Key) -> Result<Answer, Refusal> {
        let attempt = match self.memory.take(key, &digest(&incoming), &incoming.id, incoming.now).await? {
            Memo::Answered(answer) => return Ok(answer),
            Memo::Ours(attempt) => attempt,
        };
        match self.converse(incoming, key.correlation(&attempt), attempt.former).await {
            Ok(done) if is_final(&done.answer) => {
                // In this order: a process that dies in between leaves a line that is known to be this request's.
                self.memory.keep(key, &attempt, &done.answer).await;
                self.remember(&done).await;
                Ok(done.answer)
            }
            Ok(done) => {
                self.memory.release(key, &attempt, false).await;
                Ok(done.answer)
            }
            Err(refusal) => {
                let in_doubt = refusal.is_in_doubt() || attempt.former.is_some();
                self.memory.release(key, &attempt, in_doubt).await;
                Err(refusal)
            }
        }
    }

    async fn remember(&self, done: &Done) {
        if let Some(line) = &done.line
            && done.answer.status.is_success()
        {
            self.memory.remember(line, done.at).await;
        }
    }

    async fn converse(
        &self,
        incoming: Incoming<'_>,
        correlation: String,
        former: Option<Window>,
    ) -> Result<Done, Refusal> {
        let Incoming { call, method, mut content, now, .. } = incoming;
        let query = content.query.clone();
        let evidence = if call.operation == Operation::CreateConversation {
            self.complete(&mut content, correlation, now).await?
        } else if call.operation == Operation::SendMessage {
            serde_json::from_slice(&content.body).map_or(Evidence::None, |line| Evidence::Line(Line::sent(&line)))
        } else {
            Evidence::None
        };
        let config = self.contact_center.config();
        let outgoing = dialect::outgoing(config, method, &call, content)?;
        let sent = sending::carry_out(&self.contact_center, &self.memory, &call, &outgoing, &evidence, former).await?;
        let line = match (&evidence, call.conversation()) {
            (Evidence::Line(line), Some(conversation)) => Some(line.id(conversation)),
            _ => None,
        };
        let answer = dialect::answer(config, &call, query.as_deref(), sent.answer);
        Ok(Done { answer, at: sent.at, line })
    }

    /// Completes the body of a creation. One that is no JSON object is left for 8x8 to refuse.
    async fn complete(&self, content: &mut Content, correlation: String, now: UnixTime) -> Result<Evidence, Refusal> {
        let Ok(mut body) = serde_json::from_slice::<Map<String, Value>>(&content.body) else {
            return Ok(Evidence::None);
        };
        if lacks_channel(&body) {
            let saved = self.channel.get(now).await.map_err(|error| Refusal::Unavailable(error.to_string()))?;
            let saved = match saved.content.registration() {
                Some(_) => saved,
                // It may have been registered since.
                None => self.channel.read(now).await.map_err(|error| Refusal::Unavailable(error.to_string()))?,
            };
            let registered = saved.content.registration().ok_or(Refusal::NotRegistered)?;
            fill_in(&mut body, registered, self.contact_center.api());
        }
        let is_correlated = correlate(&mut body, &correlation);
        content.body = Value::Object(body).to_string().into();
        Ok(if is_correlated { Evidence::Creation(correlation) } else { Evidence::None })
    }
}

/// What a request is known by beside its key. A form's boundary is drawn anew for each repeat, so that a form is known by
/// its path alone.
fn digest(incoming: &Incoming<'_>) -> String {
    let is_form = incoming.content.content_type.as_ref().is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/"));
    let body = if is_form { String::new() } else { sha256_hex(&incoming.content.body) };
    sha256_hex(format!("{} {} {body}", incoming.method, incoming.call.path.join("/")).as_bytes())
}

/// Whether an answer stays what it is when the request is repeated: not where 8x8 asks for a repeat or has failed.
fn is_final(answer: &Answer) -> bool {
    use http::StatusCode;

    let asks_again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    !answer.status.is_server_error() && !asks_again.contains(&answer.status)
}

/// A name for what a request without a key creates.
fn correlation_of(invocation: &str) -> String {
    sha256_hex(invocation.as_bytes()).split_off(32)
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
