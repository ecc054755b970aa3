//! The pure paths: what the functions do with an event between two calls to the network, each through the public door
//! that the functions use. Nothing here differs from run to run, so that instructions can be compared.

use std::collections::BTreeMap;

use aws::cloud::{Cloud, sdk_config};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use lambda_http::{Body, Request};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use shared::caller::{Callers, CallersConfig};
use shared::clock::UnixTime;
use shared::contact_center::callback::{Callback, CallbackVerifier, Verification, Verified};
use shared::contact_center::keys::PublicKeys;
use shared::contact_center::signature;
use shared::queue::QueuedEvent;
use shared::secrets::SecretsManager;
use shared::url::BaseUrl;
use simulation::server::Server;

/// One of every type that 8x8 documents: Chat Gateway v1.0 and `WEB_HOOK_VERIFY`, then Chat API v2.0.
const EVENTS: [(&str, &str); 10] = [
    ("WEB_HOOK_VERIFY", r#"{"eventType":"WEB_HOOK_VERIFY"}"#),
    (
        "CONVERSATION_UPDATE",
        r#"{"eventType":"CONVERSATION_UPDATE","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","timestamp":1795305600000,"data":{"state":"created","user":{"name":"A Customer","userId":"c-1","language":"en"},"channel":"ChatAPI"}}"#,
    ),
    (
        "QUEUED",
        r#"{"eventType":"QUEUED","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","timestamp":1795305600000,"data":{"queueId":"101","queueName":"Support"}}"#,
    ),
    (
        "MEMBERS_CHANGED",
        r#"{"eventType":"MEMBERS_CHANGED","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","timestamp":1795305600000,"data":{"memberType":"agent","change":"joined","id":"agent-anna"}}"#,
    ),
    (
        "TRANSFER",
        r#"{"eventType":"TRANSFER","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","timestamp":1795305600000}"#,
    ),
    (
        "MESSAGE",
        r#"{"eventType":"MESSAGE","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","timestamp":1795305600000,"data":{"isEcho":false,"sender":{"id":"agent-anna","type":"agent"},"text":"I am looking at your order now"}}"#,
    ),
    (
        "ACTIVITY",
        r#"{"eventType":"ACTIVITY","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","timestamp":1795305600000,"data":{"name":"typing","value":{"users":["agent-anna"]}}}"#,
    ),
    (
        "AGENT_JOINED",
        r#"{"eventType":"AGENT_JOINED","messageType":"SYSTEM","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","agentId":"anna","agentName":"Anna","timestamp":1795305600000}"#,
    ),
    (
        "AGENT_LEFT",
        r#"{"eventType":"AGENT_LEFT","messageType":"SYSTEM","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","agentId":"anna","agentName":"Anna","timestamp":1795305600000}"#,
    ),
    (
        "TEXT",
        r#"{"eventType":"TEXT","messageType":"AGENT","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","agentId":"anna","agentName":"Anna","message":"I am looking at your order now","timestamp":1795305600000}"#,
    ),
];

/// A pure path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The crypto library's RSA-2048 verification alone: the measure of the others.
    BareRsa,
    /// 8x8's signature, from the headers to the verdict.
    VerifySignature,
    /// A caller's two headers.
    CheckBearer,
    /// An event of each documented type, by its place in their list.
    ParseEvent(usize),
    /// The queue's message of an event.
    BuildMessage,
    /// The event of a queue's message, and the headers that the bot platform gets with it.
    BuildDelivery,
}

impl Operation {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::BareRsa, Self::VerifySignature, Self::CheckBearer];
        all.extend((0..EVENTS.len()).map(Self::ParseEvent));
        all.extend([Self::BuildMessage, Self::BuildDelivery]);
        all
    }

    /// What the tables call it.
    pub fn name(self) -> String {
        match self {
            Self::BareRsa => "bare RSA-2048 verification".to_owned(),
            Self::VerifySignature => "verify a signature".to_owned(),
            Self::CheckBearer => "check a bearer".to_owned(),
            Self::ParseEvent(place) => format!("parse {}", EVENTS.get(place).map_or("nothing", |(name, _)| name)),
            Self::BuildMessage => "build a queue message".to_owned(),
            Self::BuildDelivery => "build a delivery".to_owned(),
        }
    }
}

#[derive(Deserialize)]
struct Signed {
    jwk: serde_json::Value,
    headers: BTreeMap<String, String>,
    signing_input: String,
    body: String,
}

/// All that the operations work on, ready to be used again and again.
pub struct Subjects {
    bare_key: ParsedPublicKey,
    signing_input: Vec<u8>,
    signature: Vec<u8>,
    keys: PublicKeys,
    headers: HeaderMap,
    body: Bytes,
    now: UnixTime,
    callers: Callers,
    caller_headers: HeaderMap,
    events: Vec<Verified>,
    queued: QueuedEvent,
    message: String,
    _servers: [Server; 2],
}

impl Subjects {
    /// Fetches the key, reads the caller's secret and issues a token: what the first event pays and no other.
    pub async fn prepare() -> Self {
        let signed: Signed =
            serde_json::from_str(include_str!("../fixtures/signed.json")).expect("the fixture is ours");
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64");
        let part = |name: &str| decode(signed.jwk[name].as_str().expect("a JWK has its parts"));
        let bare_key = RsaPublicKeyComponents { n: part("n"), e: part("e") };
        let bare_key = bare_key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).expect("an RSA key");
        let (_, signature) = signed.headers["x-8x8-signature"].split_once("..").expect("a detached JWS");
        let transmitted_at = signed.headers["x-8x8-transmission-time"].parse().expect("a time");

        let client = shared::http::client().expect("a client");
        let jwk = signed.jwk.to_string();
        let key_server = Server::start(Router::new().route("/jwk/{id}/public", get(async || jwk))).await;
        let keys = PublicKeys::new(client, BaseUrl::parse(&key_server.url()).expect("loopback"));

        let (cloud, cloud_server) =
            Cloud::start(Default::default(), simulation::journal::Journal::new(false).into()).await;
        let login = json!({
            "app_token": "app-token", "username": "user", "password": "password", "signing_key": "k".repeat(43),
        });
        cloud.secrets.set("caller", &login);
        let callers = || {
            let config = CallersConfig { integration_name: "acme".to_owned(), secret_id: "caller".to_owned() };
            let sdk = sdk_config(&cloud_server.url(), shared::aws::Transport::new().expect("a client"));
            Callers::new(config, &SecretsManager::new(&sdk))
        };
        let (verifier, callers) = (CallbackVerifier::Headers(callers()), callers());
        let now = UnixTime::from_millis(transmitted_at);
        let tokens =
            callers.issue_for_password("app-token", "user", "password", std::time::Duration::from_secs(60), now);
        let token = tokens.await.expect("the login is right").access_token;
        let bearer = format!("Bearer {}", token.expose_secret());
        let caller_headers = headers([("x-app-token", "app-token"), ("authorization", &bearer)]);

        let mut events = Vec::new();
        for (_, body) in EVENTS {
            let mut request = Request::new(Body::Text(body.to_owned()));
            *request.headers_mut() = caller_headers.clone();
            let verification = verifier.verify(Callback::from(request), now).await.expect("the caller is known");
            let Verification::Complete(event) = verification else { panic!("the caller's headers are there") };
            events.push(event);
        }

        let body = Bytes::from(signed.body);
        let of_8x8 = signed.headers.iter().filter(|(name, _)| name.starts_with("x-8x8-"));
        let queued = QueuedEvent {
            body: body.clone(),
            content_type: Some("application/json".to_owned()),
            headers: of_8x8.map(|(name, value)| (name.clone(), value.clone())).collect(),
            received_at: now,
            event_type: Some("MESSAGE".to_owned()),
            is_typing: false,
        };
        let subjects = Self {
            bare_key,
            signature: decode(signature),
            signing_input: signed.signing_input.into_bytes(),
            keys,
            headers: headers(signed.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
            body,
            now,
            callers,
            caller_headers,
            events,
            message: queued.to_message().expect("it is JSON"),
            queued,
            _servers: [key_server, cloud_server],
        };
        for operation in Operation::all() {
            subjects.run(operation).await;
        }
        subjects
    }

    /// Does it once.
    ///
    /// # Panics
    /// If it fails: then something else would be measured.
    pub async fn run(&self, operation: Operation) {
        match operation {
            Operation::BareRsa => {
                self.bare_key.verify_sig(&self.signing_input, &self.signature).expect("the signature is genuine");
            }
            Operation::VerifySignature => {
                let verified = signature::verify(&self.keys, &self.headers, &self.body, self.now).await;
                verified.expect("the signature is genuine");
            }
            Operation::CheckBearer => {
                self.callers.check(&self.caller_headers, self.now).await.expect("the caller is known");
            }
            Operation::ParseEvent(place) => {
                assert!(self.events[place].event().expect("it is an event").is_documented());
            }
            Operation::BuildMessage => {
                assert!(!self.queued.to_message().expect("it is JSON").is_empty());
            }
            Operation::BuildDelivery => {
                let event = QueuedEvent::from_message(&self.message).expect("it is ours");
                let headers = headers(event.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                assert_eq!(headers.len(), event.headers.len());
            }
        }
    }
}

fn headers<'h>(pairs: impl IntoIterator<Item = (&'h str, &'h str)>) -> HeaderMap {
    let header = |(name, value): (&str, &str)| -> (HeaderName, HeaderValue) {
        (name.parse().expect("a header's name"), value.parse().expect("a header's value"))
    };
    pairs.into_iter().map(header).collect()
}
