//! A thousand conversations while 8x8 leaves every third call without an answer.

use std::sync::Arc;

use contact_center::ContactCenterSettings;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use serde_json::{Value, json};
use simulation::faults::When;
use tokio::sync::Semaphore;

use super::{KEY, json_of, texts};
use crate::support::{PATIENCE, Stack};

/// A thousand conversations of ten lines each, which then end, and 8x8 leaves a third of all calls without an answer, half
/// of them carried out. The bot repeats what is not a success under the same key.
#[tokio::test(flavor = "multi_thread")]
async fn with_every_third_call_unanswered_nothing_is_lost_and_nothing_said_twice() {
    const CONVERSATIONS: usize = 1000;
    const LINES: usize = 10;
    /// As many conversations at a time as there are processes for them.
    const PROCESSES: usize = 64;
    /// About one call in 30 ends as unknown: 20 in a row are a fault of ours.
    const ATTEMPTS: usize = 20;

    // Ten thousand echoes would double the work and prove nothing about it.
    let contact_center = ContactCenterSettings { echoes: false, ..ContactCenterSettings::default() };
    let settings = SandboxSettings { concurrency: PROCESSES, contact_center, ..SandboxSettings::default() };
    let stack = Stack::with(settings).await;
    stack.chatbot.caller.credentials().await;
    stack.fault(contact_center::Fault::Drops, When::Share(0.33));
    stack.fault(contact_center::Fault::Hangs, When::Share(0.003));
    let stack = Arc::new(stack);
    let places = Arc::new(Semaphore::new(PROCESSES));
    let mut bots = tokio::task::JoinSet::new();
    for number in 0..CONVERSATIONS {
        let (stack, places) = (Arc::clone(&stack), Arc::clone(&places));
        bots.spawn(async move {
            let _place = places.acquire().await;
            let mut unknown = 0;
            let mut until_accepted = async |path: &str, body: &Value, key: &str| {
                let headers = [(CONTENT_TYPE, "application/json"), (KEY, key)];
                for _ in 0..ATTEMPTS {
                    let answer = stack.chatbot.call(Method::POST, path, &headers, body.to_string()).await;
                    match answer.status() {
                        StatusCode::ACCEPTED => return json_of(&answer),
                        StatusCode::GATEWAY_TIMEOUT => unknown += 1,
                        status => panic!("{status} {answer:?}"),
                    }
                }
                panic!("{key} is unknown after {ATTEMPTS} attempts");
            };
            let body = json!({ "user": { "name": "Sandbox Customer" } });
            let created = until_accepted("", &body, &format!("{number}")).await;
            let conversation = created["conversationId"].as_str().expect("an id").to_owned();
            for line in 0..LINES {
                // Half of the lines are alike.
                let text = format!("confidential: {}", if line % 2 == 0 { line } else { 1 });
                let body = json!({ "authorType": "user", "text": text });
                until_accepted(&format!("/{conversation}/messages"), &body, &format!("{number}-{line}")).await;
            }
            stack.contact_center.conversation(&conversation).expect("its channel has a webhook").idle();
            (conversation, unknown)
        });
    }
    let outcomes = bots.join_all().await;
    stack.faults.clear();
    let expected: Vec<String> =
        (0..LINES).map(|line| format!("confidential: {}", if line % 2 == 0 { line } else { 1 })).collect();
    let wrong = outcomes.iter().filter(|(conversation, _)| texts(&stack, conversation) != expected).count();
    let unknown: usize = outcomes.iter().map(|(_, unknown)| unknown).sum();
    let created = stack.contact_center.conversation_ids().len();
    let doubts = stack.logged("\"OutcomesInDoubt\":");
    println!("{doubts} calls left something in doubt; {unknown} answers were unknown; in the end none is");
    assert_eq!((created, wrong), (CONVERSATIONS, 0));
    assert!(doubts > CONVERSATIONS, "the faults strike");
    assert!(stack.settle(PATIENCE).await);
    stack.check();
}
