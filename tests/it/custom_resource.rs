//! register-channel as CloudFormation's custom resource: it always answers, and a failed deployment can be repeated.

use std::io::{Read, Write};
use std::net::TcpListener;

use aws::cloud_formation::CloudFormation;
use contact_center::{Authentication, ContactCenterSettings, FailureKind};
use sandbox::SandboxSettings;
use sandbox::deployment::{self, CHANNEL_SECRET, CONTACT_CENTER_SECRET, CONTACT_CENTER_TOKEN_SECRET};
use serde_json::{Value, json};
use simulation::faults::When;

use crate::support::Stack;

const NAME: &str = "live-agent-sandbox";

struct Deployment {
    stack: Stack,
    cloud_formation: CloudFormation,
}

impl Deployment {
    /// A deployment in which nothing is registered yet.
    async fn start() -> Self {
        Self::with(Authentication::ApiKey).await
    }

    async fn with(authentication: Authentication) -> Self {
        let contact_center = ContactCenterSettings { authentication, ..ContactCenterSettings::default() };
        let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        stack.invoke_register(json!({ "operation": "deregister" })).await.expect("a clean start");
        Self { stack, cloud_formation: CloudFormation::start().await }
    }

    async fn request(&self, request_type: &str, physical_id: Option<&str>, queue_id: &str) -> Value {
        let properties = json!({ "QueueId": queue_id, "CallbackUrl": self.stack.callback_url() });
        self.request_with(request_type, physical_id, properties).await
    }

    async fn request_with(&self, request_type: &str, physical_id: Option<&str>, mut properties: Value) -> Value {
        properties["ServiceToken"] = "arn".into();
        properties["ServiceTimeout"] = "180".into();
        let function = &self.stack.function(deployment::REGISTER_CHANNEL);
        let response = self.cloud_formation.request(function, request_type, physical_id, properties).await;
        let response = response.expect("CloudFormation gets a response");
        for field in ["StackId", "RequestId", "LogicalResourceId", "PhysicalResourceId"] {
            assert!(response[field].as_str().is_some_and(|value| !value.is_empty()), "{field} in {response}");
        }
        response
    }

    /// Asserts that the operation fails, and gives the reason.
    async fn fails(&self, request_type: &str, physical_id: Option<&str>, queue_id: &str) -> String {
        let response = self.request(request_type, physical_id, queue_id).await;
        assert_eq!(response["Status"], "FAILED");
        response["Reason"].as_str().unwrap().to_owned()
    }

    async fn succeeds(&self, request_type: &str, physical_id: Option<&str>, queue_id: &str) -> Value {
        let response = self.request(request_type, physical_id, queue_id).await;
        assert_eq!(response["Status"], "SUCCESS", "{response}");
        response
    }
}

#[tokio::test]
async fn create_update_and_delete_follow_a_stacks_life() {
    let deployment = Deployment::start().await;
    let created = deployment.succeeds("Create", None, "101").await;
    let (webhooks, channels) = deployment.stack.contact_center.registered();
    assert_eq!(created["PhysicalResourceId"], NAME);
    assert_eq!(created["Data"], json!({ "ChannelId": channels[0]["id"], "WebhookId": webhooks[0]["id"] }));

    let updated = deployment.succeeds("Update", Some(NAME), "102").await;
    assert_eq!(updated["PhysicalResourceId"], NAME, "the same resource, so that nothing is deleted after the update");
    assert_eq!(updated["Data"]["ChannelId"], channels[0]["id"]);
    assert_eq!(deployment.stack.contact_center.registered().1[0]["routingOptions"]["id"], "102");

    deployment.succeeds("Delete", Some(NAME), "102").await;
    assert_eq!(deployment.stack.contact_center.registered(), (vec![], vec![]));
    assert_eq!(deployment.stack.cloud.secrets.current(CHANNEL_SECRET), json!({}));
    deployment.succeeds("Delete", Some(NAME), "102").await;
    deployment.stack.finish().await;
}

#[tokio::test]
async fn a_wrong_api_key_fails_with_8x8s_reason_rolls_back_and_can_be_repeated() {
    let deployment = Deployment::start().await;
    let right = deployment.stack.cloud.secrets.current(CONTACT_CENTER_SECRET);
    deployment.stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &json!({ "api_key": "wrong" }));
    deployment.stack.function(deployment::REGISTER_CHANNEL).recycle();
    let reason = deployment.fails("Create", None, "101").await;
    assert!(reason.contains("status 401: Access Denied") && reason.contains("dacd0dd252723a2"), "{reason}");
    deployment.succeeds("Delete", Some(NAME), "101").await;

    deployment.stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &right);
    deployment.succeeds("Create", None, "101").await;
    deployment.stack.finish().await;
}

#[tokio::test]
async fn an_unknown_queue_fails_with_8x8s_reason_rolls_back_and_can_be_repeated() {
    let deployment = Deployment::start().await;
    let reason = deployment.fails("Create", None, "999").await;
    assert_eq!(reason, "8x8 refused to create the channel: status 400: Queue ID 999 is invalid.");
    assert_eq!(
        deployment.stack.contact_center.registered().0.len(),
        1,
        "the webhook was made before the channel failed"
    );
    deployment.succeeds("Delete", Some(NAME), "999").await;
    assert_eq!(deployment.stack.contact_center.registered(), (vec![], vec![]));
    deployment.succeeds("Create", None, "101").await;
    deployment.stack.finish().await;
}

#[tokio::test]
async fn an_unreachable_8x8_fails_and_rolls_back() {
    let deployment = Deployment::start().await;
    for _ in 0..3 {
        deployment.stack.contact_center.fail_next("GET", "webhooks", false);
        deployment.stack.contact_center.fail_next("GET", "channels", false);
    }
    assert!(deployment.fails("Create", None, "101").await.contains("Internal error."));
    deployment.succeeds("Delete", Some(NAME), "101").await;
    deployment.stack.finish().await;
}

#[tokio::test]
async fn a_registration_that_8x8_does_not_remove_is_not_forgotten() {
    let deployment = Deployment::start().await;
    deployment.succeeds("Create", None, "101").await;
    deployment.stack.contact_center.fail_next("DELETE", "channels", false);
    assert!(deployment.fails("Delete", Some(NAME), "101").await.contains("delete the channel"));
    deployment.succeeds("Delete", Some(NAME), "101").await;
    assert_eq!(deployment.stack.contact_center.registered(), (vec![], vec![]));
    deployment.stack.finish().await;
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_answered_too() {
    let deployment = Deployment::start().await;
    assert!(deployment.fails("Upgrade", None, "101").await.contains("operation"));
    let function = &deployment.stack.function(deployment::REGISTER_CHANNEL);
    let response = deployment.cloud_formation.request(function, "Create", None, json!({})).await.expect("a response");
    assert_eq!(response["Status"], "FAILED");
    assert!(response["Reason"].as_str().unwrap().contains("queue_id"));
    deployment.stack.finish().await;
}

#[tokio::test]
async fn secrets_that_are_out_of_reach_are_a_reason() {
    let deployment = Deployment::start().await;
    deployment.stack.fault(aws::Fault::SecretsDown, When::Share(1.0));
    let reason = deployment.fails("Create", None, "101").await;
    assert_eq!(reason, "secret `channel` is unavailable (InternalServiceError)");
    deployment.stack.faults.clear();
    deployment.stack.finish().await;
}

#[tokio::test]
async fn the_answer_is_put_again_until_it_is_taken() {
    let deployment = Deployment::start().await;
    deployment.cloud_formation.refuse(2);
    deployment.succeeds("Create", None, "101").await;
    // For good: the invocation is an error then, and Lambda repeats it.
    deployment.cloud_formation.refuse(3);
    let function = &deployment.stack.function(deployment::REGISTER_CHANNEL);
    let properties = json!({ "QueueId": "101", "CallbackUrl": deployment.stack.callback_url() });
    assert_eq!(deployment.cloud_formation.request(function, "Update", Some(NAME), properties).await, None);
    assert_eq!(deployment.stack.logged("did not accept the response (status 503)"), 1);
    deployment.stack.finish().await;
}

#[tokio::test]
async fn a_load_balancers_url_survives_every_update_that_does_not_change_the_property() {
    let deployment = Deployment::start().await;
    deployment.succeeds("Create", None, "101").await;
    let load_balancer = "https://callbacks.acme.example/v1/liveAgent/receiveMessage";
    let update = json!({ "operation": "update", "callback_url": load_balancer });
    deployment.stack.invoke_register(update).await.expect("the URL can be changed");
    deployment.succeeds("Update", Some(NAME), "102").await;
    let (webhooks, channels) = deployment.stack.contact_center.registered();
    assert_eq!((&webhooks[0]["uri"], &channels[0]["routingOptions"]["id"]), (&json!(load_balancer), &json!("102")));

    // The property changes, so that it is wanted.
    let other = format!("{}?changed", deployment.stack.callback_url());
    let properties = json!({ "QueueId": "102", "CallbackUrl": other });
    assert_eq!(deployment.request_with("Update", Some(NAME), properties).await["Status"], "SUCCESS");
    assert_eq!(deployment.stack.contact_center.registered().0[0]["uri"], other);
    deployment.succeeds("Delete", Some(NAME), "102").await;
    assert_eq!(deployment.stack.contact_center.registered(), (vec![], vec![]));
    deployment.stack.finish().await;
}

#[tokio::test]
async fn a_creation_that_is_rolled_back_leaves_another_stacks_webhook_alone() {
    let deployment = Deployment::start().await;
    deployment.stack.contact_center.add_foreign(NAME, "https://other-deployment.example/");
    let before = deployment.stack.contact_center.registered();
    let reason = deployment.fails("Create", None, "101").await;
    assert!(reason.contains("other-deployment.example"), "{reason}");
    deployment.succeeds("Delete", Some(NAME), "101").await;
    assert_eq!(deployment.stack.contact_center.registered(), before);
    deployment.stack.finish().await;
}

#[tokio::test]
async fn a_creation_that_is_cancelled_is_removed_by_the_deletion_that_follows() {
    let deployment = Deployment::start().await;
    // 8x8 has created the channel, and nothing is saved.
    deployment.stack.contact_center.break_next("POST", "channels", FailureKind::Drops, true);
    deployment.stack.contact_center.break_next("GET", "channels", FailureKind::Drops, false);
    deployment.stack.contact_center.break_next("GET", "channels", FailureKind::Drops, false);
    let function = &deployment.stack.function(deployment::REGISTER_CHANNEL);
    let request = json!({ "operation": "register", "queue_id": "101" });
    let _ = function.invoke(&request).await;
    let _ = function.invoke(&request).await;
    deployment.succeeds("Delete", Some(NAME), "101").await;
    assert_eq!(deployment.stack.contact_center.registered(), (vec![], vec![]));
    assert_eq!(deployment.stack.cloud.secrets.current(CHANNEL_SECRET), json!({}));
    deployment.stack.finish().await;
}

#[tokio::test]
async fn a_blank_queue_fails_with_a_clear_reason() {
    let deployment = Deployment::start().await;
    assert!(deployment.fails("Create", None, " ").await.contains("queue_id"));
    deployment.succeeds("Delete", Some(NAME), " ").await;
    deployment.stack.finish().await;
}

#[tokio::test]
async fn an_8x8_that_fails_for_a_moment_is_asked_again() {
    let deployment = Deployment::start().await;
    deployment.stack.contact_center.fail_next("GET", "webhooks", false);
    deployment.stack.contact_center.fail_next("GET", "channels", false);
    deployment.succeeds("Create", None, "101").await;
    deployment.stack.finish().await;
}

/// Every way to log in, and the field of its credentials that is wrong.
const LOG_INS: [(Authentication, &str); 3] = [
    (Authentication::ApiKey, "api_key"),
    (Authentication::ClientCredentials, "api_secret"),
    (Authentication::Password, "password"),
];

#[tokio::test]
async fn a_deletion_with_credentials_that_8x8_no_longer_accepts_succeeds_with_a_warning() {
    for (authentication, field) in LOG_INS {
        let deployment = Deployment::with(authentication).await;
        deployment.succeeds("Create", None, "101").await;
        let mut revoked = deployment.stack.cloud.secrets.current(CONTACT_CENTER_SECRET);
        revoked[field] = "revoked".into();
        deployment.stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &revoked);
        if authentication != Authentication::ApiKey {
            deployment.stack.cloud.secrets.set(CONTACT_CENTER_TOKEN_SECRET, &json!({}));
        }
        deployment.stack.function(deployment::REGISTER_CHANNEL).recycle();
        let deleted = deployment.succeeds("Delete", Some(NAME), "101").await;
        let reason = deleted["Reason"].as_str().unwrap();
        assert!(reason.contains("left at 8x8") && reason.contains("status 40"), "{authentication:?}: {reason}");
    }
}

/// A warm process has the former credentials, and the token secret a token that was issued for them.
#[tokio::test]
async fn new_credentials_prove_themselves_at_once() {
    for (authentication, field) in LOG_INS {
        let deployment = Deployment::with(authentication).await;
        let properties = |revision: &str| json!({ "QueueId": "101", "CallbackUrl": deployment.stack.callback_url(), "CredentialsRevision": revision });
        let created = deployment.request_with("Create", None, properties("1")).await;
        assert_eq!(created["Status"], "SUCCESS", "{created}");
        let right = deployment.stack.cloud.secrets.current(CONTACT_CENTER_SECRET);
        let mut wrong = right.clone();
        wrong[field] = "wrong".into();
        deployment.stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &wrong);
        let updated = deployment.request_with("Update", Some(NAME), properties("2")).await;
        assert_eq!(updated["Status"], "FAILED", "{authentication:?}: {updated}");
        assert!(updated["Reason"].as_str().unwrap().contains("status 40"), "{updated}");

        // The roll-back.
        deployment.stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &right);
        let rolled_back = deployment.request_with("Update", Some(NAME), properties("1")).await;
        assert_eq!(rolled_back["Status"], "SUCCESS", "{authentication:?}: {rolled_back}");
        deployment.stack.finish().await;
    }
}

#[tokio::test]
async fn an_update_with_the_same_credentials_keeps_the_token() {
    let deployment = Deployment::with(Authentication::ClientCredentials).await;
    deployment.succeeds("Create", None, "101").await;
    let token = deployment.stack.cloud.secrets.current(CONTACT_CENTER_TOKEN_SECRET);
    deployment.succeeds("Update", Some(NAME), "102").await;
    assert_eq!(deployment.stack.cloud.secrets.current(CONTACT_CENTER_TOKEN_SECRET), token);
    deployment.stack.finish().await;
}

#[tokio::test]
async fn a_token_endpoint_that_fails_for_a_moment_is_asked_again() {
    let deployment = Deployment::with(Authentication::ClientCredentials).await;
    deployment.stack.cloud.secrets.set(CONTACT_CENTER_TOKEN_SECRET, &json!({}));
    deployment.stack.function(deployment::REGISTER_CHANNEL).recycle();
    deployment.stack.contact_center.fail_next("POST", "token", false);
    deployment.succeeds("Create", None, "101").await;
    deployment.stack.finish().await;
}

#[tokio::test]
async fn a_channel_id_is_adopted_changed_and_given_back() {
    let deployment = Deployment::start().await;
    let foreign = |name: &str| deployment.stack.contact_center.add_foreign(name, &format!("https://{name}.example/"));
    let ((_, sales), (_, support)) = (foreign("sales"), foreign("support"));
    let before = deployment.stack.contact_center.registered();
    let uri = |name: &str| {
        let (webhooks, _) = deployment.stack.contact_center.registered();
        let webhook = webhooks.into_iter().find(|webhook| webhook["name"] == name).expect("the webhook exists");
        webhook["uri"].as_str().unwrap().to_owned()
    };
    let properties = |channel_id: &str| json!({ "QueueId": "", "ChannelId": channel_id, "CallbackUrl": deployment.stack.callback_url() });
    let succeeds = async |request_type: &str, id: Option<&str>, properties: Value| {
        let response = deployment.request_with(request_type, id, properties).await;
        assert_eq!(response["Status"], "SUCCESS", "{response}");
        response
    };
    let created = succeeds("Create", None, properties(&sales)).await;
    assert_eq!(created["Data"]["ChannelId"], *sales);
    assert_eq!(uri("sales"), deployment.stack.callback_url());

    // A channel that does not exist is refused before the former one is released.
    assert_eq!(deployment.request_with("Update", Some(NAME), properties("nowhere")).await["Status"], "FAILED");
    assert_eq!(uri("sales"), deployment.stack.callback_url());
    succeeds("Update", Some(NAME), properties(&sales)).await;

    // 8x8 fails for a moment while the former one is given back.
    deployment.stack.contact_center.fail_next("PUT", "webhooks", false);
    succeeds("Update", Some(NAME), properties(&support)).await;
    assert_eq!(
        (uri("sales").as_str(), uri("support").as_str()),
        ("https://sales.example/", deployment.stack.callback_url())
    );
    succeeds("Delete", Some(NAME), properties(&support)).await;
    assert_eq!(deployment.stack.contact_center.registered(), before);

    // From our own to an adopted one, and back.
    succeeds("Create", None, json!({ "QueueId": "101", "CallbackUrl": deployment.stack.callback_url() })).await;
    succeeds("Update", Some(NAME), properties(&sales)).await;
    assert_eq!(deployment.stack.contact_center.registered().0.len(), 2, "our own is removed");
    succeeds("Update", Some(NAME), json!({ "QueueId": "101", "CallbackUrl": deployment.stack.callback_url() })).await;
    assert_eq!(uri("sales"), "https://sales.example/");
    deployment.succeeds("Delete", Some(NAME), "101").await;
    assert_eq!(deployment.stack.contact_center.registered(), before);
    deployment.stack.finish().await;
}

/// A callback URL that answers 503 to the first `unready` requests and 200 to all later ones, as an HTTP API's stage does
/// while it is deployed.
fn late_callback_url(unready: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/v1/liveAgent/receiveMessage", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !request.windows(15).any(|part| part == b"WEB_HOOK_VERIFY") {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend_from_slice(&piece[..count]),
                }
            }
            let status = if number < unready { "503 Service Unavailable" } else { "200 OK" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    url
}

#[tokio::test]
async fn eight_by_eight_is_asked_only_once_the_callback_url_answers() {
    let deployment = Deployment::start().await;
    // More than the three times that 8x8 would be asked without a probe.
    let properties = json!({ "QueueId": "101", "CallbackUrl": late_callback_url(5) });
    let created = deployment.request_with("Create", None, properties).await;
    assert_eq!(created["Status"], "SUCCESS", "{created}");
    assert_eq!(deployment.stack.logged("8x8 is asked again"), 0, "8x8's first call was answered");
    deployment.stack.finish().await;
}
