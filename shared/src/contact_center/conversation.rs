//! What the bridge itself asks 8x8 about a conversation, in both dialects: whether it has ended, which message was the last,
//! and its end.

use http::Method;
use serde_json::{Value, json};

use super::client::{ContactCenter, ContactCenterError, found};
use super::config::ContactCenterApi;
use super::registration::items;
use crate::clock::UnixTime;

const CONVERSATIONS: &str = "conversations";

/// The largest page that 8x8's lists have.
const PAGE_SIZE: &str = "100";

/// The last message of the customer or an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastMessage {
    /// When it was sent.
    pub at: UnixTime,
    /// Whether the customer sent it.
    pub is_customers: bool,
}

impl ContactCenter {
    /// Whether a conversation has ended: it is idle, or does not exist at 8x8 any more. The older API may not report an end.
    ///
    /// # Errors
    /// 8x8 rejects the call or does not respond.
    pub async fn has_ended(&self, id: &str) -> Result<bool, ContactCenterError> {
        let shown = self.call("show the conversation", Method::GET, &[CONVERSATIONS, id], &[], None).await;
        let Some(conversation) = found(shown)? else { return Ok(true) };
        // The older API names this field `status`.
        let state = conversation.get("state").or_else(|| conversation.get("status")).and_then(Value::as_str);
        Ok(matches!(state, Some("idle" | "deleted")))
    }

    /// Ends a conversation by removing the customer, as 8x8 documents it. If the conversation is already gone, that is a
    /// success.
    ///
    /// # Errors
    /// 8x8 rejects the call or does not respond. If the error is ambiguous, the call may have been carried out.
    pub async fn remove_customer(&self, id: &str) -> Result<(), ContactCenterError> {
        let participants = |participant| [CONVERSATIONS, id, "participants", participant];
        let call = "end the conversation";
        let removed = match self.api() {
            ContactCenterApi::ChatGatewayV1 => {
                self.call(call, Method::PATCH, &participants("user"), &[], Some(&json!({ "removed": true }))).await
            }
            ContactCenterApi::ChatApiV2 => self.call(call, Method::DELETE, &participants("customer"), &[], None).await,
        };
        found(removed).map(drop)
    }

    /// The last message of customer or agent in a conversation of the Chat Gateway; `None` if there is none. The older API has
    /// no times of messages.
    ///
    /// # Errors
    /// 8x8 rejects the call, does not respond, or lists the messages in a way that does not show which is the last.
    pub async fn last_message(&self, id: &str) -> Result<Option<LastMessage>, ContactCenterError> {
        let call = "list the messages";
        let query = [("sort", "createdAt:desc"), ("size", PAGE_SIZE)];
        let listed = self.call(call, Method::GET, &[CONVERSATIONS, id, "messages"], &query, None).await;
        let Some(list) = found(listed)? else { return Ok(None) };
        let unusable = |reason| ContactCenterError::Unusable { call, reason };
        let messages = items(&list, "messages").ok_or_else(|| unusable("it is a list of an unknown form"))?;
        let times: Vec<_> = messages.iter().filter_map(time_of).collect();
        if times.len() < messages.len() {
            return Err(unusable("a message has no time"));
        }
        let has_more = list.pointer("/page/totalPages").and_then(Value::as_f64).is_some_and(|pages| pages > 1.0);
        if has_more && times.first() < times.last() {
            return Err(unusable("it is not sorted as it was asked for"));
        }
        let said = messages.iter().filter_map(|message| {
            let author = message.pointer("/author/type").and_then(Value::as_str)?.to_ascii_lowercase();
            let is_customers = author == "user";
            (is_customers || author == "agent").then_some(LastMessage { at: time_of(message)?, is_customers })
        });
        // Of two messages in the same second, the customer's counts as the last.
        Ok(said.max_by_key(|message| (message.at, message.is_customers)))
    }
}

fn time_of(message: &Value) -> Option<UnixTime> {
    UnixTime::from_iso8601(message.get("createdAt")?.as_str()?)
}
