//! `GET …/{id}/handover`: where a hand-over is, as the table has it. 8x8 is not asked.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};
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
    let times = times.into_iter().filter_map(|(name, time)| Some((name.to_owned(), time?.to_iso8601()?.into())));
    let known = [
        ("state", Some(handover.state.name().into())),
        ("queue_id", Some(handover.queue_id.as_deref().into())),
        ("agent_id", handover.agent_id.as_deref().map(Value::from)),
        ("times", Some(times.collect::<Map<_, _>>().into())),
        ("time_to_agent_s", handover.time_to_agent().map(|wait| wait.as_secs_f64().into())),
        ("end_reason", handover.end_reason.map(|reason| reason.name().into())),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
}
