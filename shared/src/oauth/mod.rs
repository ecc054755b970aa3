//! OAuth 2.0 as a client: access tokens that expire, and how they are renewed and shared.
//!
//! | file | owns |
//! |---|---|
//! | `token` | a token: how it is read from a response, and how long it lives |
//! | `endpoint` | a token endpoint: what a grant is on the wire |
//! | `store` | the secret that a token is shared in |
//! | `authorizer` | what senders use: requests with a token that is alive |
//! | `refresher` | what refresh-tokens alone uses: the refresh grant |
//!
//! If a refresh token is valid for one use, a second use revokes the token that is in use (RFC 9700 §4.14.2). Therefore only
//! refresh-tokens uses refresh tokens, one run at a time. Senders log in with their credentials, which causes no conflict.

mod authorizer;
mod endpoint;
mod refresher;
mod store;
mod token;

use crate::secrets::SecretError;

pub use authorizer::Authorizer;
pub use endpoint::{GrantError, TokenEndpoint, request_token};
pub use refresher::{Refresh, Refresher};
pub use store::{TokenContent, TokenStore};
pub use token::{Lifetime, Token};

/// Why there is no token to send.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// The secret that holds the token cannot be read or written.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The token endpoint issued no token.
    #[error(transparent)]
    Grant(#[from] GrantError),
}
