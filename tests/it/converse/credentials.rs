//! Credentials that are refused: ours at 8x8, and the bot's at the bridge.

use std::time::Duration;

use contact_center::{Authentication, ContactCenterSettings};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::caller::Login;
use sandbox::deployment::{self, CONTACT_CENTER_SECRET};
use serde_json::json;
use simulation::faults::When;

use super::{code_of, json_of, opened, send, texts};
use crate::support::Stack;

#[tokio::test]
async fn a_token_that_8x8_refuses_is_renewed() {
    for authentication in [Authentication::ClientCredentials, Authentication::Password] {
        let contact_center = ContactCenterSettings { authentication, ..ContactCenterSettings::default() };
        let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        stack.refresh_tokens().await.unwrap();
        let conversation = opened(&stack).await;
        stack.contact_center.revoke_tokens();
        assert_eq!(send(&stack, &conversation, "confidential").await, StatusCode::ACCEPTED);
        assert_eq!(texts(&stack, &conversation), ["confidential"]);
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_key_that_8x8_refuses_is_a_failure_of_the_bridge_and_not_of_its_caller() {
    let stack = Stack::start().await;
    let conversation = opened(&stack).await;
    let right = stack.cloud.secrets.current(CONTACT_CENTER_SECRET);
    stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &json!({ "api_key": "revoked" }));
    stack.function(deployment::CONVERSE).recycle();
    let (status, response) = stack.chatbot.get(&format!("/{conversation}")).await;
    assert_eq!((status, code_of(&response)), (StatusCode::BAD_GATEWAY, "contact_center_credentials"));
    assert!(response["message"].as_str().unwrap().contains("Access Denied"), "{response}");
    // The right one is looked for in the secret as soon as the wrong one is refused.
    stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &right);
    assert_eq!(stack.chatbot.get(&format!("/{conversation}")).await.0, StatusCode::OK);
    stack.finish().await;
}

#[tokio::test]
async fn a_key_that_is_replaced_beside_a_token_is_used_at_once() {
    let contact_center =
        ContactCenterSettings { authentication: Authentication::Password, ..ContactCenterSettings::default() };
    let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
    let conversation = opened(&stack).await;
    let right = stack.cloud.secrets.current(CONTACT_CENTER_SECRET);
    let mut former = right.clone();
    former["api_key"] = json!("former");
    stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &former);
    stack.function(deployment::CONVERSE).recycle();
    // Neither a call nor a log-in is possible with it.
    let (status, response) = stack.chatbot.get(&format!("/{conversation}")).await;
    assert_eq!((status, code_of(&response)), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &right);
    assert_eq!(stack.chatbot.get(&format!("/{conversation}")).await.0, StatusCode::OK);
    stack.finish().await;
}

#[tokio::test]
async fn secrets_that_cannot_be_read_are_a_503_and_nothing_is_sent() {
    let stack = Stack::start().await;
    stack.function(deployment::CONVERSE).recycle();
    stack.chatbot.caller.credentials().await;
    stack.fault(aws::Fault::SecretsDown, When::For(Duration::from_secs(60)));
    let response = stack.chatbot.call(Method::POST, "", &[(CONTENT_TYPE, "application/json")], r#"{"user":{}}"#).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(code_of(&json_of(&response)), "unavailable");
    assert!(response.headers().contains_key(RETRY_AFTER));
    stack.faults.clear();
    assert_eq!(stack.contact_center.conversation_ids(), Vec::<String>::new());
    stack.finish().await;
}

#[tokio::test]
async fn a_bot_with_another_password_gets_nothing() {
    let stack = Stack::start().await;
    stack.chatbot.caller.configure(Login { password: "wrong".to_owned(), ..stack.caller_login() }).await;
    assert!(stack.chatbot.caller.credentials().await.is_none());
    stack.finish().await;
}
