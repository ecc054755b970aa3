//! Functions behind API Gateway's HTTP API: converts its events to requests, and responses to its format (payload format 2.0,
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>).
//!
//! The types are those of lambda_http. Its own conversion is not used: it panics on a query or a `Host` that is not valid in a
//! URI, and it decodes a response's body by its content type, which damages bytes that do not match the type.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use lambda_http::{Body, Request, RequestExt, Response};
use lambda_runtime::LambdaEvent;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::runtime;

/// An event of payload format 2.0, as far as a request needs it. Every other field is ignored, and so is a header whose value
/// is not text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpEvent {
    #[serde(default)]
    raw_path: String,
    #[serde(default)]
    raw_query_string: String,
    #[serde(default)]
    headers: Headers,
    request_context: RequestContext,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Debug, Deserialize)]
struct RequestContext {
    http: HttpContext,
}

#[derive(Debug, Deserialize)]
struct HttpContext {
    method: String,
}

#[derive(Debug, Default)]
struct Headers(HeaderMap);

/// Why an event is not an HTTP request: the part that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request's {0} cannot be read")]
pub struct MalformedRequest(&'static str);

impl TryFrom<HttpEvent> for Request {
    type Error = MalformedRequest;

    fn try_from(event: HttpEvent) -> Result<Self, MalformedRequest> {
        let method = Method::from_bytes(event.request_context.http.method.as_bytes());
        let method = method.map_err(|_| MalformedRequest("method"))?;
        let target = match &*event.raw_query_string {
            "" => event.raw_path,
            query => format!("{}?{query}", event.raw_path),
        };
        let target = PathAndQuery::try_from(target).map_err(|_| MalformedRequest("path or query"))?;
        let body = match event.body {
            None => Body::Empty,
            Some(body) if event.is_base64_encoded => {
                Body::Binary(STANDARD.decode(body).map_err(|_| MalformedRequest("body"))?)
            }
            Some(body) => Body::Text(body),
        };
        let mut request = Self::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(target);
        *request.headers_mut() = event.headers.0;
        Ok(request)
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeadersVisitor;

        impl<'de> Visitor<'de> for HeadersVisitor {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("headers")
            }

            fn visit_unit<E>(self) -> Result<Headers, E> {
                Ok(Headers::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
                let mut headers = HeaderMap::with_capacity(map.size_hint().unwrap_or(16));
                while let Some(name) = map.next_key::<String>()? {
                    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    let value: Box<RawValue> = map.next_value()?;
                    let Ok(value) = serde_json::from_str::<String>(value.get()) else { continue };
                    if let Ok(value) = HeaderValue::try_from(value) {
                        headers.append(name, value);
                    }
                }
                Ok(Headers(headers))
            }
        }

        deserializer.deserialize_any(HeadersVisitor)
    }
}

/// A response of payload format 2.0.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpResponse {
    status_code: u16,
    headers: BTreeMap<String, String>,
    body: String,
    is_base64_encoded: bool,
}

impl From<Response<Body>> for HttpResponse {
    fn from(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let headers = header_texts(&parts.headers);
        let (body, is_base64_encoded) = match body {
            Body::Text(text) => (text, false),
            Body::Binary(bytes) => (STANDARD.encode(bytes), true),
            // The only other kind is the empty body; the enumeration is non-exhaustive.
            Body::Empty | _ => (String::new(), false),
        };
        Self { status_code: parts.status.as_u16(), headers, body, is_base64_encoded }
    }
}

/// A header's value as text: UTF-8, or else Latin-1, as HTTP once defined it (RFC 9110 §5.5).
pub fn header_text(value: &HeaderValue) -> String {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(value) => value.to_owned(),
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    }
}

/// Headers as JSON: each as text, with the values of a repeated name joined (RFC 9110 §5.3).
pub fn header_texts<'h>(
    headers: impl IntoIterator<Item = (&'h HeaderName, &'h HeaderValue)>,
) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let value = header_text(value);
        match texts.get_mut(name.as_str()) {
            Some(values) => *values = format!("{values}, {value}"),
            None => {
                texts.insert(name.to_string(), value);
            }
        }
    }
    texts
}

/// Runs a function that is invoked by an HTTP API. A request that cannot be read gets a 400 and does not reach `handle`.
///
/// # Errors
/// Lambda's runtime API is lost; the execution environment ends then.
pub async fn run<F: Future<Output = Response<Body>>>(
    handle: impl Fn(Request) -> F,
) -> Result<(), lambda_runtime::Error> {
    runtime::run(async |event: LambdaEvent<HttpEvent>| {
        let response = match Request::try_from(event.payload) {
            Ok(request) => handle(request.with_lambda_context(event.context)).await,
            Err(malformed) => rejected(malformed, &event.context.request_id),
        };
        Ok(HttpResponse::from(response))
    })
    .await
}

fn rejected(malformed: MalformedRequest, request_id: &str) -> Response<Body> {
    tracing::warn!(reason = %malformed, "a request is malformed");
    let body = serde_json::json!({ "message": malformed.to_string(), "requestId": request_id });
    let mut response = Response::new(Body::Text(body.to_string()));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(event: &Value) -> Result<Request, MalformedRequest> {
        serde_json::from_value::<HttpEvent>(event.clone()).expect("an event").try_into()
    }

    fn event(query: &str) -> Value {
        json!({
            "version": "2.0",
            "rawPath": "/v1/liveAgent/conversations",
            "rawQueryString": query,
            "headers": { "x-app-token": "t", "host": "a b", "x-forwarded-proto": "https, http", "x-empty": null },
            "requestContext": { "http": { "method": "POST" }, "stage": "$default" },
            "body": "aGk=",
            "isBase64Encoded": true,
        })
    }

    #[test]
    fn an_event_is_a_request_whatever_a_load_balancer_has_done_to_its_headers() {
        let request = read(&event("size=1&page=0")).unwrap();
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/v1/liveAgent/conversations"));
        assert_eq!(request.uri().query(), Some("size=1&page=0"));
        assert_eq!(request.headers()["x-forwarded-proto"], "https, http");
        assert!(!request.headers().contains_key("x-empty"));
        assert_eq!(&**request.body(), b"hi");
    }

    #[test]
    fn what_is_no_part_of_a_uri_is_refused() {
        for query in ["a=<b", "a=\"b", "a= b", "a=\u{1}"] {
            assert_eq!(read(&event(query)).unwrap_err(), MalformedRequest("path or query"), "{query}");
        }
        let mut no_base64 = event("");
        no_base64["body"] = "?".into();
        assert_eq!(read(&no_base64).unwrap_err(), MalformedRequest("body"));
    }

    #[test]
    fn bytes_are_sent_in_base64_and_a_header_of_any_bytes_is_text() {
        let mut response = Response::new(Body::Binary(vec![0xff]));
        response.headers_mut().insert("x-name", HeaderValue::from_bytes(b"Gr\xf6\xdfe").unwrap());
        response.headers_mut().append("x-twice", HeaderValue::from_static("a"));
        response.headers_mut().append("x-twice", HeaderValue::from_static("b"));
        let sent = serde_json::to_value(HttpResponse::from(response)).unwrap();
        let headers = json!({ "x-name": "Größe", "x-twice": "a, b" });
        let expected = json!({ "statusCode": 200, "headers": headers, "body": "/w==", "isBase64Encoded": true });
        assert_eq!(sent, expected);
    }

    proptest! {
        #[test]
        fn no_event_panics(
            path in ".*", query in ".*", method in ".*", name in ".*", value in ".*", body in proptest::option::of(".*"),
            is_base64_encoded: bool,
        ) {
            let mut event = event(&query);
            event["rawPath"] = path.into();
            event["requestContext"]["http"]["method"] = method.into();
            event["headers"][name] = value.into();
            event["body"] = json!(body);
            event["isBase64Encoded"] = is_base64_encoded.into();
            let _ = read(&event);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = serde_json::from_slice::<HttpEvent>(&bytes).map(Request::try_from);
        }
    }
}
