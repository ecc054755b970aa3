//! Every operation of 8x8's reference, its errors, and bytes of any kind, through the bridge.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_DISPOSITION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use sandbox::SandboxSettings;
use sandbox::deployment::CHANNEL_SECRET;
use serde_json::{Value, json};
use simulation::client::Client;

use super::{KEY, code_of, directly, json_of, opened};
use crate::support::Stack;

/// Every operation on conversations in 8x8's reference of the Chat Gateway, by its operation id: method, path below
/// `conversations`, the body that it asks for, and the status that it promises. `{c}`, `{m}`, `{a}`, `{k}`, `{w}` stand for
/// a conversation, a message, an attachment, a card and a webhook.
pub(super) const OPERATIONS: [(&str, &str, &str, &str, u16); 22] = [
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
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let agent = stack.contact_center.conversation(&conversation).unwrap();
    let card = agent.sends_card("agent", &json!({ "options": [] })).expect("the Gateway has cards");
    let (_, messages) = stack.chatbot.get(&format!("/{conversation}/messages")).await;
    let message = messages["_embedded"]["messages"][0]["id"].as_str().unwrap().to_owned();
    let (_, attachment) = stack.chatbot.upload(&conversation, "a.txt", b"x").await;
    let attachment = attachment["id"].as_str().unwrap().to_owned();
    let (webhooks, _) = stack.contact_center.registered();
    let webhook = webhooks[0]["id"].as_str().unwrap();
    let filled = |text: &str| {
        let text = text.replace("{c}", &conversation).replace("{m}", &message).replace("{a}", &attachment);
        text.replace("{k}", &card).replace("{w}", webhook)
    };
    for (id, method, path, body, status) in OPERATIONS {
        let response = match body {
            "a form" => {
                let (status, response) = stack.chatbot.upload(&conversation, "b.txt", b"y").await;
                assert_eq!(response["filename"], "b.txt");
                status
            }
            _ => {
                let headers: &[_] = if body.is_empty() { &[] } else { &[(CONTENT_TYPE, "application/json")] };
                let response = stack.chatbot.call(method.parse().unwrap(), &filled(path), headers, filled(body)).await;
                let is_hal = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/hal+json");
                assert_eq!(is_hal, !response.body().is_empty() && !path.ends_with("content"), "{id}");
                response.status()
            }
        };
        assert_eq!(response, status, "{id}");
    }
    let kept = stack.contact_center.kept(&conversation);
    assert_eq!(kept["activities"], json!(["user types", "bot thinks", "user has read"]));
    assert_eq!(kept["assignment"], json!({ "type": "queue", "id": "101" }));
    assert_eq!(kept["state"], "idle");
    stack.finish().await;
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
    let stack = Stack::with(settings).await;
    for (id, method, path, body, status) in OPERATIONS {
        let path = ["{c}", "{m}", "{a}", "{k}"].into_iter().fold(path.to_owned(), |path, id| path.replace(id, "1"));
        let response = if body == "a form" {
            stack.chatbot.upload("1", "b.txt", b"y").await.0
        } else {
            let headers: &[_] = if body.is_empty() { &[] } else { &[(CONTENT_TYPE, "application/json")] };
            let response = stack.chatbot.call(method.parse().unwrap(), &path, headers, body).await;
            assert_eq!(response.status(), status, "{id}: {response:?}");
            response.status()
        };
        assert_eq!(response, status, "{id}");
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
    let stack = Stack::start().await;
    let (app_token, access_token) = stack.chatbot.caller.credentials().await.unwrap();
    let right = [("x-app-token", app_token.clone()), ("authorization", format!("Bearer {access_token}"))];
    let wrong = [("x-app-token", "wrong".to_owned()), ("authorization", "Bearer wrong".to_owned())];
    let url = stack.api_url(sandbox::CONVERSATIONS);
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
            let response = client.send(request.body(Bytes::new()).unwrap()).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
            assert_eq!(code_of(&json_of(&response)), "unauthorized");
        }
    }
    assert_eq!(stack.contact_center.conversation_ids(), Vec::<String>::new());
    stack.finish().await;
}

#[tokio::test]
async fn a_creation_goes_to_the_registered_channel_and_queue_unless_it_names_others() {
    let stack = Stack::start().await;
    let create = async |body: Value| {
        let (status, created) = stack.chatbot.json(Method::POST, "", &body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{created}");
        assert!(created["createdAt"].is_string());
        stack.contact_center.kept(created["conversationId"].as_str().unwrap())
    };
    let user = json!({ "name": "Sandbox Customer", "additionalProperties": [{ "key": "plan", "value": "gold" }] });
    let history = json!({ "messages": [{ "authorType": "bot", "text": "confidential" }] });
    let kept = create(json!({ "user": user, "history": history })).await;
    assert_eq!(kept["channelId"], stack.channel_id);
    assert_eq!(kept["assignment"], json!({ "type": "queue", "id": "101" }));
    assert_eq!(kept["history"], history["messages"]);
    // The caller's own properties, and the one by which the conversation would be found again.
    let properties = kept["user"]["additionalProperties"].as_array().unwrap();
    assert_eq!(properties.len(), 2);
    assert_eq!(properties[0], user["additionalProperties"][0]);
    assert_eq!(properties[1]["key"], "liveAgentBridgeId");

    let kept = create(json!({ "user": user, "assignment": { "type": "queue", "id": "102" } })).await;
    assert_eq!(kept["assignment"]["id"], "102");
    stack.contact_center.add_channel("another");
    let (_, channels) = stack.contact_center.registered();
    let another = channels.iter().find(|channel| channel["name"] == "another").unwrap()["id"].clone();
    let kept = create(json!({ "user": user, "channelId": another })).await;
    assert_eq!(kept["channelId"], another);
    stack.finish().await;
}

#[tokio::test]
async fn without_a_registered_channel_a_creation_says_so_until_there_is_one() {
    let stack = Stack::start().await;
    let registered = stack.cloud.secrets.current(CHANNEL_SECRET);
    stack.cloud.secrets.set(CHANNEL_SECRET, &json!({}));
    let (status, response) = stack.chatbot.json(Method::POST, "", &json!({ "user": {} })).await;
    assert_eq!((status, code_of(&response)), (StatusCode::SERVICE_UNAVAILABLE, "channel_not_registered"));
    stack.cloud.secrets.set(CHANNEL_SECRET, &registered);
    opened(&stack).await;
    stack.finish().await;
}

/// Functions keep what is registered for five minutes.
#[tokio::test]
async fn a_new_channel_is_used_at_once_and_its_absence_is_not_remembered_for_a_day() {
    let stack = Stack::start().await;
    opened(&stack).await;
    stack.contact_center.remove(&stack.channel_id);
    let create = async || {
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, "creation")];
        stack.chatbot.call(Method::POST, "", &headers, r#"{"user":{"name":"Sandbox Customer"}}"#).await
    };
    let rejected = create().await;
    assert_eq!(rejected.status(), StatusCode::BAD_REQUEST, "8x8's own error");
    assert_eq!(create().await.status(), StatusCode::BAD_REQUEST);
    let channel_id = stack.register("102").await.unwrap();
    assert_ne!(channel_id, stack.channel_id);
    let created = create().await;
    assert_eq!(created.status(), StatusCode::ACCEPTED, "{created:?}");
    let kept = stack.contact_center.kept(json_of(&created)["conversationId"].as_str().unwrap());
    assert_eq!((&kept["channelId"], &kept["assignment"]["id"]), (&json!(channel_id), &json!("102")));
    assert_eq!(stack.function(sandbox::deployment::CONVERSE).started(), 1, "the function is warm");
    stack.finish().await;
}

#[tokio::test]
async fn an_error_of_8x8_is_passed_on_as_it_is() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let queue =
        |id: &str| json!({ "channelId": stack.channel_id, "user": {}, "assignment": { "type": "queue", "id": id } });
    let messages = format!("/{conversation}/messages");
    for (method, path, body, reason) in [
        (Method::POST, "", queue("999"), "Queue ID 999 is invalid."),
        (Method::POST, "", json!({ "channelId": stack.channel_id, "user": "me" }), "user: Must be an object."),
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
        let expected = directly(&stack, method.clone(), path, &body).await;
        let response =
            stack.chatbot.call(method.clone(), path, &[(CONTENT_TYPE, "application/json")], body.to_string()).await;
        assert!(String::from_utf8_lossy(response.body()).contains(reason), "{path}: {response:?}");
        assert_eq!(response.status(), expected.status());
        assert_eq!(response.body(), expected.body());
        assert_eq!(response.headers()[CONTENT_TYPE], expected.headers()[CONTENT_TYPE]);
    }
    assert_eq!(stack.logged("\"code\":\"invalid_queue\""), 1, "the operator of the bridge sees why");
    stack.finish().await;
}

#[tokio::test]
async fn what_is_no_operation_is_refused() {
    let stack = Stack::start().await;
    let (status, response) = stack.chatbot.get("/c/nothing").await;
    assert_eq!((status, code_of(&response)), (StatusCode::NOT_FOUND, "not_found"));
    let response = stack.chatbot.call(Method::DELETE, "/c", &[], "").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()[ALLOW], "GET, PUT, PATCH");
    stack.finish().await;
}

#[tokio::test]
async fn bytes_of_any_kind_come_through_in_both_directions() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let every_byte: Vec<u8> = (0..=255).cycle().take(4_000_000).collect();
    for (name, content) in
        [("small.bin", &b"\0\xff\r\n--\x80"[..]), ("text.txt", "Grüezi 👋".as_bytes()), ("large.bin", &every_byte)]
    {
        let (status, attachment) = stack.chatbot.upload(&conversation, name, content).await;
        assert_eq!((status, &attachment["sizeInBytes"]), (StatusCode::OK, &json!(content.len())));
        let path = format!("/{conversation}/attachments/{}/content", attachment["id"].as_str().unwrap());
        let response = stack.chatbot.call(Method::GET, &path, &[], "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.body() == content, "{name} is another now");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/octet-stream");
        assert_eq!(response.headers()[CONTENT_DISPOSITION], format!("attachment; filename=\"{name}\""));
    }
    // Lambda takes 6 MB, of which base64 leaves four and a half.
    let (status, _) = stack.chatbot.upload(&conversation, "huge.bin", &every_byte.repeat(2)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    stack.finish().await;
}

#[tokio::test]
async fn an_attachment_too_large_for_lambda_is_said_to_be_so() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let (_, attachment) = stack.chatbot.upload(&conversation, "large.bin", &vec![0; 4 * 1024 * 1024 + 1]).await;
    let path = format!("/{conversation}/attachments/{}/content", attachment["id"].as_str().unwrap());
    let (status, response) = stack.chatbot.get(&path).await;
    assert_eq!((status, code_of(&response)), (StatusCode::BAD_GATEWAY, "contact_center_response"));
    stack.finish().await;
}
