//! manage-dead-letters: which letters are shown, chosen, redriven and discarded, and what two runs or a killed one leave.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use aws::lambda::InvokeError;
use contact_center::Conversation;
use sandbox::SandboxSettings;
use sandbox::deployment::MANAGE_DEAD_LETTERS;
use serde_json::{Value, json};
use shared::queue::QueuedEvent;
use simulation::faults::When;

use crate::support::{PATIENCE, Stack, received};

/// A sandbox with dead letters: of each of `conversations` that many, in turn, with the status 422.
struct Letters {
    stack: Stack,
    conversations: Vec<Conversation>,
    /// The event ids of each conversation, in order.
    event_ids: Vec<Vec<String>>,
}

impl Letters {
    async fn of(conversations: usize, each: usize) -> Self {
        Self::with(SandboxSettings::default(), conversations, each).await
    }

    async fn with(settings: SandboxSettings, conversations: usize, each: usize) -> Self {
        let stack = Stack::with(settings).await;
        stack.refresh_tokens().await.expect("the first token");
        let opened = (0..conversations).map(|_| stack.contact_center.open_conversation(&stack.channel_id));
        let mut letters = Self { conversations: opened.collect(), event_ids: Vec::new(), stack };
        letters.event_ids = vec![Vec::new(); conversations];
        for index in 0..conversations {
            letters.stack.bot.refuse_conversation(letters.conversations[index].id(), 422, None);
        }
        for number in 0..each {
            for index in 0..conversations {
                letters.event(index, number);
            }
        }
        letters.settle().await;
        assert_eq!(letters.stack.queues.dead_letters.len(), conversations * each);
        for conversation in &letters.conversations {
            letters.stack.bot.take_conversation(conversation.id());
        }
        letters
    }

    fn event(&mut self, index: usize, number: usize) {
        let conversation = &self.conversations[index];
        let body = json!({
            "eventType": "MESSAGE",
            "conversationId": conversation.id(),
            "data": { "text": format!("confidential {number}") },
        });
        self.event_ids[index].push(conversation.event("MESSAGE", body.to_string()));
    }

    async fn settle(&self) {
        assert!(self.stack.settle(PATIENCE).await, "events are stuck");
    }

    async fn list(&self) -> Vec<Value> {
        let list = self.stack.manage_dead_letters(json!({ "operation": "list" })).await.expect("a list");
        list.as_array().expect("an array").clone()
    }

    async fn run(&self, operation: &str, mut choice: Value) -> Value {
        choice["operation"] = operation.into();
        self.stack.manage_dead_letters(choice).await.expect("it is carried out")
    }

    /// The event ids at the bot platform, for each conversation.
    fn received(&self) -> Vec<Vec<String>> {
        self.conversations.iter().map(|conversation| received(&self.stack, conversation.id())).collect()
    }
}

/// The event ids of letters.
fn ids(letters: &Value) -> Vec<String> {
    let id = |letter: &Value| letter["event_id"].as_str().expect("an event has an id").to_owned();
    letters.as_array().expect("letters").iter().map(id).collect()
}

#[tokio::test]
async fn of_thirty_letters_the_three_of_the_chosen_conversation_come_back_in_order_and_the_others_stay() {
    let letters = Letters::of(10, 3).await;
    let listed = letters.list().await;
    assert_eq!(listed.len(), 30);
    for (conversation, event_ids) in letters.conversations.iter().zip(&letters.event_ids) {
        let of_conversation: Vec<&Value> =
            listed.iter().filter(|letter| letter["conversation_id"] == conversation.id()).collect();
        assert_eq!(ids(&json!(of_conversation)), *event_ids);
        for letter in of_conversation {
            assert_eq!(letter.as_object().unwrap().len(), 6, "{letter}");
            assert_eq!((&letter["event_type"], &letter["status"]), (&json!("MESSAGE"), &json!(422)));
            assert!(letter["age_s"].as_u64().unwrap() < 60 && letter["reason"].is_string(), "{letter}");
        }
    }
    let before = letters.stack.queues.dead_letters.contents();

    let chosen = letters.conversations[4].id().to_owned();
    let done = letters.run("redrive", json!({ "conversation_id": chosen })).await;
    assert_eq!(ids(&done["redriven"]), letters.event_ids[4]);
    assert_eq!((&done["kept"], &done["unseen"]), (&json!(27), &json!(0)));
    letters.settle().await;
    let expected: Vec<_> =
        (0..10).map(|index| if index == 4 { letters.event_ids[4].clone() } else { Vec::new() }).collect();
    assert_eq!(letters.received(), expected);
    let bodies = |letters: Vec<aws::cloud::fifo::Received>| -> Vec<(String, String)> {
        letters.into_iter().filter(|letter| letter.group != chosen).map(|letter| (letter.group, letter.body)).collect()
    };
    assert_eq!(bodies(letters.stack.queues.dead_letters.contents()), bodies(before), "27 stay as they were");
    assert_eq!(letters.list().await.len(), 27, "what was not chosen is shown again at once");
    assert_eq!(letters.stack.bot.repeats(), 0);
    letters.stack.finish().await;
}

#[tokio::test]
async fn letters_are_chosen_by_event_id_status_and_reason() {
    let letters = Letters::of(2, 2).await;
    letters.stack.queues.events.send("confidential, and not an event".to_owned(), json!({}), "group", "id");
    // As SQS moves a message after its last receive: without attributes.
    let moved = letters.stack.queues.dead_letters.contents().remove(0);
    letters.stack.queues.dead_letters.send(moved.body, json!({}), &moved.group, "moved by SQS");
    letters.settle().await;
    let listed = letters.list().await;
    assert_eq!(listed.len(), 6);
    let foreign: Vec<&Value> = listed.iter().filter(|letter| letter["event_id"].is_null()).collect();
    assert!(matches!(foreign[..], [letter] if letter["event_type"].is_null() && letter["reason"].is_string()));
    assert_eq!(listed.iter().filter(|letter| letter["reason"] == "undelivered").count(), 1);

    let second = &letters.event_ids[1][1];
    let done = letters.run("discard", json!({ "event_ids": [second], "status": 422 })).await;
    assert_eq!((ids(&done["discarded"]), &done["kept"]), (vec![second.clone()], &json!(5)));
    let none = letters.run("discard", json!({ "event_ids": [letters.event_ids[0][0]], "status": 400 })).await;
    assert_eq!(none, json!({ "discarded": [], "kept": 5, "unseen": 0 }));
    let undelivered = letters.run("redrive", json!({ "reason": "undelivered" })).await;
    assert_eq!(ids(&undelivered["redriven"]), [letters.event_ids[0][0].clone()]);
    let foreign = letters.run("discard", json!({ "reason": foreign[0]["reason"] })).await;
    assert_eq!(foreign["discarded"].as_array().unwrap().len(), 1);
    let rest = letters.run("redrive", json!({ "status": 422 })).await;
    assert_eq!(rest["redriven"].as_array().unwrap().len(), 3);
    letters.settle().await;
    assert_eq!(letters.received(), [letters.event_ids[0].clone(), vec![letters.event_ids[1][0].clone()]]);
    assert_eq!(letters.list().await, Vec::<Value>::new());
    letters.stack.finish().await;
}

#[tokio::test]
async fn a_request_that_chooses_nothing_or_is_misspelt_changes_nothing() {
    let letters = Letters::of(1, 1).await;
    for (request, reason) in [
        (json!({ "operation": "discard" }), "no letter is chosen"),
        (json!({ "operation": "redrive", "conversation": "c" }), "the request must be"),
        (json!({ "operation": "purge" }), "the request must be"),
        (json!({ "operation": "discard", "all": true, "status": 422 }), "either by"),
    ] {
        let error = letters.stack.manage_dead_letters(request).await.expect_err("it is refused").to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(letters.list().await.len(), 1);
    letters.stack.finish().await;
}

#[tokio::test]
async fn an_event_that_is_refused_again_at_once_is_one_letter_again_and_can_be_redriven_again() {
    let letters = Letters::of(1, 3).await;
    letters.stack.bot.refuse_conversation(letters.conversations[0].id(), 404, None);
    for _ in 0..2 {
        let done = letters.run("redrive", json!({ "all": true })).await;
        assert_eq!(ids(&done["redriven"]), letters.event_ids[0], "each once, although it comes back during the run");
        letters.settle().await;
        let listed = letters.list().await;
        assert_eq!(ids(&json!(listed)), letters.event_ids[0]);
        assert!(listed.iter().all(|letter| letter["status"] == 404));
    }
    letters.stack.bot.take_conversation(letters.conversations[0].id());
    letters.run("redrive", json!({ "all": true })).await;
    letters.settle().await;
    assert_eq!(letters.received(), letters.event_ids);
    assert_eq!(letters.stack.bot.repeats(), 0);
    letters.stack.finish().await;
}

#[tokio::test]
async fn letters_behind_the_tenth_of_a_conversation_are_counted_and_redriven_in_order() {
    let letters = Letters::of(3, 14).await;
    assert_eq!(letters.list().await.len(), 30, "SQS gives ten of a conversation");
    let second = letters.event_ids[1][1].clone();
    let done = letters.run("redrive", json!({ "event_ids": [second] })).await;
    assert_eq!((&done["kept"], &done["unseen"]), (&json!(29), &json!(12)));
    let done = letters.run("redrive", json!({ "all": true })).await;
    assert_eq!(done["redriven"].as_array().unwrap().len(), 41);
    assert_eq!((&done["kept"], &done["unseen"]), (&json!(0), &json!(0)));
    letters.settle().await;
    let mut expected = letters.event_ids.clone();
    // It went first, as it was asked.
    expected[1].swap(0, 1);
    assert_eq!(letters.received(), expected);
    letters.stack.finish().await;
}

#[tokio::test]
async fn two_runs_at_once_redrive_each_letter_once_and_in_order() {
    for _ in 0..3 {
        let letters = Letters::of(10, 3).await;
        let all = || letters.run("redrive", json!({ "all": true }));
        let (first, second) = tokio::join!(all(), all());
        let mut redriven = [ids(&first["redriven"]), ids(&second["redriven"])].concat();
        let expected: BTreeSet<String> = letters.event_ids.iter().flatten().cloned().collect();
        assert_eq!(redriven.len(), 30);
        redriven.sort();
        assert_eq!(redriven, expected.into_iter().collect::<Vec<_>>());
        letters.settle().await;
        assert_eq!(letters.received(), letters.event_ids);
        assert_eq!((letters.stack.bot.repeats(), letters.stack.queues.dead_letters.len()), (0, 0));
        letters.stack.finish().await;
    }
}

/// Kills runs until one has died after a copy and before its deletion, wherever the others died.
#[tokio::test]
async fn a_run_that_is_killed_between_copy_and_deletion_loses_nothing_and_the_bot_drops_the_repeat() {
    // Letters that a killed run has hidden are shown after three seconds instead of two minutes.
    let letters = Letters::with(SandboxSettings { time_scale: 40, ..SandboxSettings::default() }, 1, 20).await;
    let (events, dead_letters) = (&letters.stack.queues.events, &letters.stack.queues.dead_letters);
    let function = letters.stack.function(MANAGE_DEAD_LETTERS);
    let sent_before = events.sent();
    let is_copied_only = || events.sent() - sent_before > 20 - dead_letters.len() as u64;
    while !is_copied_only() {
        assert!(!dead_letters.is_empty(), "no run was killed between copy and deletion");
        // Starts the process that is killed.
        letters.list().await;
        let process = function.processes()[0];
        let sent = events.sent();
        let killed = async {
            while events.sent() == sent && !dead_letters.is_empty() {
                tokio::task::yield_now().await;
            }
            let kill = Command::new("kill").args(["-9", &process.to_string()]).status().expect("kill is there");
            assert!(kill.success());
        };
        let run = letters.stack.manage_dead_letters(json!({ "operation": "redrive", "all": true }));
        let (run, ()) = tokio::join!(run, killed);
        assert_eq!(run, Err(InvokeError::Exited));
        shown_again(&letters).await;
    }
    let done = letters.run("redrive", json!({ "all": true })).await;
    assert_eq!(done["unseen"], 0);
    letters.settle().await;
    assert!(dead_letters.is_empty());
    let mut first_receipts = letters.received().remove(0);
    let mut seen = BTreeSet::new();
    first_receipts.retain(|id| seen.insert(id.clone()));
    assert_eq!(first_receipts, letters.event_ids[0]);
    letters.stack.finish().await;
}

/// Waits until no letter is hidden.
async fn shown_again(letters: &Letters) {
    let shown = async {
        while letters.stack.queues.dead_letters.counts().1 > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.expect("letters of a killed run are shown again");
}

#[tokio::test]
async fn a_failure_of_sqs_says_how_many_letters_were_done_and_leaves_the_others() {
    let letters = Letters::with(SandboxSettings { time_scale: 40, ..SandboxSettings::default() }, 1, 20).await;
    letters.stack.fault(aws::Fault::QueueDown, When::For(Duration::from_secs(60)));
    let error = letters.stack.manage_dead_letters(json!({ "operation": "list" })).await.expect_err("SQS is down");
    assert!(error.to_string().contains("the dead-letter queue did not count its letters"), "{error}");
    letters.stack.faults.clear();

    let sent = letters.stack.queues.events.sent();
    let broken = async {
        while letters.stack.queues.events.sent() < sent + 5 {
            tokio::task::yield_now().await;
        }
        letters.stack.fault(aws::Fault::QueueDown, When::For(Duration::from_secs(60)));
    };
    let run = letters.stack.manage_dead_letters(json!({ "operation": "redrive", "all": true }));
    let (run, ()) = tokio::join!(run, broken);
    let error = run.expect_err("SQS is down").to_string();
    let left = letters.stack.queues.dead_letters.len();
    let done = format!("stopped after {} letters", 20 - left);
    assert!(
        (1..20).contains(&left) && error.contains(&done) && error.contains("repeat the command"),
        "{left}: {error}"
    );
    letters.stack.faults.clear();
    shown_again(&letters).await;
    let rest = letters.run("redrive", json!({ "all": true })).await;
    assert_eq!(rest["redriven"].as_array().unwrap().len(), left);
    letters.settle().await;
    assert_eq!(letters.received(), letters.event_ids);
    letters.stack.finish().await;
}

#[tokio::test]
async fn a_redriven_event_is_marked_and_otherwise_as_it_was() {
    let letters = Letters::of(1, 1).await;
    let letter = letters.stack.queues.dead_letters.contents().remove(0);
    // It stays in the queue, so that it can be looked at.
    letters.stack.bot.refuse_conversation(letters.conversations[0].id(), 503, None);
    letters.run("redrive", json!({ "all": true })).await;
    let redriven = letters.stack.queues.events.contents().remove(0);
    assert_eq!((&redriven.body, &redriven.group), (&letter.body, &letter.group));
    assert_eq!(redriven.message_attributes["redriven"]["StringValue"], "true");
    let event = QueuedEvent::from_message(&redriven.body).expect("an event");
    assert_ne!(Some(&*redriven.deduplication_id), event.id());
    letters.stack.check();
}
