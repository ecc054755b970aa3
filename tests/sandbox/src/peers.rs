//! 8x8 and a bot platform alone, for a function set that is deployed elsewhere, with an HTTP API to control them.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /registered` | the webhooks and channels, as 8x8 shows them |
//! | `POST /foreign` `{"name","uri"}` | a webhook and a channel of another integration |
//! | `POST /repoint` `{"webhook_id","uri"}` | an edit in 8x8's console, as are the next three |
//! | `POST /move` `{"channel_id","webhook_id"}` | |
//! | `POST /rename` `{"id","name"}` | |
//! | `POST /remove` `{"id"}` | |
//! | `POST /fail` `{"method","path","status"?,"times"?}` | the next calls to that resource get 400 (the default) or 500 |
//! | `POST /sign`, body: an event | `{"headers"}`: 8x8's signature of these bytes, now |
//! | `POST /conversations` `{"channel_id"}` | `{"conversation_id"}`; nothing is sent |
//! | `POST /conversations/{id}/events?type=T`, body: an event | 8x8 sends it to the channel's webhook |
//! | `GET /accepted` | `{conversation: [event id]}`: what got a 2xx from us, in order |
//! | `GET /receipts` | `{conversation: [{"event_id","body"}]}`: what the bot platform has, the body in base64 |
//! | `POST /refuse` `{"conversation_id","status"}` | the bot platform refuses the events of that conversation |
//! | `POST /take` `{"conversation_id"}` | it takes them again |
//! | `GET /refused/{status}` | how often it answered an event with that status |
//! | `GET /said/{conversation}` | `[[author, text]]`: what was said in it at 8x8 |
//! | `GET /violations` | what either of them found wrong |

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bot_platform::{BotPlatform, BotPlatformSettings};
use crate::contact_center::signer::Claims;
use crate::contact_center::{ContactCenter, ContactCenterSettings, FailureKind};
use crate::faults::Faults;
use crate::journal::Journal;
use crate::server::Server;

/// The running peers.
#[derive(Debug)]
pub struct Peers {
    /// Where they listen.
    pub addresses: Addresses,
    _servers: Vec<Server>,
}

/// Where they listen, all as URLs.
#[derive(Debug, Serialize)]
pub struct Addresses {
    /// The stack parameter `Endpoint`.
    pub contact_center_endpoint: String,
    /// The stack parameter `AccessTokenUrl`.
    pub access_token_url: String,
    /// The stack parameter `BotEndpoint`.
    pub bot_endpoint: String,
    /// The control API.
    pub control: String,
}

#[derive(Debug)]
struct Controlled {
    contact_center: Arc<ContactCenter>,
    bot: Arc<BotPlatform>,
}

type Shared = State<Arc<Controlled>>;

impl Peers {
    /// Starts 8x8, the bot platform and the control API on free loopback ports.
    pub async fn start(contact_center: ContactCenterSettings, bot: BotPlatformSettings) -> Self {
        let faults = Arc::new(Faults::default());
        let journal = Arc::new(Journal::new(false));
        let (contact_center, contact_center_server) =
            ContactCenter::start(contact_center, Arc::clone(&faults), Arc::clone(&journal)).await;
        let (bot, bot_server) = BotPlatform::start(bot, faults, journal).await;
        let endpoint = ContactCenter::endpoint(contact_center.settings(), &contact_center_server.url());
        let control = Server::start(control(Arc::new(Controlled { contact_center, bot }))).await;
        let addresses = Addresses {
            contact_center_endpoint: endpoint,
            access_token_url: format!("{}/oauth/v2/token", contact_center_server.url()),
            bot_endpoint: bot_server.url(),
            control: control.url(),
        };
        Self { addresses, _servers: vec![contact_center_server, bot_server, control] }
    }
}

fn control(controlled: Arc<Controlled>) -> Router {
    Router::new()
        .route("/registered", get(registered))
        .route("/foreign", post(foreign))
        .route("/repoint", post(repoint))
        .route("/move", post(move_channel))
        .route("/rename", post(rename))
        .route("/remove", post(remove))
        .route("/fail", post(fail))
        .route("/sign", post(sign))
        .route("/conversations", post(open))
        .route("/conversations/{id}/events", post(send))
        .route("/accepted", get(accepted))
        .route("/receipts", get(receipts))
        .route("/refuse", post(refuse))
        .route("/take", post(take))
        .route("/refused/{status}", get(refused))
        .route("/said/{id}", get(said))
        .route("/violations", get(violations))
        .with_state(controlled)
}

async fn registered(State(peers): Shared) -> Json<Value> {
    let (webhooks, channels) = peers.contact_center.registered();
    Json(json!({ "webhooks": webhooks, "channels": channels }))
}

#[derive(Deserialize)]
struct Foreign {
    name: String,
    uri: String,
}

async fn foreign(State(peers): Shared, Json(foreign): Json<Foreign>) -> Json<Value> {
    let (webhook_id, channel_id) = peers.contact_center.add_foreign(&foreign.name, &foreign.uri);
    Json(json!({ "webhook_id": webhook_id, "channel_id": channel_id }))
}

#[derive(Deserialize)]
struct Repointed {
    webhook_id: String,
    uri: String,
}

async fn repoint(State(peers): Shared, Json(repointed): Json<Repointed>) {
    peers.contact_center.repoint(&repointed.webhook_id, &repointed.uri);
}

#[derive(Deserialize)]
struct Moved {
    channel_id: String,
    webhook_id: String,
}

async fn move_channel(State(peers): Shared, Json(moved): Json<Moved>) {
    peers.contact_center.move_channel(&moved.channel_id, &moved.webhook_id);
}

#[derive(Deserialize)]
struct Renamed {
    id: String,
    name: String,
}

async fn rename(State(peers): Shared, Json(renamed): Json<Renamed>) {
    peers.contact_center.rename(&renamed.id, &renamed.name);
}

#[derive(Deserialize)]
struct Removed {
    id: String,
}

async fn remove(State(peers): Shared, Json(removed): Json<Removed>) {
    peers.contact_center.remove(&removed.id);
}

#[derive(Deserialize)]
struct Failing {
    method: String,
    path: String,
    #[serde(default = "bad_request")]
    status: u16,
    #[serde(default = "once")]
    times: usize,
}

const fn bad_request() -> u16 {
    400
}

const fn once() -> usize {
    1
}

async fn fail(State(peers): Shared, Json(failing): Json<Failing>) -> Response {
    let kind = match failing.status {
        400 => FailureKind::Status400,
        500 => FailureKind::Status500,
        _ => return (StatusCode::BAD_REQUEST, "status: 400 or 500").into_response(),
    };
    for _ in 0..failing.times {
        peers.contact_center.break_next(&*failing.method, &*failing.path, kind, false);
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn sign(State(peers): Shared, body: Bytes) -> Json<Value> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    let claims = Claims {
        tenant_id: peers.contact_center.settings().tenant_id.clone(),
        customer_id: "sandbox-customer".to_owned(),
        event_id: crate::id::base64(),
        retry: 0,
        transmission_time: since_1970.as_millis(),
    };
    let headers: BTreeMap<_, _> = peers.contact_center.signer().headers(&body, &claims).into_iter().collect();
    Json(json!({ "headers": headers }))
}

#[derive(Deserialize)]
struct Opened {
    channel_id: String,
}

async fn open(State(peers): Shared, Json(opened): Json<Opened>) -> Response {
    let (_, channels) = peers.contact_center.registered();
    if !channels.iter().any(|channel| channel["id"] == opened.channel_id) {
        return (StatusCode::NOT_FOUND, "no such channel").into_response();
    }
    let conversation = peers.contact_center.open_conversation(&opened.channel_id);
    Json(json!({ "conversation_id": conversation.id() })).into_response()
}

async fn send(
    State(peers): Shared,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    body: String,
) -> Response {
    let Some(event_type) = query.get("type") else {
        return (StatusCode::BAD_REQUEST, "?type= is missing").into_response();
    };
    match peers.contact_center.conversation(&id) {
        Some(conversation) => Json(json!({ "event_id": conversation.event(event_type, body) })).into_response(),
        None => (StatusCode::NOT_FOUND, "no such conversation, or its channel has no webhook").into_response(),
    }
}

async fn accepted(State(peers): Shared) -> Json<Value> {
    Json(json!(peers.contact_center.accepted()))
}

async fn receipts(State(peers): Shared) -> Json<Value> {
    let receipts = peers.bot.receipts().into_iter().map(|(conversation, receipts)| {
        let shown = receipts
            .iter()
            .map(|receipt| json!({ "event_id": receipt.event_id, "body": STANDARD.encode(&receipt.body) }));
        (conversation, shown.collect::<Vec<_>>())
    });
    Json(json!(receipts.collect::<BTreeMap<_, _>>()))
}

#[derive(Deserialize)]
struct Refused {
    conversation_id: String,
    status: u16,
}

async fn refuse(State(peers): Shared, Json(refused): Json<Refused>) {
    peers.bot.refuse_conversation(&refused.conversation_id, refused.status, None);
}

#[derive(Deserialize)]
struct Taken {
    conversation_id: String,
}

async fn take(State(peers): Shared, Json(taken): Json<Taken>) {
    peers.bot.take_conversation(&taken.conversation_id);
}

async fn refused(State(peers): Shared, Path(status): Path<u16>) -> Json<usize> {
    Json(peers.bot.refused_with(status))
}

async fn said(State(peers): Shared, Path(id): Path<String>) -> Response {
    match peers.contact_center.conversation_ids().contains(&id) {
        true => Json(json!(peers.contact_center.said(&id))).into_response(),
        false => (StatusCode::NOT_FOUND, "no such conversation").into_response(),
    }
}

async fn violations(State(peers): Shared) -> Json<Value> {
    Json(json!([peers.bot.violations(), peers.contact_center.violations()].concat()))
}
