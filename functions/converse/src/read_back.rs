//! Looking at 8x8 for what an operation would have left there, when 8x8 has not said whether it carried it out.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::config::ContactCenterApi;
use shared::contact_center::client::{Answer, ContactCenter};
use shared::digest::sha256_hex;
use tokio::time::sleep;

use crate::creation::{CORRELATION, is_correlated};
use crate::dialect::{answer, outgoing};
use crate::memory::{Memory, Window};
use crate::operation::{Call, Content, Operation};

/// A list that does not come is asked for again.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// Before each try of a list: whoever has just failed may fail again.
const LIST_PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(500)];

/// 8x8's clock is read from an answer's `Date`, which has whole seconds, and `createdAt` may have whole seconds too.
const SKEW: Duration = Duration::from_secs(2);

/// The largest page of 8x8's lists, and as many pages of open conversations as fit into a look.
const PAGE_SIZE: usize = 100;
const PAGES: u64 = 20;

/// What an operation leaves at 8x8.
#[derive(Debug)]
pub(crate) enum Evidence {
    /// A line of a conversation.
    Line(Line),
    /// A conversation with this correlation id.
    Creation(String),
    /// Nothing that can be found.
    None,
}

/// What a message says and who says it: messages have no id of the sender's, so that this is all they are known by.
#[derive(Debug, PartialEq)]
pub(crate) struct Line {
    author_type: String,
    text: String,
    attachments: Vec<Value>,
    cards: Vec<(Value, Value)>,
    external_id: Value,
}

impl Line {
    /// Of a message's body.
    pub(crate) fn sent(message: &Value) -> Self {
        Self::read(message, message.get("authorType"))
    }

    /// Of a message as the Chat Gateway lists it.
    fn listed(message: &Value) -> Self {
        Self::read(message, message.pointer("/author/type"))
    }

    fn read(message: &Value, author_type: Option<&Value>) -> Self {
        let items = |name: &str| message.get(name).and_then(Value::as_array).into_iter().flatten();
        let field = |item: &Value, name: &str| item.get(name).cloned().unwrap_or_default();
        let external_id = message.pointer("/externalProvider/externalMessageId").cloned().unwrap_or_default();
        Self {
            author_type: author_type.and_then(Value::as_str).unwrap_or("user").to_owned(),
            // 8x8 itself fetches the text of a message of another provider.
            text: if external_id.is_null() {
                message.get("text").and_then(Value::as_str).unwrap_or_default().trim().to_owned()
            } else {
                String::new()
            },
            attachments: items("attachments").map(|item| field(item, "id")).collect(),
            cards: items("cards").map(|item| (field(item, "contentType"), field(item, "content"))).collect(),
            external_id,
        }
    }

    /// What the line is remembered by: the same for all that say the same in a conversation.
    pub(crate) fn id(&self, conversation: &str) -> String {
        let cards: Vec<_> = self.cards.iter().map(|(kind, content)| json!([kind, content])).collect();
        let line = json!([conversation, self.author_type, self.text, self.attachments, cards, self.external_id]);
        sha256_hex(line.to_string().as_bytes())
    }
}

/// Where a search for a line has to begin so that it is clear which of the same lines it sees, and how many it sees that are
/// known: `said_at`, when we began to send those that 8x8 has taken. What is found beyond them is the line in doubt.
fn known(said_at: &[UnixTime], window: Window) -> (UnixTime, usize) {
    let mut said_at = said_at.to_vec();
    said_at.sort_unstable_by(|one, other| other.cmp(one));
    let first = window.from - SKEW;
    let begin = said_at.iter().fold(first, |begin, at| if *at >= begin - SKEW { begin.min(*at - SKEW) } else { begin });
    let is_seen = |at: &&UnixTime| **at >= begin && window.until.is_none_or(|until| **at <= until + SKEW);
    (begin, said_at.iter().filter(is_seen).count())
}

/// Looks once. `Some` if there is an answer: what was found, or nothing.
pub(crate) async fn look(
    contact_center: &ContactCenter,
    memory: &Memory,
    call: &Call<'_>,
    evidence: &Evidence,
    window: Window,
) -> Option<Option<Found>> {
    match evidence {
        Evidence::Line(line) => {
            let conversation = call.conversation()?;
            let said_at = memory.said(&line.id(conversation)).await.ok()?;
            look_for_line(contact_center, conversation, line, window, &said_at).await
        }
        Evidence::Creation(id) => look_for_creation(contact_center, id).await,
        Evidence::None => None,
    }
}

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Line,
    Conversation(String),
}

async fn look_for_line(
    contact_center: &ContactCenter,
    conversation: &str,
    line: &Line,
    window: Window,
    said_at: &[UnixTime],
) -> Option<Option<Found>> {
    let call = Call { operation: Operation::ListMessages, path: vec![conversation, "messages"] };
    let query = match contact_center.api() {
        ContactCenterApi::ChatGatewayV1 => format!("size={PAGE_SIZE}&sort=createdAt:desc"),
        // It gives all of them, and we all of those.
        ContactCenterApi::ChatApiV2 => format!("size={}", usize::MAX),
    };
    let (begin, known) = known(said_at, window);
    let answer = list(contact_center, &call, query).await.filter(|answer| answer.status.is_success())?;
    let clock = TheirClock::read(&answer.headers, UnixTime::now());
    let list: Value = serde_json::from_slice(&answer.body).ok()?;
    let is_in_time = |message: &Value| match message.get("createdAt").and_then(Value::as_str) {
        // The older API tells no times.
        None => true,
        Some(time) => UnixTime::from_iso8601(time).is_some_and(|time| {
            let time = clock.ours(time);
            time >= begin && window.until.is_none_or(|until| time <= until + SKEW)
        }),
    };
    let is_it = |message: &Value| Line::listed(message) == *line && is_in_time(message);
    let found = items(&list, "/_embedded/messages").filter(is_it).count();
    Some((found > known).then_some(Found::Line))
}

async fn look_for_creation(contact_center: &ContactCenter, id: &str) -> Option<Option<Found>> {
    let call = Call { operation: Operation::ListConversations, path: Vec::new() };
    let mut condition = match contact_center.api() {
        // One that has just been created has not ended.
        ContactCenterApi::ChatGatewayV1 => "&filter=state!%3Didle".to_owned(),
        ContactCenterApi::ChatApiV2 => format!("&customer.{CORRELATION}={id}"),
    };
    let mut page = 0;
    while page < PAGES {
        let answer = list(contact_center, &call, format!("size={PAGE_SIZE}&page={page}{condition}")).await?;
        // Which fields a filter may name is not documented.
        if answer.status == StatusCode::BAD_REQUEST && !condition.is_empty() {
            condition.clear();
            continue;
        }
        let list: Value = serde_json::from_slice(&answer.body).ok().filter(|_| answer.status.is_success())?;
        let found = items(&list, "/_embedded/conversations").find(|conversation| is_correlated(conversation, id));
        if let Some(conversation) = found {
            let id = conversation.get("id")?.as_str()?.to_owned();
            return Some(Some(Found::Conversation(id)));
        }
        page += 1;
        if list.pointer("/page/totalPages").and_then(Value::as_u64).unwrap_or(0) <= page {
            return Some(None);
        }
    }
    None
}

/// A list of 8x8's as the Chat Gateway gives it; `None` if there is no answer.
async fn list(contact_center: &ContactCenter, call: &Call<'_>, query: String) -> Option<Answer> {
    let config = contact_center.config();
    let content = Content { query: Some(query.clone()), ..Content::default() };
    let mut outgoing = outgoing(config, &Method::GET, call, content).ok()?;
    outgoing.timeout = LOOK_TIMEOUT;
    for pause in LIST_PAUSES {
        sleep(pause).await;
        match contact_center.exchange("look what it has done", &outgoing).await {
            Ok(listed) if listed.status.is_server_error() || listed.status == StatusCode::TOO_MANY_REQUESTS => {}
            Ok(listed) => return Some(answer(config, call, Some(&query), listed)),
            Err(_) => {}
        }
    }
    None
}

/// The items of a list, if it is one.
fn items(list: &Value, pointer: &str) -> impl Iterator<Item = Value> {
    list.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default().into_iter()
}

/// How far 8x8's clock is from ours.
#[derive(Debug, Clone, Copy)]
struct TheirClock {
    ahead: Duration,
    behind: Duration,
}

impl TheirClock {
    /// From an answer that came just now.
    fn read(headers: &HeaderMap, now: UnixTime) -> Self {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok()).and_then(UnixTime::from_http_date);
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

    #[test]
    fn a_line_is_the_same_when_it_is_listed() {
        let card = json!({ "contentType": "application/8x8.quick.replies", "content": { "options": [] } });
        let sent = json!({ "authorType": "bot", "text": "Hi ", "attachments": [{ "id": "a" }], "cards": [card] });
        let mut listed = json!({
            "id": "m",
            "text": "Hi",
            "author": { "id": "bot", "type": "bot" },
            "attachments": [{ "id": "a", "fileName": "x" }],
            "cards": [card],
        });
        listed["cards"][0]["id"] = "c".into();
        assert_eq!(Line::sent(&sent), Line::listed(&listed));
        listed["author"]["type"] = "user".into();
        assert_ne!(Line::sent(&sent), Line::listed(&listed));
    }

    #[test]
    fn a_message_of_another_provider_is_known_by_its_id_there() {
        let provider = json!({ "name": "X", "externalMessageId": "1" });
        let sent = json!({ "authorType": "user", "externalProvider": provider });
        let listed = json!({ "text": "fetched", "author": { "type": "user" }, "externalProvider": provider });
        assert_eq!(Line::sent(&sent), Line::listed(&listed));
    }

    #[test]
    fn a_search_begins_where_it_is_clear_which_of_the_same_lines_it_sees() {
        let open = |from| Window { from: at(from), until: None };
        let said_at = [at(9_500), at(0), at(8_000)];
        // Two were said a breath ago, the third is too far away.
        assert_eq!(known(&said_at, open(10_000)), (at(6_000), 2));
        assert_eq!(known(&said_at, open(20_000)), (at(18_000), 0));
        assert_eq!(known(&[], open(10_000)), (at(8_000), 0));
        // What was said after an attempt that may have been carried out is not that attempt's.
        assert_eq!(known(&said_at, open(5_000)), (at(3_000), 2));
        let closed = Window { from: at(5_000), until: Some(at(6_500)) };
        assert_eq!(known(&said_at, closed), (at(3_000), 1));
    }

    #[test]
    fn a_time_of_8x8_is_read_by_our_clock() {
        let now = UnixTime::from_secs(784_111_777);
        let of =
            |date: &'static str| TheirClock::read(&HeaderMap::from_iter([(header::DATE, date.parse().unwrap())]), now);
        assert_eq!(of("Sun, 06 Nov 1994 08:50:37 GMT").ours(now + Duration::from_secs(60)), now);
        assert_eq!(of("Sun, 06 Nov 1994 08:48:37 GMT").ours(now - Duration::from_secs(60)), now);
        assert_eq!(TheirClock::read(&HeaderMap::new(), now).ours(now), now);
    }
}
