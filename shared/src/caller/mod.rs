//! The callers: the tenant's load balancer, or a bot. They send an app token and a bearer token.
//!
//! Checking a caller needs no request: the callers' credentials are in a secret that is cached in memory, and we sign the
//! bearer tokens ourselves. A change of the secret, by rotation or by hand, does not make us reject a caller:
//!
//! - a token is good until it expires, whichever of our keys has signed it since;
//! - app token, user name and password are good for a day after others have replaced them ([`GRACE`]), however often the
//!   secret is edited;
//! - unknown credentials are refused only after the secret has been read again;
//! - a new key signs nothing before every function must have seen it (`KEY_PROPAGATION`).
//!
//! Except for what `not_before` in the secret revokes.

mod config;
mod content;
mod token;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::ExposeSecret;

use crate::cache::{Cached, Policy};
use crate::clock::UnixTime;
use crate::http::WARM_UP_TIMEOUT;
use crate::secrets::{self, History, PastVersion, Secret, SecretError, SecretsManager, Version};
pub use config::{CallersConfig, caller_secret_id, refresh_token_lifetime};
pub use content::CallerContent;
use content::Login;
pub use token::{ACCESS_LIFE, IssuedTokens};
use token::{Kind, SigningKey};

/// How long app token, user name and password stay valid after they were replaced: a day for the person who changes the load
/// balancer.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

/// How old a key must be before it signs: twice as long as a function uses the secret without a refresh.
const KEY_PROPAGATION: Duration = Duration::from_secs(2 * secrets::TTL.as_secs());

/// How far `not_before` may be ahead of this clock: more than the error of a clock that is set, and less than any time that was
/// given in milliseconds by mistake, which would refuse all tokens for ever.
const MAX_CLOCK_ERROR: Duration = Duration::from_secs(300);

/// How long callers are cached.
static POLICY: Policy<SecretError> = Policy::of_secret("callers");

/// What the secret lacks, and how to add it.
const LOGIN: &str =
    "`app_token`, `username` and `password`, none of them blank: rotate it, and what is missing is generated";
const SIGNING_KEY: &str = "a `signing_key` of at least 32 bytes: rotate it, and a key is generated";
const NOT_BEFORE: &str = "a `not_before` that is in Unix seconds and not in the future: correct it";

/// Why a caller is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// App token, bearer token, user name or password are missing or wrong.
    #[error("the caller's credentials are missing or wrong")]
    Refused,
    /// The credentials cannot be checked.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// All callers of this integration.
#[derive(Debug)]
pub struct Callers {
    integration: String,
    secret: Arc<Secret<CallerContent>>,
    known: Cached<Known, SecretError>,
}

/// The content of the secret.
#[derive(Debug)]
struct Known {
    logins: Vec<LoginDigests>,
    signs: SigningKey,
    verify: Vec<SigningKey>,
    /// Tokens that were issued before this time are refused.
    not_before: UnixTime,
}

/// App token, user name and password as digests. All digests have the same length, so that a comparison always takes the same
/// time.
#[derive(Debug)]
struct LoginDigests {
    app_token: Digest,
    username: Digest,
    password: Digest,
}

impl Callers {
    /// The callers that `config` names.
    pub fn new(config: CallersConfig, secrets: &SecretsManager) -> Self {
        Self {
            integration: config.integration_name,
            secret: Arc::new(secrets.secret(config.secret_id)),
            known: Cached::new(&POLICY),
        }
    }

    /// Reads the secret while a function starts. A failure, or a read that does not end in time, is left to the first request.
    pub async fn warm_up(&self, now: UnixTime) {
        match tokio::time::timeout(WARM_UP_TIMEOUT, self.known.get(now, || self.read(now))).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "callers are not known at the start"),
            Err(_) => tracing::debug!("callers are not known at the start yet"),
        }
    }

    /// Whether a request has one of the two headers that identify a caller.
    pub fn are_presented(headers: &HeaderMap) -> bool {
        headers.contains_key(APP_TOKEN) || headers.contains_key(AUTHORIZATION)
    }

    /// Checks a request's two headers: `x-app-token`, and `Authorization: Bearer` with a valid access token of ours.
    pub async fn check(&self, headers: &HeaderMap, now: UnixTime) -> Result<(), CallerError> {
        let (app_token, bearer) = headers_of_caller(headers).ok_or(CallerError::Refused)?;
        self.find(now, |known| {
            let has_app_token = known.has_app_token(app_token);
            (has_app_token & known.verifies(bearer, Kind::Access, &self.integration, now)).then_some(())
        })
        .await
    }

    /// Whether `client_id` is the app token of a caller.
    pub async fn check_client(&self, client_id: &str, now: UnixTime) -> Result<(), CallerError> {
        self.find(now, |known| known.has_app_token(client_id).then_some(())).await
    }

    /// Issues tokens for user name and password. Neither the response nor its time shows which of the three is wrong.
    pub async fn issue_for_password(
        &self,
        client_id: &str,
        username: &str,
        password: &str,
        refresh_life: Duration,
        now: UnixTime,
    ) -> Result<IssuedTokens, CallerError> {
        self.find(now, |known| {
            known
                .logs_in(client_id, username, password)
                .then(|| known.signs.issue(&self.integration, refresh_life, now))
        })
        .await
    }

    /// Issues tokens for a refresh token.
    pub async fn issue_for_refresh_token(
        &self,
        client_id: &str,
        refresh_token: &str,
        refresh_life: Duration,
        now: UnixTime,
    ) -> Result<IssuedTokens, CallerError> {
        self.find(now, |known| {
            let has_app_token = known.has_app_token(client_id);
            (has_app_token & known.verifies(refresh_token, Kind::Refresh, &self.integration, now))
                .then(|| known.signs.issue(&self.integration, refresh_life, now))
        })
        .await
    }

    /// What `find` finds in the cached callers, or else in the secret as it is now.
    async fn find<T>(&self, now: UnixTime, find: impl Fn(&Known) -> Option<T>) -> Result<T, CallerError> {
        self.known.find(now, || self.read(now), find).await?.ok_or(CallerError::Refused)
    }

    fn read(&self, now: UnixTime) -> impl Future<Output = Result<Arc<Known>, SecretError>> + Send + use<> {
        let secret = Arc::clone(&self.secret);
        async move {
            let History { current, past } = secret.read_history(GRACE, now).await?;
            Known::new(&current, &past, now).map(Arc::new).map_err(|expected| secret.lacks(expected))
        }
    }
}

impl Known {
    /// The callers of those versions, or what the secret lacks.
    fn new(
        current: &Version<CallerContent>,
        past: &[PastVersion<CallerContent>],
        now: UnixTime,
    ) -> Result<Self, &'static str> {
        let not_before = current.content.not_before();
        if not_before > now + MAX_CLOCK_ERROR {
            return Err(NOT_BEFORE);
        }
        let recent =
            || current.not_revoked(past).filter(|old| now.since(old.replaced_at) < GRACE).map(|old| &old.version);

        let login = current.content.login().ok_or(LOGIN)?;
        let recent_logins = recent().filter_map(|old| old.content.login());
        let logins = std::iter::once(login).chain(recent_logins).chain(current.content.superseded_logins(now));

        let key = current.content.signing_key().ok_or(SIGNING_KEY)?;
        let keys = || {
            std::iter::once((key, current.written_at))
                .chain(recent().filter_map(|old| Some((old.content.signing_key()?, old.written_at))))
        };
        let is_propagated = |written_at| now.since(written_at) >= KEY_PROPAGATION;
        let signs = keys().find(|(_, written_at)| is_propagated(*written_at)).or_else(|| keys().last());
        let signs = signs.map_or(key, |(key, _)| key);
        let verify = keys().map(|(key, _)| key).chain(current.content.superseded_keys(now)).filter_map(SigningKey::new);
        Ok(Self {
            logins: logins.map(LoginDigests::of).collect(),
            signs: SigningKey::new(signs).ok_or(SIGNING_KEY)?,
            verify: verify.collect(),
            not_before,
        })
    }

    fn has_app_token(&self, app_token: &str) -> bool {
        let app_token = sha256(app_token);
        self.logins.iter().fold(false, |known, login| known | equal(&login.app_token, &app_token))
    }

    fn logs_in(&self, app_token: &str, username: &str, password: &str) -> bool {
        let (app_token, username, password) = (sha256(app_token), sha256(username), sha256(password));
        self.logins.iter().fold(false, |known, login| {
            known
                | (equal(&login.app_token, &app_token)
                    & equal(&login.username, &username)
                    & equal(&login.password, &password))
        })
    }

    fn verifies(&self, token: &str, kind: Kind, integration: &str, now: UnixTime) -> bool {
        self.verify.iter().any(|key| key.verifies(token, kind, integration, self.not_before, now))
    }
}

impl LoginDigests {
    fn of(login: Login<'_>) -> Self {
        Self {
            app_token: sha256(login.app_token.expose_secret()),
            username: sha256(login.username.expose_secret()),
            password: sha256(login.password.expose_secret()),
        }
    }
}

const APP_TOKEN: &str = "x-app-token";

/// App token and bearer token (RFC 6750 §2.1; the scheme is case-insensitive, RFC 9110 §11.1).
fn headers_of_caller(headers: &HeaderMap) -> Option<(&str, &str)> {
    let app_token = headers.get(APP_TOKEN)?.to_str().ok()?;
    let (scheme, bearer) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| (app_token, bearer.trim_matches(' ')))
}

fn sha256(text: &str) -> Digest {
    digest(&SHA256, text.as_bytes())
}

fn equal(one: &Digest, other: &Digest) -> bool {
    verify_slices_are_equal(one.as_ref(), other.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    fn content(app_token: &str, key: &str) -> Value {
        json!({ "app_token": app_token, "username": "u", "password": "p", "signing_key": key.repeat(32) })
    }

    fn version(content: Value, age: Duration) -> Version<CallerContent> {
        Version { content: serde_json::from_value(content).unwrap(), written_at: NOW - age, id: "v".to_owned() }
    }

    fn past(content: Value, age: Duration, replaced_since: Duration) -> PastVersion<CallerContent> {
        PastVersion { version: version(content, age), replaced_at: NOW - replaced_since }
    }

    fn known(content: Value, age: Duration, past: &[PastVersion<CallerContent>]) -> Known {
        Known::new(&version(content, age), past, NOW).unwrap()
    }

    fn lacks(content: Value) -> &'static str {
        Known::new(&version(content, HOUR), &[], NOW).unwrap_err()
    }

    fn token(known: &Known) -> String {
        known.signs.issue("i", HOUR, NOW).access_token.expose_secret().to_owned()
    }

    #[test]
    fn a_replaced_app_token_is_good_for_a_day_however_often_the_secret_is_edited() {
        let replaced = |since| {
            let versions =
                [past(content("second", "k"), 2 * GRACE, HOUR), past(content("first", "k"), 2 * GRACE, since)];
            known(content("third", "k"), HOUR, &versions)
        };
        for app_token in ["first", "second", "third"] {
            assert!(replaced(GRACE - SECOND).has_app_token(app_token));
        }
        assert!(!replaced(GRACE).has_app_token("first"));
        assert!(replaced(GRACE).has_app_token("second"));
    }

    #[test]
    fn a_new_key_verifies_at_once_and_signs_when_every_function_has_it() {
        let old = |age| past(content("a", "o"), 3 * HOUR, age);
        let before = known(content("a", "o"), 3 * HOUR, &[]);
        let fresh = known(content("a", "n"), SECOND, &[old(SECOND)]);
        let after = known(content("a", "n"), KEY_PROPAGATION, &[old(KEY_PROPAGATION)]);
        for signed in [token(&before), token(&fresh), token(&after)] {
            assert!(fresh.verifies(&signed, Kind::Access, "i", NOW) && after.verifies(&signed, Kind::Access, "i", NOW));
        }
        assert!(before.verifies(&token(&fresh), Kind::Access, "i", NOW), "it need not have seen the new key");
        assert!(!before.verifies(&token(&after), Kind::Access, "i", NOW));
    }

    #[test]
    fn an_edit_soon_after_a_rotation_does_not_make_the_new_key_sign_early() {
        let before = known(content("a", "o"), 3 * HOUR, &[]);
        let versions = [past(content("a", "n"), 2 * SECOND, SECOND), past(content("a", "o"), 3 * HOUR, 2 * SECOND)];
        let edited = known(content("b", "n"), SECOND, &versions);
        assert!(before.verifies(&token(&edited), Kind::Access, "i", NOW));
    }

    #[test]
    fn not_before_revokes_older_versions_and_tokens() {
        let mut revoked = content("new", "n");
        revoked["not_before"] = (NOW - SECOND).secs().into();
        let (old, key) = (content("old", "o"), SigningKey::new(&"n".repeat(32).into()).unwrap());
        let known = known(revoked, Duration::ZERO, &[past(old, HOUR, Duration::ZERO)]);
        assert!(!known.has_app_token("old"));
        assert!(known.verifies(&token(&known), Kind::Access, "i", NOW), "the key of before does not sign any more");
        let issued = |at| key.issue("i", HOUR, at);
        for (at, verifies) in [(NOW - 2 * SECOND, false), (NOW - SECOND, true)] {
            let IssuedTokens { access_token, refresh_token } = issued(at);
            assert_eq!(known.verifies(access_token.expose_secret(), Kind::Access, "i", NOW), verifies);
            assert_eq!(known.verifies(refresh_token.expose_secret(), Kind::Refresh, "i", NOW), verifies);
        }
    }

    #[test]
    fn a_not_before_in_milliseconds_is_an_error_of_the_secret() {
        let mut wrong = content("a", "k");
        wrong["not_before"] = NOW.millis().into();
        assert_eq!(lacks(wrong), NOT_BEFORE);
    }

    #[test]
    fn all_three_parts_of_a_login_count() {
        let known = known(content("a", "k"), HOUR, &[]);
        assert!(known.logs_in("a", "u", "p"));
        for (app_token, username, password) in [("x", "u", "p"), ("a", "x", "p"), ("a", "u", "x"), ("", "", "")] {
            assert!(!known.logs_in(app_token, username, password));
        }
    }

    #[test]
    fn a_login_or_key_that_is_missing_blank_or_short_is_an_error_of_the_secret() {
        for (member, lack) in
            [("app_token", LOGIN), ("username", LOGIN), ("password", LOGIN), ("signing_key", SIGNING_KEY)]
        {
            for value in [Value::Null, "".into(), " ".into()] {
                let mut content = content("a", "k");
                content[member] = value;
                assert_eq!(lacks(content), lack, "{member}");
            }
        }
        assert_eq!(
            lacks(json!({ "app_token": "a", "username": "u", "password": "p", "signing_key": "short" })),
            SIGNING_KEY
        );
    }

    #[test]
    fn a_blank_login_or_key_of_another_version_matches_nothing() {
        let mut blank = content("", "k");
        blank["signing_key"] = "".into();
        let mut current = content("a", "k");
        current["superseded"] = json!([blank.clone()]);
        current["superseded"][0]["until"] = (NOW + HOUR).secs().into();
        let known = known(current, HOUR, &[past(blank, 2 * HOUR, HOUR)]);
        assert!(!known.has_app_token("") && !known.logs_in("", "u", "p"));
        assert_eq!(known.verify.len(), 1);
    }

    #[test]
    fn reads_the_two_headers() {
        let headers = |authorization: &str| {
            HeaderMap::from_iter([
                (http::HeaderName::from_static(APP_TOKEN), "a".parse().unwrap()),
                (AUTHORIZATION, authorization.parse().unwrap()),
            ])
        };
        assert_eq!(headers_of_caller(&headers("Bearer t")), Some(("a", "t")));
        assert_eq!(headers_of_caller(&headers("bearer  t")), Some(("a", "t")));
        assert_eq!(headers_of_caller(&headers("Basic t")), None);
        assert_eq!(headers_of_caller(&headers("Bearer")), None);
        assert_eq!(headers_of_caller(&HeaderMap::new()), None);
    }
}
