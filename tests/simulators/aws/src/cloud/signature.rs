//! Whether a call is signed as AWS asks (Signature Version 4): what it carries is compared with what AWS's own signer makes of
//! it.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use axum::http::HeaderMap;

use super::{ACCESS_KEY_PREFIX, REGION};

/// The secret access key of every function.
pub const SECRET_ACCESS_KEY: &str = "sandbox-secret-access-key";

/// The session token of every function.
pub const SESSION_TOKEN: &str = "sandbox-session-token";

/// The id and the secret access key of whoever else calls.
const SOMEONE: &str = "test";

/// Whether a POST to the root is signed for `service`, by a key that is known.
pub(super) fn is_genuine(headers: &HeaderMap, body: &[u8], service: &str) -> bool {
    verify(headers, body, service).is_some_and(|genuine| genuine)
}

fn verify(headers: &HeaderMap, body: &[u8], service: &str) -> Option<bool> {
    let header = |name: &str| headers.get(name).map_or(Some(""), |value| value.to_str().ok());
    let fields = header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 Credential=")?;
    let (credential, fields) = fields.split_once(", SignedHeaders=")?;
    let (signed, signature) = fields.split_once(", Signature=")?;
    let (access_key_id, scope) = credential.split_once('/')?;
    let (date, _) = header("x-amz-date")?.split_once('T')?;
    if scope != format!("{date}/{REGION}/{service}/aws4_request") {
        return None;
    }
    let signed: Vec<&str> = signed.split(';').collect();
    // What AWS asks for: the host, the type of the content, and all of its own headers.
    let has_to_be = |name: &str| name == "host" || name == "content-type" || name.starts_with("x-amz-");
    if headers.keys().any(|name| has_to_be(name.as_str()) && !signed.contains(&name.as_str())) {
        return None;
    }
    let credentials = match access_key_id {
        SOMEONE => Credentials::new(SOMEONE, SOMEONE, None, None, "sandbox"),
        function if function.starts_with(ACCESS_KEY_PREFIX) => {
            Credentials::new(function, SECRET_ACCESS_KEY, Some(SESSION_TOKEN.to_owned()), None, "sandbox")
        }
        _ => return None,
    };
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(service)
        .time(time(header("x-amz-date")?)?)
        .settings(SigningSettings::default())
        .build()
        .ok()?;
    // The signer adds these two itself.
    let others = signed.iter().copied().filter(|name| !["x-amz-date", "x-amz-security-token"].contains(name));
    let others: Option<Vec<_>> = others.map(|name| Some((name, headers.get(name)?.to_str().ok()?))).collect();
    let uri = format!("http://{}/", header("host")?);
    let request = SignableRequest::new("POST", uri, others?.into_iter(), SignableBody::Bytes(body)).ok()?;
    Some(sign(request, &parameters.into()).ok()?.signature() == signature)
}

/// `20261124T161827Z`
fn time(text: &str) -> Option<std::time::SystemTime> {
    let part = |range| text.strip_suffix('Z').filter(|digits| digits.len() == 15)?.get(range);
    let (date, time) =
        ([part(0..4)?, part(4..6)?, part(6..8)?].join("-"), [part(9..11)?, part(11..13)?, part(13..15)?].join(":"));
    DateTime::from_str(&format!("{date}T{time}Z"), Format::DateTime).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// Made with botocore 1.44, AWS's SDK for Python.
    const SIGNED: [(&str, &str); 5] = [
        ("host", "127.0.0.1:4566"),
        ("content-type", "application/x-amz-json-1.0"),
        ("x-amz-target", "AmazonSQS.SendMessage"),
        ("x-amz-date", "20261124T161827Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=test/20261124/us-east-1/sqs/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=8ae0c4a508455a5c18247e0fe9e37f292a9339ce11da65661004c5ed9894316e",
        ),
    ];

    #[test]
    fn knows_a_genuine_signature_from_any_other() {
        let body =
            br#"{"QueueUrl":"http://127.0.0.1:4566/123456789012/events.fifo","MessageBody":"{\"a\":\"\u00fc\"}"}"#;
        assert!(is_genuine(&of(&SIGNED), body, "sqs"));
        assert!(!is_genuine(&of(&SIGNED), b"{}", "sqs"));
        assert!(!is_genuine(&of(&SIGNED), body, "dynamodb"));
        for place in 0..SIGNED.len() {
            let mut without = SIGNED.to_vec();
            let (name, value) = without.remove(place);
            assert!(!is_genuine(&of(&without), body, "sqs"), "without {name}");
            let changed = format!("{value}x");
            without.push((name, &changed));
            assert!(!is_genuine(&of(&without), body, "sqs"), "{changed}");
        }
        let mut more = SIGNED.to_vec();
        more.push(("x-amz-unsigned", "1"));
        assert!(!is_genuine(&of(&more), body, "sqs"));
    }
}
