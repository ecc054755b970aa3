//! What the bridge adds to the body of a creation: the registered channel and queue, and a property by which the
//! conversation is found if 8x8 does not say whether it created it. Everything else stays as the caller wrote it.

use serde_json::json;
use shared::contact_center::saved::Registration;

use crate::json::{Object, items, push, string};
use crate::upstream::CreationRules;

/// The property's name. Agents see it among the details of the customer.
pub(crate) const CORRELATION: &str = "liveAgentBridgeId";

/// The body of a creation, completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Creation {
    pub(crate) body: String,
    /// Whether the property has found a place.
    pub(crate) is_correlated: bool,
}

/// Whether the body names no channel.
pub(crate) fn lacks_channel(body: &Object<'_>) -> bool {
    body.given("channelId").is_none()
}

/// Completes a body: the property, and what is registered, where `registered` is given. The queue is filled in with the channel
/// only: another channel has a queue of its own.
pub(crate) fn apply_defaults(
    body: &Object<'_>,
    registered: Option<&Registration>,
    correlation: &str,
    rules: CreationRules,
) -> Creation {
    let user = body.get("user").and_then(|user| correlated(user, correlation, rules));
    let is_correlated = user.is_some();
    let mut changes = Vec::new();
    changes.extend(user.map(|user| ("user", user)));
    if let Some(registered) = registered {
        changes.push(("channelId", string(&registered.channel_id)));
        if rules.names_queue
            && body.given("assignment").is_none()
            && let Some(queue_id) = &registered.queue_id
        {
            changes.push(("assignment", json!({ "type": "queue", "id": queue_id }).to_string()));
        }
    }
    let text = changes.into_iter().fold(body.text().to_owned(), |text, (name, value)| {
        // It was an object, and a member more keeps it one.
        Object::parse(&text).map_or(text.clone(), |object| object.with(name, &value))
    });
    Creation { body: text, is_correlated }
}

/// The user with the property; `None` if there is no place for it.
fn correlated(user: &str, correlation: &str, rules: CreationRules) -> Option<String> {
    let user = Object::parse(user)?;
    let property = json!({ "key": CORRELATION, "value": correlation }).to_string();
    let given = user.given("additionalProperties");
    let properties = given.map_or(Some(0), |given| Some(items(given)?.len()))?;
    let fields =
        if rules.counts_fields { user.members().filter(|(name, _)| name != "additionalProperties").count() } else { 0 };
    if fields + properties >= rules.property_limit {
        return None;
    }
    let properties = given.map_or_else(|| Some(format!("[{property}]")), |given| push(given, &property))?;
    Some(user.with("additionalProperties", &properties))
}

/// Whether a conversation, as the Chat Gateway shows it, has that property.
pub(crate) fn is_correlated(conversation: &str, correlation: &str) -> bool {
    let properties = || {
        let user = Object::parse(Object::parse(conversation)?.given("user")?)?;
        items(user.given("additionalProperties")?)
    };
    let is_text = |value: Option<&str>, text: &str| {
        value.is_some_and(|value| serde_json::from_str::<String>(value).is_ok_and(|value| value == text))
    };
    properties()
        .into_iter()
        .flatten()
        .filter_map(Object::parse)
        .any(|property| is_text(property.get("key"), CORRELATION) && is_text(property.get("value"), correlation))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const GATEWAY: CreationRules = CreationRules { names_queue: true, property_limit: 30, counts_fields: false };

    fn registered() -> Registration {
        Registration {
            channel_id: "25".to_owned(),
            webhook_id: "12".to_owned(),
            queue_id: Some("101".to_owned()),
            callback_url: "https://callbacks.example".to_owned(),
            pending_callback_url: None,
            adopted: None,
            registered_at: 0,
        }
    }

    fn completed(body: &str, rules: CreationRules) -> Creation {
        let body = Object::parse(body).unwrap();
        let registered = registered();
        let registered = lacks_channel(&body).then_some(&registered);
        apply_defaults(&body, registered, "id", rules)
    }

    fn json_of(creation: &Creation) -> Value {
        serde_json::from_str(&creation.body).unwrap()
    }

    #[test]
    fn channel_and_queue_are_filled_in_where_the_body_names_none() {
        let queue = |id: &str| json!({ "type": "queue", "id": id });
        let of = |body: &str| json_of(&completed(body, GATEWAY));
        assert_eq!(of("{}"), json!({ "channelId": "25", "assignment": queue("101") }));
        assert_eq!(of(r#"{"channelId":null}"#), json!({ "channelId": "25", "assignment": queue("101") }));
        let named = r#"{"assignment":{"type":"queue","id":"102"}}"#;
        assert_eq!(of(named), json!({ "channelId": "25", "assignment": queue("102") }));
        assert_eq!(of(r#"{"channelId":"7"}"#), json!({ "channelId": "7" }));
        let older = CreationRules { names_queue: false, ..GATEWAY };
        assert_eq!(json_of(&completed("{}", older)), json!({ "channelId": "25" }));
    }

    #[test]
    fn the_rest_of_a_body_stays_as_it_is() {
        let body = r#"{ "user": {"name":"A","additionalProperties":null, "order": 12345678901234567890123},
            "history":{"messages":[{"text":"thanks \ud83d","n":1e400}]}}"#;
        let creation = completed(body, GATEWAY);
        assert!(creation.is_correlated);
        for part in [r#""order": 12345678901234567890123}"#, r#"[{"text":"thanks \ud83d","n":1e400}]}}"#] {
            assert!(creation.body.contains(part), "{}", creation.body);
        }
        let property = r#""additionalProperties":[{"key":"liveAgentBridgeId","value":"id"}]"#;
        assert!(creation.body.contains(property), "{}", creation.body);
        assert!(is_correlated(&creation.body, "id"));
        assert!(!is_correlated(&creation.body, "other"));
    }

    #[test]
    fn a_user_with_all_the_properties_there_can_be_gets_no_other() {
        let body = |properties: usize| {
            json!({ "user": { "name": "Ada", "additionalProperties": vec![json!({ "key": "k" }); properties] } })
                .to_string()
        };
        assert!(completed(&body(29), GATEWAY).is_correlated);
        assert!(!completed(&body(30), GATEWAY).is_correlated);
        let older = CreationRules { counts_fields: true, ..GATEWAY };
        assert!(completed(&body(28), older).is_correlated);
        assert!(!completed(&body(29), older).is_correlated);
        for none in ["{}", r#"{"user":null}"#, r#"{"user":{"additionalProperties":{}}}"#] {
            assert!(!completed(none, GATEWAY).is_correlated, "{none}");
        }
    }
}
