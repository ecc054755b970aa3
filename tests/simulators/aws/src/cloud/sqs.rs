//! SQS's JSON protocol, as far as the functions and Lambda's event source use it.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/>

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use md5::{Digest, Md5};
use serde_json::{Map, Value, json};

use super::AwsError;
use super::fifo::{FifoQueue, QueueSettings, ReceiptError, Received};
use simulation::journal::Journal;

/// The limit of a message with its attributes: 1 MiB.
const MESSAGE_LIMIT: usize = 1024 * 1024;

/// The queues of an account.
#[derive(Debug, Default)]
pub struct Sqs {
    queues: Mutex<BTreeMap<String, Arc<FifoQueue>>>,
}

impl Sqs {
    /// Creates a queue of that name, without a request.
    pub fn add(&self, name: &str, queue: Arc<FifoQueue>) {
        self.queues().insert(name.to_owned(), queue);
    }

    /// Removes the queue of that name, without a request, and returns it.
    pub fn remove(&self, name: &str) -> Option<Arc<FifoQueue>> {
        self.queues().remove(name)
    }

    /// Responds to one operation; `base` is this server's URL, which queue URLs begin with; `caller` is the function that
    /// made the call.
    pub(super) fn call(
        &self,
        operation: &str,
        input: &Value,
        base: &str,
        caller: &str,
        journal: &Journal,
    ) -> Result<Value, AwsError> {
        match operation {
            "CreateQueue" => self.create_queue(input, base),
            "SendMessage" => {
                let queue = self.queue(input)?;
                let to = if self.is_for_dead_letters(&queue) { "dead letters" } else { "queue" };
                let (deduplication_id, outcome, sent) = send_message(&queue, input)?;
                journal.event_hop(deduplication_id, caller, to, outcome);
                Ok(sent)
            }
            "GetQueueAttributes" => get_queue_attributes(&*self.queue(input)?, input),
            "ReceiveMessage" => receive_message(&*self.queue(input)?, input),
            "DeleteMessage" => delete_message(&*self.queue(input)?, input),
            "ChangeMessageVisibility" => change_message_visibility(&*self.queue(input)?, input, caller, journal),
            unknown => Err(AwsError::unknown_operation(unknown)),
        }
    }

    fn create_queue(&self, input: &Value, base: &str) -> Result<Value, AwsError> {
        let name = text(input, "QueueName")?;
        let attribute = |name: &str| input.pointer(&format!("/Attributes/{name}")).and_then(Value::as_str);
        if !name.ends_with(".fifo") || attribute("FifoQueue") != Some("true") {
            return Err(invalid("only FIFO queues are simulated, and their names end in .fifo"));
        }
        let seconds = |name: &str| attribute(name).and_then(|value| value.parse().ok());
        let queue = FifoQueue::new(QueueSettings {
            visibility_timeout: Duration::from_secs(seconds("VisibilityTimeout").unwrap_or(30)),
            redrive: None,
            deduplicates_per_group: attribute("DeduplicationScope") == Some("messageGroup"),
            time_scale: 1,
        });
        self.queues().entry(name.to_owned()).or_insert(queue);
        Ok(json!({ "QueueUrl": format!("{base}/123456789012/{name}") }))
    }

    fn queue(&self, input: &Value) -> Result<Arc<FifoQueue>, AwsError> {
        let url = text(input, "QueueUrl")?;
        let name = url.rsplit('/').next().unwrap_or_default();
        self.queues().get(name).cloned().ok_or_else(|| {
            AwsError::with_query_code(
                "com.amazonaws.sqs#QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
                "The specified queue does not exist.",
            )
        })
    }

    /// Whether `queue` is the dead-letter queue of another queue.
    fn is_for_dead_letters(&self, queue: &Arc<FifoQueue>) -> bool {
        let queues = self.queues();
        let mut redrives = queues.values().filter_map(|other| other.settings().redrive.as_ref());
        redrives.any(|(_, dead_letters)| Arc::ptr_eq(dead_letters, queue))
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<String, Arc<FifoQueue>>> {
        self.queues.lock().expect("no holder panics")
    }
}

/// Returns the deduplication id, the result and the response.
fn send_message<'i>(queue: &FifoQueue, input: &'i Value) -> Result<(&'i str, &'static str, Value), AwsError> {
    let body = text(input, "MessageBody")?;
    let attributes = input.get("MessageAttributes").cloned().unwrap_or_else(|| json!({}));
    if body.len() + attributes.to_string().len() > MESSAGE_LIMIT {
        return Err(invalid("One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes."));
    }
    if !body.chars().all(is_permitted) {
        return Err(AwsError::invalid(
            "com.amazonaws.sqs#InvalidMessageContents",
            "The message contains characters outside the allowed set.",
        ));
    }
    let (group, deduplication_id) = (id(input, "MessageGroupId")?, id(input, "MessageDeduplicationId")?);
    let sent = queue.send(body.to_owned(), attributes, group, deduplication_id);
    let outcome = if sent.is_repeat { "a repeat, dropped" } else { "stored" };
    let response = json!({
        "MessageId": sent.message_id,
        "SequenceNumber": sent.sequence.to_string(),
        "MD5OfMessageBody": md5_of(body),
    });
    Ok((deduplication_id, outcome, response))
}

fn receive_message(queue: &FifoQueue, input: &Value) -> Result<Value, AwsError> {
    let most = input.get("MaxNumberOfMessages").and_then(Value::as_u64).unwrap_or(1);
    if !(1..=10).contains(&most) {
        return Err(invalid("MaxNumberOfMessages must be from 1 to 10"));
    }
    let visibility = input.get("VisibilityTimeout").and_then(Value::as_u64).map(Duration::from_secs);
    let messages = queue.receive(most as usize, visibility);
    if messages.is_empty() {
        return Ok(json!({}));
    }
    let messages: Vec<Value> = messages
        .iter()
        .map(|message| {
            let mut message_json = json!({
                "MessageId": message.message_id,
                "ReceiptHandle": message.receipt_handle,
                "Body": message.body,
                "MD5OfBody": md5_of(&message.body),
            });
            let attributes = message.message_attributes.as_object().cloned().unwrap_or_default();
            for (field, attributes, names) in [
                ("Attributes", system_attributes(message), "MessageSystemAttributeNames"),
                ("MessageAttributes", attributes, "MessageAttributeNames"),
            ] {
                let attributes = asked_for(attributes, input, names);
                if !attributes.is_empty() {
                    message_json[field] = attributes.into();
                }
            }
            message_json
        })
        .collect();
    Ok(json!({ "Messages": messages }))
}

/// The attributes whose names the request has; without names, there are none.
fn asked_for(attributes: Map<String, Value>, input: &Value, names: &str) -> Map<String, Value> {
    let names: Vec<&str> = input[names].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    attributes.into_iter().filter(|(name, _)| names.contains(&"All") || names.contains(&name.as_str())).collect()
}

/// The only queue attributes are the numbers of messages, which are exact here.
fn get_queue_attributes(queue: &FifoQueue, input: &Value) -> Result<Value, AwsError> {
    let (waiting, in_flight) = queue.counts();
    let numbers = [
        ("ApproximateNumberOfMessages", waiting),
        ("ApproximateNumberOfMessagesNotVisible", in_flight),
        ("ApproximateNumberOfMessagesDelayed", 0),
    ];
    let numbers = numbers.map(|(name, number)| (name.to_owned(), Value::String(number.to_string())));
    Ok(json!({ "Attributes": asked_for(numbers.into_iter().collect(), input, "AttributeNames") }))
}

/// `ApproximateReceiveCount` and similar attributes, as strings.
pub fn system_attributes(message: &Received) -> Map<String, Value> {
    [
        ("ApproximateReceiveCount", message.receive_count.to_string()),
        ("ApproximateFirstReceiveTimestamp", message.first_received_at.to_string()),
        ("SentTimestamp", message.sent_at.to_string()),
        ("SequenceNumber", message.sequence.to_string()),
        ("MessageGroupId", message.group.clone()),
        ("MessageDeduplicationId", message.deduplication_id.clone()),
        ("SenderId", "AROASANDBOX".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), Value::String(value)))
    .into_iter()
    .collect()
}

fn delete_message(queue: &FifoQueue, input: &Value) -> Result<Value, AwsError> {
    queue.delete(text(input, "ReceiptHandle")?).map_err(receipt_error)?;
    Ok(json!({}))
}

fn change_message_visibility(
    queue: &FifoQueue,
    input: &Value,
    caller: &str,
    journal: &Journal,
) -> Result<Value, AwsError> {
    let timeout = input.get("VisibilityTimeout").and_then(Value::as_u64).filter(|seconds| *seconds <= 43_200);
    let timeout = timeout.ok_or_else(|| invalid("VisibilityTimeout must be from 0 to 43200"))?;
    let hidden = queue.hide(text(input, "ReceiptHandle")?, Duration::from_secs(timeout)).map_err(receipt_error)?;
    journal.event_hop(&hidden, caller, "queue", &format!("again in {timeout} s"));
    Ok(json!({}))
}

fn receipt_error(error: ReceiptError) -> AwsError {
    match error {
        ReceiptError::Unknown => AwsError::with_query_code(
            "com.amazonaws.sqs#ReceiptHandleIsInvalid",
            "ReceiptHandleIsInvalid",
            "The input receipt handle is invalid.",
        ),
        ReceiptError::Expired => {
            invalid("Value for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.")
        }
    }
}

/// The characters of XML 1.0 that SendMessage allows.
fn is_permitted(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

fn id<'i>(input: &'i Value, field: &str) -> Result<&'i str, AwsError> {
    let value = input.get(field).and_then(Value::as_str).ok_or_else(|| {
        AwsError::with_query_code(
            "com.amazonaws.sqs#MissingParameter",
            "MissingParameter",
            &format!("The request must contain the parameter {field}."),
        )
    })?;
    let permitted = (1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    permitted.then_some(value).ok_or_else(|| {
        invalid(&format!("{field} can only include alphanumeric and punctuation characters. 1 to 128 in length"))
    })
}

fn text<'i>(input: &'i Value, field: &str) -> Result<&'i str, AwsError> {
    let value = input.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
    value.ok_or_else(|| {
        AwsError::with_query_code(
            "com.amazonaws.sqs#MissingParameter",
            "MissingParameter",
            &format!("The request must contain the parameter {field}."),
        )
    })
}

fn invalid(message: &str) -> AwsError {
    AwsError::with_query_code("com.amazonaws.sqs#InvalidParameterValue", "InvalidParameterValue", message)
}

fn md5_of(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
