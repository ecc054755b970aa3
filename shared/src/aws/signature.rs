//! Signature Version 4, made for the one call that every event waits for.
//!
//! The SDK's own signer derives the signing key anew for each request, hashes in portable code and signs headers that
//! nobody has to. This one keeps the key for the day that it is good for, hashes on aws-lc, and signs what AWS asks for
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>): 97,000 instructions of an
//! event instead of 241,000, of which SHA-256 had 162,000 where a processor has no instructions for it (callgrind).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4Signer};
use aws_sdk_sqs::config::Credentials;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::{AuthScheme, AuthSchemeEndpointConfig, AuthSchemeId, Sign};
use aws_smithy_runtime_api::client::identity::{Identity, SharedIdentityResolver};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::{GetIdentityResolver, RuntimeComponents};
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;
use http::HeaderValue;

use crate::digest::{hex, sha256_hex};

/// Signs the calls of one client, in the place of the SDK's signer.
///
/// It takes what AWS's JSON protocols send: a body that is in memory, to the root of an endpoint. Anything else is left to
/// the SDK's signer, and so is every repeat: that one corrects the clock by the answer to the attempt before.
#[derive(Debug)]
pub(crate) struct KeptKeySigner {
    region: String,
    service: &'static str,
    key: Mutex<Option<Arc<SigningKey>>>,
    sdk: SigV4Signer,
}

/// What is derived from a secret access key for one day, region and service.
#[derive(Debug)]
struct SigningKey {
    access_key_id: String,
    date: String,
    key: hmac::Key,
}

impl KeptKeySigner {
    /// For calls of a service, by the name that it has in signatures (`sqs`), in a region.
    pub(crate) fn new(region: String, service: &'static str) -> Self {
        Self { region, service, key: Mutex::default(), sdk: SigV4Signer::new() }
    }

    fn sign(
        &self,
        request: &mut HttpRequest,
        host: &str,
        credentials: &Credentials,
        now: SystemTime,
    ) -> Result<(), BoxError> {
        let time = DateTime::from_secs(DateTime::from(now).secs()).fmt(Format::DateTime)?.replace(['-', ':'], "");
        let (date, _) = time.split_once('T').ok_or("a time has a date")?;
        let headers = request.headers_mut();
        headers.try_insert("x-amz-date", time.clone())?;
        if let Some(token) = credentials.session_token() {
            let mut token = HeaderValue::from_str(token)?;
            token.set_sensitive(true);
            headers.try_insert("x-amz-security-token", token)?;
        }
        let (canonical_request, signed_headers) = canonical_request(request, host);
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(canonical_request.as_bytes()));
        let signature = hex(hmac::sign(&self.key(credentials, date).key, to_sign.as_bytes()).as_ref());
        let access_key_id = credentials.access_key_id();
        request.headers_mut().try_insert(
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, SignedHeaders={signed_headers}, Signature={signature}"
            ),
        )?;
        Ok(())
    }

    fn key(&self, credentials: &Credentials, date: &str) -> Arc<SigningKey> {
        let mut kept = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref().filter(|key| key.is_of(credentials, date)) {
            Some(key) => Arc::clone(key),
            None => {
                let derived = SigningKey::derive(credentials, date, &self.region, self.service);
                Arc::clone(kept.insert(Arc::new(derived)))
            }
        }
    }
}

impl SigningKey {
    fn derive(credentials: &Credentials, date: &str, region: &str, service: &str) -> Self {
        let secret = format!("AWS4{}", credentials.secret_access_key());
        let derived = [date, region, service, "aws4_request"]
            .iter()
            .fold(hmac::Key::new(HMAC_SHA256, secret.as_bytes()), |key, part| {
                hmac::Key::new(HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
            });
        Self { access_key_id: credentials.access_key_id().to_owned(), date: date.to_owned(), key: derived }
    }

    /// An access key id names one secret access key for ever.
    fn is_of(&self, credentials: &Credentials, date: &str) -> bool {
        self.access_key_id == credentials.access_key_id() && self.date == date
    }
}

impl Sign for KeptKeySigner {
    fn sign_http_request(
        &self,
        request: &mut HttpRequest,
        identity: &Identity,
        endpoint: AuthSchemeEndpointConfig<'_>,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        let is_repeat = config.load::<RequestAttempts>().is_some_and(|attempts| attempts.attempts() > 1);
        match (root_of_host(request.uri()), request.body().bytes(), identity.data::<Credentials>()) {
            (Some(host), Some(_), Some(credentials)) if !is_repeat => {
                let (host, now) = (host.to_owned(), components.time_source().unwrap_or_default().now());
                self.sign(request, &host, credentials, now)
            }
            _ => self.sdk.sign_http_request(request, identity, endpoint, components, config),
        }
    }
}

impl AuthScheme for KeptKeySigner {
    fn scheme_id(&self) -> AuthSchemeId {
        SCHEME_ID
    }

    fn identity_resolver(&self, resolvers: &dyn GetIdentityResolver) -> Option<SharedIdentityResolver> {
        resolvers.identity_resolver(SCHEME_ID)
    }

    fn signer(&self) -> &dyn Sign {
        self
    }
}

/// The `Host` of a request to the root of it; a default port is not part of that header.
fn root_of_host(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    let authority = rest.strip_suffix('/')?;
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let host = authority.strip_suffix(default_port).unwrap_or(authority);
    (!host.contains(['/', '?', '@'])).then_some(host)
}

/// The canonical form of a request, and the names of the headers that are in it: those that have to be.
fn canonical_request(request: &HttpRequest, host: &str) -> (String, String) {
    let headers = request.headers().iter();
    let mut headers: Vec<_> =
        headers.filter(|(name, _)| name.starts_with("x-amz-") || *name == "content-type").collect();
    headers.push(("host", host));
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    // With a session token of a kilobyte or so, which is by far the longest, in one piece.
    let mut canonical = String::with_capacity(2048);
    canonical.extend([request.method(), "\n/\n\n"]);
    for (name, value) in headers {
        canonical.extend([name, ":", value.trim(), "\n"]);
    }
    // What is not in memory does not come here.
    let body = request.body().bytes().unwrap_or_default();
    canonical.extend(["\n", &names, "\n", &sha256_hex(body)]);
    (canonical, names)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
    use aws_sigv4::sign::v4;
    use aws_smithy_types::body::SdkBody;
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 24 * 3600;

    /// The signature that AWS's own signer makes of the same headers.
    fn expected(request: &HttpRequest, host: &str, credentials: &Credentials, now: SystemTime) -> String {
        let identity = credentials.clone().into();
        let parameters = v4::SigningParams::builder().identity(&identity).region("eu-west-1").name("sqs").time(now);
        let parameters = parameters.settings(SigningSettings::default()).build().unwrap().into();
        let authorization = request.headers().get("authorization").unwrap();
        let (_, signed) = authorization.split_once("SignedHeaders=").unwrap();
        let signed: Vec<_> = signed.split_once(',').unwrap().0.split(';').collect();
        let headers = request.headers().iter().filter(|(name, _)| signed.contains(name));
        let uri = format!("http://{host}/");
        let body = SignableBody::Bytes(request.body().bytes().unwrap());
        let signable = SignableRequest::new(request.method(), uri, headers, body).unwrap();
        aws_sigv4::http_request::sign(signable, &parameters).unwrap().signature().to_owned()
    }

    fn request(uri: &str, headers: &BTreeMap<String, String>, body: Vec<u8>) -> HttpRequest {
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").unwrap();
        request.set_uri(uri.to_owned()).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        request
    }

    proptest! {
        /// One signer for all, so that a key that is kept too long, or for another's credentials, shows.
        #[test]
        fn signs_as_awss_own_signer_does(
            calls in proptest::collection::vec(
                (
                    0..3 * DAY,
                    0..3_u8,
                    proptest::option::of("[!-~]{1,1200}"),
                    proptest::collection::btree_map("(x-amz-|x-other-)[a-z-]{1,12}", " ?[!-~]{1,40}( [!-~]{1,9})?", 0..5),
                    any::<Vec<u8>>(),
                ),
                1..8,
            )
        ) {
            let signer = KeptKeySigner::new("eu-west-1".to_owned(), "sqs");
            for (seconds, key, token, mut headers, body) in calls {
                let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_795_305_600_000 + seconds * 1000 + 7);
                let credentials = Credentials::new(format!("AKIA{key}"), format!("secret {key}"), token, None, "test");
                headers.insert("content-type".to_owned(), "application/x-amz-json-1.0".to_owned());
                let mut request = request("http://127.0.0.1:4566/", &headers, body);
                signer.sign(&mut request, "127.0.0.1:4566", &credentials, now).unwrap();
                let authorization = request.headers().get("authorization").unwrap().to_owned();
                let (_, signature) = authorization.split_once("Signature=").unwrap();
                prop_assert_eq!(signature, expected(&request, "127.0.0.1:4566", &credentials, now));
            }
        }
    }

    #[test]
    fn the_host_is_that_of_the_header() {
        assert_eq!(root_of_host("https://sqs.eu-west-1.amazonaws.com/"), Some("sqs.eu-west-1.amazonaws.com"));
        assert_eq!(root_of_host("https://localhost:443/"), Some("localhost"));
        assert_eq!(root_of_host("http://localhost:80/"), Some("localhost"));
        assert_eq!(root_of_host("https://localhost:80/"), Some("localhost:80"));
        assert_eq!(root_of_host("http://[::1]:4566/"), Some("[::1]:4566"));
        for other in
            ["https://host", "https://host/path/", "https://host/?query", "https://host/path", "/", "https://a@host/"]
        {
            assert_eq!(root_of_host(other), None, "{other}");
        }
    }
}
