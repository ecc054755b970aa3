//! rotate-signing-key: rotations that are killed, repeated or met by an edit, and the tokens of before and after.

use std::time::Duration;

use http::StatusCode;
use sandbox::deployment::{self, CALLER_SECRET};
use serde_json::json;
use simulation::faults::When;

use crate::issue_token::{FORM, form, json_of, password_grant, post};
use crate::support::Stack;

const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

#[tokio::test]
async fn tokens_of_before_a_rotation_stay_good_and_new_ones_are_of_the_new_key() {
    let stack = Stack::start().await;
    let login = stack.caller_login();
    let refresh = async |token: &str| {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token), ("clientid", &login.app_token)];
        json_of(&post(&stack, FORM, form(&fields)).await)["refresh_token"].as_str().expect("tokens").to_owned()
    };
    let first = json_of(&post(&stack, FORM, password_grant(&stack)).await);
    let mut tokens = vec![first["refresh_token"].as_str().unwrap().to_owned()];
    for _ in 0..3 {
        stack.rotate_signing_key().await.expect("a rotation");
        // An hour later every function knows the new key, and it signs.
        stack.cloud.secrets.age(CALLER_SECRET, Duration::from_secs(3600));
        stack.function(deployment::ISSUE_TOKEN).recycle();
        for token in tokens.clone() {
            tokens.push(refresh(&token).await);
        }
    }
    assert_eq!(stack.caller_login().app_token, login.app_token, "a rotation replaces the key alone");
    stack.finish().await;
}

#[tokio::test]
async fn a_rotation_that_is_killed_or_repeated_is_completed() {
    let stack = Stack::start().await;
    let key = || stack.cloud.secrets.current(CALLER_SECRET)["signing_key"].clone();
    let before = key();
    let token = stack.cloud.secrets.begin_rotation(CALLER_SECRET);
    for step in STEPS {
        let event = json!({ "Step": step, "SecretId": CALLER_SECRET, "ClientRequestToken": token });
        stack.fault(aws::Fault::Kill(deployment::ROTATE_SIGNING_KEY), When::Next(2));
        while stack.function(deployment::ROTATE_SIGNING_KEY).invoke(&event).await.is_err() {}
        stack.faults.clear();
        stack.function(deployment::ROTATE_SIGNING_KEY).invoke(&event).await.expect("a step may be repeated");
    }
    assert_ne!(key(), before);
    assert_eq!(post(&stack, FORM, password_grant(&stack)).await.status(), StatusCode::OK);
    stack.finish().await;
}

#[tokio::test]
async fn a_rotation_that_secrets_manager_does_not_know_is_refused() {
    let stack = Stack::start().await;
    for event in
        [json!({}), json!({ "Step": "createSecret", "SecretId": CALLER_SECRET, "ClientRequestToken": "x".repeat(32) })]
    {
        assert!(stack.function(deployment::ROTATE_SIGNING_KEY).invoke(&event).await.is_err());
    }
    // Testing what was not made.
    let token = stack.cloud.secrets.begin_rotation(CALLER_SECRET);
    let event = json!({ "Step": "testSecret", "SecretId": CALLER_SECRET, "ClientRequestToken": token });
    assert!(stack.function(deployment::ROTATE_SIGNING_KEY).invoke(&event).await.is_err());
    stack.finish().await;
}

#[tokio::test]
async fn an_edit_during_a_rotation_survives_and_the_key_is_rotated() {
    for edited_before in STEPS {
        let stack = Stack::start().await;
        let before = stack.cloud.secrets.current(CALLER_SECRET);
        let tokens = json_of(&post(&stack, FORM, password_grant(&stack)).await);
        let version = stack.cloud.secrets.begin_rotation(CALLER_SECRET);
        for step in STEPS {
            if step == edited_before {
                let mut edited = before.clone();
                edited["app_token"] = "edited-app-token".into();
                edited["owner"] = json!({ "team": "IT" });
                stack.cloud.secrets.set(CALLER_SECRET, &edited);
            }
            let event = json!({ "Step": step, "SecretId": CALLER_SECRET, "ClientRequestToken": version });
            let stepped = stack.function(deployment::ROTATE_SIGNING_KEY).invoke(&event).await;
            stepped.unwrap_or_else(|error| panic!("{step}, edited before {edited_before}: {error:?}"));
        }
        let after = stack.cloud.secrets.current(CALLER_SECRET);
        assert_eq!(after["app_token"], "edited-app-token", "edited before {edited_before}");
        assert_eq!(after["owner"], json!({ "team": "IT" }), "edited before {edited_before}");
        assert_ne!(after["signing_key"], before["signing_key"], "edited before {edited_before}");

        // The login and the tokens of before the edit are valid, and the next rotation can begin.
        stack.function(deployment::ISSUE_TOKEN).recycle();
        let refresh_token = tokens["refresh_token"].as_str().unwrap();
        let old_app_token = before["app_token"].as_str().unwrap();
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token), ("clientid", old_app_token)];
        assert_eq!(post(&stack, FORM, form(&fields)).await.status(), StatusCode::OK, "edited before {edited_before}");
        assert_eq!(post(&stack, FORM, password_grant(&stack)).await.status(), StatusCode::OK);
        stack.rotate_signing_key().await.expect("the next rotation");
        stack.finish().await;
    }
}
