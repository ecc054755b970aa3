//! What the bridge adds to the body of a creation: the registered channel and queue, and a property by which the
//! conversation can be found again if 8x8 does not say whether it created it.

use serde_json::{Map, Value, json};
use shared::config::ContactCenterApi;
use shared::contact_center::saved::Registration;

/// The property's name. Agents see it among the details of the customer.
pub(crate) const CORRELATION: &str = "liveAgentBridgeId";

/// 8x8 takes at most so many further properties of a user.
const PROPERTIES: usize = 30;

/// Whether the body names no channel.
pub(crate) fn lacks_channel(body: &Map<String, Value>) -> bool {
    matches!(body.get("channelId"), None | Some(Value::Null))
}

/// Fills in the registered channel and its queue, each where the body names none. In the older API the queue is the
/// channel's, and no body can name it.
pub(crate) fn fill_in(body: &mut Map<String, Value>, registered: &Registration, api: ContactCenterApi) {
    let is_ours = lacks_channel(body);
    if is_ours {
        body.insert("channelId".to_owned(), registered.channel_id.clone().into());
    }
    let has_assignment = !matches!(body.get("assignment"), None | Some(Value::Null));
    if api == ContactCenterApi::ChatGatewayV1
        && is_ours
        && !has_assignment
        && let Some(queue_id) = &registered.queue_id
    {
        body.insert("assignment".to_owned(), json!({ "type": "queue", "id": queue_id }));
    }
}

/// Adds the property; `false` if there is no place for it.
pub(crate) fn correlate(body: &mut Map<String, Value>, id: &str) -> bool {
    let Some(Value::Object(user)) = body.get_mut("user") else { return false };
    let properties = user.entry("additionalProperties").or_insert_with(|| json!([]));
    let Some(properties) = properties.as_array_mut().filter(|properties| properties.len() < PROPERTIES) else {
        return false;
    };
    properties.push(json!({ "key": CORRELATION, "value": id }));
    true
}

/// Whether a conversation, as the Chat Gateway shows it, has that property.
pub(crate) fn is_correlated(conversation: &Value, id: &str) -> bool {
    let properties = conversation.pointer("/user/additionalProperties").and_then(Value::as_array);
    properties.into_iter().flatten().any(|property| {
        property.get("key").is_some_and(|key| key == CORRELATION)
            && property.get("value").is_some_and(|value| value == id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn filled(body: Value, api: ContactCenterApi) -> Value {
        let mut body = body.as_object().unwrap().clone();
        fill_in(&mut body, &registered(), api);
        body.into()
    }

    #[test]
    fn channel_and_queue_are_filled_in_where_the_body_names_none() {
        let queue = |id: &str| json!({ "type": "queue", "id": id });
        let gateway = ContactCenterApi::ChatGatewayV1;
        assert_eq!(filled(json!({}), gateway), json!({ "channelId": "25", "assignment": queue("101") }));
        let named = json!({ "assignment": queue("102") });
        assert_eq!(filled(named, gateway), json!({ "channelId": "25", "assignment": queue("102") }));
        // Another channel has a queue of its own.
        assert_eq!(filled(json!({ "channelId": "7" }), gateway), json!({ "channelId": "7" }));
        assert_eq!(filled(json!({}), ContactCenterApi::ChatApiV2), json!({ "channelId": "25" }));
    }

    #[test]
    fn a_conversation_is_known_by_its_property() {
        let mut body = json!({ "user": { "name": "Ada" } }).as_object().unwrap().clone();
        assert!(correlate(&mut body, "one"));
        assert!(is_correlated(&body.clone().into(), "one"));
        assert!(!is_correlated(&body.into(), "two"));
    }

    #[test]
    fn a_user_with_all_the_properties_there_can_be_gets_no_other() {
        let mut body = json!({ "user": { "additionalProperties": vec![json!({ "key": "k" }); 30] } });
        assert!(!correlate(body.as_object_mut().unwrap(), "one"));
        assert!(!correlate(&mut Map::new(), "one"));
    }
}
