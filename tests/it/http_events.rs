//! What API Gateway may hand to a function: no event ends a process.

use aws::lambda::InvokeError;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sandbox::Sandbox;
use sandbox::deployment::{CONVERSE, ISSUE_TOKEN, RECEIVE_MESSAGE};
use serde_json::{Value, json};

use crate::support::Stack;

/// Functions behind the HTTP API, each with a path of its own.
const FUNCTIONS: [(&str, &str); 3] =
    [(RECEIVE_MESSAGE, sandbox::RECEIVE_MESSAGE), (ISSUE_TOKEN, sandbox::TOKEN), (CONVERSE, sandbox::CONVERSATIONS)];

fn event(path: &str) -> Value {
    json!({
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": { "host": "api.example", "content-type": "application/json" },
        "requestContext": { "http": { "method": "POST" }, "stage": "$default" },
        "body": "{}",
        "isBase64Encoded": false,
    })
}

async fn status(sandbox: &Sandbox, function: &str, event: &Value) -> Result<u64, InvokeError> {
    let response = sandbox.function(function).invoke(event).await?;
    let response: Value = serde_json::from_slice(&response).expect("a response is JSON");
    Ok(response["statusCode"].as_u64().expect("a response has a status"))
}

#[tokio::test]
async fn what_is_no_part_of_a_uri_is_answered_with_400_before_anything_else() {
    let stack = Stack::start().await;
    for (function, path) in FUNCTIONS {
        for query in ["a=<b", "a=\"b\"", "a=b c"] {
            let mut event = event(path);
            event["rawQueryString"] = query.into();
            assert_eq!(status(&stack, function, &event).await.unwrap(), 400, "{function} {query}");
        }
        // What no function needs spoils no request: they are answered as any other without credentials.
        for (name, value) in
            [("host", "a b"), ("host", "["), ("x-forwarded-proto", "https, http"), ("x-forwarded-port", "x")]
        {
            let mut event = event(path);
            event["headers"][name] = value.into();
            let usual = status(&stack, function, &self::event(path)).await.unwrap();
            assert_eq!(status(&stack, function, &event).await.unwrap(), usual, "{function} {name}: {value}");
        }
    }
    stack.finish().await;
}

/// A bounded run; every run has other events.
#[tokio::test]
async fn no_event_ends_a_process() {
    const EVENTS: usize = 300;

    let stack = Stack::start().await;
    let (app_token, token) = stack.chatbot.caller.credentials().await.expect("a caller gets tokens");
    let mut runner = TestRunner::default();
    let text =
        prop_oneof![Just(String::new()), ".{0,40}", "[ -~]{0,40}", "(\\PC|\\\\u[0-9a-f]{4}|[{}\\[\\]\":,]){0,40}"];
    let path = prop_oneof![
        Just(String::new()),
        "(/[a-z0-9]{1,5}){0,4}",
        Just("/c/messages".to_owned()),
        Just("/c/attachments".to_owned()),
        Just("/c/cards/k/action-submit".to_owned()),
        ".{0,20}",
    ];
    let events = (
        (0..FUNCTIONS.len(), path, text.clone(), prop_oneof!["GET", "POST", "PUT", "PATCH", "[A-Z]{0,8}"]),
        (".{0,12}", text.clone(), text.clone(), proptest::option::of(text), any::<bool>(), any::<bool>()),
    );
    for _ in 0..EVENTS {
        let ((function, path, query, method), (name, value, content_type, body, is_base64_encoded, is_known)) =
            events.new_tree(&mut runner).expect("an event").current();
        let (function, base) = FUNCTIONS[function];
        let mut event = event(&format!("{base}{path}"));
        event["rawQueryString"] = query.into();
        event["requestContext"]["http"]["method"] = method.into();
        event["headers"]["content-type"] = content_type.into();
        event["headers"][name] = value.into();
        if is_known {
            event["headers"]["x-app-token"] = app_token.clone().into();
            event["headers"]["authorization"] = format!("Bearer {token}").into();
        }
        event["body"] = json!(body);
        event["isBase64Encoded"] = is_base64_encoded.into();
        let status = status(&stack, function, &event).await;
        assert!(status.as_ref().is_ok_and(|status| (200..600).contains(status)), "{status:?} for {event}");
    }
    for (function, _) in FUNCTIONS {
        assert_eq!(stack.function(function).started(), 1, "{function}");
    }
    assert_eq!(stack.leaks(), Vec::<String>::new());
}
