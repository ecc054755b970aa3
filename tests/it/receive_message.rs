//! receive-message: every row of its table.

use contact_center::signer::{Claims, Signer};
use contact_center::{ContactCenterApi, ContactCenterSettings};
use http::StatusCode;
use sandbox::SandboxSettings;
use sandbox::faults::Fault;
use serde_json::{Value, json};
use simulation::faults::When;
use std::time::Duration;

use crate::support::{Headers, PATIENCE, Stack, message, now_millis, received};

fn set(headers: &Headers, name: &'static str, value: &str) -> Headers {
    headers.iter().map(|(n, v)| if *n == name { (*n, value.to_owned()) } else { (*n, v.clone()) }).collect()
}

fn without(headers: &Headers, name: &str) -> Headers {
    headers.iter().filter(|(n, _)| *n != name).cloned().collect()
}

#[tokio::test]
async fn an_accepted_event_reaches_the_bot_platform_exactly_as_it_came() {
    let stack = Stack::start().await;
    // White space, escapes, any Unicode, and characters that XML does not allow.
    let body = "{ \"eventType\":\"MESSAGE\",\n\t\"conversationId\" : \"c-1\", \"data\":{\"text\":\"\\u0000 👋 \u{fffe}\u{2028} \\ud83d\"} }\r\n";
    let headers = stack.signed(body.as_bytes());
    let response = stack.post(&headers, body).await;
    assert_eq!((response.status(), response.body().len()), (StatusCode::OK, 0));
    assert!(stack.settle(PATIENCE).await);

    let receipts = stack.bot.receipts();
    let receipt = &receipts["c-1"][0];
    assert_eq!(receipt.body, body.as_bytes());
    for (name, value) in &headers {
        assert_eq!(receipt.headers.get(*name).expect(name), value, "{name}");
    }
    let app_token = &stack.bot.settings().app_token;
    assert_eq!(receipt.headers.get("x-app-token").unwrap(), app_token);
    assert!(receipt.headers.get("authorization").unwrap().to_str().unwrap().starts_with("Bearer bot-access-"));
    stack.finish().await;
}

#[tokio::test]
async fn both_dialects_are_carried_whatever_version_is_configured() {
    for api in [ContactCenterApi::ChatGatewayV1, ContactCenterApi::ChatApiV2] {
        let contact_center = ContactCenterSettings { api, ..ContactCenterSettings::default() };
        let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        for body in [
            r#"{"eventType":"MESSAGE","conversationId":"c","timestamp":1,"data":{"isEcho":false}}"#,
            r#"{"eventType":"TEXT","conversationId":"c","timestamp":1,"messageType":"AGENT","message":"confidential"}"#,
        ] {
            assert_eq!(stack.post_signed(body).await.status(), StatusCode::OK);
        }
        assert!(stack.settle(PATIENCE).await);
        assert_eq!(received(&stack, "c").len(), 2);
        assert_eq!(stack.logged(r#""EventsUndocumented""#), 0);
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_webhook_verification_is_answered_and_not_queued() {
    let stack = Stack::start().await;
    let sent = stack.queues.events.sent();
    let body = r#"{"notificationVersion":"Chat Gateway v1.0","eventType":"WEB_HOOK_VERIFY"}"#;
    let content_type = vec![("content-type", "application/json".to_owned())];
    assert_eq!(stack.post(&content_type, body).await.status(), StatusCode::OK);
    assert_eq!(stack.post_signed(body).await.status(), StatusCode::OK);
    assert_eq!(stack.post(&stack.signed(b"{}"), body).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(stack.queues.events.sent(), sent);
    stack.finish().await;
}

#[tokio::test]
async fn every_bad_credential_gets_the_same_401_and_nothing_is_queued() {
    let stack = Stack::start().await;
    let body = message("c");
    let genuine = stack.signed(body.as_bytes());
    let claims = stack.claims();
    let at = |transmission_time| {
        let claims = Claims { transmission_time, ..claims.clone() };
        stack.contact_center.signer().headers(body.as_bytes(), &claims)
    };
    let foreign_tenant = Claims { tenant_id: "another-tenant".to_owned(), ..claims.clone() };
    let jws = |header: &str| {
        let signature = stack.contact_center.signer().sign(header, body.as_bytes(), &claims);
        set(&stack.contact_center.signer().headers(body.as_bytes(), &claims), "x-8x8-signature", &signature)
    };
    let kid = stack.contact_center.signer().key_id();
    let mut bad: Vec<(&str, Headers)> = vec![
        ("no credential at all", vec![("content-type", "application/json".to_owned())]),
        ("signed for another body", stack.signed(message("d").as_bytes())),
        ("signed by a key that 8x8 does not know", Signer::new().headers(body.as_bytes(), &claims)),
        ("signed 241 s ago", at(now_millis() - 241_000)),
        ("signed 90 s in the future", at(now_millis() + 90_000)),
        ("of another tenant", stack.contact_center.signer().headers(body.as_bytes(), &foreign_tenant)),
        ("another algorithm", jws(&format!(r#"{{"b64":false,"crit":["b64"],"kid":"{kid}","alg":"RS512"}}"#))),
        ("no algorithm", jws(&format!(r#"{{"b64":false,"crit":["b64"],"kid":"{kid}","alg":"none"}}"#))),
        ("an encoded payload", jws(&format!(r#"{{"b64":true,"crit":["b64"],"kid":"{kid}","alg":"RS256"}}"#))),
        ("another critical header", jws(&format!(r#"{{"b64":false,"crit":["b64","x"],"kid":"{kid}","alg":"RS256"}}"#))),
        (
            "a key's address",
            jws(&format!(r#"{{"b64":false,"crit":["b64"],"kid":"{kid}","alg":"RS256","jku":"http://127.0.0.1:1"}}"#)),
        ),
        ("a key id that climbs", jws(r#"{"b64":false,"crit":["b64"],"kid":"../../webhooks","alg":"RS256"}"#)),
        ("no signature in the signature", set(&genuine, "x-8x8-signature", "..")),
        ("a signature that is none", set(&genuine, "x-8x8-signature", "Bearer x")),
    ];
    for (name, value) in [
        ("x-8x8-event-id", "another"),
        ("x-8x8-customer-id", "another"),
        ("x-8x8-tenant-id", "another"),
        ("x-8x8-retry", "1"),
    ] {
        bad.push((name, set(&genuine, name, value)));
    }
    for name in [
        "x-8x8-signature",
        "x-8x8-event-id",
        "x-8x8-customer-id",
        "x-8x8-tenant-id",
        "x-8x8-retry",
        "x-8x8-transmission-time",
    ] {
        bad.push((name, without(&genuine, name)));
        bad.push((name, set(&genuine, name, "")));
    }
    for (what, headers) in &bad {
        let response = stack.post(headers, body.clone()).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!(response.body(), r#"{"message":"unauthorized"}"#, "{what}");
    }
    assert_eq!(stack.queues.events.sent(), 0);
    assert_eq!(stack.post(&genuine, body).await.status(), StatusCode::OK, "the genuine one");
    stack.finish().await;
}

#[tokio::test]
async fn what_is_no_event_gets_400() {
    let stack = Stack::start().await;
    for body in
        ["", "confidential", "[]", "\"MESSAGE\"", "null", "{}", r#"{"eventType":7"#, r#"{"conversationId":"c"}"#]
    {
        let response = stack.post_signed(body).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert!(std::str::from_utf8(response.body()).unwrap().contains("eventType"));
    }
    assert_eq!(stack.queues.events.sent(), 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_body_of_512_kib_is_taken_and_one_byte_more_is_not() {
    let stack = Stack::start().await;
    let event = |length: usize| {
        let (head, tail) = (r#"{"eventType":"MESSAGE","conversationId":"c","data":""#, r#""}"#);
        format!("{head}{}{tail}", "x".repeat(length - head.len() - tail.len()))
    };
    assert_eq!(stack.post_signed(event(512 * 1024)).await.status(), StatusCode::OK);
    assert_eq!(stack.post_signed(event(512 * 1024 + 1)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(stack.bot.receipts()["c"][0].body.len(), 512 * 1024);
    stack.finish().await;
}

#[tokio::test]
async fn a_failure_of_ours_or_of_8x8_is_never_a_success() {
    let stack = Stack::start().await;
    let body = message("c");
    let headers = stack.signed(body.as_bytes());
    let keys_down = Fault::from(contact_center::Fault::KeysDown);
    for fault in [keys_down, aws::Fault::QueueDown.into()] {
        stack.fault(fault, When::Share(1.0));
        let response = stack.post(&headers, body.clone()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        assert_eq!(response.headers()["retry-after"], "5");
        stack.faults.clear();
        assert_eq!(stack.queues.events.sent(), 0);
        if fault == keys_down {
            // The key is fetched, and from now on it is known.
            let verify = r#"{"eventType":"WEB_HOOK_VERIFY"}"#;
            assert_eq!(stack.post_signed(verify).await.status(), StatusCode::OK);
        }
    }
    assert_eq!(stack.post(&headers, body).await.status(), StatusCode::OK);
    stack.finish().await;
}

#[tokio::test]
async fn a_key_that_was_fetched_stays_good_while_8x8_cannot_be_asked() {
    let stack = Stack::start().await;
    assert_eq!(stack.post_signed(message("c")).await.status(), StatusCode::OK);
    stack.fault(contact_center::Fault::KeysDown, When::Share(1.0));
    let unknown = Signer::new().headers(message("c").as_bytes(), &stack.claims());
    assert_eq!(stack.post(&unknown, message("c")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(stack.post_signed(message("c")).await.status(), StatusCode::OK);
    stack.finish().await;
}

#[tokio::test]
async fn an_event_that_no_document_names_is_queued_and_counted() {
    let stack = Stack::start().await;
    let body = r#"{"eventType":"confidential new thing","conversationId":"c"}"#;
    assert_eq!(stack.post_signed(body).await.status(), StatusCode::OK);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, "c").len(), 1);
    assert_eq!(stack.logged(r#""EventsUndocumented":1"#), 1);
    stack.finish().await;
}

#[tokio::test]
async fn a_replay_is_confirmed_and_dropped() {
    let stack = Stack::start().await;
    let body = message("c");
    let headers = stack.signed(body.as_bytes());
    for _ in 0..3 {
        assert_eq!(stack.post(&headers, body.clone()).await.status(), StatusCode::OK);
        assert!(stack.settle(PATIENCE).await);
    }
    assert_eq!((stack.queues.events.sent(), stack.bot.received(), stack.bot.repeats()), (1, 1, 0));
    stack.finish().await;
}

#[tokio::test]
async fn a_retry_of_8x8_is_counted() {
    let stack = Stack::start().await;
    let body = message("c");
    let claims = Claims { retry: 3, ..stack.claims() };
    let headers = stack.contact_center.signer().headers(body.as_bytes(), &claims);
    assert_eq!(stack.post(&headers, body).await.status(), StatusCode::OK);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(stack.logged(r#""EventsRepeated":1"#), 1);
    stack.finish().await;
}

#[tokio::test]
async fn conversations_and_events_may_have_any_id() {
    let stack = Stack::start().await;
    let long = "x".repeat(300);
    for conversation in [json!("a b"), json!("ü👋"), json!(long), json!(125), Value::Null, json!("")] {
        let body = json!({ "eventType": "MESSAGE", "conversationId": conversation }).to_string();
        let claims = Claims {
            event_id: format!("id with spaces {conversation}").replace(|c: char| !c.is_ascii(), "?"),
            ..stack.claims()
        };
        let headers = stack.contact_center.signer().headers(body.as_bytes(), &claims);
        assert_eq!(stack.post(&headers, body).await.status(), StatusCode::OK, "{conversation}");
    }
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(stack.bot.received(), 6);
    stack.finish().await;
}

#[tokio::test]
async fn a_body_that_api_gateway_encodes_is_the_same_body() {
    let stack = Stack::start().await;
    let body = message("c");
    let mut headers = stack.signed(body.as_bytes());
    headers[0].1 = "application/octet-stream".to_owned();
    assert_eq!(stack.post(&headers, body.clone()).await.status(), StatusCode::OK);
    // The simulated bot platform takes JSON of any content type; ours is passed on as it came.
    assert!(stack.settle(Duration::from_secs(20)).await);
    let receipts = stack.bot.receipts();
    assert_eq!(receipts["c"][0].body, body);
    assert_eq!(receipts["c"][0].headers["content-type"], "application/octet-stream");
    stack.finish().await;
}

#[tokio::test]
async fn other_paths_and_methods_do_not_exist() {
    let stack = Stack::start().await;
    let client = simulation::client::Client::new();
    for (method, path) in
        [("GET", "/v1/liveAgent/receiveMessage"), ("POST", "/"), ("POST", "/v1/liveAgent/receiveMessage/x")]
    {
        let url = stack.callback_url().replace(sandbox::RECEIVE_MESSAGE, path);
        let request = http::Request::builder().method(method).uri(url).body(bytes::Bytes::new()).unwrap();
        assert_eq!(client.send(request).await.unwrap().status(), StatusCode::NOT_FOUND, "{method} {path}");
    }
    stack.finish().await;
}
