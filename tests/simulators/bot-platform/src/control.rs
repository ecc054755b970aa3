//! The control API of the bot platform.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /_control/receipts` | `{conversation: [{"event_id","body"}]}`: the events that the bot platform has received, the body in base64 |
//! | `GET /_control/refusals` | `{status: n}`: how often the bot platform responded to an event with a status that is not a 2xx |
//! | `POST /_control/refusals` `{"conversation_id","status","retry_after"?}` | refuses the events of that conversation |
//! | `DELETE /_control/refusals/{conversation}` | accepts the events of that conversation again |
//! | `GET /_control/violations` | the requests that an Aisera tenant would reject in any state |
//! | `GET`, `POST` `{"fault"}`, `DELETE /_control/faults` | see [`simulation::control`] |

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use simulation::control::{self, Rejection, json_body};

use crate::BotPlatform;

pub(super) fn router(bot: &Arc<BotPlatform>) -> Router {
    let router = Router::new()
        .route("/_control/receipts", get(receipts))
        .route("/_control/refusals", get(refusals).post(refuse))
        .route("/_control/refusals/{conversation}", delete(accept))
        .route("/_control/violations", get(violations))
        .route("/_control/{*unknown}", axum::routing::any(unknown))
        .with_state(Arc::clone(bot));
    control::protect(router.merge(control::faults(Arc::clone(&bot.faults))))
}

async fn unknown() -> Rejection {
    Rejection::not_found("The control API has no such path; README.md lists those that it has.")
}

async fn receipts(State(bot): State<Arc<BotPlatform>>) -> Json<Value> {
    let receipts = bot.receipts().into_iter().map(|(conversation, receipts)| {
        let shown = receipts
            .iter()
            .map(|receipt| json!({ "event_id": receipt.event_id, "body": STANDARD.encode(&receipt.body) }));
        (conversation, shown.collect::<Vec<_>>())
    });
    Json(json!(receipts.collect::<BTreeMap<_, _>>()))
}

async fn refusals(State(bot): State<Arc<BotPlatform>>) -> Json<Value> {
    Json(json!(bot.state().refusals))
}

#[derive(Deserialize)]
struct Refused {
    conversation_id: String,
    status: u16,
    #[serde(default)]
    retry_after: Option<u64>,
}

async fn refuse(State(bot): State<Arc<BotPlatform>>, body: Bytes) -> Result<StatusCode, Rejection> {
    let refused: Refused = json_body(&body)?;
    if !(300..600).contains(&refused.status) {
        return Err(Rejection::bad_request("The status of a refusal is from 300 to 599."));
    }
    bot.refuse_conversation(&refused.conversation_id, refused.status, refused.retry_after);
    Ok(StatusCode::NO_CONTENT)
}

async fn accept(State(bot): State<Arc<BotPlatform>>, Path(conversation): Path<String>) -> StatusCode {
    bot.take_conversation(&conversation);
    StatusCode::NO_CONTENT
}

async fn violations(State(bot): State<Arc<BotPlatform>>) -> Json<Value> {
    Json(json!(bot.violations()))
}
