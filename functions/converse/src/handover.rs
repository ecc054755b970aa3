//! `GET …/{id}/handover`: where a hand-over is, as the table has it. 8x8 is not asked.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use shared::clock::UnixTime;
use shared::contact_center::client::Response;
use shared::handover::state::Handover;
use shared::handover::table::HandoverTable;

use crate::error::Error;

/// The hand-over of a conversation.
pub(crate) async fn show(table: &HandoverTable, conversation: &str) -> Result<Response, Error> {
    let found = table.get(conversation).await.map_err(|error| Error::Unavailable(error.to_string()))?;
    let handover = found.ok_or(Error::NoHandover)?.handover();
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    Ok(Response { status: StatusCode::OK, headers, body: document(&handover).to_string().into() })
}

/// As docs/openapi.yaml describes it; what is not known is left out.
fn document(handover: &Handover) -> Value {
    let Handover { times, .. } = handover;
    let times = [
        ("created", times.created),
        ("queued", times.queued),
        ("joined", times.joined),
        ("transferred", times.transferred),
        ("left", times.left),
        ("customer_left", times.customer_left),
        ("ended", times.ended),
    ];
    let times = times.into_iter().filter_map(|(name, time)| {
        let text = time.and_then(UnixTime::to_iso8601)?;
        Some((name.to_owned(), text.into()))
    });
    let mut document = json!({
        "state": handover.state.name(),
        "queue_id": handover.queue_id,
        "times": times.collect::<Map<_, _>>(),
    });
    if let Some(agent) = &handover.agent_id {
        document["agent_id"] = agent.as_str().into();
    }
    if let Some(wait) = handover.time_to_agent() {
        document["time_to_agent_s"] = wait.as_secs_f64().into();
    }
    if let Some(reason) = handover.end_reason {
        document["end_reason"] = reason.name().into();
    }
    document
}
