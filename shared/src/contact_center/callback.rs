//! A request of 8x8's to our webhook, before and after it is proven to be genuine. [`CallbackVerifier::verify`] is the only
//! way to a [`Verified`] callback, and only that can be read as an event.

use bytes::Bytes;
use http::HeaderMap;
use lambda_http::{Body, Request};

use super::event::{Event, NotAnEvent};
use super::keys::PublicKeys;
use super::signature::{self, SignatureError};
use crate::caller::{CallerError, Callers, CallersConfig};
use crate::clock::UnixTime;
use crate::environment::{ConfigError, Environment};

/// A request as it came. Anyone may have sent it, so that nothing of it can be read but [`Self::is_handshake`].
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
            // No other kind exists but the empty one; the enumeration is open.
            Body::Empty | _ => Bytes::new(),
        };
        Self { headers: parts.headers, body }
    }
}

impl Callback {
    /// Whether this only asks if the webhook can be reached (`WEB_HOOK_VERIFY`). 8x8 does not document that it signs that
    /// event, and nothing follows from it: the only question that is answered about a callback without proof.
    pub fn is_handshake(&self) -> bool {
        Event::parse(&self.body).is_ok_and(|event| event.is_web_hook_verify())
    }
}

/// A callback that has proven all that is asked for.
pub struct Verified(Callback);

impl Verified {
    /// The event in the body.
    ///
    /// # Errors
    /// The body is not an event.
    pub fn event(&self) -> Result<Event, NotAnEvent> {
        Event::parse(&self.0.body)
    }

    /// All headers. Genuine are those that [`signature::verify`] names, where 8x8's signature is asked for.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The body as it came.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    /// The headers and the body as they came.
    pub fn into_parts(self) -> (HeaderMap, Bytes) {
        (self.0.headers, self.0.body)
    }
}

/// What a callback has proven. A credential that is wrong is an error instead.
pub enum Verification {
    /// All that is asked for.
    Complete(Verified),
    /// Not enough: a credential is missing.
    Missing(Callback),
}

/// Why a callback is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerificationError {
    /// Its signature is wrong, or cannot be checked.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its two headers are wrong, or cannot be checked.
    #[error(transparent)]
    Caller(#[from] CallerError),
}

impl VerificationError {
    /// Whether it proves nothing against the sender: a key or a secret is not available.
    fn is_unavailable(&self) -> bool {
        matches!(self, Self::Signature(SignatureError::KeyUnavailable(_)) | Self::Caller(CallerError::Secret(_)))
    }
}

/// What a callback has to prove.
#[derive(Debug)]
pub enum CallbackAuthentication {
    /// 8x8's signature.
    Signature,
    /// The two headers that a load balancer adds.
    Headers(CallersConfig),
    /// One of them.
    Either(CallersConfig),
    /// Both.
    Both(CallersConfig),
}

impl CallbackAuthentication {
    /// Reads `CALLBACK_AUTHENTICATION` (`signature` unless it is set), and who may call us, where headers count.
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

/// Checks what `CALLBACK_AUTHENTICATION` asks for: 8x8's signature, the two headers of a caller of ours, or both.
#[derive(Debug)]
pub enum CallbackVerifier {
    /// The signature.
    Signature(PublicKeys),
    /// The two headers that a load balancer adds.
    Headers(Callers),
    /// One of them.
    Either(PublicKeys, Callers),
    /// Both.
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
                // Wrong headers prove nothing; the signature may. What cannot be checked is not held against the sender.
                Err(of_headers) => match verify_signature(keys, &callback, now).await {
                    Ok(true) => true,
                    Ok(false) => return Err(of_headers),
                    Err(of_signature) => {
                        return Err(if of_headers.is_unavailable() { of_headers } else { of_signature });
                    }
                },
            },
            // The headers first: checking them needs no call. A wrong signature is an error also if the headers are missing.
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
