//! register-channel as CloudFormation's custom resource: it always answers, and a failed deployment can be repeated.

use sandbox::cloud_formation::CloudFormation;
use sandbox::deployment::{CHANNEL_SECRET, CONTACT_CENTER_SECRET};
use sandbox::faults::{Fault, When};
use serde_json::{Value, json};

use crate::support::Bench;

const NAME: &str = "live-agent-sandbox";

struct Stack {
    bench: Bench,
    cloud_formation: CloudFormation,
}

impl Stack {
    /// A deployment in which nothing is registered yet.
    async fn start() -> Self {
        let bench = Bench::start().await;
        bench.invoke_register(json!({ "operation": "deregister" })).await.expect("a clean start");
        Self { bench, cloud_formation: CloudFormation::start().await }
    }

    async fn request(&self, request_type: &str, physical_id: Option<&str>, queue_id: &str) -> Value {
        let properties = json!({
            "ServiceToken": "arn",
            "ServiceTimeout": "180",
            "QueueId": queue_id,
            "CallbackUrl": self.bench.callback_url(),
        });
        let function = &self.bench.functions.register_channel;
        let answer = self.cloud_formation.request(function, request_type, physical_id, properties).await;
        let answer = answer.expect("CloudFormation gets an answer");
        for field in ["StackId", "RequestId", "LogicalResourceId", "PhysicalResourceId"] {
            assert!(answer[field].as_str().is_some_and(|value| !value.is_empty()), "{field} in {answer}");
        }
        answer
    }

    /// Asserts that the operation fails, and gives the reason.
    async fn fails(&self, request_type: &str, physical_id: Option<&str>, queue_id: &str) -> String {
        let answer = self.request(request_type, physical_id, queue_id).await;
        assert_eq!(answer["Status"], "FAILED");
        answer["Reason"].as_str().unwrap().to_owned()
    }

    async fn succeeds(&self, request_type: &str, physical_id: Option<&str>, queue_id: &str) -> Value {
        let answer = self.request(request_type, physical_id, queue_id).await;
        assert_eq!(answer["Status"], "SUCCESS", "{answer}");
        answer
    }
}

#[tokio::test]
async fn create_update_and_delete_follow_a_stacks_life() {
    let stack = Stack::start().await;
    let created = stack.succeeds("Create", None, "101").await;
    let (webhooks, channels) = stack.bench.contact_center.registered();
    assert_eq!(created["PhysicalResourceId"], NAME);
    assert_eq!(created["Data"], json!({ "ChannelId": channels[0]["id"], "WebhookId": webhooks[0]["id"] }));

    let updated = stack.succeeds("Update", Some(NAME), "102").await;
    assert_eq!(updated["PhysicalResourceId"], NAME, "the same resource, so that nothing is deleted after the update");
    assert_eq!(updated["Data"]["ChannelId"], channels[0]["id"]);
    assert_eq!(stack.bench.contact_center.registered().1[0]["routingOptions"]["id"], "102");

    stack.succeeds("Delete", Some(NAME), "102").await;
    assert_eq!(stack.bench.contact_center.registered(), (vec![], vec![]));
    assert_eq!(stack.bench.cloud.secrets.current(CHANNEL_SECRET), json!({}));
    stack.succeeds("Delete", Some(NAME), "102").await;
    stack.bench.finish().await;
}

#[tokio::test]
async fn a_wrong_api_key_fails_with_8x8s_reason_rolls_back_and_can_be_repeated() {
    let stack = Stack::start().await;
    let right = stack.bench.cloud.secrets.current(CONTACT_CENTER_SECRET);
    stack.bench.cloud.secrets.set(CONTACT_CENTER_SECRET, &json!({ "api_key": "wrong" }));
    stack.bench.functions.register_channel.recycle();
    let reason = stack.fails("Create", None, "101").await;
    assert!(reason.contains("status 401: Access Denied") && reason.contains("dacd0dd252723a2"), "{reason}");
    stack.succeeds("Delete", Some(NAME), "101").await;

    stack.bench.cloud.secrets.set(CONTACT_CENTER_SECRET, &right);
    stack.succeeds("Create", None, "101").await;
    stack.bench.finish().await;
}

#[tokio::test]
async fn an_unknown_queue_fails_with_8x8s_reason_rolls_back_and_can_be_repeated() {
    let stack = Stack::start().await;
    let reason = stack.fails("Create", None, "999").await;
    assert_eq!(reason, "8x8 refused to create the channel: status 400: Queue ID 999 is invalid.");
    assert_eq!(stack.bench.contact_center.registered().0.len(), 1, "the webhook was made before the channel failed");
    stack.succeeds("Delete", Some(NAME), "999").await;
    assert_eq!(stack.bench.contact_center.registered(), (vec![], vec![]));
    stack.succeeds("Create", None, "101").await;
    stack.bench.finish().await;
}

#[tokio::test]
async fn an_unreachable_8x8_fails_and_rolls_back() {
    let stack = Stack::start().await;
    for _ in 0..3 {
        stack.bench.contact_center.fail_next("GET", "webhooks", false);
        stack.bench.contact_center.fail_next("GET", "channels", false);
    }
    assert!(stack.fails("Create", None, "101").await.contains("Internal error."));
    stack.succeeds("Delete", Some(NAME), "101").await;
    stack.bench.finish().await;
}

#[tokio::test]
async fn a_registration_that_8x8_does_not_remove_is_not_forgotten() {
    let stack = Stack::start().await;
    stack.succeeds("Create", None, "101").await;
    stack.bench.contact_center.fail_next("DELETE", "channels", false);
    assert!(stack.fails("Delete", Some(NAME), "101").await.contains("delete the channel"));
    stack.succeeds("Delete", Some(NAME), "101").await;
    assert_eq!(stack.bench.contact_center.registered(), (vec![], vec![]));
    stack.bench.finish().await;
}

#[tokio::test]
async fn after_a_rename_the_old_registration_is_removed_and_the_new_one_stays() {
    let stack = Stack::start().await;
    stack.succeeds("Create", None, "101").await;
    stack.bench.contact_center.add_channel("live-agent-old-name");
    stack.succeeds("Delete", Some("live-agent-old-name"), "101").await;
    let (_, channels) = stack.bench.contact_center.registered();
    assert_eq!(channels.len(), 1);
    assert_eq!(channels[0]["name"], NAME);
    assert_ne!(stack.bench.cloud.secrets.current(CHANNEL_SECRET), json!({}));
    stack.bench.finish().await;
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_answered_too() {
    let stack = Stack::start().await;
    assert!(stack.fails("Upgrade", None, "101").await.contains("operation"));
    let function = &stack.bench.functions.register_channel;
    let answer = stack.cloud_formation.request(function, "Create", None, json!({})).await.expect("an answer");
    assert_eq!(answer["Status"], "FAILED");
    assert!(answer["Reason"].as_str().unwrap().contains("queue_id"));
    stack.bench.finish().await;
}

#[tokio::test]
async fn secrets_that_are_out_of_reach_are_a_reason() {
    let stack = Stack::start().await;
    stack.bench.fault(Fault::SecretsDown, When::Share(1.0));
    let reason = stack.fails("Create", None, "101").await;
    assert_eq!(reason, "secret `channel` is unavailable (InternalServiceError)");
    stack.bench.faults.clear();
    stack.bench.finish().await;
}

#[tokio::test]
async fn the_answer_is_put_again_until_it_is_taken() {
    let stack = Stack::start().await;
    stack.cloud_formation.refuse(2);
    stack.succeeds("Create", None, "101").await;
    // For good: the invocation is an error then, and Lambda repeats it.
    stack.cloud_formation.refuse(3);
    let function = &stack.bench.functions.register_channel;
    let properties = json!({ "QueueId": "101", "CallbackUrl": stack.bench.callback_url() });
    assert_eq!(stack.cloud_formation.request(function, "Update", Some(NAME), properties).await, None);
    assert_eq!(stack.bench.logged("could not be told the outcome (status 503)"), 1);
    stack.bench.finish().await;
}
