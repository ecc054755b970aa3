//! The program as a whole: what its README describes, with the program itself, `curl`, and a webhook that stores what it
//! receives.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use simulation::server::Server;

const BINARY: &str = env!("CARGO_BIN_EXE_contact-center");

/// Far longer than an event on loopback needs; a test that waits longer fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running simulator on a free port.
struct Program {
    process: Child,
    url: String,
    /// The lines that it prints after the start.
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    fn start(options: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["--port", "0"]).args(options).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the program starts");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let base = output.by_ref().find_map(|line| Some(line.ok()?.split_once("base URL")?.1.trim().to_owned()));
        let base = base.expect("the program prints its base URL");
        let port = base.split(['/', ':']).nth(4).expect("the base URL has a port");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let printed = Arc::clone(&lines);
        std::thread::spawn(move || output.map_while(Result::ok).for_each(|line| printed.lock().unwrap().push(line)));
        Self { process, url: format!("http://127.0.0.1:{port}"), lines }
    }

    /// What 8x8's API returns.
    fn api(&self, path: &str, options: &[&str]) -> Value {
        let headers = ["-H", "x-api-key: sandbox-api-key", "-H", "content-type: application/json"];
        curl(&format!("{}/chat-gateway/v1/{path}", self.url), &[&headers, options].concat())
    }

    /// What the control API returns.
    fn control(&self, path: &str, options: &[&str]) -> Value {
        curl(&format!("{}/_control/{path}", self.url), options)
    }

    fn agent(&self, path: &str, body: &Value) -> Value {
        self.control(&format!("agents/{path}"), &["--data", &body.to_string()])
    }

    /// A request that the control API refuses: status and sentence.
    fn refused(&self, path: &str, options: &[&str]) -> (u16, String) {
        let url = format!("{}/_control/{path}", self.url);
        let output = run("curl", &[&["-sS", "-w", "\n%{http_code}", &url], options].concat());
        let output = String::from_utf8(output.stdout).unwrap();
        let (body, status) = output.rsplit_once('\n').expect("curl writes the status");
        let body: Value = serde_json::from_str(body).expect("an error is JSON");
        (status.parse().unwrap(), body["error"].as_str().expect("an error is a sentence").to_owned())
    }

    /// Registers webhook and channel, and returns the channel's id.
    fn register(&self, webhook: &Webhook) -> String {
        let uri = webhook.server.url();
        let version = "Chat Gateway v1.0";
        let body = json!({ "name": "curl", "uri": uri, "version": version, "notificationVersion": version });
        let registered = self.api("webhooks", &["--data", &body.to_string()]);
        let routing = json!({ "type": "queue", "id": "101" });
        let body =
            json!({ "name": "curl", "type": "ChatAPI", "webHookId": registered["id"], "routingOptions": routing });
        text(&self.api("channels", &["--data", &body.to_string()])["id"])
    }

    fn open(&self, channel: &str) -> String {
        let body = json!({ "channelId": channel, "user": { "name": "Chris", "userId": "chris" } });
        text(&self.api("conversations", &["--data", &body.to_string()])["conversationId"])
    }

    fn says(&self, conversation: &str, text: &str) {
        let body = json!({ "authorType": "user", "text": text }).to_string();
        self.api(&format!("conversations/{conversation}/messages"), &["--data", &body]);
    }

    /// Whether the program signed an event, with the key that its key endpoint returns.
    fn has_signed(&self, event: &Event) -> bool {
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let jws = event.header("x-8x8-signature");
        let (header, signature) = jws.split_once("..").expect("a detached JWS");
        let jose: Value = serde_json::from_slice(&decoded(header)).unwrap();
        let key = Command::new("curl")
            .args(["-sS", "--fail", &format!("{}/chat-gateway/v1/jwk/{}/public", self.url, text(&jose["kid"]))])
            .output()
            .unwrap();
        // The forger's key is unknown.
        let Ok(key) = serde_json::from_slice::<Value>(&key.stdout) else { return false };
        let number = |name: &str| event.header(name).parse::<u64>().unwrap();
        let payload = json!({
            "checksum": crc32fast::hash(&event.body),
            "cid": event.header("x-8x8-customer-id"),
            "eid": event.header("x-8x8-event-id"),
            "retry": number("x-8x8-retry"),
            "tid": event.header("x-8x8-tenant-id"),
            "tt": number("x-8x8-transmission-time"),
        });
        let key = RsaPublicKeyComponents { n: decoded(&text(&key["n"])), e: decoded(&text(&key["e"])) };
        let signed = format!("{header}.{payload}");
        key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decoded(signature)).is_ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{program} cannot be started ({error}): this test needs it, install it"))
}

/// The response that curl alone gets from a URL.
fn curl(url: &str, options: &[&str]) -> Value {
    let output = run("curl", &[&["-sS", "--fail-with-body", url], options].concat());
    assert!(output.status.success(), "curl {url} {options:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// An event as the webhook received it.
#[derive(Debug)]
struct Event {
    headers: HeaderMap,
    body: Bytes,
}

impl Event {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("an event is JSON")
    }

    /// Its type, and the details that distinguish it from other events of that type.
    fn kind(&self) -> String {
        let event = self.json();
        let data = &event["data"];
        let details = match event["eventType"].as_str() {
            Some("MEMBERS_CHANGED") => format!("{} {}", text(&data["id"]), text(&data["change"])),
            Some("CONVERSATION_UPDATE") => text(&data["state"]),
            Some("QUEUED") => text(&data["queueId"]),
            Some("ACTIVITY") => format!("typing: {}", data["value"]["users"].as_array().map_or(0, Vec::len)),
            Some("MESSAGE") if data["isEcho"] == true => "echo".to_owned(),
            Some("MESSAGE") if data["text"].is_string() => text(&data["text"]),
            Some("MESSAGE") if data["cards"].is_array() => "card".to_owned(),
            Some("MESSAGE") => text(&data["attachments"][0]["fileName"]),
            _ => String::new(),
        };
        format!("{} {details}", text(&event["eventType"])).trim_end().to_owned()
    }
}

/// A server that events are sent to.
struct Webhook {
    server: Server,
    events: Receiver<Event>,
}

impl Webhook {
    async fn start() -> Self {
        let (sender, events) = mpsc::channel();
        let router = Router::new().fallback(accept).with_state(Arc::new(Mutex::new(sender)));
        Self { server: Server::start(router).await, events }
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).expect("the event comes")
    }

    fn take(&self, number: usize) -> Vec<Event> {
        (0..number).map(|_| self.next()).collect()
    }

    fn kinds(&self, number: usize) -> Vec<String> {
        self.take(number).iter().map(Event::kind).collect()
    }
}

async fn accept(State(sender): State<Arc<Mutex<Sender<Event>>>>, headers: HeaderMap, body: Bytes) {
    sender.lock().unwrap().send(Event { headers, body }).expect("the test listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_alone_plays_an_agent() {
    let (program, webhook) = (Program::start(&[]), Webhook::start().await);
    let channel = program.register(&webhook);
    assert_eq!(webhook.next().kind(), "WEB_HOOK_VERIFY");
    let conversation = program.open(&channel);
    assert_eq!(webhook.kinds(3), ["CONVERSATION_UPDATE created", "MEMBERS_CHANGED chris joined", "QUEUED 101"]);

    let file = b"\x00\xff not text \r\n";
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("attachment.bin");
    std::fs::write(&path, file).unwrap();
    let file_option = format!("@{}", path.display());
    let card = json!({ "title": "What now?", "options": [{ "title": "Wait" }] });
    let upload = "agents/anna/attachments?filename=order.bin";
    let responses = [
        program.agent("anna/join", &json!({})),
        program.agent("anna/typing", &json!({ "typing": true })),
        program.agent("anna/messages", &json!({ "text": "Grüezi 👋" })),
        program.agent("anna/typing", &json!({ "typing": false })),
        program.agent("anna/messages", &json!({ "card": card })),
        program.control(upload, &["--data-binary", &file_option]),
        program.agent("anna/transfer", &json!({ "queue": "102" })),
        program.agent("ben/join", &json!({ "conversation": conversation })),
        program.agent("ben/leave", &json!({})),
    ];

    let events = webhook.take(14);
    let kinds: Vec<String> = events.iter().map(Event::kind).collect();
    let expected = [
        "MEMBERS_CHANGED anna joined",
        "CONVERSATION_UPDATE active",
        "ACTIVITY typing: 1",
        "MESSAGE Grüezi 👋",
        "ACTIVITY typing: 0",
        "MESSAGE card",
        "MESSAGE order.bin",
        "TRANSFER",
        "MEMBERS_CHANGED anna left",
        "QUEUED 102",
        "MEMBERS_CHANGED ben joined",
        "CONVERSATION_UPDATE active",
        "MEMBERS_CHANGED ben left",
        "CONVERSATION_UPDATE idle",
    ];
    assert_eq!(kinds, expected);
    for event in &events {
        assert!(program.has_signed(event), "{}", event.kind());
        assert_eq!(event.json()["conversationId"], *conversation);
    }
    // The responses name the conversation and the events, in order.
    assert!(responses.iter().all(|response| response["conversation"] == *conversation), "{responses:?}");
    let named: Vec<&str> = responses
        .iter()
        .flat_map(|response| response["events"].as_array().unwrap())
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(named, events.iter().map(|event| event.header("x-8x8-event-id")).collect::<Vec<_>>());
    // The file is identical to the one that curl sent, byte for byte.
    let url = text(&events[6].json()["data"]["attachments"][0]["preSignedUrl"]);
    assert_eq!(run("curl", &["-sS", "--fail", &url]).stdout, file);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_file_is_handed_out_with_the_headers_that_were_asked_for() {
    let webhook = Webhook::start().await;
    let program = Program::start(&["--webhook", &webhook.server.url()]);
    let channel = text(&program.control("registered", &[])["channels"][0]["id"]);
    program.control("conversations", &["--data", &json!({ "channel_id": channel }).to_string()]);
    program.agent("anna/join", &json!({}));
    webhook.take(2);
    let file = ["--data-binary", "x"];
    let query = "filename=Gr%C3%B6%C3%9Fe.png&name-encoding=latin-1&content-type=image/png;%20name=%C3%B6";
    program.control(&format!("agents/anna/attachments?{query}"), &file);
    let url = text(&webhook.next().json()["data"]["attachments"][0]["preSignedUrl"]);
    let head = run("curl", &["-sS", "--fail", "-o", "/dev/null", "-D", "-", &url]).stdout;
    let has_line = |line: &[u8]| head.split(|byte| *byte == b'\n').any(|own| own.trim_ascii_end() == line);
    assert!(has_line(b"content-disposition: attachment; filename=\"Gr\xf6\xdfe.png\""), "{head:?}");
    assert!(has_line(b"content-type: image/png; name=\xf6"), "{head:?}");
    let (status, sentence) = program.refused("agents/anna/attachments?filename=a&name-encoding=ebcdic", &file);
    assert_eq!(status, 400);
    assert!(sentence.contains("latin-1"), "{sentence}");
    assert_eq!(program.refused("agents/anna/attachments?filename=a&content-type=%E2%82%AC", &file).0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_in_the_readme_works() {
    let webhook = Webhook::start().await;
    let program = Program::start(&["--webhook", &webhook.server.url()]);
    let readme = include_str!("../README.md");
    let blocks = readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let script = blocks.collect::<String>().replace("http://127.0.0.1:8188", &program.url);
    assert!(script.contains(&program.url), "the session uses the default port");
    // Every request succeeds.
    let script = script.replace("curl -sS", "curl -sS --fail-with-body");
    let output = run("bash", &["-euo", "pipefail", "-c", &script]);
    assert!(output.status.success(), "{output:?}");
    let conversations = program.control("conversations", &[]);
    assert_eq!(conversations[0]["state"], "idle");
    let conversation = program.control(&format!("conversations/{}", text(&conversations[0]["id"])), &[]);
    let messages = conversation["messages"].as_array().unwrap().iter();
    let said: Vec<&str> = messages.filter_map(|message| message["text"].as_str()).collect();
    assert_eq!(said, ["Hello Chris, how can I help?", "", "", "Where is my order?"]);
    let participants = conversation["participants"].as_array().unwrap();
    assert_eq!(participants.iter().filter(|participant| participant["type"] == "agent").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_agent_answers_whatever_a_bot_opens() {
    let (program, webhook) = (Program::start(&["--agent", "auto"]), Webhook::start().await);
    let channel = program.register(&webhook);
    webhook.next();
    let conversation = program.open(&channel);
    let opened = webhook.kinds(6);
    assert_eq!(opened[3..5], ["MEMBERS_CHANGED agent-auto joined", "CONVERSATION_UPDATE active"]);
    assert!(opened[5].starts_with("MESSAGE Hello"), "{opened:?}");

    program.says(&conversation, "confidential: où?");
    let response = "MESSAGE I received your message; it has 17 characters.";
    assert_eq!(webhook.kinds(4), ["MESSAGE echo", "ACTIVITY typing: 1", response, "ACTIVITY typing: 0"]);

    let leave = ["-X", "PATCH", "--data", r#"{"removed":true}"#];
    program.api(&format!("conversations/{conversation}/participants/user"), &leave);
    let expected = [
        "MEMBERS_CHANGED chris left",
        "MESSAGE Good-bye.",
        "MEMBERS_CHANGED agent-auto left",
        "CONVERSATION_UPDATE idle",
    ];
    assert_eq!(webhook.kinds(4), expected);
    let lines = program.lines.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("MESSAGE")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("confidential")), "no text of a message is printed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_read_and_sent_again_late_or_forged() {
    let webhook = Webhook::start().await;
    let program = Program::start(&["--webhook", &webhook.server.url()]);
    let channel = text(&program.control("registered", &[])["channels"][0]["id"]);
    let conversation = program.open(&channel);
    webhook.take(3);
    program.agent("anna/join", &json!({}));
    let joined = &webhook.take(2)[0];
    let id = joined.header("x-8x8-event-id");

    assert_eq!(program.control(&format!("events/{id}/send"), &["-X", "POST"])["status"], 200);
    let again = webhook.next();
    assert!(program.has_signed(&again));
    assert_eq!((again.header("x-8x8-event-id"), &again.body), (id, &joined.body));
    assert_eq!(again.header("x-8x8-retry"), "1");

    program.control(&format!("events/{id}/send"), &["--data", r#"{"late":true}"#]);
    let late = webhook.next();
    let time = |event: &Event| event.header("x-8x8-transmission-time").parse::<u64>().unwrap();
    assert!(program.has_signed(&late));
    assert!(time(&late) + 240_000 < time(joined), "its signature is more than four minutes old");

    program.control(&format!("events/{id}/send"), &["--data", r#"{"forged":true}"#]);
    assert!(!program.has_signed(&webhook.next()));
    let violations = program.control("violations", &[]);
    assert_eq!(violations, json!(["a forged MEMBERS_CHANGED was accepted"]));

    let events = program.control(&format!("events?conversation={conversation}"), &[]);
    let event = events.as_array().unwrap().iter().find(|event| event["id"] == id).expect("the event is in the log");
    assert_eq!(event["type"], "MEMBERS_CHANGED");
    assert_eq!(event["body"], String::from_utf8(joined.body.to_vec()).unwrap());
    assert_eq!(event["headers"]["x-8x8-event-id"], id);
    let attempts = event["attempts"].as_array().unwrap();
    assert!(attempts.iter().all(|attempt| attempt["status"] == 200 && attempt["time"].is_u64()), "{attempts:?}");
    // The forged event was not sent by 8x8.
    assert_eq!(attempts.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_switched_on_and_off_over_the_control_api() {
    let program = Program::start(&[]);
    let conversations = format!("{}/chat-gateway/v1/conversations", program.url);
    let status = || {
        let output = run(
            "curl",
            &["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "x-api-key: sandbox-api-key", &conversations],
        );
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(status(), "200");
    assert_eq!(program.control("faults", &["--data", r#"{"fault":"8x8-500=2"}"#])["8x8-500"]["on"], true);
    assert_eq!(status(), "500");
    assert_eq!(program.control("faults", &[])["8x8-500"], json!({ "on": true, "struck": 1 }));
    assert_eq!(program.control("faults", &["-X", "DELETE"])["8x8-500"]["on"], false);
    assert_eq!(status(), "200");
    let (status, sentence) = program.refused("faults", &["--data", r#"{"fault":"8x8-501"}"#]);
    assert_eq!(status, 400);
    assert!(sentence.contains("8x8-500"), "the sentence lists the faults: {sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_control_api_says_what_to_do() {
    let webhook = Webhook::start().await;
    let program = Program::start(&["--webhook", &webhook.server.url()]);
    let channel = text(&program.control("registered", &[])["channels"][0]["id"]);
    let post = ["-X", "POST"];
    let check = |path: &str, options: &[&str], status: u16, part: &str| {
        let (refused_with, sentence) = program.refused(path, options);
        assert_eq!(refused_with, status, "{path}: {sentence}");
        assert!(sentence.contains(part), "{path}: {sentence}");
    };
    check("agents/anna/join", &post, 409, "a bot opens one");
    check("agents/anna/messages", &["--data", r#"{"text":"?"}"#], 409, "agents/anna/join comes first");
    check("agents/anna/join", &["--data", r#"{"conversation":"unknown"}"#], 404, "GET /_control/conversations");
    let (first, second) = (program.open(&channel), program.open(&channel));
    // The first of the two conversations has waited longer.
    assert_eq!(program.agent("anna/join", &json!({}))["conversation"], *first);
    check("agents/anna/messages", &["--data", r#"{"text":"a","card":{}}"#], 400, "either");
    check("agents/anna/messages", &["--data", "not JSON"], 400, "JSON");
    check("agents/anna/attachments", &["--data-binary", "x"], 400, "filename");
    check("agents/anna/transfer", &["--data", r#"{"queue":"9"}"#], 400, "101 (Support)");
    check("agents/anna/join", &["--data", &json!({ "conversation": first }).to_string()], 409, "already");
    assert_eq!(program.agent("anna/join", &json!({}))["conversation"], *second);
    check("agents/anna/typing", &post, 409, "2 conversations");
    check("agents/ben/typing", &["--data", &json!({ "conversation": first }).to_string()], 409, "ben is not in");
    check("events/unknown/send", &post, 404, "GET /_control/events");
    check("unknown", &[], 404, "README");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_the_older_api_has_neither_cards_nor_attachments() {
    let webhook = Webhook::start().await;
    let program = Program::start(&["--api", "chat-api-v2", "--webhook", &webhook.server.url()]);
    let channel = text(&program.control("registered", &[])["channels"][0]["id"]);
    program.control("conversations", &["--data", &json!({ "channel_id": channel }).to_string()]);
    program.agent("anna/join", &json!({}));
    assert_eq!(webhook.next().json()["eventType"], "AGENT_JOINED");
    program.agent("anna/messages", &json!({ "text": "Hello" }));
    assert_eq!(webhook.next().json()["message"], "Hello");
    let (status, sentence) = program.refused("agents/anna/messages", &["--data", r#"{"card":{}}"#]);
    assert_eq!(status, 409);
    assert!(sentence.contains("--api chat-gateway-v1"), "{sentence}");
    assert_eq!(program.refused("agents/anna/attachments?filename=a", &["--data-binary", "x"]).0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_api_answers_no_web_page_of_elsewhere() {
    let program = Program::start(&[]);
    assert_eq!(program.refused("registered", &["-H", "Host: attacker.example"]).0, 421);
    assert_eq!(program.refused("registered", &["-H", "Origin: http://attacker.example"]).0, 403);
    let port = program.url.rsplit(':').next().unwrap();
    program.control("registered", &["-H", &format!("Host: localhost:{port}")]);
    program.control("registered", &["-H", &format!("Origin: {}", program.url)]);
}

#[test]
fn a_port_that_is_in_use_is_an_error_that_names_the_option() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = run(BINARY, &["--port", &port]);
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(&format!("port {port} is in use; choose another one with --port")), "{error}");
}

#[test]
fn the_readme_lists_every_fault_with_its_times_and_the_default_port() {
    let readme = include_str!("../README.md");
    assert!(readme.contains(&format!("http://127.0.0.1:{}", contact_center::DEFAULT_PORT)));
    let faults = readme.split("## Faults").nth(1).unwrap().split("## ").next().unwrap();
    for (_, name) in <contact_center::Fault as simulation::faults::Fault>::all() {
        assert!(faults.contains(&format!("`{name}`")), "{name}");
    }
    let late = format!("0 to {} seconds", contact_center::LATEST.as_secs());
    assert_eq!(faults.matches(&late).count(), 2, "8x8-late and 8x8-shows-late");
    let help = String::from_utf8(run(BINARY, &["--help"]).stdout).unwrap();
    assert!(help.contains(&late), "{help}");
}
