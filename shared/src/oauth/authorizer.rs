//! Used by senders: sends requests with a valid token, and logs in if there is none.
//!
//! | the response of the server is | the token |
//! |---|---|
//! | anything but a refusal | stays; a new token is kept in memory, and stored |
//! | a refusal | is read from the store again; if the store holds the same token, we log in and send once more |
//! | a refusal of a new token | is dropped, and the same sender does not log in again for ten minutes |
//!
//! If a new token is refused, the reason is the request or the server. After this happened to two different senders, no sender
//! logs in until the server accepts a token again or the ten minutes are over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::TokenError;
use super::endpoint::{GrantError, TokenEndpoint};
use super::store::{TokenContent, TokenStore};
use super::token::Token;
use crate::clock::UnixTime;
use crate::secrets::Version;

/// After a new token is refused, another log-in does not help. Ten minutes keep us from flooding a server that refuses
/// everything with log-ins, and end well before a person has read the alarm.
const LOGIN_BACKOFF: Duration = Duration::from_secs(600);

/// The shortest time between two log-ins of a process, whatever lifetime the tokens have. Some servers check a password slowly
/// on purpose; six checks a minute are no load.
const MIN_LOGIN_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest time between two writes of the secret. Secrets Manager sustains one PutSecretValue in ten minutes.
/// <https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html>
const MIN_STORE_INTERVAL: Duration = Duration::from_secs(600);

/// How long storing a token may delay what follows the request that the token was for.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends requests with the token in a store, and logs in at an endpoint.
#[derive(Debug)]
pub struct Authorizer<E> {
    store: TokenStore,
    endpoint: E,
    state: Mutex<State>,
    /// Held during a log-in, so that requests that are refused at the same time share one log-in.
    login: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The token of the last log-in, as long as it is better than the stored one.
    issued: Option<Issued>,
    logged_in_at: Option<UnixTime>,
    /// The last try to store a token, successful or not.
    stored_at: Option<UnixTime>,
    futile: Option<FutileLogin>,
}

#[derive(Debug, Clone)]
struct Issued {
    token: Arc<Token>,
    /// The stored version at the time of the log-in.
    replaces: Arc<Version<TokenContent>>,
    at: UnixTime,
    is_accepted: bool,
}

/// A log-in whose token was refused.
#[derive(Debug)]
struct FutileLogin {
    subject: String,
    at: UnixTime,
    /// Whether this was the second such log-in, for a different subject, and no token has been accepted since.
    is_general: bool,
}

impl Issued {
    /// A token is used for [`MIN_LOGIN_INTERVAL`] even if its lifetime is shorter: the server decides whether it is valid.
    fn is_usable(&self, now: UnixTime) -> bool {
        self.token.is_alive(now) || now.since(self.at) < MIN_LOGIN_INTERVAL
    }

    /// Whether `stored` still holds what it held at the time of the log-in.
    fn replaces(&self, stored: &Version<TokenContent>) -> bool {
        match (self.replaces.content.token(), stored.content.token()) {
            (Some(before), Some(stored)) => before.is_same(stored),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

impl<E: TokenEndpoint> Authorizer<E> {
    /// Uses the token in `store`, and logs in at `endpoint`.
    pub fn new(store: TokenStore, endpoint: E) -> Self {
        Self { store, endpoint, state: Mutex::default(), login: tokio::sync::Mutex::default() }
    }

    /// Reads the token while a function starts.
    pub async fn warm_up(&self, now: UnixTime) {
        self.store.warm_up(now).await;
    }

    /// Sends the request that `send` makes, with a valid token. If the response `is_refusal`, `send` gets one more try with the
    /// stored token or the token of a new log-in. `subject` names what is sent: if a log-in does not help it, no log-in is
    /// repeated for it.
    ///
    /// Returns the response of the last try, whether it is a refusal or not. A new token that was accepted is stored by
    /// [`Self::store`].
    ///
    /// # Errors
    /// There is no token. The request was not sent, or not sent again.
    pub async fn authorize<R, F: Future<Output = R>>(
        &self,
        subject: &str,
        now: UnixTime,
        send: impl Fn(Arc<Token>) -> F,
        is_refusal: impl Fn(&R) -> bool,
    ) -> Result<R, TokenError> {
        let token = self.current(now).await?;
        let response = send(Arc::clone(&token)).await;
        if !is_refusal(&response) {
            self.state().accepted(&token, subject);
            return Ok(response);
        }
        let Some(token) = self.after_refusal(&token, subject, now).await? else { return Ok(response) };
        let response = send(Arc::clone(&token)).await;
        match is_refusal(&response) {
            false => self.state().accepted(&token, subject),
            true => self.state().refused(&token, subject, now),
        }
        Ok(response)
    }

    /// Stores the token of the last log-in after the token has been accepted, so that unusable tokens create no versions of the
    /// secret. A token with a lifetime shorter than `MIN_STORE_INTERVAL` is not stored: it is of no use to others.
    pub async fn store(&self, now: UnixTime) {
        let issued = {
            let mut state = self.state();
            let is_due = state.stored_at.is_none_or(|at| now.since(at) >= MIN_STORE_INTERVAL);
            let is_worth_it =
                |issued: &&Issued| is_due && issued.is_accepted && issued.token.total() >= MIN_STORE_INTERVAL;
            let Some(issued) = state.issued.as_ref().filter(is_worth_it).cloned() else { return };
            state.stored_at = Some(now);
            issued
        };
        let error = match tokio::time::timeout(STORE_TIMEOUT, self.store.replace(&issued.replaces, &issued.token)).await
        {
            Ok(Ok(())) => return self.state().forget(&issued.token),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no response in time".to_owned(),
        };
        tracing::error!(error, "a new access token cannot be stored; this process uses it from memory");
    }

    /// Logs in and stores the token, even if the stored token is valid: it may have been issued for former credentials.
    ///
    /// # Errors
    /// The secret cannot be read or written, or the token endpoint gives no token.
    pub async fn renew(&self, now: UnixTime) -> Result<(), TokenError> {
        let version = self.store.read(now).await?;
        let token = self.endpoint.credentials_grant(now).await?;
        *self.state() = State::default();
        Ok(self.store.persist(&version, &token).await?)
    }

    async fn current(&self, now: UnixTime) -> Result<Arc<Token>, TokenError> {
        let stored = self.store.get(now).await;
        if let Some(token) = self.state().current(stored.as_deref().ok(), now) {
            return Ok(token);
        }
        stored?;
        let _login = self.login.lock().await;
        // The cached token has expired. The stored token, or one that was issued while we waited, may still be valid.
        let stored = self.store.read(now).await?;
        if let Some(token) = self.state().current(Some(&stored), now) {
            return Ok(token);
        }
        if self.state().is_too_soon(now) {
            let reason = "the token of a log-in a few seconds ago was refused";
            return Err(GrantError::Unavailable(reason.to_owned()).into());
        }
        self.log_in(stored, now).await
    }

    async fn after_refusal(
        &self,
        refused: &Token,
        subject: &str,
        now: UnixTime,
    ) -> Result<Option<Arc<Token>>, TokenError> {
        self.state().refused(refused, subject, now);
        let _login = self.login.lock().await;
        // The token was issued for another request while we waited.
        if let Some(token) = self.state().issued(now).filter(|token| !token.is_same(refused)) {
            return Ok(Some(token));
        }
        let stored = self.store.read(now).await?;
        if let Some(token) = self.state().current(Some(&stored), now).filter(|token| !token.is_same(refused)) {
            return Ok(Some(token));
        }
        if !self.state().may_log_in(subject, now) {
            return Ok(None);
        }
        self.log_in(stored, now).await.map(Some)
    }

    async fn log_in(&self, replaces: Arc<Version<TokenContent>>, now: UnixTime) -> Result<Arc<Token>, TokenError> {
        let token = Arc::new(self.endpoint.credentials_grant(now).await?);
        let mut state = self.state();
        state.logged_in_at = Some(now);
        state.issued = Some(Issued { token: Arc::clone(&token), replaces, at: now, is_accepted: false });
        Ok(token)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete on its own.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The token of the last log-in.
    fn issued(&self, now: UnixTime) -> Option<Arc<Token>> {
        self.issued.as_ref().filter(|issued| issued.is_usable(now)).map(|issued| Arc::clone(&issued.token))
    }

    /// The token of the last log-in, unless another has been stored since; else the stored one.
    fn current(&mut self, stored: Option<&Version<TokenContent>>, now: UnixTime) -> Option<Arc<Token>> {
        let alive = stored.and_then(|stored| stored.content.token()).filter(|token| token.is_alive(now));
        let issued = self.issued.as_ref().filter(|issued| issued.is_usable(now));
        match (issued, stored, alive) {
            (Some(issued), Some(stored), Some(alive)) if !issued.replaces(stored) => {
                let alive = Arc::clone(alive);
                self.issued = None;
                Some(alive)
            }
            (Some(issued), ..) => Some(Arc::clone(&issued.token)),
            (None, _, alive) => alive.map(Arc::clone),
        }
    }

    fn is_too_soon(&self, now: UnixTime) -> bool {
        self.logged_in_at.is_some_and(|at| now.since(at) < MIN_LOGIN_INTERVAL)
    }

    fn may_log_in(&self, subject: &str, now: UnixTime) -> bool {
        let is_futile = self.futile.as_ref().is_some_and(|futile| {
            now.since(futile.at) < LOGIN_BACKOFF && (futile.is_general || futile.subject == subject)
        });
        !is_futile && !self.is_too_soon(now)
    }

    fn accepted(&mut self, token: &Token, subject: &str) {
        if let Some(issued) = self.issued.as_mut().filter(|issued| issued.token.is_same(token)) {
            issued.is_accepted = true;
            self.futile = self.futile.take().filter(|futile| futile.subject != subject);
        }
        if let Some(futile) = &mut self.futile {
            futile.is_general = false;
        }
    }

    /// Drops a new token that is refused. A token that was accepted before is left to [`Self::current`].
    fn refused(&mut self, token: &Token, subject: &str, now: UnixTime) {
        let Some(issued) = self.issued.as_ref().filter(|issued| issued.token.is_same(token)) else { return };
        if issued.is_accepted {
            return;
        }
        self.issued = None;
        let is_general = self.futile.as_ref().is_some_and(|futile| {
            now.since(futile.at) < LOGIN_BACKOFF && (futile.is_general || futile.subject != subject)
        });
        self.futile = Some(FutileLogin { subject: subject.to_owned(), at: now, is_general });
    }

    fn forget(&mut self, token: &Token) {
        self.issued = self.issued.take().filter(|issued| !issued.token.is_same(token));
    }
}
