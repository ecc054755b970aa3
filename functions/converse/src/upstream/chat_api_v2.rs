//! Translates the Chat Gateway's conversations to Chat API v2, and back. A request for what the older API lacks is rejected
//! with an error that says so. A body is translated as text: what needs no translation stays as the caller wrote it.
//!
//! Its description defines an optional header `Idempotency-Key` (a UUID, "makes a request idempotent in case of retries") that
//! no operation refers to. It is sent with every POST: 8x8 honours it, or ignores it like any header that it does not know.
//! The bridge does not rely on it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};
use shared::clock::UnixTime;
use shared::contact_center::client::Response;
use shared::digest::sha256_hex;
use url::form_urlencoded;

use super::{CreationRules, Request};
use crate::error::Error;
use crate::json::{Object, items, object, string, text_of};
use crate::routes::Operation;

/// A conversation goes to the queue of its channel, and `customer` has at most 30 members (`maxProperties`).
pub(super) const CREATION_RULES: CreationRules =
    CreationRules { names_queue: false, property_limit: 30, counts_fields: true };

/// The older API gives the messages of a conversation all at once: a page of this size has them all.
pub(super) const WHOLE_LIST: usize = 1_000_000;

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
pub(super) struct Translated<'p> {
    pub(super) method: Method,
    /// Below `conversations`.
    pub(super) path: Vec<&'p str>,
    pub(super) query: Option<String>,
    pub(super) body: Option<String>,
}

/// A UUID for a request of that name and body: the same when it is repeated.
pub(super) fn idempotency_key(key: &str, body: &str) -> HeaderValue {
    let digest = sha256_hex(format!("{key} {body}").as_bytes());
    let uuid = [&digest[..8], &digest[8..12], &digest[12..16], &digest[16..20], &digest[20..32]].join("-");
    // Hexadecimal digits and hyphens only.
    HeaderValue::from_str(&uuid).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What a request is in the older API.
pub(super) fn request<'p>(request: &Request<'p>) -> Result<Translated<'p>, Error> {
    let get = |path: &[&'p str], query| Ok(Translated { method: Method::GET, path: path.to_vec(), query, body: None });
    let post = |path: &[&'p str], body| Ok(Translated { method: Method::POST, path: path.to_vec(), query: None, body });
    // The first two are about no conversation.
    let conversation = request.call.conversation().unwrap_or_default();
    let not_supported = |reason| Err(Error::NotSupported(reason));
    match request.call.route.operation {
        Operation::ListConversations => get(&[], unsorted(request.query)?.map(str::to_owned)),
        Operation::CreateConversation => post(&[], Some(creation(&json_object(&request.body)?)?)),
        Operation::ShowConversation => get(&[conversation], None),
        Operation::ListInteractions => unsorted(request.query).and(get(&[conversation], None)),
        Operation::ListParticipants => unsorted(request.query).and(get(&[conversation, "participants"], None)),
        Operation::ListMessages => {
            sorted_by_time(request.query)?;
            get(&[conversation, "messages"], None)
        }
        Operation::SendMessage => {
            post(&[conversation, "messages"], Some(message(&json_object(&request.body)?, "authorType")?))
        }
        Operation::RemoveUser => {
            if json_object(&request.body)?.get("removed") != Some("true") {
                return not_supported("only {\"removed\": true} can be translated");
            }
            let path = vec![conversation, "participants", "customer"];
            Ok(Translated { method: Method::DELETE, path, query: None, body: None })
        }
        Operation::ReplaceConversation | Operation::ChangeConversation => {
            not_supported("a conversation cannot be changed there once it is created")
        }
        Operation::AddAttachment
        | Operation::ListAttachments
        | Operation::ShowAttachment
        | Operation::DownloadAttachment => not_supported("it has no attachments"),
        Operation::ListCards | Operation::SubmitCardAction | Operation::ExecuteCardAction => {
            not_supported("it has no cards")
        }
        Operation::ShowTyping | Operation::ShowThinking | Operation::SendReadReceipt => {
            not_supported("it has no signs of activity")
        }
        Operation::ShowMessage => not_supported("its messages have no ids: list them"),
        Operation::AssignAfterAgent => not_supported("a conversation cannot be given back to the bot there"),
        Operation::ShowHandover => not_supported("it knows no hand-over"),
    }
}

fn json_object(body: &[u8]) -> Result<Object<'_>, Error> {
    text_of(body).and_then(Object::parse).ok_or(Error::InvalidBody)
}

/// A page's size and number have the same names; filters and orders do not exist there.
fn unsorted(query: Option<&str>) -> Result<Option<&str>, Error> {
    match parameter(query, "sort").or_else(|| parameter(query, "filter")) {
        Some(_) => Err(Error::NotSupported("its lists know neither `sort` nor `filter`")),
        None => Ok(query),
    }
}

/// Whether the messages are to be listed newest first, which is the Chat Gateway's default. They come as a whole, oldest
/// first, so that both orders can be made.
fn sorted_by_time(query: Option<&str>) -> Result<bool, Error> {
    match (parameter(query, "filter"), parameter(query, "sort").as_deref()) {
        (None, None | Some("createdAt:desc")) => Ok(true),
        (None, Some("createdAt:asc")) => Ok(false),
        _ => Err(Error::NotSupported("its messages can be sorted by `createdAt` only, and not be filtered")),
    }
}

fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let mut parameters = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    parameters.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

fn creation(body: &Object<'_>) -> Result<String, Error> {
    if body.given("assignment").is_some() {
        return Err(Error::NotSupported("a conversation goes to its channel's queue there, and to no other"));
    }
    let mut members = Vec::new();
    for (name, value) in body.members() {
        match &*name {
            "assignment" => {}
            "user" => {
                let customer = Object::parse(value).map_or_else(|| value.to_owned(), |user| customer(&user));
                // The API's description defines `customer` and requires `user`.
                members.push((string("user"), customer.clone()));
                members.push((string("customer"), customer));
            }
            "history" => members.push((string("history"), history(value)?)),
            name => members.push((string(name), value.to_owned())),
        }
    }
    Ok(object(members.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

/// What is no history stays as it is, for 8x8 to reject.
fn history(text: &str) -> Result<String, Error> {
    let Some(history) = Object::parse(text) else { return Ok(text.to_owned()) };
    let Some(messages) = history.given("messages").and_then(items) else { return Ok(text.to_owned()) };
    let translated = messages.into_iter().map(|text| match Object::parse(text) {
        Some(fields) => message(&fields, "type"),
        None => Ok(text.to_owned()),
    });
    let messages: Vec<_> = translated.collect::<Result<_, _>>()?;
    Ok(history.with("messages", &format!("[{}]", messages.join(","))))
}

/// Text is all that a message can have there. `author` is the name of the field with its author's type.
fn message(fields: &Object<'_>, author: &str) -> Result<String, Error> {
    let is_empty = |value: &str| items(value).is_some_and(|items| items.is_empty());
    let is_there = |name| fields.given(name).is_some_and(|value| !is_empty(value));
    if ["attachments", "cards", "externalProvider"].into_iter().any(is_there) {
        return Err(Error::NotSupported("a message has only text there"));
    }
    let author = string(author);
    let kept = [(author.as_str(), fields.get("authorType")), ("\"text\"", fields.get("text"))];
    Ok(object(kept.into_iter().filter_map(|(name, value)| Some((name, value?)))))
}

/// `user`, whose further properties are a list, as `customer`, where they stand beside the rest. A name or a value that is not
/// given is left out: the older API has only strings.
fn customer(user: &Object<'_>) -> String {
    let mut members = Vec::new();
    for (name, value) in user.members().filter(|(_, value)| *value != "null") {
        let properties = if name == "additionalProperties" { items(value) } else { None };
        let Some(properties) = properties else {
            let renamed = USER_FIELDS.iter().find(|(user, _)| *user == name).map(|(_, customer)| *customer);
            members.push((string(renamed.unwrap_or(&name)), value));
            continue;
        };
        for property in properties.into_iter().filter_map(Object::parse) {
            if let (Some(key), Some(value)) = (property.given("key"), property.given("value")) {
                members.push((key.to_owned(), value));
            }
        }
    }
    object(members.iter().map(|(name, value)| (name.as_str(), *value)))
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

/// A successful response as the Chat Gateway gives it.
pub(super) fn response(request: &Request<'_>, mut response: Response) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&response.body) else { return response };
    let query = request.query;
    let array = |value: Option<&Value>| match value {
        Some(Value::Array(items)) => items.clone(),
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one.clone()],
    };
    let translated = match request.call.route.operation {
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
        Operation::ListMessages => {
            let mut messages: Vec<_> = array(body.get("messages")).iter().map(message_of).collect();
            // The request has been translated, so that its order is one of the two.
            if sorted_by_time(query).unwrap_or(true) {
                messages.reverse();
            }
            page_of("messages", messages, query)
        }
        // The responses to these have no body, or the same body in both APIs.
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
        | Operation::ExecuteCardAction
        | Operation::ShowHandover => return response,
    };
    set_json(&mut response, &translated);
    response
}

/// An empty list in the place of the older API's 404.
pub(super) fn empty_list(name: &str, request: &Request<'_>, mut response: Response) -> Response {
    response.status = StatusCode::OK;
    set_json(&mut response, &page_of(name, Vec::new(), request.query));
    response
}

fn set_json(response: &mut Response, json: &Value) {
    response.body = Bytes::from(json.to_string());
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/hal+json"));
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

fn message_of(message: &Value) -> Value {
    let field = |name: &str| message.get(name).cloned().unwrap_or_default();
    json!({
        "text": field("originalText"),
        "author": { "id": field("participantId"), "type": field("authorType") },
    })
}

/// A page of a list that the older API gives as a whole.
fn page_of(name: &str, items: Vec<Value>, query: Option<&str>) -> Value {
    let asked = |wanted: &str| parameter(query, wanted).and_then(|value| value.parse::<usize>().ok());
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

    fn parsed(text: &str) -> Object<'_> {
        Object::parse(text).unwrap()
    }

    #[test]
    fn a_creation_has_a_customer_and_its_history_types() {
        let body = r#"{
            "channelId": "25", "assignment": null,
            "user": { "name": "Ada", "userId": "u-1", "email": null, "order": 12345678901234567890123,
                "additionalProperties": [{ "key": "plan", "value": "gold \ud83d" }] },
            "history": { "messages": [{ "authorType": "bot", "text": "Hello \ud83d" }] }
        }"#;
        let customer = r#"{"name":"Ada","customerId":"u-1","order":12345678901234567890123,"plan":"gold \ud83d"}"#;
        let history = r#"{ "messages": [{"type":"bot","text":"Hello \ud83d"}] }"#;
        let expected = format!(r#"{{"channelId":"25","user":{customer},"customer":{customer},"history":{history}}}"#);
        assert_eq!(creation(&parsed(body)).unwrap(), expected);
    }

    #[test]
    fn what_the_older_api_lacks_is_refused() {
        let queue = r#"{"user":{},"assignment":{"type":"queue","id":"101"}}"#;
        assert!(matches!(creation(&parsed(queue)), Err(Error::NotSupported(_))));
        let picture = r#"{"authorType":"user","text":"see","attachments":[{"id":"a"}]}"#;
        assert!(matches!(message(&parsed(picture), "authorType"), Err(Error::NotSupported(_))));
        let nothing = r#"{"authorType":"user","text":"see","attachments":[],"cards":[ ]}"#;
        assert_eq!(message(&parsed(nothing), "authorType").unwrap(), r#"{"authorType":"user","text":"see"}"#);
        assert!(matches!(unsorted(Some("size=5&filter=a==b")), Err(Error::NotSupported(_))));
        assert_eq!(sorted_by_time(Some("sort=createdAt%3Aasc")).ok(), Some(false));
        assert!(matches!(sorted_by_time(Some("sort=text:asc")), Err(Error::NotSupported(_))));
    }

    #[test]
    fn a_request_has_a_uuid_of_its_own() {
        let key = idempotency_key("name", "{}");
        assert_eq!((key.len(), &key), (36, &idempotency_key("name", "{}")));
        assert_ne!(key, idempotency_key("name", "[]"));
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
