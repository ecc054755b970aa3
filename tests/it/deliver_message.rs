//! deliver-message: every row of its table.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bot_platform::BotPlatformSettings;
use http::StatusCode;
use sandbox::deployment::{self, BOT_SECRET, BOT_TOKEN_SECRET};
use sandbox::{Sandbox, SandboxSettings};
use serde_json::json;
use simulation::faults::When;

use crate::stand_in::{StandIn, delayed, response};
use crate::support::{PATIENCE, Stack, received, wait_until};

/// A message that was given back comes again 60 times sooner than in life.
fn hasty() -> SandboxSettings {
    SandboxSettings { time_scale: 60, ..SandboxSettings::default() }
}

/// Three messages of one conversation; gives their event ids.
fn three_messages(sandbox: &Sandbox, conversation: &contact_center::Conversation) -> Vec<String> {
    let _ = sandbox;
    let body = |n: u32| json!({ "eventType": "MESSAGE", "conversationId": conversation.id(), "data": { "text": format!("confidential {n}") } });
    (0..3).map(|n| conversation.event("MESSAGE", body(n).to_string())).collect()
}

#[tokio::test]
async fn a_2xx_ends_it() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let sent = three_messages(&stack, &conversation);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, conversation.id()), sent);
    assert_eq!((stack.bot.repeats(), stack.queues.dead_letters.len()), (0, 0));
    assert_eq!(stack.logged(r#""step":"delivered""#), 3);
    stack.finish().await;
}

#[tokio::test]
async fn a_revoked_token_is_replaced_by_a_new_log_in_and_stored() {
    let stack = Stack::start().await;
    stack.refresh_tokens().await.expect("the first token");
    let before = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    stack.bot.revoke_access_tokens();
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let sent = three_messages(&stack, &conversation);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, conversation.id()), sent);
    let after = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    assert_ne!(before["access_token"], after["access_token"]);
    assert!(after["refresh_token"].is_string());
    // The one-time refresh token is refresh-tokens' alone.
    assert_eq!((stack.bot.grants("password"), stack.bot.grants("refresh_token")), (2, 0));
    assert_eq!(stack.logged("tried again"), 0, "no event had to wait");
    stack.finish().await;
}

/// A bot platform that takes seven seconds to refuse a token and to issue one: a second try would not end in time.
#[tokio::test]
async fn a_try_that_would_not_end_in_time_is_left_to_the_next_invocation() {
    let is_well = Arc::new(AtomicBool::new(false));
    let bot = {
        let is_well = Arc::clone(&is_well);
        StandIn::start(move |parts, _| {
            let is_log_in = parts.uri.path().ends_with("/token");
            let token = r#"{"access_token":"bot-access-new","token_type":"bearer","expires_in":3600}"#;
            let response = match (is_log_in, is_well.load(Ordering::SeqCst)) {
                (true, _) => response(StatusCode::OK, &[("content-type", b"application/json")], token),
                (false, true) => response(StatusCode::OK, &[], ""),
                (false, false) => response(StatusCode::UNAUTHORIZED, &[], ""),
            };
            let wait = if is_well.load(Ordering::SeqCst) { 0 } else { 7 };
            delayed(response, Duration::from_secs(wait))
        })
        .await
    };
    let settings = SandboxSettings { bot_endpoint: Some(bot.url()), concurrency: 1, ..SandboxSettings::default() };
    let stack = Stack::with(settings).await;
    let token = json!({ "access_token": "bot-access-old", "token_type": "bearer", "issued_at": 1, "expires_at": 4_000_000_000_u64 });
    stack.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let body =
        json!({ "eventType": "MESSAGE", "conversationId": conversation.id(), "data": { "text": "confidential" } });
    conversation.event("MESSAGE", body.to_string());
    while stack.logged("no time left for another try") == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    is_well.store(true, Ordering::SeqCst);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(stack.logged(r#""step":"delivered""#), 1);
    assert_eq!(stack.function(deployment::DELIVER_MESSAGE).started(), 1, "no invocation has timed out");
    // The first try, the log-in, and the try of the next invocation, with the token that was issued in time.
    assert_eq!(bot.take().len(), 3);
}

#[tokio::test]
async fn a_token_that_another_process_has_replaced_is_read_again_without_a_log_in() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    three_messages(&stack, &conversation);
    assert!(stack.settle(PATIENCE).await);
    let log_ins = stack.bot.grants("password");

    // The function still holds the token that is revoked now; refresh-tokens has put another one in its place.
    stack.bot.revoke_access_tokens();
    let mut stored = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    stored["expires_at"] = json!(1);
    stack.cloud.secrets.set(BOT_TOKEN_SECRET, &stored);
    stack.refresh_tokens().await.expect("a refresh");
    let versions = stack.cloud.secrets.versions(BOT_TOKEN_SECRET);

    three_messages(&stack, &conversation);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, conversation.id()).len(), 6);
    assert_eq!((stack.bot.grants("password"), stack.bot.grants("refresh_token")), (log_ins, 1));
    assert_eq!(stack.cloud.secrets.versions(BOT_TOKEN_SECRET), versions);
    stack.finish().await;
}

#[tokio::test]
async fn a_bot_platform_that_refuses_every_token_is_not_stormed() {
    let stack = Stack::with(hasty()).await;
    stack.refresh_tokens().await.expect("the first token");
    let versions = stack.cloud.secrets.versions(BOT_TOKEN_SECRET);
    for status in [401, 403] {
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        stack.bot.refuse_conversation(conversation.id(), status, None);
        let sent = three_messages(&stack, &conversation);
        wait_until(|| stack.bot.refused_with(status) > 8).await;
        stack.bot.take_conversation(conversation.id());
        assert!(stack.settle(PATIENCE).await);
        assert_eq!(received(&stack, conversation.id()), sent);
    }
    let environments = stack.function(deployment::DELIVER_MESSAGE).started();
    assert!(stack.bot.grants("password") <= 1 + environments, "one log-in an environment");
    assert_eq!(stack.cloud.secrets.versions(BOT_TOKEN_SECRET), versions, "what is refused is not stored");
    stack.finish().await;
}

#[tokio::test]
async fn a_changed_app_token_is_found_without_a_restart() {
    let settings = SandboxSettings {
        bot: BotPlatformSettings { app_token: "new-app-token".to_owned(), ..BotPlatformSettings::default() },
        ..hasty()
    };
    let stack = Stack::with(settings).await;
    let right = stack.cloud.secrets.current(BOT_SECRET);
    let mut wrong = right.clone();
    wrong["app_token"] = json!("old-app-token");
    stack.refresh_tokens().await.expect("the first token");
    stack.cloud.secrets.set(BOT_SECRET, &wrong);
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let sent = three_messages(&stack, &conversation);
    wait_until(|| stack.bot.refused_with(401) > 0).await;
    stack.cloud.secrets.set(BOT_SECRET, &right);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, conversation.id()), sent);
    stack.finish().await;
}

#[tokio::test]
async fn before_the_first_refresh_the_first_event_logs_in_itself() {
    let stack = Stack::start().await;
    assert_eq!(stack.cloud.secrets.current(BOT_TOKEN_SECRET), json!({}));
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let sent = three_messages(&stack, &conversation);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, conversation.id()), sent);
    assert!(stack.cloud.secrets.current(BOT_TOKEN_SECRET)["access_token"].is_string());
    assert_eq!(stack.bot.grants("password"), 1);
    stack.finish().await;
}

#[tokio::test]
async fn a_short_failure_is_bridged_within_the_call() {
    let stack = Stack::start().await;
    for fault in [bot_platform::Fault::Status500, bot_platform::Fault::Drops] {
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        stack.fault(fault, When::Next(2));
        let sent = three_messages(&stack, &conversation);
        assert!(stack.settle(PATIENCE).await);
        assert_eq!(received(&stack, conversation.id()), sent, "{fault:?}");
    }
    assert_eq!(stack.logged("tried again"), 0);
    stack.finish().await;
}

#[tokio::test]
async fn retry_after_is_honoured_within_the_call() {
    let stack = Stack::start().await;
    stack.refresh_tokens().await.expect("the first token");
    stack.fault(bot_platform::Fault::Status429, When::Next(1));
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let started = Instant::now();
    three_messages(&stack, &conversation);
    assert!(stack.settle(PATIENCE).await);
    assert!(started.elapsed() >= Duration::from_secs(1), "the bot platform asked for a second");
    assert_eq!(stack.logged("tried again"), 0);
    stack.finish().await;
}

#[tokio::test]
async fn a_lasting_failure_holds_up_its_conversation_and_no_other() {
    for status in [408, 425, 429, 500, 502, 503, 504, 599] {
        let stack = Stack::with(hasty()).await;
        let broken = stack.contact_center.open_conversation(&stack.channel_id);
        let healthy = stack.contact_center.open_conversation(&stack.channel_id);
        stack.bot.refuse_conversation(broken.id(), status, None);
        let held_up = three_messages(&stack, &broken);
        let delivered = three_messages(&stack, &healthy);
        wait_until(|| received(&stack, healthy.id()) == delivered && stack.logged("tried again") > 0).await;
        assert_eq!(received(&stack, broken.id()), Vec::<String>::new());
        stack.bot.take_conversation(broken.id());
        assert!(stack.settle(PATIENCE).await);
        assert_eq!(received(&stack, broken.id()), held_up, "{status}");
        assert_eq!(stack.queues.dead_letters.len(), 0);
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_hung_bot_platform_is_waited_for_and_tried_again() {
    let stack = Stack::with(hasty()).await;
    stack.refresh_tokens().await.expect("the first token");
    stack.fault(bot_platform::Fault::Hangs, When::Next(1));
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let sent = three_messages(&stack, &conversation);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, conversation.id()), sent);
    stack.finish().await;
}

#[tokio::test]
async fn six_hours_of_outage_lose_and_reorder_nothing() {
    // An hour passes in a second. The bot platform asks for five minutes each time; we wait for 75 seconds at most.
    let stack = Stack::with(SandboxSettings { time_scale: 3600, ..SandboxSettings::default() }).await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    stack.bot.refuse_conversation(conversation.id(), 503, Some(300));
    let sent = three_messages(&stack, &conversation);
    // 288 receives, one every 75 seconds, are six hours.
    wait_until(|| stack.queues.events.contents().first().is_some_and(|message| message.receive_count > 288)).await;
    stack.bot.take_conversation(conversation.id());
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, conversation.id()), sent);
    assert_eq!(stack.queues.dead_letters.len(), 0);
    stack.finish().await;
}

/// The longest wait in the queue is what an outage leaves behind: here every conversation has just begun it when the bot
/// platform comes back.
#[tokio::test]
async fn everything_is_delivered_90_seconds_after_the_bot_platform_is_back() {
    const TIME_SCALE: u32 = 5;

    let stack = Stack::with(SandboxSettings { time_scale: TIME_SCALE, ..SandboxSettings::default() }).await;
    let conversations: Vec<_> = (0..20).map(|_| stack.contact_center.open_conversation(&stack.channel_id)).collect();
    for conversation in &conversations {
        // Longer than the longest wait.
        stack.bot.refuse_conversation(conversation.id(), 503, Some(300));
        three_messages(&stack, conversation);
    }
    wait_until(|| stack.logged("\"wait_s\":75") >= conversations.len()).await;
    conversations.iter().for_each(|conversation| stack.bot.take_conversation(conversation.id()));
    let back = Instant::now();
    assert!(stack.settle(PATIENCE).await);
    assert!(back.elapsed() < Duration::from_secs(90) / TIME_SCALE, "{:?}", back.elapsed());
    assert_eq!(stack.bot.received(), 60);
    stack.finish().await;
}

#[tokio::test]
async fn what_the_bot_platform_will_never_take_goes_to_the_dead_letters_with_its_status() {
    for status in [300, 301, 307, 400, 402, 404, 405, 409, 410, 413, 415, 422, 451] {
        let stack = Stack::start().await;
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        stack.bot.refuse_conversation(conversation.id(), status, None);
        let refused = three_messages(&stack, &conversation);
        assert!(stack.settle(PATIENCE).await);
        stack.bot.take_conversation(conversation.id());
        let taken = three_messages(&stack, &conversation);
        assert!(stack.settle(PATIENCE).await);
        assert_eq!(received(&stack, conversation.id()), taken, "the conversation goes on after {status}");

        let dead = stack.queues.dead_letters.contents();
        assert_eq!(dead.len(), refused.len());
        for (dead, event_id) in dead.iter().zip(&refused) {
            assert_eq!(dead.message_attributes["status"]["StringValue"], status.to_string());
            assert_eq!(dead.message_attributes["status"]["DataType"], "Number");
            assert_eq!(dead.group, conversation.id());
            let message: serde_json::Value = serde_json::from_str(&dead.body).unwrap();
            assert_eq!(message["headers"]["x-8x8-event-id"], **event_id);
        }
        assert_eq!(stack.logged(r#""EventsDeadLettered":1"#), 3);
        stack.finish().await;
    }
}

#[tokio::test]
async fn a_message_that_is_moved_back_and_refused_again_is_kept_again() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    stack.bot.refuse_conversation(conversation.id(), 400, None);
    three_messages(&stack, &conversation);
    assert!(stack.settle(PATIENCE).await);
    for message in stack.queues.dead_letters.receive(10, None) {
        stack.queues.events.send(message.body, json!({}), &message.group, &message.message_id);
        stack.queues.dead_letters.delete(&message.receipt_handle).expect("it was received");
    }
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(stack.queues.dead_letters.len(), 3);
    stack.finish().await;
}

#[tokio::test]
async fn a_message_that_is_no_event_goes_to_the_dead_letters() {
    let stack = Stack::start().await;
    stack.queues.events.send("confidential, and none of ours".to_owned(), json!({}), "group", "id");
    assert!(stack.settle(PATIENCE).await);
    let dead = stack.queues.dead_letters.contents();
    assert_eq!(dead[0].body, "confidential, and none of ours");
    assert!(dead[0].message_attributes.get("status").is_none());
    stack.finish().await;
}

#[tokio::test]
async fn an_event_stays_in_the_queue_while_the_dead_letter_queue_fails() {
    let stack = Stack::with(hasty()).await;
    stack.refresh_tokens().await.expect("the first token");
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    stack.bot.refuse_conversation(conversation.id(), 400, None);
    three_messages(&stack, &conversation);
    // After the events are in the queue, and before the bot platform is asked for the first time, or later.
    wait_until(|| stack.bot.refused_with(400) > 0).await;
    stack.fault(aws::Fault::QueueDown, When::For(Duration::from_secs(3)));
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(stack.queues.dead_letters.len(), 3);
    stack.finish().await;
}

#[tokio::test]
async fn an_outage_of_secrets_manager_delays_and_loses_nothing() {
    let stack = Stack::with(hasty()).await;
    stack.fault(aws::Fault::SecretsDown, When::For(Duration::from_secs(2)));
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let sent = three_messages(&stack, &conversation);
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, conversation.id()), sent);
    stack.finish().await;
}

/// What Lambda runs, the tests run: nothing distinguishes a peer on this machine.
#[tokio::test]
async fn the_connection_to_the_bot_platform_is_opened_while_the_function_starts() {
    let token = r#"{"access_token":"bot-access-new","token_type":"bearer","expires_in":3600}"#;
    let bot = StandIn::start(move |parts, _| match parts.uri.path().ends_with("/token") {
        true => response(StatusCode::OK, &[("content-type", b"application/json")], token),
        false => response(StatusCode::OK, &[], ""),
    })
    .await;
    let settings = SandboxSettings { bot_endpoint: Some(bot.url()), concurrency: 1, ..SandboxSettings::default() };
    let stack = Stack::with(settings).await;
    let before = bot.warm_ups();
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    conversation.writes("agent-anna", "confidential");
    assert!(stack.settle(PATIENCE).await, "events are stuck");
    assert_eq!(bot.warm_ups() - before, 1, "one process of deliver-message");
}
