//! What the caller secret holds, and how it is rotated.
//!
//! ```json
//! {"app_token":"…","username":"…","password":"…","signing_key":"…",
//!  "superseded":[{"signing_key":"…","until":1790000000},{"app_token":"…","username":"…","password":"…","until":1790000000}]}
//! ```
//!
//! A person may replace app token, user name and password; rotation replaces the signing key and keeps under `superseded`
//! what is still good.

use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::token::{ACCESS_LIFE, Kind, SigningKey};
use super::{GRACE, Known, SETTLED};
use crate::clock::UnixTime;
use crate::secrets::SecretContent;

/// The caller secret.
#[derive(Debug, Deserialize)]
pub struct CallerContent {
    app_token: Option<SecretString>,
    username: Option<SecretString>,
    password: Option<SecretString>,
    pub(super) signing_key: Option<SecretString>,
    #[serde(default)]
    superseded: Vec<Superseded>,
}

/// A login or a key that others have replaced.
#[derive(Debug, Deserialize)]
struct Superseded {
    app_token: Option<SecretString>,
    username: Option<SecretString>,
    password: Option<SecretString>,
    signing_key: Option<SecretString>,
    /// Unix seconds: until when it is good.
    until: u64,
}

/// What a caller logs in with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login<'s> {
    pub(super) app_token: &'s SecretString,
    pub(super) username: &'s SecretString,
    pub(super) password: &'s SecretString,
}

impl SecretContent for CallerContent {
    const SHAPE: &'static str = r#"{"app_token","username","password","signing_key"}"#;
}

impl<'s> Login<'s> {
    fn of(
        app_token: &'s Option<SecretString>,
        username: &'s Option<SecretString>,
        password: &'s Option<SecretString>,
    ) -> Option<Self> {
        let given = |field: &'s Option<SecretString>| field.as_ref().filter(|text| !text.expose_secret().is_empty());
        Some(Self { app_token: given(app_token)?, username: given(username)?, password: given(password)? })
    }

    fn is(&self, other: &Self) -> bool {
        let same = |one: &SecretString, other: &SecretString| one.expose_secret() == other.expose_secret();
        same(self.app_token, other.app_token)
            && same(self.username, other.username)
            && same(self.password, other.password)
    }

    fn to_json(self, until: u64) -> Value {
        json!({
            "app_token": self.app_token.expose_secret(),
            "username": self.username.expose_secret(),
            "password": self.password.expose_secret(),
            "until": until,
        })
    }
}

impl CallerContent {
    pub(super) fn login(&self) -> Option<Login<'_>> {
        Login::of(&self.app_token, &self.username, &self.password)
    }

    pub(super) fn superseded_logins(&self, now: UnixTime) -> impl Iterator<Item = Login<'_>> {
        self.superseded(now).filter_map(|old| Login::of(&old.app_token, &old.username, &old.password))
    }

    pub(super) fn superseded_keys(&self, now: UnixTime) -> impl Iterator<Item = &SecretString> {
        self.superseded(now).filter_map(|old| old.signing_key.as_ref())
    }

    fn superseded(&self, now: UnixTime) -> impl Iterator<Item = &Superseded> {
        self.superseded.iter().filter(move |old| UnixTime::from_secs(old.until) > now)
    }

    /// The secret with a new signing key, as JSON. The old key stays good for `refresh_life`, as long as a token lives that
    /// it has signed; a login that a person has replaced less than a day ago stays good for the rest of that day. Where a
    /// login has no app token or no password yet, it gets one.
    ///
    /// # Errors
    /// No random number.
    pub fn rotated(
        &self,
        previous: Option<&Self>,
        written_at: UnixTime,
        refresh_life: Duration,
        now: UnixTime,
    ) -> Result<SecretString, Unspecified> {
        let mut superseded: Vec<Value> = Vec::new();
        if let Some(key) = &self.signing_key {
            superseded.push(json!({ "signing_key": key.expose_secret(), "until": (now + refresh_life).secs() }));
        }
        let replaced_until = written_at + GRACE;
        if let (Some(old), Some(new)) = (previous.and_then(Self::login), self.login())
            && now < replaced_until
            && !old.is(&new)
        {
            superseded.push(old.to_json(replaced_until.secs()));
        }
        for old in self.superseded(now) {
            if let Some(key) = &old.signing_key {
                superseded.push(json!({ "signing_key": key.expose_secret(), "until": old.until }));
            }
            if let Some(login) = Login::of(&old.app_token, &old.username, &old.password) {
                superseded.push(login.to_json(old.until));
            }
        }
        let given = |field: &Option<SecretString>| field.as_ref().map(|text| text.expose_secret().to_owned());
        let or_new = |field| given(field).filter(|text| !text.is_empty()).map_or_else(random, Ok);
        Ok(json!({
            "app_token": or_new(&self.app_token)?,
            "username": given(&self.username).unwrap_or_else(|| "live-agent".to_owned()),
            "password": or_new(&self.password)?,
            "signing_key": random()?,
            "superseded": superseded,
        })
        .to_string()
        .into())
    }

    /// Whether everyone whom `current` knows is known here as well: its login logs in, tokens of its key are taken, and so
    /// are those of the new one.
    pub fn succeeds(&self, current: &Self, now: UnixTime) -> bool {
        let Some(known) = Known::new(self, None, SETTLED, now) else { return false };
        let takes = |key: &SigningKey| {
            let issued = key.issue("test", ACCESS_LIFE, now);
            known.verifies(issued.access_token.expose_secret(), Kind::Access, "test", now)
        };
        let logs_in = current.login().is_none_or(|login| {
            let text = SecretString::expose_secret;
            known.logs_in(text(login.app_token), text(login.username), text(login.password))
        });
        logs_in
            && takes(&known.signs)
            && current.signing_key.as_ref().map(SigningKey::new).is_none_or(|key| takes(&key))
    }
}

/// 256 random bits: nobody guesses them, and HMAC-SHA256 uses no more (RFC 2104 §3).
fn random() -> Result<String, Unspecified> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
    const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
    const HOUR: Duration = Duration::from_secs(3600);

    fn content(json: Value) -> CallerContent {
        serde_json::from_value(json).unwrap()
    }

    fn rotated(
        current: &CallerContent,
        previous: Option<&CallerContent>,
        written_at: UnixTime,
        now: UnixTime,
    ) -> Value {
        serde_json::from_str(current.rotated(previous, written_at, MONTH, now).unwrap().expose_secret()).unwrap()
    }

    #[test]
    fn the_first_rotation_fills_in_what_is_missing() {
        let new = rotated(&content(json!({ "username": "acme", "signing_key": "k" })), None, NOW, NOW);
        assert_eq!(new["username"], "acme");
        for field in ["app_token", "password", "signing_key"] {
            assert_eq!(new[field].as_str().unwrap().len(), 43, "256 bits in base64: {field}");
        }
        assert_ne!(new["app_token"], new["password"]);
    }

    #[test]
    fn a_rotation_keeps_the_login_and_the_old_key_as_long_as_its_tokens_live() {
        let old = content(json!({ "app_token": "a", "username": "u", "password": "p", "signing_key": "k1" }));
        let new = rotated(&old, None, NOW - MONTH, NOW);
        assert_eq!((&new["app_token"], &new["username"], &new["password"]), (&json!("a"), &json!("u"), &json!("p")));
        assert_ne!(new["signing_key"], "k1");
        let new = content(new);
        let keys = |now| new.superseded_keys(now).map(|key| key.expose_secret().to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(NOW + MONTH - HOUR), ["k1"]);
        assert!(keys(NOW + MONTH).is_empty());
    }

    #[test]
    fn a_rotation_within_the_day_of_a_change_by_hand_keeps_the_replaced_login() {
        let old = content(json!({ "app_token": "old", "username": "u", "password": "p", "signing_key": "k" }));
        let changed = content(json!({ "app_token": "new", "username": "u", "password": "p", "signing_key": "k" }));
        let new = content(rotated(&changed, Some(&old), NOW - HOUR, NOW));
        let app_tokens = |content: &CallerContent, now| {
            content.superseded_logins(now).map(|login| login.app_token.expose_secret().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(app_tokens(&new, NOW + 22 * HOUR), ["old"]);
        assert!(app_tokens(&new, NOW + 23 * HOUR).is_empty());
        // A second rotation carries it on, and one after the day does not.
        assert_eq!(app_tokens(&content(rotated(&new, Some(&changed), NOW, NOW + HOUR)), NOW + 2 * HOUR), ["old"]);
        assert!(app_tokens(&content(rotated(&changed, Some(&old), NOW - GRACE, NOW)), NOW).is_empty());
    }
}
