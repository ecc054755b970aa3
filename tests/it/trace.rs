//! One conversation can be followed through the log lines: each event and each call of the bot, by one field.

use contact_center::signer::Claims;
use http::header::CONTENT_TYPE;
use http::{HeaderName, Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::trace::Trace;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Stack};

/// What an event may cost in CloudWatch Logs, in bytes: half a dollar a gigabyte makes it 30 cents for a million events.
const EVENT_LIMIT: usize = 600;

/// The lines about events of a conversation that have a step, as soon as there are so many.
async fn lines(stack: &Stack, conversation: &str, count: usize) -> Vec<Value> {
    steps(stack, conversation, count, |step| step != "call").await
}

/// The lines of a conversation that have such a step, as soon as there are so many.
async fn steps(stack: &Stack, conversation: &str, count: usize, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    let found = async {
        loop {
            let trace = Trace::of(&stack.logs());
            let lines = trace.of_conversation(conversation).into_iter();
            let lines: Vec<Value> = lines.filter(|line| is_wanted(&line["step"])).cloned().collect();
            if lines.len() >= count {
                return lines;
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("the lines are written")
}

fn texts<'l>(lines: &'l [Value], field: &str) -> Vec<&'l str> {
    lines.iter().map(|line| line[field].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn the_way_of_an_event_is_found_by_its_conversation() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let delivered = conversation.event("MESSAGE", crate::support::message(conversation.id()));
    assert!(stack.settle(PATIENCE).await);
    stack.bot.refuse_conversation(conversation.id(), 422, None);
    let rejected = conversation.event("MESSAGE", crate::support::message(conversation.id()));
    assert!(stack.settle(PATIENCE).await);

    let lines = lines(&stack, conversation.id(), 4).await;
    assert_eq!(texts(&lines, "step"), ["queued", "delivered", "queued", "dead-lettered"]);
    assert_eq!(texts(&lines, "event_id"), [&*delivered, &*delivered, &*rejected, &*rejected]);
    assert_eq!(texts(&lines, "event_type"), ["MESSAGE"; 4]);
    assert!(lines[0]["took_ms"].is_u64() && lines[1]["took_ms"].is_u64() && lines[1]["age_ms"].is_u64());
    assert_eq!((lines[3]["reason"].as_str(), lines[3]["status"].as_u64()), (Some("rejected"), Some(422)));
    stack.finish().await;
}

/// All that both functions print for it, with ids as long as 8x8's may be.
#[tokio::test]
async fn an_ordinary_event_costs_at_most_600_bytes_of_logs() {
    let stack = Stack::with(SandboxSettings { concurrency: 1, ..SandboxSettings::default() }).await;
    let conversation = "c".repeat(27);
    let post = async |number: usize| {
        let body = crate::support::message(&conversation);
        let claims = Claims { event_id: format!("{number:064}"), ..stack.claims() };
        let headers = stack.contact_center.signer().headers(body.as_bytes(), &claims);
        assert_eq!(stack.post(&headers, body).await.status(), StatusCode::OK);
        assert!(stack.settle(PATIENCE).await);
    };
    // The first event of a process has lines of the start with it.
    post(0).await;
    lines(&stack, &conversation, 2).await;
    let so_far = stack.logs().len();
    let count = 10;
    for number in 1..=count {
        post(number).await;
    }
    lines(&stack, &conversation, 2 + 2 * count).await;
    let bytes: usize = stack.logs()[so_far..].iter().map(|line| line.text.len() + 1).sum();
    assert!(bytes <= count * EVENT_LIMIT, "{} bytes", bytes / count);
    stack.finish().await;
}

#[tokio::test]
async fn an_event_that_8x8_sends_again_has_a_line_for_each_time_that_it_is_accepted() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let event_id = conversation.event("MESSAGE", crate::support::message(conversation.id()));
    assert!(stack.settle(PATIENCE).await);
    stack.contact_center.resend(&event_id, contact_center::Resend::Again).await.expect("8x8 knows the event");
    let lines = lines(&stack, conversation.id(), 3).await;
    assert_eq!(texts(&lines, "step"), ["queued", "delivered", "queued"]);
    assert_eq!(lines[2]["retry"], 1);
    assert_eq!(lines[2]["message"], "queued after 8x8 has sent it again");
    assert!(lines[0].get("retry").is_none());
    stack.finish().await;
}

#[tokio::test]
async fn ids_that_sqs_would_not_take_are_the_same_short_ids_in_all_lines() {
    let stack = Stack::start().await;
    let conversation = "an id with spaces, ü, and far too long ".repeat(100);
    let body = crate::support::message(&conversation);
    assert_eq!(stack.post_signed(body).await.status(), StatusCode::OK);
    assert!(stack.settle(PATIENCE).await);
    let id = shared::queue::permitted_id(&conversation);
    let lines = lines(&stack, &id, 2).await;
    assert_eq!(texts(&lines, "step"), ["queued", "delivered"]);
    assert_eq!(stack.logged("far too long"), 0);
    stack.finish().await;
}

#[tokio::test]
async fn an_event_without_a_conversation_has_all_fields_and_an_undocumented_type_stays_out_of_the_lines() {
    let stack = Stack::start().await;
    assert_eq!(stack.post_signed(r#"{"eventType":"confidential"}"#).await.status(), StatusCode::OK);
    assert!(stack.settle(PATIENCE).await);
    let lines = lines(&stack, "no-conversation", 2).await;
    assert_eq!(texts(&lines, "event_type"), ["undocumented"; 2]);
    assert_eq!(Trace::of(&stack.logs()).nameless(), [""; 0]);
    stack.finish().await;
}

#[tokio::test]
async fn a_call_of_the_bot_has_one_line_with_operation_conversation_and_key_whatever_becomes_of_it() {
    let stack = Stack::start().await;
    let (status, created) = stack.chatbot.open(&json!({ "user": {} }), "confidential-key-1").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let id = created["conversationId"].as_str().expect("an id").to_owned();
    let said = async |key: &str, text: &str| stack.chatbot.say(&id, "user", text, key).await.status();
    assert_eq!(said("confidential-key-2", "confidential: a").await, StatusCode::ACCEPTED);
    assert_eq!(said("confidential-key-2", "confidential: a").await, StatusCode::ACCEPTED);
    assert_eq!(said("confidential-key-2", "confidential: b").await, StatusCode::UNPROCESSABLE_ENTITY);
    let headers = [(CONTENT_TYPE, "application/json"), (HeaderName::from_static("idempotency-key"), "a b")];
    let response = stack.chatbot.call(Method::POST, &format!("/{id}/messages"), &headers, "{}").await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(stack.chatbot.get(&format!("/{id}/messages/none")).await.0, StatusCode::NOT_FOUND);

    let lines = steps(&stack, &id, 6, |step| step == "call").await;
    let calls: Vec<_> =
        lines.iter().map(|line| (line["operation"].as_str().unwrap(), line["status"].as_u64().unwrap())).collect();
    assert_eq!(
        calls,
        [
            ("create the conversation", 202),
            ("send the message", 202),
            ("send the message", 202),
            ("send the message", 422),
            ("send the message", 400),
            ("show the message", 404),
        ]
    );
    assert!(lines.iter().all(|line| line["step"] == "call" && line["took_ms"].is_u64()));
    let digest = |key: &str| shared::digest::sha256_hex(key.as_bytes())[..8].to_owned();
    let (first, second) = (digest("confidential-key-1"), digest("confidential-key-2"));
    assert_eq!(texts(&lines, "key"), [&*first, &*second, &*second, &*second, "", ""]);
    assert!(texts(&lines, "message")[2].contains("repeated"));
    assert_eq!(Trace::of(&stack.logs()).nameless(), [""; 0]);
    stack.finish().await;
}

#[tokio::test]
async fn an_error_of_converse_holds_the_request_id_of_its_log_lines() {
    let stack = Stack::start().await;
    let (status, error) = stack.chatbot.get("/some-conversation/nothing").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let request_id = error["requestId"].as_str().expect("the error holds it").to_owned();
    let is_written = async {
        while stack.logged(&format!(r#""requestId":"{request_id}""#)) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_written).await.expect("the line of the call has it");
    stack.finish().await;
}
