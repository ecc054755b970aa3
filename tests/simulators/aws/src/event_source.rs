//! Lambda's event source for an SQS FIFO queue: receives messages, invokes the function, and deletes the messages that were not
//! reported as failed.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::cloud::fifo::{FifoQueue, Received};
use crate::cloud::sqs::system_attributes;
use crate::lambda::Function;
use simulation::journal::Journal;

/// A batch is one message, so that a slow delivery delays no other conversation.
pub const BATCH_SIZE: usize = 1;

/// Polls `queue` for `function`, up to `concurrency` batches at a time, until the handle is aborted.
pub fn start(
    queue: Arc<FifoQueue>,
    function: Arc<Function>,
    concurrency: usize,
    journal: Arc<Journal>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let slots = Arc::new(Semaphore::new(concurrency));
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            let batch = queue.next(BATCH_SIZE).await;
            for message in &batch {
                let receives = format!("receive {}", message.receive_count);
                journal.event_hop(&message.deduplication_id, "queue", function.name(), &receives);
            }
            let (queue, function) = (Arc::clone(&queue), Arc::clone(&function));
            tokio::spawn(async move {
                process(&queue, &function, batch).await;
                drop(slot);
            });
        }
    })
}

async fn process(queue: &FifoQueue, function: &Function, batch: Vec<Received>) {
    let records: Vec<Value> = batch.iter().map(record).collect();
    let Ok(response) = function.invoke(&json!({ "Records": records })).await else {
        // The whole batch becomes visible again when the visibility timeout ends.
        return;
    };
    let Some(failed) = failed_items(&response) else { return };
    for message in batch.iter().filter(|message| !failed.contains(&message.message_id)) {
        // The handle may have expired: then the message was received again, and is not deleted.
        let _ = queue.delete(&message.receipt_handle);
    }
}

/// The ids that were reported as failed; `None` if the response makes Lambda treat the whole batch as failed.
fn failed_items(response: &[u8]) -> Option<HashSet<String>> {
    let response: Value = serde_json::from_slice(response).ok()?;
    let Some(failures) = response.get("batchItemFailures") else { return Some(HashSet::new()) };
    let ids = failures.as_array()?.iter().map(|failure| failure.get("itemIdentifier")?.as_str().map(str::to_owned));
    ids.map(|id| id.filter(|id| !id.is_empty())).collect()
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>
fn record(message: &Received) -> Value {
    json!({
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": system_attributes(message),
        "messageAttributes": message_attributes(message),
        "md5OfBody": "00000000000000000000000000000000",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:events.fifo",
        "awsRegion": "us-east-1",
    })
}

/// In Lambda's form: the names of their fields begin in lower case.
fn message_attributes(message: &Received) -> Value {
    let attributes = message.message_attributes.as_object().into_iter().flatten();
    let attributes = attributes.map(|(name, attribute)| {
        let value = json!({
            "dataType": attribute["DataType"],
            "stringValue": attribute["StringValue"],
            "stringListValues": [],
            "binaryListValues": [],
        });
        (name.clone(), value)
    });
    Value::Object(attributes.collect())
}
