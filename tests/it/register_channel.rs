//! register-channel: find or create, review, update, deregister, in both dialects and with all three authentications.

use aws::lambda::InvokeError;
use contact_center::{Authentication, ContactCenterApi, ContactCenterSettings, ListForm};
use sandbox::SandboxSettings;
use sandbox::deployment::CHANNEL_SECRET;
use serde_json::{Value, json};

use crate::support::Stack;

pub async fn run(stack: &Stack, request: Value) -> Value {
    stack.invoke_register(request).await.expect("the operation succeeds")
}

pub async fn refused(stack: &Stack, request: Value) -> String {
    let Err(InvokeError::Function(error)) = stack.invoke_register(request).await else { panic!("an error is due") };
    assert_eq!(error["errorType"], "RegistrationFailed");
    error["errorMessage"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn registers_in_both_dialects_with_every_authentication() {
    for api in [ContactCenterApi::ChatGatewayV1, ContactCenterApi::ChatApiV2] {
        for authentication in [Authentication::ApiKey, Authentication::ClientCredentials, Authentication::Password] {
            let contact_center = ContactCenterSettings { api, authentication, ..ContactCenterSettings::default() };
            let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
            let (webhooks, channels) = stack.contact_center.registered();
            assert_eq!((webhooks.len(), channels.len()), (1, 1), "{api:?} {authentication:?}");
            assert_eq!(webhooks[0]["name"], "live-agent-sandbox");
            assert_eq!(webhooks[0]["uri"], stack.callback_url());
            assert_eq!(channels[0]["name"], "live-agent-sandbox");
            assert_eq!(channels[0]["webHookId"], webhooks[0]["id"]);
            assert_eq!(channels[0]["routingOptions"]["id"], "101");

            let saved = stack.cloud.secrets.current(CHANNEL_SECRET);
            let fields: Vec<_> = saved.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, ["callback_url", "channel_id", "queue_id", "registered_at", "webhook_id"]);
            assert_eq!(saved["channel_id"], channels[0]["id"]);

            let review = run(&stack, json!({ "operation": "review" })).await;
            assert_eq!(review, json!({ "in_sync": true, "differences": [] }));
            let removed = run(&stack, json!({ "operation": "deregister" })).await;
            assert_eq!(removed["changes"], json!(["channel deleted", "webhook deleted"]));
            assert_eq!(stack.contact_center.registered(), (vec![], vec![]));
            assert_eq!(stack.cloud.secrets.current(CHANNEL_SECRET), json!({}));
            stack.finish().await;
        }
    }
}

#[tokio::test]
async fn run_twice_it_creates_nothing() {
    let stack = Stack::start().await;
    let before = stack.contact_center.registered();
    let versions = stack.cloud.secrets.versions(CHANNEL_SECRET);
    let response = run(&stack, json!({ "operation": "register", "queue_id": "101" })).await;
    assert_eq!(response["changes"], json!([]));
    assert_eq!(response["channel_id"], *stack.channel_id);
    assert_eq!(stack.contact_center.registered(), before);
    assert_eq!(stack.cloud.secrets.versions(CHANNEL_SECRET), versions);
    stack.finish().await;
}

#[tokio::test]
async fn the_saved_queue_serves_where_none_is_named_and_without_any_it_says_so() {
    let stack = Stack::start().await;
    assert_eq!(run(&stack, json!({ "operation": "register" })).await["queue_id"], "101");
    run(&stack, json!({ "operation": "deregister" })).await;
    assert!(refused(&stack, json!({ "operation": "register" })).await.contains("queue_id"));
    stack.finish().await;
}

#[tokio::test]
async fn an_existing_channel_is_found_on_a_later_page() {
    let stack = Stack::start().await;
    for number in 0..250 {
        stack.contact_center.add_channel(&format!("live-agent-sandbox-{number}"));
    }
    let response = run(&stack, json!({ "operation": "register" })).await;
    assert_eq!((&response["changes"], &response["channel_id"]), (&json!([]), &json!(stack.channel_id)));
    stack.finish().await;
}

#[tokio::test]
async fn an_interrupted_registration_is_completed_by_the_next_one() {
    let stack = Stack::start().await;
    run(&stack, json!({ "operation": "deregister" })).await;
    // 8x8 fails at the channel: the webhook is there, nothing is saved.
    stack.contact_center.fail_next("POST", "channels", false);
    let reason = refused(&stack, json!({ "operation": "register", "queue_id": "101" })).await;
    assert!(reason.contains("create the channel") && reason.contains("Internal error."), "{reason}");
    let begun = json!({ "creating": ["webhook", "channel"], "callback_url": stack.callback_url() });
    assert_eq!(stack.cloud.secrets.current(CHANNEL_SECRET), begun);
    let response = run(&stack, json!({ "operation": "register", "queue_id": "101" })).await;
    assert_eq!(response["changes"], json!(["channel created"]));
    let (webhooks, channels) = stack.contact_center.registered();
    assert_eq!((webhooks.len(), channels.len()), (1, 1));
    stack.finish().await;
}

#[tokio::test]
async fn an_interrupted_registration_can_be_removed() {
    let stack = Stack::start().await;
    run(&stack, json!({ "operation": "deregister" })).await;
    stack.contact_center.fail_next("POST", "channels", false);
    refused(&stack, json!({ "operation": "register", "queue_id": "101" })).await;
    let response = run(&stack, json!({ "operation": "deregister" })).await;
    assert_eq!(response["changes"], json!(["webhook deleted"]));
    assert_eq!(stack.contact_center.registered(), (vec![], vec![]));
    stack.finish().await;
}

#[tokio::test]
async fn what_8x8_created_without_saying_so_is_found_and_not_created_again() {
    let stack = Stack::start().await;
    run(&stack, json!({ "operation": "deregister" })).await;
    stack.contact_center.fail_next("POST", "webhooks", true);
    stack.contact_center.fail_next("POST", "channels", true);
    let response = run(&stack, json!({ "operation": "register", "queue_id": "101" })).await;
    assert_eq!(response["changes"], json!(["webhook created", "channel created"]));
    let (webhooks, channels) = stack.contact_center.registered();
    assert_eq!((webhooks.len(), channels.len()), (1, 1));
    assert_eq!(response["channel_id"], channels[0]["id"]);
    stack.finish().await;
}

#[tokio::test]
async fn review_names_every_difference() {
    let stack = Stack::start().await;
    stack.contact_center.reroute(&stack.channel_id, "102");
    let review = run(&stack, json!({ "operation": "review" })).await;
    let expected = json!([{ "field": "queue_id", "expected": "101", "actual": "102" }]);
    assert_eq!(review, json!({ "in_sync": false, "differences": expected }));

    let saved = stack.cloud.secrets.current(CHANNEL_SECRET);
    stack.contact_center.remove(saved["webhook_id"].as_str().unwrap());
    let review = run(&stack, json!({ "operation": "review" })).await;
    assert_eq!(
        review["differences"][0],
        json!({ "field": "webhook_id", "expected": saved["webhook_id"], "actual": null })
    );
    stack.finish().await;
}

#[tokio::test]
async fn register_heals_what_review_finds() {
    let stack = Stack::start().await;
    stack.contact_center.reroute(&stack.channel_id, "102");
    let response = run(&stack, json!({ "operation": "register" })).await;
    assert_eq!(response["changes"], json!(["channel updated"]));
    stack.contact_center.remove(&stack.channel_id);
    let response = run(&stack, json!({ "operation": "register" })).await;
    assert_eq!(response["changes"], json!(["channel created"]));
    assert_ne!(response["channel_id"], *stack.channel_id);
    assert_eq!(run(&stack, json!({ "operation": "review" })).await["in_sync"], true);
    stack.finish().await;
}

#[tokio::test]
async fn update_puts_a_new_callback_url_or_queue_in_place() {
    let stack = Stack::start().await;
    let load_balancer = "https://callbacks.acme.example/v1/liveAgent/receiveMessage";
    let response = run(&stack, json!({ "operation": "update", "callback_url": load_balancer })).await;
    assert_eq!((&response["changes"], &response["callback_url"]), (&json!(["webhook updated"]), &json!(load_balancer)));
    assert_eq!(stack.contact_center.registered().0[0]["uri"], load_balancer);

    let response = run(&stack, json!({ "operation": "update", "queue_id": "102" })).await;
    assert_eq!(response["changes"], json!(["channel updated"]));
    assert_eq!(stack.contact_center.registered().1[0]["routingOptions"]["id"], "102");
    assert_eq!(run(&stack, json!({ "operation": "update" })).await["changes"], json!([]));
    stack.finish().await;
}

#[tokio::test]
async fn update_of_what_is_not_there_says_what_to_do() {
    let stack = Stack::start().await;
    stack.contact_center.remove(&stack.channel_id);
    assert!(refused(&stack, json!({ "operation": "update", "queue_id": "102" })).await.contains("register"));
    run(&stack, json!({ "operation": "deregister" })).await;
    assert!(refused(&stack, json!({ "operation": "update", "queue_id": "102" })).await.contains("register"));
    let review = run(&stack, json!({ "operation": "review" })).await;
    assert_eq!(review, json!({ "in_sync": false, "differences": [], "registered": false }));
    stack.finish().await;
}

#[tokio::test]
async fn deregister_of_what_is_gone_is_a_success() {
    let stack = Stack::start().await;
    stack.contact_center.remove(&stack.channel_id);
    assert_eq!(run(&stack, json!({ "operation": "deregister" })).await["changes"], json!(["webhook deleted"]));
    assert_eq!(run(&stack, json!({ "operation": "deregister" })).await["changes"], json!([]));
    stack.finish().await;
}

#[tokio::test]
async fn a_refusal_shows_8x8s_own_reason() {
    let stack = Stack::start().await;
    let reason = refused(&stack, json!({ "operation": "update", "queue_id": "999" })).await;
    assert_eq!(reason, "8x8 refused to update the channel: status 400: Queue ID 999 is invalid.");
    stack.finish().await;
}

#[tokio::test]
async fn a_callback_url_that_8x8_cannot_reach_is_refused_by_8x8() {
    let stack = Stack::start().await;
    run(&stack, json!({ "operation": "deregister" })).await;
    let request =
        json!({ "operation": "register", "queue_id": "101", "callback_url": "http://127.0.0.1:9/unreachable" });
    let reason = refused(&stack, request).await;
    assert!(reason.contains("did not answer with a 2xx"), "{reason}");
    stack.finish().await;
}

#[tokio::test]
async fn a_request_that_is_none_is_answered_with_what_one_looks_like() {
    let stack = Stack::start().await;
    for request in [
        json!({}),
        json!({ "operation": "destroy" }),
        json!("register"),
        json!(null),
        json!({ "operation": "register", "queue_id": 101 }),
    ] {
        assert!(refused(&stack, request).await.contains(r#""operation":"register""#));
    }
    for url in ["http://callbacks.acme.example/", "confidential", ""] {
        assert!(
            refused(&stack, json!({ "operation": "register", "callback_url": url })).await.contains("https"),
            "{url}"
        );
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_blank_queue_is_no_queue() {
    let stack = Stack::start().await;
    for queue_id in ["", " \t"] {
        for operation in ["register", "update"] {
            let reason = refused(&stack, json!({ "operation": operation, "queue_id": queue_id })).await;
            assert!(reason.contains("queue_id"), "{reason}");
        }
    }
    assert_eq!(stack.contact_center.registered().1[0]["routingOptions"]["id"], "101");
    stack.finish().await;
}

#[tokio::test]
async fn register_without_a_url_keeps_the_saved_one() {
    let stack = Stack::start().await;
    let load_balancer = "https://callbacks.acme.example/v1/liveAgent/receiveMessage";
    run(&stack, json!({ "operation": "update", "callback_url": load_balancer })).await;
    let response = run(&stack, json!({ "operation": "register", "queue_id": "102" })).await;
    assert_eq!((&response["callback_url"], &response["changes"]), (&json!(load_balancer), &json!(["channel updated"])));
    assert_eq!(stack.contact_center.registered().0[0]["uri"], load_balancer);
    stack.finish().await;
}

#[tokio::test]
async fn what_was_renamed_in_8x8s_console_is_found_by_its_saved_id() {
    let stack = Stack::start().await;
    let saved = stack.cloud.secrets.current(CHANNEL_SECRET);
    stack.contact_center.rename(saved["webhook_id"].as_str().unwrap(), "renamed");
    stack.contact_center.rename(&stack.channel_id, "renamed");
    let response = run(&stack, json!({ "operation": "register" })).await;
    assert_eq!(response["changes"], json!(["webhook updated", "channel updated"]));
    let (webhooks, channels) = stack.contact_center.registered();
    assert_eq!((webhooks.len(), channels.len()), (1, 1));
    assert_eq!((&webhooks[0]["name"], &channels[0]["id"]), (&json!("live-agent-sandbox"), &json!(stack.channel_id)));
    stack.finish().await;
}

#[tokio::test]
async fn a_foreign_webhook_is_neither_repointed_nor_deleted_whatever_its_name_is() {
    let stack = Stack::start().await;
    run(&stack, json!({ "operation": "deregister" })).await;
    let other = "https://other-stack.example/v1/liveAgent/receiveMessage?token=confidential";
    stack.contact_center.add_foreign("live-agent-sandbox", other);
    let before = stack.contact_center.registered();
    let register = json!({ "operation": "register", "queue_id": "101" });
    let reason = refused(&stack, register).await;
    assert!(reason.contains("other-stack.example") && reason.contains(r#""take_over":true"#), "{reason}");
    assert!(!reason.contains("confidential"));
    // What a failed creation of a stack is followed by.
    run(&stack, json!({ "operation": "deregister" })).await;
    assert_eq!(stack.contact_center.registered(), before);

    let response = run(&stack, json!({ "operation": "register", "queue_id": "101", "take_over": true })).await;
    assert_eq!(response["changes"], json!(["webhook updated", "channel updated"]));
    assert_eq!(stack.contact_center.registered().0[0]["uri"], stack.callback_url());
    stack.finish().await;
}

#[tokio::test]
async fn a_channel_of_our_name_on_a_foreign_webhook_is_refused() {
    let stack = Stack::start().await;
    run(&stack, json!({ "operation": "deregister" })).await;
    let (webhook_id, _) = stack.contact_center.add_foreign("live-agent-sandbox", "https://other-stack.example/");
    stack.contact_center.rename(&webhook_id, "renamed");
    let before = stack.contact_center.registered();
    let reason = refused(&stack, json!({ "operation": "register", "queue_id": "101" })).await;
    assert!(reason.contains("channel") && reason.contains("other-stack.example"), "{reason}");
    assert_eq!(stack.contact_center.registered(), before);
    stack.finish().await;
}

#[tokio::test]
async fn deregistering_after_a_move_leaves_the_new_owner_alone() {
    let stack = Stack::start().await;
    let saved = stack.cloud.secrets.current(CHANNEL_SECRET);
    stack.contact_center.repoint(saved["webhook_id"].as_str().unwrap(), "https://new-stack.example/");
    let before = stack.contact_center.registered();
    assert!(refused(&stack, json!({ "operation": "register" })).await.contains("new-stack.example"));
    let update = json!({ "operation": "update", "queue_id": "102" });
    assert!(refused(&stack, update).await.contains("new-stack.example"));
    assert_eq!(run(&stack, json!({ "operation": "deregister" })).await["changes"], json!([]));
    assert_eq!(stack.contact_center.registered(), before);
    assert_eq!(stack.cloud.secrets.current(CHANNEL_SECRET), json!({}));
    stack.finish().await;
}

#[tokio::test]
async fn an_update_that_was_interrupted_after_8x8_made_it_is_still_ours() {
    let stack = Stack::start().await;
    let load_balancer = "https://callbacks.acme.example/v1/liveAgent/receiveMessage";
    stack.contact_center.fail_next("PUT", "webhooks", true);
    refused(&stack, json!({ "operation": "update", "callback_url": load_balancer })).await;
    assert_eq!(stack.contact_center.registered().0[0]["uri"], load_balancer);
    let removed = run(&stack, json!({ "operation": "deregister" })).await;
    assert_eq!(removed["changes"], json!(["channel deleted", "webhook deleted"]));
    stack.finish().await;
}

#[tokio::test]
async fn lists_of_every_form_are_read_and_none_is_taken_for_an_empty_one() {
    let stack = Stack::start().await;
    let forget = || stack.cloud.secrets.set(CHANNEL_SECRET, &json!({}));
    // One webhook: a single object is possible. Its channel is on the third page.
    for number in 0..250 {
        stack.contact_center.add_channel(&format!("a-{number}"));
    }
    for form in [
        ListForm::Documented,
        ListForm::SingleObject,
        ListForm::Floats,
        ListForm::Text,
        ListForm::NextLink,
        ListForm::EmptyPage,
    ] {
        forget();
        stack.contact_center.write_lists(form);
        let response = run(&stack, json!({ "operation": "register", "queue_id": "101" })).await;
        assert_eq!((&response["changes"], &response["channel_id"]), (&json!([]), &json!(stack.channel_id)), "{form:?}");
    }
    for form in [ListForm::MissingPage, ListForm::Unknown] {
        forget();
        stack.contact_center.write_lists(form);
        let reason = refused(&stack, json!({ "operation": "register", "queue_id": "101" })).await;
        assert!(reason.contains("list the"), "{form:?}: {reason}");
    }
    let (webhooks, channels) = stack.contact_center.registered();
    assert_eq!((webhooks.len(), channels.len()), (1, 251));
    stack.finish().await;
}
