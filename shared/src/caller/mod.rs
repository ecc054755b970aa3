//! Who calls us with an app token and a bearer token: 8x8's load balancer, or a bot.
//!
//! Nothing is looked up to check a caller: what callers are known by is in a secret that is kept in memory, and a bearer
//! token is signed by us. The secret changes, by rotation or by hand, and nobody is refused for it:
//!
//! - a token is good until it expires, whichever of our keys has signed it since;
//! - app token, user name and password are good for a day after others have replaced them ([`GRACE`]);
//! - what is not known is looked for in the secret as it is now before it is refused;
//! - a new key signs nothing before every function must have seen it (`SETTLED`).

mod content;
mod token;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

use crate::clock::UnixTime;
use crate::config::CallersConfig;
use crate::secrets::{KEPT_FOR, Kept, Secret, SecretError, SecretsManager};
pub use content::CallerContent;
use content::Login;
pub use token::{ACCESS_LIFE, IssuedTokens};
use token::{Kind, SigningKey};

/// How long app token, user name and password are good after others have replaced them: a day for the person who changes
/// the load balancer.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

/// How old a key must be before it signs: twice as long as a function keeps the secret in memory.
const SETTLED: Duration = Duration::from_secs(2 * KEPT_FOR.as_secs());

/// The secret is read again for the sake of an unknown caller at most this often.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Why a caller is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// App token, bearer token, user name or password are missing or wrong.
    #[error("the caller's credentials are missing or wrong")]
    Refused,
    /// We cannot know.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// Everyone who may call this integration.
#[derive(Debug)]
pub struct Callers {
    integration: String,
    secret: Secret<CallerContent>,
    known: Kept<Known>,
    looked_at: Mutex<UnixTime>,
}

/// What the secret says.
#[derive(Debug)]
struct Known {
    logins: Vec<LoginDigests>,
    signs: SigningKey,
    /// Keys that only verify.
    verify: Vec<SigningKey>,
}

/// App token, user name and password as digests: of one length, and so compared in the same time whatever they are.
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
            secret: secrets.secret(config.secret_id),
            known: Kept::default(),
            looked_at: Mutex::new(UnixTime::from_millis(0)),
        }
    }

    /// Reads the secret while a function starts. A failure is left to the first request.
    pub async fn warm_up(&self, now: UnixTime) {
        if !self.secret.is_on_loopback()
            && let Err(error) = self.known.get(now, self.read(now)).await
        {
            tracing::debug!(%error, "callers are not known at the start");
        }
    }

    /// Whether a request has one of the two headers by which callers are known.
    pub fn are_presented(headers: &HeaderMap) -> bool {
        headers.contains_key(APP_TOKEN) || headers.contains_key(AUTHORIZATION)
    }

    /// Checks a request's two headers: `x-app-token`, and `Authorization: Bearer` with a live access token of ours.
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

    /// Issues tokens for user name and password. Which of the three is wrong shows neither in the answer nor in its time.
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

    /// What `look` finds in what is known, or else in the secret as it is now.
    async fn find<T>(&self, now: UnixTime, look: impl Fn(&Known) -> Option<T>) -> Result<T, CallerError> {
        if let Some(found) = look(&*self.known.get(now, self.read(now)).await?) {
            return Ok(found);
        }
        if !self.may_look_again(now).await {
            return Err(CallerError::Refused);
        }
        look(&*self.known.renew(now, self.read(now)).await?).ok_or(CallerError::Refused)
    }

    async fn may_look_again(&self, now: UnixTime) -> bool {
        let mut looked_at = self.looked_at.lock().await;
        let may = now.since(*looked_at) >= BETWEEN_LOOKS;
        if may {
            *looked_at = now;
        }
        may
    }

    async fn read(&self, now: UnixTime) -> Result<Arc<Known>, SecretError> {
        let (current, previous) = tokio::try_join!(self.secret.read(now), self.secret.read_previous())?;
        let previous = previous.as_ref().map(|previous| &previous.content);
        let known = Known::new(&current.content, previous, now.since(current.written_at), now);
        known.map(Arc::new).ok_or_else(|| self.secret.malformed())
    }
}

impl Known {
    /// `None` as long as the secret has no login or no key: the first rotation fills in what is missing.
    fn new(current: &CallerContent, previous: Option<&CallerContent>, age: Duration, now: UnixTime) -> Option<Self> {
        let recent = previous.filter(|_| age < GRACE).and_then(CallerContent::login);
        let logins = std::iter::once(current.login()?).chain(recent).chain(current.superseded_logins(now));

        let current_key = SigningKey::new(current.signing_key.as_ref()?);
        let previous_key = previous.and_then(|previous| previous.signing_key.as_ref()).map(SigningKey::new);
        let (signs, other) = match previous_key {
            Some(previous_key) if age < SETTLED => (previous_key, Some(current_key)),
            other => (current_key, other),
        };
        let verify = other.into_iter().chain(current.superseded_keys(now).map(SigningKey::new)).collect();
        Some(Self { logins: logins.map(LoginDigests::of).collect(), signs, verify })
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
        std::iter::once(&self.signs).chain(&self.verify).any(|key| key.verifies(token, kind, integration, now))
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

/// App token and bearer token (RFC 6750 §2.1; the scheme's case does not matter, RFC 9110 §11.1).
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
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn content(app_token: &str, key: &str) -> CallerContent {
        let json = serde_json::json!({ "app_token": app_token, "username": "u", "password": "p", "signing_key": key });
        serde_json::from_value(json).unwrap()
    }

    fn known(current: &CallerContent, previous: Option<&CallerContent>, age: Duration) -> Known {
        Known::new(current, previous, age, NOW).unwrap()
    }

    #[test]
    fn a_replaced_app_token_is_good_for_a_day() {
        let (old, new) = (content("old", "k"), content("new", "k"));
        assert!(known(&new, Some(&old), GRACE - Duration::from_secs(1)).has_app_token("old"));
        assert!(!known(&new, Some(&old), GRACE).has_app_token("old"));
        assert!(known(&new, Some(&old), GRACE).has_app_token("new"));
    }

    #[test]
    fn a_new_key_verifies_at_once_and_signs_when_everyone_has_it() {
        let (old, new) = (content("a", "old-key"), content("a", "new-key"));
        let (before, after) = (known(&old, None, HOUR), known(&new, Some(&old), HOUR));
        let fresh = known(&new, Some(&old), Duration::from_secs(1));
        let token = |known: &Known| known.signs.issue("i", HOUR, NOW).access_token.expose_secret().to_owned();
        for signed in [token(&before), token(&fresh), token(&after)] {
            assert!(fresh.verifies(&signed, Kind::Access, "i", NOW) && after.verifies(&signed, Kind::Access, "i", NOW));
        }
        assert!(
            before.verifies(&token(&fresh), Kind::Access, "i", NOW),
            "who has not seen the new key is not asked to"
        );
        assert!(!before.verifies(&token(&after), Kind::Access, "i", NOW));
    }

    #[test]
    fn all_three_parts_of_a_login_count() {
        let known = known(&content("a", "k"), None, HOUR);
        assert!(known.logs_in("a", "u", "p"));
        for (app_token, username, password) in [("x", "u", "p"), ("a", "x", "p"), ("a", "u", "x"), ("", "", "")] {
            assert!(!known.logs_in(app_token, username, password));
        }
    }

    #[test]
    fn without_a_login_or_a_key_nobody_is_known() {
        let empty: CallerContent = serde_json::from_str(r#"{"username":"u","signing_key":"k"}"#).unwrap();
        assert!(Known::new(&empty, None, HOUR, NOW).is_none());
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
