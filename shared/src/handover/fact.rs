//! The content of 8x8's life-cycle events about a conversation, as facts. Each has the time that 8x8 gave it.
//!
//! A fact is stored as text, `<milliseconds> <name> <id>`, so that a set in DynamoDB holds each fact once.

use std::borrow::Cow;

use crate::clock::UnixTime;
use crate::contact_center::members::Members;

/// 8x8's ids have at most 90 characters. A longer id is cut, so that an item stays far below DynamoDB's 400 KB.
const ID_LIMIT: usize = 128;

/// The kind of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The conversation was created.
    Created,
    /// The conversation is assigned to a queue, which is the fact's id.
    QueueAssigned,
    /// The conversation waits in a queue, which is the fact's id.
    Queued,
    /// The conversation is assigned to an agent, who is the fact's id.
    AgentAssigned,
    /// An agent, who is the fact's id, has joined.
    AgentJoined,
    /// An agent, who is the fact's id, has left. In the Chat Gateway's dialect the end is an event of its own.
    AgentLeft,
    /// The same in the older dialect. There it means the end, unless the conversation is transferred or queued.
    AgentLeftForGood,
    /// The conversation is to be transferred.
    Transferred,
    /// The customer has joined.
    CustomerJoined,
    /// The customer has left.
    CustomerLeft,
    /// The conversation has ended.
    Ended,
}

/// The name of each kind in a stored fact.
const NAMES: [(Kind, &str); 11] = [
    (Kind::Created, "created"),
    (Kind::QueueAssigned, "queue-assigned"),
    (Kind::Queued, "queued"),
    (Kind::AgentAssigned, "agent-assigned"),
    (Kind::AgentJoined, "agent-joined"),
    (Kind::AgentLeft, "agent-left"),
    (Kind::AgentLeftForGood, "agent-left-for-good"),
    (Kind::Transferred, "transferred"),
    (Kind::CustomerJoined, "customer-joined"),
    (Kind::CustomerLeft, "customer-left"),
    (Kind::Ended, "ended"),
];

/// The event types of the life cycle: those of the Chat Gateway, then those that only the older dialect has. Nothing is
/// recorded of other events, such as messages.
const LIFE_CYCLE: [&str; 6] =
    ["CONVERSATION_UPDATE", "QUEUED", "MEMBERS_CHANGED", "TRANSFER", "AGENT_JOINED", "AGENT_LEFT"];

/// Something that happened in a conversation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// When it happened, by 8x8's clock.
    pub at: UnixTime,
    /// What happened.
    pub kind: Kind,
    /// The queue or agent concerned; empty if there is none.
    pub id: String,
}

impl Fact {
    /// A fact of the time `at`.
    pub fn new(at: UnixTime, kind: Kind, id: &str) -> Self {
        Self { at, kind, id: id.chars().take(ID_LIMIT).collect() }
    }

    /// The form in which it is stored.
    pub(super) fn to_text(&self) -> String {
        let name = NAMES.iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, name)| name);
        format!("{} {name} {}", self.at.millis(), self.id)
    }

    /// `None` if this version does not know the fact.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let at = parts.next()?.parse().ok().map(UnixTime::from_millis)?;
        let name = parts.next()?;
        let (kind, _) = NAMES.iter().find(|(_, known)| *known == name)?;
        Some(Self { at, kind: *kind, id: parts.next()?.to_owned() })
    }
}

/// The conversation and the facts of a life-cycle event, the most important one first; `None` for any other event. The time is
/// the event's own, or `transmitted_at` if the event has none.
pub fn facts_of(body: &[u8], transmitted_at: UnixTime) -> Option<(String, Vec<Fact>)> {
    let json = String::from_utf8_lossy(body);
    // The Chat Gateway's payload is in `data`; the older dialect has it at the top level. Every member is optional and may have
    // any type: a member that is missing or malformed makes the fact less complete, and is not an error.
    let event = Members::parse(&json)?;
    let event_type = event.text("eventType").filter(|event_type| LIFE_CYCLE.contains(&&**event_type))?;
    let data = event.object("data");
    let timestamp = event.text("timestamp").and_then(|millis| millis.parse().ok());
    let at = timestamp.map_or(transmitted_at, UnixTime::from_millis);
    let fact = |kind, id: Option<Cow<'_, str>>| Fact::new(at, kind, &id.unwrap_or_default());
    let facts = match &*event_type {
        "CONVERSATION_UPDATE" => updated(&data, fact),
        "QUEUED" => vec![fact(Kind::Queued, data.text("queueId").or_else(|| event.text("queueId")))],
        "MEMBERS_CHANGED" => {
            let kind = match (data.text("memberType").as_deref(), data.text("change").as_deref()) {
                (Some("agent"), Some("joined")) => Kind::AgentJoined,
                (Some("agent"), Some("left")) => Kind::AgentLeft,
                (Some("user"), Some("joined")) => Kind::CustomerJoined,
                (Some("user"), Some("left")) => Kind::CustomerLeft,
                _ => return None,
            };
            let is_agent = matches!(kind, Kind::AgentJoined | Kind::AgentLeft);
            // The customer's id may be a name or an address, and is not needed here.
            vec![fact(kind, data.text("id").filter(|_| is_agent))]
        }
        "TRANSFER" => vec![fact(Kind::Transferred, None)],
        "AGENT_JOINED" => vec![fact(Kind::AgentJoined, event.text("agentId"))],
        _ => vec![fact(Kind::AgentLeftForGood, event.text("agentId"))],
    };
    if facts.is_empty() { None } else { Some((event.text("conversationId")?.into_owned(), facts)) }
}

/// A conversation's state, and the queue or agent that it is assigned to. An assignment names the queue or agent even if the
/// event of that queue or agent was lost.
fn updated<'e>(data: &Members<'e>, fact: impl Fn(Kind, Option<Cow<'e, str>>) -> Fact) -> Vec<Fact> {
    let assignment = data.object("assignment");
    let (assigned_to, id) = (assignment.text("type"), assignment.text("id"));
    let state = data.text("state");
    let mut facts = Vec::new();
    match state.as_deref() {
        Some("created") => facts.push(fact(Kind::Created, None)),
        Some("idle") => facts.push(fact(Kind::Ended, None)),
        _ => {}
    }
    match assigned_to.as_deref() {
        Some("queue") => facts.push(fact(Kind::QueueAssigned, id)),
        // A conversation that ends may still name its last agent. That agent has not joined then.
        Some("agent") if state.as_deref() == Some("active") => facts.push(fact(Kind::AgentAssigned, id)),
        _ => {}
    }
    facts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn facts(event: &Value) -> Vec<String> {
        let facts = facts_of(event.to_string().as_bytes(), UnixTime::from_millis(9));
        facts
            .map(|(conversation, facts)| {
                assert_eq!(conversation, "c");
                facts.iter().map(Fact::to_text).collect()
            })
            .unwrap_or_default()
    }

    fn gateway(event_type: &str, data: &Value) -> Value {
        json!({ "eventType": event_type, "conversationId": "c", "timestamp": 5, "data": data })
    }

    #[test]
    fn a_member_of_no_interest_spoils_no_fact() {
        let queued = |more: &str| {
            let event = format!(
                r#"{{"eventType":"QUEUED","conversationId":"c","timestamp":5,"data":{{"queueId":"101"}},{more}}}"#
            );
            facts_of(event.as_bytes(), UnixTime::from_millis(9)).map(|(_, facts)| facts)
        };
        let expected = Some(vec![Fact::new(UnixTime::from_millis(5), Kind::Queued, "101")]);
        for more in [r#""a":1,"a":2"#, r#""\ud83d":1"#, r#""a":"\ud83d""#, r#""a":1e400"#, r#""eventType":"QUEUED""#] {
            assert_eq!(queued(more), expected, "{more}");
        }
    }

    #[test]
    fn the_life_cycle_of_both_dialects_is_read() {
        let created = json!({ "state": "created", "assignment": { "type": "queue", "id": "101" } });
        assert_eq!(facts(&gateway("CONVERSATION_UPDATE", &created)), ["5 created ", "5 queue-assigned 101"]);
        let active = json!({ "state": "active", "assignment": { "type": "agent", "id": "anna" } });
        assert_eq!(facts(&gateway("CONVERSATION_UPDATE", &active)), ["5 agent-assigned anna"]);
        let idle = json!({ "state": "idle", "assignment": { "type": "agent", "id": "anna" } });
        assert_eq!(facts(&gateway("CONVERSATION_UPDATE", &idle)), ["5 ended "]);
        assert_eq!(facts(&gateway("QUEUED", &json!({ "queueId": 101 }))), ["5 queued 101"]);
        let changed = |kind: &str, change: &str| {
            facts(&gateway("MEMBERS_CHANGED", &json!({ "memberType": kind, "change": change, "id": "x" })))
        };
        assert_eq!(changed("agent", "joined"), ["5 agent-joined x"]);
        assert_eq!(changed("agent", "left"), ["5 agent-left x"]);
        assert_eq!(changed("user", "joined"), ["5 customer-joined "]);
        assert_eq!(changed("user", "left"), ["5 customer-left "]);
        assert_eq!(changed("bot", "left"), [""; 0]);
        assert_eq!(facts(&gateway("TRANSFER", &Value::Null)), ["5 transferred "]);
        let flat = |event_type: &str| {
            facts(
                &json!({ "eventType": event_type, "conversationId": "c", "timestamp": "5", "queueId": "1", "agentId": "a b" }),
            )
        };
        assert_eq!(flat("QUEUED"), ["5 queued 1"]);
        assert_eq!(flat("AGENT_JOINED"), ["5 agent-joined a b"]);
        assert_eq!(flat("AGENT_LEFT"), ["5 agent-left-for-good a b"]);
        assert_eq!(flat("TRANSFER"), ["5 transferred "]);
    }

    #[test]
    fn nothing_is_recorded_of_a_message() {
        for event_type in ["MESSAGE", "ACTIVITY", "TEXT", "WEB_HOOK_VERIFY", "SOMETHING_NEW"] {
            assert_eq!(facts(&gateway(event_type, &json!({ "state": "idle" }))), [""; 0], "{event_type}");
        }
    }

    #[test]
    fn an_event_without_a_time_has_that_of_its_transmission() {
        assert_eq!(facts(&json!({ "eventType": "TRANSFER", "conversationId": "c" })), ["9 transferred "]);
    }

    proptest! {
        #[test]
        fn a_fact_is_read_as_it_was_stored(at: u64, kind in 0..NAMES.len(), id in "\\PC{0,128}") {
            let fact = Fact::new(UnixTime::from_millis(at), NAMES[kind].0, &id);
            prop_assert_eq!(Fact::from_text(&fact.to_text()), Some(fact));
        }

        #[test]
        fn any_bytes_are_read_or_ignored(body: Vec<u8>) {
            let _ = facts_of(&body, UnixTime::from_millis(0));
        }
    }
}
