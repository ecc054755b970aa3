//! receive-message at the edges of HTTP and JSON: headers of any characters, repeated headers, names in any case, and JSON
//! that is not Unicode text.

use bytes::Bytes;
use contact_center::signer::Claims;
use http::StatusCode;
use sandbox::SandboxSettings;
use sandbox::deployment::RECEIVE_MESSAGE;
use serde_json::{Value, json};

use crate::stand_in::{StandIn, response};
use crate::support::{Headers, PATIENCE, Stack, message};

/// A bot platform that accepts everything and reads nothing.
async fn bot() -> StandIn {
    StandIn::start(|parts, _| {
        let token = r#"{"access_token":"bot-access","token_type":"bearer","expires_in":3600}"#;
        let body = if parts.uri.path().ends_with("/token") { token } else { "" };
        response(StatusCode::OK, &[("content-type", b"application/json")], body)
    })
    .await
}

fn with(headers: &Headers, more: &[(&'static str, &str)]) -> Headers {
    headers.iter().cloned().chain(more.iter().map(|(name, value)| (*name, (*value).to_owned()))).collect()
}

#[tokio::test]
async fn headers_of_any_characters_reach_the_bot_platform_as_they_came() {
    let stack = Stack::start().await;
    let body = message("c");
    let odd = [
        ("x-8x8-display-name", "Köln 👋\t\u{85}"),
        // SQS allows neither character in a message.
        ("x-8x8-noncharacters", "\u{fffe}\u{ffff}"),
        ("x-8x8-empty", ""),
    ];
    let mut headers = with(&stack.signed(body.as_bytes()), &odd);
    headers[0].1 = "application/json; profile=\"Köln\"".to_owned();
    assert_eq!(stack.post(&headers, body).await.status(), StatusCode::OK);
    assert!(stack.settle(PATIENCE).await);
    let receipts = stack.bot.receipts();
    for (name, value) in &headers {
        assert_eq!(receipts["c"][0].headers[*name].as_bytes(), value.as_bytes(), "{name}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_signed_header_that_is_not_ascii_is_rejected_and_counted() {
    let stack = Stack::start().await;
    let body = message("c");
    let odd = "Köln".to_owned();
    for claims in [
        Claims { customer_id: odd.clone(), ..stack.claims() },
        Claims { tenant_id: odd.clone(), ..stack.claims() },
        Claims { event_id: odd.clone(), ..stack.claims() },
    ] {
        let headers = stack.contact_center.signer().headers(body.as_bytes(), &claims);
        assert_eq!(stack.post(&headers, body.clone()).await.status(), StatusCode::UNAUTHORIZED);
    }
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(stack.logged(r#""Reason":"malformed-signature""#), 3);
    stack.finish().await;
}

#[tokio::test]
async fn a_repeated_header_is_refused_if_it_is_signed_and_joined_if_it_is_not() {
    let stack = Stack::start().await;
    let body = message("c");
    let genuine = stack.signed(body.as_bytes());
    for (name, value) in genuine.iter().filter(|(name, _)| name.starts_with("x-8x8-")) {
        for repeated in [value.as_str(), "another", ""] {
            let headers = with(&genuine, &[(*name, repeated)]);
            let status = stack.post(&headers, body.clone()).await.status();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{name} and {repeated:?}");
        }
    }
    let headers = with(&genuine, &[("x-8x8-note", "one"), ("x-8x8-note", "two")]);
    assert_eq!(stack.post(&headers, body).await.status(), StatusCode::OK);
    assert!(stack.settle(PATIENCE).await);
    // API Gateway joins the values.
    assert_eq!(stack.bot.receipts()["c"][0].headers["x-8x8-note"], "one,two");
    stack.finish().await;
}

/// What API Gateway hands over for that request.
fn event(headers: &[(String, String)], body: &str) -> Value {
    let headers: serde_json::Map<String, Value> =
        headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "version": "2.0",
        "rawPath": sandbox::RECEIVE_MESSAGE,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": { "http": { "method": "POST" }, "stage": "$default" },
        "body": body,
        "isBase64Encoded": false,
    })
}

async fn status(stack: &Stack, event: &Value) -> u64 {
    let response = stack.function(RECEIVE_MESSAGE).invoke(event).await.expect("a response");
    serde_json::from_slice::<Value>(&response).expect("JSON")["statusCode"].as_u64().expect("a status")
}

#[tokio::test]
async fn the_names_of_headers_have_no_case_and_two_that_differ_by_it_are_one_that_is_repeated() {
    let stack = Stack::start().await;
    let body = message("c");
    let upper = |headers: Headers| -> Vec<(String, String)> {
        headers.into_iter().map(|(name, value)| (name.to_ascii_uppercase(), value)).collect()
    };
    let headers = upper(stack.signed(body.as_bytes()));
    for name in ["x-8x8-tenant-id", "x-8x8-event-id", "x-8x8-signature", "x-8x8-retry"] {
        let mut doubled = headers.clone();
        let value = doubled.iter().find(|(upper, _)| upper.eq_ignore_ascii_case(name)).expect("it is there").1.clone();
        doubled.push((name.to_owned(), value));
        assert_eq!(status(&stack, &event(&doubled, &body)).await, 401, "{name}");
    }
    assert_eq!(status(&stack, &event(&headers, &body)).await, 200);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(stack.bot.receipts()["c"].len(), 1);
    stack.finish().await;
}

#[tokio::test]
async fn json_that_is_not_unicode_text_passes_byte_for_byte() {
    let bot = bot().await;
    let settings = SandboxSettings { bot_endpoint: Some(bot.url()), ..SandboxSettings::default() };
    let stack = Stack::with(settings).await;
    let bodies: [&[u8]; 5] = [
        br#"{"\ud83d":1,"eventType":"MESSAGE","conversationId":"a"}"#,
        br#"{"eventType":"MESSAGE","conversationId":"\udc4b","data":{"\ud83d\ud83d":"\udc4b"}}"#,
        br#"{"eventType":"\ud83d","conversationId":"b"}"#,
        br#"{"event\u0054ype":"MESSAGE","conversationId":"c","":{"":[1e999,-0.0,""]}}"#,
        b"{\"eventType\":\"MESSAGE\",\"conversationId\":\"d\",\"data\":\"\xf0\x9f\"}",
    ];
    for body in bodies {
        let mut headers = stack.signed(body);
        // Bytes, not text, to API Gateway.
        headers[0].1 = "application/octet-stream".to_owned();
        let status = stack.post(&headers, Bytes::from(body)).await.status();
        assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(body));
    }
    assert!(stack.settle(PATIENCE).await);
    let mut received: Vec<Bytes> = bot.take().into_iter().map(|(_, body)| body).collect();
    received.retain(|body| body.starts_with(b"{"));
    received.sort_unstable();
    let mut sent = bodies.map(Bytes::from);
    sent.sort_unstable();
    assert_eq!(received, sent);
}
