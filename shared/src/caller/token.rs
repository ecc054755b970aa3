//! The tokens that we issue: JSON Web Tokens (RFC 7519) signed with HMAC-SHA256. They hold integration, kind, issue time,
//! expiry time and an id, and are checked without a request.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;

/// How long an access token lives.
pub const ACCESS_LIFE: Duration = Duration::from_secs(3600);

/// What a token may be used for. A token of one kind is not accepted as another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Access,
    Refresh,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    /// The integration.
    iss: String,
    kind: Kind,
    iat: u64,
    exp: u64,
    jti: String,
}

/// Tokens for a caller.
#[derive(Debug)]
pub struct IssuedTokens {
    /// Valid for [`ACCESS_LIFE`].
    pub access_token: SecretString,
    /// Valid only to get new tokens.
    pub refresh_token: SecretString,
}

/// A key that signs and verifies.
#[derive(Debug)]
pub(super) struct SigningKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

/// A key of HMAC-SHA256 must be at least as long as its hash (RFC 7518 §3.2): a shorter or blank key can be guessed.
const MIN_KEY_BYTES: usize = 32;

impl SigningKey {
    /// `None` if the key is too short.
    pub(super) fn new(key: &SecretString) -> Option<Self> {
        if key.expose_secret().trim().len() < MIN_KEY_BYTES {
            return None;
        }
        let key = key.expose_secret().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        // Expiry is checked against the time that the caller passes, not against the system's clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims = HashSet::new();
        Some(Self { encoding: EncodingKey::from_secret(key), decoding: DecodingKey::from_secret(key), validation })
    }

    /// A pair of tokens for the integration.
    pub(super) fn issue(&self, integration: &str, refresh_life: Duration, now: UnixTime) -> IssuedTokens {
        IssuedTokens {
            access_token: self.sign(integration, Kind::Access, ACCESS_LIFE, now),
            refresh_token: self.sign(integration, Kind::Refresh, refresh_life, now),
        }
    }

    fn sign(&self, integration: &str, kind: Kind, life: Duration, now: UnixTime) -> SecretString {
        let mut id = [0; 16];
        // Without a random number the id is not unique; nothing about a token's validity depends on the id.
        let _ = aws_lc_rs::rand::fill(&mut id);
        let claims = Claims {
            iss: integration.to_owned(),
            kind,
            iat: now.secs(),
            exp: (now + life).secs(),
            jti: URL_SAFE_NO_PAD.encode(id),
        };
        // Fails for claims that are not JSON, or for a key that does not fit the algorithm; neither is possible here.
        encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).unwrap_or_default().into()
    }

    /// Whether this key has signed `token` for the integration, as a token of that kind that was not issued before
    /// `not_before` and has not expired.
    pub(super) fn verifies(
        &self,
        token: &str,
        kind: Kind,
        integration: &str,
        not_before: UnixTime,
        now: UnixTime,
    ) -> bool {
        decode::<Claims>(token, &self.decoding, &self.validation).is_ok_and(|token| {
            let claims = token.claims;
            claims.kind == kind
                && claims.iss == integration
                && UnixTime::from_secs(claims.iat) >= not_before
                && UnixTime::from_secs(claims.exp) > now
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
    const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

    const ALWAYS: UnixTime = UnixTime::from_secs(0);

    fn key(text: &str) -> SigningKey {
        SigningKey::new(&SecretString::from(text.repeat(32))).unwrap()
    }

    fn issued() -> (String, String) {
        let IssuedTokens { access_token, refresh_token } = key("k").issue("acme", MONTH, NOW);
        (access_token.expose_secret().to_owned(), refresh_token.expose_secret().to_owned())
    }

    #[test]
    fn a_token_is_good_for_its_kind_its_integration_and_its_time() {
        let (access, refresh) = issued();
        let verifies = |token: &str, kind, integration, after: Duration| {
            key("k").verifies(token, kind, integration, ALWAYS, NOW + after)
        };
        let second = Duration::from_secs(1);
        assert!(verifies(&access, Kind::Access, "acme", ACCESS_LIFE - second));
        assert!(!verifies(&access, Kind::Access, "acme", ACCESS_LIFE));
        assert!(verifies(&refresh, Kind::Refresh, "acme", MONTH - second));
        assert!(!verifies(&refresh, Kind::Refresh, "acme", MONTH));
        assert!(!verifies(&access, Kind::Refresh, "acme", second) && !verifies(&refresh, Kind::Access, "acme", second));
        assert!(!verifies(&access, Kind::Access, "other", second));
        assert!(!key("another").verifies(&access, Kind::Access, "acme", ALWAYS, NOW));
    }

    #[test]
    fn a_token_of_before_not_before_is_refused() {
        let (access, refresh) = issued();
        let second = Duration::from_secs(1);
        for (token, kind) in [(&access, Kind::Access), (&refresh, Kind::Refresh)] {
            assert!(key("k").verifies(token, kind, "acme", NOW, NOW));
            assert!(!key("k").verifies(token, kind, "acme", NOW + second, NOW + second));
        }
    }

    #[test]
    fn a_blank_or_short_key_is_no_key() {
        for text in ["".to_owned(), " ".repeat(64), "k".repeat(31)] {
            assert!(SigningKey::new(&text.into()).is_none());
        }
        assert!(SigningKey::new(&"k".repeat(32).into()).is_some());
    }

    #[test]
    fn another_algorithm_is_never_taken() {
        let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJhY21lIiwia2luZCI6ImFjY2VzcyIsImlhdCI6MSwiZXhwIjo5OTk5OTk5OTk5LCJqdGkiOiJ4In0.";
        assert!(!key("k").verifies(unsigned, Kind::Access, "acme", ALWAYS, NOW));
    }

    #[test]
    fn debug_shows_no_key_and_no_token() {
        let shown = format!("{:?} {:?}", key("hunter2"), key("hunter2").issue("acme", MONTH, NOW));
        assert!(!shown.contains("hunter2") && !shown.contains("eyJ"), "{shown}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_token_altered_in_any_byte_is_taken(at: prop::sample::Index, with: u8, inserts: bool) {
            let (access, _) = issued();
            let mut altered = access.clone().into_bytes();
            let at = at.index(altered.len());
            if inserts { altered.insert(at, with) } else { altered[at] = with }
            let Ok(altered) = String::from_utf8(altered) else { return Ok(()) };
            prop_assume!(altered != access);
            prop_assert!(!key("k").verifies(&altered, Kind::Access, "acme", ALWAYS, NOW));
        }

        #[test]
        fn no_token_of_another_integration_or_kind_and_no_expired_one_is_taken(
            integration in "[a-z0-9-]{1,20}", after in 0..10_000_u64, refreshes: bool
        ) {
            let (access, refresh) = issued();
            let (token, kind) = if refreshes { (refresh, Kind::Refresh) } else { (access, Kind::Access) };
            let life = if refreshes { MONTH } else { ACCESS_LIFE };
            let now = NOW + Duration::from_secs(after);
            let expected = integration == "acme" && Duration::from_secs(after) < life;
            prop_assert_eq!(key("k").verifies(&token, kind, &integration, ALWAYS, now), expected);
            let other = if refreshes { Kind::Access } else { Kind::Refresh };
            prop_assert!(!key("k").verifies(&token, other, "acme", ALWAYS, now));
        }

        #[test]
        fn any_text_is_refused(text in "\\PC*") {
            prop_assert!(!key("k").verifies(&text, Kind::Access, "acme", ALWAYS, NOW));
        }
    }
}
