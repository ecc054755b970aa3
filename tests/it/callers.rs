//! receive-message for callers with two headers: the modes `headers`, `either` and `both`.

use std::time::Duration;

use bytes::Bytes;
use contact_center::signer::Signer;
use http::{Request, StatusCode};
use sandbox::SandboxSettings;
use sandbox::caller::Login;
use sandbox::deployment::{self, CALLER_SECRET, CallbackAuthentication};
use sandbox::soak::{self, Load};
use serde_json::{Value, json};
use simulation::client::Client;
use simulation::faults::When;

use crate::support::{Headers, PATIENCE, Stack, message, now_millis, received};

async fn stack(callback_authentication: CallbackAuthentication) -> Stack {
    Stack::with(SandboxSettings { callback_authentication, ..SandboxSettings::default() }).await
}

/// Posts past the load balancer.
async fn post(stack: &Stack, headers: &Headers, body: &str) -> StatusCode {
    let request = Request::post(stack.api_url(sandbox::RECEIVE_MESSAGE));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    let request = request.body(Bytes::from(body.to_owned())).unwrap();
    Client::new().send(request).await.expect("receive-message answers").status()
}

/// Tokens for a caller that logs in with `login`.
async fn tokens(stack: &Stack, login: &Login) -> Value {
    let body = json!({
        "grant_type": "password", "username": login.username, "password": login.password, "clientid": login.app_token,
    });
    let request = Request::post(stack.api_url(sandbox::TOKEN)).header("content-type", "application/json");
    let response =
        Client::new().send(request.body(body.to_string().into()).unwrap()).await.expect("issue-token answers");
    serde_json::from_slice(response.body()).expect("responses are JSON")
}

/// What a load balancer adds to 8x8's own headers.
async fn callers_headers(stack: &Stack) -> Headers {
    let login = stack.caller_login();
    let access_token = tokens(stack, &login).await["access_token"].as_str().expect("a token").to_owned();
    vec![("x-app-token", login.app_token), ("authorization", format!("Bearer {access_token}"))]
}

/// 8x8's headers but for the signature.
fn of_8x8(stack: &Stack, body: &str) -> Headers {
    stack.signed(body.as_bytes()).into_iter().filter(|(name, _)| *name != "x-8x8-signature").collect()
}

fn joined(one: &Headers, other: &Headers) -> Headers {
    one.iter().chain(other).cloned().collect()
}

/// What each mode makes of what a request proves: signature and headers, each missing, right or wrong.
#[tokio::test]
async fn every_mode_asks_for_what_it_says() {
    use CallbackAuthentication::{Both, Either, Headers as ByHeaders};
    let (yes, no) = (StatusCode::OK, StatusCode::UNAUTHORIZED);
    //                     signature: missing          right          wrong
    //                       headers: miss right wrong  …              …
    for (mode, expected) in [
        (ByHeaders, [no, yes, no, no, yes, no, no, yes, no]),
        (Either, [no, yes, no, yes, yes, yes, no, yes, no]),
        (Both, [no, no, no, no, yes, no, no, no, no]),
    ] {
        let stack = stack(mode).await;
        let right_headers = callers_headers(&stack).await;
        let wrong_headers = vec![right_headers[0].clone(), ("authorization", "Bearer x".to_owned())];
        let mut expected = expected.into_iter();
        for signature in ["missing", "right", "wrong"] {
            for headers in ["missing", "right", "wrong"] {
                let body = message("c");
                let of_8x8 = match signature {
                    "missing" => of_8x8(&stack, &body),
                    "right" => stack.signed(body.as_bytes()),
                    _ => Signer::new().headers(body.as_bytes(), &stack.claims()),
                };
                let of_caller = match headers {
                    "missing" => vec![],
                    "right" => right_headers.clone(),
                    _ => wrong_headers.clone(),
                };
                let status = post(&stack, &joined(&of_8x8, &of_caller), &body).await;
                assert_eq!(status, expected.next().unwrap(), "{mode:?}: signature {signature}, headers {headers}");
            }
        }
        stack.finish().await;
    }
}

/// A verification needs no credential, and none that it carries may be wrong.
#[tokio::test]
async fn a_webhook_verification_passes_unless_a_credential_is_wrong() {
    use CallbackAuthentication::{Both, Either, Headers as ByHeaders};
    let body = r#"{"notificationVersion":"Chat Gateway v1.0","eventType":"WEB_HOOK_VERIFY"}"#;
    for mode in [ByHeaders, Either, Both] {
        let stack = stack(mode).await;
        let right_headers = callers_headers(&stack).await;
        let sent = stack.queues.events.sent();
        let plain = vec![("content-type", "application/json".to_owned())];
        for headers in [plain.clone(), joined(&stack.signed(body.as_bytes()), &right_headers)] {
            assert_eq!(post(&stack, &headers, body).await, StatusCode::OK, "{mode:?}");
        }
        let wrong_headers = joined(&plain, &vec![("x-app-token", "x".to_owned())]);
        assert_eq!(post(&stack, &wrong_headers, body).await, StatusCode::UNAUTHORIZED, "{mode:?}");
        if mode != ByHeaders {
            let wrong_signature = Signer::new().headers(body.as_bytes(), &stack.claims());
            assert_eq!(post(&stack, &wrong_signature, body).await, StatusCode::UNAUTHORIZED, "{mode:?}");
        }
        assert_eq!(stack.queues.events.sent(), sent);
        stack.finish().await;
    }
}

#[tokio::test]
async fn every_wrong_header_is_refused() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let login = stack.caller_login();
    let tokens = tokens(&stack, &login).await;
    let bearer = |token: &str| format!("Bearer {token}");
    let (access, refresh) = (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let body = message("c");
    for (what, app_token, authorization) in [
        ("no app token", None, Some(bearer(access))),
        ("no bearer token", Some(&*login.app_token), None),
        ("another app token", Some("x"), Some(bearer(access))),
        ("an empty app token", Some(""), Some(bearer(access))),
        ("a refresh token", Some(&*login.app_token), Some(bearer(refresh))),
        ("another scheme", Some(&*login.app_token), Some(format!("Basic {access}"))),
        ("the token alone", Some(&*login.app_token), Some(access.to_owned())),
        ("an altered token", Some(&*login.app_token), Some(bearer(&access.replace('.', "..")))),
        ("a cut token", Some(&*login.app_token), Some(bearer(&access[..access.len() - 1]))),
    ] {
        let mut headers = of_8x8(&stack, &body);
        headers.extend(app_token.map(|value| ("x-app-token", value.to_owned())));
        headers.extend(authorization.map(|value| ("authorization", value)));
        assert_eq!(post(&stack, &headers, &body).await, StatusCode::UNAUTHORIZED, "{what}");
    }
    assert_eq!(stack.queues.events.sent(), 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_token_of_another_integration_is_refused() {
    let (one, other) = (stack(CallbackAuthentication::Headers).await, stack(CallbackAuthentication::Headers).await);
    let (headers, body) = (callers_headers(&other).await, message("c"));
    assert_eq!(post(&one, &joined(&of_8x8(&one, &body), &headers), &body).await, StatusCode::UNAUTHORIZED);
    assert_eq!(post(&other, &joined(&of_8x8(&other, &body), &headers), &body).await, StatusCode::OK);
    one.finish().await;
    other.finish().await;
}

#[tokio::test]
async fn the_callers_own_headers_are_not_passed_on() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let (headers, body) = (callers_headers(&stack).await, message("c"));
    assert_eq!(post(&stack, &joined(&of_8x8(&stack, &body), &headers), &body).await, StatusCode::OK);
    assert!(stack.settle(PATIENCE).await);
    let receipts = stack.bot.receipts();
    assert_eq!(receipts["c"][0].headers["x-app-token"], *stack.bot.settings().app_token);
    assert!(receipts["c"][0].headers["authorization"].to_str().unwrap().starts_with("Bearer bot-access-"));
    stack.finish().await;
}

#[tokio::test]
async fn an_event_without_an_id_is_recognised_by_its_body() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let mut headers = callers_headers(&stack).await;
    headers.push(("x-8x8-tenant-id", stack.contact_center.settings().tenant_id.clone()));
    let (one, other) = (message("c"), message("c").replace("timestamp\":1", "timestamp\":2"));
    for body in [&one, &one, &other] {
        assert_eq!(post(&stack, &headers, body).await, StatusCode::OK);
    }
    assert_eq!(stack.queues.events.sent(), 2);
    assert_eq!(stack.queues.events.len(), 2, "the bot platform here wants an id, and gets none");
}

#[tokio::test]
async fn a_foreign_tenant_is_refused_by_its_header_too() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let (headers, body) = (callers_headers(&stack).await, message("c"));
    assert_eq!(post(&stack, &headers, &body).await, StatusCode::UNAUTHORIZED);
    let foreign = joined(&headers, &vec![("x-8x8-tenant-id", "another".to_owned())]);
    assert_eq!(post(&stack, &foreign, &body).await, StatusCode::UNAUTHORIZED);
    stack.finish().await;
}

#[tokio::test]
async fn a_secret_that_is_out_of_reach_is_no_refusal() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let (headers, body) = (callers_headers(&stack).await, message("c"));
    stack.function(deployment::RECEIVE_MESSAGE).recycle();
    stack.fault(aws::Fault::SecretsDown, When::Share(1.0));
    let headers = joined(&of_8x8(&stack, &body), &headers);
    assert_eq!(post(&stack, &headers, &body).await, StatusCode::SERVICE_UNAVAILABLE);
    stack.faults.clear();
    assert_eq!(post(&stack, &headers, &body).await, StatusCode::OK);
    // From now on it is known, and an outage changes nothing.
    stack.fault(aws::Fault::SecretsDown, When::Share(1.0));
    assert_eq!(post(&stack, &headers, &body).await, StatusCode::OK);
    stack.faults.clear();
    stack.finish().await;
}

#[tokio::test]
async fn after_the_start_a_check_needs_no_call() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let (headers, body) = (callers_headers(&stack).await, message("c"));
    assert_eq!(post(&stack, &joined(&of_8x8(&stack, &body), &headers), &body).await, StatusCode::OK);
    let calls = || stack.cloud.calls_of("receive-message", "secretsmanager");
    let before = calls();
    for _ in 0..20 {
        let body = message("c");
        assert_eq!(post(&stack, &joined(&of_8x8(&stack, &body), &headers), &body).await, StatusCode::OK);
    }
    assert_eq!(calls(), before);
    stack.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_callback_waits_long_for_a_secrets_manager_that_hangs() {
    let settings = SandboxSettings {
        callback_authentication: CallbackAuthentication::Headers,
        has_clock: true,
        concurrency: 1,
        ..SandboxSettings::default()
    };
    let stack = Stack::with(settings).await;
    let headers = callers_headers(&stack).await;
    assert_eq!(status(&stack, &headers).await, StatusCode::OK);
    stack.fault(aws::Fault::SecretsHang, When::Share(1.0));
    stack.set_clock_ahead(Duration::from_secs(301));
    for n in 0..10 {
        let begun = std::time::Instant::now();
        assert_eq!(status(&stack, &headers).await, StatusCode::OK);
        assert!(begun.elapsed() < Duration::from_secs(2), "event {n}: {:?}", begun.elapsed());
    }
    stack.faults.clear();
    stack.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_revocation_is_complete_after_five_minutes_in_a_process_that_runs() {
    let settings = SandboxSettings {
        callback_authentication: CallbackAuthentication::Headers,
        has_clock: true,
        concurrency: 1,
        ..SandboxSettings::default()
    };
    let stack = Stack::with(settings).await;
    let headers = callers_headers(&stack).await;
    assert_eq!(status(&stack, &headers).await, StatusCode::OK);
    let not_before = u64::try_from(now_millis() / 1000 + 1).unwrap();
    edit(&stack, json!({ "not_before": not_before }));
    stack.set_clock_ahead(Duration::from_secs(300));
    assert_eq!(status(&stack, &headers).await, StatusCode::UNAUTHORIZED);
    stack.finish().await;
}

/// The headers of a caller that logs in with `login`; without a valid token if that fails.
async fn headers_of(stack: &Stack, login: &Login) -> Headers {
    let tokens = tokens(stack, login).await;
    let access_token = tokens["access_token"].as_str().unwrap_or("none").to_owned();
    vec![("x-app-token", login.app_token.clone()), ("authorization", format!("Bearer {access_token}"))]
}

/// The status of a callback with those headers.
async fn status(stack: &Stack, headers: &Headers) -> StatusCode {
    let body = message("c");
    post(stack, &joined(&of_8x8(stack, &body), headers), &body).await
}

/// Edits the caller secret, as a person does, and gives what callers log in with from now on.
fn edit(stack: &Stack, members: Value) -> Login {
    let mut secret = stack.cloud.secrets.current(CALLER_SECRET);
    secret.as_object_mut().unwrap().append(&mut members.as_object().unwrap().clone());
    stack.cloud.secrets.set(CALLER_SECRET, &secret);
    stack.caller_login()
}

/// Stops the processes that hold the secret in memory.
fn recycle(stack: &Stack) {
    stack.function(deployment::RECEIVE_MESSAGE).recycle();
    stack.function(deployment::ISSUE_TOKEN).recycle();
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_replaced_app_token_and_password_leave_no_gap() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let old = stack.caller_login();
    let before = headers_of(&stack, &old).await;
    assert_eq!(status(&stack, &before).await, StatusCode::OK);

    // The functions still hold the old ones in memory.
    let new = edit(&stack, json!({ "app_token": "new-app-token", "password": "new-password" }));
    assert_eq!(status(&stack, &before).await, StatusCode::OK, "the old ones");
    assert_eq!(status(&stack, &headers_of(&stack, &new).await).await, StatusCode::OK, "the new ones");
    assert_eq!(status(&stack, &headers_of(&stack, &old).await).await, StatusCode::OK, "a new token for the old ones");

    // A day later.
    stack.cloud.secrets.age(CALLER_SECRET, 24 * HOUR);
    recycle(&stack);
    assert_eq!(status(&stack, &before).await, StatusCode::UNAUTHORIZED);
    assert_eq!(tokens(&stack, &old).await["error"], "invalid_client");
    assert_eq!(status(&stack, &headers_of(&stack, &new).await).await, StatusCode::OK);
    stack.finish().await;
}

#[tokio::test]
async fn any_number_of_edits_within_a_day_lock_no_caller_out() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let first = stack.caller_login();
    let before = headers_of(&stack, &first).await;
    assert_eq!(status(&stack, &before).await, StatusCode::OK);
    stack.cloud.secrets.age(CALLER_SECRET, 48 * HOUR);
    let second = edit(&stack, json!({ "app_token": "second-app-token" }));
    stack.cloud.secrets.age(CALLER_SECRET, 12 * HOUR);
    let secret = stack.cloud.secrets.current(CALLER_SECRET);
    stack.cloud.secrets.set(CALLER_SECRET, &json!("a mistake"));
    stack.cloud.secrets.set(CALLER_SECRET, &secret);
    let third = edit(&stack, json!({ "password": "third-password" }));
    let accepted = async |login: &Login| {
        recycle(&stack);
        status(&stack, &headers_of(&stack, login).await).await == StatusCode::OK
    };
    recycle(&stack);
    assert_eq!(status(&stack, &before).await, StatusCode::OK, "the load balancer, which has seen no edit");
    for login in [&first, &second, &third] {
        assert!(accepted(login).await, "{login:?}");
    }
    stack.rotate_signing_key().await.expect("a rotation");
    for login in [&first, &second, &third] {
        assert!(accepted(login).await, "{login:?} after a rotation");
    }
    // A day after the first edit, and half a day after the second.
    stack.cloud.secrets.age(CALLER_SECRET, 12 * HOUR);
    assert!(accepted(&second).await && accepted(&third).await);
    stack.finish().await;
}

#[tokio::test]
async fn each_edit_begins_a_day_of_its_own() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let first = stack.caller_login();
    stack.cloud.secrets.age(CALLER_SECRET, 48 * HOUR);
    let second = edit(&stack, json!({ "app_token": "second-app-token" }));
    stack.cloud.secrets.age(CALLER_SECRET, 12 * HOUR);
    let third = edit(&stack, json!({ "app_token": "third-app-token" }));
    stack.cloud.secrets.age(CALLER_SECRET, 12 * HOUR);
    recycle(&stack);
    assert_eq!(tokens(&stack, &first).await["error"], "invalid_client");
    for login in [&second, &third] {
        assert_eq!(status(&stack, &headers_of(&stack, login).await).await, StatusCode::OK, "{login:?}");
    }
    stack.finish().await;
}

#[tokio::test]
async fn not_before_revokes_all_tokens_and_replaced_logins() {
    let stack = stack(CallbackAuthentication::Headers).await;
    let stolen = stack.caller_login();
    let stolen_tokens = tokens(&stack, &stolen).await;
    let bearer = format!("Bearer {}", stolen_tokens["access_token"].as_str().unwrap());
    let stolen_headers = vec![("x-app-token", stolen.app_token.clone()), ("authorization", bearer)];
    assert_eq!(status(&stack, &stolen_headers).await, StatusCode::OK);
    // A rotation moves the key under `superseded`.
    stack.rotate_signing_key().await.expect("a rotation");

    let not_before = now_millis() / 1000 + 1;
    let new = edit(&stack, json!({ "not_before": u64::try_from(not_before).unwrap(), "password": "new-password" }));
    recycle(&stack);
    let refresh = async || {
        let refresh_token = stolen_tokens["refresh_token"].as_str().unwrap();
        let form = format!("grant_type=refresh_token&refresh_token={refresh_token}&clientid={}", stolen.app_token);
        let request = Request::post(stack.api_url(sandbox::TOKEN));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.into()).unwrap();
        let response = Client::new().send(request).await.expect("issue-token answers");
        serde_json::from_slice::<Value>(response.body()).unwrap()["error"].clone()
    };
    for revoked in ["at once", "after a rotation"] {
        assert_eq!(status(&stack, &stolen_headers).await, StatusCode::UNAUTHORIZED, "{revoked}");
        assert_eq!(refresh().await, "invalid_grant", "{revoked}");
        assert_eq!(tokens(&stack, &stolen).await["error"], "invalid_grant", "{revoked}");
        stack.rotate_signing_key().await.expect("a rotation");
        recycle(&stack);
    }
    // Tokens of the same second are revoked too.
    let accepted = async { while status(&stack, &headers_of(&stack, &new).await).await != StatusCode::OK {} };
    tokio::time::timeout(PATIENCE, accepted).await.expect("new tokens are accepted");
    stack.finish().await;
}

/// `{"iss":"sandbox","kind":"access","iat":1700000000,"exp":4000000000,"jti":"forged"}`, signed with the empty key.
const SIGNED_WITH_THE_EMPTY_KEY: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJzYW5kYm94Iiwia2luZCI6ImFjY2VzcyIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjo0MDAwMDAwMDAwLCJqdGkiOiJmb3JnZWQifQ.1iMUCclaFxDT5FjhiHv_vII5hOoTHRSrc5wTPe61xY8";

#[tokio::test]
async fn a_blank_or_short_signing_key_accepts_nothing_until_a_rotation_replaces_it() {
    let stack = stack(CallbackAuthentication::Headers).await;
    for key in ["", "  ", &*"k".repeat(31)] {
        let login = edit(&stack, json!({ "signing_key": key }));
        recycle(&stack);
        let forged = vec![
            ("x-app-token", login.app_token.clone()),
            ("authorization", format!("Bearer {SIGNED_WITH_THE_EMPTY_KEY}")),
        ];
        assert_eq!(status(&stack, &forged).await, StatusCode::SERVICE_UNAVAILABLE, "{key:?}");
        assert_eq!(tokens(&stack, &login).await["error"], "temporarily_unavailable", "{key:?}");
        assert!(stack.logged("a `signing_key` of at least 32 bytes: rotate it, and a key is generated") > 0);

        stack.rotate_signing_key().await.expect("a rotation");
        assert_eq!(status(&stack, &forged).await, StatusCode::UNAUTHORIZED, "{key:?}");
        assert_eq!(status(&stack, &headers_of(&stack, &login).await).await, StatusCode::OK, "{key:?}");
    }
    stack.finish().await;
}

/// Ten thousand callbacks through the load balancer. In their middle the key is rotated, signs at once, and the load
/// balancer gets tokens of it, while most processes of receive-message still hold the secret as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_in_the_middle_of_ten_thousand_requests_refuses_none() {
    let stack = Stack::with(SandboxSettings {
        callback_authentication: CallbackAuthentication::Headers,
        concurrency: 4,
        ..SandboxSettings::default()
    })
    .await;
    let load = Load { conversations: 1000, events: 10, patience: PATIENCE * 5, rate: None };
    let rotations = async {
        for rotation in 1..=3 {
            while stack.bot.received() < rotation * 2500 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            stack.rotate_signing_key().await.expect("a rotation");
            stack.cloud.secrets.age(CALLER_SECRET, Duration::from_secs(3600));
            stack.function(deployment::ISSUE_TOKEN).recycle();
            stack.load_balancer.caller.forget_tokens().await;
        }
    };
    let (verdict, ()) = tokio::join!(soak::play(&stack, &stack.channel_id, load), rotations);
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!(verdict.accepted, 10_000);
    assert_eq!(stack.logged(r#""EventsRefused""#), 0);
    assert_eq!(stack.contact_center.retries(), 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_load_balancer_that_refreshes_in_time_carries_a_hand_over() {
    let stack = stack(CallbackAuthentication::Both).await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    for _ in 0..3 {
        stack.load_balancer.caller.refresh_now().await;
        conversation.writes("agent", "confidential");
        assert!(stack.settle(PATIENCE).await);
    }
    assert_eq!(received(&stack, conversation.id()).len(), 3);
    stack.finish().await;
}
