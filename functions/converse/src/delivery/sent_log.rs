//! Which messages of a conversation 8x8 is known to have: one item a conversation in the table, without any text. Where the
//! outcome of a message is unknown, a listed message that is known is not taken for it.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use shared::clock::UnixTime;

use super::attempt::Interval;
use super::fingerprint::MessageFingerprint;
use crate::table::{Table, TableError, seconds};

/// How long an item is kept after its last message. Longer than an `Idempotency-Key`, whose unknown outcomes are compared
/// with it.
pub(crate) const RETENTION: Duration = Duration::from_secs(48 * 3600);

/// Characters of an owner's name that are kept.
const OWNER_LENGTH: usize = 16;

/// A message that 8x8 has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentMessage {
    /// Which request it belongs to.
    pub(crate) owner: String,
    pub(crate) fingerprint: MessageFingerprint,
    /// When it was sent and answered.
    pub(crate) interval: Interval,
}

/// What is known of a conversation.
#[derive(Debug, Default)]
pub(crate) struct SentMessages {
    pub(crate) messages: Vec<SentMessage>,
    /// Counts the changes; `None` before the first.
    pub(crate) revision: Option<u64>,
}

/// The log of all conversations.
#[derive(Debug)]
pub(crate) struct SentLog<'t> {
    table: &'t Table,
}

impl SentMessage {
    pub(crate) fn new(owner: &str, fingerprint: MessageFingerprint, interval: Interval) -> Self {
        let owner = owner.chars().take(OWNER_LENGTH).collect();
        Self { owner, fingerprint, interval }
    }

    pub(crate) fn is_of(&self, owner: &str) -> bool {
        owner.starts_with(&self.owner)
    }

    /// `author content owner began ended`, times in milliseconds.
    fn to_text(&self) -> String {
        let Self { owner, fingerprint: MessageFingerprint { author, content }, interval } = self;
        format!("{author} {content} {owner} {} {}", interval.began.millis(), interval.ended.millis())
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(5, ' ');
        let mut time = || Some(UnixTime::from_millis(parts.next()?.parse().ok()?));
        let (ended, began) = (time()?, time()?);
        let owner = parts.next()?.to_owned();
        let (content, author) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let fingerprint = MessageFingerprint { author, content };
        Some(Self { owner, fingerprint, interval: Interval { began, ended } })
    }
}

impl<'t> SentLog<'t> {
    pub(crate) fn new(table: &'t Table) -> Self {
        Self { table }
    }

    /// What is known of a conversation now.
    pub(crate) async fn read(&self, conversation: &str) -> Result<SentMessages, TableError> {
        let item = self.table.get(&id(conversation)).await?.unwrap_or_default();
        let texts = item.get("messages").and_then(|messages| messages.as_l().ok()).into_iter().flatten();
        let messages = texts.map(|text| SentMessage::from_text(text.as_s().ok()?)).collect::<Option<Vec<_>>>();
        let revision = item.get("revision").and_then(|revision| revision.as_n().ok()?.parse().ok());
        match messages {
            Some(messages) => Ok(SentMessages { messages, revision }),
            None => Err(self.table.unreadable()),
        }
    }

    /// Adds a message.
    pub(crate) async fn record(&self, conversation: &str, message: &SentMessage) -> Result<(), TableError> {
        self.table.update(self.addition(conversation, message)?).await
    }

    /// Adds a message that was found at 8x8, unless the log has changed since it was read: two requests could have found the
    /// same message. `false`: it has changed.
    pub(crate) async fn record_found(
        &self,
        conversation: &str,
        message: &SentMessage,
        read: Option<u64>,
    ) -> Result<bool, TableError> {
        let mut addition = self.addition(conversation, message)?;
        match read {
            Some(revision) => {
                addition.condition_expression = Some("revision = :read".to_owned());
                let values = addition.expression_attribute_values.get_or_insert_default();
                values.insert(":read".to_owned(), AttributeValue::N(revision.to_string()));
            }
            None => addition.condition_expression = Some("attribute_not_exists(revision)".to_owned()),
        }
        self.table.update_if(addition).await
    }

    /// The change that adds a message, for a transaction.
    pub(crate) fn addition(&self, conversation: &str, message: &SentMessage) -> Result<Update, TableError> {
        let number = |number: u64| AttributeValue::N(number.to_string());
        let messages = AttributeValue::L(vec![AttributeValue::S(message.to_text())]);
        let values = HashMap::from([
            (":none".to_owned(), AttributeValue::L(Vec::new())),
            (":message".to_owned(), messages),
            (":zero".to_owned(), number(0)),
            (":one".to_owned(), number(1)),
            (":expires".to_owned(), seconds(message.interval.ended + RETENTION)),
        ]);
        self.table.change(
            &id(conversation),
            "SET messages = list_append(if_not_exists(messages, :none), :message), \
             revision = if_not_exists(revision, :zero) + :one, expires_at = :expires",
            None,
            values,
        )
    }
}

/// No key has this id: those are digests alone.
fn id(conversation: &str) -> String {
    format!("conversation {conversation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_stored_as_a_line() {
        let interval = Interval { began: UnixTime::from_millis(1), ended: UnixTime::from_millis(20) };
        let fingerprint = MessageFingerprint { author: "a bot".to_owned(), content: "0f".to_owned() };
        let message = SentMessage::new("0123456789abcdefgh", fingerprint, interval);
        assert_eq!(SentMessage::from_text(&message.to_text()), Some(message.clone()));
        assert!(message.is_of("0123456789abcdefgh"));
        assert!(!message.is_of("1123456789abcdefgh"));
        assert_eq!(SentMessage::from_text("x"), None);
    }
}
