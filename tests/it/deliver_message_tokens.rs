//! deliver-message and its access token: what it does when tokens are refused, short-lived, or cannot be stored.

use std::time::Duration;

use bytes::Bytes;
use contact_center::Conversation;
use http::{Response, StatusCode};
use sandbox::SandboxSettings;
use sandbox::deployment::BOT_TOKEN_SECRET;
use serde_json::json;
use simulation::faults::When;

use crate::stand_in::{StandIn, response};
use crate::support::{PATIENCE, Stack, received, wait_until};

/// One process of deliver-message, to which a message that was given back comes again 60 times sooner than in life.
fn one_process() -> SandboxSettings {
    SandboxSettings { time_scale: 60, concurrency: 1, ..SandboxSettings::default() }
}

fn message(conversation: &Conversation) -> String {
    let body =
        json!({ "eventType": "MESSAGE", "conversationId": conversation.id(), "data": { "text": "confidential" } });
    conversation.event("MESSAGE", body.to_string())
}

/// A bot platform that responds to a log-in with that body, and to an event with `delivery`.
async fn bot(token: &'static str, delivery: impl Fn() -> Response<Bytes> + Send + Sync + 'static) -> StandIn {
    StandIn::start(move |parts, _| match parts.uri.path().ends_with("/token") {
        true => response(StatusCode::OK, &[("content-type", b"application/json")], token),
        false => delivery(),
    })
    .await
}

/// What the stand-in got: log-ins and events.
fn log_ins_and_events(bot: &StandIn) -> (usize, usize) {
    let requests = bot.take();
    let log_ins = requests.iter().filter(|(parts, _)| parts.uri.path().ends_with("/token")).count();
    (log_ins, requests.len() - log_ins)
}

/// `{"access_token":"bot-access-new","token_type":"bearer","expires_in":3600}`, packed with gzip.
const PACKED_TOKEN: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xabVJLNN-.\x8e/\xc9\xcfN\xcdS\xb2RJ\xca/\xd1\x85\x08\xe9\xe6\xa5\x96+\xe9(\x81%\xe2K*\x0bRA\xb2\xa9\x89E\xa9E@\xd1\xd4\x8a\x82\xcc\xa2\xd4\xe2\xf8L\xa0\x1ec3\x03\x83Z\0\xa4v\xcf\xf2I\0\0\0";

#[tokio::test]
async fn what_the_bot_platform_packs_unasked_is_unpacked() {
    // Of the response to an event only the status counts, whatever is the matter with its body.
    for body in [PACKED_TOKEN, b"not gzip", b""] {
        let bot = StandIn::start(move |parts, _| {
            assert_eq!(parts.headers["accept-encoding"], "identity", "it is unasked");
            let body = if parts.uri.path().ends_with("/token") { PACKED_TOKEN } else { body };
            response(StatusCode::OK, &[("content-type", b"application/json"), ("content-encoding", b"gzip")], body)
        })
        .await;
        let stack = Stack::with(SandboxSettings { bot_endpoint: Some(bot.url()), ..one_process() }).await;
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        message(&conversation);
        assert!(stack.settle(PATIENCE).await);
        let requests = bot.take();
        assert_eq!(requests.len(), 2, "one log-in, and the event once");
        assert_eq!(requests[1].0.headers["authorization"], "Bearer bot-access-new");
        assert_eq!(stack.logged(r#""step":"delivered""#), 1);
    }
}

#[tokio::test]
async fn an_event_that_stays_forbidden_does_not_keep_others_from_logging_in() {
    let stack = Stack::with(one_process()).await;
    stack.refresh_tokens().await.expect("the first token");
    let (forbidden, other) = (
        stack.contact_center.open_conversation(&stack.channel_id),
        stack.contact_center.open_conversation(&stack.channel_id),
    );
    stack.bot.refuse_conversation(forbidden.id(), 403, None);
    let first = message(&forbidden);
    // The stored token, a new one, and the stored one again: logging in has turned out to be futile.
    wait_until(|| stack.bot.refused_with(403) >= 3).await;
    assert_eq!(stack.bot.grants("password"), 2);
    stack.bot.revoke_access_tokens();
    let sent = message(&other);
    wait_until(|| received(&stack, other.id()) == [sent.clone()]).await;
    assert!(stack.bot.grants("password") <= 4, "{}", stack.bot.grants("password"));
    stack.bot.take_conversation(forbidden.id());
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, forbidden.id()), [first]);
    stack.finish().await;
}

#[tokio::test]
async fn an_event_that_stays_forbidden_while_others_are_accepted_goes_to_the_dead_letters() {
    let stack = Stack::with(one_process()).await;
    stack.refresh_tokens().await.expect("the first token");
    let (forbidden, other) = (
        stack.contact_center.open_conversation(&stack.channel_id),
        stack.contact_center.open_conversation(&stack.channel_id),
    );
    stack.bot.refuse_conversation(forbidden.id(), 403, None);
    message(&forbidden);
    wait_until(|| stack.bot.refused_with(403) >= 2).await;
    let traffic = async {
        while stack.queues.dead_letters.is_empty() {
            let (accepted, refused) = (received(&stack, other.id()).len(), stack.bot.refused_with(403));
            message(&other);
            wait_until(|| received(&stack, other.id()).len() > accepted).await;
            wait_until(|| stack.bot.refused_with(403) > refused || !stack.queues.dead_letters.is_empty()).await;
        }
    };
    tokio::time::timeout(PATIENCE, traffic).await.expect("the event is given up");
    assert!(received(&stack, other.id()).len() >= 5, "not before other events were accepted again and again");
    let dead = stack.queues.dead_letters.contents();
    assert_eq!(dead[0].message_attributes["status"]["StringValue"], "403");
    assert_eq!(stack.bot.grants("password"), 2, "one log-in was tried for it");

    stack.bot.take_conversation(forbidden.id());
    let next = message(&forbidden);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, forbidden.id()), [next], "its conversation goes on");
    stack.finish().await;
}

#[tokio::test]
async fn a_token_that_cannot_be_stored_is_used_from_memory() {
    let stack = Stack::with(one_process()).await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    // The log-in has ended when the event is delivered, and the token is stored after that.
    stack.bot.delay_responses(None, Duration::from_secs(1));
    let mut sent = vec![message(&conversation)];
    wait_until(|| stack.bot.received() == 1).await;
    stack.fault(aws::Fault::SecretsDown, When::For(Duration::from_secs(60)));
    wait_until(|| stack.logged("cannot be stored") == 1).await;
    stack.faults.clear();
    stack.bot.answer_at_once();
    for _ in 0..3 {
        sent.push(message(&conversation));
        assert!(stack.settle(PATIENCE).await);
    }
    assert_eq!(received(&stack, conversation.id()), sent);
    assert_eq!(stack.bot.grants("password"), 1);
    assert_eq!(stack.cloud.secrets.current(BOT_TOKEN_SECRET), json!({}));
    assert_eq!(stack.logged("tried again"), 0, "no event had to wait");
    stack.finish().await;
}

#[tokio::test]
async fn short_lived_tokens_cost_neither_a_log_in_nor_a_secret_version_for_every_event() {
    const TOKENS: [&str; 2] = [
        r#"{"access_token":"bot-access-short","token_type":"bearer","expires_in":0}"#,
        r#"{"access_token":"bot-access-short","token_type":"bearer","expires_in":30}"#,
    ];
    for token in TOKENS {
        let bot = bot(token, || response(StatusCode::OK, &[], "")).await;
        let stack = Stack::with(SandboxSettings { bot_endpoint: Some(bot.url()), ..one_process() }).await;
        let versions = stack.cloud.secrets.versions(BOT_TOKEN_SECRET);
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        for _ in 0..6 {
            message(&conversation);
            assert!(stack.settle(PATIENCE).await);
        }
        let (log_ins, events) = log_ins_and_events(&bot);
        assert_eq!(events, 6);
        // One, or two on a machine that needs ten seconds for this.
        assert!(log_ins <= 2, "{log_ins} log-ins with {token}");
        assert_eq!(stack.cloud.secrets.versions(BOT_TOKEN_SECRET), versions, "{token}");
    }
}

#[tokio::test]
async fn a_success_with_more_than_100_headers_is_a_success() {
    let bot = bot(r#"{"access_token":"bot-access-a","expires_in":3600}"#, || {
        let names: Vec<_> = (0..1000).map(|n| format!("x-header-{n}")).collect();
        let headers: Vec<_> = names.iter().map(|name| (name.as_str(), b"1".as_slice())).collect();
        response(StatusCode::OK, &headers, "")
    })
    .await;
    let stack = Stack::with(SandboxSettings { bot_endpoint: Some(bot.url()), ..one_process() }).await;
    message(&stack.contact_center.open_conversation(&stack.channel_id));
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(log_ins_and_events(&bot), (1, 1));
    assert_eq!(stack.logged(r#""step":"delivered""#), 1);
}
