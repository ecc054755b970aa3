//! The Chat Gateway's conversations in the words of Chat API v2, and back. What the older API lacks is refused in words
//! that say so.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde_json::{Map, Value, json};
use shared::clock::UnixTime;
use shared::contact_center::client::Answer;
use url::form_urlencoded;

use crate::answer::Refusal;
use crate::operation::{Call, Content, Operation};

/// The Chat Gateway's pages have so many items unless another size is asked for.
const PAGE_SIZE: usize = 20;

/// Fields of the Gateway's `user` that the older API's `customer` names itself, and under which name.
const USER_FIELDS: [(&str, &str); 6] = [
    ("name", "name"),
    ("userId", "customerId"),
    ("email", "email"),
    ("company", "company"),
    ("caseId", "caseId"),
    ("language", "language"),
];

/// A request to the older API.
#[derive(Debug)]
pub(crate) struct Request<'p> {
    pub(crate) method: Method,
    /// Below `conversations`.
    pub(crate) path: Vec<&'p str>,
    pub(crate) query: Option<String>,
    pub(crate) body: Option<Value>,
}

/// What `call` is in the older API.
pub(crate) fn request<'p>(call: &Call<'p>, content: Content) -> Result<Request<'p>, Refusal> {
    let get = |path: &[&'p str], query| Ok(Request { method: Method::GET, path: path.to_vec(), query, body: None });
    let post = |path: &[&'p str], body| Ok(Request { method: Method::POST, path: path.to_vec(), query: None, body });
    // The first two are about no conversation.
    let conversation = call.conversation().unwrap_or_default();
    match call.operation {
        Operation::ListConversations => get(&[], in_its_order(content.query)?),
        Operation::CreateConversation => post(&[], Some(creation(json_object(&content.body)?)?)),
        Operation::ShowConversation => get(&[conversation], None),
        Operation::ListInteractions => in_its_order(content.query).and(get(&[conversation], None)),
        Operation::ListParticipants => in_its_order(content.query).and(get(&[conversation, "participants"], None)),
        Operation::ListMessages => in_its_order(content.query).and(get(&[conversation, "messages"], None)),
        Operation::SendMessage => post(&[conversation, "messages"], Some(message(json_object(&content.body)?)?)),
        Operation::RemoveUser => {
            let removed = json_object(&content.body)?.get("removed") == Some(&Value::Bool(true));
            if !removed {
                return Err(Refusal::NotSupported("only {\"removed\": true} can be translated"));
            }
            let path = vec![conversation, "participants", "customer"];
            Ok(Request { method: Method::DELETE, path, query: None, body: None })
        }
        Operation::ReplaceConversation | Operation::ChangeConversation => {
            Err(Refusal::NotSupported("a conversation cannot be changed there once it is created"))
        }
        Operation::AddAttachment
        | Operation::ListAttachments
        | Operation::ShowAttachment
        | Operation::DownloadAttachment => Err(Refusal::NotSupported("it has no attachments")),
        Operation::ListCards | Operation::SubmitCardAction | Operation::ExecuteCardAction => {
            Err(Refusal::NotSupported("it has no cards"))
        }
        Operation::ShowTyping | Operation::ShowThinking | Operation::SendReadReceipt => {
            Err(Refusal::NotSupported("it has no signs of activity"))
        }
        Operation::ShowMessage => Err(Refusal::NotSupported("its messages have no ids: list them")),
        Operation::AssignAfterAgent => {
            Err(Refusal::NotSupported("a conversation cannot be given back to the bot there"))
        }
    }
}

fn json_object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::NotAnObject)
}

/// A page's size and number have the same names; conditions and orders do not exist there.
fn in_its_order(query: Option<String>) -> Result<Option<String>, Refusal> {
    let is_foreign = |name: &str| name == "sort" || name == "filter";
    let has_foreign = |query: &String| form_urlencoded::parse(query.as_bytes()).any(|(name, _)| is_foreign(&name));
    match query {
        Some(query) if has_foreign(&query) => Err(Refusal::NotSupported("its lists know neither `sort` nor `filter`")),
        query => Ok(query),
    }
}

fn creation(mut body: Map<String, Value>) -> Result<Value, Refusal> {
    if body.contains_key("assignment") {
        return Err(Refusal::NotSupported("a conversation goes to its channel's queue there, and to no other"));
    }
    if let Some(Value::Object(user)) = body.remove("user") {
        let customer = customer(user);
        // The API's description defines `customer` and requires `user`.
        body.insert("user".to_owned(), customer.clone());
        body.insert("customer".to_owned(), customer);
    }
    if let Some(messages) = body.get_mut("history").and_then(|history| history.get_mut("messages")) {
        for item in messages.as_array_mut().into_iter().flatten() {
            let Value::Object(fields) = item.take() else { continue };
            let mut fields = message(fields)?;
            if let Some(fields) = fields.as_object_mut()
                && let Some(author_type) = fields.remove("authorType")
            {
                fields.insert("type".to_owned(), author_type);
            }
            *item = fields;
        }
    }
    Ok(body.into())
}

/// Text is all that a message can have there.
fn message(fields: Map<String, Value>) -> Result<Value, Refusal> {
    let is_there = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    if ["attachments", "cards", "externalProvider"].into_iter().any(is_there) {
        return Err(Refusal::NotSupported("a message has only text there"));
    }
    let kept = fields.into_iter().filter(|(name, _)| name == "authorType" || name == "text");
    Ok(Value::Object(kept.collect()))
}

/// `user`, whose further properties are a list, as `customer`, where they stand beside the rest.
fn customer(user: Map<String, Value>) -> Value {
    let mut customer = Map::new();
    for (name, value) in user {
        match (name.as_str(), value) {
            ("additionalProperties", Value::Array(properties)) => {
                for property in properties {
                    if let Some(key) = property.get("key").and_then(Value::as_str) {
                        customer.insert(key.to_owned(), property.get("value").cloned().unwrap_or_default());
                    }
                }
            }
            (name, value) => {
                let renamed = USER_FIELDS.iter().find(|(user, _)| *user == name).map(|(_, customer)| *customer);
                customer.insert(renamed.unwrap_or(name).to_owned(), value);
            }
        }
    }
    customer.into()
}

fn user(customer: &Map<String, Value>) -> Value {
    let mut user = Map::new();
    let mut properties = Vec::new();
    for (name, value) in customer {
        match USER_FIELDS.iter().find(|(_, customer)| customer == name) {
            Some((user_name, _)) => drop(user.insert((*user_name).to_owned(), value.clone())),
            None => properties.push(json!({ "key": name, "value": value })),
        }
    }
    if !properties.is_empty() {
        user.insert("additionalProperties".to_owned(), properties.into());
    }
    user.into()
}

/// The answer as the Chat Gateway gives it.
pub(crate) fn answer(call: &Call<'_>, query: Option<&str>, mut answer: Answer) -> Answer {
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else { return answer };
    let array = |value: Option<&Value>| match value {
        Some(Value::Array(items)) => items.clone(),
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one.clone()],
    };
    let translated = match call.operation {
        Operation::CreateConversation => {
            let created_at = body.get("timestamp").and_then(Value::as_u64).map(UnixTime::from_millis);
            json!({
                "conversationId": body.get("conversationId"),
                "createdAt": created_at.and_then(UnixTime::to_iso8601),
            })
        }
        Operation::ListConversations => {
            let conversations = array(body.get("data")).iter().map(conversation).collect();
            let page = body.get("page").cloned().unwrap_or_default();
            let [size, number, elements, pages] =
                ["pageSize", "pageIndex", "elementCount", "pageCount"].map(|name| page.get(name).cloned());
            let page = json!({ "size": size, "number": number, "totalElements": elements, "totalPages": pages });
            list("conversations", conversations, page)
        }
        Operation::ShowConversation => conversation(&body),
        Operation::ListInteractions => page_of("interactions", array(body.get("interactions")), query),
        Operation::ListParticipants => page_of("participants", array(body.get("participants")), query),
        Operation::ListMessages => page_of("messages", array(body.get("messages")).iter().map(said).collect(), query),
        // What these are answered with has no body, or none that is another there.
        Operation::ReplaceConversation
        | Operation::ChangeConversation
        | Operation::AssignAfterAgent
        | Operation::ShowTyping
        | Operation::ShowThinking
        | Operation::SendReadReceipt
        | Operation::RemoveUser
        | Operation::SendMessage
        | Operation::ShowMessage
        | Operation::ListCards
        | Operation::ListAttachments
        | Operation::AddAttachment
        | Operation::ShowAttachment
        | Operation::DownloadAttachment
        | Operation::SubmitCardAction
        | Operation::ExecuteCardAction => return answer,
    };
    answer.body = Bytes::from(translated.to_string());
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/hal+json"));
    answer
}

fn conversation(conversation: &Value) -> Value {
    let mut translated = conversation.as_object().cloned().unwrap_or_default();
    if let Some(Value::Object(customer)) = translated.remove("customer") {
        translated.insert("user".to_owned(), user(&customer));
    }
    let state = translated.remove("status").and_then(|status| match status.as_str()? {
        "created" => Some("created"),
        "pending" | "handling" => Some("active"),
        "deleted" => Some("idle"),
        _ => None,
    });
    if let Some(state) = state {
        translated.insert("state".to_owned(), state.into());
    }
    translated.into()
}

fn said(message: &Value) -> Value {
    let field = |name: &str| message.get(name).cloned().unwrap_or_default();
    json!({
        "text": field("originalText"),
        "author": { "id": field("participantId"), "type": field("authorType") },
    })
}

/// A page of a list that the older API gives as a whole.
fn page_of(name: &str, items: Vec<Value>, query: Option<&str>) -> Value {
    let asked = |wanted: &str| {
        let mut fields = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        fields.find(|(name, _)| name == wanted).and_then(|(_, value)| value.parse::<usize>().ok())
    };
    let size = asked("size").unwrap_or(PAGE_SIZE).max(1);
    let number = asked("page").unwrap_or(0);
    let total = items.len();
    let items: Vec<_> = items.into_iter().skip(number.saturating_mul(size)).take(size).collect();
    let page = json!({ "size": size, "number": number, "totalElements": total, "totalPages": total.div_ceil(size) });
    list(name, items, page)
}

fn list(name: &str, items: Vec<Value>, page: Value) -> Value {
    match items.is_empty() {
        true => json!({ "page": page }),
        false => json!({ "page": page, "_embedded": { name: items } }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_creation_has_a_customer_and_its_history_types() {
        let body = json!({
            "channelId": "25",
            "user": { "name": "Ada", "userId": "u-1", "additionalProperties": [{ "key": "plan", "value": "gold" }] },
            "history": { "messages": [{ "authorType": "bot", "text": "Hello" }] },
        });
        let customer = json!({ "name": "Ada", "customerId": "u-1", "plan": "gold" });
        let expected = json!({
            "channelId": "25",
            "user": customer,
            "customer": customer,
            "history": { "messages": [{ "type": "bot", "text": "Hello" }] },
        });
        assert_eq!(creation(object(body)).unwrap(), expected);
    }

    #[test]
    fn what_the_older_api_lacks_is_refused() {
        let queue = json!({ "user": {}, "assignment": { "type": "queue", "id": "101" } });
        assert!(matches!(creation(object(queue)), Err(Refusal::NotSupported(_))));
        let picture = json!({ "authorType": "user", "text": "see", "attachments": [{ "id": "a" }] });
        assert!(matches!(message(object(picture)), Err(Refusal::NotSupported(_))));
        let nothing = json!({ "authorType": "user", "text": "see", "attachments": [], "cards": [] });
        assert_eq!(message(object(nothing)).unwrap(), json!({ "authorType": "user", "text": "see" }));
        assert!(matches!(in_its_order(Some("size=5&filter=a==b".to_owned())), Err(Refusal::NotSupported(_))));
    }

    #[test]
    fn a_conversation_comes_back_as_the_gateway_shows_it() {
        let old = json!({ "id": "c", "channelId": "25", "status": "handling", "customer": { "customerId": "u", "plan": "gold" } });
        let new = json!({
            "id": "c",
            "channelId": "25",
            "state": "active",
            "user": { "userId": "u", "additionalProperties": [{ "key": "plan", "value": "gold" }] },
        });
        assert_eq!(conversation(&old), new);
    }

    #[test]
    fn a_whole_list_is_cut_into_pages() {
        let items = (0..5).map(Value::from).collect::<Vec<_>>();
        let page = page_of("messages", items.clone(), Some("size=2&page=2"));
        assert_eq!(page["_embedded"]["messages"], json!([4]));
        assert_eq!(page["page"], json!({ "size": 2, "number": 2, "totalElements": 5, "totalPages": 3 }));
        assert!(page_of("messages", items, Some("page=9")).get("_embedded").is_none());
    }
}
