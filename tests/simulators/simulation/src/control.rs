//! The code that the control APIs of the simulators share. They need no credentials: they listen on loopback only, and refuse
//! requests that a web page of another origin could send.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::faults::{Fault, Faults, PlannedFault};

/// A request that a control API rejects, with a sentence that says what to do. The response is `{"error"}`.
#[derive(Debug)]
pub struct Rejection {
    status: StatusCode,
    sentence: String,
}

impl Rejection {
    /// 400: the request is malformed.
    pub fn bad_request(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, sentence: sentence.into() }
    }

    /// 404: what the request names does not exist.
    pub fn not_found(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, sentence: sentence.into() }
    }

    /// 409: the request does not fit the state.
    pub fn conflict(sentence: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, sentence: sentence.into() }
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.sentence }))).into_response()
    }
}

/// Reads a body as JSON whatever its content type is, because `curl --data` says that it is a form. An empty body is `{}`.
///
/// # Errors
/// Fails if the body is not what the request needs.
pub fn json_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Rejection> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Rejection::bad_request(format!("The body is not the JSON that this request needs: {error}.")))
}

/// Accepts only requests of programs on this machine. A web page elsewhere can point its own host name at 127.0.0.1 (then the
/// Host header has that name), and can post to 127.0.0.1 (then the browser adds an Origin header).
pub fn protect(router: Router) -> Router {
    router.layer(axum::middleware::from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = single(headers, HOST).filter(|host| is_loopback(host));
    let Some(host) = host else {
        let sentence = "The control API answers only to 127.0.0.1 and localhost.";
        return Rejection { status: StatusCode::MISDIRECTED_REQUEST, sentence: sentence.to_owned() }.into_response();
    };
    let is_own_origin = !headers.contains_key(ORIGIN)
        || single(headers, ORIGIN).and_then(|origin| origin.strip_prefix("http://")) == Some(host);
    if !is_own_origin {
        let sentence = "The control API answers no web page of another origin.";
        return Rejection { status: StatusCode::FORBIDDEN, sentence: sentence.to_owned() }.into_response();
    }
    next.run(request).await
}

/// A header that occurs exactly once.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn is_loopback(host: &str) -> bool {
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    ["127.0.0.1", "localhost"].contains(&name)
}

/// `GET`, `POST` and `DELETE /_control/faults`: shows the faults, switches one on, switches all off.
pub fn faults<F: Fault>(faults: Arc<Faults<F>>) -> Router {
    let route = get(show_faults).post(set_fault).delete(clear_faults);
    Router::new().route("/_control/faults", route).with_state(faults)
}

async fn show_faults<F: Fault>(State(faults): State<Arc<Faults<F>>>) -> Json<Value> {
    Json(shown(&faults))
}

#[derive(Deserialize)]
struct Planned {
    /// The form of the command line.
    fault: String,
}

async fn set_fault<F: Fault>(State(faults): State<Arc<Faults<F>>>, body: Bytes) -> Result<Json<Value>, Rejection> {
    let planned: Planned = json_body(&body)?;
    let PlannedFault { fault, when } = planned.fault.parse::<PlannedFault<F>>().map_err(Rejection::bad_request)?;
    faults.set(fault, when);
    Ok(Json(shown(&faults)))
}

async fn clear_faults<F: Fault>(State(faults): State<Arc<Faults<F>>>) -> Json<Value> {
    faults.clear();
    Json(shown(&faults))
}

/// Every fault: whether it can still strike, and how often it has struck.
fn shown<F: Fault>(faults: &Faults<F>) -> Value {
    let struck = faults.struck();
    let shown = F::all().into_iter().map(|(fault, name)| {
        let times = struck.iter().find(|(other, _)| *other == fault).map_or(0, |(_, times)| *times);
        (name.to_owned(), json!({ "on": faults.is_on(fault), "struck": times }))
    });
    Value::Object(shown.collect())
}
