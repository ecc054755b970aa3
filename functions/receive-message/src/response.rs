//! What 8x8 gets: 200 for what is stored, or an error that says whether it has to send the event again.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use shared::telemetry;

use crate::error::Rejection;

/// What 8x8 is asked to wait before it tries again: an outage of ours is over within seconds, or lasts.
const WAIT: Duration = Duration::from_secs(5);

/// The response, logged and counted. The body of a 401 is the same for every reason, so that a forger learns nothing.
pub(crate) fn into_response(outcome: Result<(), Rejection>) -> Response<Body> {
    let Err(error) = outcome else { return Response::new(Body::Empty) };
    let (status, reason) = error.describe();
    telemetry::event_refused(reason);
    if status.is_server_error() {
        tracing::error!(reason, %error, "the callback cannot be accepted now, 8x8 has to send it again");
    } else {
        tracing::warn!(reason, tenant_id = error.tenant_id(), %error, "the callback was rejected");
    }
    let message = match status {
        StatusCode::UNAUTHORIZED => "unauthorized".to_owned(),
        StatusCode::SERVICE_UNAVAILABLE => "try again later".to_owned(),
        _ => error.to_string(),
    };
    let mut response = Response::new(Body::Text(format!(r#"{{"message":"{message}"}}"#)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, WAIT.as_secs().into());
    }
    response
}
