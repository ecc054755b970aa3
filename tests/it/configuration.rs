//! A missing or malformed variable stops a function at its start, with the variable's name in the message. register-channel
//! stops only where there is no Lambda around it (`real_runtime.rs` shows that it answers CloudFormation).

use std::collections::BTreeMap;
use std::process::Stdio;

use sandbox::deployment::{FUNCTIONS, FunctionRow};
use tokio::process::Command;

/// A value that is valid, for each variable that a function needs where access tokens are used at 8x8.
const VALID: [(&str, &str); 22] = [
    ("BOT_ENDPOINT", "https://acme.api.aisera.cloud"),
    ("BOT_SECRET_ID", "bot"),
    ("BOT_TOKEN_SECRET_ID", "bot-token"),
    ("CALLBACK_URL", "https://callbacks.acme.example/v1/liveAgent/receiveMessage"),
    ("CALLER_SECRET_ID", "caller"),
    ("CHANNEL_SECRET_ID", "channel"),
    ("CONTACT_CENTER_ACCESS_TOKEN_URL", "https://api.8x8.com/oauth/v2/token"),
    ("CONTACT_CENTER_AUTHENTICATION", "client-credentials"),
    ("CONTACT_CENTER_ENDPOINT", "https://api.8x8.com/chat-gateway/v1/"),
    ("CONTACT_CENTER_SECRET_ID", "contact-center"),
    ("CONTACT_CENTER_TOKEN_SECRET_ID", "contact-center-token"),
    ("DEAD_LETTER_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/d.fifo"),
    ("EVENT_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/e.fifo"),
    ("IDEMPOTENCY_TABLE", "idempotency"),
    ("HANDOVER_TABLE", "handovers"),
    ("NO_AGENT_MINUTES", "0"),
    ("CUSTOMER_IDLE_MINUTES", "0"),
    ("INTEGRATION_NAME", "acme"),
    ("CALLBACK_AUTHENTICATION", "signature"),
    ("REFRESH_TOKEN_DAYS", "30"),
    ("RECEIVE_MESSAGE_LOG_GROUP", "/aws/lambda/receive-message"),
    ("DELIVER_MESSAGE_LOG_GROUP", "/aws/lambda/deliver-message"),
];

/// Variables that have a default, or mean something by being absent.
const OPTIONAL: [&str; 8] = [
    "CALLBACK_AUTHENTICATION",
    "CONTACT_CENTER_API",
    // Without it, an API key is used.
    "CONTACT_CENTER_AUTHENTICATION",
    "CONTACT_CENTER_TENANT_ID",
    "MAX_EVENT_AGE_MINUTES",
    "CUSTOMER_IDLE_MINUTES",
    "NO_AGENT_MINUTES",
    "REFRESH_TOKEN_DAYS",
];

/// Values that no function takes.
const MALFORMED: [(&str, &str, &str); 16] = [
    ("receive-message", "CONTACT_CENTER_ENDPOINT", "http://api.8x8.com/chat-gateway/v1/"),
    ("receive-message", "CONTACT_CENTER_ENDPOINT", "api.8x8.com"),
    ("receive-message", "CONTACT_CENTER_API", "chat-gateway-v2"),
    ("receive-message", "CALLBACK_AUTHENTICATION", "none"),
    ("receive-message", "EVENT_QUEUE_URL", "events.fifo"),
    ("deliver-message", "BOT_ENDPOINT", "http://acme.api.aisera.cloud"),
    ("deliver-message", "MAX_EVENT_AGE_MINUTES", "an hour"),
    ("deliver-message", "MAX_EVENT_AGE_MINUTES", "20161"),
    ("refresh-tokens", "CONTACT_CENTER_AUTHENTICATION", "basic"),
    ("refresh-tokens", "CONTACT_CENTER_ACCESS_TOKEN_URL", "http://api.8x8.com/oauth/v2/token"),
    ("issue-token", "REFRESH_TOKEN_DAYS", "0"),
    ("rotate-signing-key", "REFRESH_TOKEN_DAYS", "a month"),
    ("watch-handovers", "NO_AGENT_MINUTES", "ten minutes"),
    ("watch-handovers", "CUSTOMER_IDLE_MINUTES", "-10"),
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

fn variables_of(function: &FunctionRow) -> BTreeMap<&'static str, &'static str> {
    let names: Vec<&str> = function.variables(true, false).collect();
    VALID.into_iter().filter(|(name, _)| names.contains(name)).collect()
}

fn row(function: &str) -> &'static FunctionRow {
    FUNCTIONS.iter().find(|row| row.name == function).unwrap()
}

#[tokio::test]
async fn a_missing_variable_is_named() {
    for function in &FUNCTIONS {
        for missing in function.variables(true, false).filter(|name| !OPTIONAL.contains(name)) {
            let mut variables = variables_of(function);
            variables.remove(missing).unwrap_or_else(|| panic!("which value of {missing} is valid?"));
            let said = stops_with(function.name, &variables).await;
            let name = function.name;
            assert!(said.contains(&format!("environment variable {missing} is missing")), "{name}: {said}");
        }
    }
}

#[tokio::test]
async fn callers_are_needed_where_they_are_asked_for() {
    for mode in ["headers", "either", "both"] {
        let mut variables = variables_of(row("receive-message"));
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
        let mut variables = variables_of(row(function));
        variables.insert(name, value);
        let said = stops_with(function, &variables).await;
        assert!(said.contains(&format!("environment variable {name} is malformed")), "{function}: {said}");
        assert!(value.len() < 2 || !said.contains(value), "{function}: {said}");
    }
}

#[tokio::test]
async fn the_timer_of_idle_customers_is_refused_where_messages_have_no_times() {
    let mut variables = variables_of(row("watch-handovers"));
    variables.insert("CONTACT_CENTER_API", "chat-api-v2");
    variables.insert("CONTACT_CENTER_ENDPOINT", "https://api.8x8.com/vcc/us/chat/v2/tenant/acme/");
    variables.insert("CUSTOMER_IDLE_MINUTES", "10");
    let said = stops_with("watch-handovers", &variables).await;
    assert!(said.contains("CUSTOMER_IDLE_MINUTES is malformed") && said.contains("chat-api-v2"), "{said}");
}

#[tokio::test]
async fn at_the_level_debug_each_function_logs_the_spans_of_its_own_start() {
    for function in &FUNCTIONS {
        for (level, is_logged) in [("INFO", false), ("DEBUG", true)] {
            let said = stops_with(function.name, &BTreeMap::from([("AWS_LAMBDA_LOG_LEVEL", level)])).await;
            let logged = said.contains(r#""span":"configuration""#);
            assert_eq!(logged, is_logged, "{} at {level}: {said}", function.name);
        }
    }
}
