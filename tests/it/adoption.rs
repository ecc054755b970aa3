//! register-channel takes over the channel that an Aisera tenant registered itself, and gives it back.

use contact_center::{ContactCenterApi, ContactCenterSettings, FailureKind};
use sandbox::SandboxSettings;
use sandbox::deployment::{self, CHANNEL_SECRET};
use serde_json::{Value, json};
use simulation::faults::When;

use crate::register_channel::{refused, run};
use crate::support::{Stack, message};

const AISERA: &str = "https://acme.api.aisera.cloud/v1/liveAgent/receiveMessage?tenant=confidential";

/// A contact center in which another system has registered a webhook and a channel, and we have nothing.
struct Tenant {
    stack: Stack,
    webhook_id: String,
    channel_id: String,
    before: (Vec<Value>, Vec<Value>),
}

impl Tenant {
    async fn start(api: ContactCenterApi) -> Self {
        let contact_center = ContactCenterSettings { api, ..ContactCenterSettings::default() };
        let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        run(&stack, json!({ "operation": "deregister" })).await;
        let (webhook_id, channel_id) = stack.contact_center.add_foreign("aisera-acme", AISERA);
        let before = stack.contact_center.registered();
        Self { stack, webhook_id, channel_id, before }
    }

    fn adopt(&self) -> Value {
        json!({ "operation": "adopt", "channel_id": self.channel_id })
    }

    fn uri(&self) -> String {
        self.stack.contact_center.registered().0[0]["uri"].as_str().unwrap().to_owned()
    }

    fn saved(&self) -> Value {
        self.stack.cloud.secrets.current(CHANNEL_SECRET)
    }

    /// Asserts that all is as it was before we came.
    fn is_as_before(&self, story: &str) {
        assert_eq!(self.stack.contact_center.registered(), self.before, "{story}");
        assert_eq!(self.saved(), json!({}), "{story}");
    }
}

#[tokio::test]
async fn an_adopted_channels_events_come_to_us_and_a_release_gives_it_back_unchanged() {
    for api in [ContactCenterApi::ChatGatewayV1, ContactCenterApi::ChatApiV2] {
        let tenant = Tenant::start(api).await;
        let adopted = run(&tenant.stack, tenant.adopt()).await;
        assert_eq!(adopted["changes"], json!(["webhook adopted"]));
        assert_eq!((&adopted["channel_id"], &adopted["queue_id"]), (&json!(tenant.channel_id), &json!("102")));
        let (webhooks, channels) = tenant.stack.contact_center.registered();
        assert_eq!((webhooks.len(), channels.len()), (1, 1), "nothing is created");
        assert_eq!((&webhooks[0]["name"], &channels[0]), (&json!("aisera-acme"), &tenant.before.1[0]));
        assert_eq!(webhooks[0]["uri"], tenant.stack.callback_url());
        assert_eq!(run(&tenant.stack, json!({ "operation": "review" })).await["in_sync"], true);
        assert_eq!(tenant.stack.post_signed(message("c")).await.status(), 200);

        // Run twice it changes nothing, and does not forget what was there before.
        assert_eq!(run(&tenant.stack, tenant.adopt()).await["changes"], json!([]));
        let released = run(&tenant.stack, json!({ "operation": "release" })).await;
        assert_eq!(released["changes"], json!(["webhook released"]));
        tenant.is_as_before("released");
        tenant.stack.finish().await;
    }
}

#[tokio::test]
async fn a_shared_webhook_is_refused_with_the_names_of_the_others() {
    let tenant = Tenant::start(ContactCenterApi::ChatGatewayV1).await;
    let (unused, other) = tenant.stack.contact_center.add_foreign("aisera-sales", AISERA);
    tenant.stack.contact_center.move_channel(&other, &tenant.webhook_id);
    tenant.stack.contact_center.remove(&unused);
    let reason = refused(&tenant.stack, tenant.adopt()).await;
    assert!(reason.contains("`aisera-sales`") && reason.contains(r#""shared":true"#), "{reason}");
    assert_eq!((tenant.uri().as_str(), tenant.saved()), (AISERA, json!({})));
    let mut adopt = tenant.adopt();
    adopt["shared"] = true.into();
    assert_eq!(run(&tenant.stack, adopt).await["changes"], json!(["webhook adopted"]));
    run(&tenant.stack, json!({ "operation": "release" })).await;
    assert_eq!(tenant.uri(), AISERA);
    tenant.stack.finish().await;
}

#[tokio::test]
async fn a_webhook_that_was_moved_elsewhere_meanwhile_is_left_alone() {
    let tenant = Tenant::start(ContactCenterApi::ChatGatewayV1).await;
    run(&tenant.stack, tenant.adopt()).await;
    tenant.stack.contact_center.repoint(&tenant.webhook_id, "https://elsewhere.example/");
    assert_eq!(run(&tenant.stack, json!({ "operation": "release" })).await["changes"], json!([]));
    assert_eq!((tenant.uri().as_str(), tenant.saved()), ("https://elsewhere.example/", json!({})));
    tenant.stack.finish().await;
}

#[tokio::test]
async fn a_moved_webhook_that_is_adopted_again_is_given_back_to_where_it_was_last() {
    let tenant = Tenant::start(ContactCenterApi::ChatGatewayV1).await;
    run(&tenant.stack, tenant.adopt()).await;
    tenant.stack.contact_center.repoint(&tenant.webhook_id, "https://elsewhere.example/");
    run(&tenant.stack, tenant.adopt()).await;
    run(&tenant.stack, json!({ "operation": "release" })).await;
    assert_eq!(tenant.uri(), "https://elsewhere.example/");
    tenant.stack.finish().await;
}

#[tokio::test]
async fn a_channel_that_was_moved_to_another_webhook_is_released_before_it_is_adopted_again() {
    let tenant = Tenant::start(ContactCenterApi::ChatGatewayV1).await;
    run(&tenant.stack, tenant.adopt()).await;
    let (other, _) = tenant.stack.contact_center.add_foreign("aisera-sales", AISERA);
    tenant.stack.contact_center.move_channel(&tenant.channel_id, &other);
    let mut adopt = tenant.adopt();
    adopt["shared"] = true.into();
    assert!(refused(&tenant.stack, adopt).await.contains("release"));
    run(&tenant.stack, json!({ "operation": "release" })).await;
    let (webhooks, _) = tenant.stack.contact_center.registered();
    assert!(webhooks.iter().all(|webhook| webhook["uri"] == AISERA), "{webhooks:?}");
    tenant.stack.finish().await;
}

#[tokio::test]
async fn a_new_callback_url_of_an_adopted_webhook_is_released_too() {
    let tenant = Tenant::start(ContactCenterApi::ChatGatewayV1).await;
    run(&tenant.stack, tenant.adopt()).await;
    let load_balancer = "https://callbacks.acme.example/v1/liveAgent/receiveMessage";
    let updated = run(&tenant.stack, json!({ "operation": "update", "callback_url": load_balancer })).await;
    assert_eq!(updated["changes"], json!(["webhook updated"]));
    let (webhooks, _) = tenant.stack.contact_center.registered();
    assert_eq!((&webhooks[0]["name"], &webhooks[0]["uri"]), (&json!("aisera-acme"), &json!(load_balancer)));
    run(&tenant.stack, json!({ "operation": "release" })).await;
    tenant.is_as_before("released");
    tenant.stack.finish().await;
}

#[tokio::test]
async fn what_cannot_be_adopted_says_what_to_do() {
    let tenant = Tenant::start(ContactCenterApi::ChatGatewayV1).await;
    let adopt = |channel_id: &str| json!({ "operation": "adopt", "channel_id": channel_id });
    assert!(refused(&tenant.stack, adopt("nowhere")).await.contains("`nowhere`"));
    assert!(refused(&tenant.stack, adopt(" ")).await.contains("channel_id"));
    assert!(refused(&tenant.stack, json!({ "operation": "release" })).await.contains("adopted"));
    tenant.is_as_before("refused");

    run(&tenant.stack, tenant.adopt()).await;
    for operation in ["register", "deregister"] {
        let request = json!({ "operation": operation, "queue_id": "101" });
        assert!(refused(&tenant.stack, request).await.contains("release"), "{operation}");
    }
    assert!(refused(&tenant.stack, json!({ "operation": "update", "queue_id": "101" })).await.contains("queue"));
    run(&tenant.stack, json!({ "operation": "release" })).await;
    tenant.is_as_before("released");
    run(&tenant.stack, json!({ "operation": "register", "queue_id": "101" })).await;
    assert!(refused(&tenant.stack, tenant.adopt()).await.contains("deregister"));
    tenant.stack.finish().await;
}

#[tokio::test]
async fn a_webhook_that_8x8_does_not_change_is_not_taken_for_an_adopted_one() {
    let tenant = Tenant::start(ContactCenterApi::ChatGatewayV1).await;
    tenant.stack.contact_center.break_next("PUT", "webhooks", FailureKind::Status429, false);
    refused(&tenant.stack, tenant.adopt()).await;
    tenant.is_as_before("refused by 8x8");
    tenant.stack.finish().await;
}

#[tokio::test]
async fn an_interruption_at_any_call_leaves_what_a_release_gives_back_unchanged() {
    let tenant = Tenant::start(ContactCenterApi::ChatGatewayV1).await;
    for (method, resource) in [("GET", "channels"), ("GET", "webhooks"), ("PUT", "webhooks")] {
        for is_carried_out in [false, true] {
            let story = format!("{method} {resource} carried out: {is_carried_out}");
            let interrupt = || {
                tenant.stack.contact_center.break_next(method, resource, FailureKind::Drops, is_carried_out);
            };
            interrupt();
            refused(&tenant.stack, tenant.adopt()).await;
            if tenant.saved() != json!({}) {
                run(&tenant.stack, json!({ "operation": "release" })).await;
            }
            tenant.is_as_before(&format!("adopt, {story}"));

            run(&tenant.stack, tenant.adopt()).await;
            if (method, resource) != ("GET", "channels") {
                interrupt();
                refused(&tenant.stack, json!({ "operation": "release" })).await;
            }
            run(&tenant.stack, json!({ "operation": "release" })).await;
            tenant.is_as_before(&format!("release, {story}"));
        }
    }
    tenant.stack.finish().await;
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_time_leaves_what_a_release_gives_back_unchanged() {
    let tenant = Tenant::start(ContactCenterApi::ChatGatewayV1).await;
    for round in 0..20 {
        for request in [tenant.adopt(), json!({ "operation": "release" })] {
            tenant.stack.fault(aws::Fault::Kill(deployment::REGISTER_CHANNEL), When::Next(1));
            let _ = tenant.stack.invoke_register(request.clone()).await;
            tenant.stack.faults.clear();
            if round % 2 == 0 && request["operation"] == "adopt" {
                run(&tenant.stack, request).await;
                assert_eq!(tenant.uri(), tenant.stack.callback_url());
            }
        }
        if tenant.saved() != json!({}) {
            run(&tenant.stack, json!({ "operation": "release" })).await;
        }
        tenant.is_as_before(&format!("round {round}"));
    }
    tenant.stack.finish().await;
}
