//! Which 8x8 tenant's events are accepted: one key of 8x8 signs for many tenants.

use std::time::Duration;

use contact_center::signer::Claims;
use http::StatusCode;
use sandbox::SandboxSettings;
use sandbox::deployment::{CallbackAuthentication, RECEIVE_MESSAGE};

use crate::support::{PATIENCE, Stack, message, received};

const COUNTED: &str = r#""EventsWithoutTenantCheck":1"#;
const WARNING: &str = "CONTACT_CENTER_TENANT_ID is not set";

/// Posts a genuine event of that tenant.
async fn post_of(stack: &Stack, tenant_id: &str) -> StatusCode {
    let body = message("c");
    let claims = Claims { tenant_id: tenant_id.to_owned(), ..stack.claims() };
    let headers = stack.contact_center.signer().headers(body.as_bytes(), &claims);
    stack.post(&headers, body).await.status()
}

/// Blank is unset.
#[tokio::test]
async fn without_a_tenant_id_every_event_counts_and_the_log_says_what_to_do() {
    for tenant_id in ["", "  "] {
        let settings = SandboxSettings { tenant_id: Some(tenant_id), concurrency: 1, ..SandboxSettings::default() };
        let stack = Stack::with(settings).await;
        for tenant_id in ["acmetenant", "acmetenant", "othertenant"] {
            assert_eq!(post_of(&stack, tenant_id).await, StatusCode::OK);
        }
        let verification = r#"{"eventType":"WEB_HOOK_VERIFY"}"#;
        assert_eq!(stack.post_signed(verification).await.status(), StatusCode::OK);
        assert!(stack.settle(PATIENCE).await);
        assert_eq!(received(&stack, "c").len(), 3);
        assert_eq!(stack.function(RECEIVE_MESSAGE).started(), 1);
        assert_eq!(stack.logged(COUNTED), 3, "each event, and no verification");
        assert_eq!(stack.logged(WARNING), 1, "a cold start");
        let logs = stack.logs();
        let mut warnings = logs.iter().filter(|line| line.text.contains("accepted without a check"));
        let first = warnings.next().expect("a warning");
        assert!(first.text.contains(r#""tenant_id":"acmetenant""#), "{}", first.text);
        assert!(warnings.next().is_none(), "the first event of a process");
        stack.finish().await;
    }
}

#[tokio::test]
async fn with_a_tenant_id_no_other_tenant_is_accepted_and_nothing_is_warned_of() {
    let stack = Stack::start().await;
    let own = stack.contact_center.settings().tenant_id.clone();
    assert_eq!(post_of(&stack, &own).await, StatusCode::OK);
    for other in ["acmetenant", &own.to_uppercase(), &format!("{own},{own}"), &format!("{own} x")] {
        assert_eq!(post_of(&stack, other).await, StatusCode::UNAUTHORIZED, "{other}");
    }
    assert_eq!(stack.queues.events.sent(), 1);
    assert_eq!((stack.logged(COUNTED), stack.logged(WARNING)), (0, 0));
    assert_eq!(stack.logged(r#""Reason":"foreign-tenant""#), 4);
    stack.finish().await;
}

/// It is the same in all of them.
#[tokio::test]
async fn with_a_tenant_id_only_the_first_event_of_a_process_is_logged_with_it() {
    let stack = Stack::with(SandboxSettings { concurrency: 1, ..SandboxSettings::default() }).await;
    let own = stack.contact_center.settings().tenant_id.clone();
    for _ in 0..3 {
        assert_eq!(post_of(&stack, &own).await, StatusCode::OK);
    }
    while stack.logged(r#""step":"queued""#) < 3 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(stack.logged(&format!(r#""tenant_id":"{own}""#)), 1);
    stack.finish().await;
}

/// Without a signature the header is only what the load balancer says.
#[tokio::test]
async fn a_load_balancer_may_not_name_two_tenants() {
    let callback_authentication = CallbackAuthentication::Headers;
    let stack = Stack::with(SandboxSettings { callback_authentication, ..SandboxSettings::default() }).await;
    let own = stack.contact_center.settings().tenant_id.clone();
    let body = message("c");
    let plain = vec![("content-type", "application/json".to_owned()), ("x-8x8-event-id", "e".to_owned())];
    for (named, expected) in [
        (vec![], StatusCode::UNAUTHORIZED),
        (vec![own.clone(), "another".to_owned()], StatusCode::UNAUTHORIZED),
        (vec!["another".to_owned(), own.clone()], StatusCode::UNAUTHORIZED),
        (vec![own.clone()], StatusCode::OK),
    ] {
        let mut headers = plain.clone();
        headers.extend(named.iter().map(|tenant| ("x-8x8-tenant-id", tenant.clone())));
        assert_eq!(stack.post(&headers, body.clone()).await.status(), expected, "{named:?}");
    }
    stack.finish().await;
}
