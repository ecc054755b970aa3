//! The content of the caller secret, and how it is rotated.
//!
//! ```json
//! {"app_token":"…","username":"…","password":"…","signing_key":"…","not_before":1790000000,
//!  "superseded":[{"signing_key":"…","until":1790000000},{"app_token":"…","username":"…","password":"…","until":1790000000}],
//!  "rotated_from":"…"}
//! ```
//!
//! A person may replace app token, user name and password, and set `not_before`. A rotation replaces the signing key, keeps
//! under `superseded` what is still valid, and records under `rotated_from` the version that it was made from. A blank text
//! counts as missing.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::token::{ACCESS_LIFE, Kind, SigningKey};
use super::{GRACE, Known};
use crate::clock::UnixTime;
use crate::secrets::{PastVersion, SecretContent, Version};

/// The caller secret.
#[derive(Debug, Deserialize)]
pub struct CallerContent {
    app_token: Option<SecretString>,
    username: Option<SecretString>,
    password: Option<SecretString>,
    signing_key: Option<SecretString>,
    /// Unix seconds: see [`CallerContent::not_before`].
    not_before: Option<u64>,
    #[serde(default)]
    superseded: Vec<Superseded>,
    rotated_from: Option<String>,
    #[serde(flatten)]
    others: OtherMembers,
}

/// Members that a person has added. A rotation keeps them.
#[derive(Deserialize)]
#[serde(transparent)]
struct OtherMembers(Map<String, Value>);

impl fmt::Debug for OtherMembers {
    /// Their values may be secret as well.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[REDACTED]")
    }
}

/// A login or a key that was replaced.
#[derive(Debug, Deserialize)]
struct Superseded {
    app_token: Option<SecretString>,
    username: Option<SecretString>,
    password: Option<SecretString>,
    signing_key: Option<SecretString>,
    /// Unix seconds: until when it is valid.
    until: u64,
}

/// The login of a caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login<'s> {
    pub(super) app_token: &'s SecretString,
    pub(super) username: &'s SecretString,
    pub(super) password: &'s SecretString,
}

impl SecretContent for CallerContent {
    const SHAPE: &'static str =
        r#"{"app_token","username","password","signing_key"}, texts, with `not_before` in Unix seconds"#;
}

/// `None` for a text that is missing or blank.
fn given(field: &Option<SecretString>) -> Option<&SecretString> {
    field.as_ref().filter(|text| !text.expose_secret().trim().is_empty())
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

impl<'s> Login<'s> {
    fn of(
        app_token: &'s Option<SecretString>,
        username: &'s Option<SecretString>,
        password: &'s Option<SecretString>,
    ) -> Option<Self> {
        Some(Self { app_token: given(app_token)?, username: given(username)?, password: given(password)? })
    }

    fn is(&self, other: &Self) -> bool {
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
    /// The names of the members that are missing or blank, and of the signing key if it is too short.
    pub fn missing(&self) -> Vec<&'static str> {
        let members = [
            ("app_token", given(&self.app_token)),
            ("username", given(&self.username)),
            ("password", given(&self.password)),
            ("signing_key", self.signing_key()),
        ];
        members.into_iter().filter(|(_, member)| member.is_none()).map(|(name, _)| name).collect()
    }

    pub(super) fn login(&self) -> Option<Login<'_>> {
        Login::of(&self.app_token, &self.username, &self.password)
    }

    /// The signing key, if it is a usable one.
    pub fn signing_key(&self) -> Option<&SecretString> {
        self.signing_key.as_ref().filter(|key| SigningKey::new(key).is_some())
    }

    /// The time before which everything is revoked: tokens that were issued before it are refused, and logins and keys that
    /// were replaced before it have no grace period of a day.
    pub(super) fn not_before(&self) -> UnixTime {
        UnixTime::from_secs(self.not_before.unwrap_or(0))
    }

    pub(super) fn superseded_logins(&self, now: UnixTime) -> impl Iterator<Item = Login<'_>> {
        self.still_valid(now).filter_map(|old| self.superseded_login(old))
    }

    pub(super) fn superseded_keys(&self, now: UnixTime) -> impl Iterator<Item = &SecretString> {
        self.still_valid(now).filter_map(|old| old.signing_key.as_ref())
    }

    fn still_valid(&self, now: UnixTime) -> impl Iterator<Item = &Superseded> {
        self.superseded.iter().filter(move |old| UnixTime::from_secs(old.until) > now)
    }

    fn superseded_login<'s>(&self, old: &'s Superseded) -> Option<Login<'s>> {
        let replaced_at = UnixTime::from_secs(old.until) - GRACE;
        Login::of(&old.app_token, &old.username, &old.password).filter(|_| replaced_at >= self.not_before())
    }

    /// Whether both contents have the same signing key.
    pub fn has_signing_key_of(&self, other: &Self) -> bool {
        matches!((self.signing_key(), other.signing_key()), (Some(one), Some(other)) if same(one, other))
    }

    /// Whether a rotation has made this content from the version `id`.
    pub fn is_rotated_from(&self, id: &str) -> bool {
        self.rotated_from.as_deref() == Some(id)
    }
}

impl Version<CallerContent> {
    /// The secret with another signing key, as JSON: `signing_key`, or else a random one. The old key stays valid for
    /// `refresh_life`, as long as the tokens that it has signed. A login that a person replaced less than a day ago stays valid
    /// for the rest of that day. If a login has no app token or no password yet, it gets one.
    ///
    /// # Errors
    /// There is no random number.
    pub fn rotated(
        &self,
        past: &[PastVersion<CallerContent>],
        signing_key: Option<&SecretString>,
        refresh_life: Duration,
        now: UnixTime,
    ) -> Result<SecretString, Unspecified> {
        let text_or = |field, new: &dyn Fn() -> Result<String, Unspecified>| {
            given(field).map_or_else(new, |text| Ok(text.expose_secret().to_owned()))
        };
        let mut members = self.content.others.0.clone();
        members.insert("app_token".to_owned(), text_or(&self.content.app_token, &random)?.into());
        members.insert("username".to_owned(), text_or(&self.content.username, &|| Ok("live-agent".to_owned()))?.into());
        members.insert("password".to_owned(), text_or(&self.content.password, &random)?.into());
        let signing_key = signing_key.map_or_else(random, |key| Ok(key.expose_secret().to_owned()))?;
        members.insert("signing_key".to_owned(), signing_key.into());
        members.extend(self.content.not_before.map(|time| ("not_before".to_owned(), time.into())));
        members.insert("superseded".to_owned(), self.superseded_from_now_on(past, refresh_life, now).into());
        members.insert("rotated_from".to_owned(), self.id.clone().into());
        Ok(Value::Object(members).to_string().into())
    }

    /// `superseded` of the version that replaces this one: the key of this version, and what this and the earlier versions
    /// replaced.
    fn superseded_from_now_on(
        &self,
        past: &[PastVersion<CallerContent>],
        refresh_life: Duration,
        now: UnixTime,
    ) -> Vec<Value> {
        let content = &self.content;
        let recent = || self.not_revoked(past).map(|old| (&old.version.content, (old.replaced_at + GRACE).secs()));

        let mut keys: Vec<(&SecretString, u64)> = Vec::new();
        let current_key = content.signing_key().map(|key| (key, (now + refresh_life).secs()));
        let older_keys = content.still_valid(now).filter_map(|old| Some((old.signing_key.as_ref()?, old.until)));
        let recent_keys = recent().filter_map(|(old, until)| Some((old.signing_key()?, until)));
        for (key, until) in current_key.into_iter().chain(older_keys).chain(recent_keys) {
            if !keys.iter().any(|(kept, _)| same(kept, key)) {
                keys.push((key, until));
            }
        }

        let mut logins: Vec<(Login<'_>, u64)> = Vec::new();
        let recent_logins = recent().filter_map(|(old, until)| Some((old.login()?, until)));
        let older_logins = content.still_valid(now).filter_map(|old| Some((content.superseded_login(old)?, old.until)));
        for (login, until) in recent_logins.chain(older_logins) {
            let is_current = content.login().is_some_and(|current| current.is(&login));
            if !is_current && !logins.iter().any(|(kept, _)| kept.is(&login)) {
                logins.push((login, until));
            }
        }

        let keys = keys.into_iter().map(|(key, until)| json!({ "signing_key": key.expose_secret(), "until": until }));
        keys.chain(logins.into_iter().map(|(login, until)| login.to_json(until))).collect()
    }

    /// The versions before this one that `not_before` does not revoke.
    pub(super) fn not_revoked<'v>(
        &self,
        past: &'v [PastVersion<CallerContent>],
    ) -> impl Iterator<Item = &'v PastVersion<CallerContent>> {
        let not_before = self.content.not_before();
        past.iter().filter(move |old| old.version.written_at >= not_before)
    }

    /// Whether this content accepts everything that `current` accepts: the login of `current` logs in, and tokens of its key
    /// verify, as do tokens of the new key.
    pub fn succeeds(&self, current: &Self, now: UnixTime) -> bool {
        // A clock that is slightly behind the clock that set `not_before` must not make a difference.
        let now = now.max(self.content.not_before());
        let Ok(known) = Known::new(self, &[], now) else { return false };
        let verifies = |key: &SigningKey| {
            let issued = key.issue("test", ACCESS_LIFE, now);
            known.verifies(issued.access_token.expose_secret(), Kind::Access, "test", now)
        };
        let logs_in = current.content.login().is_none_or(|login| {
            let text = SecretString::expose_secret;
            known.logs_in(text(login.app_token), text(login.username), text(login.password))
        });
        logs_in
            && verifies(&known.signs)
            && current.content.signing_key().and_then(SigningKey::new).is_none_or(|key| verifies(&key))
    }
}

/// 256 random bits, which cannot be guessed; HMAC-SHA256 uses no more (RFC 2104 §3).
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

    fn version(id: &str, written_at: UnixTime, json: Value) -> Version<CallerContent> {
        Version { content: serde_json::from_value(json).unwrap(), written_at, id: id.to_owned() }
    }

    fn login(app_token: &str, key: &str) -> Value {
        json!({ "app_token": app_token, "username": "u", "password": "p", "signing_key": key.repeat(32) })
    }

    fn rotated(current: &Version<CallerContent>, past: &[PastVersion<CallerContent>], now: UnixTime) -> Value {
        serde_json::from_str(current.rotated(past, None, MONTH, now).unwrap().expose_secret()).unwrap()
    }

    fn app_tokens(version: &Version<CallerContent>, now: UnixTime) -> Vec<&str> {
        version.content.superseded_logins(now).map(|login| login.app_token.expose_secret()).collect()
    }

    fn keys(version: &Version<CallerContent>, now: UnixTime) -> Vec<&str> {
        version.content.superseded_keys(now).map(|key| &key.expose_secret()[..1]).collect()
    }

    #[test]
    fn a_rotation_fills_in_what_is_missing_or_blank() {
        let current = version("v", NOW, json!({ "username": "acme", "password": " ", "signing_key": "" }));
        let new = rotated(&current, &[], NOW);
        assert_eq!(new["username"], "acme");
        for field in ["app_token", "password", "signing_key"] {
            assert_eq!(new[field].as_str().unwrap().len(), 43, "256 bits in base64: {field}");
        }
        assert_ne!(new["app_token"], new["password"]);
        assert_eq!(new["superseded"], json!([]), "the blank key is not kept");
    }

    #[test]
    fn a_rotation_keeps_the_login_and_the_old_key_as_long_as_its_tokens_live() {
        let new = rotated(&version("v", NOW - MONTH, login("a", "k")), &[], NOW);
        assert_eq!((&new["app_token"], &new["username"], &new["password"]), (&json!("a"), &json!("u"), &json!("p")));
        assert_ne!(new["signing_key"], "k".repeat(32));
        let new = version("w", NOW, new);
        assert!(new.content.is_rotated_from("v") && !new.content.is_rotated_from("w"));
        assert_eq!(keys(&new, NOW + MONTH - HOUR), ["k"]);
        assert!(keys(&new, NOW + MONTH).is_empty());
    }

    #[test]
    fn a_rotation_within_a_day_of_changes_by_hand_keeps_what_they_replaced() {
        let past = |app_token, key, replaced_at| PastVersion {
            version: version("old", NOW - MONTH, login(app_token, key)),
            replaced_at,
        };
        let current = version("v", NOW - HOUR, login("third", "c"));
        let past = [past("second", "b", NOW - HOUR), past("first", "a", NOW - 2 * HOUR)];
        let new = version("w", NOW, rotated(&current, &past, NOW));
        assert_eq!(app_tokens(&new, NOW + 21 * HOUR), ["second", "first"]);
        assert_eq!(app_tokens(&new, NOW + 22 * HOUR), ["second"]);
        assert!(app_tokens(&new, NOW + 23 * HOUR).is_empty());
        assert_eq!(keys(&new, NOW), ["c", "b", "a"]);
        assert_eq!(keys(&new, NOW + 23 * HOUR), ["c"]);
        // A second rotation keeps them.
        let again = version("x", NOW + HOUR, rotated(&new, &[], NOW + HOUR));
        assert_eq!(app_tokens(&again, NOW + 21 * HOUR), ["second", "first"]);
        assert_eq!(keys(&again, NOW + 21 * HOUR)[1..], ["c", "b", "a"]);
    }

    #[test]
    fn a_rotation_keeps_not_before_and_members_that_it_does_not_know() {
        let mut content = login("a", "k");
        (content["not_before"], content["owner"]) = (json!(1_700_000_000), json!({ "team": "it" }));
        let new = rotated(&version("v", NOW, content), &[], NOW);
        assert_eq!((&new["not_before"], &new["owner"]), (&json!(1_700_000_000), &json!({ "team": "it" })));
    }

    #[test]
    fn not_before_ends_the_grace_of_what_was_replaced() {
        let mut content = login("new", "n");
        content["not_before"] = NOW.secs().into();
        content["superseded"] = json!([login("stolen", "s"), login("recent", "r")]);
        (content["superseded"][0]["until"], content["superseded"][1]["until"]) =
            ((NOW + GRACE - HOUR).secs().into(), (NOW + GRACE).secs().into());
        let current = version("v", NOW, content);
        assert_eq!(app_tokens(&current, NOW), ["recent"]);
        let old = PastVersion { version: version("u", NOW - HOUR, login("old", "o")), replaced_at: NOW };
        let new = version("w", NOW, rotated(&current, &[old], NOW));
        assert_eq!(app_tokens(&new, NOW), ["recent"]);
        assert!(!keys(&new, NOW).contains(&"o"));
    }

    #[test]
    fn debug_shows_no_member() {
        let mut content = login("hunter2", "k");
        content["note"] = json!("hunter2");
        assert!(!format!("{:?}", version("v", NOW, content)).contains("hunter2"));
    }
}
