//! What this function does with the two queues. Each call has the time-outs of `shared::aws`.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName};
use shared::aws;
use shared::clock::UnixTime;
use shared::url::VerbatimUrl;

use crate::letter::{Letter, REASON, STATUS};

/// How many messages SQS gives at once at most.
pub(crate) const BATCH_SIZE: usize = 10;

/// How long SQS waits for a message, in seconds. Only with a wait does it ask all of its servers, so that an empty response
/// means an empty queue; the SDK's attempts end after two seconds.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>
const WAIT: i32 = 1;

/// What deliver-message knows a redriven event by: it delivers it however old it is.
const REDRIVEN: &str = "redriven";

/// A queue did not do its part.
#[derive(Debug, thiserror::Error)]
#[error("the {queue} did not {operation} ({reason})")]
pub(crate) struct QueueError {
    queue: &'static str,
    operation: &'static str,
    reason: String,
}

const EVENT_QUEUE: &str = "event queue";
const DEAD_LETTER_QUEUE: &str = "dead-letter queue";

#[derive(Debug)]
pub(crate) struct Queues {
    client: Client,
    events: String,
    dead_letters: String,
}

impl Queues {
    pub(crate) fn new(config: &SdkConfig, events: &VerbatimUrl, dead_letters: &VerbatimUrl) -> Self {
        Self {
            client: Client::new(config),
            events: events.as_str().to_owned(),
            dead_letters: dead_letters.as_str().to_owned(),
        }
    }

    /// About how many letters there are, those that another run has received included. SQS's numbers can be a minute old.
    pub(crate) async fn count(&self) -> Result<u64, QueueError> {
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let response = self
            .client
            .get_queue_attributes()
            .queue_url(&self.dead_letters)
            .set_attribute_names(Some(counts.to_vec()))
            .send()
            .await
            .map_err(|error| failed(DEAD_LETTER_QUEUE, "count its letters", aws::failure(&error)))?;
        let attributes = response.attributes.unwrap_or_default();
        Ok(counts.iter().filter_map(|name| attributes.get(name)?.parse::<u64>().ok()).sum())
    }

    /// Receives letters and hides them from everyone else for that long (whole seconds, rounded up). Empty when no letter is
    /// left that can be received.
    pub(crate) async fn receive(&self, hidden_for: Duration) -> Result<Vec<Letter>, QueueError> {
        let response = self
            .client
            .receive_message()
            .queue_url(&self.dead_letters)
            .max_number_of_messages(BATCH_SIZE as i32)
            .wait_time_seconds(WAIT)
            .visibility_timeout(i32::try_from(hidden_for.as_secs() + 1).unwrap_or(i32::MAX))
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_attribute_names(REASON)
            .message_attribute_names(STATUS)
            .send()
            .await
            .map_err(|error| failed(DEAD_LETTER_QUEUE, "give its letters", aws::failure(&error)))?;
        let now = UnixTime::now();
        let messages = response.messages.unwrap_or_default();
        Ok(messages.into_iter().filter_map(|message| Letter::of(message, now)).collect())
    }

    /// Puts a letter behind all waiting events of its conversation, its body unchanged.
    ///
    /// Its deduplication id is not the event's: an event that is redriven within five minutes after it came would be
    /// confirmed and dropped. It is the letter's: if this run ends before the letter is deleted, the next one's copy is
    /// dropped within these five minutes, and is a repeat with the same `x-8x8-event-id` after them. An event that fails
    /// again is a new letter with an id of its own.
    pub(crate) async fn copy_to_events(&self, letter: &Letter) -> Result<(), QueueError> {
        let fail = |reason| failed(EVENT_QUEUE, "take a letter", reason);
        let redriven = MessageAttributeValue::builder().data_type("String").string_value("true").build();
        self.client
            .send_message()
            .queue_url(&self.events)
            .message_body(&letter.body)
            .message_group_id(&letter.group)
            .message_deduplication_id(format!("redrive-{}", letter.id))
            .message_attributes(REDRIVEN, redriven.map_err(|error| fail(error.to_string()))?)
            .send()
            .await
            .map_err(|error| fail(aws::failure(&error)))?;
        Ok(())
    }

    pub(crate) async fn delete(&self, receipt_handle: &str) -> Result<(), QueueError> {
        self.client
            .delete_message()
            .queue_url(&self.dead_letters)
            .receipt_handle(receipt_handle)
            .send()
            .await
            .map_err(|error| failed(DEAD_LETTER_QUEUE, "delete a letter", aws::failure(&error)))?;
        Ok(())
    }

    /// Ends the time for which a letter is hidden.
    pub(crate) async fn release(&self, receipt_handle: &str) -> Result<(), QueueError> {
        self.client
            .change_message_visibility()
            .queue_url(&self.dead_letters)
            .receipt_handle(receipt_handle)
            .visibility_timeout(0)
            .send()
            .await
            .map_err(|error| failed(DEAD_LETTER_QUEUE, "release a letter", aws::failure(&error)))?;
        Ok(())
    }
}

fn failed(queue: &'static str, operation: &'static str, reason: String) -> QueueError {
    QueueError { queue, operation, reason }
}
