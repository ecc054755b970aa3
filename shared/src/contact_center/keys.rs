//! 8x8's public keys: fetched by id, cached, and not lost by a failed fetch.
//!
//! | 8x8 | an event that needs the key |
//! |---|---|
//! | fails, hangs or is slow | is verified with the cached key; without a cached key it is refused as "unavailable", and sent again |
//! | publishes a new key, a moment after it was used | is refused for at most `UNKNOWN_TTL` |
//! | has another key under the same id | is verified with the new key, which is fetched |
//! | responds that a key which it had does not exist | is verified for `WITHDRAWAL_GRACE`, and refused after that |
//!
//! Anyone can send an event with an invented id or signature. Because of such events a process calls 8x8 at most once in
//! `UNKNOWN_TTL` for each key that 8x8 has, and within `Allowance` for all ids together that 8x8 does not have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use serde::Deserialize;
use url::Url;

use crate::cache::{Absence, Cached, Policy};
use crate::clock::UnixTime;
use crate::http::{failure, read_body, warm_up};
use crate::url::BaseUrl;

/// How long a key is used without a refresh. Together with `WITHDRAWAL_GRACE`, a key that 8x8 withdraws is refused after an
/// hour.
const TTL: Duration = Duration::from_secs(55 * 60);

/// How long 8x8 must repeat that a key does not exist, after 8x8 had it: a 404 or 410 may come from a gateway, or from one of
/// 8x8's instances during a deployment, which takes minutes.
const WITHDRAWAL_GRACE: Duration = Duration::from_secs(5 * 60);

/// How long an id that 8x8 does not know is refused without another fetch. Short, because a new key may be used a moment before
/// it can be fetched everywhere. An id that stays unknown causes as many calls as `Allowance` grants.
const UNKNOWN_TTL: Duration = Duration::from_secs(5);

/// How long keys are cached.
static POLICY: Policy<KeyError> = Policy {
    what: "8x8's key",
    ttl: TTL,
    min_refresh_interval: UNKNOWN_TTL,
    absence: Absence { is: |error| matches!(error, KeyError::Unknown), ttl: UNKNOWN_TTL, grace: WITHDRAWAL_GRACE },
};

/// 8x8 signs with a handful of keys. More ids than this are invented, and are not cached.
const MAX_IDS: usize = 1000;

/// A JWK with a 4096-bit modulus has 800 bytes.
const JWK_LIMIT: usize = 16 * 1024;

/// 8x8 waits for our response meanwhile. A key that takes longer is reported as unavailable, and 8x8 tries again.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);

/// A key id that is safe to put into a URL: 1 to 64 letters, digits, `-` or `_`. The id comes from the sender.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// `None` if 8x8 gives no ids of this form.
    pub fn new(id: String) -> Option<Self> {
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        ((1..=64).contains(&id.len()) && id.bytes().all(safe)).then_some(Self(id))
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// 8x8 responded that no key has this id.
    #[error("8x8 has no key of that id")]
    Unknown,
    /// 8x8 did not respond, or was not asked.
    #[error("{0}")]
    Unavailable(String),
}

/// The keys of one 8x8 installation.
#[derive(Debug)]
pub struct PublicKeys {
    client: reqwest::Client,
    endpoint: BaseUrl,
    known: Mutex<HashMap<KeyId, Arc<Cached<ParsedPublicKey, KeyError>>>>,
    unknown: Mutex<Allowance>,
}

/// How often 8x8 is asked for keys that it has not given before, whatever their ids: ten times at once, and after that once in
/// `UNKNOWN_TTL`. 8x8 publishes a handful of keys, and does not document how many calls it allows.
#[derive(Debug)]
struct Allowance {
    left: u32,
    /// The time up to which one call was granted for each `UNKNOWN_TTL`.
    granted_until: UnixTime,
}

impl Allowance {
    const MOST: u32 = 10;

    fn new() -> Self {
        Self { left: Self::MOST, granted_until: UnixTime::from_millis(0) }
    }

    /// Whether 8x8 may be asked once more.
    fn claim(&mut self, now: UnixTime) -> bool {
        let due = now.since(self.granted_until).as_secs() / UNKNOWN_TTL.as_secs();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(due).min(Self::MOST);
        self.granted_until = if self.left == Self::MOST { now } else { self.granted_until + UNKNOWN_TTL * due };
        let may_ask = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may_ask
    }
}

impl PublicKeys {
    /// The keys at `{endpoint}/jwk/{kid}/public`.
    pub fn new(client: reqwest::Client, endpoint: BaseUrl) -> Self {
        Self { client, endpoint, known: Mutex::default(), unknown: Mutex::new(Allowance::new()) }
    }

    /// Opens a connection while a function starts. It is not known yet which key will be needed.
    pub async fn warm_up(&self) {
        warm_up(&self.client, self.endpoint.url()).await;
    }

    /// Whether the key of that id `proves` something. If the cached key does not, 8x8 may have replaced it under the same id:
    /// the key is fetched again, and tried once more.
    ///
    /// # Errors
    /// 8x8 has no such key, or cannot be asked.
    pub async fn prove(
        &self,
        id: &KeyId,
        now: UnixTime,
        proves: impl Fn(&ParsedPublicKey) -> bool,
    ) -> Result<bool, KeyError> {
        let cached = self.cached(id);
        let is_unknown = !cached.has_value();
        let fetch = || self.fetch(id, is_unknown, now);
        Ok(cached.find(now, fetch, |key| proves(key).then_some(())).await?.is_some())
    }

    fn cached(&self, id: &KeyId) -> Arc<Cached<ParsedPublicKey, KeyError>> {
        // Every change of the map is complete on its own.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_IDS && !known.contains_key(id) {
            known.retain(|_, cached| cached.has_value());
        }
        Arc::clone(known.entry(id.clone()).or_insert_with(|| Arc::new(Cached::new(&POLICY))))
    }

    fn fetch(
        &self,
        id: &KeyId,
        is_unknown: bool,
        now: UnixTime,
    ) -> impl Future<Output = Result<Arc<ParsedPublicKey>, KeyError>> + Send + use<> {
        let may_ask = !is_unknown || self.unknown.lock().unwrap_or_else(PoisonError::into_inner).claim(now);
        let (client, url, id) = (self.client.clone(), self.endpoint.join(["jwk", id.0.as_str(), "public"]), id.clone());
        async move {
            if may_ask {
                fetch(&client, url, &id).await
            } else {
                Err(KeyError::Unavailable("8x8 has been asked for too many unknown keys".to_owned()))
            }
        }
    }
}

async fn fetch(client: &reqwest::Client, url: Url, id: &KeyId) -> Result<Arc<ParsedPublicKey>, KeyError> {
    let unavailable = |reason: &str| KeyError::Unavailable(reason.to_owned());
    let response = client.get(url).timeout(FETCH_TIMEOUT).send().await;
    let response = response.map_err(|error| unavailable(failure(&error)))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Err(KeyError::Unknown),
        status => return Err(KeyError::Unavailable(format!("status {}", status.as_u16()))),
    }
    let body = read_body(response, JWK_LIMIT).await.map_err(|_| unavailable("a response that cannot be read"))?;
    let key = parse_jwk(&body, id).ok_or_else(|| unavailable("a response that is no RSA key of that id"))?;
    Ok(Arc::new(key))
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    n: String,
    e: String,
}

/// In 8x8's schema the response is a string, in its example an object: both are read, an object or a string that holds one.
fn parse_jwk(body: &[u8], id: &KeyId) -> Option<ParsedPublicKey> {
    let jwk: Jwk = match serde_json::from_slice::<String>(body) {
        Ok(text) => serde_json::from_str(&text).ok()?,
        Err(_) => serde_json::from_slice(body).ok()?,
    };
    if jwk.kty != "RSA" || jwk.kid.is_some_and(|kid| kid != id.0) {
        return None;
    }
    let (n, e) = (URL_SAFE_NO_PAD.decode(jwk.n).ok()?, URL_SAFE_NO_PAD.decode(jwk.e).ok()?);
    // Verification would refuse other sizes too. The check here distinguishes a bad response from a forged event.
    if !(256..=1024).contains(&n.len()) {
        return None;
    }
    RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JWK: &str = r#"{"kty":"RSA","e":"AQAB","kid":"EXaiWfZe20eSjklZ70074w","n":"obq8u-Yq9VgIqsfOFftSr-TINYrL8xNWhYhJjYtPp5DTQK3g1_ylCl6HMmRnEgb9wlkNfk9iazvkOU_XvyZSdfHNm173FlX3YgAPj_snUnCDO1Y0b0M4trK-iGUJP4A_tT4XauI1YJ96rEQAHzfOvsnnniFVqlK5pAMKWnVD4LhRbaEFLOnvMuNCiB13CPF7ZY4j7Aahf8KKdSiBJDw9um1lw5gfKe2j2DN7UOPm5Msz_is-C343xVaJ81d8W9ihDCX9JgaZEYciol-224n6F_gmUMWIfTTCRK3GC2_fnEXXWQbQvACA28Zf40h9iXiWiVdIXFGQgz2lQ7dg4ksUvw"}"#;

    proptest! {
        #[test]
        fn whatever_comes_8x8_is_asked_for_unknown_keys_no_more_often_than_allowed(
            waits in prop::collection::vec(0_u64..20_000, 1..200),
        ) {
            let (mut allowance, start) = (Allowance::new(), UnixTime::from_secs(1_800_000_000));
            let (mut now, mut granted) = (start, 0);
            for wait in waits {
                now = now + Duration::from_millis(wait);
                granted += u64::from(allowance.claim(now));
                prop_assert!(granted <= 10 + now.since(start).as_secs() / 5);
            }
        }
    }

    #[test]
    fn one_unknown_key_after_another_is_asked_for_every_five_seconds() {
        let (mut allowance, start) = (Allowance::new(), UnixTime::from_secs(1_800_000_000));
        let granted = (0..100).filter(|second| allowance.claim(start + Duration::from_secs(*second))).count();
        assert_eq!(granted, 10 + 99 / 5);
    }

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
