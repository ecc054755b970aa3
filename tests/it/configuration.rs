//! A missing or malformed variable stops a function at its start, with the variable's name in the message. register-channel
//! stops only where there is no Lambda around it (`real_runtime.rs` shows that it answers CloudFormation).

use std::collections::BTreeMap;
use std::process::Stdio;

use tokio::process::Command;

/// What each function cannot do without, with a value that it takes.
const REQUIRED: [(&str, &[(&str, &str)]); 7] = [
    (
        "receive-message",
        &[
            ("CONTACT_CENTER_ENDPOINT", "https://api.8x8.com/chat-gateway/v1/"),
            ("EVENT_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/e.fifo"),
        ],
    ),
    (
        "deliver-message",
        &[
            ("BOT_ENDPOINT", "https://acme.api.aisera.cloud"),
            ("BOT_SECRET_ID", "bot"),
            ("BOT_TOKEN_SECRET_ID", "bot-token"),
            ("EVENT_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/e.fifo"),
            ("DEAD_LETTER_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/d.fifo"),
        ],
    ),
    (
        "refresh-tokens",
        &[
            ("BOT_ENDPOINT", "https://acme.api.aisera.cloud"),
            ("BOT_SECRET_ID", "bot"),
            ("BOT_TOKEN_SECRET_ID", "bot-token"),
            ("CONTACT_CENTER_AUTHENTICATION", "client-credentials"),
            ("CONTACT_CENTER_ACCESS_TOKEN_URL", "https://api.8x8.com/oauth/v2/token"),
            ("CONTACT_CENTER_SECRET_ID", "contact-center"),
            ("CONTACT_CENTER_TOKEN_SECRET_ID", "contact-center-token"),
        ],
    ),
    (
        "register-channel",
        &[
            ("INTEGRATION_NAME", "acme"),
            ("CONTACT_CENTER_ENDPOINT", "https://api.8x8.com/chat-gateway/v1/"),
            ("CONTACT_CENTER_SECRET_ID", "contact-center"),
            ("CALLBACK_URL", "https://callbacks.acme.example/v1/liveAgent/receiveMessage"),
            ("CHANNEL_SECRET_ID", "channel"),
        ],
    ),
    ("issue-token", &[("INTEGRATION_NAME", "acme"), ("CALLER_SECRET_ID", "caller")]),
    ("rotate-signing-key", &[("CALLER_SECRET_ID", "caller")]),
    (
        "converse",
        &[
            ("INTEGRATION_NAME", "acme"),
            ("CONTACT_CENTER_ENDPOINT", "https://api.8x8.com/chat-gateway/v1/"),
            ("CONTACT_CENTER_SECRET_ID", "contact-center"),
            ("CALLER_SECRET_ID", "caller"),
            ("CHANNEL_SECRET_ID", "channel"),
            ("IDEMPOTENCY_TABLE", "idempotency"),
        ],
    ),
];

/// Values that no function takes.
const MALFORMED: [(&str, &str, &str); 12] = [
    ("receive-message", "CONTACT_CENTER_ENDPOINT", "http://api.8x8.com/chat-gateway/v1/"),
    ("receive-message", "CONTACT_CENTER_ENDPOINT", "api.8x8.com"),
    ("receive-message", "CONTACT_CENTER_API", "chat-gateway-v2"),
    ("receive-message", "CALLBACK_AUTHENTICATION", "none"),
    ("receive-message", "EVENT_QUEUE_URL", "events.fifo"),
    ("deliver-message", "BOT_ENDPOINT", "http://acme.api.aisera.cloud"),
    ("refresh-tokens", "CONTACT_CENTER_AUTHENTICATION", "basic"),
    ("refresh-tokens", "CONTACT_CENTER_ACCESS_TOKEN_URL", "http://api.8x8.com/oauth/v2/token"),
    ("issue-token", "REFRESH_TOKEN_DAYS", "0"),
    ("rotate-signing-key", "REFRESH_TOKEN_DAYS", "a month"),
    ("register-channel", "INTEGRATION_NAME", "acme corp"),
    ("register-channel", "CALLBACK_URL", "http://callbacks.acme.example/"),
];

/// Starts a function without Lambda around it and gives what it says when it stops.
async fn stops_with(function: &str, variables: &BTreeMap<&str, &str>) -> String {
    let output = Command::new(sandbox::build::functions().join(function))
        .env_clear()
        .env("AWS_LAMBDA_FUNCTION_NAME", function)
        .env("AWS_REGION", "us-east-1")
        .envs(variables)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the binary can be started");
    assert!(!output.status.success(), "{function} does not stop");
    String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap()
}

fn variables_of(function: &str) -> BTreeMap<&'static str, &'static str> {
    let (_, variables) = REQUIRED.iter().find(|(name, _)| *name == function).unwrap();
    variables.iter().copied().collect()
}

#[tokio::test]
async fn a_missing_variable_is_named() {
    for (function, variables) in REQUIRED {
        for (missing, _) in variables {
            // Without an authentication there is an API key, and no need of the others.
            if *missing == "CONTACT_CENTER_AUTHENTICATION" {
                continue;
            }
            let mut variables = variables_of(function);
            variables.remove(missing);
            let said = stops_with(function, &variables).await;
            assert!(said.contains(&format!("environment variable {missing} is missing")), "{function}: {said}");
        }
    }
}

#[tokio::test]
async fn callers_are_needed_where_they_are_asked_for() {
    for mode in ["headers", "either", "both"] {
        let mut variables = variables_of("receive-message");
        variables.insert("CALLBACK_AUTHENTICATION", mode);
        let said = stops_with("receive-message", &variables).await;
        assert!(said.contains("environment variable INTEGRATION_NAME is missing"), "{mode}: {said}");
        variables.insert("INTEGRATION_NAME", "acme");
        let said = stops_with("receive-message", &variables).await;
        assert!(said.contains("environment variable CALLER_SECRET_ID is missing"), "{mode}: {said}");
    }
}

#[tokio::test]
async fn a_malformed_variable_is_named_and_its_value_is_not_shown() {
    for (function, name, value) in MALFORMED {
        let mut variables = variables_of(function);
        variables.insert(name, value);
        let said = stops_with(function, &variables).await;
        assert!(said.contains(&format!("environment variable {name} is malformed")), "{function}: {said}");
        assert!(value.len() < 2 || !said.contains(value), "{function}: {said}");
    }
}
