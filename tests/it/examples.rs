//! The bots of `examples/` in the place of the simulated bot platform: a customer at their terminal, an agent at 8x8.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::{Json, Router};
use bot_platform::BotPlatformSettings;
use contact_center::FailureKind;
use http::{HeaderMap, Request, StatusCode, Uri};
use sandbox::{RECEIVE_MESSAGE, SandboxSettings, TOKEN, own_bot};
use serde_json::{Value, json};
use simulation::client::Client;
use simulation::server::Server;
use simulation::server::free_port;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::{PATIENCE, Stack};

const PYTHON: [&str; 2] = ["python3", "bot-python/bot.py"];
const NODE: [&str; 2] = [env!("NODE"), "bot-node/bot.mjs"];

/// A bot that runs, with its customer at the terminal.
struct Bot {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    shown: Vec<String>,
    port: u16,
    client: Client,
}

impl Bot {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn start(
        [program, file]: [&str; 2],
        port: u16,
        environment: impl IntoIterator<Item = (&str, String)>,
    ) -> Self {
        let BotPlatformSettings { app_token, username, password, .. } = BotPlatformSettings::default();
        let mut process = Command::new(program)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(file))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PORT", port.to_string())
            .envs([("BOT_APP_TOKEN", app_token), ("BOT_USERNAME", username), ("BOT_PASSWORD", password)])
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the bot starts");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let mut bot = Self { process, input, output, shown: Vec::new(), port, client: Client::new() };
        bot.shows("bot: How can I help?").await;
        bot
    }

    async fn hears(&mut self, text: &str) {
        self.input.write_all(format!("{text}\n").as_bytes()).await.expect("the bot reads");
    }

    /// Waits until the terminal shows a line that begins so.
    async fn shows(&mut self, beginning: &str) {
        loop {
            let line = timeout(PATIENCE, self.output.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("{beginning:?} is not shown after {:?}", self.shown));
            let line = line.expect("the terminal can be read");
            let line = line.unwrap_or_else(|| panic!("the bot has ended; it has shown {:?}", self.shown));
            self.shown.push(line);
            if self.shown.last().is_some_and(|line| line.starts_with(beginning)) {
                return;
            }
        }
    }

    /// The customer closes the terminal.
    async fn ends(mut self) {
        drop(self.input);
        let status = timeout(PATIENCE, self.process.wait()).await.expect("the bot ends").expect("it can be waited for");
        assert!(status.success(), "{status}");
    }

    async fn log_in(&self) -> String {
        let BotPlatformSettings { app_token, username, password, .. } = BotPlatformSettings::default();
        let form =
            [("grant_type", "password"), ("clientid", &app_token), ("username", &username), ("password", &password)];
        let form = form.map(|(name, value)| format!("{name}={value}")).join("&");
        let request = Request::post(self.url(TOKEN))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.into());
        let response = self.client.send(request.expect("a request")).await.expect("the bot answers");
        let response: Value = serde_json::from_slice(response.body()).expect("tokens are JSON");
        response["access_token"].as_str().expect("there is a token").to_owned()
    }

    async fn deliver(&self, app_token: &str, bearer: &str, event_id: &str, body: String) -> Option<StatusCode> {
        let bearer = format!("Bearer {bearer}");
        let headers = [
            ("content-type", "application/json"),
            ("x-app-token", app_token),
            ("authorization", &bearer),
            ("x-8x8-event-id", event_id),
        ];
        self.client.post(&self.url(RECEIVE_MESSAGE), headers, body).await
    }
}

/// What an agent says in a conversation.
fn agent_says(conversation: &str, text: &str) -> String {
    let data = json!({ "sender": { "id": "anna", "type": "agent" }, "text": text });
    json!({ "eventType": "MESSAGE", "conversationId": conversation, "timestamp": 1, "data": data }).to_string()
}

/// What the customer says to the person.
const LINES: [&str; 2] = ["confidential: my order is late", "confidential: since Monday"];

/// Waits until 8x8 has what the customer said.
async fn until_8x8_has(stack: &Stack, conversation: &str, text: &str) {
    let arrived = async {
        while !stack.contact_center.said(conversation).iter().any(|(_, said)| said == text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, arrived).await.unwrap_or_else(|_| panic!("8x8 has not got {text:?}"));
}

/// A whole conversation through the real functions, with a call whose response is lost.
async fn talks_to_a_person_and_gets_the_conversation_back(program: [&str; 2]) {
    let port = free_port();
    let bot_endpoint = Some(format!("http://127.0.0.1:{port}"));
    let stack = Stack::with(SandboxSettings { bot_endpoint, ..SandboxSettings::default() }).await;
    let mut bot = Bot::start(program, port, own_bot::environment(&stack)).await;
    stack.refresh_tokens().await.expect("the bot gives the bridge a token");

    bot.hears("Where is my order?").await;
    bot.shows("bot: I do not know.").await;
    bot.hears("person").await;
    bot.shows("bot: I have asked for a person.").await;
    let conversations = stack.contact_center.conversation_ids();
    assert_eq!(conversations.len(), 1);
    let agent = stack.contact_center.conversation(&conversations[0]).expect("8x8 has the conversation");

    agent.joined("anna");
    bot.shows("bot: anna has joined.").await;
    agent.types("anna");
    agent.writes("anna", "confidential: hello \u{1f44b} \u{2028} é");
    bot.shows("anna: confidential: hello \u{1f44b}").await;
    stack.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    for line in LINES {
        bot.hears(line).await;
        until_8x8_has(&stack, agent.id(), line).await;
    }
    agent.transferred_to("anna", "102");
    agent.joined("ben");
    bot.shows("bot: ben has joined.").await;
    agent.writes("ben", "confidential: it is on its way");
    bot.shows("ben: confidential: it is on its way").await;

    agent.left("ben");
    agent.idle();
    bot.shows("bot: The conversation is over, I am back.").await;
    bot.hears("Thank you").await;
    bot.shows("bot: I do not know.").await;
    assert_eq!(stack.contact_center.planned_failures(), 0, "the response of a message was lost");
    let said: Vec<_> =
        stack.contact_center.said(&conversations[0]).into_iter().filter(|(who, _)| who == "user").collect();
    assert_eq!(said, LINES.map(|line| ("user".to_owned(), line.to_owned())));

    bot.hears("person").await;
    bot.shows("bot: I have asked for a person.").await;
    bot.ends().await;
    for id in stack.contact_center.conversation_ids() {
        assert_eq!(
            stack.contact_center.kept(&id)["state"],
            "idle",
            "no conversation waits for a customer who has left"
        );
    }
    assert_eq!(stack.queues.dead_letters.len(), 0);
    stack.check();
}

/// A bridge that answers the first calls as the test says, and all others with success.
struct Bridge {
    responses: Mutex<VecDeque<(StatusCode, Option<&'static str>)>>,
    /// The bearer token and the key of each try.
    tries: Mutex<Vec<(String, String)>>,
    logins: AtomicUsize,
    is_asked: Notify,
    opens: Notify,
}

impl Bridge {
    /// Starts it, with statuses and `Retry-After`s.
    async fn start(responses: impl Into<VecDeque<(StatusCode, Option<&'static str>)>>) -> (Arc<Self>, Server) {
        let bridge = Arc::new(Self {
            responses: Mutex::new(responses.into()),
            tries: Mutex::default(),
            logins: AtomicUsize::new(0),
            is_asked: Notify::new(),
            opens: Notify::new(),
        });
        let server = Server::start(Router::new().fallback(respond).with_state(Arc::clone(&bridge))).await;
        (bridge, server)
    }

    fn environment(server: &Server) -> [(&'static str, String); 5] {
        let login = ["CALLER_APP_TOKEN", "CALLER_USERNAME", "CALLER_PASSWORD"].map(|name| (name, name.to_owned()));
        let [app_token, username, password] = login;
        let url = |path| format!("{}{path}", server.url());
        [("TOKEN_URL", url("/token")), ("CONVERSATIONS_URL", url("/conversations")), app_token, username, password]
    }

    fn tries(&self) -> Vec<(String, String)> {
        self.tries.lock().expect("no holder panics").clone()
    }
}

async fn respond(State(bridge): State<Arc<Bridge>>, uri: Uri, headers: HeaderMap) -> Response {
    if uri.path() == "/token" {
        let number = bridge.logins.fetch_add(1, Ordering::Relaxed);
        return Json(json!({ "access_token": format!("token-{number}"), "expires_in": 3600 })).into_response();
    }
    let text = |name: &str| headers[name].to_str().expect("it is text").to_owned();
    bridge.tries.lock().expect("no holder panics").push((text("authorization"), text("idempotency-key")));
    let next = bridge.responses.lock().expect("no holder panics").pop_front();
    if let Some((status, retry_after)) = next {
        let retry_after = AppendHeaders(retry_after.map(|seconds| ("retry-after", seconds)));
        return (status, retry_after).into_response();
    }
    if uri.path() == "/conversations" {
        bridge.is_asked.notify_one();
        bridge.opens.notified().await;
    }
    (StatusCode::ACCEPTED, Json(json!({ "conversationId": "c-1" }))).into_response()
}

async fn repeats_a_call_with_its_key_until_the_outcome_is_known(program: [&str; 2]) {
    let responses = [
        (StatusCode::UNAUTHORIZED, None),
        (StatusCode::SERVICE_UNAVAILABLE, Some("1")),
        (StatusCode::CONFLICT, Some("1")),
        (StatusCode::GATEWAY_TIMEOUT, Some("1")),
    ];
    let (bridge, server) = Bridge::start(responses).await;
    bridge.opens.notify_one();
    let mut bot = Bot::start(program, free_port(), Bridge::environment(&server)).await;
    bot.hears("person").await;
    bot.shows("bot: I have asked for a person.").await;
    let tries = bridge.tries();
    let [first, rest @ ..] = tries.as_slice() else { panic!("there was no call") };
    assert_eq!(rest.len(), responses.len());
    assert!(rest.iter().all(|(_, key)| *key == first.1), "one call has one key: {tries:?}");
    assert_eq!(first.0, "Bearer token-0");
    assert!(rest.iter().all(|(bearer, _)| bearer == "Bearer token-1"), "after 401 the bot logs in again: {tries:?}");

    bridge.responses.lock().expect("no holder panics").push_back((StatusCode::BAD_REQUEST, None));
    bot.hears("my order is late").await;
    bot.shows("bot: That did not get through").await;
    let tries = bridge.tries();
    assert_eq!(tries.len(), responses.len() + 2, "what cannot succeed is not repeated");
    assert_ne!(tries.last().map(|(_, key)| key), Some(&first.1), "another call has another key");
    bot.ends().await;
}

async fn takes_an_event_once_and_only_from_the_bridge(program: [&str; 2]) {
    let (bridge, server) = Bridge::start([]).await;
    let mut bot = Bot::start(program, free_port(), Bridge::environment(&server)).await;
    let app_token = BotPlatformSettings::default().app_token;
    let bearer = bot.log_in().await;
    bot.hears("person").await;
    timeout(PATIENCE, bridge.is_asked.notified()).await.expect("the bot opens a conversation");
    // The first event arrives before the id of its conversation: the bot has answered what arrived later.
    let body = agent_says("c-1", "first");
    let mut early = TcpStream::connect(("127.0.0.1", bot.port)).await.expect("the bot listens");
    let request = format!(
        "POST {RECEIVE_MESSAGE} HTTP/1.1\r\nhost: bot\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nx-app-token: {app_token}\r\nauthorization: Bearer {bearer}\r\nx-8x8-event-id: 1\r\n\r\n{body}",
        body.len()
    );
    early.write_all(request.as_bytes()).await.expect("the bot reads");
    bot.log_in().await;
    bridge.opens.notify_one();
    bot.shows("anna: first").await;
    let mut response = String::new();
    early.read_to_string(&mut response).await.expect("the bot answers");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");

    let foreign = [("", &*bearer), ("another", &bearer), (&app_token, ""), (&app_token, "another")];
    for (app_token, bearer) in foreign {
        let response = bot.deliver(app_token, bearer, "2", agent_says("c-1", "forged")).await;
        assert_eq!(response, Some(StatusCode::UNAUTHORIZED));
    }
    for (id, conversation, text) in [("1", "c-1", "first"), ("2", "c-2", "to another"), ("3", "c-1", "last")] {
        let response = bot.deliver(&app_token, &bearer, id, agent_says(conversation, text)).await;
        assert_eq!(response, Some(StatusCode::OK));
    }
    bot.shows("anna: last").await;
    let shown: Vec<_> = bot.shown.iter().filter(|line| line.starts_with("anna")).collect();
    assert_eq!(shown, ["anna: first", "anna: last"]);
    bot.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bot_in_python_talks_to_a_person_and_gets_the_conversation_back() {
    talks_to_a_person_and_gets_the_conversation_back(PYTHON).await;
}

#[tokio::test]
async fn the_bot_in_python_repeats_a_call_with_its_key_until_the_outcome_is_known() {
    repeats_a_call_with_its_key_until_the_outcome_is_known(PYTHON).await;
}

#[tokio::test]
async fn the_bot_in_python_takes_an_event_once_and_only_from_the_bridge() {
    takes_an_event_once_and_only_from_the_bridge(PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_node), ignore = "needs node on the PATH")]
async fn the_bot_in_node_talks_to_a_person_and_gets_the_conversation_back() {
    talks_to_a_person_and_gets_the_conversation_back(NODE).await;
}

#[tokio::test]
#[cfg_attr(not(has_node), ignore = "needs node on the PATH")]
async fn the_bot_in_node_repeats_a_call_with_its_key_until_the_outcome_is_known() {
    repeats_a_call_with_its_key_until_the_outcome_is_known(NODE).await;
}

#[tokio::test]
#[cfg_attr(not(has_node), ignore = "needs node on the PATH")]
async fn the_bot_in_node_takes_an_event_once_and_only_from_the_bridge() {
    takes_an_event_once_and_only_from_the_bridge(NODE).await;
}
