//! Used by refresh-tokens only: keeps the stored token fresh, with the refresh grant where possible.

use super::TokenError;
use super::endpoint::{GrantError, TokenEndpoint};
use super::store::{TokenContent, TokenStore};
use super::token::{Lifetime, Token};
use crate::clock::UnixTime;
use crate::secrets::Version;

/// How a scheduled refresh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// The stored token is still fresh.
    Fresh(Lifetime),
    /// A new token was stored.
    Refreshed(Lifetime),
}

/// Keeps the token in a store fresh.
#[derive(Debug)]
pub struct Refresher<E> {
    store: TokenStore,
    endpoint: E,
}

impl<E: TokenEndpoint> Refresher<E> {
    /// Refreshes the token in `store` at `endpoint`.
    pub fn new(store: TokenStore, endpoint: E) -> Self {
        Self { store, endpoint }
    }

    /// Makes sure that the store holds a fresh token, as refresh-tokens does every five minutes.
    ///
    /// # Errors
    /// The secret cannot be read or written, or the token endpoint gives no token.
    pub async fn refresh(&self, now: UnixTime) -> Result<Refresh, TokenError> {
        let version = self.store.read(now).await?;
        if let Some(lifetime) = fresh_for(&version, now) {
            return Ok(Refresh::Fresh(lifetime));
        }
        let refresh_token = version.content.token().and_then(|token| token.refresh_token());
        let token = match refresh_token {
            None => self.endpoint.credentials_grant(now).await?,
            Some(refresh_token) => match self.endpoint.refresh_grant(refresh_token, now).await {
                // If a server issues no new refresh token, the old one stays valid (RFC 6749 §6).
                Ok(token) => token.or_refresh_token(refresh_token),
                Err(error @ (GrantError::Unavailable(_) | GrantError::Credentials(_))) => return Err(error.into()),
                Err(error @ (GrantError::Lost(_) | GrantError::Refused { .. })) => {
                    // We or another process have used it up. It is not sent again: a newer token may be stored by now, or else
                    // we log in.
                    tracing::warn!(%error, "the refresh token was not accepted");
                    if let Some(lifetime) = fresh_for(&*self.store.read(now).await?, now) {
                        return Ok(Refresh::Fresh(lifetime));
                    }
                    self.endpoint.credentials_grant(now).await?
                }
            },
        };
        self.store.persist(&version, &token).await?;
        Ok(Refresh::Refreshed(token.lifetime(now)))
    }

    /// The lifetime of the stored token; zero if there is no token or it cannot be read.
    pub async fn lifetime(&self, now: UnixTime) -> Lifetime {
        let version = self.store.get(now).await.ok();
        version.and_then(|version| Some(version.content.token()?.lifetime(now))).unwrap_or_default()
    }
}

fn fresh_for(version: &Version<TokenContent>, now: UnixTime) -> Option<Lifetime> {
    let token: &Token = version.content.token()?;
    token.is_fresh(now).then(|| token.lifetime(now))
}
