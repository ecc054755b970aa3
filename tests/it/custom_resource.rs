//! register-channel as CloudFormation's custom resource: it always answers, and a failed deployment can be repeated.

use std::io::{Read, Write};
use std::net::TcpListener;

use sandbox::SandboxSettings;
use sandbox::cloud_formation::CloudFormation;
use sandbox::contact_center::{Authentication, ContactCenterSettings, FailureKind};
use sandbox::deployment::{CHANNEL_SECRET, CONTACT_CENTER_SECRET, CONTACT_CENTER_TOKEN_SECRET};
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
        Self::with(Authentication::ApiKey).await
    }

    async fn with(authentication: Authentication) -> Self {
        let contact_center = ContactCenterSettings { authentication, ..ContactCenterSettings::default() };
        let bench = Bench::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        bench.invoke_register(json!({ "operation": "deregister" })).await.expect("a clean start");
        Self { bench, cloud_formation: CloudFormation::start().await }
    }

    async fn request(&self, request_type: &str, physical_id: Option<&str>, queue_id: &str) -> Value {
        let properties = json!({ "QueueId": queue_id, "CallbackUrl": self.bench.callback_url() });
        self.request_with(request_type, physical_id, properties).await
    }

    async fn request_with(&self, request_type: &str, physical_id: Option<&str>, mut properties: Value) -> Value {
        properties["ServiceToken"] = "arn".into();
        properties["ServiceTimeout"] = "180".into();
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
    assert_eq!(stack.bench.logged("did not accept the response (status 503)"), 1);
    stack.bench.finish().await;
}

#[tokio::test]
async fn a_load_balancers_url_survives_every_update_that_does_not_change_the_property() {
    let stack = Stack::start().await;
    stack.succeeds("Create", None, "101").await;
    let load_balancer = "https://callbacks.acme.example/v1/liveAgent/receiveMessage";
    let update = json!({ "operation": "update", "callback_url": load_balancer });
    stack.bench.invoke_register(update).await.expect("the URL can be changed");
    stack.succeeds("Update", Some(NAME), "102").await;
    let (webhooks, channels) = stack.bench.contact_center.registered();
    assert_eq!((&webhooks[0]["uri"], &channels[0]["routingOptions"]["id"]), (&json!(load_balancer), &json!("102")));

    // The property changes, so that it is wanted.
    let other = format!("{}?changed", stack.bench.callback_url());
    let properties = json!({ "QueueId": "102", "CallbackUrl": other });
    assert_eq!(stack.request_with("Update", Some(NAME), properties).await["Status"], "SUCCESS");
    assert_eq!(stack.bench.contact_center.registered().0[0]["uri"], other);
    stack.succeeds("Delete", Some(NAME), "102").await;
    assert_eq!(stack.bench.contact_center.registered(), (vec![], vec![]));
    stack.bench.finish().await;
}

#[tokio::test]
async fn a_creation_that_is_rolled_back_leaves_another_stacks_webhook_alone() {
    let stack = Stack::start().await;
    stack.bench.contact_center.add_foreign(NAME, "https://other-stack.example/");
    let before = stack.bench.contact_center.registered();
    let reason = stack.fails("Create", None, "101").await;
    assert!(reason.contains("other-stack.example"), "{reason}");
    stack.succeeds("Delete", Some(NAME), "101").await;
    assert_eq!(stack.bench.contact_center.registered(), before);
    stack.bench.finish().await;
}

#[tokio::test]
async fn a_creation_that_is_cancelled_is_removed_by_the_deletion_that_follows() {
    let stack = Stack::start().await;
    // 8x8 has created the channel, and nothing is saved.
    stack.bench.contact_center.break_next("POST", "channels", FailureKind::Drops, true);
    stack.bench.contact_center.break_next("GET", "channels", FailureKind::Drops, false);
    stack.bench.contact_center.break_next("GET", "channels", FailureKind::Drops, false);
    let function = &stack.bench.functions.register_channel;
    let request = json!({ "operation": "register", "queue_id": "101" });
    let _ = function.invoke(&request).await;
    let _ = function.invoke(&request).await;
    stack.succeeds("Delete", Some(NAME), "101").await;
    assert_eq!(stack.bench.contact_center.registered(), (vec![], vec![]));
    assert_eq!(stack.bench.cloud.secrets.current(CHANNEL_SECRET), json!({}));
    stack.bench.finish().await;
}

#[tokio::test]
async fn a_blank_queue_fails_with_a_clear_reason() {
    let stack = Stack::start().await;
    assert!(stack.fails("Create", None, " ").await.contains("queue_id"));
    stack.succeeds("Delete", Some(NAME), " ").await;
    stack.bench.finish().await;
}

#[tokio::test]
async fn an_8x8_that_fails_for_a_moment_is_asked_again() {
    let stack = Stack::start().await;
    stack.bench.contact_center.fail_next("GET", "webhooks", false);
    stack.bench.contact_center.fail_next("GET", "channels", false);
    stack.succeeds("Create", None, "101").await;
    stack.bench.finish().await;
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
        let stack = Stack::with(authentication).await;
        stack.succeeds("Create", None, "101").await;
        let mut revoked = stack.bench.cloud.secrets.current(CONTACT_CENTER_SECRET);
        revoked[field] = "revoked".into();
        stack.bench.cloud.secrets.set(CONTACT_CENTER_SECRET, &revoked);
        if authentication != Authentication::ApiKey {
            stack.bench.cloud.secrets.set(CONTACT_CENTER_TOKEN_SECRET, &json!({}));
        }
        stack.bench.functions.register_channel.recycle();
        let deleted = stack.succeeds("Delete", Some(NAME), "101").await;
        let reason = deleted["Reason"].as_str().unwrap();
        assert!(reason.contains("left at 8x8") && reason.contains("status 40"), "{authentication:?}: {reason}");
    }
}

/// A warm process has the former credentials, and the token secret a token that was issued for them.
#[tokio::test]
async fn new_credentials_prove_themselves_at_once() {
    for (authentication, field) in LOG_INS {
        let stack = Stack::with(authentication).await;
        let properties = |revision: &str| json!({ "QueueId": "101", "CallbackUrl": stack.bench.callback_url(), "CredentialsRevision": revision });
        let created = stack.request_with("Create", None, properties("1")).await;
        assert_eq!(created["Status"], "SUCCESS", "{created}");
        let right = stack.bench.cloud.secrets.current(CONTACT_CENTER_SECRET);
        let mut wrong = right.clone();
        wrong[field] = "wrong".into();
        stack.bench.cloud.secrets.set(CONTACT_CENTER_SECRET, &wrong);
        let updated = stack.request_with("Update", Some(NAME), properties("2")).await;
        assert_eq!(updated["Status"], "FAILED", "{authentication:?}: {updated}");
        assert!(updated["Reason"].as_str().unwrap().contains("status 40"), "{updated}");

        // The roll-back.
        stack.bench.cloud.secrets.set(CONTACT_CENTER_SECRET, &right);
        let rolled_back = stack.request_with("Update", Some(NAME), properties("1")).await;
        assert_eq!(rolled_back["Status"], "SUCCESS", "{authentication:?}: {rolled_back}");
        stack.bench.finish().await;
    }
}

#[tokio::test]
async fn an_update_with_the_same_credentials_keeps_the_token() {
    let stack = Stack::with(Authentication::ClientCredentials).await;
    stack.succeeds("Create", None, "101").await;
    let token = stack.bench.cloud.secrets.current(CONTACT_CENTER_TOKEN_SECRET);
    stack.succeeds("Update", Some(NAME), "102").await;
    assert_eq!(stack.bench.cloud.secrets.current(CONTACT_CENTER_TOKEN_SECRET), token);
    stack.bench.finish().await;
}

#[tokio::test]
async fn a_token_endpoint_that_fails_for_a_moment_is_asked_again() {
    let stack = Stack::with(Authentication::ClientCredentials).await;
    stack.bench.cloud.secrets.set(CONTACT_CENTER_TOKEN_SECRET, &json!({}));
    stack.bench.functions.register_channel.recycle();
    stack.bench.contact_center.fail_next("POST", "token", false);
    stack.succeeds("Create", None, "101").await;
    stack.bench.finish().await;
}

#[tokio::test]
async fn a_channel_id_is_adopted_changed_and_given_back() {
    let stack = Stack::start().await;
    let foreign = |name: &str| stack.bench.contact_center.add_foreign(name, &format!("https://{name}.example/"));
    let ((_, sales), (_, support)) = (foreign("sales"), foreign("support"));
    let before = stack.bench.contact_center.registered();
    let uri = |name: &str| {
        let (webhooks, _) = stack.bench.contact_center.registered();
        let webhook = webhooks.into_iter().find(|webhook| webhook["name"] == name).expect("the webhook exists");
        webhook["uri"].as_str().unwrap().to_owned()
    };
    let properties =
        |channel_id: &str| json!({ "QueueId": "", "ChannelId": channel_id, "CallbackUrl": stack.bench.callback_url() });
    let succeeds = async |request_type: &str, id: Option<&str>, properties: Value| {
        let response = stack.request_with(request_type, id, properties).await;
        assert_eq!(response["Status"], "SUCCESS", "{response}");
        response
    };
    let created = succeeds("Create", None, properties(&sales)).await;
    assert_eq!(created["Data"]["ChannelId"], *sales);
    assert_eq!(uri("sales"), stack.bench.callback_url());

    // A channel that does not exist is refused before the former one is released.
    assert_eq!(stack.request_with("Update", Some(NAME), properties("nowhere")).await["Status"], "FAILED");
    assert_eq!(uri("sales"), stack.bench.callback_url());
    succeeds("Update", Some(NAME), properties(&sales)).await;

    // 8x8 fails for a moment while the former one is given back.
    stack.bench.contact_center.fail_next("PUT", "webhooks", false);
    succeeds("Update", Some(NAME), properties(&support)).await;
    assert_eq!(
        (uri("sales").as_str(), uri("support").as_str()),
        ("https://sales.example/", stack.bench.callback_url())
    );
    succeeds("Delete", Some(NAME), properties(&support)).await;
    assert_eq!(stack.bench.contact_center.registered(), before);

    // From our own to an adopted one, and back.
    succeeds("Create", None, json!({ "QueueId": "101", "CallbackUrl": stack.bench.callback_url() })).await;
    succeeds("Update", Some(NAME), properties(&sales)).await;
    assert_eq!(stack.bench.contact_center.registered().0.len(), 2, "our own is removed");
    succeeds("Update", Some(NAME), json!({ "QueueId": "101", "CallbackUrl": stack.bench.callback_url() })).await;
    assert_eq!(uri("sales"), "https://sales.example/");
    stack.succeeds("Delete", Some(NAME), "101").await;
    assert_eq!(stack.bench.contact_center.registered(), before);
    stack.bench.finish().await;
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
    let stack = Stack::start().await;
    // More than the three times that 8x8 would be asked without a probe.
    let properties = json!({ "QueueId": "101", "CallbackUrl": late_callback_url(5) });
    let created = stack.request_with("Create", None, properties).await;
    assert_eq!(created["Status"], "SUCCESS", "{created}");
    assert_eq!(stack.bench.logged("8x8 is asked again"), 0, "8x8's first call was answered");
    stack.bench.finish().await;
}
