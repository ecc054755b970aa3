//! What is wrong at 8x8, or on the way from there.

use bytes::Bytes;
use contact_center::signer::Claims;
use http::StatusCode;
use sandbox::SandboxSettings;
use sandbox::deployment::{BOT_TOKEN_SECRET, CHECK_INTEGRATION, CallbackAuthentication};
use serde_json::json;

use crate::support::message;

use super::{CheckedStack, Edit, row};

#[tokio::test]
async fn a_wrong_tenant_or_none_is_named_with_the_tenant_of_the_last_event() {
    let mut checked = CheckedStack::start().await;
    for (tenant, status, found) in
        [("wrong", "failed", "rejects the tenant `wrong`"), ("", "warning", "no tenant is set")]
    {
        checked.variables.insert("CONTACT_CENTER_TENANT_ID", tenant.to_owned());
        let action = checked.suffers("tenant", status, found).await;
        assert!(action.contains("TenantId=sandboxtenant"), "{action}");
        checked.is_cured_by(&action).await;
    }
    // 8x8 sends events of another tenant.
    let body = Bytes::from(message("foreign"));
    let claims = Claims { tenant_id: "another".to_owned(), ..checked.stack.claims() };
    let headers = checked.stack.contact_center.signer().headers(&body, &claims);
    assert_eq!(checked.stack.post(&headers, body).await.status(), StatusCode::UNAUTHORIZED);
    checked.until_logged("foreign-tenant\",\"tenant_id\"", 1).await;
    let action = checked.suffers("tenant", "failed", "events of `another` are refused").await;
    assert!(action.contains("TenantId=another"), "{action}");
    checked.leaves().await;
}

#[tokio::test]
async fn what_an_administrator_changed_at_8x8_is_named() {
    let mut checked = CheckedStack::start().await;
    let cases: [(&str, &str, Edit); 6] = [
        ("webhook", "does not exist", |stack| stack.contact_center.remove(&stack.webhook_id())),
        ("webhook", "other.example", |stack| {
            stack.contact_center.repoint(&stack.webhook_id(), "https://other.example/?token=confidential");
        }),
        ("channel", "does not exist", |stack| stack.contact_center.remove(&stack.registered_channel())),
        ("channel", "channel_webhook_id", |stack| {
            let (webhook_id, _) = stack.contact_center.add_foreign("another", "https://another.example/");
            stack.contact_center.move_channel(&stack.registered_channel(), &webhook_id);
        }),
        ("channel", "queue_id is `102` instead of `101`", |stack| {
            stack.contact_center.reroute(&stack.registered_channel(), "102")
        }),
        ("channel", "channel_name", |stack| stack.contact_center.rename(&stack.registered_channel(), "renamed")),
    ];
    for (check, found, change) in cases {
        change(&checked.stack);
        let action = checked.suffers(check, "failed", found).await;
        checked.is_cured_by(&action).await;
    }
    checked.leaves().await;
}

#[tokio::test]
async fn what_is_not_registered_or_cannot_be_reached_is_named() {
    let mut checked = CheckedStack::start().await;
    checked.stack.invoke_register(json!({ "operation": "deregister" })).await.expect("a removal");
    let action = checked.suffers("registration", "failed", "nothing is registered").await;
    checked.is_cured_by(&action).await;

    let elsewhere = json!({ "operation": "update", "callback_url": "http://127.0.0.1:9/v1/liveAgent/receiveMessage" });
    checked.stack.invoke_register(elsewhere).await.expect("an update");
    let action = checked.suffers("callback", "failed", "8x8 gets no 2xx from 127.0.0.1").await;
    checked.is_cured_by(&action).await;
    checked.leaves().await;
}

#[tokio::test]
async fn a_wrong_endpoint_is_named() {
    let mut checked = CheckedStack::start().await;
    let nowhere = format!(
        "{}nowhere/",
        checked.stack.function(CHECK_INTEGRATION).settings().variables["CONTACT_CENTER_ENDPOINT"]
    );
    for (check, variable, value, found) in [
        ("contact-center", "CONTACT_CENTER_ENDPOINT", "http://127.0.0.1:9/", "no connection"),
        ("contact-center", "CONTACT_CENTER_ENDPOINT", &nowhere, "404"),
        ("bot-platform", "BOT_ENDPOINT", "http://127.0.0.1:9/", "no connection"),
        ("bot-platform", "BOT_ENDPOINT", &checked.stack.api_url("/nowhere"), "status 404"),
    ] {
        checked.variables.insert(variable, value.to_owned());
        let action = checked.suffers(check, "failed", found).await;
        checked.is_cured_by(&action).await;
    }
    // At first there is no token yet: the token endpoint says that there is none, which is no refusal of the credentials.
    checked.stack.cloud.secrets.set(BOT_TOKEN_SECRET, &json!({}));
    checked.variables.insert("BOT_ENDPOINT", checked.stack.api_url("/nowhere"));
    let report = checked.report().await;
    assert_eq!(row(&report, "bot-platform")["status"], "failed", "{report:#}");
    assert_eq!(row(&report, "bot-log-in")["status"], "skipped", "{report:#}");
    checked.leaves().await;
}

#[tokio::test]
async fn a_load_balancer_without_our_headers_is_named() {
    let callback_authentication = CallbackAuthentication::Both;
    let checked = CheckedStack::with(SandboxSettings { callback_authentication, ..SandboxSettings::default() }).await;
    // 8x8's event reaches us as the load balancer passes it on: past it.
    let body = Bytes::from(message("headers"));
    let signed = checked.stack.signed(&body);
    let request =
        signed.iter().fold(http::Request::post(checked.stack.api_url(sandbox::RECEIVE_MESSAGE)), |request, header| {
            request.header(header.0, &header.1)
        });
    let refused = simulation::client::Client::new().send(request.body(body).unwrap()).await.expect("a response");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    checked.until_logged("no-credentials", 1).await;
    let action = checked.suffers("refused-events", "failed", "1 × no-credentials").await;
    assert!(action.contains("x-app-token") && action.contains("CallerSecretArn"), "{action}");
    // It adds them again.
    checked.an_event_arrives().await;
    checked.is_well().await;
    checked.leaves().await;
}
