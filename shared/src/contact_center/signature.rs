//! The signature of an 8x8 event: a JSON Web Signature (RFC 7515) with detached, unencoded payload (RFC 7797).
//!
//! `x-8x8-signature` is `b64url(header)..b64url(signature)`. The signed text is the header's text, a dot and this JSON, with
//! its keys in this order and without white space, made from the other headers and the CRC32 of the body:
//!
//! ```json
//! {"checksum":1564621066,"cid":"<customer>","eid":"<event>","retry":0,"tid":"<tenant>","tt":1629804577002}
//! ```
//!
//! Only that CRC32 binds the body: the holder of a signed request can make another body with the same checksum. Therefore the
//! age of an event is limited and its id is used once; `SECURITY.md` describes the remaining risk.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde::Deserialize;

use super::keys::{KeyError, KeyId, PublicKeys};
use crate::clock::UnixTime;

/// How old an event may be, by 8x8's clock and ours.
///
/// SQS drops a repeated event id for 300 s. An event can be accepted from [`AHEAD`] before its transmission time to [`AGE`]
/// after it. Both together are 300 s, so that a replayed event is refused here or dropped by SQS.
pub const AGE: Duration = Duration::from_secs(240);

/// How far 8x8's clock may be ahead of ours. See [`AGE`].
pub const AHEAD: Duration = Duration::from_secs(60);

/// Why an event is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header that the signature needs is missing.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// A header has a value that 8x8 never sends.
    #[error("the header {0} is malformed")]
    Malformed(&'static str),
    /// Transmitted too long ago.
    #[error("the event is too old")]
    Stale,
    /// The transmission time is in the future by our clock.
    #[error("the event comes from the future")]
    Early,
    /// 8x8 has no such key.
    #[error("8x8 knows no key of that id")]
    UnknownKey,
    /// The signature does not belong to this event.
    #[error("the signature does not match")]
    Forged,
    /// The key cannot be fetched. This says nothing about the sender.
    #[error("8x8's key is unavailable ({0})")]
    KeyUnavailable(String),
}

const SIGNATURE: &str = "x-8x8-signature";
const TENANT_ID: &str = "x-8x8-tenant-id";
const CUSTOMER_ID: &str = "x-8x8-customer-id";
const EVENT_ID: &str = "x-8x8-event-id";
const RETRY: &str = "x-8x8-retry";
const TRANSMISSION_TIME: &str = "x-8x8-transmission-time";

/// Whether a request has a signature.
pub fn is_present(headers: &HeaderMap) -> bool {
    headers.contains_key(SIGNATURE)
}

/// Verifies that 8x8 sent `body` with `headers`, not long before `now`. Checks that need no call come first: no key is fetched
/// for a request that cannot be genuine.
///
/// After this the headers that the signature covers are genuine: `x-8x8-tenant-id`, `x-8x8-customer-id`, `x-8x8-event-id` (the
/// same at every retry), `x-8x8-retry` and `x-8x8-transmission-time` (new at every retry).
pub async fn verify(keys: &PublicKeys, headers: &HeaderMap, body: &[u8], now: UnixTime) -> Result<(), SignatureError> {
    let claims = Claims::read(headers)?;
    let transmitted_at = UnixTime::from_millis(number(claims.transmission_time, TRANSMISSION_TIME)?);
    if now > transmitted_at + AGE {
        return Err(SignatureError::Stale);
    }
    if transmitted_at > now + AHEAD {
        return Err(SignatureError::Early);
    }
    let jws = DetachedJws::parse(claims.signature).ok_or(SignatureError::Malformed(SIGNATURE))?;
    let input = claims.signing_input(jws.header, body);
    let is_genuine = keys.prove(&jws.key_id, now, |key| key.verify_sig(&input, &jws.signature).is_ok()).await;
    match is_genuine {
        Ok(true) => Ok(()),
        Ok(false) => Err(SignatureError::Forged),
        Err(KeyError::Unknown) => Err(SignatureError::UnknownKey),
        Err(KeyError::Unavailable(reason)) => Err(SignatureError::KeyUnavailable(reason)),
    }
}

/// The headers that the signature covers, and the signature, each present exactly once.
struct Claims<'h> {
    signature: &'h str,
    tenant_id: &'h str,
    customer_id: &'h str,
    event_id: &'h str,
    retry: &'h str,
    transmission_time: &'h str,
}

impl<'h> Claims<'h> {
    fn read(headers: &'h HeaderMap) -> Result<Self, SignatureError> {
        let header = |name: &'static str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().ok_or(SignatureError::Missing(name))?;
            let value = value.to_str().map_err(|_| SignatureError::Malformed(name))?;
            match (value, values.next()) {
                ("", _) => Err(SignatureError::Missing(name)),
                (value, None) => Ok(value),
                (_, Some(_)) => Err(SignatureError::Malformed(name)),
            }
        };
        let claims = Self {
            signature: header(SIGNATURE)?,
            tenant_id: header(TENANT_ID)?,
            customer_id: header(CUSTOMER_ID)?,
            event_id: header(EVENT_ID)?,
            retry: header(RETRY)?,
            transmission_time: header(TRANSMISSION_TIME)?,
        };
        number(claims.retry, RETRY)?;
        Ok(claims)
    }

    fn signing_input(&self, jws_header: &str, body: &[u8]) -> Vec<u8> {
        let checksum = crc32fast::hash(body);
        let text = |value: &str| serde_json::Value::from(value).to_string();
        format!(
            r#"{jws_header}.{{"checksum":{checksum},"cid":{},"eid":{},"retry":{},"tid":{},"tt":{}}}"#,
            text(self.customer_id),
            text(self.event_id),
            self.retry,
            text(self.tenant_id),
            self.transmission_time,
        )
        .into_bytes()
    }
}

/// A number exactly as JSON writes it. `+1`, `01` or ` 1` are the same number in another header: a change of a signed value
/// that would not be noticed.
fn number(text: &str, header: &'static str) -> Result<u64, SignatureError> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| canonical).ok_or(SignatureError::Malformed(header))
}

/// `b64url(header)..b64url(signature)`.
struct DetachedJws<'h> {
    header: &'h str,
    key_id: KeyId,
    signature: Vec<u8>,
}

/// The JOSE header. [`DetachedJws::parse`] refuses a header with a member that could supply a key.
#[derive(Deserialize)]
struct JoseHeader {
    alg: String,
    kid: String,
    b64: bool,
    crit: Vec<String>,
    jku: Option<serde::de::IgnoredAny>,
    x5u: Option<serde::de::IgnoredAny>,
    jwk: Option<serde::de::IgnoredAny>,
    x5c: Option<serde::de::IgnoredAny>,
}

impl<'h> DetachedJws<'h> {
    /// `None` unless it is RS256 over a detached, unencoded payload, with a key id and without a key. `alg` comes
    /// from the sender: it is compared with the algorithm that 8x8 uses before a key is used.
    fn parse(text: &'h str) -> Option<Self> {
        let (header, signature) = text.split_once("..")?;
        let json = URL_SAFE_NO_PAD.decode(header).ok()?;
        // Serde also reads a struct from an array; a JOSE header is an object (RFC 7515, section 4).
        if !json.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        let jose: JoseHeader = serde_json::from_slice(&json).ok()?;
        let brings_a_key = jose.jku.is_some() || jose.x5u.is_some() || jose.jwk.is_some() || jose.x5c.is_some();
        if jose.alg != "RS256" || jose.b64 || jose.crit != ["b64"] || brings_a_key {
            return None;
        }
        Some(Self { header, key_id: KeyId::new(jose.kid)?, signature: URL_SAFE_NO_PAD.decode(signature).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jws(header: &str) -> String {
        format!("{}..{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode([7; 256]))
    }

    #[test]
    fn the_checksum_is_that_of_8x8s_sample() {
        let body = br#"{"eventType":"AGENT_JOINED","messageType":"SYSTEM","conversationId":"Aka5NMHU8MtIG7lUQOxI0DTOvM4","agentId":"cmalutan","agentName":"Cosmin,Malutan","timestamp":1629804577002}"#;
        assert_eq!(crc32fast::hash(body), 1_564_621_066);
        let headers: HeaderMap = [
            (SIGNATURE, "x"),
            (TENANT_ID, "vccTenant"),
            (CUSTOMER_ID, "vcc\"Customer"),
            (EVENT_ID, "e1"),
            (RETRY, "0"),
            (TRANSMISSION_TIME, "1629804577002"),
        ]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
        let input = Claims::read(&headers).unwrap().signing_input("h", body);
        let expected = r#"h.{"checksum":1564621066,"cid":"vcc\"Customer","eid":"e1","retry":0,"tid":"vccTenant","tt":1629804577002}"#;
        assert_eq!(String::from_utf8(input).unwrap(), expected);
    }

    #[test]
    fn only_the_canonical_form_of_a_number_is_one() {
        assert_eq!(number("0", RETRY), Ok(0));
        assert_eq!(number("1629804577002", RETRY), Ok(1_629_804_577_002));
        for text in ["00", "01", "+1", "-1", " 1", "1 ", "1.0", "1e3", "", "18446744073709551616", "١"] {
            assert_eq!(number(text, RETRY), Err(SignatureError::Malformed(RETRY)), "{text}");
        }
    }

    #[test]
    fn takes_rs256_with_a_named_key_and_nothing_else() {
        assert!(
            DetachedJws::parse(&jws(r#"{"b64":false,"crit":["b64"],"kid":"EXaiWfZe20eSjklZ70074w","alg":"RS256"}"#))
                .is_some()
        );
        for header in [
            r#"{"b64":false,"crit":["b64"],"kid":"k","alg":"HS256"}"#,
            r#"{"b64":false,"crit":["b64"],"kid":"k","alg":"none"}"#,
            r#"{"b64":false,"crit":["b64"],"kid":"k","alg":"rs256"}"#,
            r#"{"b64":true,"crit":["b64"],"kid":"k","alg":"RS256"}"#,
            r#"{"crit":["b64"],"kid":"k","alg":"RS256"}"#,
            r#"{"b64":false,"kid":"k","alg":"RS256"}"#,
            r#"{"b64":false,"crit":[],"kid":"k","alg":"RS256"}"#,
            r#"{"b64":false,"crit":["b64","exp"],"kid":"k","alg":"RS256"}"#,
            r#"{"b64":false,"crit":["b64"],"alg":"RS256"}"#,
            r#"{"b64":false,"crit":["b64"],"kid":"../k","alg":"RS256"}"#,
            r#"{"b64":false,"crit":["b64"],"kid":"k","alg":"RS256","jku":"https://evil.example"}"#,
            r#"{"b64":false,"crit":["b64"],"kid":"k","alg":"RS256","x5u":"https://evil.example"}"#,
            r#"{"b64":false,"crit":["b64"],"kid":"k","alg":"RS256","jwk":{}}"#,
            r#"{"b64":false,"crit":["b64"],"kid":"k","alg":"RS256","x5c":[]}"#,
            r#"["RS256","k",false,["b64"],null,null,null,null]"#,
            " \t[\"RS256\",\"k\",false,[\"b64\"],null,null,null,null]",
            "[]",
            "",
        ] {
            assert!(DetachedJws::parse(&jws(header)).is_none(), "{header}");
        }
        for text in ["", "..", "a.b.c", "eyJ9", "e30..", "e30=..AA=="] {
            assert!(DetachedJws::parse(text).is_none(), "{text}");
        }
    }
}
