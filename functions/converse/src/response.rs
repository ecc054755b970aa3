//! What a caller gets: 8x8's response as it is, or an error of the bridge in 8x8's own shape.

use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue};
use lambda_http::{Body, Response};
use serde_json::json;
use shared::clock::UnixTime;
use shared::contact_center::client;
use shared::{telemetry, trace};

use crate::error::Error;
use crate::file_name;
use crate::idempotency::REPLAYED;
use crate::routes::Route;

/// Says that the conversation of a replayed creation has ended since.
pub(crate) const ENDED: HeaderName = HeaderName::from_static("live-agent-conversation-ended");

/// 8x8's response, or the error, as the caller gets it, and the log line of the call. The error holds `request_id`, Lambda's id
/// of the invocation, which is in all of its log lines.
pub(crate) fn respond(
    route: Option<&Route>,
    outcome: Result<client::Response, Error>,
    request_id: &str,
    began: UnixTime,
) -> Response<Body> {
    let took_ms = UnixTime::now().since(began).as_millis() as u64;
    match outcome {
        Ok(response) => {
            let status = response.status.as_u16();
            telemetry::conversation_call(status);
            if response.headers.contains_key(REPLAYED) {
                tracing::info!(
                    step = trace::CALL,
                    status,
                    took_ms,
                    "the first response to this Idempotency-Key is repeated"
                );
            } else if response.status.is_success() {
                tracing::info!(step = trace::CALL, status, took_ms, "8x8 accepted the request");
            } else {
                // Its words may quote what was sent; the error's name does not.
                let code = response.problem().code;
                tracing::warn!(step = trace::CALL, status, code, took_ms, "8x8 rejected the request");
            }
            passed_on(response)
        }
        Err(error) => {
            let description = error.describe(route.map_or("answer", |route| route.name));
            let (status, code) = (description.status.as_u16(), description.code);
            telemetry::conversation_call(status);
            match &description.cause {
                Some(reason) => {
                    tracing::error!(step = trace::CALL, status, code, reason, took_ms, "the request failed");
                }
                None => tracing::warn!(step = trace::CALL, status, code, took_ms, "the request was rejected"),
            }
            let message = description.message;
            let errors = [json!({ "code": code, "message": message })];
            let body = json!({ "message": message, "errors": errors, "requestId": request_id });
            let mut response = Response::new(Body::Text(body.to_string()));
            *response.status_mut() = description.status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            response.headers_mut().extend(description.header);
            response
        }
    }
}

fn passed_on(response: client::Response) -> Response<Body> {
    let client::Response { status, headers, body } = response;
    let content_type = headers.get(CONTENT_TYPE);
    let mut passed_on = Response::new(encoded(body.into(), content_type));
    *passed_on.status_mut() = status;
    for name in [CONTENT_TYPE, CONTENT_DISPOSITION, RETRY_AFTER, REPLAYED, ENDED] {
        if let Some(value) = headers.get(&name) {
            passed_on.headers_mut().insert(name, file_name::in_ascii(value));
        }
    }
    passed_on
}

/// A text is longer in Lambda's JSON than it is, by up to six times; if it would be longer than this it is sent in base64. A
/// response of Lambda has at most 6 MB (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>); the rest is
/// left to the headers.
const TEXT_LIMIT: usize = 5_500_000;

/// A body as Lambda's JSON carries it: as text where that is the same bytes, else in base64. API Gateway sends text as UTF-8,
/// so that text of another charset, and what begins with a byte order mark, is sent as bytes. At most 4 MiB are read of 8x8's
/// response, so that base64 always fits.
fn encoded(body: Vec<u8>, content_type: Option<&HeaderValue>) -> Body {
    if body.is_empty() {
        return Body::Empty;
    }
    if !may_be_text(content_type) || body.starts_with(b"\xef\xbb\xbf") {
        return Body::Binary(body);
    }
    match String::from_utf8(body) {
        Ok(text) if escaped_length(&text) <= TEXT_LIMIT => Body::Text(text),
        Ok(text) => Body::Binary(text.into_bytes()),
        Err(error) => Body::Binary(error.into_bytes()),
    }
}

/// JSON, or text in UTF-8 as far as its type says so.
fn may_be_text(content_type: Option<&HeaderValue>) -> bool {
    let Some(content_type) = content_type.and_then(|value| value.to_str().ok()) else { return false };
    let content_type = content_type.to_ascii_lowercase();
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((&content_type, ""));
    let charset = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("charset="));
    let is_utf8 = charset.is_none_or(|charset| ["utf-8", "utf8", "us-ascii"].contains(&charset.trim_matches('"')));
    let media_type = media_type.trim();
    is_utf8 && (media_type.starts_with("text/") || media_type.ends_with("json"))
}

/// How long a text is as a JSON string (RFC 8259 §7).
fn escaped_length(text: &str) -> usize {
    let length = |byte: u8| match byte {
        b'"' | b'\\' | 0x08 | 0x0c | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_text(content_type: &str, body: &[u8]) -> bool {
        let content_type = HeaderValue::from_str(content_type).unwrap();
        matches!(encoded(body.to_vec(), Some(&content_type)), Body::Text(text) if text.as_bytes() == body)
    }

    #[test]
    fn text_in_utf_8_is_sent_as_text_and_everything_else_as_bytes() {
        assert!(is_text("application/hal+json", br#"{"a":"b"}"#));
        assert!(is_text("text/csv; charset=UTF-8", "Köln".as_bytes()));
        assert!(!is_text("text/csv", b"K\xf6ln\x80"));
        assert!(!is_text("text/csv", "\u{feff}Köln".as_bytes()));
        assert!(!is_text("text/plain; charset=iso-8859-1", "Köln".as_bytes()));
        assert!(!is_text("image/svg+xml; charset=iso-8859-1", b"<svg/>"));
        assert!(!is_text("application/octet-stream", b"plain"));
        assert!(is_text("text/csv", "\"\"".repeat(1_000_000).as_bytes()));
        assert!(!is_text("text/csv", "\"\"".repeat(2_000_000).as_bytes()));
        assert!(matches!(encoded(b"%PDF".to_vec(), None), Body::Binary(_)));
        assert!(matches!(encoded(Vec::new(), None), Body::Empty));
    }

    #[test]
    fn a_text_is_as_long_as_serde_writes_it() {
        let text: String = (0..0x180).filter_map(char::from_u32).collect();
        assert_eq!(escaped_length(&text) + 2, serde_json::to_string(&text).unwrap().len());
    }
}
