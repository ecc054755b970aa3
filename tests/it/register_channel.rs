//! register-channel: find or create, review, update, deregister, in both dialects and with all three authentications.

use sandbox::SandboxSettings;
use sandbox::contact_center::{Authentication, ContactCenterApi, ContactCenterSettings, ListForm};
use sandbox::deployment::CHANNEL_SECRET;
use sandbox::lambda::InvokeError;
use serde_json::{Value, json};

use crate::support::Bench;

pub async fn run(bench: &Bench, request: Value) -> Value {
    bench.invoke_register(request).await.expect("the operation succeeds")
}

pub async fn refused(bench: &Bench, request: Value) -> String {
    let Err(InvokeError::Function(error)) = bench.invoke_register(request).await else { panic!("an error is due") };
    assert_eq!(error["errorType"], "RegistrationFailed");
    error["errorMessage"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn registers_in_both_dialects_with_every_authentication() {
    for api in [ContactCenterApi::ChatGatewayV1, ContactCenterApi::ChatApiV2] {
        for authentication in [Authentication::ApiKey, Authentication::ClientCredentials, Authentication::Password] {
            let contact_center = ContactCenterSettings { api, authentication, ..ContactCenterSettings::default() };
            let bench = Bench::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
            let (webhooks, channels) = bench.contact_center.registered();
            assert_eq!((webhooks.len(), channels.len()), (1, 1), "{api:?} {authentication:?}");
            assert_eq!(webhooks[0]["name"], "live-agent-sandbox");
            assert_eq!(webhooks[0]["uri"], bench.callback_url());
            assert_eq!(channels[0]["name"], "live-agent-sandbox");
            assert_eq!(channels[0]["webHookId"], webhooks[0]["id"]);
            assert_eq!(channels[0]["routingOptions"]["id"], "101");

            let saved = bench.cloud.secrets.current(CHANNEL_SECRET);
            let fields: Vec<_> = saved.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(fields, ["callback_url", "channel_id", "queue_id", "registered_at", "webhook_id"]);
            assert_eq!(saved["channel_id"], channels[0]["id"]);

            let review = run(&bench, json!({ "operation": "review" })).await;
            assert_eq!(review, json!({ "in_sync": true, "differences": [] }));
            let removed = run(&bench, json!({ "operation": "deregister" })).await;
            assert_eq!(removed["changes"], json!(["channel deleted", "webhook deleted"]));
            assert_eq!(bench.contact_center.registered(), (vec![], vec![]));
            assert_eq!(bench.cloud.secrets.current(CHANNEL_SECRET), json!({}));
            bench.finish().await;
        }
    }
}

#[tokio::test]
async fn run_twice_it_creates_nothing() {
    let bench = Bench::start().await;
    let before = bench.contact_center.registered();
    let versions = bench.cloud.secrets.versions(CHANNEL_SECRET);
    let answer = run(&bench, json!({ "operation": "register", "queue_id": "101" })).await;
    assert_eq!(answer["changes"], json!([]));
    assert_eq!(answer["channel_id"], *bench.channel_id);
    assert_eq!(bench.contact_center.registered(), before);
    assert_eq!(bench.cloud.secrets.versions(CHANNEL_SECRET), versions);
    bench.finish().await;
}

#[tokio::test]
async fn the_saved_queue_serves_where_none_is_named_and_without_any_it_says_so() {
    let bench = Bench::start().await;
    assert_eq!(run(&bench, json!({ "operation": "register" })).await["queue_id"], "101");
    run(&bench, json!({ "operation": "deregister" })).await;
    assert!(refused(&bench, json!({ "operation": "register" })).await.contains("queue_id"));
    bench.finish().await;
}

#[tokio::test]
async fn an_existing_channel_is_found_on_a_later_page() {
    let bench = Bench::start().await;
    for number in 0..250 {
        bench.contact_center.add_channel(&format!("live-agent-sandbox-{number}"));
    }
    let answer = run(&bench, json!({ "operation": "register" })).await;
    assert_eq!((&answer["changes"], &answer["channel_id"]), (&json!([]), &json!(bench.channel_id)));
    bench.finish().await;
}

#[tokio::test]
async fn an_interrupted_registration_is_completed_by_the_next_one() {
    let bench = Bench::start().await;
    run(&bench, json!({ "operation": "deregister" })).await;
    // 8x8 fails at the channel: the webhook is there, nothing is saved.
    bench.contact_center.fail_next("POST", "channels", false);
    let reason = refused(&bench, json!({ "operation": "register", "queue_id": "101" })).await;
    assert!(reason.contains("create the channel") && reason.contains("Internal error."), "{reason}");
    let begun = json!({ "creating": ["webhook", "channel"], "callback_url": bench.callback_url() });
    assert_eq!(bench.cloud.secrets.current(CHANNEL_SECRET), begun);
    let answer = run(&bench, json!({ "operation": "register", "queue_id": "101" })).await;
    assert_eq!(answer["changes"], json!(["channel created"]));
    let (webhooks, channels) = bench.contact_center.registered();
    assert_eq!((webhooks.len(), channels.len()), (1, 1));
    bench.finish().await;
}

#[tokio::test]
async fn an_interrupted_registration_can_be_removed() {
    let bench = Bench::start().await;
    run(&bench, json!({ "operation": "deregister" })).await;
    bench.contact_center.fail_next("POST", "channels", false);
    refused(&bench, json!({ "operation": "register", "queue_id": "101" })).await;
    let answer = run(&bench, json!({ "operation": "deregister" })).await;
    assert_eq!(answer["changes"], json!(["webhook deleted"]));
    assert_eq!(bench.contact_center.registered(), (vec![], vec![]));
    bench.finish().await;
}

#[tokio::test]
async fn what_8x8_created_without_saying_so_is_found_and_not_created_again() {
    let bench = Bench::start().await;
    run(&bench, json!({ "operation": "deregister" })).await;
    bench.contact_center.fail_next("POST", "webhooks", true);
    bench.contact_center.fail_next("POST", "channels", true);
    let answer = run(&bench, json!({ "operation": "register", "queue_id": "101" })).await;
    assert_eq!(answer["changes"], json!(["webhook created", "channel created"]));
    let (webhooks, channels) = bench.contact_center.registered();
    assert_eq!((webhooks.len(), channels.len()), (1, 1));
    assert_eq!(answer["channel_id"], channels[0]["id"]);
    bench.finish().await;
}

#[tokio::test]
async fn review_names_every_difference() {
    let bench = Bench::start().await;
    bench.contact_center.reroute(&bench.channel_id, "102");
    let review = run(&bench, json!({ "operation": "review" })).await;
    let expected = json!([{ "field": "queue_id", "expected": "101", "actual": "102" }]);
    assert_eq!(review, json!({ "in_sync": false, "differences": expected }));

    let saved = bench.cloud.secrets.current(CHANNEL_SECRET);
    bench.contact_center.remove(saved["webhook_id"].as_str().unwrap());
    let review = run(&bench, json!({ "operation": "review" })).await;
    assert_eq!(
        review["differences"][0],
        json!({ "field": "webhook_id", "expected": saved["webhook_id"], "actual": null })
    );
    bench.finish().await;
}

#[tokio::test]
async fn register_heals_what_review_finds() {
    let bench = Bench::start().await;
    bench.contact_center.reroute(&bench.channel_id, "102");
    let answer = run(&bench, json!({ "operation": "register" })).await;
    assert_eq!(answer["changes"], json!(["channel updated"]));
    bench.contact_center.remove(&bench.channel_id);
    let answer = run(&bench, json!({ "operation": "register" })).await;
    assert_eq!(answer["changes"], json!(["channel created"]));
    assert_ne!(answer["channel_id"], *bench.channel_id);
    assert_eq!(run(&bench, json!({ "operation": "review" })).await["in_sync"], true);
    bench.finish().await;
}

#[tokio::test]
async fn update_puts_a_new_callback_url_or_queue_in_place() {
    let bench = Bench::start().await;
    let load_balancer = "https://callbacks.acme.example/v1/liveAgent/receiveMessage";
    let answer = run(&bench, json!({ "operation": "update", "callback_url": load_balancer })).await;
    assert_eq!((&answer["changes"], &answer["callback_url"]), (&json!(["webhook updated"]), &json!(load_balancer)));
    assert_eq!(bench.contact_center.registered().0[0]["uri"], load_balancer);

    let answer = run(&bench, json!({ "operation": "update", "queue_id": "102" })).await;
    assert_eq!(answer["changes"], json!(["channel updated"]));
    assert_eq!(bench.contact_center.registered().1[0]["routingOptions"]["id"], "102");
    assert_eq!(run(&bench, json!({ "operation": "update" })).await["changes"], json!([]));
    bench.finish().await;
}

#[tokio::test]
async fn update_of_what_is_not_there_says_what_to_do() {
    let bench = Bench::start().await;
    bench.contact_center.remove(&bench.channel_id);
    assert!(refused(&bench, json!({ "operation": "update", "queue_id": "102" })).await.contains("register"));
    run(&bench, json!({ "operation": "deregister" })).await;
    assert!(refused(&bench, json!({ "operation": "update", "queue_id": "102" })).await.contains("register"));
    let review = run(&bench, json!({ "operation": "review" })).await;
    assert_eq!(review, json!({ "in_sync": false, "differences": [], "registered": false }));
    bench.finish().await;
}

#[tokio::test]
async fn deregister_of_what_is_gone_is_a_success() {
    let bench = Bench::start().await;
    bench.contact_center.remove(&bench.channel_id);
    assert_eq!(run(&bench, json!({ "operation": "deregister" })).await["changes"], json!(["webhook deleted"]));
    assert_eq!(run(&bench, json!({ "operation": "deregister" })).await["changes"], json!([]));
    bench.finish().await;
}

#[tokio::test]
async fn a_refusal_shows_8x8s_own_reason() {
    let bench = Bench::start().await;
    let reason = refused(&bench, json!({ "operation": "update", "queue_id": "999" })).await;
    assert_eq!(reason, "8x8 refused to update the channel: status 400: Queue ID 999 is invalid.");
    bench.finish().await;
}

#[tokio::test]
async fn a_callback_url_that_8x8_cannot_reach_is_refused_by_8x8() {
    let bench = Bench::start().await;
    run(&bench, json!({ "operation": "deregister" })).await;
    let request = json!({ "operation": "register", "queue_id": "101", "callback_url": "http://127.0.0.1:9/nobody" });
    let reason = refused(&bench, request).await;
    assert!(reason.contains("did not answer with a 2xx"), "{reason}");
    bench.finish().await;
}

#[tokio::test]
async fn a_request_that_is_none_is_answered_with_what_one_looks_like() {
    let bench = Bench::start().await;
    for request in [
        json!({}),
        json!({ "operation": "destroy" }),
        json!("register"),
        json!(null),
        json!({ "operation": "register", "queue_id": 101 }),
    ] {
        assert!(refused(&bench, request).await.contains(r#""operation":"register""#));
    }
    for url in ["http://callbacks.acme.example/", "confidential", ""] {
        assert!(
            refused(&bench, json!({ "operation": "register", "callback_url": url })).await.contains("https"),
            "{url}"
        );
    }
    bench.finish().await;
}

#[tokio::test]
async fn a_blank_queue_is_no_queue() {
    let bench = Bench::start().await;
    for queue_id in ["", " \t"] {
        for operation in ["register", "update"] {
            let reason = refused(&bench, json!({ "operation": operation, "queue_id": queue_id })).await;
            assert!(reason.contains("queue_id"), "{reason}");
        }
    }
    assert_eq!(bench.contact_center.registered().1[0]["routingOptions"]["id"], "101");
    bench.finish().await;
}

#[tokio::test]
async fn register_without_a_url_keeps_the_saved_one() {
    let bench = Bench::start().await;
    let load_balancer = "https://callbacks.acme.example/v1/liveAgent/receiveMessage";
    run(&bench, json!({ "operation": "update", "callback_url": load_balancer })).await;
    let answer = run(&bench, json!({ "operation": "register", "queue_id": "102" })).await;
    assert_eq!((&answer["callback_url"], &answer["changes"]), (&json!(load_balancer), &json!(["channel updated"])));
    assert_eq!(bench.contact_center.registered().0[0]["uri"], load_balancer);
    bench.finish().await;
}

#[tokio::test]
async fn what_was_renamed_in_8x8s_console_is_found_by_its_saved_id() {
    let bench = Bench::start().await;
    let saved = bench.cloud.secrets.current(CHANNEL_SECRET);
    bench.contact_center.rename(saved["webhook_id"].as_str().unwrap(), "renamed");
    bench.contact_center.rename(&bench.channel_id, "renamed");
    let answer = run(&bench, json!({ "operation": "register" })).await;
    assert_eq!(answer["changes"], json!(["webhook updated", "channel updated"]));
    let (webhooks, channels) = bench.contact_center.registered();
    assert_eq!((webhooks.len(), channels.len()), (1, 1));
    assert_eq!((&webhooks[0]["name"], &channels[0]["id"]), (&json!("live-agent-sandbox"), &json!(bench.channel_id)));
    bench.finish().await;
}

#[tokio::test]
async fn a_webhook_of_someone_else_is_neither_repointed_nor_deleted_whatever_its_name_is() {
    let bench = Bench::start().await;
    run(&bench, json!({ "operation": "deregister" })).await;
    let other = "https://other-stack.example/v1/liveAgent/receiveMessage?token=confidential";
    bench.contact_center.add_foreign("live-agent-sandbox", other);
    let before = bench.contact_center.registered();
    let register = json!({ "operation": "register", "queue_id": "101" });
    let reason = refused(&bench, register).await;
    assert!(reason.contains("other-stack.example") && reason.contains(r#""take_over":true"#), "{reason}");
    assert!(!reason.contains("confidential"));
    // What a failed creation of a stack is followed by.
    run(&bench, json!({ "operation": "deregister" })).await;
    assert_eq!(bench.contact_center.registered(), before);

    let answer = run(&bench, json!({ "operation": "register", "queue_id": "101", "take_over": true })).await;
    assert_eq!(answer["changes"], json!(["webhook updated", "channel updated"]));
    assert_eq!(bench.contact_center.registered().0[0]["uri"], bench.callback_url());
    bench.finish().await;
}

#[tokio::test]
async fn a_channel_of_our_name_on_a_webhook_of_someone_else_is_refused() {
    let bench = Bench::start().await;
    run(&bench, json!({ "operation": "deregister" })).await;
    let (webhook_id, _) = bench.contact_center.add_foreign("live-agent-sandbox", "https://other-stack.example/");
    bench.contact_center.rename(&webhook_id, "renamed");
    let before = bench.contact_center.registered();
    let reason = refused(&bench, json!({ "operation": "register", "queue_id": "101" })).await;
    assert!(reason.contains("channel") && reason.contains("other-stack.example"), "{reason}");
    assert_eq!(bench.contact_center.registered(), before);
    bench.finish().await;
}

#[tokio::test]
async fn deregistering_after_a_move_leaves_the_new_owner_alone() {
    let bench = Bench::start().await;
    let saved = bench.cloud.secrets.current(CHANNEL_SECRET);
    bench.contact_center.repoint(saved["webhook_id"].as_str().unwrap(), "https://new-stack.example/");
    let before = bench.contact_center.registered();
    assert!(refused(&bench, json!({ "operation": "register" })).await.contains("new-stack.example"));
    let update = json!({ "operation": "update", "queue_id": "102" });
    assert!(refused(&bench, update).await.contains("new-stack.example"));
    assert_eq!(run(&bench, json!({ "operation": "deregister" })).await["changes"], json!([]));
    assert_eq!(bench.contact_center.registered(), before);
    assert_eq!(bench.cloud.secrets.current(CHANNEL_SECRET), json!({}));
    bench.finish().await;
}

#[tokio::test]
async fn an_update_that_was_interrupted_after_8x8_made_it_is_still_ours() {
    let bench = Bench::start().await;
    let load_balancer = "https://callbacks.acme.example/v1/liveAgent/receiveMessage";
    bench.contact_center.fail_next("PUT", "webhooks", true);
    refused(&bench, json!({ "operation": "update", "callback_url": load_balancer })).await;
    assert_eq!(bench.contact_center.registered().0[0]["uri"], load_balancer);
    let removed = run(&bench, json!({ "operation": "deregister" })).await;
    assert_eq!(removed["changes"], json!(["channel deleted", "webhook deleted"]));
    bench.finish().await;
}

#[tokio::test]
async fn lists_of_every_form_are_read_and_none_is_taken_for_an_empty_one() {
    let bench = Bench::start().await;
    let forget = || bench.cloud.secrets.set(CHANNEL_SECRET, &json!({}));
    // One webhook: a single object is possible. Its channel is on the third page.
    for number in 0..250 {
        bench.contact_center.add_channel(&format!("a-{number}"));
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
        bench.contact_center.write_lists(form);
        let answer = run(&bench, json!({ "operation": "register", "queue_id": "101" })).await;
        assert_eq!((&answer["changes"], &answer["channel_id"]), (&json!([]), &json!(bench.channel_id)), "{form:?}");
    }
    for form in [ListForm::MissingPage, ListForm::Unknown] {
        forget();
        bench.contact_center.write_lists(form);
        let reason = refused(&bench, json!({ "operation": "register", "queue_id": "101" })).await;
        assert!(reason.contains("list the"), "{form:?}: {reason}");
    }
    let (webhooks, channels) = bench.contact_center.registered();
    assert_eq!((webhooks.len(), channels.len()), (1, 251));
    bench.finish().await;
}
