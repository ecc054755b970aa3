//! What all processes of the function remember for a day, in a DynamoDB table: what was answered under which
//! `Idempotency-Key`, and when which line was said.
//!
//! One item per key. A request takes its item before it asks anything of 8x8, and leaves the answer
//! there. An item that was taken and never answered (the process died, or 8x8 did not say what it did) is taken over by
//! the next request with that key, which then knows from when on 8x8 has to be searched for what the first one did.
//!
//! One item per line that was said, without the line: messages have no id of their sender's, so that the same line, said
//! twice, is told apart by its times.
//!
//! The header is that of <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header>.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use shared::aws::failure;
use shared::clock::UnixTime;
use shared::contact_center::client::Answer;
use shared::digest::sha256_hex;

use crate::answer::{REPLAYED, Refusal};

/// How long all of it is kept.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// A process works no longer than this on a request: the function's time-out, and a second for clocks that differ.
const LEASE: Duration = Duration::from_secs(30);

/// The longest key.
const KEY_LIMIT: usize = 255;

type Item = HashMap<String, AttributeValue>;

/// The table.
#[derive(Debug)]
pub(crate) struct Memory {
    client: Client,
    table: String,
}

/// A caller's key, as a digest: the key itself may be anything, and is stored nowhere.
#[derive(Debug)]
pub(crate) struct Key(String);

/// What a key has to do with a request.
#[derive(Debug)]
pub(crate) enum Memo {
    /// The request is ours to work on.
    Ours(Attempt),
    /// It has been answered.
    Answered(Answer),
}

/// One process's work on a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// When the first process began.
    pub(crate) begun_at: UnixTime,
    /// When this one did.
    pub(crate) taken_at: UnixTime,
    /// If one before it may have done it: when.
    pub(crate) former: Option<Window>,
}

/// The time, by our clock, in which an attempt may have been carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: UnixTime,
    /// None: until now.
    pub(crate) until: Option<UnixTime>,
}

impl Key {
    /// The request's key, if it has one.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Option<Self>, Refusal> {
        let mut values = headers.get_all("idempotency-key").iter();
        let Some(value) = values.next() else { return Ok(None) };
        let is_visible = |key: &&[u8]| key.iter().all(u8::is_ascii_graphic) && (1..=KEY_LIMIT).contains(&key.len());
        match (Some(value.as_bytes()).filter(is_visible), values.next()) {
            (Some(key), None) => Ok(Some(Self(sha256_hex(key)))),
            _ => Err(Refusal::InvalidIdempotencyKey),
        }
    }

    /// The name by which what this key's request creates is known at 8x8.
    pub(crate) fn correlation(&self, attempt: &Attempt) -> String {
        sha256_hex(format!("{} {}", self.0, attempt.begun_at.millis()).as_bytes()).split_off(32)
    }
}

impl Memory {
    /// The table of that name.
    pub(crate) fn new(config: &aws_config::SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    /// Takes a key for a request, which is known by `request`, a digest, and worked on by the invocation `owner`.
    pub(crate) async fn take(&self, key: &Key, request: &str, owner: &str, now: UnixTime) -> Result<Memo, Refusal> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(HashMap::from([
                ("id".to_owned(), AttributeValue::S(key.0.clone())),
                ("request".to_owned(), AttributeValue::S(request.to_owned())),
                ("owner".to_owned(), AttributeValue::S(owner.to_owned())),
                ("begun_at".to_owned(), millis(now)),
                ("taken_at".to_owned(), millis(now)),
                ("doubt_from".to_owned(), millis(now)),
                ("in_doubt".to_owned(), AttributeValue::Bool(true)),
                ("expires_at".to_owned(), AttributeValue::N((now + KEPT_FOR).secs().to_string())),
            ])))
            // DynamoDB deletes what has expired within a few days, not at once.
            .condition_expression("attribute_not_exists(id) OR expires_at <= :now")
            .expression_attribute_values(":now", AttributeValue::N(now.secs().to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(Memo::Ours(Attempt { begun_at: now, taken_at: now, former: None })),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let PutItemError::ConditionalCheckFailedException(found) = error.into_err() else {
                    return Err(self.unavailable("an item that cannot be read"));
                };
                let found = found.item.unwrap_or_default();
                // The SDK sends again what got no answer: then it finds what its own first try has put.
                if found.get("owner").is_some_and(|found| found.as_s().is_ok_and(|found| found == owner)) {
                    return Ok(Memo::Ours(Attempt { begun_at: now, taken_at: now, former: None }));
                }
                self.resume(key, request, &found, now).await
            }
            Err(error) => Err(self.unavailable(&failure(&error))),
        }
    }

    async fn resume(&self, key: &Key, request: &str, item: &Item, now: UnixTime) -> Result<Memo, Refusal> {
        let read = |name: &str| item.get(name);
        let time = |name: &str| read(name)?.as_n().ok()?.parse().ok().map(UnixTime::from_millis);
        if read("request").and_then(|value| value.as_s().ok()).is_none_or(|first| first != request) {
            return Err(Refusal::IdempotencyKeyReused);
        }
        if let Some(answer) = answer_of(item) {
            return Ok(Memo::Answered(answer));
        }
        let unreadable = || self.unavailable("an item that cannot be read");
        let begun_at = time("begun_at").ok_or_else(unreadable)?;
        let taken_at = time("taken_at").ok_or_else(unreadable)?;
        let doubt_from = time("doubt_from").ok_or_else(unreadable)?;
        let is_released = read("released") == Some(&AttributeValue::Bool(true));
        if !is_released && now.since(taken_at) < LEASE {
            return Err(Refusal::InProgress);
        }
        let in_doubt = read("in_doubt") == Some(&AttributeValue::Bool(true));
        let update = self
            .item(key)
            .update_expression("SET taken_at = :now, doubt_from = :from, in_doubt = :true, released = :false")
            .condition_expression("taken_at = :taken AND attribute_not_exists(answer_status)")
            .expression_attribute_values(":now", millis(now))
            // Nobody has found out yet about any attempt since then.
            .expression_attribute_values(":from", millis(if in_doubt { doubt_from } else { now }))
            .expression_attribute_values(":taken", millis(taken_at))
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":false", AttributeValue::Bool(false));
        match update.send().await {
            Ok(_) => {
                let former = in_doubt.then_some(Window { from: doubt_from, until: Some(taken_at + LEASE) });
                Ok(Memo::Ours(Attempt { begun_at, taken_at: now, former }))
            }
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                Err(Refusal::InProgress)
            }
            Err(error) => Err(self.unavailable(&failure(&error))),
        }
    }

    /// Keeps the answer. The caller gets it whether that works or not: a repeat would then find at 8x8 what was done.
    pub(crate) async fn keep(&self, key: &Key, attempt: &Attempt, answer: &Answer) {
        let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let update = self
            .item(key)
            .update_expression("SET answer_status = :status, answer_type = :type, answer_body = :body")
            .condition_expression("taken_at = :taken")
            .expression_attribute_values(":taken", millis(attempt.taken_at))
            .expression_attribute_values(":status", AttributeValue::N(answer.status.as_u16().to_string()))
            .expression_attribute_values(":type", AttributeValue::S(content_type.to_owned()))
            .expression_attribute_values(":body", AttributeValue::B(Blob::new(answer.body.to_vec())));
        if let Err(error) = update.send().await {
            let reason = failure(&error);
            tracing::error!(table = self.table, %reason, "an answer is not kept under its Idempotency-Key");
        }
    }

    /// Lets the next request with this key have its turn at once. `in_doubt`: it has to look first what this one did.
    pub(crate) async fn release(&self, key: &Key, attempt: &Attempt, in_doubt: bool) {
        let update = self
            .item(key)
            .update_expression("SET released = :true, in_doubt = :doubt")
            .condition_expression("taken_at = :taken")
            .expression_attribute_values(":taken", millis(attempt.taken_at))
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .expression_attribute_values(":doubt", AttributeValue::Bool(in_doubt));
        if let Err(error) = update.send().await {
            let reason = failure(&error);
            tracing::error!(table = self.table, %reason, "an Idempotency-Key stays taken for half a minute");
        }
    }

    /// The line of that id was said; we began to send it at `at`. Nobody waits for what fails here: it only makes the same
    /// line, said again within a breath and left without an answer, look like this one.
    pub(crate) async fn remember(&self, line: &str, at: UnixTime) {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("id", line_id(line))
            .update_expression("SET said_at = list_append(if_not_exists(said_at, :none), :at), expires_at = :expires")
            .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
            .expression_attribute_values(":at", AttributeValue::L(vec![millis(at)]))
            .expression_attribute_values(":expires", AttributeValue::N((at + KEPT_FOR).secs().to_string()));
        if let Err(error) = update.send().await {
            let reason = failure(&error);
            tracing::warn!(table = self.table, %reason, "a line that was said is not remembered");
        }
    }

    /// When we began to send the lines of that id that 8x8 has taken.
    pub(crate) async fn said(&self, line: &str) -> Result<Vec<UnixTime>, Refusal> {
        let get = self.client.get_item().table_name(&self.table).key("id", line_id(line)).consistent_read(true);
        let item = get.send().await.map_err(|error| self.unavailable(&failure(&error)))?.item.unwrap_or_default();
        let times = item.get("said_at").and_then(|times| times.as_l().ok()).into_iter().flatten();
        Ok(times.filter_map(|time| time.as_n().ok()?.parse().ok().map(UnixTime::from_millis)).collect())
    }

    fn item(&self, key: &Key) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key("id", AttributeValue::S(key.0.clone()))
    }

    fn unavailable(&self, reason: &str) -> Refusal {
        Refusal::Unavailable(format!("table `{}` is unavailable ({reason})", self.table))
    }
}

/// No key has this id: those are digests alone.
fn line_id(line: &str) -> AttributeValue {
    AttributeValue::S(format!("line {line}"))
}

fn millis(time: UnixTime) -> AttributeValue {
    AttributeValue::N(time.millis().to_string())
}

fn answer_of(item: &Item) -> Option<Answer> {
    let status =
        item.get("answer_status")?.as_n().ok()?.parse().ok().and_then(|code| StatusCode::from_u16(code).ok())?;
    let body = Bytes::from(item.get("answer_body")?.as_b().ok()?.clone().into_inner());
    let content_type = item.get("answer_type").and_then(|value| HeaderValue::from_str(value.as_s().ok()?).ok());
    let mut headers = HeaderMap::from_iter([(REPLAYED, HeaderValue::from_static("true"))]);
    headers.extend(content_type.filter(|value| !value.is_empty()).map(|value| (CONTENT_TYPE, value)));
    Some(Answer { status, headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&'static str]) -> Result<Option<Key>, Refusal> {
        let headers = values.iter().map(|value| ("idempotency-key".parse().unwrap(), HeaderValue::from_static(value)));
        Key::read(&HeaderMap::from_iter(headers))
    }

    #[test]
    fn a_key_is_one_header_of_visible_characters() {
        assert!(matches!(key(&[]), Ok(None)));
        assert!(matches!(key(&["8e03978e-40d5-43e8-bc93-6894a57f9324"]), Ok(Some(_))));
        for bad in [&[""][..], &["a b"], &["a", "b"]] {
            assert!(matches!(key(bad), Err(Refusal::InvalidIdempotencyKey)), "{bad:?}");
        }
    }

    #[test]
    fn what_a_key_creates_has_a_name_of_its_own() {
        let attempt = |begun_at| Attempt { begun_at, taken_at: UnixTime::from_millis(9), former: None };
        let (one, two) = (key(&["one"]).unwrap().unwrap(), key(&["two"]).unwrap().unwrap());
        let (first, second) = (attempt(UnixTime::from_millis(1)), attempt(UnixTime::from_millis(2)));
        assert_eq!(one.correlation(&first), one.correlation(&first));
        assert_ne!(one.correlation(&first), one.correlation(&second));
        assert_ne!(one.correlation(&first), two.correlation(&first));
    }
}
