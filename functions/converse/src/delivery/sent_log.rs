//! Which messages of a conversation the bridge has sent: one item a conversation in the table, with one attribute a message and
//! no text. Where the outcome of a message is unknown, a listed message that is known is not taken for it.
//!
//! A message is in one of two states: it is being sent, or 8x8 has it. One that 8x8 has rejected, or whose outcome is unknown
//! and will be looked for under its `Idempotency-Key`, is removed. One that stays in the first state (its process died, or it
//! has no key) may be at 8x8 or not.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use shared::clock::UnixTime;

use super::LogChange;
use super::attempt::Interval;
use super::fingerprint::MessageFingerprint;
use crate::table::{Table, TableError, seconds};

/// How long an item is stored after its last message. Longer than an `Idempotency-Key`, whose unknown outcomes are compared
/// with it.
pub(crate) const RETENTION: Duration = Duration::from_secs(48 * 3600);

/// Characters of an owner's name that are stored.
const OWNER_LENGTH: usize = 16;

/// What the attributes of messages are called, before the owner's name.
const PREFIX: &str = "message ";

/// A message that is being sent or was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentMessage {
    /// Which request it belongs to.
    pub(crate) owner: String,
    pub(crate) fingerprint: MessageFingerprint,
    pub(crate) began: UnixTime,
    /// When 8x8 had accepted it; `None` if that is not known, or not yet.
    pub(crate) accepted: Option<UnixTime>,
}

/// A message of a conversation, for the log.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) conversation: String,
    pub(crate) owner: String,
    pub(crate) fingerprint: MessageFingerprint,
}

/// What is known of a conversation.
#[derive(Debug, Default)]
pub(crate) struct SentMessages {
    pub(crate) messages: Vec<SentMessage>,
    /// Counts the changes; `None` before the first.
    pub(crate) revision: Option<u64>,
}

/// The log of all conversations.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SentLog<'t> {
    table: &'t Table,
}

impl SentMessage {
    pub(crate) fn is_of(&self, owner: &str) -> bool {
        owner.starts_with(&self.owner)
    }

    /// `author content began accepted`, times in milliseconds, the last one `-` if there is none.
    fn from_attribute(name: &str, text: &str) -> Option<Self> {
        let owner = name.strip_prefix(PREFIX)?.to_owned();
        let mut parts = text.rsplitn(4, ' ');
        let time = |text: &str| Some(UnixTime::from_millis(text.parse().ok()?));
        let accepted = match parts.next()? {
            "-" => None,
            text => Some(time(text)?),
        };
        let began = time(parts.next()?)?;
        let (content, author) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        Some(Self { owner, fingerprint: MessageFingerprint { author, content }, began, accepted })
    }
}

impl Entry {
    pub(crate) fn new(conversation: &str, owner: &str, fingerprint: MessageFingerprint) -> Self {
        let owner = owner.chars().take(OWNER_LENGTH).collect();
        Self { conversation: conversation.to_owned(), owner, fingerprint }
    }

    fn id(&self) -> String {
        id(&self.conversation)
    }
}

impl<'t> SentLog<'t> {
    pub(crate) fn new(table: &'t Table) -> Self {
        Self { table }
    }

    /// What is known of a conversation now.
    pub(crate) async fn read(&self, conversation: &str) -> Result<SentMessages, TableError> {
        let item = self.table.get(&id(conversation)).await?.unwrap_or_default();
        let messages = item.iter().filter(|(name, _)| name.starts_with(PREFIX));
        let messages = messages.map(|(name, text)| SentMessage::from_attribute(name, text.as_s().ok()?));
        let revision = item.get("revision").and_then(|revision| revision.as_n().ok()?.parse().ok());
        match messages.collect::<Option<Vec<_>>>() {
            Some(messages) => Ok(SentMessages { messages, revision }),
            None => Err(self.table.unreadable()),
        }
    }

    /// Makes a change.
    pub(crate) async fn apply(&self, change: Update) -> Result<(), TableError> {
        self.table.update(change).await
    }

    /// Adds a message that was found at 8x8, unless the log has changed since it was read: two requests could have found the
    /// same message. `false`: it has changed.
    pub(crate) async fn record_found(
        &self,
        entry: &Entry,
        interval: Interval,
        read: Option<u64>,
    ) -> Result<bool, TableError> {
        let mut change = self.accepted(entry, interval)?;
        match read {
            Some(revision) => {
                change.condition_expression = Some("revision = :read".to_owned());
                let values = change.expression_attribute_values.get_or_insert_default();
                values.insert(":read".to_owned(), AttributeValue::N(revision.to_string()));
            }
            None => change.condition_expression = Some("attribute_not_exists(revision)".to_owned()),
        }
        self.table.update_if(change).await
    }

    /// The change by which a message is being sent.
    pub(crate) fn sending(&self, entry: &Entry, now: UnixTime) -> Result<Update, TableError> {
        self.set(entry, &format!("{} -", now.millis()), now)
    }

    /// The change that follows from what became of a message, if there is one.
    pub(crate) fn outcome(&self, entry: &Entry, change: LogChange) -> Result<Option<Update>, TableError> {
        match change {
            LogChange::Accepted(interval) => self.accepted(entry, interval).map(Some),
            LogChange::Removed => self.removed(entry).map(Some),
            LogChange::None => Ok(None),
        }
    }

    /// The change by which 8x8 has a message.
    fn accepted(&self, entry: &Entry, interval: Interval) -> Result<Update, TableError> {
        self.set(entry, &format!("{} {}", interval.began.millis(), interval.ended.millis()), interval.ended)
    }

    /// The change by which a message was not sent, or will be looked for.
    pub(crate) fn removed(&self, entry: &Entry) -> Result<Update, TableError> {
        let change = self.table.change(
            &entry.id(),
            "SET revision = if_not_exists(revision, :zero) + :one REMOVE #owner",
            None,
            counting(HashMap::new()),
        );
        Ok(named(change?, entry))
    }

    fn set(&self, entry: &Entry, times: &str, now: UnixTime) -> Result<Update, TableError> {
        let MessageFingerprint { author, content } = &entry.fingerprint;
        let values = HashMap::from([
            (":message".to_owned(), AttributeValue::S(format!("{author} {content} {times}"))),
            (":expires".to_owned(), seconds(now + RETENTION)),
        ]);
        let change = self.table.change(
            &entry.id(),
            "SET #owner = :message, revision = if_not_exists(revision, :zero) + :one, expires_at = :expires",
            None,
            counting(values),
        );
        Ok(named(change?, entry))
    }
}

/// With the values that count a change.
fn counting(mut values: HashMap<String, AttributeValue>) -> HashMap<String, AttributeValue> {
    for (name, number) in [(":zero", "0"), (":one", "1")] {
        values.insert(name.to_owned(), AttributeValue::N(number.to_owned()));
    }
    values
}

fn named(mut change: Update, entry: &Entry) -> Update {
    let name = format!("{PREFIX}{}", entry.owner);
    change.expression_attribute_names = Some(HashMap::from([("#owner".to_owned(), name)]));
    change
}

/// No key has this id: those are digests alone.
fn id(conversation: &str) -> String {
    format!("conversation {conversation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_attribute() {
        let fingerprint = MessageFingerprint { author: "a bot".to_owned(), content: "0f".to_owned() };
        let read = |text: &str| SentMessage::from_attribute("message 0123456789abcdef", text);
        let mut message = SentMessage {
            owner: "0123456789abcdef".to_owned(),
            fingerprint,
            began: UnixTime::from_millis(1),
            accepted: Some(UnixTime::from_millis(20)),
        };
        assert_eq!(read("a bot 0f 1 20"), Some(message.clone()));
        message.accepted = None;
        assert_eq!(read("a bot 0f 1 -"), Some(message.clone()));
        assert_eq!(read("a bot 0f 1"), None);
        assert!(message.is_of("0123456789abcdefgh"));
        assert!(!message.is_of("1123456789abcdefgh"));
    }
}
