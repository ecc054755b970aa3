//! Whether 8x8 has carried out a request that it has not answered: by what it lists.
//!
//! A conversation is found by a property that only this request has given it. A message is found by its content: it is there if
//! 8x8 lists one more of the same content, at about the time of the attempt, than can be explained by those that are known to
//! have been sent. It is not there only if everything that is listed for that time is explained.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::contact_center::client::Response;
use shared::http::retry_after;
use tokio::time::sleep;

use super::attempt::{COMMIT_WINDOW, Interval, Probe};
use super::fingerprint::MessageFingerprint;
use super::sent_log::{RETENTION, SentLog, SentMessage};
use crate::conversation::{CORRELATION, is_correlated};
use crate::json::{Object, items};
use crate::routes::{Call, Operation, Route};
use crate::upstream::{PAGE_SIZE, Request, Upstream};

/// Pages that are read for one probe at most: ten thousand conversations. What lies beyond is unclear.
const MAX_PAGES: usize = 100;

/// Pages of conversations that are asked for at the same time.
const PAGES_AT_A_TIME: usize = 4;

/// A page that gets no response is asked for again, after these pauses. Longer outages are for the next probe.
const PAGE_DELAYS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// 8x8's clock is read from a response's `Date`, which has whole seconds, and `createdAt` may have whole seconds too.
const SKEW: Duration = Duration::from_secs(2);

/// The authors that 8x8 documents. A message of another may be anyone's.
const AUTHORS: [&str; 4] = ["user", "bot", "agent", "system"];

/// What a request leaves at 8x8.
#[derive(Debug)]
pub(crate) enum Evidence {
    /// A message in a conversation.
    Message { conversation: String, fingerprint: MessageFingerprint },
    /// A conversation with this correlation id.
    Conversation { correlation: String },
    /// Nothing that can be found.
    None,
}

/// Looks for the evidence of one request.
#[derive(Debug)]
pub(super) struct Reconciler<'r> {
    pub(super) upstream: &'r Upstream,
    pub(super) log: SentLog<'r>,
    pub(super) evidence: &'r Evidence,
    pub(super) owner: &'r str,
}

/// A message that 8x8 lists.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    /// 8x8's id, by which a message that is on two pages is known; the older API has none, and only one page.
    id: Option<String>,
    content: String,
    /// By our clock; `None` in the older API, which shows no times.
    time: Option<UnixTime>,
}

/// What is known about a message that may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Found,
    Absent,
    Unclear,
}

/// A list was not read to its end.
#[derive(Debug, Default)]
struct Unlisted {
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
    /// Looks once for what an attempt in `interval` has left.
    pub(super) async fn probe(&self, interval: Interval, now: UnixTime, deadline: UnixTime) -> Probe {
        let probed = match self.evidence {
            Evidence::Message { conversation, fingerprint } => {
                self.probe_message(conversation, fingerprint, interval, now, deadline).await
            }
            Evidence::Conversation { correlation } => {
                let is_recent = now.since(interval.ended) < COMMIT_WINDOW;
                self.probe_conversation(correlation, interval, is_recent, deadline).await
            }
            // Such a request is reported and never probed.
            Evidence::None => Err(Unlisted::default()),
        };
        probed.unwrap_or_else(|Unlisted { retry_after, .. }| Probe::Unclear { retry_after })
    }

    async fn probe_message(
        &self,
        conversation: &str,
        fingerprint: &MessageFingerprint,
        interval: Interval,
        now: UnixTime,
        deadline: UnixTime,
    ) -> Result<Probe, Unlisted> {
        let known = self.log.read(conversation).await.map_err(|error| {
            tracing::warn!(%error, "it cannot be looked up which messages are known");
            Unlisted::default()
        })?;
        let accepted = || Response { status: StatusCode::ACCEPTED, headers: HeaderMap::new(), body: Bytes::new() };
        if known.messages.iter().any(|message| message.is_of(self.owner)) {
            // An earlier call has found it and could not say so.
            return Ok(Probe::Found(accepted()));
        }
        let of_author: Vec<_> =
            known.messages.iter().filter(|message| message.fingerprint.author == fingerprint.author).collect();
        let since = begin_of_search(interval, &of_author);
        let listed = self.list_messages(conversation, &fingerprint.author, since, deadline).await?;
        let judgement = match listed.iter().map(|listed| listed.time).collect::<Option<Vec<_>>>() {
            Some(_) => judge_by_time(&listed, &of_author, &fingerprint.content, interval, now),
            None if self.is_log_complete(conversation, now, deadline).await? => {
                judge_by_count(&listed, &of_author, &fingerprint.content)
            }
            None => Judgement::Unclear,
        };
        match judgement {
            Judgement::Absent => Ok(Probe::Absent),
            Judgement::Unclear => Err(Unlisted::default()),
            Judgement::Found => {
                let found = Interval { began: interval.began, ended: now };
                let message = SentMessage::new(self.owner, fingerprint.clone(), found);
                match self.log.record_found(conversation, &message, known.revision).await {
                    Ok(true) => Ok(Probe::Found(accepted())),
                    // Another request may have found the same message.
                    Ok(false) => Err(Unlisted::default()),
                    Err(error) => {
                        tracing::warn!(%error, "a message that was found cannot be recorded");
                        Err(Unlisted::default())
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
    ) -> Result<Vec<Listed>, Unlisted> {
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
            (None, Order::NewestFirst) => MAX_PAGES + 1,
            // Where the newest ones are is not known.
            (None, Order::OldestFirst) => return Err(Unlisted::default()),
        };
        let numbers: Vec<_> = match order {
            Order::NewestFirst if reaches_back => Vec::new(),
            Order::NewestFirst => (1..total).collect(),
            // The newest ones are on the last page.
            Order::OldestFirst => (1..total).rev().collect(),
        };
        for (read, number) in numbers.iter().enumerate() {
            if read == MAX_PAGES {
                return Err(Unlisted::default());
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
    async fn is_log_complete(&self, conversation: &str, now: UnixTime, deadline: UnixTime) -> Result<bool, Unlisted> {
        let call = Call { route: Route::of(Operation::ShowConversation), path: vec![conversation] };
        let response = self.get(&call, None, deadline).await?;
        let conversation: Value = serde_json::from_slice(&response.body).map_err(|_| Unlisted::default())?;
        let started_at = conversation.get("startTime").and_then(Value::as_str).and_then(UnixTime::from_iso8601);
        Ok(started_at.is_some_and(|started_at| now.since(started_at) < RETENTION))
    }

    async fn probe_conversation(
        &self,
        correlation: &str,
        interval: Interval,
        is_recent: bool,
        deadline: UnixTime,
    ) -> Result<Probe, Unlisted> {
        let call = Call { route: Route::of(Operation::ListConversations), path: Vec::new() };
        let mut rejected = Unlisted::default();
        for filter in self.upstream.filters(CORRELATION, correlation, is_recent) {
            let page = async |number: usize| {
                let query = format!("size={PAGE_SIZE}&page={number}{filter}");
                self.page(&call, &query, "conversations", deadline).await
            };
            let first = match page(0).await {
                Ok(first) => first,
                // Which fields a filter may name is not documented: without it the list is longer.
                Err(unlisted) if unlisted.is_rejected => {
                    rejected = unlisted;
                    continue;
                }
                Err(unlisted) => return Err(unlisted),
            };
            let total = first.total.unwrap_or(if first.items.len() < PAGE_SIZE { 1 } else { MAX_PAGES + 1 });
            if let Some(id) = find_correlated(&first.items, correlation) {
                return Ok(Probe::Found(created(&id, interval)));
            }
            let numbers: Vec<_> = (1..total.min(MAX_PAGES)).collect();
            for numbers in numbers.chunks(PAGES_AT_A_TIME) {
                for page in join_all(numbers.iter().map(|number| page(*number))).await {
                    if let Some(id) = find_correlated(&page?.items, correlation) {
                        return Ok(Probe::Found(created(&id, interval)));
                    }
                }
            }
            return if total <= MAX_PAGES { Ok(Probe::Absent) } else { Err(Unlisted::default()) };
        }
        Err(rejected)
    }

    async fn page(&self, call: &Call<'_>, query: &str, name: &str, deadline: UnixTime) -> Result<Page, Unlisted> {
        let response = self.get(call, Some(query), deadline).await?;
        let unlisted = Unlisted::default;
        let text = std::str::from_utf8(&response.body).map_err(|_| unlisted())?;
        let list = Object::parse(text).ok_or_else(unlisted)?;
        let embedded =
            list.given("_embedded").map(|embedded| Object::parse(embedded).ok_or_else(unlisted)).transpose()?;
        // An empty list may have nothing embedded; what cannot be read is not taken for empty.
        let items = match embedded.and_then(|embedded| embedded.given(name)) {
            None => Vec::new(),
            Some(text) => match items(text) {
                Some(items) => items.into_iter().map(str::to_owned).collect(),
                // HAL allows one item without an array around it.
                None => vec![Object::parse(text).map(|_| text.to_owned()).ok_or_else(unlisted)?],
            },
        };
        let total = list.given("page").and_then(Object::parse).and_then(|page| number(page.given("totalPages")?));
        Ok(Page { items, headers: response.headers, total })
    }

    /// A successful response to a GET.
    async fn get(&self, call: &Call<'_>, query: Option<&str>, deadline: UnixTime) -> Result<Response, Unlisted> {
        let request = Request { call, query, content_type: None, body: Bytes::new(), key: None };
        let mut delays = PAGE_DELAYS.into_iter();
        loop {
            match self.upstream.send(&request, deadline).await {
                Ok(response) if response.status.is_success() => return Ok(response),
                Ok(response) if !response.status.is_server_error() => {
                    let is_rejected = response.status == StatusCode::BAD_REQUEST;
                    return Err(Unlisted { retry_after: retry_after(&response.headers, UnixTime::now()), is_rejected });
                }
                Ok(_) | Err(_) => match delays.next() {
                    Some(delay) => sleep(delay).await,
                    None => return Err(Unlisted::default()),
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
fn read_page(page: &Page, author: &str, since: UnixTime, listed: &mut Vec<Listed>) -> Result<(Order, bool), Unlisted> {
    let clock = TheirClock::read(&page.headers, UnixTime::now());
    let mut times = Vec::new();
    for item in &page.items {
        let unlisted = Unlisted::default;
        let message = Object::parse(item).ok_or_else(unlisted)?;
        let time = match message.given("createdAt") {
            None => None,
            Some(text) => {
                let text: String = serde_json::from_str(text).map_err(|_| unlisted())?;
                Some(clock.ours(UnixTime::from_iso8601(&text).ok_or_else(unlisted)?))
            }
        };
        times.extend(time);
        let fingerprint = MessageFingerprint::of_listed(item).ok_or_else(unlisted)?;
        let may_be_ours = fingerprint.author == author || !AUTHORS.contains(&&*fingerprint.author);
        if may_be_ours && time.is_none_or(|time| time >= since) {
            listed.push(Listed { id: message.given("id").map(str::to_owned), content: fingerprint.content, time });
        }
    }
    let (first, last) = (times.first(), times.last());
    let order = if first < last { Order::OldestFirst } else { Order::NewestFirst };
    Ok((order, times.iter().min().is_some_and(|oldest| *oldest < since)))
}

/// Where the search has to begin so that every message that is known and may be listed for the time of the attempt is seen
/// with the others of its kind.
fn begin_of_search(interval: Interval, known: &[&SentMessage]) -> UnixTime {
    let mut begin = interval.began - SKEW;
    let mut known: Vec<_> = known.iter().map(|message| possible(message)).collect();
    known.sort_unstable_by_key(|(began, _)| std::cmp::Reverse(*began));
    for (from, until) in known {
        if until >= begin && from < begin {
            begin = from;
        }
    }
    begin
}

/// When 8x8 may have created a message that is known: it may take a while after it has accepted it.
fn possible(message: &SentMessage) -> (UnixTime, UnixTime) {
    (message.interval.began - SKEW, message.interval.ended + COMMIT_WINDOW)
}

/// Compares the messages that are listed with those that are known, each with the time in which it was sent.
fn judge_by_time(
    listed: &[Listed],
    known: &[&SentMessage],
    content: &str,
    attempt: Interval,
    now: UnixTime,
) -> Judgement {
    let mut listed: Vec<(UnixTime, &str)> =
        listed.iter().filter_map(|listed| Some((listed.time?, listed.content.as_str()))).collect();
    listed.sort_unstable();
    let mut known: Vec<_> = known.to_vec();
    // First those of the same content, then any of that time: 8x8 may show a message in another form.
    let mut unexplained = explain(listed, &mut known, |known, content| known.fingerprint.content == content);
    let of_content: Vec<_> = unexplained.iter().copied().filter(|(_, listed)| *listed == content).collect();
    unexplained.retain(|(_, listed)| *listed != content);
    let unexplained = explain(unexplained, &mut known, |_, _| true);
    let (begin, end) = (attempt.began - SKEW, attempt.ended + COMMIT_WINDOW + SKEW);
    let is_in_time = |(time, _): &(UnixTime, &str)| (begin..=end).contains(time);
    if of_content.iter().any(is_in_time) {
        return Judgement::Found;
    }
    // One of the same content that is not listed yet may have been taken for another: it is clear when it is listed.
    let is_pending = |message: &&SentMessage| {
        let (from, until) = possible(message);
        message.fingerprint.content == content && from <= end && until >= begin && now < until
    };
    if unexplained.iter().any(is_in_time) || known.iter().any(is_pending) {
        Judgement::Unclear
    } else {
        Judgement::Absent
    }
}

/// What is listed and cannot be one of those that are known; these are removed. Each known one explains one of its time, the
/// one that ends first before the others, so that as many as possible are explained.
fn explain<'l>(
    listed: Vec<(UnixTime, &'l str)>,
    known: &mut Vec<&SentMessage>,
    is_same: impl Fn(&SentMessage, &str) -> bool,
) -> Vec<(UnixTime, &'l str)> {
    let mut unexplained = Vec::new();
    for (time, content) in listed {
        let candidates = known.iter().enumerate().filter(|(_, message)| {
            let (from, until) = possible(message);
            (from..=until).contains(&time) && is_same(message, content)
        });
        match candidates.min_by_key(|(_, message)| message.interval.ended).map(|(index, _)| index) {
            Some(index) => drop(known.swap_remove(index)),
            None => unexplained.push((time, content)),
        }
    }
    unexplained
}

/// Counts, where 8x8 shows no times.
fn judge_by_count(listed: &[Listed], known: &[&SentMessage], content: &str) -> Judgement {
    let same_listed = listed.iter().filter(|listed| listed.content == content).count();
    let same_known = known.iter().filter(|known| known.fingerprint.content == content).count();
    if same_listed > same_known {
        Judgement::Found
    } else if same_listed < same_known || listed.len() > known.len() {
        // One that is known is not listed yet, or one is listed that it may be in another form.
        Judgement::Unclear
    } else {
        Judgement::Absent
    }
}

fn find_correlated(conversations: &[String], correlation: &str) -> Option<String> {
    let found = conversations.iter().find(|conversation| is_correlated(conversation, correlation))?;
    serde_json::from_str(Object::parse(found)?.given("id")?).ok()
}

/// What 8x8 would have answered. When it created the conversation is not shown; it was within the seconds after the attempt
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

    fn at(millis: u64) -> UnixTime {
        UnixTime::from_millis(1_000_000 + millis)
    }

    fn interval(began: u64, ended: u64) -> Interval {
        Interval { began: at(began), ended: at(ended) }
    }

    fn known(content: &str, began: u64, ended: u64) -> SentMessage {
        let fingerprint = MessageFingerprint { author: "user".to_owned(), content: content.to_owned() };
        SentMessage::new("another request", fingerprint, interval(began, ended))
    }

    /// An attempt from 100 to 101 s of a message `a`, judged long after.
    fn judge(listed: &[(&str, u64)], known: &[SentMessage]) -> Judgement {
        let listed: Vec<_> = listed
            .iter()
            .map(|(content, time)| Listed { id: None, content: (*content).to_owned(), time: Some(at(*time)) })
            .collect();
        let known: Vec<_> = known.iter().collect();
        judge_by_time(&listed, &known, "a", interval(100_000, 101_000), at(500_000))
    }

    #[test]
    fn a_message_is_found_if_more_are_listed_than_are_known() {
        assert_eq!(judge(&[("a", 100_500)], &[]), Judgement::Found);
        assert_eq!(judge(&[], &[]), Judgement::Absent);
        // The same was said before, and again.
        assert_eq!(judge(&[("a", 99_000)], &[known("a", 98_500, 99_500)]), Judgement::Absent);
        assert_eq!(judge(&[("a", 99_000), ("a", 100_500)], &[known("a", 98_500, 99_500)]), Judgement::Found);
        // 8x8 accepted the one before and listed it seconds later.
        assert_eq!(judge(&[("a", 100_500)], &[known("a", 98_500, 99_500)]), Judgement::Absent);
        // Too early, too late.
        assert_eq!(judge(&[("a", 90_000), ("a", 140_000)], &[]), Judgement::Absent);
    }

    #[test]
    fn a_message_that_is_not_explained_may_be_it_in_another_form() {
        assert_eq!(judge(&[("b", 100_500)], &[]), Judgement::Unclear);
        assert_eq!(judge(&[("b", 100_500)], &[known("b", 100_000, 101_000)]), Judgement::Absent);
        // Another one that is known, shown in another form.
        assert_eq!(judge(&[("c", 100_500)], &[known("b", 100_000, 101_000)]), Judgement::Absent);
        assert_eq!(judge(&[("b", 90_000)], &[]), Judgement::Absent);
    }

    #[test]
    fn while_a_known_one_is_not_listed_it_is_not_clear() {
        let listed = [Listed { id: None, content: "a".to_owned(), time: Some(at(100_500)) }];
        let one = known("a", 99_000, 99_500);
        let (other, late) = (known("a", 100_000, 101_000), interval(100_000, 101_000));
        assert_eq!(judge_by_time(&listed, &[&one, &other], "a", late, at(130_000)), Judgement::Unclear);
        assert_eq!(judge_by_time(&listed, &[&one, &other], "a", late, at(200_000)), Judgement::Absent);
    }

    #[test]
    fn without_times_the_messages_are_counted() {
        let listed = |contents: &[&str]| -> Vec<Listed> {
            contents.iter().map(|content| Listed { id: None, content: (*content).to_owned(), time: None }).collect()
        };
        let (a, b) = (known("a", 0, 1), known("b", 0, 1));
        assert_eq!(judge_by_count(&listed(&["a", "a"]), &[&a], "a"), Judgement::Found);
        assert_eq!(judge_by_count(&listed(&["a"]), &[&a], "a"), Judgement::Absent);
        assert_eq!(judge_by_count(&listed(&["a", "b"]), &[&a, &b], "a"), Judgement::Absent);
        assert_eq!(judge_by_count(&listed(&["a", "x"]), &[&a], "a"), Judgement::Unclear);
        assert_eq!(judge_by_count(&listed(&[]), &[&a], "a"), Judgement::Unclear);
    }

    #[test]
    fn the_search_begins_before_what_may_be_taken_for_the_message() {
        let attempt = interval(100_000, 101_000);
        assert_eq!(begin_of_search(attempt, &[]), at(98_000));
        assert_eq!(begin_of_search(attempt, &[&known("a", 80_000, 81_000)]), at(78_000));
        assert_eq!(begin_of_search(attempt, &[&known("a", 10_000, 11_000)]), at(98_000));
        let chain = [known("a", 50_000, 51_000), known("a", 80_000, 81_000)];
        assert_eq!(begin_of_search(attempt, &[&chain[0], &chain[1]]), at(48_000));
    }

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
