//! How long the functions use keys and secrets, and what they do while 8x8's key endpoint or Secrets Manager is slow, wrong or
//! hanging. The functions' clock is set ahead.

use std::time::{Duration, Instant};

use contact_center::Fault;
use contact_center::signer::{Claims, Signer};
use http::StatusCode;
use sandbox::SandboxSettings;
use simulation::faults::When;

use crate::support::{Headers, PATIENCE, Stack, message, now_millis, received};

/// Far below the time-outs of a key (3 s) and of two secrets (14 s). One event may wait for half a second, and on a busy machine
/// for its turn.
const SOON: Duration = Duration::from_secs(2);

const MINUTE: Duration = Duration::from_secs(60);

/// One process of each function, with a clock that can be set.
async fn stack() -> Stack {
    Stack::with(SandboxSettings { has_clock: true, concurrency: 1, ..SandboxSettings::default() }).await
}

/// What is signed beside the body at that time.
fn claims(stack: &Stack, ahead: Duration) -> Claims {
    Claims { transmission_time: now_millis() + ahead.as_millis(), ..stack.claims() }
}

/// Sets the clock, and posts an event that `signer` signs at that time.
async fn post(stack: &Stack, signer: &Signer, ahead: Duration) -> StatusCode {
    stack.set_clock_ahead(ahead);
    let body = message("c");
    stack.post(&signer.headers(body.as_bytes(), &claims(stack, ahead)), body).await.status()
}

/// The same with 8x8's own key.
async fn post_genuine(stack: &Stack, ahead: Duration) -> StatusCode {
    post(stack, stack.contact_center.signer(), ahead).await
}

/// An event that names the key `key_id` and is signed by another.
fn forged(stack: &Stack, forger: &Signer, key_id: &str) -> Headers {
    let (body, claims) = (message("c"), claims(stack, Duration::ZERO));
    let header = format!(r#"{{"b64":false,"crit":["b64"],"kid":"{key_id}","alg":"RS256"}}"#);
    let mut headers = forger.headers(body.as_bytes(), &claims);
    let signature = headers.last_mut().expect("the signature is the last header");
    signature.1 = forger.sign(&header, body.as_bytes(), &claims);
    headers
}

#[tokio::test]
async fn a_key_that_8x8_has_just_published_is_accepted_five_seconds_after_it_was_unknown() {
    let stack = stack().await;
    let new = Signer::new();
    assert_eq!(post(&stack, &new, Duration::ZERO).await, StatusCode::UNAUTHORIZED);
    stack.contact_center.publish_key(&new);
    assert_eq!(post(&stack, &new, Duration::from_secs(5)).await, StatusCode::OK);
    stack.finish().await;
}

#[tokio::test]
async fn invented_keys_cost_8x8_ten_calls_and_then_one_in_five_seconds() {
    let stack = stack().await;
    assert_eq!(post_genuine(&stack, Duration::ZERO).await, StatusCode::OK);
    let (before, begun) = (stack.contact_center.key_requests(), Instant::now());
    let (forger, mut refused) = (Signer::new(), Vec::new());
    for n in 0..40 {
        refused.push(stack.post(&forged(&stack, &forger, &format!("invented-{n}")), message("c")).await.status());
        assert_eq!(post_genuine(&stack, Duration::ZERO).await, StatusCode::OK, "a known key");
    }
    let asked = stack.contact_center.key_requests() - before;
    // 8x8's own key, which was unknown too, had one of the ten.
    let most = 9 + begun.elapsed().as_secs() / 5 + 1;
    assert!(asked >= 9 && asked as u64 <= most, "{asked} calls");
    // Where 8x8 is not asked, nothing is known of the sender.
    let unauthorized = refused.iter().filter(|status| **status == StatusCode::UNAUTHORIZED).count();
    let unavailable = refused.iter().filter(|status| **status == StatusCode::SERVICE_UNAVAILABLE).count();
    assert_eq!((unauthorized, unavailable), (asked, 40 - asked));
    stack.finish().await;
}

#[tokio::test]
async fn an_unknown_key_that_is_named_again_and_again_is_asked_for_once_in_five_seconds() {
    let stack = stack().await;
    let (before, begun) = (stack.contact_center.key_requests(), Instant::now());
    let forger = Signer::new();
    for _ in 0..30 {
        let status = stack.post(&forged(&stack, &forger, "invented"), message("c")).await.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let asked = (stack.contact_center.key_requests() - before) as u64;
    assert!(asked <= 1 + begun.elapsed().as_secs() / 5 + 1, "{asked} calls");
    stack.finish().await;
}

#[tokio::test]
async fn one_404_for_a_key_that_worked_refuses_no_event() {
    let stack = stack().await;
    assert_eq!(post_genuine(&stack, Duration::ZERO).await, StatusCode::OK);
    let before = stack.contact_center.key_requests();
    stack.fault(Fault::KeysGone, When::Next(1));
    for minutes in [61, 62, 63, 70] {
        assert_eq!(post_genuine(&stack, minutes * MINUTE).await, StatusCode::OK, "after {minutes} minutes");
    }
    assert_eq!(stack.contact_center.key_requests() - before, 2, "the one that got a 404, and one a minute later");
    stack.finish().await;
}

#[tokio::test]
async fn a_key_that_8x8_withdraws_is_refused_within_the_hour() {
    let stack = stack().await;
    assert_eq!(post_genuine(&stack, Duration::ZERO).await, StatusCode::OK);
    stack.contact_center.withdraw_key(stack.contact_center.signer().key_id());
    for minutes in [54, 55, 59] {
        assert_eq!(post_genuine(&stack, minutes * MINUTE).await, StatusCode::OK, "after {minutes} minutes");
    }
    assert_eq!(post_genuine(&stack, 60 * MINUTE).await, StatusCode::UNAUTHORIZED);
    stack.finish().await;
}

#[tokio::test]
async fn another_key_under_the_same_id_is_accepted_at_once_and_forgers_cost_8x8_one_call_in_five_seconds() {
    let stack = stack().await;
    assert_eq!(post_genuine(&stack, Duration::ZERO).await, StatusCode::OK);
    let key_id = stack.contact_center.signer().key_id();
    let replaced = Signer::new().with_key_id(key_id);
    stack.contact_center.publish_key(&replaced);
    assert_eq!(post(&stack, &replaced, Duration::ZERO).await, StatusCode::OK);
    assert_eq!(post_genuine(&stack, Duration::ZERO).await, StatusCode::UNAUTHORIZED, "the key before");

    let (before, begun) = (stack.contact_center.key_requests(), Instant::now());
    let forger = Signer::new();
    for _ in 0..20 {
        let status = stack.post(&forged(&stack, &forger, key_id), message("c")).await.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let asked = (stack.contact_center.key_requests() - before) as u64;
    assert!(asked <= begun.elapsed().as_secs() / 5 + 1, "{asked} calls");
    stack.finish().await;
}

#[tokio::test]
async fn no_event_waits_long_for_a_key_endpoint_that_hangs_and_only_one_in_a_minute_waits() {
    let stack = stack().await;
    assert_eq!(post_genuine(&stack, Duration::ZERO).await, StatusCode::OK);
    let before = stack.contact_center.key_requests();
    stack.fault(Fault::KeysHang, When::Share(1.0));
    for n in 0..20 {
        let begun = Instant::now();
        assert_eq!(post_genuine(&stack, 61 * MINUTE).await, StatusCode::OK);
        assert!(begun.elapsed() < SOON, "event {n}: {:?}", begun.elapsed());
    }
    assert_eq!(stack.contact_center.key_requests() - before, 1);
    for minutes in [63, 120, 600] {
        let begun = Instant::now();
        assert_eq!(post_genuine(&stack, minutes * MINUTE).await, StatusCode::OK);
        assert!(begun.elapsed() < SOON, "after {minutes} minutes: {:?}", begun.elapsed());
    }
    stack.finish().await;
}

#[tokio::test]
async fn no_delivery_waits_long_for_a_secrets_manager_that_hangs() {
    let stack = stack().await;
    stack.refresh_tokens().await.expect("the first token");
    let deliver = async |ahead: Duration| {
        let (before, begun) = (received(&stack, "c").len(), Instant::now());
        assert_eq!(post_genuine(&stack, ahead).await, StatusCode::OK);
        let delivered = async {
            while received(&stack, "c").len() == before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, delivered).await.expect("it is delivered");
        begun.elapsed()
    };
    deliver(Duration::ZERO).await;
    let calls = || stack.cloud.calls_of("deliver-message", "secretsmanager");
    let before = calls();
    stack.fault(aws::Fault::SecretsHang, When::Share(1.0));
    for n in 0..10 {
        let took = deliver(6 * MINUTE).await;
        assert!(took < SOON, "event {n}: {took:?}");
    }
    stack.faults.clear();
    assert_eq!(calls(), before, "no call was answered");
    // A minute after the last try, and with a response, the secrets are read again.
    deliver(8 * MINUTE).await;
    assert_eq!(calls() - before, 2, "the credentials and the token");
    stack.finish().await;
}
