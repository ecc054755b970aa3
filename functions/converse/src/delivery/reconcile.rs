//! Finds out from 8x8's lists whether it has carried out a request that it has not responded to.
//!
//! A conversation is found by a property that only this request has given it, a message by its content ([`super::matching`]).

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::contact_center::client::Response;
use shared::http::retry_after;
use tokio::time::{sleep, timeout};

use super::attempt::{COMMIT_WINDOW, Interval, Probe};
use super::fingerprint::{Fingerprint, MessageFingerprint};
use super::matching::{Listed, Verdict, begin_of_search, by_count, by_time};
use super::sent_log::{Entry, RETENTION, SentLog, SentMessage};
use crate::conversation::{CORRELATION, is_correlated};
use crate::json::{Object, items};
use crate::routes::{Call, Operation, Route};
use crate::upstream::{PAGE_SIZE, Request, Upstream};

/// Pages that are read for one probe at most: ten thousand conversations. Beyond that the result is unclear.
const MAX_PAGES: usize = 100;

/// Pages of conversations that are asked for at the same time.
const PAGES_AT_A_TIME: usize = 4;

/// The pauses before a page without a response is requested again. After a longer outage the next probe tries.
const PAGE_DELAYS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// The authors that 8x8 documents. A message of another may be anyone's.
const AUTHORS: [&str; 4] = ["user", "bot", "agent", "system"];

/// Looks for what one request has left.
#[derive(Debug)]
pub(super) struct Reconciler<'r> {
    pub(super) upstream: &'r Upstream,
    pub(super) log: SentLog<'r>,
    pub(super) fingerprint: &'r Fingerprint,
    pub(super) owner: &'r str,
}

/// A list was not read to its end.
#[derive(Debug, Default)]
struct ListError {
    /// When 8x8 wants to be asked again.
    retry_after: Option<Duration>,
    /// 8x8 does not accept the question.
    is_rejected: bool,
}

/// One page of a list.
struct Page {
    items: Vec<String>,
    headers: HeaderMap,
    /// How many pages there are, if 8x8 says so.
    total: Option<usize>,
}

impl Reconciler<'_> {
    /// Searches once for what an attempt in `interval` has left.
    pub(super) async fn probe(&self, interval: Interval, now: UnixTime, deadline: UnixTime) -> Probe {
        let probed = match self.fingerprint {
            Fingerprint::Message { conversation, message } => {
                let probed = self.probe_message(conversation, message, interval, now, deadline);
                timeout(deadline.since(now), probed).await.unwrap_or_else(|_| Err(ListError::default()))
            }
            Fingerprint::Conversation { correlation } => {
                let is_recent = now.since(interval.ended) < COMMIT_WINDOW;
                self.probe_conversation(correlation, interval, is_recent, deadline).await
            }
            // Such a request is reported and never probed.
            Fingerprint::None => Err(ListError::default()),
        };
        probed.unwrap_or_else(|ListError { retry_after, .. }| Probe::Unclear { retry_after })
    }

    async fn probe_message(
        &self,
        conversation: &str,
        message: &MessageFingerprint,
        interval: Interval,
        now: UnixTime,
        deadline: UnixTime,
    ) -> Result<Probe, ListError> {
        let known = self.log.read(conversation).await.map_err(|error| {
            tracing::warn!(%error, "the log of sent messages cannot be read");
            ListError::default()
        })?;
        let accepted = || Response { status: StatusCode::ACCEPTED, headers: HeaderMap::new(), body: Bytes::new() };
        let is_own = |known: &&SentMessage| known.is_of(self.owner);
        if known.messages.iter().filter(is_own).any(|known| known.accepted.is_some()) {
            // An earlier call has found it and could not say so.
            return Ok(Probe::Found(accepted()));
        }
        let others = known.messages.iter().filter(|known| !is_own(known));
        let others: Vec<_> = others.filter(|known| known.fingerprint.author == message.author).collect();
        let since = begin_of_search(interval, &others);
        let listed = self.list_messages(conversation, &message.author, since, deadline).await?;
        let verdict = match listed.iter().all(|listed| listed.time.is_some()) {
            true => by_time(&listed, &others, &message.content, interval, now),
            false if self.is_log_complete(conversation, now, deadline).await? => {
                by_count(&listed, &others, &message.content)
            }
            false => Verdict::Unclear,
        };
        match verdict {
            Verdict::Absent => Ok(Probe::Absent),
            Verdict::Unclear => Err(ListError::default()),
            Verdict::Found => {
                let entry = Entry::new(conversation, self.owner, message.clone());
                let found = Interval { began: interval.began, ended: now };
                match self.log.record_found(&entry, found, known.revision).await {
                    Ok(true) => Ok(Probe::Found(accepted())),
                    // Another request may have found the same message.
                    Ok(false) => Err(ListError::default()),
                    Err(error) => {
                        tracing::warn!(%error, "a message that was found cannot be recorded");
                        Err(ListError::default())
                    }
                }
            }
        }
    }

    /// The messages of an author, or of an unknown one, since that time.
    async fn list_messages(
        &self,
        conversation: &str,
        author: &str,
        since: UnixTime,
        deadline: UnixTime,
    ) -> Result<Vec<Listed>, ListError> {
        let call = Call { route: Route::of(Operation::ListMessages), path: vec![conversation, "messages"] };
        let size = self.upstream.message_page_size();
        let page = async |number: usize| {
            let query = format!("size={size}&page={number}&sort=createdAt:desc");
            self.page(&call, &query, "messages", deadline).await
        };
        let mut listed = Vec::new();
        let first = page(0).await?;
        let (order, reaches_back) = read_page(&first, author, since, &mut listed)?;
        let total = match (first.total, order) {
            (Some(total), _) => total,
            (None, _) if first.items.len() < size => 1,
            (None, Order::NewestFirst) => MAX_PAGES + 2,
            // Where the newest ones are is not known.
            (None, Order::OldestFirst) => return Err(ListError::default()),
        };
        let numbers: Vec<_> = match order {
            Order::NewestFirst if reaches_back => Vec::new(),
            Order::NewestFirst => (1..total).collect(),
            // The newest ones are on the last page.
            Order::OldestFirst => (1..total).rev().collect(),
        };
        for (read, number) in numbers.iter().enumerate() {
            if read == MAX_PAGES {
                return Err(ListError::default());
            }
            let page = page(*number).await?;
            let is_end = page.items.is_empty() && order == Order::NewestFirst;
            if is_end || read_page(&page, author, since, &mut listed)?.1 {
                break;
            }
        }
        let mut seen = HashSet::new();
        listed.retain(|message| message.id.as_ref().is_none_or(|id| seen.insert(id.clone())));
        Ok(listed)
    }

    /// Whether the log knows all messages that the bridge has sent in this conversation: it forgets them some days after.
    async fn is_log_complete(&self, conversation: &str, now: UnixTime, deadline: UnixTime) -> Result<bool, ListError> {
        let call = Call { route: Route::of(Operation::ShowConversation), path: vec![conversation] };
        let response = self.get(&call, None, deadline).await?;
        let conversation: Value = serde_json::from_slice(&response.body).map_err(|_| ListError::default())?;
        let started_at = conversation.get("startTime").and_then(Value::as_str).and_then(UnixTime::from_iso8601);
        Ok(started_at.is_some_and(|started_at| now.since(started_at) < RETENTION))
    }

    async fn probe_conversation(
        &self,
        correlation: &str,
        interval: Interval,
        is_recent: bool,
        deadline: UnixTime,
    ) -> Result<Probe, ListError> {
        let call = Call { route: Route::of(Operation::ListConversations), path: Vec::new() };
        let mut rejected = ListError::default();
        for filter in self.upstream.filters(CORRELATION, correlation, is_recent) {
            let page = async |number: usize| {
                let query = format!("size={PAGE_SIZE}&page={number}{filter}");
                self.page(&call, &query, "conversations", deadline).await
            };
            let first = match page(0).await {
                Ok(first) => first,
                // Which fields a filter may name is not documented: without it the list is longer.
                Err(list_error) if list_error.is_rejected => {
                    rejected = list_error;
                    continue;
                }
                Err(list_error) => return Err(list_error),
            };
            if let Some(id) = find_correlated(&first.items, correlation) {
                return Ok(Probe::Found(created(&id, interval)));
            }
            let total = first.total.unwrap_or(if first.items.len() < PAGE_SIZE { 1 } else { MAX_PAGES + 1 });
            let numbers: Vec<_> = (1..total.min(MAX_PAGES)).collect();
            let mut is_end = total <= MAX_PAGES;
            for numbers in numbers.chunks(PAGES_AT_A_TIME) {
                for page in join_all(numbers.iter().map(|number| page(*number))).await {
                    let page = page?;
                    if let Some(id) = find_correlated(&page.items, correlation) {
                        return Ok(Probe::Found(created(&id, interval)));
                    }
                    is_end |= page.items.is_empty() && first.total.is_none();
                }
                if is_end && first.total.is_none() {
                    break;
                }
            }
            return if is_end { Ok(Probe::Absent) } else { Err(ListError::default()) };
        }
        Err(rejected)
    }

    async fn page(&self, call: &Call<'_>, query: &str, name: &str, deadline: UnixTime) -> Result<Page, ListError> {
        let response = self.get(call, Some(query), deadline).await?;
        let list_error = ListError::default;
        let text = std::str::from_utf8(&response.body).map_err(|_| list_error())?;
        let list = Object::parse(text).ok_or_else(list_error)?;
        let embedded =
            list.given("_embedded").map(|embedded| Object::parse(embedded).ok_or_else(list_error)).transpose()?;
        // An empty list may have nothing embedded; what cannot be read is not taken for empty.
        let items = match embedded.and_then(|embedded| embedded.given(name)) {
            None => Vec::new(),
            Some(text) => match items(text) {
                Some(items) => items.into_iter().map(str::to_owned).collect(),
                // HAL allows one item without an array around it.
                None => vec![Object::parse(text).map(|_| text.to_owned()).ok_or_else(list_error)?],
            },
        };
        let total = list.given("page").and_then(Object::parse).and_then(|page| number(page.given("totalPages")?));
        Ok(Page { items, headers: response.headers, total })
    }

    /// A successful response to a GET.
    async fn get(&self, call: &Call<'_>, query: Option<&str>, deadline: UnixTime) -> Result<Response, ListError> {
        let request = Request { call, query, content_type: None, body: Bytes::new(), key: None };
        let mut delays = PAGE_DELAYS.into_iter();
        loop {
            match self.upstream.send(&request, deadline).await {
                Ok(response) if response.status.is_success() => return Ok(response),
                Ok(response) if !response.status.is_server_error() => {
                    let is_rejected = response.status == StatusCode::BAD_REQUEST;
                    return Err(ListError {
                        retry_after: retry_after(&response.headers, UnixTime::now()),
                        is_rejected,
                    });
                }
                Ok(response) if response.headers.contains_key(RETRY_AFTER) => {
                    let retry_after = retry_after(&response.headers, UnixTime::now());
                    return Err(ListError { retry_after, is_rejected: false });
                }
                Ok(_) | Err(_) => match delays.next() {
                    Some(delay) => sleep(delay).await,
                    None => return Err(ListError::default()),
                },
            }
        }
    }
}

/// How a page is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    NewestFirst,
    OldestFirst,
}

/// Adds the messages of a page; gives its order and whether nothing on the pages after it is of interest.
fn read_page(page: &Page, author: &str, since: UnixTime, listed: &mut Vec<Listed>) -> Result<(Order, bool), ListError> {
    let clock = TheirClock::read(&page.headers, UnixTime::now());
    let mut times = Vec::new();
    for item in &page.items {
        let list_error = ListError::default;
        let message = Object::parse(item).ok_or_else(list_error)?;
        let time = match message.given("createdAt") {
            None => None,
            Some(text) => {
                let text: String = serde_json::from_str(text).map_err(|_| list_error())?;
                Some(clock.ours(UnixTime::from_iso8601(&text).ok_or_else(list_error)?))
            }
        };
        times.extend(time);
        let fingerprint = MessageFingerprint::of_listed(item).ok_or_else(list_error)?;
        let may_be_ours = fingerprint.author == author || !AUTHORS.contains(&&*fingerprint.author);
        if may_be_ours && time.is_none_or(|time| time >= since) {
            listed.push(Listed { id: message.given("id").map(str::to_owned), content: fingerprint.content, time });
        }
    }
    let (first, last) = (times.first(), times.last());
    let order = if first < last { Order::OldestFirst } else { Order::NewestFirst };
    Ok((order, times.iter().min().is_some_and(|oldest| *oldest < since)))
}

fn find_correlated(conversations: &[String], correlation: &str) -> Option<String> {
    let found = conversations.iter().find(|conversation| is_correlated(conversation, correlation))?;
    serde_json::from_str(Object::parse(found)?.given("id")?).ok()
}

/// What 8x8's response would have been. The time of a creation is not listed; it was within the seconds after the attempt
/// began.
fn created(id: &str, interval: Interval) -> Response {
    let body = json!({ "conversationId": id, "createdAt": interval.began.to_iso8601() });
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/hal+json"))]);
    Response { status: StatusCode::ACCEPTED, headers, body: body.to_string().into() }
}

/// A number as 8x8's gateway may write it: `5`, `5.0` or `"5"`.
fn number(text: &str) -> Option<usize> {
    let number: f64 = text.trim_matches('"').parse().ok()?;
    (number >= 0.0 && number.fract() == 0.0).then_some(number as usize)
}

/// How far 8x8's clock is from ours.
#[derive(Debug, Clone, Copy)]
struct TheirClock {
    ahead: Duration,
    behind: Duration,
}

impl TheirClock {
    /// From a response that came just now.
    fn read(headers: &HeaderMap, now: UnixTime) -> Self {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok()).and_then(UnixTime::from_http_date);
        let theirs = date.unwrap_or(now);
        Self { ahead: theirs.since(now), behind: now.since(theirs) }
    }

    /// A time of theirs by our clock.
    fn ours(self, time: UnixTime) -> UnixTime {
        time + self.behind - self.ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_8x8_is_read_by_our_clock() {
        let now = UnixTime::from_secs(784_111_777);
        let of = |date: &'static str| TheirClock::read(&HeaderMap::from_iter([(DATE, date.parse().unwrap())]), now);
        assert_eq!(of("Sun, 06 Nov 1994 08:50:37 GMT").ours(now + Duration::from_secs(60)), now);
        assert_eq!(of("Sun, 06 Nov 1994 08:48:37 GMT").ours(now - Duration::from_secs(60)), now);
        assert_eq!(TheirClock::read(&HeaderMap::new(), now).ours(now), now);
    }

    #[test]
    fn the_number_of_pages_is_read_in_every_form() {
        assert_eq!((number("5"), number("5.0"), number("\"5\""), number("x")), (Some(5), Some(5), Some(5), None));
    }
}
