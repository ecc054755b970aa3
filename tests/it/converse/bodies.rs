//! Every valid request is completed, and every byte arrives, in both directions.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use contact_center::Authentication;
use contact_center::ContactCenterApi::{self, ChatApiV2, ChatGatewayV1};
use http::header::{ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use sandbox::chatbot::Chatbot;
use sandbox::deployment::{CHANNEL_SECRET, CONTACT_CENTER_TOKEN_SECRET, IDEMPOTENCY_TABLE};
use sandbox::{Sandbox, SandboxSettings};
use serde_json::json;
use shared::clock::UnixTime;

use super::{KEY, code_of, json_of};
use crate::stand_in::{StandIn, delayed, response};

const JSON: (&str, &[u8]) = ("content-type", b"application/hal+json");

/// A set whose 8x8 is a stand-in, and in which a channel is registered.
struct Set {
    sandbox: Sandbox,
    stand_in: StandIn,
}

impl Set {
    async fn start(
        api: ContactCenterApi,
        respond: impl Fn(&Parts, &Bytes) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let mut settings = SandboxSettings::default();
        settings.contact_center.api = api;
        Self::with(settings, respond).await
    }

    async fn with(
        settings: SandboxSettings,
        respond: impl Fn(&Parts, &Bytes) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        let stand_in = StandIn::start(respond).await;
        let path = match settings.contact_center.api {
            ChatGatewayV1 => "chat-gateway/v1/",
            ChatApiV2 => "vcc/us/chat/v2/tenant/sandboxtenant/",
        };
        let settings = SandboxSettings {
            contact_center_endpoint: Some(format!("{}/{path}", stand_in.url())),
            access_token_url: Some(format!("{}/oauth/v2/token", stand_in.url())),
            ..settings
        };
        let sandbox = Sandbox::start(settings).await;
        let registered = json!({
            "channel_id": "25",
            "webhook_id": "12",
            "queue_id": "101",
            "callback_url": sandbox.callback_url(),
            "registered_at": 1,
        });
        sandbox.cloud.secrets.set(CHANNEL_SECRET, &registered);
        Self { sandbox, stand_in }
    }
}

async fn create(chatbot: &Chatbot, body: &[u8]) -> Response<Bytes> {
    let headers = [(CONTENT_TYPE, "application/json")];
    chatbot.call(Method::POST, "", &headers, body.to_vec()).await
}

#[tokio::test]
async fn a_creation_is_completed_and_the_rest_of_it_stays_byte_for_byte() {
    let created = br#"{"conversationId":"c","createdAt":"2021-01-30T08:30:00Z"}"#;
    let set = Set::start(ChatGatewayV1, |_, _| response(StatusCode::ACCEPTED, &[JSON], &created[..])).await;
    let chatbot = &set.sandbox.chatbot;
    for (body, kept) in [
        (
            r#"{"user":{"name":"A"},"history":{"messages":[{"authorType":"user","text":"thanks \ud83d"}]}}"#,
            &["thanks \\ud83d"][..],
        ),
        ("\u{feff}{\"user\":{\"name\":\"A\"}}", &["{\"name\":\"A\""][..0]),
        (r#"{"user":{"name":"A","order":1e400}}"#, &["1e400"]),
        (r#"{"user":{"name":"A","additionalProperties":null}}"#, &[]),
        (
            r#"{ "user" : {"name":"A", "order":12345678901234567890123 , "price": 0.10000000000000000001} }"#,
            &["12345678901234567890123", "0.10000000000000000001"],
        ),
        (
            r#"{"user":{"name":"\u00e9\/","additionalProperties":[{"key":"k","value":"v"}]},"x":[ 1, 2 ]}"#,
            &[r#""\u00e9\/""#, r#"{"key":"k","value":"v"}"#, "[ 1, 2 ]"],
        ),
    ] {
        assert_eq!(create(chatbot, body.as_bytes()).await.status(), StatusCode::ACCEPTED, "{body}");
        let requests = set.stand_in.take();
        let [(_, sent)] = requests.as_slice() else { panic!("one request: {requests:?}") };
        let sent = std::str::from_utf8(sent).unwrap();
        for part in kept.iter().copied().chain([r#""channelId":"25""#, r#""key":"liveAgentBridgeId""#, r#""id":"101""#])
        {
            assert!(sent.contains(part), "{part} in {sent}");
        }
        assert!(sent.starts_with('{') || sent.starts_with(" {"), "{sent}");
    }
    for body in [&b"[]"[..], b"{", b"\"x\"", b"{\"a\":\xff}", b""] {
        let response = create(chatbot, body).await;
        assert_eq!((response.status(), code_of(&json_of(&response))), (StatusCode::BAD_REQUEST, "invalid_json_object"));
    }
    assert!(set.stand_in.take().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_message_reaches_8x8_as_the_bot_wrote_it() {
    let set = Set::start(ChatGatewayV1, |_, _| response(StatusCode::ACCEPTED, &[], "")).await;
    for body in [
        &br#"{"authorType":"bot" , "text":"half \ud83d","n":1e400, "order":12345678901234567890}"#[..],
        b"\xef\xbb\xbf{\"authorType\":\"bot\",\"text\":\"x\"}",
        b"not JSON at all \xff",
    ] {
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, &*format!("key-{}", body.len()))];
        let response = set.sandbox.chatbot.call(Method::POST, "/c/messages", &headers, body.to_vec()).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let requests = set.stand_in.take();
        assert_eq!(requests.len(), 1);
        assert_eq!(&requests[0].1[..], body);
        assert_eq!(requests[0].0.headers[ACCEPT_ENCODING], "identity");
    }
}

#[tokio::test]
async fn the_older_api_gets_every_digit_and_a_name_of_the_request() {
    let created = br#"{"conversationId":"c","timestamp":1611995400000}"#;
    let set = Set::start(ChatApiV2, |_, _| response(StatusCode::ACCEPTED, &[JSON], &created[..])).await;
    let body = br#"{"user":{"name":"A","order":12345678901234567890123},"history":{"messages":[{"authorType":"bot","text":"a \ud83d"}]}}"#;
    assert_eq!(create(&set.sandbox.chatbot, body).await.status(), StatusCode::ACCEPTED);
    let requests = set.stand_in.take();
    let sent = std::str::from_utf8(&requests[0].1).unwrap();
    for part in ["\"order\":12345678901234567890123", r#"{"type":"bot","text":"a \ud83d"}"#, "\"channelId\":\"25\""] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
    let key = requests[0].0.headers["idempotency-key"].to_str().unwrap();
    assert_eq!((key.len(), key.matches('-').count()), (36, 4), "a UUID");
}

#[tokio::test]
async fn a_conversation_without_messages_has_an_empty_list_in_the_older_api() {
    let set = Set::start(ChatApiV2, |parts, _| match parts.uri.path().rsplit('/').next() {
        Some("messages") => response(StatusCode::NOT_FOUND, &[JSON], r#"{"message":"Not found"}"#),
        Some("there") => response(StatusCode::OK, &[JSON], r#"{"id":"there"}"#),
        _ => response(StatusCode::NOT_FOUND, &[JSON], r#"{"message":"Not found"}"#),
    })
    .await;
    let (status, list) = set.sandbox.chatbot.get("/there/messages").await;
    assert_eq!((status, &list["page"]["totalElements"]), (StatusCode::OK, &json!(0)));
    assert_eq!(set.sandbox.chatbot.get("/gone/messages").await.0, StatusCode::NOT_FOUND);
}

/// The older API's description has 404 for an empty list of conversations.
#[tokio::test]
async fn a_creation_whose_list_is_missing_is_sent_again_when_it_is_settled() {
    let posts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&posts);
    let set = Set::start(ChatApiV2, move |parts, _| match parts.method {
        Method::POST if count.fetch_add(1, Ordering::SeqCst) == 0 => response(StatusCode::GATEWAY_TIMEOUT, &[], ""),
        Method::POST => response(StatusCode::ACCEPTED, &[JSON], r#"{"conversationId":"c","timestamp":1611995400000}"#),
        _ => response(StatusCode::NOT_FOUND, &[JSON], r#"{"message":"Not found"}"#),
    })
    .await;
    let headers = [(CONTENT_TYPE, "application/json"), (KEY, "key")];
    let create = async || set.sandbox.chatbot.call(Method::POST, "", &headers, r#"{"user":{"name":"A"}}"#).await;
    assert_eq!(code_of(&json_of(&create().await)), "unknown");
    set.sandbox.cloud.dynamo_db.advance(IDEMPOTENCY_TABLE, "ended_at", -30_000);
    assert_eq!(create().await.status(), StatusCode::ACCEPTED);
    assert_eq!(posts.load(Ordering::SeqCst), 2);
}

/// A text of a customer that would be escaped again and again.
#[tokio::test]
async fn a_text_full_of_entities_costs_no_time() {
    let set = Set::start(ChatGatewayV1, |_, _| response(StatusCode::ACCEPTED, &[], "")).await;
    let text = format!("&{}", "amp;".repeat(64 * 1024));
    let body = json!({ "authorType": "user", "text": text }).to_string();
    let headers = [(CONTENT_TYPE, "application/json"), (KEY, "key")];
    let started = Instant::now();
    let response = set.sandbox.chatbot.call(Method::POST, "/c/messages", &headers, body).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// A file as 8x8 sends it, and the name that a person should see.
struct File {
    content_type: Option<&'static [u8]>,
    disposition: Vec<u8>,
    name: &'static str,
    content: Vec<u8>,
}

fn files() -> Vec<File> {
    let types: [Option<&'static [u8]>; 10] = [
        None,
        Some(b"application/octet-stream"),
        Some(b"text/plain"),
        Some(b"text/csv; charset=windows-1252"),
        Some(b"text/csv;charset=\"utf-8\""),
        Some(b"application/json"),
        Some(b"image/svg+xml; charset=iso-8859-1"),
        Some(b"application/pdf"),
        Some(b"text/html; charset=utf-16"),
        Some(b"text/plain; name=\"Gr\xf6\xdfe\""),
    ];
    let names: [(&[u8], &'static str); 6] = [
        (b"attachment; filename=\"plain.txt\"", "plain.txt"),
        (b"attachment; filename=\"Gr\xf6\xdfe.png\"", "Größe.png"),
        ("attachment; filename=\"Größe 你好.png\"".as_bytes(), "Größe 你好.png"),
        (b"attachment; filename=\"a.txt\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.txt", "Größe.txt"),
        (b"attachment; filename=\"a \\\"b\\\"; c.txt\"", "a \"b\"; c.txt"),
        (b"attachment; filename=\"\xe4 \\\"b\\\"; c.txt\"", "ä \"b\"; c.txt"),
    ];
    let every_byte: Vec<u8> = (0..=255).collect();
    let contents: [Vec<u8>; 5] = [
        every_byte.repeat(4),
        "Grüezi 👋\r\n\"quoted\"\0".as_bytes().to_vec(),
        b"K\xf6ln \x80".to_vec(),
        "\u{feff}with a byte order mark".as_bytes().to_vec(),
        "UTF-16".encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ];
    let mut files = Vec::new();
    for content_type in types {
        for (disposition, name) in names {
            for content in &contents {
                files.push(File { content_type, disposition: disposition.to_vec(), name, content: content.clone() });
            }
        }
    }
    files
}

/// The name in a `Content-Disposition`, as a browser reads it (RFC 6266 §4.3): `filename*` before `filename`.
fn shown_name(disposition: &str) -> String {
    if let Some((_, encoded)) = disposition.split_once("filename*=UTF-8''") {
        let encoded = encoded.split(';').next().unwrap();
        let mut bytes = Vec::new();
        let mut rest = encoded.bytes();
        while let Some(byte) = rest.next() {
            let mut digit = || char::from(rest.next().unwrap()).to_digit(16).unwrap() as u8;
            bytes.push(if byte == b'%' { digit() * 16 + digit() } else { byte });
        }
        return String::from_utf8(bytes).unwrap();
    }
    let quoted = disposition.split_once("filename=\"").unwrap().1.strip_suffix('"').unwrap();
    quoted.replace("\\\"", "\"")
}

#[tokio::test]
async fn three_hundred_files_of_agents_arrive_with_their_bytes_and_names() {
    let set = Set::start(ChatGatewayV1, |parts, _| {
        let number: usize = parts.uri.path().split('/').nth_back(1).unwrap().parse().unwrap();
        let file = &files()[number];
        let mut headers = vec![("content-disposition", &*file.disposition)];
        headers.extend(file.content_type.map(|content_type| ("content-type", content_type)));
        response(StatusCode::OK, &headers, file.content.clone())
    })
    .await;
    let files = files();
    assert_eq!(files.len(), 300);
    for (number, file) in files.iter().enumerate() {
        let path = format!("/c/attachments/{number}/content");
        let response = set.sandbox.chatbot.call(Method::GET, &path, &[], "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.body() == &file.content, "{number}: other bytes");
        let disposition = response.headers()[CONTENT_DISPOSITION].to_str().expect("ASCII");
        assert_eq!(shown_name(disposition), file.name, "{number}");
        let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.to_str().expect("ASCII"));
        assert_eq!(content_type.is_some(), file.content_type.is_some(), "{number}");
    }
    assert_eq!(set.sandbox.function(sandbox::deployment::CONVERSE).started(), 1, "no process has ended");
}

#[tokio::test]
async fn a_file_up_to_the_limit_arrives_whatever_its_characters_are_and_a_larger_one_is_an_error_that_says_so() {
    const LIMIT: usize = 4 * 1024 * 1024;
    let set = Set::start(ChatGatewayV1, |parts, _| {
        let csv = "\"a\"\r\n".repeat(LIMIT / 5);
        let body = match parts.uri.path().split('/').nth_back(1).unwrap() {
            "csv" => csv.into_bytes(),
            "control" => vec![1; LIMIT],
            "binary" => vec![0xff; LIMIT],
            _ => vec![b'a'; LIMIT + 1],
        };
        response(StatusCode::OK, &[("content-type", b"text/csv")], body)
    })
    .await;
    let get = async |file: &str| {
        set.sandbox.chatbot.call(Method::GET, &format!("/c/attachments/{file}/content"), &[], "").await
    };
    for (file, length) in [("csv", LIMIT / 5 * 5), ("control", LIMIT), ("binary", LIMIT)] {
        let response = get(file).await;
        assert_eq!((response.status(), response.body().len()), (StatusCode::OK, length), "{file}");
    }
    let response = get("larger").await;
    let body = json_of(&response);
    assert_eq!((response.status(), code_of(&body)), (StatusCode::BAD_GATEWAY, "contact_center_response"));
    assert!(body["message"].as_str().unwrap().contains("4 MiB"), "{body}");
}

#[tokio::test]
async fn what_8x8_packs_unasked_is_unpacked() {
    let packed = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcbH\xcd\xc9\xc9\x07\0\x86\xa6\x106\x05\0\0\0";
    let set = Set::start(ChatGatewayV1, |_, _| {
        response(StatusCode::OK, &[("content-type", b"text/plain"), ("content-encoding", b"gzip")], &packed[..])
    })
    .await;
    let response = set.sandbox.chatbot.call(Method::GET, "/c/attachments/a/content", &[], "").await;
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &b"hello"[..]));
    assert!(!response.headers().contains_key("content-encoding"));
}

#[tokio::test]
async fn a_wait_without_end_is_passed_on_and_harms_nothing() {
    let set = Set::start(ChatGatewayV1, |_, _| {
        response(StatusCode::TOO_MANY_REQUESTS, &[("retry-after", b"18446744073709551615")], "")
    })
    .await;
    for _ in 0..2 {
        let body = json!({ "authorType": "bot", "text": "x" }).to_string();
        let headers = [(CONTENT_TYPE, "application/json")];
        let response = set.sandbox.chatbot.call(Method::POST, "/c/messages", &headers, body).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "18446744073709551615");
    }
    assert_eq!(set.sandbox.function(sandbox::deployment::CONVERSE).started(), 1, "no process has ended");
}

/// 8x8 shows what it was sent in another form, after the connection was lost.
#[tokio::test]
async fn a_message_is_found_in_whatever_form_8x8_shows_it_and_is_never_sent_twice() {
    let card = json!({ "content": { "version": 1.0, "title": "a\r\nb" } });
    for (sent, listed, is_recognised) in [
        (json!({ "text": "a\r\nb" }), json!({ "text": "a\nb" }), true),
        (json!({ "text": "Tom & Jerry" }), json!({ "text": "Tom &amp; Jerry" }), true),
        (json!({ "text": "Gro\u{308}ße" }), json!({ "text": "Größe" }), true),
        (
            json!({ "cards": [card] }),
            json!({ "text": "", "cards": [{ "id": "k", "contentType": "x", "content": { "version": 1, "title": "a\nb" } }] }),
            true,
        ),
        // 8x8 has replaced a word: no one can know that it is the same.
        (json!({ "text": "a bad word" }), json!({ "text": "a *** word" }), false),
    ] {
        static POSTS: AtomicUsize = AtomicUsize::new(0);
        POSTS.store(0, Ordering::SeqCst);
        let mut listed = listed;
        listed["id"] = "m".into();
        listed["author"] = json!({ "id": "1", "type": "bot" });
        let created_at = OnceLock::new();
        let set = Set::start(ChatGatewayV1, move |parts, _| {
            if parts.method == Method::POST {
                POSTS.fetch_add(1, Ordering::SeqCst);
                let _ = created_at.set(UnixTime::now().to_iso8601());
                return response(StatusCode::GATEWAY_TIMEOUT, &[], "");
            }
            let mut listed = listed.clone();
            listed["createdAt"] = json!(created_at.get());
            let list = json!({ "_embedded": { "messages": [listed] }, "page": { "totalPages": 1 } });
            response(StatusCode::OK, &[JSON], list.to_string())
        })
        .await;
        let mut body = sent.clone();
        body["authorType"] = "bot".into();
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, "key")];
        let chatbot = &set.sandbox.chatbot;
        let response = chatbot.call(Method::POST, "/c/messages", &headers, body.to_string()).await;
        if is_recognised {
            assert_eq!(response.status(), StatusCode::ACCEPTED, "{sent}");
        } else {
            assert_eq!(code_of(&json_of(&response)), "unknown", "{sent}");
            set.sandbox.cloud.dynamo_db.advance(IDEMPOTENCY_TABLE, "ended_at", -30_000);
            let again = chatbot.call(Method::POST, "/c/messages", &headers, body.to_string()).await;
            assert_eq!(code_of(&json_of(&again)), "unknown", "{sent}");
        }
        assert_eq!(POSTS.load(Ordering::SeqCst), 1, "{sent}");
    }
}

/// 8x8 rejects a token after 11 s, a log-in takes 7 s, and then 8x8 takes its time again.
#[tokio::test]
async fn a_slow_rejection_and_a_slow_log_in_end_before_api_gateway_gives_up() {
    let mut settings = SandboxSettings::default();
    settings.contact_center.authentication = Authentication::ClientCredentials;
    let set = Set::with(settings, |parts, _| {
        let is_log_in = parts.uri.path().ends_with("/token");
        let token = r#"{"access_token":"8x8-access-new","expires_in":"1799","token_type":"BearerToken"}"#;
        match is_log_in {
            true => delayed(response(StatusCode::OK, &[JSON], token), Duration::from_secs(7)),
            false => delayed(response(StatusCode::UNAUTHORIZED, &[], ""), Duration::from_secs(11)),
        }
    })
    .await;
    let token = json!({ "access_token": "8x8-access-old", "token_type": "bearer", "issued_at": 1, "expires_at": 4_000_000_000_u64 });
    set.sandbox.cloud.secrets.set(CONTACT_CENTER_TOKEN_SECRET, &token);
    let started = Instant::now();
    let body = json!({ "authorType": "bot", "text": "x" }).to_string();
    let headers = [(CONTENT_TYPE, "application/json"), (KEY, "key")];
    let response = set.sandbox.chatbot.call(Method::POST, "/c/messages", &headers, body).await;
    assert_eq!((response.status(), code_of(&json_of(&response))), (StatusCode::GATEWAY_TIMEOUT, "unknown"));
    assert!(started.elapsed() < Duration::from_secs(29), "{:?}", started.elapsed());
}
