//! 8x8's webhook events, as far as the bridge reads them: the type of an event and its conversation. Everything else is for the
//! bot platform, and is delivered unchanged.
//!
//! Events of both dialects may arrive, whatever version a webhook was registered with. Chat Gateway v1.0 wraps its payload in
//! `data`, Chat API v2.0 is flat; both have `eventType` and `conversationId` at the top level.

use std::borrow::Cow;

use super::members::Members;

/// The event that 8x8 sends when a webhook is created or verified. It has no conversation and no time, and perhaps no
/// signature.
pub const WEB_HOOK_VERIFY: &str = "WEB_HOOK_VERIFY";

/// The event types that 8x8 documents: those of Chat Gateway v1.0 first, then those that only Chat API v2.0 has.
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
    /// `eventType`, as it was received.
    pub event_type: String,
    /// `conversationId`, if the event has one that is not empty.
    pub conversation_id: Option<String>,
    /// Whether the event only says who is typing: Chat Gateway's `ACTIVITY` with the name `typing`. Chat API v2.0 has no such
    /// event.
    pub is_typing: bool,
}

/// A body that is not an event: not JSON, not an object, or without an `eventType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not a JSON object with an eventType")]
pub struct NotAnEvent;

impl Event {
    /// Reads an event's type and conversation from any JSON object, however deep, with an `eventType` that is neither null nor
    /// empty. If a name is repeated, the last one counts, as in JavaScript. For a body that is verified
    /// ([`super::callback::Verified::event`]).
    pub(crate) fn parse(body: &[u8]) -> Result<Self, NotAnEvent> {
        // A text may be cut within a character. That matters only to the bot platform, unless it is the event's type.
        let json = String::from_utf8_lossy(body);
        let members = Members::parse(&json).ok_or(NotAnEvent)?;
        let event_type = members.text("eventType").ok_or(NotAnEvent)?;
        if matches!(json, Cow::Owned(_)) && event_type.contains(char::REPLACEMENT_CHARACTER) {
            return Err(NotAnEvent);
        }
        Ok(Self {
            is_typing: event_type == "ACTIVITY" && members.object("data").text("name").as_deref() == Some("typing"),
            conversation_id: members.text("conversationId").map(Cow::into_owned),
            event_type: event_type.into_owned(),
        })
    }

    /// Whether the event only checks that the webhook can be reached.
    pub fn is_web_hook_verify(&self) -> bool {
        self.event_type == WEB_HOOK_VERIFY
    }

    /// The type for a log line: a documented name, or the statement that it is not documented. No other text gets into logs.
    pub fn name(&self) -> &str {
        if self.is_documented() { &self.event_type } else { "undocumented" }
    }

    /// Whether 8x8 documents this type.
    pub fn is_documented(&self) -> bool {
        self.is_web_hook_verify() || DOCUMENTED.contains(&self.event_type.as_str())
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
    fn half_of_a_surrogate_pair_may_stand_anywhere() {
        assert_eq!(
            Event::parse(br#"{"\ud83d":1,"eventType":"MESSAGE","conversationId":"c"}"#),
            event("MESSAGE", Some("c"))
        );
        assert_eq!(
            Event::parse(br#"{"eventType":"MESSAGE","conversationId":"c\udc4b","\udc4b\ud83d":{}}"#),
            event("MESSAGE", Some(r#""c\udc4b""#))
        );
        assert_eq!(Event::parse(br#"{"eventType":"\ud83d"}"#), event(r#""\ud83d""#, None));
        assert_eq!(Event::parse(br#"{"event\u0054ype":"\u004dESSAGE"}"#), event("MESSAGE", None));
    }

    #[test]
    fn a_text_that_is_cut_within_a_character_is_no_reason_to_refuse_an_event() {
        let body = b"{\"eventType\":\"MESSAGE\",\"data\":\"\xf0\x9f\",\"conversationId\":\"c\"}";
        assert_eq!(Event::parse(body), event("MESSAGE", Some("c")));
        let replaced = "{\"eventType\":\"\u{fffd}\"}";
        assert_eq!(Event::parse(replaced.as_bytes()), event("\u{fffd}", None));
    }

    #[test]
    fn an_activity_named_typing_is_one_and_nothing_else_is() {
        let is_typing = |body: &str| Event::parse(body.as_bytes()).unwrap().is_typing;
        assert!(is_typing(
            r#"{"eventType":"ACTIVITY","conversationId":"c","data":{"name":"typing","value":{"users":[]}}}"#
        ));
        let escaped = r#"{"data":{"value":{"users":[{"id":"a"}]},"name":"typ\u0069ng"},"eventType":"ACTIVITY"}"#;
        assert!(is_typing(escaped));
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

    /// The JSON of any string, with escapes where a sender may put them.
    fn string() -> impl Strategy<Value = String> {
        let escape = r#"\\["\\/bfnrt]|\\u[0-9a-fA-F]{4}|\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}"#;
        let unit = prop_oneof![Just("eventType".to_owned()), escape, "[^\\x00-\\x1f\"\\\\]"];
        proptest::collection::vec(unit, 0..8).prop_map(|units| format!("\"{}\"", units.concat()))
    }

    /// Any JSON.
    fn value() -> impl Strategy<Value = String> {
        let number = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?";
        let leaf = prop_oneof![string(), number, "true|false|null"];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let members = proptest::collection::vec((string(), space(), inner.clone()), 0..4);
            prop_oneof![
                (space(), proptest::collection::vec(inner, 0..4))
                    .prop_map(|(space, items)| format!("[{space}{}{space}]", items.join(","))),
                (space(), members).prop_map(|(space, members)| object(&space, &members)),
            ]
        })
    }

    fn space() -> impl Strategy<Value = String> {
        "[ \t\r\n]{0,2}"
    }

    fn object(space: &str, members: &[(String, String, String)]) -> String {
        let members: Vec<_> =
            members.iter().map(|(name, space, value)| format!("{name}{space}:{space}{value}")).collect();
        format!("{space}{{{space}{}{space}}}{space}", members.join(&format!(",{space}")))
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body: Vec<u8>) {
            let _ = Event::parse(&body);
        }

        /// RFC 8259 allows all of these. If a name is repeated, the last one counts.
        #[test]
        fn any_json_object_with_an_event_type_is_an_event(
            before in proptest::collection::vec((string(), space(), value()), 0..4), space in space(),
            after in proptest::collection::vec((string(), space(), value()), 0..4),
        ) {
            let plain = |name: &str| serde_json::from_str::<String>(name).is_ok_and(|name| name == "eventType" || name == "conversationId");
            let own = ["eventType", "conversationId"].map(|name| (format!("\"{name}\""), space.clone(), "\"own\"".to_owned()));
            let after = after.into_iter().filter(|(name, ..)| !plain(name));
            let members: Vec<_> = before.into_iter().chain(own).chain(after).collect();
            let body = object(&space, &members);
            prop_assert_eq!(Event::parse(body.as_bytes()), event("own", Some("own")), "{}", body);
        }

        #[test]
        fn any_text_names_the_conversation(conversation in "\\PC+") {
            let body = serde_json::json!({ "eventType": "MESSAGE", "conversationId": conversation }).to_string();
            prop_assert_eq!(Event::parse(body.as_bytes()), event("MESSAGE", Some(&conversation)));
        }
    }
}
