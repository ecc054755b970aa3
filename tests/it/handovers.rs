//! Hand-overs: their state as a bot reads it, the figures of every minute, and the timers.

use std::collections::BTreeMap;
use std::time::Duration;

use contact_center::{ContactCenterApi, ContactCenterSettings, Conversation, FailureKind};
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::deployment::{DELIVER_MESSAGE, HANDOVER_TABLE, WATCH_HANDOVERS};
use serde_json::{Value, json};
use shared::handover::table::HandoverTable;
use simulation::faults::When;

use crate::conformance::sdk_config;
use crate::support::{PATIENCE, Stack, now_millis, received};

/// For what a thousand conversations take on a busy machine.
const LONG_PATIENCE: Duration = Duration::from_secs(900);

const MINUTE: u64 = 60_000;

fn now() -> u64 {
    now_millis() as u64
}

/// 8x8 sends an event of the Chat Gateway with that time.
fn send_event(conversation: &Conversation, event_type: &str, at: u64, data: &Value) {
    let event = json!({ "eventType": event_type, "conversationId": conversation.id(), "timestamp": at, "data": data });
    conversation.event(event_type, event.to_string());
}

fn queued(conversation: &Conversation, at: u64) {
    send_event(conversation, "QUEUED", at, &json!({ "queueId": "101", "queueName": "Support" }));
}

fn member(conversation: &Conversation, kind: &str, change: &str, at: u64) {
    send_event(conversation, "MEMBERS_CHANGED", at, &json!({ "memberType": kind, "change": change, "id": "anna" }));
}

fn idle(conversation: &Conversation, at: u64) {
    send_event(conversation, "CONVERSATION_UPDATE", at, &json!({ "state": "idle" }));
}

/// The hand-over as a bot reads it, once all events are delivered.
async fn handover(stack: &Stack, conversation: &str) -> Value {
    assert!(stack.settle(PATIENCE).await, "events are stuck");
    let (status, handover) = stack.chatbot.get(&format!("/{conversation}/handover")).await;
    assert_eq!(status, StatusCode::OK, "{handover}");
    handover
}

async fn state(stack: &Stack, conversation: &Conversation) -> String {
    handover(stack, conversation.id()).await["state"].as_str().expect("a state").to_owned()
}

/// A run of watch-handovers, and the figures that it wrote: those of a `Reason` under `metric/reason`.
async fn figures(stack: &Stack) -> (Value, BTreeMap<String, Vec<f64>>) {
    let so_far = stack.logs().len();
    let report = watch(stack).await;
    (report, written(stack, so_far))
}

/// A run of watch-handovers, whose lines are there when it has ended.
async fn watch(stack: &Stack) -> Value {
    let so_far = stack.logs().len();
    let report = stack.watch_handovers().await.expect("a run");
    // The lines of a run are read a moment after its response; this one is its last.
    while stack.logs().iter().skip(so_far).all(|line| !line.text.contains("the hand-overs were watched")) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    report
}

/// The figures that watch-handovers wrote after so many lines.
fn written(stack: &Stack, so_far: usize) -> BTreeMap<String, Vec<f64>> {
    let mut figures: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for line in stack.logs().iter().skip(so_far).filter(|line| line.function == WATCH_HANDOVERS) {
        let Ok(line) = serde_json::from_str::<Value>(&line.text) else { continue };
        if line.get("_aws").is_none() {
            continue;
        }
        for (name, value) in line.as_object().expect("an object") {
            let values: Vec<f64> = match value {
                Value::Array(values) => values.iter().filter_map(Value::as_f64).collect(),
                Value::Number(number) => number.as_f64().into_iter().collect(),
                _ => continue,
            };
            let name = match line["Reason"].as_str() {
                Some(reason) => format!("{name}/{reason}"),
                None => name.clone(),
            };
            figures.entry(name).or_default().extend(values);
        }
    }
    figures
}

fn sum(figures: &BTreeMap<String, Vec<f64>>, name: &str) -> f64 {
    figures.get(name).into_iter().flatten().sum()
}

#[tokio::test]
async fn a_hand_over_is_followed_from_its_creation_to_its_end() {
    let stack = Stack::start().await;
    let (_, created) = stack.chatbot.json(Method::POST, "", &json!({ "user": {} })).await;
    let id = created["conversationId"].as_str().expect("a conversation");
    let conversation = stack.contact_center.conversation(id).expect("8x8 has it");
    let waiting = handover(&stack, id).await;
    assert_eq!((&waiting["state"], &waiting["queue_id"]), (&json!("queued"), &json!("101")));
    assert!(waiting["times"]["created"].is_string() && waiting["times"]["queued"].is_string());
    assert!(waiting.get("agent_id").is_none() && waiting.get("time_to_agent_s").is_none());

    conversation.joined("anna");
    let active = handover(&stack, id).await;
    assert_eq!((&active["state"], &active["agent_id"]), (&json!("active"), &json!("anna")));
    assert!(active["time_to_agent_s"].as_f64().is_some_and(|wait| wait < 60.0), "{active}");

    // A transfer is no end.
    conversation.transferred();
    assert_eq!(state(&stack, &conversation).await, "transferring");
    conversation.left("anna");
    assert_eq!(state(&stack, &conversation).await, "transferring");
    conversation.queued();
    assert_eq!(state(&stack, &conversation).await, "queued");
    conversation.joined("ben");
    let active = handover(&stack, id).await;
    assert_eq!((&active["state"], &active["agent_id"]), (&json!("active"), &json!("ben")));

    conversation.left("ben");
    conversation.idle();
    let ended = handover(&stack, id).await;
    assert_eq!((&ended["state"], &ended["end_reason"]), (&json!("ended"), &json!("after_agent")));
    assert_eq!(ended["time_to_agent_s"], active["time_to_agent_s"]);
    stack.finish().await;
}

#[tokio::test]
async fn the_older_dialect_has_the_same_states() {
    let contact_center = ContactCenterSettings { api: ContactCenterApi::ChatApiV2, ..ContactCenterSettings::default() };
    let stack = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    conversation.queued();
    assert_eq!(state(&stack, &conversation).await, "queued");
    conversation.joined("anna");
    assert_eq!(state(&stack, &conversation).await, "active");
    conversation.transferred();
    conversation.left("anna");
    assert_eq!(state(&stack, &conversation).await, "transferring");
    conversation.queued();
    assert_eq!(state(&stack, &conversation).await, "queued");
    conversation.joined("ben");
    conversation.left("ben");
    let ended = handover(&stack, conversation.id()).await;
    assert_eq!((&ended["state"], &ended["end_reason"]), (&json!("ended"), &json!("after_agent")));
    stack.finish().await;
}

#[tokio::test]
async fn of_an_unknown_conversation_there_is_no_hand_over() {
    let stack = Stack::start().await;
    let (status, response) = stack.chatbot.get("/unknown/handover").await;
    assert_eq!((status, &response["errors"][0]["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    stack.finish().await;
}

#[tokio::test]
async fn nothing_is_written_for_a_message() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    conversation.queued();
    conversation.joined("anna");
    assert!(stack.settle(PATIENCE).await);
    let writes = stack.cloud.calls_of(DELIVER_MESSAGE, "dynamodb");
    assert_eq!(writes, 3, "one for each event of the life cycle");
    for _ in 0..5 {
        conversation.types("anna");
        conversation.writes("anna", "confidential: hello");
        conversation.reads("anna");
    }
    assert!(stack.settle(PATIENCE).await);
    assert_eq!(stack.cloud.calls_of(DELIVER_MESSAGE, "dynamodb"), writes);
    stack.finish().await;
}

#[tokio::test]
async fn without_the_table_events_are_delivered_and_the_next_one_repairs_the_state() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    conversation.queued();
    assert_eq!(state(&stack, &conversation).await, "queued");
    stack.fault(aws::Fault::TableDown, When::Share(1.0));
    conversation.joined("anna");
    conversation.writes("anna", "confidential: hello");
    assert!(stack.settle(PATIENCE).await, "events are stuck");
    assert_eq!(received(&stack, conversation.id()), conversation.sent(), "all of them, in order");
    assert_eq!(stack.logged("is not recorded"), 2);
    stack.fault(aws::Fault::TableDown, When::Next(0));
    assert_eq!(state(&stack, &conversation).await, "queued", "nothing has said otherwise yet");
    conversation.transferred();
    assert_eq!(state(&stack, &conversation).await, "transferring");
    stack.finish().await;
}

#[tokio::test]
async fn an_end_that_did_not_reach_the_table_is_found_at_8x8() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    queued(&conversation, now() - 6 * MINUTE);
    assert_eq!(state(&stack, &conversation).await, "queued");
    stack.fault(aws::Fault::TableDown, When::Share(1.0));
    conversation.idle();
    assert!(stack.settle(PATIENCE).await, "events are stuck");
    stack.fault(aws::Fault::TableDown, When::Next(0));
    let (report, _) = figures(&stack).await;
    assert_eq!((&report["waiting"], &report["closed"]), (&json!(1), &json!(0)));
    let ended = handover(&stack, conversation.id()).await;
    assert_eq!((&ended["state"], &ended["end_reason"]), (&json!("ended"), &json!("before_agent")));
    let (report, figures) = figures(&stack).await;
    assert_eq!(report["waiting"], 0);
    assert_eq!(sum(&figures, "HandoversEnded/before_agent"), 1.0);
    stack.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_conversations_give_the_figures_that_were_played() {
    // No more processes than a small machine has processors for: here the figures count, not the speed.
    let stack = Stack::with(SandboxSettings { concurrency: 2, ..SandboxSettings::default() }).await;
    let began = now() - 4 * MINUTE;
    let mut waits = Vec::new();
    for number in 0..1000_u64 {
        let conversation = stack.contact_center.open_conversation(&stack.channel_id);
        queued(&conversation, began + number);
        let wait = number % 50 * 1000;
        let joined = began + number + wait;
        match number % 5 {
            0 => {}
            1 => {
                member(&conversation, "agent", "joined", joined);
                waits.push(wait as f64 / 1000.0);
            }
            2 => {
                member(&conversation, "agent", "joined", joined);
                member(&conversation, "agent", "left", joined + 1);
                idle(&conversation, joined + 2);
                waits.push(wait as f64 / 1000.0);
            }
            3 => {
                member(&conversation, "user", "left", joined + 1);
                idle(&conversation, joined + 2);
            }
            _ => idle(&conversation, joined + 1),
        }
    }
    assert!(stack.settle(LONG_PATIENCE).await, "events are stuck");
    assert_eq!(stack.logged("is not recorded"), 0, "the machine is too slow for this test");
    let report = watch(&stack).await;
    assert_eq!((&report["waiting"], &report["closed"]), (&json!(200), &json!(0)));
    // On a slow machine the schedule's own run has counted some.
    let figures_so_far = written(&stack, 0);
    assert_eq!(figures_so_far["HandoversWaiting"].last(), Some(&200.0));
    let oldest = *figures_so_far["OldestWaiting"].last().expect("each run writes it");
    assert!(oldest >= 240.0 && oldest <= (now() - began) as f64 / 1000.0, "{oldest}");
    let mut counted = figures_so_far["TimeToAgent"].clone();
    counted.sort_by(f64::total_cmp);
    waits.sort_by(f64::total_cmp);
    assert_eq!(counted, waits);
    for (metric, times) in [
        ("HandoversEnded", 600.0),
        ("HandoversEnded/after_agent", 200.0),
        ("HandoversEnded/user_ended", 200.0),
        ("HandoversEnded/before_agent", 200.0),
        ("CustomersLeftWaiting", 200.0),
    ] {
        assert_eq!(sum(&figures_so_far, metric), times, "{metric}");
    }
    // Each is counted once, and what has ended is not read again.
    let (_, figures_of_next) = figures(&stack).await;
    for metric in ["TimeToAgent", "HandoversEnded", "CustomersLeftWaiting"] {
        assert_eq!(sum(&figures_of_next, metric), 0.0, "{metric}");
    }
    let table = stack.cloud.dynamo_db.items(HANDOVER_TABLE);
    assert_eq!(table.iter().filter(|item| item.get("watched").is_some()).count(), 400);
    stack.finish().await;
}

#[tokio::test]
async fn a_customer_who_left_while_waiting_is_seen() {
    let stack = Stack::start().await;
    let (_, created) = stack.chatbot.json(Method::POST, "", &json!({ "user": {} })).await;
    let id = created["conversationId"].as_str().expect("a conversation").to_owned();
    let path = format!("/{id}/participants/user");
    stack.chatbot.json(Method::PATCH, &path, &json!({ "removed": true })).await;
    let ended = handover(&stack, &id).await;
    assert_eq!((&ended["state"], &ended["end_reason"]), (&json!("ended"), &json!("user_ended")));
    assert!(ended["times"]["customer_left"].is_string() && ended["times"].get("joined").is_none(), "{ended}");

    // Another one leaves, and 8x8 keeps the conversation in its queue.
    let ghost = stack.contact_center.open_conversation(&stack.channel_id);
    queued(&ghost, now() - MINUTE);
    member(&ghost, "user", "left", now());
    let seen = handover(&stack, ghost.id()).await;
    assert_eq!(seen["state"], "queued");
    assert!(seen["times"]["customer_left"].is_string(), "{seen}");
    let (report, figures) = figures(&stack).await;
    assert_eq!(sum(&figures, "CustomersLeftWaiting"), 2.0);
    assert_eq!(report["waiting"], 0, "a customer who has left does not wait");
    stack.finish().await;
}

async fn with_timers(no_agent_minutes: u32, customer_idle_minutes: u32) -> Stack {
    Stack::with(SandboxSettings { no_agent_minutes, customer_idle_minutes, ..SandboxSettings::default() }).await
}

/// A conversation that has been in the queue for so many minutes.
async fn waiting(stack: &Stack, minutes: u64) -> Conversation {
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    queued(&conversation, now() - minutes * MINUTE);
    assert!(stack.settle(PATIENCE).await, "events are stuck");
    conversation
}

/// A minute passes for a conversation that a run has claimed.
async fn lease_ends(stack: &Stack, conversation: &Conversation) {
    let aws = stack.addresses.iter().find(|(name, _)| *name == "AWS").expect("AWS is there");
    let table = HandoverTable::new(&sdk_config(&aws.1), HANDOVER_TABLE.to_owned());
    let mut record = table.get(conversation.id()).await.unwrap().expect("an item");
    if let Some(closing) = &mut record.notes.closing {
        closing.at = closing.at - Duration::from_secs(60);
        assert!(table.note(&record, None, false).await.unwrap());
    }
}

/// The conversation was ended once, and bot and figures know why.
async fn was_ended_once(stack: &Stack, conversation: &Conversation, reason: &str) {
    let ended = handover(stack, conversation.id()).await;
    assert_eq!((&ended["state"], &ended["end_reason"]), (&json!("ended"), &json!(reason)), "{ended}");
    assert_eq!(stack.contact_center.kept(conversation.id())["state"], "idle");
    let (report, figures) = figures(stack).await;
    assert_eq!(report["closed"], 0);
    assert_eq!(sum(&figures, &format!("HandoversEnded/{reason}")), 1.0);
    assert_eq!(sum(&figures, "HandoversEnded"), 1.0);
}

#[tokio::test]
async fn without_a_timer_no_conversation_is_ended() {
    let stack = Stack::start().await;
    let conversation = waiting(&stack, 24 * 60).await;
    let active = waiting(&stack, 24 * 60).await;
    member(&active, "agent", "joined", now() - 23 * 60 * MINUTE);
    assert!(stack.settle(PATIENCE).await);
    for _ in 0..3 {
        assert_eq!(stack.watch_handovers().await.expect("a run")["closed"], 0);
    }
    for conversation in [conversation, active] {
        assert_ne!(stack.contact_center.kept(conversation.id())["state"], "idle");
    }
    stack.finish().await;
}

#[tokio::test]
async fn a_conversation_without_an_agent_is_ended_once_and_8x8s_events_inform_the_bot() {
    let stack = with_timers(3, 0).await;
    let (early, conversation) = (waiting(&stack, 2).await, waiting(&stack, 4).await);
    let (report, _) = figures(&stack).await;
    assert_eq!((&report["waiting"], &report["closed"]), (&json!(2), &json!(1)));
    was_ended_once(&stack, &conversation, "no_agent").await;
    // QUEUED, and that the customer left, and the end.
    assert_eq!(received(&stack, conversation.id()).len(), 3);
    assert_eq!(state(&stack, &early).await, "queued");
    stack.finish().await;
}

#[tokio::test]
async fn an_end_whose_outcome_is_unknown_is_looked_at_before_it_is_tried_again() {
    for (kind, is_carried_out) in [
        (FailureKind::Drops, true),
        (FailureKind::Drops, false),
        (FailureKind::Status500, true),
        (FailureKind::Status500, false),
    ] {
        let stack = with_timers(3, 0).await;
        let conversation = waiting(&stack, 4).await;
        stack.contact_center.break_next("PATCH", "participants", kind, is_carried_out);
        assert_eq!(figures(&stack).await.0["closed"], 0);
        assert_eq!(figures(&stack).await.0["closed"], 0, "another run leaves it alone meanwhile");
        if !is_carried_out {
            lease_ends(&stack, &conversation).await;
            assert_eq!(figures(&stack).await.0["closed"], 1);
        }
        let ended = handover(&stack, conversation.id()).await;
        assert_eq!((&ended["state"], &ended["end_reason"]), (&json!("ended"), &json!("no_agent")), "{kind:?}");
        assert_eq!(received(&stack, conversation.id()).len(), 3, "{kind:?}, {is_carried_out}");
        stack.finish().await;
    }
}

#[tokio::test]
async fn an_end_takes_effect_once_when_the_process_is_killed_at_any_point() {
    for (method, is_carried_out) in [("GET", false), ("PATCH", false), ("PATCH", true)] {
        let stack = with_timers(3, 0).await;
        let conversation = waiting(&stack, 4).await;
        let resource = if method == "GET" { "conversations" } else { "participants" };
        stack.contact_center.break_next(method, resource, FailureKind::Hangs, is_carried_out);
        // Dropping the invocation kills its process, which waits for 8x8.
        let called = async {
            while stack.contact_center.planned_failures() > 0
                || (is_carried_out && stack.contact_center.kept(conversation.id())["state"] != "idle")
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            response = stack.watch_handovers() => panic!("it has not waited: {response:?}"),
            () = called => {}
        }
        assert!(stack.settle(PATIENCE).await);
        lease_ends(&stack, &conversation).await;
        let closed = stack.watch_handovers().await.expect("a run")["closed"].clone();
        assert_eq!(closed, json!(if is_carried_out { 0 } else { 1 }), "{method}");
        let ended = handover(&stack, conversation.id()).await;
        assert_eq!((&ended["state"], &ended["end_reason"]), (&json!("ended"), &json!("no_agent")), "{method}");
        assert_eq!(received(&stack, conversation.id()).len(), 3, "{method}, {is_carried_out}");
        stack.finish().await;
    }
}

#[tokio::test]
async fn an_agent_who_joins_in_the_last_moment_keeps_the_conversation() {
    let stack = with_timers(3, 0).await;
    let conversation = waiting(&stack, 4).await;
    stack.contact_center.break_next("PATCH", "participants", FailureKind::Status500, false);
    assert_eq!(stack.watch_handovers().await.expect("a run")["closed"], 0);
    conversation.joined("anna");
    assert!(stack.settle(PATIENCE).await);
    lease_ends(&stack, &conversation).await;
    for _ in 0..2 {
        assert_eq!(stack.watch_handovers().await.expect("a run")["closed"], 0);
    }
    conversation.left("anna");
    conversation.idle();
    let ended = handover(&stack, conversation.id()).await;
    assert_eq!((&ended["state"], &ended["end_reason"]), (&json!("ended"), &json!("after_agent")));
    stack.finish().await;
}

#[tokio::test]
async fn a_customer_who_does_not_answer_the_agent_is_idle_and_one_who_waits_for_the_agent_is_not() {
    let stack = with_timers(0, 3).await;
    let mut conversations = Vec::new();
    for _ in 0..3 {
        let conversation = waiting(&stack, 6).await;
        member(&conversation, "agent", "joined", now() - 5 * MINUTE);
        conversations.push(conversation);
    }
    let [silent, answered, waiting] = &conversations[..] else { panic!("there are three") };
    answered.writes("anna", "confidential: are you there?");
    waiting.writes("anna", "confidential: are you there?");
    stack.chatbot.say(waiting.id(), "user", "confidential: yes, and you?", "key").await;
    assert!(stack.settle(PATIENCE).await);
    // A first run counts the joinings, a second one deals with what is due.
    stack.watch_handovers().await.expect("a run");
    assert_eq!(stack.watch_handovers().await.expect("a run")["closed"], 1);
    let ended = handover(&stack, silent.id()).await;
    assert_eq!((&ended["state"], &ended["end_reason"]), (&json!("ended"), &json!("idle")));
    for conversation in [answered, waiting] {
        assert_eq!(state(&stack, conversation).await, "active");
    }
    stack.finish().await;
}
