//! API Gateway's HTTP API: its routes, its event format 2.0 and its own errors.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::lambda::{Function, InvokeError};
use simulation::journal::{Exchange, Journal, Reply};
use simulation::server::Server;

/// The limit of a payload: 10 MB.
const PAYLOAD_LIMIT: usize = 10 * 1024 * 1024;

/// The limit of an invocation's event at Lambda, with everything in it as JSON and base64.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const EVENT_LIMIT: usize = 6 * 1024 * 1024;

/// One route of the API.
#[derive(Debug)]
pub struct Route {
    /// The method; `None` means any method.
    pub method: Option<Method>,
    /// The path. `/{proxy+}` at its end stands for one segment or more.
    pub path: &'static str,
    /// The function that is invoked.
    pub function: Arc<Function>,
    /// Set for a route that receives events which the journal follows: who sends them, and in which headers.
    pub events: Option<EventHeaders>,
}

/// The headers of an event, and its sender.
#[derive(Debug, Clone, Copy)]
pub struct EventHeaders {
    /// The sender's name in the journal.
    pub sender: &'static str,
    /// The header with the id of an event.
    pub id: &'static str,
    /// The header with the number of retries.
    pub retry: &'static str,
}

/// Starts the API.
pub fn start(listener: TcpListener, routes: Vec<Route>, journal: Arc<Journal>) -> Server {
    let router = Router::new().fallback(observed).with_state((Arc::new(routes), journal));
    Server::on(listener, router.layer(DefaultBodyLimit::max(PAYLOAD_LIMIT)))
}

/// Shows an observer of the journal the events that arrive and the responses to them.
async fn observed(
    State((routes, journal)): State<(Arc<Vec<Route>>, Arc<Journal>)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let route = routes.iter().find(|route| route.takes(&method, uri.path()));
    let arrival = route.and_then(|route| {
        let events = route.events?;
        journal.event_arrived(header(events.id)?, events.sender, route.function.name(), || {
            let outcome = match header(events.retry) {
                None | Some("0") => "sent".to_owned(),
                Some(retry) => format!("sent, retry {retry}"),
            };
            (outcome, Exchange::new(&method, uri.path(), &headers, &body))
        })
    });
    let response = respond(route, method, uri, headers, body).await;
    let Some(arrival) = arrival else { return response };
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("the body is in memory");
    journal.event_replied(&arrival, Reply::new(parts.status.as_u16(), &parts.headers, &body));
    Response::from_parts(parts, body.into())
}

async fn respond(route: Option<&Route>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let Some(route) = route else {
        return message(StatusCode::NOT_FOUND, "Not Found");
    };
    let event = event(route, &method, &uri, &headers, &body).to_string();
    if event.len() > EVENT_LIMIT {
        return message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    }
    match route.function.invoke_bytes(event.into()).await {
        Ok(output) => {
            to_http(&output).unwrap_or_else(|| message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"))
        }
        Err(InvokeError::TimedOut) => message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"),
        Err(InvokeError::Function(_) | InvokeError::Exited | InvokeError::DidNotStart) => {
            message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    }
}

impl Route {
    fn takes(&self, method: &Method, path: &str) -> bool {
        let is_path = match self.path.strip_suffix("/{proxy+}") {
            None => path == self.path,
            Some(base) => path.strip_prefix(base).is_some_and(|rest| rest.len() > 1 && rest.starts_with('/')),
        };
        is_path && self.method.as_ref().is_none_or(|own| own == method)
    }
}

fn event(route: &Route, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Value {
    let mut joined = BTreeMap::<&str, String>::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        joined.entry(name.as_str()).and_modify(|all| *all = format!("{all},{value}")).or_insert(value.into_owned());
    }
    // Text is sent as text; everything else, including forms, in base64.
    let content_type = joined.get("content-type").map_or("", String::as_str);
    let is_text = content_type.starts_with("text/") || content_type.starts_with("application/json");
    let text = is_text.then(|| std::str::from_utf8(body).ok()).flatten();
    let route_key = format!("{} {}", route.method.as_ref().map_or("ANY", Method::as_str), route.path);
    json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": uri.path(),
        "rawQueryString": uri.query().unwrap_or_default(),
        "headers": joined,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "sandbox",
            "domainName": joined.get("host"),
            "domainPrefix": "sandbox",
            "http": {
                "method": method.as_str(),
                "path": uri.path(),
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": joined.get("user-agent").cloned().unwrap_or_default(),
            },
            "requestId": simulation::id::base64(),
            "routeKey": route_key,
            "stage": "$default",
            "time": "22/Nov/2026:00:00:00 +0000",
            "timeEpoch": 1_795_305_600_000_u64,
        },
        "body": text.map_or_else(|| STANDARD.encode(body), str::to_owned),
        "isBase64Encoded": text.is_none(),
    })
}

/// A function's output as HTTP; `None` if it is not valid: API Gateway then responds with 500.
fn to_http(output: &[u8]) -> Option<Response> {
    let output: Value = serde_json::from_slice(output).ok()?;
    let status = StatusCode::from_u16(u16::try_from(output.get("statusCode")?.as_u64()?).ok()?).ok()?;
    let body = output.get("body").and_then(Value::as_str).unwrap_or_default();
    let body = match output.get("isBase64Encoded").and_then(Value::as_bool) {
        Some(true) => Bytes::from(STANDARD.decode(body).ok()?),
        Some(false) | None => Bytes::from(body.to_owned()),
    };
    let mut response = (status, Body::from(body)).into_response();
    response.headers_mut().clear();
    for (name, value) in output.get("headers")?.as_object()? {
        let name: HeaderName = name.parse().ok()?;
        response.headers_mut().insert(name, HeaderValue::from_str(value.as_str()?).ok()?);
    }
    Some(response)
}

fn message(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({ "message": text }))).into_response()
}
