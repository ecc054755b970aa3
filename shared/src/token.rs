//! Access tokens that expire: when one is fresh, how a sender gets a live one, and the one way to refresh and store it.
//!
//! Where refresh tokens can be used once, using an old one again revokes the live one (RFC 9700 §4.14.2). So only
//! refresh-tokens uses them, one run at a time; everyone else logs in anew, which collides with nothing.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::clock::UnixTime;
use crate::http::{failure, never_sent, read_body, sensitive_header};
use crate::secrets::{Replaced, Secret, SecretContent, SecretError, Version};

/// A token that has less of its life left is refreshed: three runs of refresh-tokens (every 5 minutes) may then fail
/// before anyone notices.
const MARGIN: Duration = Duration::from_secs(15 * 60);

/// Tokens that live shorter than this are refreshed when a third of their life is left.
const SHORT_LIFE: Duration = Duration::from_secs(45 * 60);

/// A token with less life than this may expire on its way to the server.
const LAST_MOMENT: Duration = Duration::from_secs(30);

/// After a token that was just issued is refused as well, logging in is not the cure. Until this has passed, an execution
/// environment does not try it again, so that a refusing server is not stormed by log-ins.
const FUTILE_LOG_IN: Duration = Duration::from_secs(600);

/// A token endpoint checks a password, which is slow on purpose in places. Two grants must fit into one call.
const GRANT_TIMEOUT: Duration = Duration::from_secs(8);

/// A token answer has one or two kilobytes; JWTs make it several.
const ANSWER_LIMIT: usize = 64 * 1024;

/// OAuth lets a server leave `expires_in` out (RFC 6749 §5.1); both of ours document an hour.
const DEFAULT_LIFE: Duration = Duration::from_secs(3600);

/// An access token, and what renews it.
#[derive(Debug)]
pub struct Token {
    access_token: SecretString,
    refresh_token: Option<SecretString>,
    token_type: String,
    /// Unknown for a token that someone else has stored.
    issued_at: Option<UnixTime>,
    expires_at: UnixTime,
}

impl Token {
    /// Whether the token is good for a while yet.
    pub fn is_fresh(&self, now: UnixTime) -> bool {
        let life = self.issued_at.map(|issued_at| self.expires_at.since(issued_at));
        let margin = life.filter(|life| *life < SHORT_LIFE).map_or(MARGIN, |life| life / 3);
        self.left(now) > margin
    }

    /// How long the token still lives.
    pub fn left(&self, now: UnixTime) -> Duration {
        self.expires_at.since(now)
    }

    fn life(&self, now: UnixTime) -> Life {
        let whole = self.issued_at.map_or(DEFAULT_LIFE, |issued_at| self.expires_at.since(issued_at));
        Life { left: self.left(now), whole }
    }

    /// The value of an `Authorization` header; `None` if the token has characters that no header can carry.
    pub fn bearer(&self) -> Option<HeaderValue> {
        sensitive_header(&format!("Bearer {}", self.access_token.expose_secret()))
    }

    /// The form in which a secret keeps it; times in seconds.
    fn to_json(&self) -> SecretString {
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

/// What a token secret holds: a token, or `{}` before the first one.
#[derive(Debug)]
pub struct TokenContent(Option<Arc<Token>>);

impl SecretContent for TokenContent {
    const SHAPE: &'static str = r#"{"access_token","refresh_token","token_type","expires_at"} or {}"#;
}

impl<'de> Deserialize<'de> for TokenContent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            access_token: Option<SecretString>,
            refresh_token: Option<SecretString>,
            token_type: Option<String>,
            issued_at: Option<u64>,
            expires_at: Option<u64>,
        }
        let Fields { access_token, refresh_token, token_type, issued_at, expires_at } =
            Fields::deserialize(deserializer)?;
        Ok(Self(access_token.map(|access_token| {
            Arc::new(Token {
                access_token,
                refresh_token,
                token_type: token_type.unwrap_or_else(|| "bearer".to_owned()),
                issued_at: issued_at.map(UnixTime::from_secs),
                expires_at: UnixTime::from_secs(expires_at.unwrap_or(0)),
            })
        })))
    }
}

/// Why a token endpoint gave no token.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum GrantError {
    /// It was not asked, or asks for patience: the same request may be sent again later.
    #[error("the token endpoint is unavailable ({0})")]
    Unavailable(String),
    /// It may have issued a token that we did not get: a one-time refresh token may be used up.
    #[error("the token endpoint's answer got lost ({0})")]
    Lost(&'static str),
    /// It refused.
    #[error("the token endpoint refused (status {status}{})", error.as_ref().map(|error| format!(", {error}")).unwrap_or_default())]
    Refused {
        /// HTTP status.
        status: u16,
        /// OAuth's error code, e.g. `invalid_grant` (RFC 6749 §5.2).
        error: Option<String>,
    },
    /// What we are known by there cannot be read.
    #[error(transparent)]
    Credentials(#[from] SecretError),
}

/// Why there is no live token.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// The secret that keeps it failed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Its issuer gave none.
    #[error(transparent)]
    Grant(#[from] GrantError),
}

/// A token endpoint, and what we are known by there.
pub trait TokenIssuer {
    /// Asks for a token with user name and password or the like, read past what is kept of them.
    fn log_in(&self, now: UnixTime) -> impl Future<Output = Result<Token, GrantError>> + Send;

    /// Asks for a token with a refresh token.
    fn refresh(
        &self,
        refresh_token: &SecretString,
        now: UnixTime,
    ) -> impl Future<Output = Result<Token, GrantError>> + Send;
}

/// Sends a grant and reads the answer: fields at the top level or under `values` (Aisera writes both), `expires_in` as a
/// number or a string (8x8 writes a string).
pub async fn request_token(grant: RequestBuilder, now: UnixTime) -> Result<Token, GrantError> {
    let answer = grant.timeout(GRANT_TIMEOUT).send().await.map_err(|error| {
        if never_sent(&error) {
            GrantError::Unavailable(failure(&error).to_owned())
        } else {
            GrantError::Lost(failure(&error))
        }
    })?;
    let status = answer.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(GrantError::Unavailable("status 429".to_owned()));
    }
    if status.is_server_error() {
        return Err(GrantError::Lost("a server error"));
    }
    let body = read_body(answer, ANSWER_LIMIT).await.map_err(|_| GrantError::Lost("an answer that cannot be read"))?;
    if !status.is_success() {
        return Err(GrantError::Refused { status: status.as_u16(), error: oauth_error(&body) });
    }
    parse_token(&body, now).ok_or(GrantError::Lost("an answer without a token"))
}

fn parse_token(body: &[u8], now: UnixTime) -> Option<Token> {
    #[derive(Default, Deserialize)]
    struct Fields {
        access_token: Option<SecretString>,
        refresh_token: Option<SecretString>,
        token_type: Option<String>,
        expires_in: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Nested {
        values: Option<Fields>,
    }
    let outer: Fields = serde_json::from_slice(body).ok()?;
    let inner = serde_json::from_slice::<Nested>(body).ok()?.values.unwrap_or_default();
    let life = match outer.expires_in.or(inner.expires_in) {
        None | Some(Value::Null) => DEFAULT_LIFE,
        Some(Value::String(text)) => Duration::from_secs(text.trim().parse().ok()?),
        Some(other) => Duration::from_secs(other.as_u64()?),
    };
    Some(Token {
        access_token: outer.access_token.or(inner.access_token)?,
        refresh_token: outer.refresh_token.or(inner.refresh_token),
        token_type: outer.token_type.or(inner.token_type).unwrap_or_else(|| "bearer".to_owned()),
        issued_at: Some(now),
        expires_at: now + life,
    })
}

/// The error code, if the answer has one that looks like OAuth's. Its description is left out: it may repeat the request.
fn oauth_error(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let code = answer.get("error").or_else(|| answer.get("ErrorCode"))?.as_str()?;
    let is_code = code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_code.then(|| code.to_owned())
}

/// The life of a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Life {
    /// How long it still lives.
    pub left: Duration,
    /// How long it lives in all; an hour if that is not known.
    pub whole: Duration,
}

impl Life {
    /// What is left of the whole, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.left.is_zero() { 0.0 } else { self.left.as_secs_f64() / self.whole.max(self.left).as_secs_f64() }
    }
}

/// How a scheduled refresh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Nothing had to be done.
    Fresh(Life),
    /// There is a new token.
    Refreshed(Life),
}

/// A token that is kept in a secret and renewed at its issuer.
#[derive(Debug)]
pub struct KeptToken<I> {
    secret: Secret<TokenContent>,
    issuer: I,
    futile_log_in: Mutex<Option<UnixTime>>,
}

/// A token to send, and the version to replace with it if it is not stored yet.
struct Bearer {
    token: Arc<Token>,
    replaces: Option<Arc<Version<TokenContent>>>,
}

impl<I: TokenIssuer> KeptToken<I> {
    /// The token in `secret`, issued by `issuer`.
    pub fn new(secret: Secret<TokenContent>, issuer: I) -> Self {
        Self { secret, issuer, futile_log_in: Mutex::new(None) }
    }

    /// Who issues the token.
    pub fn issuer(&self) -> &I {
        &self.issuer
    }

    /// Reads the token while a function starts.
    pub async fn warm_up(&self, now: UnixTime) {
        self.secret.warm_up(now).await;
    }

    /// Sends what `send` makes with a live access token. If the answer `is_refusal`, the secret is read again past what
    /// is kept, and if it holds the same token, we log in anew; then `send` gets one more try. A new token is stored once
    /// it was not refused, so that an issuer whose tokens are no good costs no versions of the secret.
    ///
    /// The answer is that of the last try, a refusal or not. An error means that nothing was sent, or not again.
    pub async fn authorize<A, F: Future<Output = A>>(
        &self,
        now: UnixTime,
        send: impl Fn(Arc<Token>) -> F,
        is_refusal: impl Fn(&A) -> bool,
    ) -> Result<A, TokenError> {
        let bearer = self.current(now).await?;
        let answer = send(Arc::clone(&bearer.token)).await;
        if !is_refusal(&answer) {
            self.keep(bearer).await;
            return Ok(answer);
        }
        let Some(bearer) = self.after_refusal(bearer, now).await? else { return Ok(answer) };
        let answer = send(Arc::clone(&bearer.token)).await;
        if !is_refusal(&answer) {
            self.keep(bearer).await;
        } else if bearer.replaces.is_some() {
            *self.futile_log_in.lock().await = Some(now);
        }
        Ok(answer)
    }

    async fn current(&self, now: UnixTime) -> Result<Bearer, TokenError> {
        let alive = |version: &Version<TokenContent>| {
            version.content.0.as_ref().filter(|token| token.left(now) > LAST_MOMENT).map(Arc::clone)
        };
        if let Some(token) = alive(&*self.secret.get(now).await?) {
            return Ok(Bearer { token, replaces: None });
        }
        // What is kept has expired; what is stored may not have.
        let version = self.secret.read(now).await?;
        match alive(&version) {
            Some(token) => Ok(Bearer { token, replaces: None }),
            None => Ok(Bearer { token: Arc::new(self.issuer.log_in(now).await?), replaces: Some(version) }),
        }
    }

    async fn after_refusal(&self, refused: Bearer, now: UnixTime) -> Result<Option<Bearer>, TokenError> {
        if refused.replaces.is_some() {
            // Just issued, and refused.
            *self.futile_log_in.lock().await = Some(now);
            return Ok(None);
        }
        let version = self.secret.read(now).await?;
        let is_refused =
            |token: &Token| token.access_token.expose_secret() == refused.token.access_token.expose_secret();
        if let Some(token) = version.content.0.as_ref().filter(|token| !is_refused(token)) {
            return Ok(Some(Bearer { token: Arc::clone(token), replaces: None }));
        }
        if self.futile_log_in.lock().await.is_some_and(|then| now.since(then) < FUTILE_LOG_IN) {
            return Ok(None);
        }
        let token = Arc::new(self.issuer.log_in(now).await?);
        Ok(Some(Bearer { token, replaces: Some(version) }))
    }

    async fn keep(&self, bearer: Bearer) {
        let Some(version) = bearer.replaces else { return };
        *self.futile_log_in.lock().await = None;
        match self.secret.replace(&version, bearer.token.to_json()).await {
            Ok(Replaced::Stored | Replaced::Superseded) => {}
            // It has served its call; the next one logs in again.
            Err(error) => tracing::error!(%error, "a new access token could not be stored"),
        }
    }

    /// Logs in and stores the token, also if the stored one still lives: it may have been issued for former credentials.
    pub async fn log_in(&self, now: UnixTime) -> Result<(), TokenError> {
        let version = self.secret.read(now).await?;
        let token = self.issuer.log_in(now).await?;
        *self.futile_log_in.lock().await = None;
        Ok(self.store(&version, &token).await?)
    }

    /// Makes sure that the secret holds a fresh token, as refresh-tokens does every five minutes.
    pub async fn refresh(&self, now: UnixTime) -> Result<Refresh, TokenError> {
        let version = self.secret.read(now).await?;
        if let Some(life) = fresh_for(&version, now) {
            return Ok(Refresh::Fresh(life));
        }
        let refresh_token = version.content.0.as_ref().and_then(|token| token.refresh_token.as_ref());
        let token = match refresh_token {
            None => self.issuer.log_in(now).await?,
            Some(refresh_token) => match self.issuer.refresh(refresh_token, now).await {
                // A server that issues no new refresh token lets the old one live on (RFC 6749 §6).
                Ok(token) => {
                    Token { refresh_token: token.refresh_token.or_else(|| Some(refresh_token.clone())), ..token }
                }
                Err(error @ (GrantError::Unavailable(_) | GrantError::Credentials(_))) => return Err(error.into()),
                Err(error @ (GrantError::Lost(_) | GrantError::Refused { .. })) => {
                    // Used up, by us or by someone else. Never send it again: see what is stored now, or log in.
                    tracing::warn!(%error, "the refresh token was not taken");
                    if let Some(life) = fresh_for(&*self.secret.read(now).await?, now) {
                        return Ok(Refresh::Fresh(life));
                    }
                    self.issuer.log_in(now).await?
                }
            },
        };
        self.store(&version, &token).await?;
        Ok(Refresh::Refreshed(token.life(now)))
    }

    /// The life of the stored token; none if there is no token or it cannot be read.
    pub async fn life(&self, now: UnixTime) -> Life {
        let version = self.secret.get(now).await.ok();
        version.and_then(|version| Some(version.content.0.as_ref()?.life(now))).unwrap_or_default()
    }

    /// Stores hard: a refreshed token that is not stored has lost its refresh token.
    async fn store(&self, version: &Version<TokenContent>, token: &Token) -> Result<(), SecretError> {
        /// Milliseconds between tries. With the SDK's own tries that is up to 40 s, within the function's minute.
        const PAUSES: [u64; 4] = [500, 1000, 2000, 4000];

        for pause in PAUSES {
            match self.secret.replace(version, token.to_json()).await {
                // If someone else's token was stored first, theirs is as good.
                Ok(Replaced::Stored | Replaced::Superseded) => return Ok(()),
                Err(error) => tracing::warn!(%error, "a refreshed token is not stored yet"),
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.secret.replace(version, token.to_json()).await.map(drop)
    }
}

fn fresh_for(version: &Version<TokenContent>, now: UnixTime) -> Option<Life> {
    let token = version.content.0.as_ref()?;
    token.is_fresh(now).then(|| token.life(now))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn token_of(life: Duration) -> Token {
        Token {
            access_token: "a".into(),
            refresh_token: None,
            token_type: "bearer".to_owned(),
            issued_at: Some(NOW),
            expires_at: NOW + life,
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
    fn a_short_token_is_refreshed_when_a_third_of_its_life_is_left() {
        let token = token_of(minutes(30));
        assert!(token.is_fresh(NOW + minutes(19)));
        assert!(!token.is_fresh(NOW + minutes(20)));
    }

    #[test]
    fn a_token_of_unknown_life_is_taken_for_an_hour_long_one() {
        let token = Token { issued_at: None, ..token_of(minutes(16)) };
        assert!(token.is_fresh(NOW));
        assert!(!token.is_fresh(NOW + minutes(1)));
    }

    proptest! {
        #[test]
        fn once_a_token_is_stale_it_stays_so(life in 0..100_000_u64, early in 0..200_000_u64, later in 0..200_000_u64) {
            let token = token_of(Duration::from_secs(life));
            let (early, late) = (NOW + Duration::from_secs(early), NOW + Duration::from_secs(early + later));
            prop_assert!(token.is_fresh(early) || !token.is_fresh(late));
        }

        #[test]
        fn a_fresh_token_outlives_the_next_run_and_an_expired_one_is_never_fresh(life in 900..100_000_u64, age in 0..200_000_u64) {
            let token = token_of(Duration::from_secs(life));
            let now = NOW + Duration::from_secs(age);
            if token.is_fresh(now) {
                prop_assert!(token.left(now) > Duration::from_secs(300));
            }
            prop_assert!(age < life || !token.is_fresh(now));
        }

        #[test]
        fn what_is_stored_is_what_is_read(access in "\\PC+", refresh in proptest::option::of("\\PC+"), expires_at in 0..4_000_000_000_u64) {
            let token = Token {
                access_token: access.clone().into(),
                refresh_token: refresh.clone().map(SecretString::from),
                token_type: "bearer".to_owned(),
                issued_at: Some(NOW),
                expires_at: UnixTime::from_secs(expires_at),
            };
            let read: TokenContent = serde_json::from_str(token.to_json().expose_secret()).unwrap();
            let read = read.0.unwrap();
            prop_assert_eq!(read.access_token.expose_secret(), access);
            prop_assert_eq!(read.refresh_token.as_ref().map(|token| token.expose_secret().to_owned()), refresh);
            prop_assert_eq!(read.expires_at.secs(), expires_at);
        }
    }

    fn parsed(body: &str) -> Option<(String, Option<String>, u64)> {
        let token = parse_token(body.as_bytes(), NOW)?;
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        Some((text(&token.access_token), token.refresh_token.as_ref().map(text), token.left(NOW).as_secs()))
    }

    #[test]
    fn reads_aiseras_and_8x8s_answers() {
        let token =
            |access: &str, refresh: Option<&str>, life| Some((access.to_owned(), refresh.map(str::to_owned), life));
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
    fn an_answer_without_a_usable_token_is_none() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"access_token":1}"#,
            r#"{"access_token":"a","expires_in":"soon"}"#,
            r#"{"access_token":"a","expires_in":-1}"#,
        ] {
            assert_eq!(parsed(body), None, "{body}");
        }
    }

    #[test]
    fn shows_oauths_error_code_and_nothing_else() {
        assert_eq!(
            oauth_error(br#"{"error":"invalid_grant","error_description":"user acme"}"#).as_deref(),
            Some("invalid_grant")
        );
        assert_eq!(
            oauth_error(br#"{"ErrorCode":"invalid_request","Error":"Unsupported grant type : x"}"#).as_deref(),
            Some("invalid_request")
        );
        assert_eq!(oauth_error(br#"{"error":"password hunter2 is wrong"}"#), None);
        assert_eq!(oauth_error(b"<html>"), None);
    }

    #[test]
    fn debug_shows_no_token() {
        let token =
            Token { access_token: "hunter2".into(), refresh_token: Some("hunter3".into()), ..token_of(minutes(60)) };
        assert!(!format!("{token:?}").contains("hunter"));
    }
}
