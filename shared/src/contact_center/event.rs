//! 8x8's webhook events, as far as the bridge looks into them: what kind one is and which conversation it belongs to.
//! Everything else in them is the bot platform's business and passes through untouched.
//!
//! Two dialects may arrive whatever version a webhook was registered with. Chat Gateway v1.0 wraps its payload in `data`,
//! Chat API v2.0 is flat; both name `eventType` and `conversationId` at the top.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The event 8x8 sends when a webhook is created or verified: no conversation, no time, and perhaps no signature.
pub const WEB_HOOK_VERIFY: &str = "WEB_HOOK_VERIFY";

/// The event types that 8x8 documents: Chat Gateway v1.0 first, then those of Chat API v2.0 alone.
const DOCUMENTED: [&str; 9] = [
    "CONVERSATION_UPDATE",
    "QUEUED",
    "MEMBERS_CHANGED",
    "TRANSFER",
    "MESSAGE",
    "ACTIVITY",
    "AGENT_JOINED",
    "AGENT_LEFT",
    "TEXT",
];

/// What the bridge reads of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `eventType`, as it came.
    pub event_type: String,
    /// `conversationId`, if the event has one that is not empty.
    pub conversation_id: Option<String>,
    /// Whether it only says who is typing: Chat Gateway's `ACTIVITY` with the name `typing`. Chat API v2.0 has no such
    /// event.
    pub is_typing: bool,
}

/// A body that is no event: not JSON, not an object, or without an `eventType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON object with an eventType")]
pub struct NotAnEvent;

impl Event {
    /// Reads an event's kind and conversation; all other fields are skipped without being kept.
    pub fn parse(body: &[u8]) -> Result<Self, NotAnEvent> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let event = reader.deserialize_map(EventVisitor).map_err(|_| NotAnEvent)?;
        reader.end().map_err(|_| NotAnEvent)?;
        Ok(event)
    }

    /// Whether this only asks if the webhook can be reached.
    pub fn is_web_hook_verify(&self) -> bool {
        self.event_type == WEB_HOOK_VERIFY
    }

    /// The type for a log line: a documented name, or the fact that it is none. Any other text stays out of logs.
    pub fn name(&self) -> &str {
        if self.is_documented() { &self.event_type } else { "undocumented" }
    }

    /// Whether 8x8 documents this type.
    pub fn is_documented(&self) -> bool {
        self.is_web_hook_verify() || DOCUMENTED.contains(&self.event_type.as_str())
    }
}

/// Takes objects only (a derived struct would take an array as well) and, as JavaScript does, the last of repeated keys.
struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an eventType")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Event, A::Error> {
        let (mut event_type, mut conversation_id, mut data) = (None, None, None);
        while let Some(key) = fields.next_key_seed(Key)? {
            match key {
                Field::EventType => event_type = fields.next_value::<Option<Text>>()?,
                Field::ConversationId => conversation_id = fields.next_value::<Option<Text>>()?,
                Field::Data => data = Some(fields.next_value::<&RawValue>()?),
                Field::Other => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        let text = |value: Option<Text>| value.map(|Text(text)| text).filter(|text| !text.is_empty());
        let event_type = text(event_type).ok_or_else(|| serde::de::Error::missing_field("eventType"))?;
        let is_typing = event_type == "ACTIVITY" && data.is_some_and(names_typing);
        Ok(Event { event_type, conversation_id: text(conversation_id), is_typing })
    }
}

enum Field {
    EventType,
    ConversationId,
    Data,
    Other,
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Field, E> {
        Ok(match key {
            "eventType" => Field::EventType,
            "conversationId" => Field::ConversationId,
            "data" => Field::Data,
            _ => Field::Other,
        })
    }
}

/// Whether the data of an activity have the name `typing`.
fn names_typing(data: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Activity<'d> {
        #[serde(borrow)]
        name: Cow<'d, str>,
    }

    serde_json::from_str::<Activity<'_>>(data.get()).is_ok_and(|activity| activity.name == "typing")
}

/// A string, or the text of any other JSON value: a conversation that is a number keeps its order too.
struct Text(String);

impl<'de> serde::Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = <&RawValue>::deserialize(deserializer)?.get();
        Ok(Self(serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(event_type: &str, conversation_id: Option<&str>) -> Result<Event, NotAnEvent> {
        let conversation_id = conversation_id.map(str::to_owned);
        Ok(Event { event_type: event_type.to_owned(), conversation_id, is_typing: false })
    }

    #[test]
    fn reads_both_dialects() {
        let gateway =
            br#"{"eventType":"MESSAGE","conversationId":"c1","timestamp":1,"data":{"text":"\"eventType\":\"X\""}}"#;
        assert_eq!(Event::parse(gateway), event("MESSAGE", Some("c1")));
        let flat = br#"{"eventType":"AGENT_JOINED","messageType":"SYSTEM","conversationId":"c1","agentId":"a","agentName":"A","timestamp":1629804577002}"#;
        assert_eq!(Event::parse(flat), event("AGENT_JOINED", Some("c1")));
        let verify = br#"{"notificationVersion":"Chat Gateway v1.0","eventType":"WEB_HOOK_VERIFY"}"#;
        let verify = Event::parse(verify).unwrap();
        assert!(verify.is_web_hook_verify() && verify.conversation_id.is_none() && verify.is_documented());
    }

    #[test]
    fn refuses_what_is_no_event() {
        for body in [
            "",
            "x",
            "null",
            "1",
            "\"MESSAGE\"",
            "[]",
            r#"["MESSAGE","c1"]"#,
            "{}",
            r#"{"eventType":null}"#,
            r#"{"eventType":""}"#,
            r#"{"EventType":"MESSAGE"}"#,
            r#"{"eventType":"MESSAGE"} x"#,
            r#"{"eventType":"MESSAGE""#,
        ] {
            assert_eq!(Event::parse(body.as_bytes()), Err(NotAnEvent), "{body}");
        }
        assert_eq!(Event::parse(b"{\"eventType\":\"\xff\"}"), Err(NotAnEvent));
    }

    #[test]
    fn takes_a_conversation_of_any_kind_and_the_last_of_repeated_keys() {
        assert_eq!(Event::parse(br#"{"conversationId":125,"eventType":"MESSAGE"}"#), event("MESSAGE", Some("125")));
        assert_eq!(Event::parse(br#"{"conversationId":null,"eventType":"MESSAGE"}"#), event("MESSAGE", None));
        assert_eq!(Event::parse(br#"{"conversationId":"","eventType":"MESSAGE"}"#), event("MESSAGE", None));
        assert_eq!(
            Event::parse(br#"{"eventType":"A","eventType":"B","conversationId":"\u00e9"}"#),
            event("B", Some("é"))
        );
    }

    #[test]
    fn an_activity_named_typing_is_one_and_nothing_else_is() {
        let is_typing = |body: &str| Event::parse(body.as_bytes()).unwrap().is_typing;
        assert!(is_typing(
            r#"{"eventType":"ACTIVITY","conversationId":"c","data":{"name":"typing","value":{"users":[]}}}"#
        ));
        assert!(is_typing(r#"{"data":{"value":{"users":[{"id":"a"}]},"name":"typ\u0069ng"},"eventType":"ACTIVITY"}"#));
        for body in [
            r#"{"eventType":"ACTIVITY","data":{"name":"read-receipts","value":[]}}"#,
            r#"{"eventType":"ACTIVITY","data":{"name":7}}"#,
            r#"{"eventType":"ACTIVITY","data":{}}"#,
            r#"{"eventType":"ACTIVITY","data":"typing"}"#,
            r#"{"eventType":"ACTIVITY","data":null}"#,
            r#"{"eventType":"ACTIVITY","name":"typing"}"#,
            r#"{"eventType":"MESSAGE","data":{"name":"typing"}}"#,
        ] {
            assert!(!is_typing(body), "{body}");
        }
    }

    #[test]
    fn knows_what_is_documented() {
        assert!(event("TEXT", None).unwrap().is_documented());
        assert!(!event("SOMETHING_NEW", None).unwrap().is_documented());
    }

    #[test]
    fn deep_nesting_is_no_stack_overflow() {
        let deep = format!(r#"{{"data":{}1{},"eventType":"MESSAGE"}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(Event::parse(deep.as_bytes()), event("MESSAGE", None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>) {
            let _ = Event::parse(&body);
        }

        #[test]
        fn any_text_names_the_conversation(conversation in "\\PC+") {
            let body = serde_json::json!({ "eventType": "MESSAGE", "conversationId": conversation }).to_string();
            prop_assert_eq!(Event::parse(body.as_bytes()), event("MESSAGE", Some(&conversation)));
        }
    }
}
