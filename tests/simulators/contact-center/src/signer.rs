//! 8x8's signature: a detached JWS (RFC 7797) over the checksum of the body and the other headers.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key that signs events.
#[derive(Debug)]
pub struct Signer {
    key_id: String,
    key: KeyPair,
}

/// The values that are signed with the body.
#[derive(Debug, Clone)]
pub struct Claims {
    /// `x-8x8-tenant-id`.
    pub tenant_id: String,
    /// `x-8x8-customer-id`.
    pub customer_id: String,
    /// `x-8x8-event-id`.
    pub event_id: String,
    /// `x-8x8-retry`.
    pub retry: u64,
    /// `x-8x8-transmission-time`, milliseconds.
    pub transmission_time: u128,
}

impl Signer {
    /// A new RSA-2048 key.
    pub fn new() -> Self {
        Self::of(KeyPair::generate(KeySize::Rsa2048).expect("a key can be generated"))
    }

    /// The private key in a PEM file, PKCS#8 (`BEGIN PRIVATE KEY`) or PKCS#1 (`BEGIN RSA PRIVATE KEY`). `None` if the text
    /// is not an RSA private key.
    pub fn from_pem(text: &str) -> Option<Self> {
        let der = pem(text)?;
        KeyPair::from_pkcs8(&der).or_else(|_| KeyPair::from_der(&der)).ok().map(Self::of)
    }

    /// The key's id is the first half of its thumbprint (RFC 7638): the same key always has the same id, which has 22
    /// characters like 8x8's ids.
    fn of(key: KeyPair) -> Self {
        let (n, e) = components(&key);
        let thumbprint = digest(&SHA256, format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes());
        Self { key_id: URL_SAFE_NO_PAD.encode(&thumbprint.as_ref()[..16]), key }
    }

    /// The same key with another id, which may belong to another key.
    pub fn with_key_id(self, key_id: &str) -> Self {
        Self { key_id: key_id.to_owned(), ..self }
    }

    /// The key's id.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key as 8x8's endpoint returns it.
    pub fn jwk(&self) -> Value {
        let (n, e) = components(&self.key);
        json!({ "kty": "RSA", "e": e, "kid": self.key_id, "n": n })
    }

    /// The headers of a signed event.
    pub fn headers(&self, body: &[u8], claims: &Claims) -> Vec<(&'static str, String)> {
        let header = format!(r#"{{"b64":false,"crit":["b64"],"kid":"{}","alg":"RS256"}}"#, self.key_id);
        vec![
            ("content-type", "application/json".to_owned()),
            ("x-8x8-tenant-id", claims.tenant_id.clone()),
            ("x-8x8-customer-id", claims.customer_id.clone()),
            ("x-8x8-event-id", claims.event_id.clone()),
            ("x-8x8-retry", claims.retry.to_string()),
            ("x-8x8-transmission-time", claims.transmission_time.to_string()),
            ("x-8x8-signature", self.sign(&header, body, claims)),
        ]
    }

    /// The signature with any JOSE header, including a header that 8x8 would never send.
    pub fn sign(&self, header: &str, body: &[u8], claims: &Claims) -> String {
        let header = URL_SAFE_NO_PAD.encode(header);
        // serde_json sorts the keys of objects, and so does 8x8: checksum, cid, eid, retry, tid, tt.
        let payload = json!({
            "checksum": crc32fast::hash(body),
            "cid": claims.customer_id,
            "eid": claims.event_id,
            "retry": claims.retry,
            "tid": claims.tenant_id,
            "tt": u64::try_from(claims.transmission_time).expect("a time of this age"),
        });
        let mut signature = vec![0; self.key.public_modulus_len()];
        let input = format!("{header}.{payload}");
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
            .expect("a key of its own size signs");
        format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

impl Default for Signer {
    fn default() -> Self {
        Self::new()
    }
}

/// Modulus and exponent, in the form of a JWK.
fn components(key: &KeyPair) -> (String, String) {
    let public = key.public_key();
    let (modulus, exponent) = (public.modulus(), public.exponent());
    let base64 = |number: &[u8]| URL_SAFE_NO_PAD.encode(number);
    (base64(modulus.big_endian_without_leading_zero()), base64(exponent.big_endian_without_leading_zero()))
}

/// The bytes between the first `-----BEGIN …-----` and the next `-----END`.
pub(crate) fn pem(text: &str) -> Option<Vec<u8>> {
    let (_, text) = text.split_once("-----BEGIN ")?;
    let (_, text) = text.split_once("-----")?;
    let (base64, _) = text.split_once("-----END ")?;
    STANDARD.decode(base64.split_whitespace().collect::<String>()).ok()
}
