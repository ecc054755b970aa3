//! The set as a whole: a scripted hand-over, killed processes, servers of another sandbox, and everything going wrong at once.

use std::time::Duration;

use contact_center::{ContactCenterApi, ContactCenterSettings};
use sandbox::deployment::{self, BOT_TOKEN_SECRET};
use sandbox::soak::{self, Load};
use sandbox::{Sandbox, SandboxSettings, handover};
use serde_json::{Value, json};
use shared::clock::UnixTime;
use simulation::faults::When;

use crate::support::{PATIENCE, Stack, received};

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_reaches_the_bot_platform_in_both_dialects() {
    for (api, events) in [(ContactCenterApi::ChatGatewayV1, 28), (ContactCenterApi::ChatApiV2, 11)] {
        let contact_center = ContactCenterSettings { api, ..ContactCenterSettings::default() };
        let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
        stack.refresh_tokens().await.expect("the first token");
        let verdict = handover::play(&stack).await.expect("it can be played");
        assert!(verdict.is_good(), "{verdict}");
        assert_eq!((verdict.accepted, verdict.received), (events, Some(events)));
        assert_eq!((stack.bot.grants("password"), stack.bot.grants("refresh_token")), (1, 1));
        stack.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_nothing_is_lost() {
    let stack = Stack::with(SandboxSettings { time_scale: 600, ..SandboxSettings::default() }).await;
    stack.fault(aws::Fault::Kill(deployment::RECEIVE_MESSAGE), When::Share(0.3));
    stack.fault(aws::Fault::Kill(deployment::DELIVER_MESSAGE), When::Share(0.3));
    let load = Load { conversations: 10, events: 10, patience: PATIENCE, rate: None };
    let verdict = soak::play(&stack, &stack.channel_id, load).await;
    assert!(verdict.is_good(), "{verdict}");
    assert!(verdict.struck.iter().all(|(_, times)| *times > 5), "{verdict}");
    stack.finish().await;
}

#[tokio::test]
async fn a_refresh_that_is_killed_is_made_good_by_the_next_run() {
    let stack = Stack::start().await;
    let mut killed = 0;
    for _ in 0..20 {
        stack.bot.revoke_access_tokens();
        stack.cloud.secrets.set(BOT_TOKEN_SECRET, &aged(stack.cloud.secrets.current(BOT_TOKEN_SECRET)));
        stack.fault(aws::Fault::Kill(deployment::REFRESH_TOKENS), When::Next(1));
        killed += u32::from(stack.refresh_tokens().await.is_err());
        stack.faults.clear();
        stack.refresh_tokens().await.expect("the next run");
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        conversation.queued();
        assert!(stack.settle(PATIENCE).await);
        assert_eq!(received(&stack, conversation.id()).len(), 1);
    }
    assert!(killed > 5, "killed {killed} times");
    // Who is killed between a grant and its storing cannot know that the refresh token is used up. The bot platform may
    // revoke everything then, and we log in again.
    stack.check_but_for("a refresh token was used twice");
}

/// The token with a minute left to live.
fn aged(mut token: Value) -> Value {
    if token != json!({}) {
        let now = UnixTime::now().secs();
        token["issued_at"] = json!(now - 3540);
        token["expires_at"] = json!(now + 60);
    }
    token
}

#[tokio::test]
async fn a_registration_that_is_killed_is_completed_by_the_next_one() {
    let stack = Stack::start().await;
    let mut killed = 0;
    for _ in 0..20 {
        stack.invoke_register(json!({ "operation": "deregister" })).await.expect("it can be removed");
        stack.fault(aws::Fault::Kill(deployment::REGISTER_CHANNEL), When::Next(1));
        killed += u32::from(stack.register("101").await.is_err());
        stack.faults.clear();
        let channel_id = stack.register("101").await.expect("the next one");
        let (webhooks, channels) = stack.contact_center.registered();
        assert_eq!((webhooks.len(), channels.len()), (1, 1));
        assert_eq!(channels[0]["id"], *channel_id);
    }
    assert!(killed > 5, "killed {killed} times");
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_everything_going_wrong_each_accepted_event_is_delivered_once_and_in_order() {
    let stack = Stack::with(SandboxSettings { time_scale: 600, concurrency: 12, ..SandboxSettings::default() }).await;
    soak::switch_on_all_faults(&stack);
    let load = Load { conversations: 100, events: 10, patience: Duration::from_secs(300), rate: None };
    let verdict = soak::play(&stack, &stack.channel_id, load).await;
    assert!(verdict.is_good(), "{verdict}");
    assert_eq!(verdict.accepted, 1000);
    stack.finish().await;
}

#[tokio::test]
async fn an_event_that_8x8_sends_late_or_before_its_predecessor_arrives_as_it_was_accepted() {
    let stack = Stack::start().await;
    stack.fault(contact_center::Fault::Late, When::Next(1));
    stack.fault(contact_center::Fault::Reorder, When::Next(1));
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    for number in 0..4 {
        conversation.writes("agent", &format!("confidential {number}"));
    }
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(received(&stack, conversation.id()), stack.contact_center.accepted()[conversation.id()]);
    assert_eq!(stack.logged(r#""Reason":"stale""#), 1);
    stack.finish().await;
}

#[tokio::test]
async fn other_servers_can_take_the_place_of_either_simulation() {
    // Servers that are not ours: those of another sandbox.
    let other = Sandbox::start(SandboxSettings::default()).await;
    let address = |name: &str| other.addresses.iter().find(|(part, _)| *part == name).map(|(_, url)| url.clone());
    let settings = SandboxSettings {
        contact_center_endpoint: address("8x8"),
        bot_endpoint: address("bot platform"),
        ..SandboxSettings::default()
    };
    let stack = Stack::with(settings).await;
    assert_eq!(other.contact_center.registered().0[0]["uri"], stack.callback_url());
    let conversation = other.contact_center.open_conversation(&stack.channel_id);
    conversation.queued();
    conversation.joined("agent");
    let delivered = async {
        while received(&other, conversation.id()).len() < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, delivered).await.expect("both events arrive");
    assert_eq!(other.bot.violations(), Vec::<String>::new());
    stack.finish().await;
}

#[tokio::test]
async fn a_function_answers_with_its_own_request_id_in_its_logs_and_nothing_else_of_the_request() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    conversation.writes("agent", "confidential");
    assert!(stack.settle(PATIENCE).await);
    for line in stack.logs() {
        assert!(line.text.starts_with('{'), "a log line is JSON: {}", line.text);
    }
    assert!(stack.logged(r#""requestId""#) > 0);
    assert_eq!(stack.logged("RSA"), 0);
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_on_an_adopted_channel_passes_the_bridge_whole_and_the_channel_is_given_back() {
    let sandbox = Sandbox::start(SandboxSettings::default()).await;
    let channel_id = sandbox.register_by_bot_platform();
    let before = sandbox.contact_center.registered();
    sandbox.adopt(&channel_id).await.expect("the channel can be adopted");
    sandbox.refresh_tokens().await.expect("the bot platform knows us");
    let verdict = handover::play(&sandbox).await.expect("the hand-over is played to its end");
    assert!(verdict.is_good(), "{verdict}");
    sandbox.release().await.expect("the channel can be released");
    assert_eq!(sandbox.contact_center.registered(), before);
}
