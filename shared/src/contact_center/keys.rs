//! 8x8's public keys: fetched by id, kept, and never lost by a failed fetch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::clock::UnixTime;
use crate::http::{failure, read_body, warm_up};
use crate::url::BaseUrl;

/// How long a key is used without asking again: so long does it take until a key that 8x8 withdraws is refused.
const KEY_KEPT_FOR: Duration = Duration::from_secs(3600);

/// How long an id that 8x8 does not know is refused without asking again. Short, since a new key may be used a moment
/// before it can be fetched everywhere.
const ABSENCE_KEPT_FOR: Duration = Duration::from_secs(60);

/// 8x8 signs with a handful of keys. More ids than this are somebody's inventions, and need not be remembered.
const IDS_KEPT: usize = 1000;

/// A JWK with a 4096-bit modulus has 800 bytes.
const JWK_LIMIT: usize = 16 * 1024;

/// 8x8 waits for our answer meanwhile; a key that takes longer is reported as unavailable, and 8x8 tries again.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// A key's id that is safe to put into a URL: 1 to 64 letters, digits, `-` or `_`. It comes from the sender.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// `None` if the id is none that 8x8 gives.
    pub fn new(id: String) -> Option<Self> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        ((1..=64).contains(&id.len()) && id.bytes().all(safe)).then_some(Self(id))
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// 8x8 says that there is none of that id.
    Unknown,
    /// 8x8 does not say.
    Unavailable(String),
}

/// The keys of one 8x8 installation.
#[derive(Debug)]
pub struct PublicKeys {
    client: reqwest::Client,
    endpoint: BaseUrl,
    /// Held while a key is fetched: requests for keys go out one at a time, and who waits finds the answer here.
    known: Mutex<HashMap<KeyId, Known>>,
}

#[derive(Debug)]
struct Known {
    /// `None`: 8x8 knows no such key.
    key: Option<Arc<ParsedPublicKey>>,
    asked_at: UnixTime,
}

impl Known {
    fn is_recent(&self, now: UnixTime) -> bool {
        now.since(self.asked_at) < if self.key.is_some() { KEY_KEPT_FOR } else { ABSENCE_KEPT_FOR }
    }
}

impl PublicKeys {
    /// Keys that lie at `{endpoint}/jwk/{kid}/public`.
    pub fn new(client: reqwest::Client, endpoint: BaseUrl) -> Self {
        Self { client, endpoint, known: Mutex::default() }
    }

    /// Opens a connection while a function starts.
    pub async fn warm_up(&self) {
        warm_up(&self.client, self.endpoint.url()).await;
    }

    /// The key of that id, fetched if it has not been within the hour. If 8x8 cannot be asked, a key that it gave before
    /// stays good.
    pub async fn get(&self, id: &KeyId, now: UnixTime) -> Result<Arc<ParsedPublicKey>, KeyError> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.get(id).filter(|known| known.is_recent(now)) {
            return known.key.clone().ok_or(KeyError::Unknown);
        }
        match (self.fetch(id).await, known.get(id).and_then(|known| known.key.clone())) {
            (Ok(key), _) => {
                if known.len() >= IDS_KEPT {
                    known.retain(|_, known| known.key.is_some());
                }
                known.insert(id.clone(), Known { key: key.clone(), asked_at: now });
                key.ok_or(KeyError::Unknown)
            }
            (Err(reason), Some(key)) => {
                tracing::warn!(reason, "8x8's key cannot be fetched again; the one fetched before stays in use");
                Ok(key)
            }
            (Err(reason), None) => Err(KeyError::Unavailable(reason)),
        }
    }

    /// `Ok(None)`: 8x8 says that there is no such key.
    async fn fetch(&self, id: &KeyId) -> Result<Option<Arc<ParsedPublicKey>>, String> {
        let url = self.endpoint.join(["jwk", id.0.as_str(), "public"]);
        let answer = self.client.get(url).timeout(FETCH_TIMEOUT).send().await;
        let answer = answer.map_err(|error| failure(&error).to_owned())?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status => return Err(format!("status {}", status.as_u16())),
        }
        let body = read_body(answer, JWK_LIMIT).await.map_err(|_| "an answer that cannot be read")?;
        parse_jwk(&body, id)
            .map(|key| Some(Arc::new(key)))
            .ok_or_else(|| "an answer that is no RSA key of that id".to_owned())
    }
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    n: String,
    e: String,
}

/// 8x8's schema calls the answer a string and its example is an object: take an object, or a string that holds one.
fn parse_jwk(body: &[u8], id: &KeyId) -> Option<ParsedPublicKey> {
    let jwk: Jwk = match serde_json::from_slice::<String>(body) {
        Ok(text) => serde_json::from_str(&text).ok()?,
        Err(_) => serde_json::from_slice(body).ok()?,
    };
    if jwk.kty != "RSA" || jwk.kid.is_some_and(|kid| kid != id.0) {
        return None;
    }
    let (n, e) = (URL_SAFE_NO_PAD.decode(jwk.n).ok()?, URL_SAFE_NO_PAD.decode(jwk.e).ok()?);
    // The algorithm refuses other sizes when it verifies; here a bad answer is still told from a forged event.
    if !(256..=1024).contains(&n.len()) {
        return None;
    }
    RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWK: &str = r#"{"kty":"RSA","e":"AQAB","kid":"EXaiWfZe20eSjklZ70074w","n":"obq8u-Yq9VgIqsfOFftSr-TINYrL8xNWhYhJjYtPp5DTQK3g1_ylCl6HMmRnEgb9wlkNfk9iazvkOU_XvyZSdfHNm173FlX3YgAPj_snUnCDO1Y0b0M4trK-iGUJP4A_tT4XauI1YJ96rEQAHzfOvsnnniFVqlK5pAMKWnVD4LhRbaEFLOnvMuNCiB13CPF7ZY4j7Aahf8KKdSiBJDw9um1lw5gfKe2j2DN7UOPm5Msz_is-C343xVaJ81d8W9ihDCX9JgaZEYciol-224n6F_gmUMWIfTTCRK3GC2_fnEXXWQbQvACA28Zf40h9iXiWiVdIXFGQgz2lQ7dg4ksUvw"}"#;

    fn id(id: &str) -> Option<KeyId> {
        KeyId::new(id.to_owned())
    }

    #[test]
    fn a_key_id_cannot_leave_its_place_in_the_url() {
        assert!(id("EXaiWfZe20eSjklZ70074w").is_some() && id("a_b-C9").is_some() && id(&"x".repeat(64)).is_some());
        for bad in ["", "..", "a/b", "a.b", "a%2fb", "ü", "a b", &"x".repeat(65)] {
            assert!(id(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_jwk_is_an_object_or_a_string_that_holds_one() {
        let kid = id("EXaiWfZe20eSjklZ70074w").unwrap();
        assert!(parse_jwk(JWK.as_bytes(), &kid).is_some());
        assert!(parse_jwk(serde_json::Value::from(JWK).to_string().as_bytes(), &kid).is_some());
    }

    #[test]
    fn refuses_another_keys_jwk_and_what_is_none() {
        let kid = id("EXaiWfZe20eSjklZ70074w").unwrap();
        assert!(parse_jwk(JWK.as_bytes(), &id("another").unwrap()).is_none());
        for bad in [
            "",
            "{}",
            "\"\"",
            r#"{"kty":"EC","n":"AQAB","e":"AQAB"}"#,
            r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#,
            r#"{"kty":"RSA","n":"%","e":"AQAB"}"#,
        ] {
            assert!(parse_jwk(bad.as_bytes(), &kid).is_none(), "{bad}");
        }
    }
}
