//! The control API: any HTTP client plays the agents, switches on faults, and reads what happened.
//!
//! | request | what it does |
//! |---|---|
//! | `POST /_control/agents/{name}/join` | an agent joins the conversation that waits longest |
//! | `POST /_control/agents/{name}/typing` `{"typing"?}` | an agent starts (`true`, the default) or stops (`false`) typing |
//! | `POST /_control/agents/{name}/messages` `{"text"}` or `{"card"}` | an agent sends a text, or a card with quick replies |
//! | `POST /_control/agents/{name}/attachments?filename=…`, body: the file | an agent sends a file; `name-encoding` and `content-type` choose its headers |
//! | `POST /_control/agents/{name}/transfer` `{"queue"?}` | an agent hands the conversation to a queue, and leaves |
//! | `POST /_control/agents/{name}/leave` | an agent leaves |
//! | `GET /_control/conversations` | all conversations: state, agents, whether they wait for one |
//! | `GET /_control/conversations/{id}` | one with its messages, participants and history |
//! | `POST /_control/conversations` `{"channel_id"}` | opens a conversation; no event is sent |
//! | `POST /_control/conversations/{id}/events?type=T`, body: an event | sends any event at all |
//! | `GET /_control/events?conversation=…` | each event: headers, body, and the attempts to send it |
//! | `POST /_control/events/{id}/send` `{"late"?}` or `{"forged"?}` | sends an event once more |
//! | `GET /_control/accepted` | `{conversation: [event id]}`: what got a 2xx, in order |
//! | `POST /_control/sign`, body: an event | `{"headers"}`: 8x8's signature of these bytes, now |
//! | `GET /_control/registered` | the webhooks and channels, as the API shows them |
//! | `POST /_control/foreign` `{"name","uri"}` | adds a webhook and a channel of another integration |
//! | `POST /_control/repoint` `{"webhook_id","uri"}` | an administrator's change in 8x8's console, as are the next three |
//! | `POST /_control/move` `{"channel_id","webhook_id"}` | |
//! | `POST /_control/rename` `{"id","name"}` | |
//! | `POST /_control/remove` `{"id"}` | |
//! | `POST /_control/fail` `{"method","path","status"?,"times"?}` | the next calls to such a resource get 400 (the default), 429, 500 or 504 |
//! | `GET`, `POST` `{"fault"}`, `DELETE /_control/faults` | shows the faults, switches one on, switches all off |
//! | `GET /_control/violations` | what should not have happened: a forged event that was accepted |
//!
//! A request of an agent can name the conversation: `{"conversation"}`, or `?conversation=` if the body is a file. Without a
//! name, it is the conversation that the agent is in.

mod agents;
mod events;
mod registrations;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post};
use simulation::control::{self, Rejection};

use crate::{ContactCenter, Conversation};

/// An attachment of an agent may have the size that 8x8's API accepts from a customer here.
const BODY_LIMIT: usize = 10 * 1024 * 1024;

type Shared = axum::extract::State<Arc<ContactCenter>>;

pub(crate) fn router(contact_center: &Arc<ContactCenter>) -> Router {
    let router = Router::new()
        .route("/_control/agents/{name}/join", post(agents::join))
        .route("/_control/agents/{name}/typing", post(agents::typing))
        .route("/_control/agents/{name}/messages", post(agents::messages))
        .route("/_control/agents/{name}/attachments", post(agents::attachments))
        .route("/_control/agents/{name}/transfer", post(agents::transfer))
        .route("/_control/agents/{name}/leave", post(agents::leave))
        .route("/_control/conversations", get(events::conversations).post(events::open))
        .route("/_control/conversations/{id}", get(events::conversation))
        .route("/_control/conversations/{id}/events", post(events::send_any))
        .route("/_control/events", get(events::events))
        .route("/_control/events/{id}/send", post(events::resend))
        .route("/_control/accepted", get(events::accepted))
        .route("/_control/sign", post(events::sign))
        .route("/_control/violations", get(events::violations))
        .route("/_control/registered", get(registrations::registered))
        .route("/_control/foreign", post(registrations::foreign))
        .route("/_control/repoint", post(registrations::repoint))
        .route("/_control/move", post(registrations::move_channel))
        .route("/_control/rename", post(registrations::rename))
        .route("/_control/remove", post(registrations::remove))
        .route("/_control/fail", post(registrations::fail))
        .route("/_control/{*unknown}", any(unknown))
        .with_state(Arc::clone(contact_center));
    let router = router.merge(control::faults(Arc::clone(&contact_center.faults)));
    control::protect(router.layer(DefaultBodyLimit::max(BODY_LIMIT)))
}

async fn unknown() -> Rejection {
    Rejection::not_found("The control API has no such path; the README of contact-center lists those that it has.")
}

/// The conversation with that id, if it has a webhook to which its events can be sent.
fn with_webhook(contact_center: &Arc<ContactCenter>, id: &str) -> Result<Conversation, Rejection> {
    if !contact_center.state().conversations.contains_key(id) {
        return Err(Rejection::not_found(format!(
            "There is no conversation {id}; GET /_control/conversations lists those that there are."
        )));
    }
    contact_center.conversation(id).ok_or_else(|| {
        Rejection::conflict(format!("The channel of conversation {id} has no webhook for its events; register one."))
    })
}
