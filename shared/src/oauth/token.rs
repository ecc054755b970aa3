//! A token: how it is read from a response, and how long it lives.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;

use crate::clock::UnixTime;
use crate::http::sensitive_header;

/// A token with less time than this left is refreshed: three runs of refresh-tokens (every 5 minutes) may then fail before
/// the token expires.
const MARGIN: Duration = Duration::from_secs(15 * 60);

/// Tokens with a shorter lifetime than this are refreshed when a third of it is left.
const SHORT_LIFETIME: Duration = Duration::from_secs(45 * 60);

/// A token with less time than this left may expire on its way to the server.
const EXPIRY_LEEWAY: Duration = Duration::from_secs(30);

/// OAuth allows a server to omit `expires_in` (RFC 6749 §5.1). Both of our servers document an hour.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// The longest lifetime that is accepted, a year. No server documents a longer lifetime, and a year can be added to any time.
const MAX_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// An access token, and its refresh token if it has one.
#[derive(Debug)]
pub struct Token {
    access_token: SecretString,
    refresh_token: Option<SecretString>,
    token_type: String,
    /// `None` for a token that was stored by hand.
    issued_at: Option<UnixTime>,
    expires_at: UnixTime,
}

impl Token {
    /// A token of these parts. An empty part counts as absent (RFC 6749 A.12 and A.17 require at least one character); `None`
    /// if the access token is absent.
    pub(super) fn new(
        access_token: Option<SecretString>,
        refresh_token: Option<SecretString>,
        token_type: Option<String>,
        issued_at: Option<UnixTime>,
        expires_at: UnixTime,
    ) -> Option<Self> {
        let is_given = |text: &SecretString| !text.expose_secret().trim().is_empty();
        Some(Self {
            access_token: access_token.filter(is_given)?,
            refresh_token: refresh_token.filter(is_given),
            token_type: token_type.unwrap_or_else(|| "bearer".to_owned()),
            issued_at,
            expires_at,
        })
    }

    /// Reads a token endpoint's response: members at the top level or under `values` (Aisera writes both), `expires_in` as a
    /// number or a string (8x8 writes a string). Members that are not needed are ignored, whatever they hold.
    pub(crate) fn parse(body: &[u8], now: UnixTime) -> Option<Self> {
        let body = String::from_utf8_lossy(body);
        // A byte order mark may be ignored (RFC 8259 §8.1).
        let top = members(body.trim_start_matches('\u{feff}'))?;
        let nested = top.get("values").and_then(|values| members(values.get())).unwrap_or_default();
        let text = |name: &str| [&top, &nested].into_iter().find_map(|members| text(members.get(name)?));
        let lifetime = [&top, &nested].into_iter().find_map(|members| lifetime(members.get("expires_in")?));
        Self::new(
            text("access_token").map(SecretString::from),
            text("refresh_token").map(SecretString::from),
            text("token_type"),
            Some(now),
            now + lifetime.unwrap_or(DEFAULT_LIFETIME),
        )
    }

    /// Whether the token needs no refresh yet.
    pub fn is_fresh(&self, now: UnixTime) -> bool {
        let total = self.issued_at.map(|issued_at| self.expires_at.since(issued_at));
        let margin = total.filter(|total| *total < SHORT_LIFETIME).map_or(MARGIN, |total| total / 3);
        self.remaining(now) > margin
    }

    /// Whether the token will still be valid when it arrives at a server. A short-lived token is used for two thirds of its
    /// lifetime; otherwise it could never be used.
    pub fn is_alive(&self, now: UnixTime) -> bool {
        self.remaining(now) > EXPIRY_LEEWAY.min(self.total() / 3)
    }

    /// Whether both have the same access token.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.access_token.expose_secret() == other.access_token.expose_secret()
    }

    /// When the token was issued; `None` for a token that was stored by hand.
    pub fn issued_at(&self) -> Option<UnixTime> {
        self.issued_at
    }

    /// The refresh token, if there is one.
    pub(super) fn refresh_token(&self) -> Option<&SecretString> {
        self.refresh_token.as_ref()
    }

    /// This token; if it has no refresh token, with `refresh_token`.
    pub(super) fn or_refresh_token(self, refresh_token: &SecretString) -> Self {
        Self { refresh_token: self.refresh_token.or_else(|| Some(refresh_token.clone())), ..self }
    }

    /// Its lifetime, and how much of it remains.
    pub fn lifetime(&self, now: UnixTime) -> Lifetime {
        Lifetime { remaining: self.remaining(now), total: self.total() }
    }

    /// The whole lifetime; an hour if it is not known.
    pub(super) fn total(&self) -> Duration {
        self.issued_at.map_or(DEFAULT_LIFETIME, |issued_at| self.expires_at.since(issued_at))
    }

    fn remaining(&self, now: UnixTime) -> Duration {
        self.expires_at.since(now)
    }

    /// The value of an `Authorization` header; `None` if the token has characters that no header can carry.
    pub fn bearer(&self) -> Option<HeaderValue> {
        sensitive_header(&format!("Bearer {}", self.access_token.expose_secret()))
    }

    /// The form in which a secret holds the token; times are in seconds.
    pub(super) fn to_json(&self) -> SecretString {
        serde_json::json!({
            "access_token": self.access_token.expose_secret(),
            "refresh_token": self.refresh_token.as_ref().map(ExposeSecret::expose_secret),
            "token_type": self.token_type,
            "issued_at": self.issued_at.map(UnixTime::secs),
            "expires_at": self.expires_at.secs(),
        })
        .to_string()
        .into()
    }
}

/// The members of a JSON object, unparsed. If a name is repeated, the last one counts (RFC 8259 §4 leaves this open). `None` if
/// it is not an object.
fn members(json: &str) -> Option<HashMap<String, &RawValue>> {
    serde_json::from_str(json).ok()
}

/// A string that is not blank.
fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok().filter(|text: &String| !text.trim().is_empty())
}

/// Whole seconds from a number, or from a number in a string. `None` if it is neither, or below zero.
fn lifetime(value: &RawValue) -> Option<Duration> {
    let seconds = text(value).unwrap_or_else(|| value.get().to_owned());
    let seconds: f64 = seconds.trim().parse().ok().filter(|seconds| *seconds >= 0.0)?;
    Some(Duration::from_secs(seconds.min(MAX_LIFETIME.as_secs_f64()) as u64))
}

/// The lifetime of a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// How much of it remains.
    pub remaining: Duration,
    /// The whole lifetime; an hour if it is not known, zero if there is no token.
    pub total: Duration,
}

impl Lifetime {
    /// The remaining part of the total, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        if self.remaining.is_zero() {
            return 0.0;
        }
        self.remaining.as_secs_f64() / self.total.max(self.remaining).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::oauth::TokenContent;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn token_of(lifetime: Duration) -> Token {
        Token {
            access_token: "a".into(),
            refresh_token: None,
            token_type: "bearer".to_owned(),
            issued_at: Some(NOW),
            expires_at: NOW + lifetime,
        }
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    #[test]
    fn an_hour_long_token_is_refreshed_when_a_quarter_of_an_hour_is_left() {
        let token = token_of(minutes(60));
        assert!(token.is_fresh(NOW));
        assert!(token.is_fresh(NOW + minutes(44)));
        assert!(!token.is_fresh(NOW + minutes(45)));
        assert!(!token.is_fresh(NOW + minutes(600)));
    }

    #[test]
    fn a_short_token_is_refreshed_when_a_third_of_its_lifetime_is_left() {
        let token = token_of(minutes(30));
        assert!(token.is_fresh(NOW + minutes(19)));
        assert!(!token.is_fresh(NOW + minutes(20)));
    }

    #[test]
    fn a_token_of_unknown_lifetime_is_refreshed_as_an_hour_long_one() {
        let token = Token { issued_at: None, ..token_of(minutes(16)) };
        assert!(token.is_fresh(NOW));
        assert!(!token.is_fresh(NOW + minutes(1)));
    }

    proptest! {
        #[test]
        fn once_a_token_is_stale_it_stays_so(lifetime in 0..100_000_u64, early in 0..200_000_u64, later in 0..200_000_u64) {
            let token = token_of(Duration::from_secs(lifetime));
            let (early, late) = (NOW + Duration::from_secs(early), NOW + Duration::from_secs(early + later));
            prop_assert!(token.is_fresh(early) || !token.is_fresh(late));
        }

        #[test]
        fn a_fresh_token_outlives_the_next_run_and_an_expired_one_is_never_fresh(lifetime in 900..100_000_u64, age in 0..200_000_u64) {
            let token = token_of(Duration::from_secs(lifetime));
            let now = NOW + Duration::from_secs(age);
            if token.is_fresh(now) {
                prop_assert!(token.remaining(now) > Duration::from_secs(300));
            }
            prop_assert!(age < lifetime || !token.is_fresh(now));
        }

        #[test]
        fn what_is_stored_is_what_is_read(access in "\\S\\PC*", refresh in proptest::option::of("\\S\\PC*"), expires_at in 0..4_000_000_000_u64) {
            let token = Token {
                access_token: access.clone().into(),
                refresh_token: refresh.clone().map(SecretString::from),
                token_type: "bearer".to_owned(),
                issued_at: Some(NOW),
                expires_at: UnixTime::from_secs(expires_at),
            };
            let read: TokenContent = serde_json::from_str(token.to_json().expose_secret()).unwrap();
            let read = read.token().unwrap();
            prop_assert_eq!(read.access_token.expose_secret(), access);
            prop_assert_eq!(read.refresh_token.as_ref().map(|token| token.expose_secret().to_owned()), refresh);
            prop_assert_eq!(read.expires_at.secs(), expires_at);
        }
    }

    fn parsed(body: &str) -> Option<(String, Option<String>, u64)> {
        let token = Token::parse(body.as_bytes(), NOW)?;
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        Some((text(&token.access_token), token.refresh_token.as_ref().map(text), token.remaining(NOW).as_secs()))
    }

    #[test]
    fn reads_aiseras_and_8x8s_responses() {
        let token = |access: &str, refresh: Option<&str>, lifetime| {
            Some((access.to_owned(), refresh.map(str::to_owned), lifetime))
        };
        assert_eq!(
            parsed(
                r#"{"access_token":"a","refresh_token":"r","values":{"access_token":"x","expires_in":60},"token_type":"bearer","expires_in":3600}"#
            ),
            token("a", Some("r"), 3600)
        );
        assert_eq!(
            parsed(r#"{"values":{"access_token":"a","refresh_token":"r","expires_in":"1799"}}"#),
            token("a", Some("r"), 1799)
        );
        assert_eq!(
            parsed(r#"{"access_token":"a","token_type":"BearerToken","expires_in":"1799"}"#),
            token("a", None, 1799)
        );
        assert_eq!(parsed(r#"{"access_token":"a"}"#), token("a", None, 3600));
    }

    #[test]
    fn a_response_without_an_access_token_is_none() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"access_token":1}"#,
            r#"{"access_token":"","refresh_token":"r","expires_in":3600}"#,
            r#"{"access_token":" ","values":{"access_token":""}}"#,
        ] {
            assert_eq!(parsed(body), None, "{body}");
        }
    }

    #[test]
    fn an_empty_member_counts_as_absent() {
        let token = Some(("a".to_owned(), None, 3600));
        assert_eq!(parsed(r#"{"access_token":"a","refresh_token":"","expires_in":""}"#), token);
        assert_eq!(parsed(r#"{"access_token":"","refresh_token":"","values":{"access_token":"a"}}"#), token);
        let stored: TokenContent = serde_json::from_str(r#"{"access_token":"","refresh_token":"r"}"#).unwrap();
        assert!(stored.token().is_none());
        let stored: TokenContent = serde_json::from_str(r#"{"access_token":"a","refresh_token":""}"#).unwrap();
        assert!(stored.token().unwrap().refresh_token().is_none());
    }

    #[test]
    fn a_lifetime_is_any_number_rounded_down_and_capped_or_else_the_default() {
        let year = MAX_LIFETIME.as_secs();
        for (expires_in, seconds) in [
            ("3600.0", 3600),
            ("3599.994", 3599),
            (r#""3600.0""#, 3600),
            (r#"" 1799 ""#, 1799),
            ("1.8e3", 1800),
            ("0", 0),
            ("18446744073709551616", year),
            (r#""18446744073709551616""#, year),
            ("1e400", year),
            (r#""""#, 3600),
            ("null", 3600),
            ("-1", 3600),
            (r#""soon""#, 3600),
            (r#""NaN""#, 3600),
            ("{}", 3600),
            ("true", 3600),
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":{expires_in}}}"#);
            assert_eq!(parsed(&body), Some(("a".to_owned(), None, seconds)), "{expires_in}");
        }
    }

    #[test]
    fn what_is_not_needed_does_not_cost_the_token() {
        for body in [
            r#"{"access_token":"a","values":[]}"#,
            r#"{"access_token":"a","values":"none"}"#,
            "\u{feff}{\"access_token\":\"a\"}",
            r#"{"access_token":"a","token_type":"bearer","token_type":"bearer","expires_in":60,"expires_in":3600}"#,
            r#"{"access_token":"a","values":{"expires_in":3600,"expires_in":3600}}"#,
            r#"{"access_token":"a","refresh_token":7,"token_type":[],"scope":"\ud800","big":1e999}"#,
        ] {
            assert_eq!(parsed(body), Some(("a".to_owned(), None, 3600)), "{body}");
        }
    }

    #[test]
    fn a_token_of_thirty_seconds_can_be_used_for_twenty() {
        let token = token_of(Duration::from_secs(30));
        assert!(token.is_alive(NOW + Duration::from_secs(19)));
        assert!(!token.is_alive(NOW + Duration::from_secs(20)));
        assert!(!token_of(Duration::ZERO).is_alive(NOW));
        let token = token_of(minutes(60));
        assert!(token.is_alive(NOW + minutes(59) + Duration::from_secs(29)));
        assert!(!token.is_alive(NOW + minutes(59) + Duration::from_secs(30)));
    }

    #[test]
    fn debug_shows_no_token() {
        let token =
            Token { access_token: "hunter2".into(), refresh_token: Some("hunter3".into()), ..token_of(minutes(60)) };
        assert!(!format!("{token:?}").contains("hunter"));
    }
}
