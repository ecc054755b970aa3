//! A request of 8x8 to our webhook, before and after it is verified. [`CallbackVerifier::verify`] is the only way to get a
//! [`Verified`] callback, and only a verified callback can be read as an event.

use bytes::Bytes;
use http::HeaderMap;
use lambda_http::{Body, Request};

use super::event::{Event, NotAnEvent};
use super::keys::PublicKeys;
use super::signature::{self, SignatureError};
use crate::caller::{CallerError, Callers, CallersConfig};
use crate::clock::UnixTime;
use crate::environment::{ConfigError, Environment};

/// A request as it was received. Anyone may have sent it, so only [`Self::is_handshake`] can be read from it.
pub struct Callback {
    headers: HeaderMap,
    body: Bytes,
}

/// The headers and the body are moved.
impl From<Request> for Callback {
    fn from(request: Request) -> Self {
        let (parts, body) = request.into_parts();
        let body = match body {
            Body::Text(text) => text.into(),
            Body::Binary(bytes) => bytes.into(),
            // The only other kind is the empty body; the enumeration is non-exhaustive.
            Body::Empty | _ => Bytes::new(),
        };
        Self { headers: parts.headers, body }
    }
}

impl Callback {
    /// Whether the request only checks that the webhook can be reached (`WEB_HOOK_VERIFY`). 8x8 does not document that it signs
    /// this event, and the event has no effect. This is the only thing that is read from an unverified callback.
    pub fn is_handshake(&self) -> bool {
        Event::parse(&self.body).is_ok_and(|event| event.is_web_hook_verify())
    }
}

/// A callback that has passed all configured checks.
pub struct Verified(Callback);

impl Verified {
    /// The event in the body.
    ///
    /// # Errors
    /// The body is not an event.
    pub fn event(&self) -> Result<Event, NotAnEvent> {
        Event::parse(&self.0.body)
    }

    /// All headers. Where 8x8's signature is checked, the headers that [`signature::verify`] names are genuine.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The body as it was received.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The headers and the body as they were received.
    pub fn into_parts(self) -> (HeaderMap, Bytes) {
        (self.0.headers, self.0.body)
    }
}

/// The result of a verification. A wrong credential is an error instead.
pub enum Verification {
    /// The callback has passed all configured checks.
    Complete(Verified),
    /// A credential is missing.
    Missing(Callback),
}

/// Why a callback is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerificationError {
    /// The signature is wrong, or cannot be checked.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The two headers are wrong, or cannot be checked.
    #[error(transparent)]
    Caller(#[from] CallerError),
}

impl VerificationError {
    /// Whether the error says nothing about the sender: a key or a secret is not available.
    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Signature(SignatureError::KeyUnavailable(_)) | Self::Caller(CallerError::Secret(_)))
    }
}

/// The credentials that a callback must have.
#[derive(Debug)]
pub enum CallbackAuthentication {
    /// 8x8's signature.
    Signature,
    /// The two headers that a load balancer adds.
    Headers(CallersConfig),
    /// The signature or the two headers.
    Either(CallersConfig),
    /// The signature and the two headers.
    Both(CallersConfig),
}

impl CallbackAuthentication {
    /// Reads `CALLBACK_AUTHENTICATION` (`signature` unless it is set), and the configuration of callers where headers are
    /// checked.
    ///
    /// # Errors
    /// A variable is missing or malformed.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
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

/// Checks what `CALLBACK_AUTHENTICATION` requires: 8x8's signature, the two headers of one of our callers, one of these, or
/// both.
#[derive(Debug)]
pub enum CallbackVerifier {
    /// The signature.
    Signature(PublicKeys),
    /// The two headers that a load balancer adds.
    Headers(Callers),
    /// One of them is enough.
    Either(PublicKeys, Callers),
    /// Both are required.
    Both(PublicKeys, Callers),
}

impl CallbackVerifier {
    /// Opens the connections that the first check will need.
    pub async fn warm_up(&self, now: UnixTime) {
        match self {
            Self::Signature(keys) => keys.warm_up().await,
            Self::Headers(callers) => callers.warm_up(now).await,
            Self::Either(keys, callers) | Self::Both(keys, callers) => {
                tokio::join!(keys.warm_up(), callers.warm_up(now));
            }
        }
    }

    /// Verifies a callback.
    ///
    /// # Errors
    /// A credential is wrong, or cannot be checked.
    pub async fn verify(&self, callback: Callback, now: UnixTime) -> Result<Verification, VerificationError> {
        let is_verified = match self {
            Self::Signature(keys) => verify_signature(keys, &callback, now).await?,
            Self::Headers(callers) => verify_headers(callers, &callback, now).await?,
            Self::Either(keys, callers) => match verify_headers(callers, &callback, now).await {
                Ok(true) => true,
                Ok(false) => verify_signature(keys, &callback, now).await?,
                // Wrong headers are no proof, but the signature may be one. If one of the two cannot be checked, the sender is
                // not rejected.
                Err(of_headers) => match verify_signature(keys, &callback, now).await {
                    Ok(true) => true,
                    Ok(false) => return Err(of_headers),
                    Err(of_signature) => {
                        return Err(if of_headers.is_unavailable() { of_headers } else { of_signature });
                    }
                },
            },
            // The headers are checked first: this needs no call. A wrong signature is an error even if the headers are missing.
            Self::Both(keys, callers) => {
                let has_headers = verify_headers(callers, &callback, now).await?;
                verify_signature(keys, &callback, now).await? && has_headers
            }
        };
        Ok(if is_verified { Verification::Complete(Verified(callback)) } else { Verification::Missing(callback) })
    }
}

/// Whether the callback is signed; an error if the signature is wrong.
async fn verify_signature(keys: &PublicKeys, callback: &Callback, now: UnixTime) -> Result<bool, VerificationError> {
    let is_signed = signature::is_present(&callback.headers);
    if is_signed {
        signature::verify(keys, &callback.headers, &callback.body, now).await?;
    }
    Ok(is_signed)
}

/// Whether the callback has a caller's headers; an error if they are wrong.
async fn verify_headers(callers: &Callers, callback: &Callback, now: UnixTime) -> Result<bool, VerificationError> {
    let has_headers = Callers::are_presented(&callback.headers);
    if has_headers {
        callers.check(&callback.headers, now).await?;
    }
    Ok(has_headers)
}
