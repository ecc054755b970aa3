//! Who sent a request? 8x8, by its signature; a caller of ours, by two headers; or both, as `CALLBACK_AUTHENTICATION` asks.

use http::HeaderMap;
use shared::caller::{Callers, CallersConfig};
use shared::clock::UnixTime;
use shared::contact_center::keys::PublicKeys;
use shared::contact_center::signature;
use shared::environment::{ConfigError, Environment};

use crate::answer::Refusal;

/// How an event proves that it is 8x8's.
#[derive(Debug)]
pub(crate) enum CallbackAuthentication {
    /// By 8x8's own signature.
    Signature,
    /// By the two headers that a load balancer of 8x8's adds.
    Headers(CallersConfig),
    /// By one of them.
    Either(CallersConfig),
    /// By both.
    Both(CallersConfig),
}

impl CallbackAuthentication {
    /// Reads `CALLBACK_AUTHENTICATION` (`signature` unless it is set), and those who may call us, where headers count.
    ///
    /// # Errors
    /// A variable is missing or malformed.
    pub(crate) fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let name = "CALLBACK_AUTHENTICATION";
        let callers = || CallersConfig::from_environment(environment);
        match environment.optional(name).as_deref() {
            None | Some("signature") => Ok(Self::Signature),
            Some("headers") => callers().map(Self::Headers),
            Some("either") => callers().map(Self::Either),
            Some("both") => callers().map(Self::Both),
            Some(_) => Err(ConfigError::Malformed { name, expected: "signature, headers, either or both" }),
        }
    }
}

/// What has to be proven.
#[derive(Debug)]
pub(crate) enum Authentication {
    Signature(PublicKeys),
    Headers(Callers),
    Either(PublicKeys, Callers),
    Both(PublicKeys, Callers),
}

/// What a request proves. A credential that is wrong is a refusal, and no proof at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// All that is asked for.
    Complete,
    /// Not enough: something is missing.
    Incomplete,
}

impl Authentication {
    /// Opens the connections that the first proof will need.
    pub(crate) async fn warm_up(&self, now: UnixTime) {
        match self {
            Self::Signature(keys) => keys.warm_up().await,
            Self::Headers(callers) => callers.warm_up(now).await,
            Self::Either(keys, callers) | Self::Both(keys, callers) => {
                tokio::join!(keys.warm_up(), callers.warm_up(now));
            }
        }
    }

    pub(crate) async fn prove(&self, headers: &HeaderMap, body: &[u8], now: UnixTime) -> Result<Proof, Refusal> {
        match self {
            Self::Signature(keys) => prove_signature(keys, headers, body, now).await,
            Self::Headers(callers) => prove_headers(callers, headers, now).await,
            Self::Either(keys, callers) => match prove_headers(callers, headers, now).await {
                Ok(Proof::Complete) => Ok(Proof::Complete),
                Ok(Proof::Incomplete) => prove_signature(keys, headers, body, now).await,
                // The headers prove nothing; the signature may. What cannot be known is not held against the sender.
                Err(of_headers) => match prove_signature(keys, headers, body, now).await {
                    Ok(Proof::Complete) => Ok(Proof::Complete),
                    Ok(Proof::Incomplete) => Err(of_headers),
                    Err(of_signature) => Err(if of_headers.is_ours() { of_headers } else { of_signature }),
                },
            },
            // The headers first: they cost no call.
            Self::Both(keys, callers) => {
                let of_headers = prove_headers(callers, headers, now).await?;
                let of_signature = prove_signature(keys, headers, body, now).await?;
                Ok(if of_headers == Proof::Complete { of_signature } else { Proof::Incomplete })
            }
        }
    }
}

async fn prove_signature(keys: &PublicKeys, headers: &HeaderMap, body: &[u8], now: UnixTime) -> Result<Proof, Refusal> {
    if !signature::is_present(headers) {
        return Ok(Proof::Incomplete);
    }
    signature::verify(keys, headers, body, now).await?;
    Ok(Proof::Complete)
}

async fn prove_headers(callers: &Callers, headers: &HeaderMap, now: UnixTime) -> Result<Proof, Refusal> {
    if !Callers::are_presented(headers) {
        return Ok(Proof::Incomplete);
    }
    callers.check(headers, now).await?;
    Ok(Proof::Complete)
}
