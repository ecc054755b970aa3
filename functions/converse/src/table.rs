//! The DynamoDB table that all processes of the function share: items with one key, `id`, and a time at which they expire.
//!
//! What several requests change at the same time fails with a conflict and is tried again: DynamoDB rejects a write to an item
//! that is part of a transaction in progress
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html>).

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use shared::aws::failure;
use shared::clock::UnixTime;
use shared::environment::{ConfigError, Environment};
use tokio::time::sleep;

/// Tries of a write that meets another one. A bot may send a burst of messages in one conversation; with the delays this is
/// more than a second.
const TRIES: u32 = 10;

/// Before the next try, times the number of tries, and up to as long again by chance: a transaction takes some ten
/// milliseconds.
const CONFLICT_DELAY: Duration = Duration::from_millis(20);

/// An item's attributes.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The table. A clone shares the client.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    client: Client,
    name: String,
}

/// The table is not available, in words without any content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("table `{table}` is unavailable ({reason})")]
pub(crate) struct TableError {
    table: String,
    reason: String,
    /// The write is one that DynamoDB never accepts: an item would be larger than 400 KB.
    pub(crate) is_too_large: bool,
}

/// What became of a conditional write.
#[derive(Debug)]
pub(crate) enum Put {
    Stored,
    /// There is an item that the condition forbids to replace: this one.
    Exists(Item),
}

/// `IDEMPOTENCY_TABLE`: the table's name.
///
/// # Errors
/// It is missing.
pub(crate) fn table_name(environment: &Environment<'_>) -> Result<String, ConfigError> {
    environment.required("IDEMPOTENCY_TABLE")
}

impl Table {
    pub(crate) fn new(config: &aws_config::SdkConfig, name: String) -> Self {
        Self { client: Client::new(config), name }
    }

    /// The item of that id, if there is one, as it is now.
    pub(crate) async fn get(&self, id: &str) -> Result<Option<Item>, TableError> {
        let get = self.client.get_item().table_name(&self.name).key("id", string(id)).consistent_read(true);
        Ok(Box::pin(get.send()).await.map_err(|error| self.unavailable(&failure(&error)))?.item)
    }

    /// Stores an item unless there is one with its id that has not expired by `now`: DynamoDB deletes what has expired within
    /// a few days, not at once. With it, `change` is made, or neither.
    pub(crate) async fn put_new(&self, item: Item, change: Option<Update>, now: UnixTime) -> Result<Put, TableError> {
        const CONDITION: &str = "attribute_not_exists(id) OR expires_at <= :now";

        let on_failure = ReturnValuesOnConditionCheckFailure::AllOld;
        let Some(change) = change else {
            let put = self
                .client
                .put_item()
                .table_name(&self.name)
                .set_item(Some(item))
                .condition_expression(CONDITION)
                .expression_attribute_values(":now", seconds(now))
                .return_values_on_condition_check_failure(on_failure);
            return match Box::pin(put.send()).await {
                Ok(_) => Ok(Put::Stored),
                Err(error) => match error.as_service_error() {
                    Some(PutItemError::ConditionalCheckFailedException(found)) => {
                        Ok(Put::Exists(found.item.clone().unwrap_or_default()))
                    }
                    Some(_) | None => Err(self.unavailable(&failure(&error))),
                },
            };
        };
        let put = aws_sdk_dynamodb::types::Put::builder()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression(CONDITION)
            .expression_attribute_values(":now", seconds(now))
            .return_values_on_condition_check_failure(on_failure)
            .build()
            .map_err(|_| self.unavailable("the item cannot be built"))?;
        let put = TransactWriteItem::builder().put(put).build();
        let change = TransactWriteItem::builder().update(change).build();
        match self.transact(vec![put, change]).await? {
            None => Ok(Put::Stored),
            Some(found) => Ok(Put::Exists(found)),
        }
    }

    /// A change of an item, with a condition or without.
    pub(crate) fn change(
        &self,
        id: &str,
        expression: &str,
        condition: Option<&str>,
        values: Item,
    ) -> Result<Update, TableError> {
        Update::builder()
            .table_name(&self.name)
            .key("id", string(id))
            .update_expression(expression)
            .set_condition_expression(condition.map(str::to_owned))
            .set_expression_attribute_values(Some(values))
            .build()
            .map_err(|_| self.unavailable("the change cannot be built"))
    }

    /// Changes an item whose change has no condition, or whose condition is known to hold.
    pub(crate) async fn update(&self, update: Update) -> Result<(), TableError> {
        match self.update_if(update).await? {
            true => Ok(()),
            false => Err(self.unavailable("another request has changed it")),
        }
    }

    /// Changes an item; `false` if the condition does not hold.
    pub(crate) async fn update_if(&self, update: Update) -> Result<bool, TableError> {
        let mut tries = 1;
        loop {
            let operation = self
                .client
                .update_item()
                .table_name(&self.name)
                .set_key(Some(update.key.clone()))
                .update_expression(&update.update_expression)
                .set_condition_expression(update.condition_expression.clone())
                .set_expression_attribute_names(update.expression_attribute_names.clone())
                .set_expression_attribute_values(update.expression_attribute_values.clone());
            let error = match Box::pin(operation.send()).await {
                Ok(_) => return Ok(true),
                Err(error) => error,
            };
            let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
            match code {
                "ConditionalCheckFailedException" => return Ok(false),
                "TransactionConflictException" if tries < TRIES => sleep(conflict_delay(tries)).await,
                _ => return Err(self.unavailable(&failure(&error))),
            }
            tries += 1;
        }
    }

    /// Makes a change, and another one with it if there is one, both or neither; `false` if a condition does not hold. A
    /// second change that is too large is left out.
    pub(crate) async fn update_with(&self, change: Update, other: Option<Update>) -> Result<bool, TableError> {
        let Some(other) = other else { return self.update_if(change).await };
        let items = [change.clone(), other].map(|update| TransactWriteItem::builder().update(update).build());
        match self.transact(items.to_vec()).await {
            Err(error) if error.is_too_large => self.update_if(change).await,
            made => Ok(made?.is_none()),
        }
    }

    /// Makes all of it or nothing. `Some` if a condition does not hold: the item that there is, where it was asked for.
    async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<Option<Item>, TableError> {
        let mut tries = 1;
        loop {
            let operation = self.client.transact_write_items().set_transact_items(Some(items.clone()));
            let error = match Box::pin(operation.send()).await {
                Ok(_) => return Ok(None),
                Err(error) => error,
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
                return Err(self.unavailable(&failure(&error)));
            };
            let reasons = canceled.cancellation_reasons();
            let has_reason = |code: &str| reasons.iter().find(|reason| reason.code() == Some(code));
            if let Some(reason) = has_reason("ConditionalCheckFailed") {
                return Ok(Some(reason.item().cloned().unwrap_or_default()));
            }
            if has_reason("TransactionConflict").is_none() || tries == TRIES {
                let is_too_large = has_reason("ValidationError").is_some();
                return Err(TableError { is_too_large, ..self.unavailable(&failure(&error)) });
            }
            sleep(conflict_delay(tries)).await;
            tries += 1;
        }
    }

    /// The error for an item that does not hold what it should.
    pub(crate) fn unreadable(&self) -> TableError {
        self.unavailable("an item that cannot be read")
    }

    fn unavailable(&self, reason: &str) -> TableError {
        TableError { table: self.name.clone(), reason: reason.to_owned(), is_too_large: false }
    }
}

fn conflict_delay(tries: u32) -> Duration {
    let delay = CONFLICT_DELAY * tries;
    delay + delay.mul_f64(fastrand::f64())
}

pub(crate) fn string(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// A time in milliseconds.
pub(crate) fn millis(time: UnixTime) -> AttributeValue {
    AttributeValue::N(time.millis().to_string())
}

/// A time in seconds, as DynamoDB's time to live wants it.
pub(crate) fn seconds(time: UnixTime) -> AttributeValue {
    AttributeValue::N(time.secs().to_string())
}
