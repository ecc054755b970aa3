//! What a message is recognised by: its content, because 8x8 gives a message no id that its sender knows. 8x8 may list a
//! message in another form than it was sent (line ends, HTML entities, the Unicode form, `1.0` as `1`, a default content type
//! of a card), so that both sides are normalised before they are compared.

use serde_json::{Map, Number, Value, json};
use shared::digest::sha256_hex;
use unicode_normalization::UnicodeNormalization;

use super::sent_log::Entry;
use crate::json::{Object, items};

/// Characters of a SHA-256 that are kept: 64 bits distinguish the messages of a conversation.
const LENGTH: usize = 16;

/// HTML entities of the characters that a service escapes, without the ampersand; `&amp;` itself is handled beside them.
const ENTITIES: [(&str, char); 8] = [
    ("lt;", '<'),
    ("gt;", '>'),
    ("quot;", '"'),
    ("apos;", '\''),
    ("#39;", '\''),
    ("#x27;", '\''),
    ("#x2F;", '/'),
    ("nbsp;", ' '),
];

/// What a request is recognised by at 8x8.
#[derive(Debug)]
pub(crate) enum Fingerprint {
    /// A message in a conversation.
    Message { conversation: String, message: MessageFingerprint },
    /// A conversation with this correlation id.
    Conversation { correlation: String },
    /// Nothing.
    None,
}

impl Fingerprint {
    /// If it is a message: how the log of its conversation has it.
    pub(crate) fn entry(&self, owner: &str) -> Option<Entry> {
        match self {
            Self::Message { conversation, message } => Some(Entry::new(conversation, owner, message.clone())),
            Self::Conversation { .. } | Self::None => None,
        }
    }
}

/// A message's author and a digest of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageFingerprint {
    /// `user` or `bot`, or what else 8x8 calls it.
    pub(crate) author: String,
    /// Of the normalised content.
    pub(crate) content: String,
}

impl MessageFingerprint {
    /// Of the body of a message that is sent; `None` if it is not an object, so that 8x8 rejects it.
    pub(crate) fn of_sent(message: &str) -> Option<Self> {
        let message = Object::parse(message)?;
        // 8x8's default.
        let author = message.get("authorType").map(lenient);
        let author = author.as_ref().and_then(Value::as_str).unwrap_or("user").to_owned();
        Some(Self { author, content: content(&message) })
    }

    /// Of a message as the Chat Gateway lists it; `None` if it is not an object.
    pub(crate) fn of_listed(message: &str) -> Option<Self> {
        let message = Object::parse(message)?;
        let author = message.get("author").and_then(Object::parse)?;
        let author = lenient(author.get("type").unwrap_or_default()).as_str().unwrap_or_default().to_owned();
        Some(Self { author, content: content(&message) })
    }
}

fn content(message: &Object<'_>) -> String {
    let list = |name: &str| message.get(name).and_then(items).unwrap_or_default();
    let field = |item: &str, name: &str| Object::parse(item)?.get(name).map(lenient);
    let external_id = message.given("externalProvider").and_then(|provider| field(provider, "externalMessageId"));
    let text = match external_id {
        // 8x8 itself fetches the text of a message of another provider.
        Some(_) => String::new(),
        None => message.get("text").map(lenient).as_ref().and_then(Value::as_str).map(normalised).unwrap_or_default(),
    };
    let attachments: Vec<_> = list("attachments").into_iter().map(|item| field(item, "id")).collect();
    let cards: Vec<_> = list("cards").into_iter().map(|item| field(item, "content").map(canonical)).collect();
    let mut digest = sha256_hex(json!([text, attachments, cards, external_id]).to_string().as_bytes());
    digest.truncate(LENGTH);
    digest
}

/// Reads a value even if it has half a surrogate pair or a number out of range; as a last resort it is its own text.
fn lenient(text: &str) -> Value {
    let read = serde_json::from_str(text);
    read.or_else(|_| serde_json::from_str(&without_surrogates(text))).unwrap_or_else(|_| Value::from(text))
}

/// With `\ufffd` for each escape of a surrogate, in pairs or not: those texts are not read to be shown.
fn without_surrogates(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('\\') {
        let (before, escape) = rest.split_at(start);
        result.push_str(before);
        let is_surrogate = escape.get(1..4).is_some_and(|begin| {
            let begin = begin.to_ascii_lowercase();
            ["ud8", "ud9", "uda", "udb", "udc", "udd", "ude", "udf"].contains(&&*begin)
        });
        // Any other escape has at least two characters; a backslash at the end is no JSON.
        let length = if is_surrogate { 6 } else { 2 };
        let (escape, after) = escape.split_at_checked(length).unwrap_or((escape, ""));
        result.push_str(if is_surrogate { "\\ufffd" } else { escape });
        rest = after;
    }
    result.push_str(rest);
    result
}

/// A text in one form.
fn normalised(text: &str) -> String {
    decoded(text).split_whitespace().collect::<Vec<_>>().join(" ").nfc().collect()
}

/// A text without HTML entities, also where they were escaped several times (`&amp;amp;lt;`).
fn decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        rest = after.trim_start_matches("amp;");
        match ENTITIES.iter().find_map(|(entity, letter)| Some((rest.strip_prefix(entity)?, *letter))) {
            Some((after, letter)) => {
                decoded.push(letter);
                rest = after;
            }
            None => decoded.push('&'),
        }
    }
    decoded.push_str(rest);
    decoded
}

/// A card's content in one form: without members that are `null`, numbers by their value.
fn canonical(value: Value) -> Value {
    match value {
        Value::String(text) => normalised(&text).into(),
        Value::Number(number) => by_value(&number),
        Value::Array(items) => items.into_iter().map(canonical).collect(),
        Value::Object(members) => {
            let given = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(given.map(|(name, value)| (name, canonical(value))).collect::<Map<_, _>>())
        }
        other @ (Value::Null | Value::Bool(_)) => other,
    }
}

fn by_value(number: &Number) -> Value {
    number.as_f64().map_or_else(|| number.clone().into(), |value| json!(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(message: &Value) -> MessageFingerprint {
        MessageFingerprint::of_sent(&message.to_string()).unwrap()
    }

    fn listed(message: &Value) -> MessageFingerprint {
        MessageFingerprint::of_listed(&message.to_string()).unwrap()
    }

    fn text(text: &str) -> Value {
        json!({ "author": { "id": "1", "type": "user" }, "text": text, "createdAt": "2021-01-30T08:30:00Z" })
    }

    #[test]
    fn a_message_is_recognised_when_it_is_listed() {
        let card = json!({ "contentType": "application/8x8.quick.replies", "content": { "options": [] } });
        let message = json!({ "authorType": "bot", "text": "Hi ", "attachments": [{ "id": "a" }], "cards": [card] });
        let mut shown = json!({
            "id": "m",
            "text": "Hi",
            "author": { "id": "bot", "type": "bot" },
            "attachments": [{ "id": "a", "fileName": "x" }],
            "cards": [card],
        });
        shown["cards"][0]["id"] = "c".into();
        assert_eq!(sent(&message), listed(&shown));
        shown["author"]["type"] = "user".into();
        assert_ne!(sent(&message), listed(&shown));
    }

    #[test]
    fn the_form_of_a_text_makes_no_difference() {
        for (one, other) in [
            ("a\r\nb", "a\nb"),
            ("Tom & Jerry <3", "Tom &amp; Jerry &lt;3"),
            ("&amp;", "&amp;amp;"),
            ("Gro\u{308}ße", "Größe"),
            (" it's ", "it&#39;s"),
            ("a\u{a0}b", "a b"),
        ] {
            assert_eq!(sent(&json!({ "text": one })), listed(&text(other)), "{one}");
        }
        assert_ne!(sent(&json!({ "text": "yes" })), listed(&text("no")));
    }

    #[test]
    fn the_form_of_a_card_makes_no_difference() {
        let card = |card: Value| json!({ "cards": [card], "author": { "type": "user" } });
        let one = card(json!({ "content": { "version": 1.0, "title": "a\r\nb", "fallback": null } }));
        let other = card(json!({ "id": "c", "contentType": "x", "content": { "title": "a\nb", "version": 1 } }));
        assert_eq!(sent(&one), listed(&other));
    }

    #[test]
    fn a_message_of_another_provider_is_recognised_by_its_id_there() {
        let provider = json!({ "name": "X", "externalMessageId": "1" });
        let message = json!({ "authorType": "user", "externalProvider": provider });
        let shown = json!({ "text": "fetched", "author": { "type": "user" }, "externalProvider": provider });
        assert_eq!(sent(&message), listed(&shown));
    }

    #[test]
    fn half_a_surrogate_pair_and_a_huge_number_are_read_too() {
        let half = MessageFingerprint::of_sent(r#"{"text":"thanks \ud83d","authorType":"bot"}"#).unwrap();
        assert_eq!(half.author, "bot");
        let other = MessageFingerprint::of_sent(r#"{"text":"thanks \\ud83d","authorType":"bot"}"#).unwrap();
        assert_ne!(half, other);
        assert!(MessageFingerprint::of_sent(r#"{"cards":[{"content":1e400}]}"#).is_some());
        assert!(MessageFingerprint::of_sent("[]").is_none());
    }
}
