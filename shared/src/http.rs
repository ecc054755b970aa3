//! The HTTP client for 8x8 and for tokens, and the TLS and the limits of every connection. The connections to AWS
//! ([`crate::aws::Transport`]) and those on which events are posted ([`crate::bot_platform`]) use the same TLS and limits.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::redirect;

use crate::clock::UnixTime;

/// Setting up a connection takes one round trip for TCP and one or two for TLS; three seconds allow for one lost packet
/// (TCP re-sends a SYN after one second) and for a vCPU of a 128 MB function.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A frozen function does not respond to keep-alive probes. A connection that the peer has closed meanwhile makes a request
/// fail. Peers keep idle connections for 60 s (an AWS load balancer's default) or more; 20 s stay well below that.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a start may wait for a connection. Init may take 10 s in all. A peer that does not respond within two seconds will
/// not respond faster later.
pub(crate) const WARM_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// The TLS set-up failed: none of the compiled-in cipher suites can be used.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be built ({0})")]
pub struct ClientError(String);

/// TLS 1.2 and 1.3 on aws-lc with Mozilla's roots.
pub(crate) fn tls() -> Result<rustls::ClientConfig, ClientError> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError(error.to_string()))?;
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

/// The largest number of headers in a response. With hyper's default of 100, a response whose status says that the call was
/// carried out may fail. No server is known to send a tenth of this.
const MAX_HEADERS: usize = 1024;

/// Our name in `User-Agent`.
pub(crate) const PRODUCT: &str = concat!("8x8-live-agent-bridge/", env!("CARGO_PKG_VERSION"));

/// Opens the connections of hyper's own client: HTTP/1.1; without TLS for an endpoint on this machine.
pub(crate) fn connector() -> Result<HttpsConnector<HttpConnector>, ClientError> {
    let mut tcp = HttpConnector::new();
    // TLS is added on top.
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    // Calls and events are small: send each write at once instead of waiting for more to fill a packet.
    tcp.set_nodelay(true);
    let https = HttpsConnectorBuilder::new().with_tls_config(tls()?).https_or_http().enable_http1();
    Ok(https.wrap_connector(tcp))
}

/// Builds the client: TLS 1.2 and 1.3 with Mozilla's roots, HTTP/1.1, no redirects, no proxy, no cookies.
///
/// Redirects are off because a callback or a token request must reach the configured host or no host. Each call sets its own
/// time-out, because the reason for its length is known there.
#[tracing::instrument(level = "debug", name = "TLS")]
pub fn client() -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls()?)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        // Responses and events are small: send each write at once instead of waiting for more to fill a packet.
        .tcp_nodelay(true)
        .http1_max_headers(MAX_HEADERS)
        // Compression costs more than a small body saves. If a peer compresses a response anyway, it is decompressed (`gzip`).
        .default_headers(HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
        .gzip(true)
        .user_agent(PRODUCT)
        .build()
        .map_err(|error| ClientError(error.to_string()))
}

/// Opens a connection to `url` while a function starts, when Lambda gives it a whole vCPU: the TLS handshake for the first
/// event is then already done. HEAD has no effect at any server. The response is ignored. A failure is ignored too: the first
/// real call reports it.
#[tracing::instrument(level = "debug", name = "connection", skip_all)]
pub async fn warm_up(client: &reqwest::Client, url: url::Url) {
    if let Err(error) = client.head(url).timeout(WARM_UP_TIMEOUT).send().await {
        tracing::debug!(reason = failure(&error), "no connection at the start");
    }
}

/// A header that is not shown in logs; `None` if `text` has characters that no header can carry.
pub fn sensitive_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Why a call got no response, in words that hold no address, header or body.
pub fn failure(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no response in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_builder() {
        "the request cannot be built"
    } else {
        "the connection was lost"
    }
}

/// Whether a request whose sending failed with `error` has certainly not reached the server.
pub fn never_sent(error: &reqwest::Error) -> bool {
    error.is_connect() || error.is_builder()
}

/// Why a body is not complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The body has more bytes than the limit.
    TooLong,
    /// The connection was lost, or the compressed body cannot be decompressed.
    CutOff,
}

/// Reads a response's body of at most `limit` bytes, counted after decompression.
///
/// # Errors
/// The body is longer, or it ends early.
pub async fn read_body(mut response: reqwest::Response, limit: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| BodyError::CutOff)? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The longest `Retry-After` that is accepted from a peer: a day, which is as long as anything here is repeated. A larger
/// number could not be added to a point in time.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// The `Retry-After` of a response (RFC 9110 §10.2.3: seconds or a date) as the time to wait from `now`, at most a day.
pub fn retry_after(headers: &HeaderMap, now: UnixTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        value.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        UnixTime::from_http_date(value)?.since(now)
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(value: &'static str) -> Option<Duration> {
        let now = UnixTime::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]), now)
    }

    #[test]
    fn reads_retry_after_as_seconds_or_as_a_date() {
        assert_eq!(waits("120"), Some(Duration::from_secs(120)));
        assert_eq!(waits("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(waits("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(waits("18446744073709551615"), Some(RETRY_AFTER_LIMIT));
        assert_eq!(waits("99999999999999999999999999"), Some(RETRY_AFTER_LIMIT));
        assert_eq!(waits("soon"), None);
        assert_eq!(waits(""), None);
        assert_eq!(waits("-1"), None);
    }

    #[test]
    fn the_client_can_be_built() {
        assert!(client().is_ok());
    }
}
