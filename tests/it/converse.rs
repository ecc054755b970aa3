//! converse: 8x8's conversation API through the bridge.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, Method, Request, Response, StatusCode};
use sandbox::SandboxSettings;
use sandbox::caller::Login;
use sandbox::client::Client;
use sandbox::contact_center::{Authentication, ContactCenterApi, ContactCenterSettings, FailureKind};
use sandbox::deployment::{CHANNEL_SECRET, CONTACT_CENTER_SECRET, IDEMPOTENCY_TABLE};
use sandbox::faults::{Fault, When};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Bench, PATIENCE};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A conversation that a bot has opened.
async fn opened(bench: &Bench) -> String {
    let (status, created) =
        bench.chatbot.json(Method::POST, "", &json!({ "user": { "name": "Sandbox Customer" } })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{created}");
    created["conversationId"].as_str().expect("a creation has an id").to_owned()
}

async fn send(bench: &Bench, conversation: &str, text: &str) -> StatusCode {
    let body = json!({ "authorType": "user", "text": text });
    bench.chatbot.json(Method::POST, &format!("/{conversation}/messages"), &body).await.0
}

fn texts(bench: &Bench, conversation: &str) -> Vec<String> {
    bench.contact_center.said(conversation).into_iter().map(|(_, text)| text).collect()
}

fn json_of(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_default()
}

fn code_of(answer: &Value) -> &str {
    answer["errors"][0]["code"].as_str().unwrap_or_default()
}

/// 8x8's own API, without the bridge.
async fn directly(bench: &Bench, method: Method, path: &str, body: &Value) -> Response<Bytes> {
    let endpoint = bench.addresses.iter().find(|(name, _)| *name == "8x8").unwrap().1.clone();
    let request = Request::builder().method(method).uri(format!("{endpoint}conversations{path}"));
    let key = &bench.contact_center.settings().credentials.api_key;
    let request = request.header("x-api-key", key).header(CONTENT_TYPE, "application/json");
    Client::new().send(request.body(body.to_string().into()).unwrap()).await.expect("8x8 answers")
}

/// Every operation on conversations in 8x8's reference of the Chat Gateway, by its operation id: method, path below
/// `conversations`, the body that it asks for, and the status that it promises. `{c}`, `{m}`, `{a}`, `{k}`, `{w}` stand for
/// a conversation, a message, an attachment, a card and a webhook.
const OPERATIONS: [(&str, &str, &str, &str, u16); 22] = [
    ("getcctransactions-1", "GET", "?size=5&page=0", "", 200),
    ("createcctransaction-1", "POST", "", r#"{"user":{"name":"Sandbox Customer"}}"#, 202),
    ("getcctransaction-1", "GET", "/{c}", "", 200),
    ("putcctransaction", "PUT", "/{c}", r#"{"user":{"name":"Sandbox Customer"},"assignment":{"id":"102"}}"#, 202),
    ("patchcctransaction", "PATCH", "/{c}", r#"{"assignment":{"type":"queue","id":"101"}}"#, 202),
    ("getccinteractions", "GET", "/{c}/interactions", "", 200),
    ("createpostagentassignment", "POST", "/{c}/post-agent-assignment", r#"{"type":"webhook","id":"{w}"}"#, 201),
    ("sendtypingindicator", "POST", "/{c}/typing", r#"{"authorType":"user"}"#, 204),
    ("sendthinkingindicator", "POST", "/{c}/thinking", "", 204),
    ("sendreadreceipt", "POST", "/{c}/read-receipt", r#"{"authorType":"user","readAt":1770200431963}"#, 204),
    ("getparticipantsforcctransaction-1", "GET", "/{c}/participants", "", 200),
    ("getmessagesforcctransaction-1", "GET", "/{c}/messages?sort=createdAt:asc", "", 200),
    ("sendmessagetocctransaction-1", "POST", "/{c}/messages", r#"{"authorType":"bot","text":"confidential"}"#, 202),
    ("getmessagebyidforcctransaction", "GET", "/{c}/messages/{m}", "", 200),
    ("getcardsforcctransaction", "GET", "/{c}/messages/{m}/cards", "", 200),
    ("getconversationattachments", "GET", "/{c}/attachments", "", 200),
    ("addconversationattachments", "POST", "/{c}/attachments", "a form", 200),
    ("getconversationattachment", "GET", "/{c}/attachments/{a}", "", 200),
    ("downloadattachmentforchatapiconversation", "GET", "/{c}/attachments/{a}/content", "", 200),
    ("updatecardactionsubmit", "PUT", "/{c}/cards/{k}/action-submit", r#"{"name":"Refund"}"#, 204),
    ("updatecardactionexecute", "PUT", "/{c}/cards/{k}/action-execute", r#"{"name":"Refund"}"#, 204),
    ("userparticipantleavecctransaction", "PATCH", "/{c}/participants/user", r#"{"removed":true}"#, 204),
];

#[tokio::test]
async fn every_operation_of_8x8s_reference_works_through_the_bridge() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    let agent = bench.contact_center.conversation(&conversation).unwrap();
    let card = agent.sends_card("agent", &json!({ "options": [] })).expect("the Gateway has cards");
    let (_, messages) = bench.chatbot.get(&format!("/{conversation}/messages")).await;
    let message = messages["_embedded"]["messages"][0]["id"].as_str().unwrap().to_owned();
    let (_, attachment) = bench.chatbot.upload(&conversation, "a.txt", b"x").await;
    let attachment = attachment["id"].as_str().unwrap().to_owned();
    let (webhooks, _) = bench.contact_center.registered();
    let webhook = webhooks[0]["id"].as_str().unwrap();
    let filled = |text: &str| {
        let text = text.replace("{c}", &conversation).replace("{m}", &message).replace("{a}", &attachment);
        text.replace("{k}", &card).replace("{w}", webhook)
    };
    for (id, method, path, body, status) in OPERATIONS {
        let answer = match body {
            "a form" => {
                let (status, answer) = bench.chatbot.upload(&conversation, "b.txt", b"y").await;
                assert_eq!(answer["filename"], "b.txt");
                status
            }
            _ => {
                let headers: &[_] = if body.is_empty() { &[] } else { &[(CONTENT_TYPE, "application/json")] };
                let answer = bench.chatbot.call(method.parse().unwrap(), &filled(path), headers, filled(body)).await;
                let is_hal = answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/hal+json");
                assert_eq!(is_hal, !answer.body().is_empty() && !path.ends_with("content"), "{id}");
                answer.status()
            }
        };
        assert_eq!(answer, status, "{id}");
    }
    let kept = bench.contact_center.kept(&conversation);
    assert_eq!(kept["activities"], json!(["user types", "bot thinks", "user has read"]));
    assert_eq!(kept["assignment"], json!({ "type": "queue", "id": "101" }));
    assert_eq!(kept["state"], "idle");
    bench.finish().await;
}

/// Whatever 8x8's OpenAPI file has under `conversations` is in [`OPERATIONS`]. The file is 8x8's and not part of this
/// repository: where it is at hand, `CONTACT_CENTER_OPENAPI` names it.
#[test]
#[ignore = "needs 8x8's OpenAPI file: CONTACT_CENTER_OPENAPI=FILE"]
fn no_operation_of_8x8s_openapi_file_is_missing() {
    let file = std::env::var("CONTACT_CENTER_OPENAPI").expect("CONTACT_CENTER_OPENAPI names 8x8's OpenAPI file");
    let text = std::fs::read_to_string(file).expect("the file can be read");
    let mut is_conversation = false;
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("  \"/") {
            is_conversation = path.contains("/conversations");
        } else if let Some(id) = line.trim().strip_prefix("operationId: ")
            && is_conversation
        {
            found.insert(id.to_owned());
        }
    }
    let known: BTreeSet<String> = OPERATIONS.iter().map(|(id, ..)| (*id).to_owned()).collect();
    assert_eq!(found, known);
}

/// Prism plays 8x8's OpenAPI file and answers with an error what the file does not allow. It comes from npm, the file
/// from 8x8: `CONTACT_CENTER_OPENAPI` names it.
#[tokio::test]
#[ignore = "needs 8x8's OpenAPI file: CONTACT_CENTER_OPENAPI=FILE"]
async fn prism_finds_every_request_of_the_bridge_valid() {
    let file = std::env::var("CONTACT_CENTER_OPENAPI").expect("CONTACT_CENTER_OPENAPI names 8x8's OpenAPI file");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut prism = tokio::process::Command::new("npx");
    prism.args(["--yes", "@stoplight/prism-cli@5", "mock", "--port", &port.to_string(), &file]);
    let prism = prism.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut prism = Group(prism.spawn().expect("npx is there"));
    let (client, origin) = (Client::new(), format!("http://127.0.0.1:{port}"));
    while client.send(Request::get(&origin).body(Bytes::new()).unwrap()).await.is_none() {
        assert!(prism.0.try_wait().unwrap().is_none(), "Prism ended");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let settings = SandboxSettings {
        contact_center_endpoint: Some(format!("{origin}/chat-gateway/v1/")),
        ..SandboxSettings::default()
    };
    let bench = Bench::with(settings).await;
    for (id, method, path, body, status) in OPERATIONS {
        let path = ["{c}", "{m}", "{a}", "{k}"].into_iter().fold(path.to_owned(), |path, id| path.replace(id, "1"));
        let answer = if body == "a form" {
            bench.chatbot.upload("1", "b.txt", b"y").await.0
        } else {
            let headers: &[_] = if body.is_empty() { &[] } else { &[(CONTENT_TYPE, "application/json")] };
            let answer = bench.chatbot.call(method.parse().unwrap(), &path, headers, body).await;
            assert_eq!(answer.status(), status, "{id}: {answer:?}");
            answer.status()
        };
        assert_eq!(answer, status, "{id}");
    }
}

/// A process that starts others, all of which end with it.
struct Group(tokio::process::Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.id() {
            let _ = std::process::Command::new("kill").args(["--", &format!("-{id}")]).status();
        }
    }
}

#[tokio::test]
async fn only_a_caller_with_both_headers_gets_anywhere() {
    let bench = Bench::start().await;
    let (app_token, access_token) = bench.chatbot.caller.credentials().await.unwrap();
    let right = [("x-app-token", app_token.clone()), ("authorization", format!("Bearer {access_token}"))];
    let wrong = [("x-app-token", "wrong".to_owned()), ("authorization", "Bearer wrong".to_owned())];
    let url = bench.api_url(sandbox::CONVERSATIONS);
    let client = Client::new();
    for headers in [
        &[][..],
        &right[..1],
        &right[1..],
        &[right[0].clone(), wrong[1].clone()],
        &[wrong[0].clone(), right[1].clone()],
    ] {
        for (method, path) in [("GET", ""), ("POST", ""), ("GET", "/nothing/at/all"), ("DELETE", "")] {
            let request = Request::builder().method(method).uri(format!("{url}{path}"));
            let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
            let answer = client.send(request.body(Bytes::new()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(answer.headers()[WWW_AUTHENTICATE], "Bearer");
            assert_eq!(code_of(&json_of(&answer)), "unauthorized");
        }
    }
    assert_eq!(bench.contact_center.conversation_ids(), Vec::<String>::new());
    bench.finish().await;
}

#[tokio::test]
async fn a_creation_goes_to_the_registered_channel_and_queue_unless_it_names_others() {
    let bench = Bench::start().await;
    let create = async |body: Value| {
        let (status, created) = bench.chatbot.json(Method::POST, "", &body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{created}");
        assert!(created["createdAt"].is_string());
        bench.contact_center.kept(created["conversationId"].as_str().unwrap())
    };
    let user = json!({ "name": "Sandbox Customer", "additionalProperties": [{ "key": "plan", "value": "gold" }] });
    let history = json!({ "messages": [{ "authorType": "bot", "text": "confidential" }] });
    let kept = create(json!({ "user": user, "history": history })).await;
    assert_eq!(kept["channelId"], bench.channel_id);
    assert_eq!(kept["assignment"], json!({ "type": "queue", "id": "101" }));
    assert_eq!(kept["history"], history["messages"]);
    // The caller's own properties, and the one by which the conversation would be found again.
    let properties = kept["user"]["additionalProperties"].as_array().unwrap();
    assert_eq!(properties.len(), 2);
    assert_eq!(properties[0], user["additionalProperties"][0]);
    assert_eq!(properties[1]["key"], "liveAgentBridgeId");

    let kept = create(json!({ "user": user, "assignment": { "type": "queue", "id": "102" } })).await;
    assert_eq!(kept["assignment"]["id"], "102");
    bench.contact_center.add_channel("another");
    let (_, channels) = bench.contact_center.registered();
    let another = channels.iter().find(|channel| channel["name"] == "another").unwrap()["id"].clone();
    let kept = create(json!({ "user": user, "channelId": another })).await;
    assert_eq!(kept["channelId"], another);
    bench.finish().await;
}

#[tokio::test]
async fn without_a_registered_channel_a_creation_says_so_until_there_is_one() {
    let bench = Bench::start().await;
    let registered = bench.cloud.secrets.current(CHANNEL_SECRET);
    bench.cloud.secrets.set(CHANNEL_SECRET, &json!({}));
    let (status, answer) = bench.chatbot.json(Method::POST, "", &json!({ "user": {} })).await;
    assert_eq!((status, code_of(&answer)), (StatusCode::SERVICE_UNAVAILABLE, "channel_not_registered"));
    bench.cloud.secrets.set(CHANNEL_SECRET, &registered);
    opened(&bench).await;
    bench.finish().await;
}

#[tokio::test]
async fn an_error_of_8x8_is_passed_on_as_it_is() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    let queue =
        |id: &str| json!({ "channelId": bench.channel_id, "user": {}, "assignment": { "type": "queue", "id": id } });
    let messages = format!("/{conversation}/messages");
    for (method, path, body, reason) in [
        (Method::POST, "", queue("999"), "Queue ID 999 is invalid."),
        (Method::POST, "", queue("103"), "Queue ID 103 is closed."),
        (Method::POST, "", json!({ "channelId": bench.channel_id, "user": "me" }), "user: Must be an object."),
        (Method::POST, "", json!([]), "body: Must be an object."),
        (Method::GET, "/unknown", Value::Null, "Conversation with id unknown was not found."),
        (
            Method::POST,
            &messages,
            json!({ "authorType": "agent", "text": "x" }),
            "authorType: Must be one of bot, user.",
        ),
        (Method::POST, &messages, json!({ "authorType": "user" }), "text: May not be empty."),
        (Method::GET, &format!("{messages}?sort=text"), Value::Null, "Only createdAt can be sorted by."),
    ] {
        let expected = directly(&bench, method.clone(), path, &body).await;
        let answer =
            bench.chatbot.call(method.clone(), path, &[(CONTENT_TYPE, "application/json")], body.to_string()).await;
        assert!(String::from_utf8_lossy(answer.body()).contains(reason), "{path}: {answer:?}");
        assert_eq!(answer.status(), expected.status());
        assert_eq!(answer.body(), expected.body());
        assert_eq!(answer.headers()[CONTENT_TYPE], expected.headers()[CONTENT_TYPE]);
    }
    assert_eq!(bench.logged("\"code\":\"queue_closed\""), 1, "whoever operates the bridge sees why");
    bench.finish().await;
}

#[tokio::test]
async fn what_is_no_operation_is_told_so() {
    let bench = Bench::start().await;
    let (status, answer) = bench.chatbot.get("/c/nothing").await;
    assert_eq!((status, code_of(&answer)), (StatusCode::NOT_FOUND, "not_found"));
    let answer = bench.chatbot.call(Method::DELETE, "/c", &[], "").await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()[ALLOW], "GET, PUT, PATCH");
    bench.finish().await;
}

#[tokio::test]
async fn bytes_of_any_kind_come_through_in_both_directions() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    let every_byte: Vec<u8> = (0..=255).cycle().take(4_000_000).collect();
    for (name, content) in
        [("small.bin", &b"\0\xff\r\n--\x80"[..]), ("text.txt", "Grüezi 👋".as_bytes()), ("large.bin", &every_byte)]
    {
        let (status, attachment) = bench.chatbot.upload(&conversation, name, content).await;
        assert_eq!((status, &attachment["sizeInBytes"]), (StatusCode::OK, &json!(content.len())));
        let path = format!("/{conversation}/attachments/{}/content", attachment["id"].as_str().unwrap());
        let answer = bench.chatbot.call(Method::GET, &path, &[], "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.body() == content, "{name} is another now");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/octet-stream");
        assert_eq!(answer.headers()[CONTENT_DISPOSITION], format!("attachment; filename=\"{name}\""));
    }
    // Lambda takes 6 MB, of which base64 leaves four and a half.
    let (status, _) = bench.chatbot.upload(&conversation, "huge.bin", &every_byte.repeat(2)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    bench.finish().await;
}

#[tokio::test]
async fn an_attachment_too_large_for_lambda_is_said_to_be_so() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    let (_, attachment) = bench.chatbot.upload(&conversation, "large.bin", &vec![0; 4 * 1024 * 1024 + 1]).await;
    let path = format!("/{conversation}/attachments/{}/content", attachment["id"].as_str().unwrap());
    let (status, answer) = bench.chatbot.get(&path).await;
    assert_eq!((status, code_of(&answer)), (StatusCode::BAD_GATEWAY, "contact_center_answer"));
    bench.finish().await;
}

// --- 8x8's credentials ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_token_that_8x8_refuses_is_renewed() {
    for authentication in [Authentication::ClientCredentials, Authentication::Password] {
        let contact_center = ContactCenterSettings { authentication, ..ContactCenterSettings::default() };
        let bench = Bench::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        bench.refresh_tokens().await.unwrap();
        let conversation = opened(&bench).await;
        bench.contact_center.revoke_tokens();
        assert_eq!(send(&bench, &conversation, "confidential").await, StatusCode::ACCEPTED);
        assert_eq!(texts(&bench, &conversation), ["confidential"]);
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_key_that_8x8_refuses_is_a_failure_of_the_bridge_and_not_of_its_caller() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    let right = bench.cloud.secrets.current(CONTACT_CENTER_SECRET);
    bench.cloud.secrets.set(CONTACT_CENTER_SECRET, &json!({ "api_key": "revoked" }));
    bench.functions.converse.recycle();
    let (status, answer) = bench.chatbot.get(&format!("/{conversation}")).await;
    assert_eq!((status, code_of(&answer)), (StatusCode::BAD_GATEWAY, "contact_center_credentials"));
    assert!(answer["message"].as_str().unwrap().contains("Access Denied"), "{answer}");
    // The right one is looked for in the secret as soon as the wrong one is refused.
    bench.cloud.secrets.set(CONTACT_CENTER_SECRET, &right);
    assert_eq!(bench.chatbot.get(&format!("/{conversation}")).await.0, StatusCode::OK);
    bench.finish().await;
}

#[tokio::test]
async fn secrets_that_cannot_be_read_are_a_503_and_nothing_is_sent() {
    let bench = Bench::start().await;
    bench.functions.converse.recycle();
    bench.chatbot.caller.credentials().await;
    bench.fault(Fault::SecretsDown, When::For(Duration::from_secs(60)));
    let answer = bench.chatbot.call(Method::POST, "", &[(CONTENT_TYPE, "application/json")], r#"{"user":{}}"#).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(code_of(&json_of(&answer)), "unavailable");
    assert!(answer.headers().contains_key(RETRY_AFTER));
    bench.faults.clear();
    assert_eq!(bench.contact_center.conversation_ids(), Vec::<String>::new());
    bench.finish().await;
}

// --- what 8x8 does not say -----------------------------------------------------------------------------------------

const UNSAID: [FailureKind; 3] = [FailureKind::Status500, FailureKind::Drops, FailureKind::Hangs];

#[tokio::test]
async fn a_line_is_said_once_whether_8x8_took_it_without_saying_so_or_not() {
    let bench = Bench::start().await;
    for kind in UNSAID {
        for is_carried_out in [true, false] {
            let conversation = opened(&bench).await;
            bench.contact_center.break_next("POST", "messages", kind, is_carried_out);
            let status = send(&bench, &conversation, "confidential").await;
            assert_eq!(status, StatusCode::ACCEPTED, "{kind:?} {is_carried_out}");
            assert_eq!(texts(&bench, &conversation), ["confidential"], "{kind:?} {is_carried_out}");
        }
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_customer_is_queued_once_whether_8x8_did_it_without_saying_so_or_not() {
    let bench = Bench::start().await;
    // More open conversations than fit on a page.
    for _ in 0..120 {
        bench.contact_center.open_conversation(&bench.channel_id);
    }
    let others: BTreeSet<String> = bench.contact_center.conversation_ids().into_iter().collect();
    let mut ours = BTreeSet::new();
    for kind in UNSAID {
        for is_carried_out in [true, false] {
            bench.contact_center.break_next("POST", "conversations", kind, is_carried_out);
            ours.insert(opened(&bench).await);
        }
    }
    let all: BTreeSet<String> = bench.contact_center.conversation_ids().into_iter().collect();
    assert_eq!(all.difference(&others).cloned().collect::<BTreeSet<_>>(), ours);
    assert_eq!(ours.len(), 6);
    bench.finish().await;
}

#[tokio::test]
async fn the_same_line_again_is_another_line() {
    let bench = Bench::start().await;
    for is_carried_out in [true, false] {
        let conversation = opened(&bench).await;
        assert_eq!(send(&bench, &conversation, "yes").await, StatusCode::ACCEPTED);
        bench.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        assert_eq!(send(&bench, &conversation, "yes").await, StatusCode::ACCEPTED);
        assert_eq!(texts(&bench, &conversation), ["yes", "yes"], "{is_carried_out}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_look_that_gets_no_answer_is_repeated() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    bench.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    for kind in [FailureKind::Drops, FailureKind::Status500, FailureKind::Status429] {
        bench.contact_center.break_next("GET", "messages", kind, false);
    }
    assert_eq!(send(&bench, &conversation, "confidential").await, StatusCode::ACCEPTED);
    assert_eq!(texts(&bench, &conversation), ["confidential"]);
    bench.finish().await;
}

#[tokio::test]
async fn what_is_harmless_is_simply_sent_again() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    bench.contact_center.break_next("POST", "typing", FailureKind::Drops, true);
    let (status, _) =
        bench.chatbot.json(Method::POST, &format!("/{conversation}/typing"), &json!({ "authorType": "bot" })).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    bench.contact_center.break_next("GET", "participants", FailureKind::Status500, false);
    assert_eq!(bench.chatbot.get(&format!("/{conversation}/participants")).await.0, StatusCode::OK);
    bench.contact_center.break_next("POST", "attachments", FailureKind::Drops, true);
    assert_eq!(bench.chatbot.upload(&conversation, "a", b"a").await.0, StatusCode::OK);
    bench.finish().await;
}

#[tokio::test]
async fn what_cannot_be_settled_is_said_to_be_unknown_and_not_sent_again() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    let (webhooks, _) = bench.contact_center.registered();
    let body = json!({ "type": "webhook", "id": webhooks[0]["id"] }).to_string();
    let path = format!("/{conversation}/post-agent-assignment");
    bench.contact_center.break_next("POST", "post-agent-assignment", FailureKind::Drops, true);
    for _ in 0..2 {
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, "hand-back")];
        let answer = bench.chatbot.call(Method::POST, &path, &headers, body.clone()).await;
        let answer_json = json_of(&answer);
        assert_eq!((answer.status(), code_of(&answer_json)), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
        let message = answer_json["message"].as_str().unwrap();
        assert!(message.contains("unknown") && message.contains("Repeat"), "{message}");
        assert_eq!(bench.contact_center.kept(&conversation)["postAgentAssignments"].as_array().unwrap().len(), 1);
    }
    assert_eq!(bench.logged("\"OutcomesUnknown\":1"), 2);
    bench.finish().await;
}

#[tokio::test]
async fn while_8x8_is_down_nothing_is_a_success() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    // 8x8's own error, if there is one and nothing has been done.
    for _ in 0..3 {
        bench.contact_center.break_next("POST", "messages", FailureKind::Status500, false);
    }
    assert_eq!(send(&bench, &conversation, "confidential").await, StatusCode::INTERNAL_SERVER_ERROR);
    bench.fault(Fault::ContactCenterDrops, When::For(Duration::from_secs(60)));
    let (status, answer) = bench.chatbot.get(&format!("/{conversation}")).await;
    assert_eq!((status, code_of(&answer)), (StatusCode::GATEWAY_TIMEOUT, "no_answer"));
    let body = json!({ "authorType": "user", "text": "confidential" });
    let (status, answer) = bench.chatbot.json(Method::POST, &format!("/{conversation}/messages"), &body).await;
    assert_eq!((status, code_of(&answer)), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
    bench.faults.clear();
    bench.finish().await;
}

#[tokio::test]
async fn while_8x8_hangs_the_answer_comes_before_api_gateway_gives_up() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    // Two attempts that are known not to have been carried out, a third one that nobody can look after any more.
    for is_carried_out in [false, false, true] {
        bench.contact_center.break_next("POST", "messages", FailureKind::Hangs, is_carried_out);
    }
    let answer = bench.chatbot.say(&conversation, "user", "confidential", "key");
    let gone = async {
        while bench.logged("8x8 has not done it") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.fault(Fault::ContactCenterHangs, When::For(Duration::from_secs(60)));
    };
    let (answer, ()) = tokio::join!(answer, gone);
    assert_eq!((answer.status(), code_of(&json_of(&answer))), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
    bench.faults.clear();
    let again = bench.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!((again.status(), texts(&bench, &conversation).len()), (StatusCode::ACCEPTED, 1));
    bench.finish().await;
}

#[tokio::test]
async fn when_8x8_is_busy_the_bridge_waits_as_long_as_it_is_told_and_then_says_so() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    bench.contact_center.break_next("POST", "messages", FailureKind::Status429, false);
    assert_eq!(send(&bench, &conversation, "confidential").await, StatusCode::ACCEPTED);
    bench.fault(Fault::ContactCenter429, When::For(Duration::from_secs(60)));
    let path = format!("/{conversation}/messages");
    let headers = [(CONTENT_TYPE, "application/json")];
    let answer = bench.chatbot.call(Method::POST, &path, &headers, r#"{"authorType":"user","text":"x"}"#).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()[RETRY_AFTER], "1");
    bench.faults.clear();
    assert_eq!(texts(&bench, &conversation), ["confidential"]);
    bench.finish().await;
}

// --- Idempotency-Key --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_changes_nothing() {
    let bench = Bench::start().await;
    let headers = [(CONTENT_TYPE, "application/json"), (KEY, "creation-1")];
    let body = r#"{"user":{"name":"Sandbox Customer"}}"#;
    let first = bench.chatbot.call(Method::POST, "", &headers, body).await;
    assert!(!first.headers().contains_key("idempotent-replayed"));
    // Another process has the answer too.
    bench.functions.converse.recycle();
    let again = bench.chatbot.call(Method::POST, "", &headers, body).await;
    assert_eq!((again.status(), again.body()), (first.status(), first.body()));
    assert_eq!(again.headers()[CONTENT_TYPE], first.headers()[CONTENT_TYPE]);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(bench.contact_center.conversation_ids().len(), 1);

    let conversation = json_of(&first)["conversationId"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let answer = bench.chatbot.say(&conversation, "user", "confidential", "line-1").await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(bench.chatbot.say(&conversation, "user", "confidential", "line-2").await.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&bench, &conversation), ["confidential", "confidential"]);
    // So does a refusal stay one.
    for _ in 0..2 {
        let answer = bench.chatbot.say(&conversation, "agent", "confidential", "line-3").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_form_is_the_same_whatever_its_boundary_is() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    let upload = async |boundary: &str| {
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"attachment\"; filename=\"a\"\r\n\r\nx\r\n--{boundary}--\r\n"
        );
        let content_type = format!("multipart/form-data; boundary={boundary}");
        let headers = [(CONTENT_TYPE, &*content_type), (KEY, "upload")];
        bench.chatbot.call(Method::POST, &format!("/{conversation}/attachments"), &headers, body).await
    };
    let (first, again) = (upload("one").await, upload("two").await);
    assert_eq!((first.status(), first.body()), (StatusCode::OK, again.body()));
    bench.finish().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    bench.chatbot.say(&conversation, "user", "confidential", "key").await;
    let answer = bench.chatbot.say(&conversation, "user", "something else, confidential", "key").await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(code_of(&json_of(&answer)), "idempotency_key_reused");
    for bad in ["", "two words", &"x".repeat(256)] {
        let answer = bench.chatbot.say(&conversation, "user", "confidential", bad).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{bad}");
    }
    assert_eq!(texts(&bench, &conversation), ["confidential"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_repeat_that_comes_too_early_is_told_so() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    bench.contact_center.break_next("POST", "messages", FailureKind::Hangs, true);
    let first = bench.chatbot.say(&conversation, "user", "confidential", "key");
    let repeats = async {
        while bench.cloud.dynamo_db.items(IDEMPOTENCY_TABLE).is_empty() {
            tokio::task::yield_now().await;
        }
        bench.chatbot.say(&conversation, "user", "confidential", "key").await
    };
    let (first, early) = tokio::join!(first, repeats);
    assert_eq!(early.status(), StatusCode::CONFLICT);
    assert!(early.headers().contains_key(RETRY_AFTER));
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&bench, &conversation), ["confidential"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    bench.chatbot.say(&conversation, "user", "confidential", "key").await;
    let kept = bench.cloud.dynamo_db.items(IDEMPOTENCY_TABLE);
    let kept = kept.iter().find(|item| item.get("begun_at").is_some()).expect("the key");
    let number = |field: &str| kept[field]["N"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(number("expires_at") - number("begun_at") / 1000, 24 * 3600);
    // DynamoDB has not deleted it yet.
    bench.cloud.dynamo_db.set(IDEMPOTENCY_TABLE, "expires_at", &json!({ "N": "1000" }));
    let answer = bench.chatbot.say(&conversation, "user", "something else, confidential", "key").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(texts(&bench, &conversation).len(), 2);
    bench.finish().await;
}

#[tokio::test]
async fn after_an_unknown_outcome_the_same_key_finds_out() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    for is_carried_out in [true, false] {
        let key = format!("key-{is_carried_out}");
        bench.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        bench.fault(Fault::ContactCenter500, When::For(Duration::from_secs(60)));
        let answer = bench.chatbot.say(&conversation, "user", &key, &key).await;
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        bench.faults.clear();
        bench.functions.converse.recycle();
        let answer = bench.chatbot.say(&conversation, "user", &key, &key).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(texts(&bench, &conversation), ["key-true", "key-false"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_doubt_outlives_a_repeat_that_cannot_settle_it() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    bench.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    bench.fault(Fault::ContactCenter500, When::For(Duration::from_secs(60)));
    let say = async || bench.chatbot.say(&conversation, "user", "confidential", "key").await.status();
    assert_eq!(say().await, StatusCode::GATEWAY_TIMEOUT);
    bench.faults.clear();
    // The next one cannot look either, and began seconds after the line was said: the one after that has to look further
    // back than to it.
    bench.fault(Fault::ContactCenter429, When::For(Duration::from_secs(60)));
    assert_eq!(say().await, StatusCode::GATEWAY_TIMEOUT);
    bench.faults.clear();
    assert_eq!(say().await, StatusCode::ACCEPTED);
    assert_eq!(texts(&bench, &conversation), ["confidential"]);
    bench.finish().await;
}

#[tokio::test]
async fn whatever_becomes_of_the_process_the_same_key_says_a_line_once() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    let mut said = Vec::new();
    for number in 0..40_u32 {
        let text = format!("confidential: {number}");
        bench.fault(Fault::KillConverse, When::Next(1 + number % 3));
        loop {
            let answer = bench.chatbot.say(&conversation, "user", &text, &text.replace(' ', "")).await;
            match answer.status() {
                StatusCode::ACCEPTED => break,
                // The dead process has the key for half a minute: it passes here.
                StatusCode::CONFLICT => {
                    let items = bench.cloud.dynamo_db.items(IDEMPOTENCY_TABLE);
                    assert!(items.iter().any(|item| item.get("answer_status").is_none()));
                    bench.cloud.dynamo_db.advance(IDEMPOTENCY_TABLE, "taken_at", -30_000);
                }
                status => assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR),
            }
        }
        said.push(text);
    }
    assert_eq!(texts(&bench, &conversation), said);
    bench.finish().await;
}

#[tokio::test]
async fn without_the_table_a_key_is_not_promised_and_nothing_is_sent() {
    let bench = Bench::start().await;
    let conversation = opened(&bench).await;
    bench.fault(Fault::TableDown, When::For(Duration::from_secs(60)));
    let answer = bench.chatbot.say(&conversation, "user", "confidential", "key").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(texts(&bench, &conversation), Vec::<String>::new());
    assert_eq!(send(&bench, &conversation, "confidential: without a key").await, StatusCode::ACCEPTED);
    bench.faults.clear();
    assert_eq!(bench.chatbot.say(&conversation, "user", "confidential", "key").await.status(), StatusCode::ACCEPTED);
    bench.finish().await;
}

/// A thousand conversations of ten lines each, which then end, and 8x8 leaves a third of all calls without an answer, half of them carried
/// out. The bot repeats what is not a success under the same key.
#[tokio::test(flavor = "multi_thread")]
async fn with_every_third_call_unanswered_nothing_is_lost_and_nothing_said_twice() {
    const CONVERSATIONS: usize = 1000;
    const LINES: usize = 10;
    /// As many conversations at a time as there are processes for them.
    const PROCESSES: usize = 64;
    /// About one call in 30 ends as unknown: 20 in a row are a fault of ours.
    const ATTEMPTS: usize = 20;

    let bench = Bench::with(SandboxSettings { concurrency: PROCESSES, ..SandboxSettings::default() }).await;
    bench.chatbot.caller.credentials().await;
    bench.fault(Fault::ContactCenterDrops, When::Share(0.33));
    bench.fault(Fault::ContactCenterHangs, When::Share(0.003));
    let bench = Arc::new(bench);
    let places = Arc::new(Semaphore::new(PROCESSES));
    let mut bots = tokio::task::JoinSet::new();
    for number in 0..CONVERSATIONS {
        let (bench, places) = (Arc::clone(&bench), Arc::clone(&places));
        bots.spawn(async move {
            let _place = places.acquire().await;
            let mut unknown = 0;
            let mut until_accepted = async |path: &str, body: &Value, key: &str| {
                let headers = [(CONTENT_TYPE, "application/json"), (KEY, key)];
                for _ in 0..ATTEMPTS {
                    let answer = bench.chatbot.call(Method::POST, path, &headers, body.to_string()).await;
                    match answer.status() {
                        StatusCode::ACCEPTED => return json_of(&answer),
                        StatusCode::GATEWAY_TIMEOUT => unknown += 1,
                        status => panic!("{status} {answer:?}"),
                    }
                }
                panic!("{key} is unknown after {ATTEMPTS} attempts");
            };
            let body = json!({ "user": { "name": "Sandbox Customer" } });
            let created = until_accepted("", &body, &format!("{number}")).await;
            let conversation = created["conversationId"].as_str().expect("an id").to_owned();
            for line in 0..LINES {
                // Half of the lines are alike.
                let text = format!("confidential: {}", if line % 2 == 0 { line } else { 1 });
                let body = json!({ "authorType": "user", "text": text });
                until_accepted(&format!("/{conversation}/messages"), &body, &format!("{number}-{line}")).await;
            }
            bench.contact_center.conversation(&conversation).expect("its channel has a webhook").idle();
            (conversation, unknown)
        });
    }
    let outcomes = bots.join_all().await;
    bench.faults.clear();
    let expected: Vec<String> =
        (0..LINES).map(|line| format!("confidential: {}", if line % 2 == 0 { line } else { 1 })).collect();
    let wrong = outcomes.iter().filter(|(conversation, _)| texts(&bench, conversation) != expected).count();
    let unknown: usize = outcomes.iter().map(|(_, unknown)| unknown).sum();
    let created = bench.contact_center.conversation_ids().len();
    let doubts = bench.logged("\"OutcomesInDoubt\":");
    println!("{doubts} calls left something in doubt; {unknown} answers were unknown; in the end none is");
    assert_eq!((created, wrong), (CONVERSATIONS, 0));
    assert!(doubts > CONVERSATIONS, "the faults strike");
    assert!(bench.settle(PATIENCE).await);
    bench.check();
}

// --- the older API ----------------------------------------------------------------------------------------------------

async fn older() -> Bench {
    let contact_center = ContactCenterSettings {
        api: ContactCenterApi::ChatApiV2,
        authentication: Authentication::ClientCredentials,
        ..ContactCenterSettings::default()
    };
    Bench::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await
}

#[tokio::test]
async fn the_older_api_takes_the_same_calls() {
    let bench = older().await;
    let user = json!({
        "name": "Sandbox Customer", "userId": "c-1", "additionalProperties": [{ "key": "plan", "value": "gold" }],
    });
    let history = json!({ "messages": [{ "authorType": "bot", "text": "confidential" }] });
    let (status, created) = bench.chatbot.json(Method::POST, "", &json!({ "user": user, "history": history })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{created}");
    assert!(created["createdAt"].is_string() && created.get("timestamp").is_none(), "{created}");
    let conversation = created["conversationId"].as_str().unwrap();
    let kept = bench.contact_center.kept(conversation);
    assert_eq!((&kept["user"]["customerId"], &kept["user"]["plan"]), (&json!("c-1"), &json!("gold")));
    assert_eq!(kept["history"], json!([{ "type": "bot", "text": "confidential" }]));

    assert_eq!(send(&bench, conversation, "confidential: hello").await, StatusCode::ACCEPTED);
    bench.contact_center.conversation(conversation).unwrap().writes("agent", "confidential: hi");
    let (_, shown) = bench.chatbot.get(&format!("/{conversation}")).await;
    assert_eq!((&shown["id"], &shown["user"]["userId"]), (&json!(conversation), &json!("c-1")));
    let (_, list) = bench.chatbot.get("?size=1&page=0").await;
    assert_eq!(list["_embedded"]["conversations"][0]["user"]["name"], "Sandbox Customer");
    assert_eq!(list["page"], json!({ "size": 1, "number": 0, "totalElements": 1, "totalPages": 1 }));
    let (_, messages) = bench.chatbot.get(&format!("/{conversation}/messages")).await;
    let said: Vec<_> = messages["_embedded"]["messages"].as_array().unwrap().iter().map(|line| &line["text"]).collect();
    assert_eq!(said, ["confidential: hello", "confidential: hi"]);
    let (_, participants) = bench.chatbot.get(&format!("/{conversation}/participants")).await;
    assert_eq!(participants["_embedded"]["participants"][0]["type"], "user");
    let (_, interactions) = bench.chatbot.get(&format!("/{conversation}/interactions")).await;
    assert!(interactions["_embedded"]["interactions"][0]["id"].is_string());
    let (status, _) = bench
        .chatbot
        .json(Method::PATCH, &format!("/{conversation}/participants/user"), &json!({ "removed": true }))
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(bench.contact_center.kept(conversation)["state"], "idle");
    let (status, answer) = bench.chatbot.get("/unknown").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer["message"].as_str().unwrap().contains("was not found"), "8x8's own words: {answer}");
    bench.finish().await;
}

#[tokio::test]
async fn what_the_older_api_lacks_is_a_501_with_the_reason() {
    let bench = older().await;
    let conversation = opened(&bench).await;
    for (_, method, path, body, _) in OPERATIONS {
        let is_there = [
            ("GET", "?size=5&page=0"),
            ("POST", ""),
            ("GET", "/{c}"),
            ("GET", "/{c}/interactions"),
            ("GET", "/{c}/participants"),
            ("POST", "/{c}/messages"),
            ("PATCH", "/{c}/participants/user"),
        ];
        if is_there.contains(&(method, path)) {
            continue;
        }
        let path = ["{m}", "{a}", "{k}"]
            .into_iter()
            .fold(path.replace("{c}", &conversation), |path, id| path.replace(id, "1"));
        let headers = [(CONTENT_TYPE, "application/json")];
        let answer = bench.chatbot.call(method.parse().unwrap(), &path, &headers, body).await;
        assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED, "{method} {path}");
        let answer = json_of(&answer);
        assert_eq!(code_of(&answer), "not_supported");
        assert!(answer["message"].as_str().unwrap().starts_with("This contact center's API cannot "), "{answer}");
    }
    bench.finish().await;
}

#[tokio::test]
async fn the_older_api_is_looked_at_too_when_it_does_not_say_what_it_did() {
    let bench = older().await;
    let others = bench.contact_center.conversation_ids().len();
    for (number, is_carried_out) in [true, false].into_iter().enumerate() {
        bench.contact_center.break_next("POST", "conversations", FailureKind::Drops, is_carried_out);
        let conversation = opened(&bench).await;
        assert_eq!(bench.contact_center.conversation_ids().len(), others + number + 1);
        bench.contact_center.break_next("POST", "messages", FailureKind::Drops, is_carried_out);
        assert_eq!(send(&bench, &conversation, "confidential").await, StatusCode::ACCEPTED);
        assert_eq!(texts(&bench, &conversation), ["confidential"]);
    }
    bench.finish().await;
}

// --- a caller that is refused ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_bot_with_another_password_gets_nothing() {
    let bench = Bench::start().await;
    bench.chatbot.caller.configure(Login { password: "wrong".to_owned(), ..bench.caller_login() }).await;
    assert!(bench.chatbot.caller.credentials().await.is_none());
    bench.finish().await;
}
