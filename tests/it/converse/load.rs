//! A thousand conversations with an 8x8 that is late, slow and silent.

use std::sync::Arc;
use std::time::Duration;

use contact_center::{Authentication, ContactCenterApi, ContactCenterSettings, Fault};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::trace::Trace;
use serde_json::{Value, json};
use simulation::faults::When;
use tokio::sync::Semaphore;

use super::{KEY, json_of, texts};
use crate::support::{PATIENCE, Stack};

const MESSAGES: usize = 10;

/// Conversations at a time. Most of them wait for 8x8, so that there can be more of them than processors.
const PROCESSES: usize = 64;

/// What a bot does with a call before it gives up: an unknown outcome is settled half a minute later at the latest, and 8x8
/// may fail the same call again.
const ATTEMPTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn however_late_8x8_is_nothing_is_lost_and_nothing_said_twice() {
    play(ContactCenterApi::ChatGatewayV1, 700).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_late_8x8_is_nothing_is_lost_and_nothing_said_twice_in_the_older_api() {
    play(ContactCenterApi::ChatApiV2, 300).await;
}

/// Ten messages in each conversation, a quarter of them equal. 8x8 drops connections, hangs, answers 500 or 504, carries a
/// call out at once, up to 20 s later or never. The bot repeats what is not a success under the same
/// key, when it is asked to.
async fn play(api: ContactCenterApi, conversations: usize) {
    // Ten thousand echoes would double the work and prove nothing about it.
    let contact_center = ContactCenterSettings {
        api,
        authentication: match api {
            ContactCenterApi::ChatGatewayV1 => Authentication::ApiKey,
            ContactCenterApi::ChatApiV2 => Authentication::ClientCredentials,
        },
        echoes: false,
        ..ContactCenterSettings::default()
    };
    let settings = SandboxSettings { concurrency: PROCESSES, contact_center, ..SandboxSettings::default() };
    let stack = Stack::with(settings).await;
    stack.chatbot.caller.credentials().await;
    stack.fault(Fault::CarriesOutLate, When::Share(0.01));
    stack.fault(Fault::Drops, When::Share(0.01));
    stack.fault(Fault::Status500, When::Share(0.005));
    stack.fault(Fault::Hangs, When::Share(0.001));
    stack.fault(Fault::AnswersSlowly, When::Share(0.001));
    let stack = Arc::new(stack);
    let places = Arc::new(Semaphore::new(PROCESSES));
    let mut bots = tokio::task::JoinSet::new();
    for number in 0..conversations {
        let (stack, places) = (Arc::clone(&stack), Arc::clone(&places));
        bots.spawn(async move {
            let _place = places.acquire().await;
            talk(&stack, number).await
        });
    }
    let talks = bots.join_all().await;
    stack.faults.clear();
    let expected: Vec<String> = (0..MESSAGES).map(text).collect();
    let wrong: Vec<_> =
        talks.iter().map(|talk| texts(&stack, &talk.conversation)).filter(|said| *said != expected).collect();
    let unknown = talks.iter().flat_map(|talk| &talk.statuses).filter(|status| **status == 504).count();
    let created = stack.contact_center.conversation_ids().len();
    let open = stack.logged("\"OutcomesToReconcile\":");
    println!("{open} calls had an unknown outcome for a while; {unknown} responses said so; in the end all are known");
    assert_eq!((created, wrong), (conversations, Vec::<Vec<String>>::new()));
    assert!(open > conversations / 20, "the faults strike");
    assert!(stack.settle(PATIENCE).await);
    assert_lines(&stack, &talks).await;
    stack.check();
}

/// One line in the log for each call that a function answered. Those of a conversation have the statuses that its bot got; a
/// creation without success has no conversation's id, and is counted.
async fn assert_lines(stack: &Stack, talks: &[Talk]) {
    let expected: Vec<Vec<String>> = talks.iter().map(Talk::expected_lines).collect();
    let calls: usize = talks.iter().map(|talk| talk.statuses.len()).sum();
    let (mut found, mut lines) = (Vec::new(), 0);
    let are_written = async {
        while (&found, lines) != (&expected, calls) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let trace = Trace::of(&stack.logs());
            assert_eq!(trace.nameless(), [""; 0]);
            found = talks.iter().map(|talk| call_lines(&trace, &talk.conversation)).collect();
            lines = stack.logged(r#""step":"call""#);
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, are_written).await;
    let differ: Vec<_> = found.iter().zip(&expected).filter(|(found, expected)| found != expected).collect();
    assert!(in_time.is_ok(), "{lines} lines of {calls} calls; {differ:?}");
}

/// Operation and status of each call in a conversation, sorted.
fn call_lines(trace: &Trace, conversation: &str) -> Vec<String> {
    let lines = trace.of_conversation(conversation).into_iter().filter(|line| line["step"] == "call");
    let mut lines: Vec<String> = lines.map(|line| format!("{} {}", line["operation"], line["status"])).collect();
    lines.sort();
    lines
}

/// A quarter and more of the messages are equal.
fn text(number: usize) -> String {
    format!("confidential: {}", if number.is_multiple_of(3) { 1 } else { number })
}

/// What a bot knows of its conversation at the end.
struct Talk {
    conversation: String,
    /// Those of all calls that a function answered, in their order.
    statuses: Vec<u16>,
}

impl Talk {
    fn expected_lines(&self) -> Vec<String> {
        let created = self.statuses.iter().position(|status| *status == 202).expect("repeated until it is created");
        let mut lines = vec![r#""create the conversation" 202"#.to_owned()];
        lines.extend(self.statuses[created + 1..].iter().map(|status| format!(r#""send the message" {status}"#)));
        lines.sort();
        lines
    }
}

/// One conversation from its creation to its end.
async fn talk(stack: &Stack, number: usize) -> Talk {
    let mut statuses = Vec::new();
    let mut until_accepted = async |path: &str, body: &Value, key: &str| {
        let headers = [(CONTENT_TYPE, "application/json"), (KEY, key)];
        for _ in 0..ATTEMPTS {
            let response = stack.chatbot.call(Method::POST, path, &headers, body.to_string()).await;
            // API Gateway's own error, when a function has crashed or none is free, has no request id.
            if response.status() == StatusCode::ACCEPTED || json_of(&response)["requestId"].is_string() {
                statuses.push(response.status().as_u16());
            }
            match response.status() {
                StatusCode::ACCEPTED => return json_of(&response),
                StatusCode::GATEWAY_TIMEOUT => {}
                // While two processors start many processes, the table does not always respond in time. The bridge has sent
                // nothing then, and the key may be claimed for half a minute.
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT => {}
                status => panic!("{status} {response:?}"),
            }
            let wait = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.parse().ok());
            tokio::time::sleep(Duration::from_secs(wait.unwrap_or(1))).await;
        }
        panic!("{key} is unknown after {ATTEMPTS} attempts");
    };
    let body = json!({ "user": { "name": "Sandbox Customer" } });
    let created = until_accepted("", &body, &format!("{number}")).await;
    let conversation = created["conversationId"].as_str().expect("an id").to_owned();
    for message in 0..MESSAGES {
        let body = json!({ "authorType": "user", "text": text(message) });
        until_accepted(&format!("/{conversation}/messages"), &body, &format!("{number}-{message}")).await;
    }
    stack.contact_center.conversation(&conversation).expect("its channel has a webhook").idle();
    Talk { conversation, statuses }
}
