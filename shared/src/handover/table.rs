//! The DynamoDB table of hand-overs: one item per conversation, with the facts of its life-cycle events as a set.
//!
//! deliver-message adds facts. A set holds each fact once, so that repeats and reordering change nothing. watch-handovers keeps
//! its own notes in the item ([`Notes`]), and writes them only if the item is unchanged since it was read (`revision`).
//!
//! An item is in the index `open` as long as it has the attribute `watched`: until the conversation has ended and has been
//! counted.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use crate::aws;
use crate::clock::UnixTime;
use crate::environment::{ConfigError, Environment};
use crate::handover::fact::Fact;
use crate::handover::state::{EndReason, Handover};

/// How long the item of a conversation is kept after its last life-cycle event. A conversation of the Chat Gateway with a bot
/// lasts ten hours at most (`maxTotalMinutes` of a post-agent assignment). A week lets a person look at a conversation of last
/// week.
const TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// The sparse index of the conversations that are watched.
const INDEX: &str = "open";

/// The value of `watched`, and so the only partition of the index. A partition allows 1,000 writes a second
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html>): enough for a hundred
/// hand-overs that begin and end in each second.
const WATCHED: &str = "yes";

/// Reads `HANDOVER_TABLE`, the name of the table.
///
/// # Errors
/// The variable is missing.
pub fn handover_table(environment: &Environment<'_>) -> Result<String, ConfigError> {
    environment.required("HANDOVER_TABLE")
}

/// The table is not available. The text holds nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table `{table}` is unavailable ({reason})")]
pub struct HandoverTableError {
    table: String,
    reason: String,
}

/// The DynamoDB table of hand-overs.
#[derive(Debug, Clone)]
pub struct HandoverTable {
    client: Client,
    name: String,
}

/// What watch-handovers has done about a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// The joining of the first agent is counted.
    pub is_joining_counted: bool,
    /// The end is counted.
    pub is_end_counted: bool,
    /// The leaving of a customer who was waiting is counted.
    pub is_leaving_counted: bool,
    /// The bridge has asked 8x8 to end the conversation, or is about to.
    pub closing: Option<Closing>,
    /// 8x8 need not be asked about the conversation before this time.
    pub look_at: Option<UnixTime>,
}

/// The end of a conversation by the bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Why the bridge ends it.
    pub reason: EndReason,
    /// When the bridge last began to end it.
    pub at: UnixTime,
}

/// An item of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The id of the conversation.
    pub conversation_id: String,
    /// The facts that are known about the conversation.
    pub facts: Vec<Fact>,
    /// What watch-handovers has done about it.
    pub notes: Notes,
    revision: u64,
}

impl Record {
    /// The hand-over that follows from the facts.
    pub fn handover(&self) -> Handover {
        Handover::of(&self.facts, self.notes.closing.map(|closing| closing.reason))
    }

    /// `None` if an attribute does not have the form that this version writes.
    fn of(item: &HashMap<String, AttributeValue>) -> Option<Self> {
        let conversation_id = item.get("id")?.as_s().ok()?.clone();
        let facts = item.get("facts").and_then(|facts| facts.as_ss().ok()).map(Vec::as_slice).unwrap_or_default();
        let notes = item.get("notes").and_then(|notes| serde_json::from_str(notes.as_s().ok()?).ok());
        Some(Self {
            conversation_id,
            facts: facts.iter().filter_map(|fact| Fact::from_text(fact)).collect(),
            notes: notes.unwrap_or_default(),
            revision: item.get("revision")?.as_n().ok()?.parse().ok()?,
        })
    }
}

impl HandoverTable {
    /// The table of that name.
    pub fn new(config: &SdkConfig, name: String) -> Self {
        Self { client: Client::new(config), name }
    }

    /// Adds the facts of one event to its conversation. If these facts are already there, nothing changes.
    ///
    /// # Errors
    /// The table is not available.
    pub async fn record(&self, conversation: &str, facts: &[Fact], now: UnixTime) -> Result<(), HandoverTableError> {
        let Some(first) = facts.first() else { return Ok(()) };
        let update = self
            .update(conversation)
            .update_expression("SET watched = :watched, expires_at = :expires ADD facts :facts, revision :one")
            .condition_expression("NOT contains(facts, :first)")
            .expression_attribute_values(":watched", AttributeValue::S(WATCHED.to_owned()))
            .expression_attribute_values(":expires", number((now + TTL).secs()))
            .expression_attribute_values(":facts", texts(facts))
            .expression_attribute_values(":first", AttributeValue::S(first.to_text()));
        self.send(update).await.map(drop)
    }

    /// The record of a conversation, by a consistent read; `None` if there is none.
    ///
    /// # Errors
    /// The table is not available.
    pub async fn get(&self, conversation: &str) -> Result<Option<Record>, HandoverTableError> {
        let key = AttributeValue::S(conversation.to_owned());
        let get = self.client.get_item().table_name(&self.name).key("id", key).consistent_read(true);
        let found = Box::pin(get.send()).await.map_err(|error| self.unavailable(aws::failure(&error)))?;
        Ok(found.item.as_ref().and_then(Record::of))
    }

    /// The conversations that have not ended or have not been counted, as the index has them. The index may be a moment behind.
    ///
    /// # Errors
    /// The table is not available.
    pub async fn open(&self) -> Result<Vec<Record>, HandoverTableError> {
        let mut records = Vec::new();
        let mut start = None;
        loop {
            let query = self
                .client
                .query()
                .table_name(&self.name)
                .index_name(INDEX)
                .key_condition_expression("watched = :watched")
                .expression_attribute_values(":watched", AttributeValue::S(WATCHED.to_owned()))
                .set_exclusive_start_key(start);
            let page = Box::pin(query.send()).await.map_err(|error| self.unavailable(aws::failure(&error)))?;
            records.extend(page.items().iter().filter_map(Record::of));
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(records);
            }
        }
    }

    /// Writes the notes of a record, and a fact that was found out, if the item is unchanged since it was read; `false` if it
    /// has changed. `is_done` means that nothing is left to watch.
    ///
    /// # Errors
    /// The table is not available.
    pub async fn note(&self, record: &Record, fact: Option<Fact>, is_done: bool) -> Result<bool, HandoverTableError> {
        // A struct of numbers and names can always be written as JSON.
        let notes = serde_json::to_string(&record.notes).unwrap_or_default();
        let add = if fact.is_some() { ", facts :facts" } else { "" };
        let remove = if is_done { " REMOVE watched" } else { "" };
        let update = self
            .update(&record.conversation_id)
            .update_expression(format!("SET notes = :notes ADD revision :one{add}{remove}"))
            .condition_expression("revision = :read")
            .expression_attribute_values(":notes", AttributeValue::S(notes))
            .expression_attribute_values(":read", number(record.revision));
        let update = match fact {
            Some(fact) => update.expression_attribute_values(":facts", texts(&[fact])),
            None => update,
        };
        self.send(update).await
    }

    fn update(&self, conversation: &str) -> UpdateItemFluentBuilder {
        let key = AttributeValue::S(conversation.to_owned());
        self.client.update_item().table_name(&self.name).key("id", key).expression_attribute_values(":one", number(1))
    }

    /// `false` if the condition does not hold.
    async fn send(&self, update: UpdateItemFluentBuilder) -> Result<bool, HandoverTableError> {
        match Box::pin(update.send()).await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if error.err().code() == Some("ConditionalCheckFailedException") => {
                Ok(false)
            }
            Err(error) => Err(self.unavailable(aws::failure(&error))),
        }
    }

    fn unavailable(&self, reason: String) -> HandoverTableError {
        HandoverTableError { table: self.name.clone(), reason }
    }
}

fn texts(facts: &[Fact]) -> AttributeValue {
    AttributeValue::Ss(facts.iter().map(Fact::to_text).collect())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
