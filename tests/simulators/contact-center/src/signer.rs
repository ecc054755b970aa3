//! 8x8's signature: a detached JWS (RFC 7797) over the checksum of the body and the other headers.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A key that signs events.
#[derive(Debug)]
pub struct Signer {
    key_id: String,
    key: KeyPair,
}

/// What is signed beside the body.
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
        Self {
            key_id: simulation::id::base64(),
            key: KeyPair::generate(KeySize::Rsa2048).expect("a key can be generated"),
        }
    }

    /// The key's id.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key as 8x8's endpoint answers it.
    pub fn jwk(&self) -> Value {
        let public = self.key.public_key();
        let modulus = public.modulus();
        let exponent = public.exponent();
        json!({
            "kty": "RSA",
            "e": URL_SAFE_NO_PAD.encode(exponent.big_endian_without_leading_zero()),
            "kid": self.key_id,
            "n": URL_SAFE_NO_PAD.encode(modulus.big_endian_without_leading_zero()),
        })
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

    /// The signature under any JOSE header, also one that 8x8 would never send.
    pub fn sign(&self, header: &str, body: &[u8], claims: &Claims) -> String {
        let header = URL_SAFE_NO_PAD.encode(header);
        // serde_json's objects are sorted by key, and so are 8x8's: checksum, cid, eid, retry, tid, tt.
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
