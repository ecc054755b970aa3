//! The value of `x-8x8-signature`: a JWS (RFC 7515) with detached, unencoded payload (RFC 7797).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Check;

/// A signature that could be parsed.
#[derive(Debug)]
pub(super) struct Jws {
    /// The header as it was signed: in base64url.
    pub(super) header: String,
    /// The key's id, if it has the form of 8x8's ids.
    pub(super) kid: Option<String>,
    pub(super) signature: Vec<u8>,
}

/// The protected header. A member that occurs twice is an error (RFC 7515, section 4).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Header {
    alg: Option<Value>,
    kid: Option<Value>,
    b64: Option<Value>,
    crit: Option<Value>,
    jku: Option<Value>,
    x5u: Option<Value>,
    jwk: Option<Value>,
    x5c: Option<Value>,
}

/// Checks the format of a signature, then the content of its header.
pub(super) fn read(text: &str, checks: &mut Vec<Check>) -> Option<Jws> {
    let (header, signature, fields) = match parse(text) {
        Ok(parts) => {
            checks.push(Check::ok("JWS", "detached: header..signature".to_owned()));
            parts
        }
        Err(found) => {
            checks.push(Check::fails("JWS", format!("{found}; expected base64url(header)..base64url(signature)")));
            return None;
        }
    };
    let written = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
    let mut expect = |name, found: bool, text: String, expected: &str| {
        checks.push(if found { Check::ok(name, text) } else { Check::fails(name, format!("{text}; {expected}")) });
    };
    let alg = written(&fields.alg);
    expect("alg", fields.alg == Some(json!("RS256")), alg, r#"expected "RS256": 8x8 uses no other algorithm"#);
    let is_unencoded = fields.b64 == Some(json!(false)) && fields.crit == Some(json!(["b64"]));
    let payload = format!("b64 {}, crit {}", written(&fields.b64), written(&fields.crit));
    expect("payload", is_unencoded, payload, r#"expected b64 false, crit ["b64"]"#);
    let sources = [("jku", &fields.jku), ("x5u", &fields.x5u), ("jwk", &fields.jwk), ("x5c", &fields.x5c)];
    let sources: Vec<_> = sources.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect();
    let brought = if sources.is_empty() { "is named by kid alone".to_owned() } else { sources.join(", ") };
    expect("key source", sources.is_empty(), brought, "8x8 names its key by kid; a key from the sender proves nothing");
    let kid = fields.kid.as_ref().and_then(Value::as_str).filter(|kid| is_key_id(kid)).map(str::to_owned);
    expect("kid", kid.is_some(), written(&fields.kid), "expected 1 to 64 letters, digits, - and _");
    Some(Jws { header, kid, signature })
}

fn parse(text: &str) -> Result<(String, Vec<u8>, Header), String> {
    let (header, signature) = text.split_once("..").ok_or_else(|| match text.split('.').count() {
        3 => "has a payload between the dots".to_owned(),
        _ => "has no header and signature around two dots".to_owned(),
    })?;
    let decode =
        |part, what| URL_SAFE_NO_PAD.decode(part).map_err(|error| format!("the {what} is not base64url: {error}"));
    let json = decode(header, "header")?;
    let signature = decode(signature, "signature")?;
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err("the header is not a JSON object".to_owned());
    }
    let fields = serde_json::from_slice(&json).map_err(|error| format!("the header is not valid JSON: {error}"))?;
    Ok((header.to_owned(), signature, fields))
}

/// Whether an id is safe in the URL from which the key is fetched.
fn is_key_id(kid: &str) -> bool {
    (1..=64).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The header as 8x8 writes it.
pub(super) fn header_of_8x8(kid: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!(r#"{{"b64":false,"crit":["b64"],"kid":"{kid}","alg":"RS256"}}"#))
}
