//! Amazon SQS: the FIFO queue between receive-message and deliver-message, and its dead-letter queue.
//!
//! In the queue, an event is JSON with its body in base64: SQS accepts only the characters that XML allows, and a body may hold
//! any bytes. A body of 512 KiB becomes 0.67 MiB, below SQS's limit of 1 MiB.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::get_queue_attributes::GetQueueAttributesError;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::aws;
use crate::clock::UnixTime;
use crate::contact_center::event::{Event, NotAnEvent};
use crate::digest::sha256_hex;
use crate::environment::{ConfigError, Environment};
use crate::url::VerbatimUrl;

/// The queue did not confirm an operation.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("the {queue} did not take the {operation} ({reason})")]
pub struct QueueError {
    queue: &'static str,
    operation: &'static str,
    reason: String,
}

/// An event between receive-message and deliver-message: everything that the bot platform gets, and when we received it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedEvent {
    /// The event's bytes exactly as they were received.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub body: Bytes,
    /// The `content-type` that they were received with.
    pub content_type: Option<String>,
    /// All `x-8x8-*` headers, names in lower case; values as text, which is sent as UTF-8.
    pub headers: BTreeMap<String, String>,
    /// When receive-message received the event, in milliseconds since the epoch.
    pub received_at: UnixTime,
    /// The type for a log line ([`crate::contact_center::event::Event::name`]). `None` in a message that an earlier version has
    /// queued.
    #[serde(default)]
    pub event_type: Option<String>,
    /// Whether the event only says who is typing.
    #[serde(default)]
    pub is_typing: bool,
}

impl QueuedEvent {
    /// The body of a queue message.
    ///
    /// # Errors
    /// Does not happen: strings and numbers can always be written as JSON.
    pub fn to_message(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(in_ascii)
    }

    /// Reads the body of a queue message; `None` if receive-message did not write it.
    pub fn from_message(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }

    /// The event in the body. receive-message verified the event before it put it into the queue.
    ///
    /// # Errors
    /// The body is not an event.
    pub fn event(&self) -> Result<Event, NotAnEvent> {
        Event::parse(&self.body)
    }

    /// 8x8's id of the event. An event from a load balancer may have none.
    pub fn id(&self) -> Option<&str> {
        self.headers.get("x-8x8-event-id").map(String::as_str).filter(|id| !id.is_empty())
    }

    /// When 8x8 sent the event, or else when we received it. A header with a time outside the five minutes before we received
    /// the event is wrong: 8x8's signature is valid for four, and a load balancer may pass on any header.
    pub fn transmitted_at(&self) -> UnixTime {
        let header = self.headers.get("x-8x8-transmission-time").and_then(|millis| millis.parse().ok());
        let plausible = self.received_at - Duration::from_secs(300)..=self.received_at;
        header.map(UnixTime::from_millis).filter(|time| plausible.contains(time)).unwrap_or(self.received_at)
    }
}

/// The same JSON with escapes for all characters that are not ASCII; they occur only in strings. A header may hold any
/// character, and SQS refuses a message with U+FFFE or U+FFFF (SendMessage's reference).
fn in_ascii(json: String) -> String {
    if json.is_ascii() {
        return json;
    }
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            ascii.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    ascii
}

fn to_base64<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(body))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Bytes::from).map_err(|_| serde::de::Error::custom("not base64"))
}

/// `EVENT_QUEUE_URL`: the SQS FIFO queue between receive-message and deliver-message.
///
/// # Errors
/// The variable is missing or malformed.
pub fn event_queue_url(environment: &Environment<'_>) -> Result<VerbatimUrl, ConfigError> {
    environment.verbatim_url("EVENT_QUEUE_URL")
}

/// The FIFO queue in which events wait.
#[derive(Debug, Clone)]
pub struct EventQueue {
    client: Client,
    url: String,
}

impl EventQueue {
    /// The queue at `url`.
    #[tracing::instrument(level = "debug", name = "queue client", skip_all)]
    pub fn new(config: &SdkConfig, url: &VerbatimUrl) -> Self {
        Self { client: Client::new(config), url: url.as_str().to_owned() }
    }

    /// Puts an event behind all others of its group. When this returns `Ok`, SQS has stored the event on several servers. If
    /// SQS has received the same `deduplication_id` within five minutes, it confirms the event and drops it.
    pub async fn send(&self, event: &QueuedEvent, group: &str, deduplication_id: &str) -> Result<(), QueueError> {
        let fail = |reason| QueueError { queue: "event queue", operation: "event", reason };
        // If this ever fails, 8x8 sends the event again.
        let message = event.to_message().map_err(|error| fail(error.to_string()))?;
        let sending = Box::pin(
            self.client
                .send_message()
                .queue_url(&self.url)
                .message_body(message)
                .message_group_id(permitted_id(group))
                .message_deduplication_id(permitted_id(deduplication_id))
                .send(),
        );
        sending.await.map_err(|error| fail(aws::failure(&error)))?;
        Ok(())
    }

    /// Hides a received message, and with it all later messages of its group, for `wait` from now (whole seconds, at most 12
    /// hours).
    pub async fn change_visibility(&self, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        self.client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(i32::try_from(wait.as_secs()).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| QueueError {
                queue: "event queue",
                operation: "change of visibility",
                reason: aws::failure(&error),
            })?;
        Ok(())
    }
}

/// How many messages a queue holds. SQS calls both numbers approximate: they may be a minute old.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages that can be received, now or when the message before them in their group is done.
    pub visible: u64,
    /// Messages that were received, and messages that are hidden for a time.
    pub in_flight: u64,
}

impl QueueDepth {
    /// Asks SQS for the numbers; `None` if there is no queue at `url`.
    ///
    /// # Errors
    /// SQS returns no numbers.
    pub async fn read(config: &SdkConfig, url: &VerbatimUrl) -> Result<Option<Self>, QueueError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = Client::new(config).get_queue_attributes().queue_url(url.as_str());
        let response = match request.set_attribute_names(Some(names.to_vec())).send().await {
            Ok(response) => response,
            Err(error) if error.as_service_error().is_some_and(GetQueueAttributesError::is_queue_does_not_exist) => {
                return Ok(None);
            }
            Err(error) => {
                let reason = aws::failure(&error);
                return Err(QueueError { queue: "queue", operation: "question how many messages it holds", reason });
            }
        };
        let [visible, in_flight] = names.map(|name| {
            let count = response.attributes().and_then(|attributes| attributes.get(&name)?.parse().ok());
            count.unwrap_or(0)
        });
        Ok(Some(Self { visible, in_flight }))
    }

    /// All messages.
    pub fn total(&self) -> u64 {
        self.visible + self.in_flight
    }
}

/// `DEAD_LETTER_QUEUE_URL`: the SQS FIFO queue for events that the bot platform rejects for good.
///
/// # Errors
/// The variable is missing or malformed.
pub fn dead_letter_queue_url(environment: &Environment<'_>) -> Result<VerbatimUrl, ConfigError> {
    environment.verbatim_url("DEAD_LETTER_QUEUE_URL")
}

/// The FIFO queue for messages that will never be delivered.
#[derive(Debug, Clone)]
pub struct DeadLetterQueue {
    client: Client,
    url: String,
}

/// The attribute of a message that was in the dead-letter queue and is to be delivered whatever its age.
pub const REDRIVEN: &str = "redriven";

/// The attribute of a dead letter that holds the reason: [`DeadLetterReason::name`].
pub const REASON: &str = "reason";

/// Why a message is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterReason {
    /// The bot platform rejected the event with this HTTP status, which is also in the attribute `status`.
    Rejected(u16),
    /// receive-message did not write the message.
    Invalid,
    /// The event is older than the age up to which events are delivered.
    Expired,
}

impl DeadLetterReason {
    /// The text of the attribute [`REASON`], and of log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::Invalid => "invalid",
            Self::Expired => "expired",
        }
    }

    /// The status with which the bot platform rejected the event.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Rejected(status) => Some(status),
            Self::Invalid | Self::Expired => None,
        }
    }
}

impl DeadLetterQueue {
    /// The queue at `url`, with the client of the event queue: making a second one would take a fifth of a millisecond
    /// more.
    pub fn new(events: &EventQueue, url: &VerbatimUrl) -> Self {
        Self { client: events.client.clone(), url: url.as_str().to_owned() }
    }

    /// Stores the body of a message of the event queue, with the reason in the attributes `reason` and, where the bot
    /// platform gave one, `status`.
    ///
    /// The deduplication id is the message's own id in the event queue, not the event's. A message that was redriven and fails
    /// again within five minutes has a new id in the event queue: it must be stored again, not dropped as a repeat.
    pub async fn send(
        &self,
        body: &str,
        group: &str,
        message_id: &str,
        reason: DeadLetterReason,
    ) -> Result<(), QueueError> {
        let attribute = |name: &str, kind: &str, value: String| {
            // Fails only without a data type; a data type is set here.
            let value = MessageAttributeValue::builder().data_type(kind).string_value(value).build().ok()?;
            Some((name.to_owned(), value))
        };
        let status = reason.status().and_then(|status| attribute("status", "Number", status.to_string()));
        let attributes = attribute(REASON, "String", reason.name().to_owned()).into_iter().chain(status).collect();
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .message_group_id(permitted_id(group))
            .message_deduplication_id(permitted_id(message_id))
            .set_message_attributes(Some(attributes))
            .send()
            .await
            .map_err(|error| QueueError {
                queue: "dead-letter queue",
                operation: "message",
                reason: aws::failure(&error),
            })?;
        Ok(())
    }
}

/// An id that SQS accepts as a message group id or deduplication id: 1 to 128 letters, digits and punctuation marks
/// (SendMessage's reference). Any other id is replaced by its SHA-256 in hexadecimal. Log lines hold ids in this form too.
pub fn permitted_id(id: &str) -> Cow<'_, str> {
    let permitted = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if permitted { Cow::Borrowed(id) } else { Cow::Owned(sha256_hex(id.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_that_sqs_would_refuse_is_hashed() {
        assert_eq!(permitted_id("Aka5NMHU8MtIG7lUQOxI0DTOvM4"), "Aka5NMHU8MtIG7lUQOxI0DTOvM4");
        assert_eq!(permitted_id("~!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}"), "~!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}");
        let longest = "x".repeat(128);
        assert_eq!(permitted_id(&longest), longest);
        for refused in ["", "a b", "ü", &"x".repeat(129)] {
            let id = permitted_id(refused);
            assert_eq!(id.len(), 64, "{refused}");
            assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_ne!(permitted_id("a b"), permitted_id("a c"));
    }

    #[test]
    fn a_foreign_message_is_no_event() {
        for foreign in ["", "{}", "[]", r#"{"body":"%%","content_type":null,"headers":{},"received_at":1}"#] {
            assert_eq!(QueuedEvent::from_message(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_message_of_a_former_version_is_an_event() {
        let event = QueuedEvent::from_message(r#"{"body":"e30=","content_type":null,"headers":{},"received_at":1}"#);
        let event = event.expect("it is an event");
        assert_eq!((event.event_type, event.is_typing), (None, false));
    }

    #[test]
    fn a_time_of_transmission_that_cannot_be_is_the_time_of_receipt() {
        let received_at = UnixTime::from_millis(1_000_000_000_000);
        let transmitted_at = |header: &str| {
            let headers = BTreeMap::from([("x-8x8-transmission-time".to_owned(), header.to_owned())]);
            let event = QueuedEvent {
                body: Bytes::new(),
                content_type: None,
                headers,
                received_at,
                event_type: None,
                is_typing: false,
            };
            event.transmitted_at().millis()
        };
        assert_eq!(transmitted_at("999999760000"), 999_999_760_000);
        for wrong in ["", "soon", "0", "1000000000", "1000000000000000", "1000000060000"] {
            assert_eq!(transmitted_at(wrong), received_at.millis(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_queue_as_characters_that_xml_allows(
            body: Vec<u8>, content_type: Option<String>, header: String, received_at: u64
        ) {
            let event = QueuedEvent {
                body: body.into(),
                content_type,
                headers: BTreeMap::from([("x-8x8-event-id".to_owned(), header + "\u{fffe}\u{ffff}👋")]),
                received_at: UnixTime::from_millis(received_at),
                event_type: Some("ACTIVITY".to_owned()),
                is_typing: true,
            };
            let message = event.to_message().unwrap();
            prop_assert!(message.bytes().all(|byte| (0x20..0x7f).contains(&byte) || byte == 0x7f));
            prop_assert_eq!(QueuedEvent::from_message(&message), Some(event));
        }
    }
}
