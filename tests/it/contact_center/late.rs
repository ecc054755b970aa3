//! 8x8 is late, slow, and lists messages in pages and in another order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use contact_center::FailureKind;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use simulation::faults::When;

use super::Alone;
use crate::support::PATIENCE;

#[tokio::test]
async fn what_is_not_answered_may_be_done_later() {
    /// Far more than a response takes, also on a busy machine.
    const LATE: Duration = Duration::from_secs(2);

    let alone = Alone::start().await;
    let responses = [
        (FailureKind::Drops, None),
        (FailureKind::Status500, Some(StatusCode::INTERNAL_SERVER_ERROR)),
        (FailureKind::Status504, Some(StatusCode::GATEWAY_TIMEOUT)),
    ];
    for (number, (kind, response)) in responses.into_iter().enumerate() {
        alone.contact_center.break_next_late("POST", "messages", kind, LATE);
        assert_eq!(alone.say("late").await, response);
        assert_eq!(alone.contact_center.said(&alone.conversation).len(), number, "not yet");
        alone.until_said(number + 1).await;
    }
    // As a fault of the whole, in any of those ways or with no response at all.
    alone.faults.set(contact_center::Fault::CarriesOutLate, When::Next(1));
    let response = tokio::time::timeout(Duration::from_secs(1), alone.say("late")).await;
    assert!(!matches!(response, Ok(Some(status)) if status.is_success()), "{response:?}");
    alone.until_said(4).await;
}

#[tokio::test]
async fn a_slow_8x8_answers_after_nine_seconds() {
    let alone = Alone::start().await;
    alone.faults.set(contact_center::Fault::AnswersSlowly, When::Next(1));
    let begun = Instant::now();
    assert_eq!(alone.say("slow").await, Some(StatusCode::ACCEPTED));
    assert!(begun.elapsed() >= Duration::from_secs(9));
}

#[tokio::test]
async fn messages_may_be_listed_oldest_first_whatever_is_asked_for() {
    let alone = Alone::start().await;
    alone.say("one").await;
    alone.say("two").await;
    assert_eq!(alone.listed("?sort=createdAt:desc").await, ["two", "one"]);
    alone.faults.set(contact_center::Fault::ListsOldestFirst, When::Next(1));
    assert_eq!(alone.listed("?sort=createdAt:desc").await, ["one", "two"]);
}

#[tokio::test]
async fn each_message_may_be_listed_late_in_its_own_time() {
    const MESSAGES: usize = 40;

    let alone = Alone::start().await;
    let conversation = alone.conversation();
    (0..MESSAGES).for_each(|number| conversation.writes("agent", &number.to_string()));
    let begun = Instant::now();
    assert_eq!(alone.listed("?size=100").await.len(), MESSAGES, "all of them are there");
    alone.faults.set(contact_center::Fault::ListsLate, When::For(PATIENCE));
    let mut lengths = BTreeSet::new();
    while lengths.last() != Some(&MESSAGES) {
        lengths.insert(alone.listed("?size=100").await.len());
        assert!(begun.elapsed() < PATIENCE, "some are never listed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Were their delays the same, there would be two lengths.
    assert!(lengths.len() > 3, "{lengths:?}");
}

#[tokio::test]
async fn a_long_conversation_is_listed_in_pages_in_both_orders() {
    let alone = Alone::start().await;
    let conversation = alone.conversation();
    (0..250).for_each(|number| conversation.writes("agent", &number.to_string()));
    let numbers =
        |numbers: &mut dyn Iterator<Item = usize>| numbers.map(|number| number.to_string()).collect::<Vec<_>>();

    // Without a size, twenty, the newest first.
    assert_eq!(alone.listed("").await, numbers(&mut (230..250).rev()));
    let page = json!({ "size": 20, "number": 0, "totalElements": 250, "totalPages": 13 });
    assert_eq!(alone.list("").await["page"], page);
    assert_eq!(alone.listed("?page=12").await, numbers(&mut (0..10).rev()));
    let beyond = alone.list("?page=13").await;
    assert_eq!(beyond.get("_embedded"), None);
    for query in ["messages?size=101", "messages?size=0", "messages?size=many", "messages?sort=text:asc"] {
        let response = alone.call(Method::GET, query, &Value::Null).await.expect("a response");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
    }

    // A message that arrives between two pages pushes the last one of the first page to the second, or is the last of all.
    let first = alone.listed("?size=100").await;
    conversation.writes("agent", "250");
    let second = alone.listed("?size=100&page=1").await;
    assert_eq!((first.last(), second.first()), (Some(&"150".to_owned()), Some(&"150".to_owned())));
    let mut all = Vec::new();
    for page in 0..3 {
        all.extend(alone.listed(&format!("?size=100&page={page}&sort=createdAt:asc")).await);
        conversation.writes("agent", &(251 + page).to_string());
    }
    assert_eq!(all, numbers(&mut (0..253)), "two of the three came before the last page");
}
