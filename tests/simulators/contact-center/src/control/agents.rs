//! The actions of agents.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use simulation::control::{Rejection, json_body};

use super::{Shared, with_webhook};
use crate::{ContactCenter, Conversation, FileHeaders, NameEncoding, QUEUES};

type Done = Result<Json<Value>, Rejection>;

/// A request with no body other than, perhaps, the conversation.
#[derive(Deserialize)]
pub(super) struct Chosen {
    conversation: Option<String>,
}

pub(super) async fn join(State(contact_center): Shared, Path(agent): Path<String>, body: Bytes) -> Done {
    let chosen: Chosen = json_body(&body)?;
    let id = match chosen.conversation {
        Some(id) => id,
        None => waiting_longest(&contact_center)?,
    };
    let conversation = with_webhook(&contact_center, &id)?;
    let (is_over, is_in) =
        conversation.record(|record| (record.state == "idle", record.agents().contains(&agent.as_str())));
    if is_over {
        return Err(Rejection::conflict(format!("Conversation {id} has ended; join another one.")));
    }
    if is_in {
        return Err(Rejection::conflict(format!("{agent} is in conversation {id} already.")));
    }
    conversation.joined(&agent);
    done(&conversation)
}

#[derive(Deserialize)]
pub(super) struct Typing {
    conversation: Option<String>,
    #[serde(default = "yes")]
    typing: bool,
}

const fn yes() -> bool {
    true
}

pub(super) async fn typing(State(contact_center): Shared, Path(agent): Path<String>, body: Bytes) -> Done {
    let request: Typing = json_body(&body)?;
    let conversation = of_agent(&contact_center, &agent, request.conversation)?;
    if request.typing {
        conversation.types(&agent);
    } else {
        conversation.stops_typing();
    }
    done(&conversation)
}

#[derive(Deserialize)]
pub(super) struct Message {
    conversation: Option<String>,
    text: Option<String>,
    card: Option<Value>,
}

pub(super) async fn messages(State(contact_center): Shared, Path(agent): Path<String>, body: Bytes) -> Done {
    let message: Message = json_body(&body)?;
    let conversation = of_agent(&contact_center, &agent, message.conversation)?;
    match (message.text, message.card) {
        (Some(text), None) => conversation.writes(&agent, &text),
        (None, Some(card)) => {
            check_is_gateway(&contact_center, "cards")?;
            conversation.sends_card(&agent, &card);
        }
        _ => return Err(Rejection::bad_request(r#"A message has either {"text":"…"} or {"card":{…}}."#)),
    }
    done(&conversation)
}

#[derive(Deserialize)]
pub(super) struct Attachment {
    conversation: Option<String>,
    filename: Option<String>,
    #[serde(rename = "name-encoding")]
    name_encoding: Option<String>,
    /// Each character stands for one byte, so that any bytes can be requested; empty means no header.
    #[serde(rename = "content-type")]
    content_type: Option<String>,
}

impl Attachment {
    fn headers(&self) -> Result<FileHeaders, Rejection> {
        let content_type = match self.content_type.as_deref() {
            None => FileHeaders::default().content_type,
            Some("") => None,
            Some(text) => {
                let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
                Some(bytes.map_err(|_| Rejection::bad_request("A content type has characters up to U+00FF only."))?)
            }
        };
        let name = match self.name_encoding.as_deref() {
            None => NameEncoding::default(),
            Some(asked) => {
                let known = NameEncoding::ALL.iter().find(|(name, _)| *name == asked).map(|(_, encoding)| *encoding);
                known.ok_or_else(|| {
                    let names = NameEncoding::ALL.map(|(name, _)| name).join(", ");
                    Rejection::bad_request(format!("There is no name-encoding {asked}; there are {names}."))
                })?
            }
        };
        Ok(FileHeaders { name, content_type })
    }
}

pub(super) async fn attachments(
    State(contact_center): Shared,
    Path(agent): Path<String>,
    Query(attachment): Query<Attachment>,
    body: Bytes,
) -> Done {
    let headers = attachment.headers()?;
    let Some(filename) = attachment.filename.filter(|filename| !filename.is_empty()) else {
        return Err(Rejection::bad_request("The name of the file is missing: …/attachments?filename=order.txt"));
    };
    if body.is_empty() {
        return Err(Rejection::bad_request("The file is empty; send its bytes as the body: curl --data-binary @FILE"));
    }
    check_is_gateway(&contact_center, "attachments")?;
    let conversation = of_agent(&contact_center, &agent, attachment.conversation)?;
    conversation.sends_file_with(&agent, &filename, &body, headers);
    done(&conversation)
}

#[derive(Deserialize)]
pub(super) struct Transfer {
    conversation: Option<String>,
    queue: Option<String>,
}

pub(super) async fn transfer(State(contact_center): Shared, Path(agent): Path<String>, body: Bytes) -> Done {
    let transfer: Transfer = json_body(&body)?;
    let conversation = of_agent(&contact_center, &agent, transfer.conversation)?;
    let queue = transfer.queue.unwrap_or_else(|| conversation.record(|record| record.queue_id.clone()));
    if !QUEUES.iter().any(|(id, _)| *id == queue) {
        let queues: Vec<String> = QUEUES.iter().map(|(id, name)| format!("{id} ({name})")).collect();
        return Err(Rejection::bad_request(format!("There is no queue {queue}; there are {}.", queues.join(", "))));
    }
    conversation.transferred_to(&agent, &queue);
    done(&conversation)
}

/// When the last agent leaves, the conversation ends, unless the bot has asked to get it back (`post-agent-assignment`).
pub(super) async fn leave(State(contact_center): Shared, Path(agent): Path<String>, body: Bytes) -> Done {
    let chosen: Chosen = json_body(&body)?;
    let conversation = of_agent(&contact_center, &agent, chosen.conversation)?;
    conversation.left(&agent);
    let goes_on =
        conversation.record(|record| !record.agents().is_empty() || !record.post_agent_assignments.is_empty());
    if !goes_on {
        conversation.idle();
    }
    done(&conversation)
}

/// The conversation, and the events that the request has caused.
fn done(conversation: &Conversation) -> Done {
    Ok(Json(json!({ "conversation": conversation.id(), "events": conversation.sent() })))
}

fn check_is_gateway(contact_center: &ContactCenter, what: &str) -> Result<(), Rejection> {
    if contact_center.is_gateway() {
        return Ok(());
    }
    Err(Rejection::conflict(format!("Chat API v2 has no {what}; start the program with --api chat-gateway-v1.")))
}

fn waiting_longest(contact_center: &ContactCenter) -> Result<String, Rejection> {
    let state = contact_center.state();
    let waiting = state.conversations.iter().filter_map(|(id, record)| Some((record.waiting_since?, id)));
    waiting.min().map(|(_, id)| id.clone()).ok_or_else(|| {
        Rejection::conflict("No conversation waits for an agent; a bot opens one with POST …/conversations.")
    })
}

/// The conversation that the request names, or else the only conversation that the agent is in.
fn of_agent(
    contact_center: &Arc<ContactCenter>,
    agent: &str,
    named: Option<String>,
) -> Result<Conversation, Rejection> {
    if let Some(id) = named {
        let conversation = with_webhook(contact_center, &id)?;
        return match conversation.record(|record| record.agents().contains(&agent)) {
            true => Ok(conversation),
            false => Err(Rejection::conflict(format!(
                "{agent} is not in conversation {id}; POST /_control/agents/{agent}/join comes first."
            ))),
        };
    }
    let ids: Vec<String> = {
        let state = contact_center.state();
        let own = state.conversations.iter().filter(|(_, record)| record.agents().contains(&agent));
        own.map(|(id, _)| id.clone()).collect()
    };
    match ids.as_slice() {
        [id] => with_webhook(contact_center, id),
        [] => Err(Rejection::conflict(format!(
            "{agent} is in no conversation; POST /_control/agents/{agent}/join comes first."
        ))),
        ids => Err(Rejection::conflict(format!(
            "{agent} is in {} conversations; name one of them as \"conversation\": {}.",
            ids.len(),
            ids.join(", ")
        ))),
    }
}
