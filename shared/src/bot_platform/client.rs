//! The HTTP client that events are posted with: hyper's own, which also records the status of each response.
//!
//! hyper returns no status for a response whose head it cannot read to the end: the head has more headers than hyper allows
//! (100) or more bytes (400 KiB), is cut off, or does not arrive in time. If the status line has arrived and says that the bot
//! platform has the event, the event must not be sent again. A client need not understand any header of a success
//! (RFC 9112 §8).

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, USER_AGENT};
use http::{Extensions, HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{
    CaptureConnection, Connected, Connection, HttpConnector, capture_connection,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use reqwest::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tower_service::Service;

use crate::http::{ClientError, IDLE_TIMEOUT, PRODUCT, WARM_UP_TIMEOUT, connector, read_body};

/// The rest of a response is read only so that the connection can be used again. Reading more than this is not worth it.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// Connections to the bot platform, kept open between events.
#[derive(Debug, Clone)]
pub(super) struct Client(legacy::Client<Connector, Body>);

impl Client {
    /// HTTP/1.1 without redirects or proxies, with the TLS and the limits of every connection ([`crate::http`]).
    pub(super) fn new() -> Result<Self, ClientError> {
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(Connector(connector()?));
        Ok(Self(client))
    }

    /// Opens a connection while a function starts, as [`crate::http::warm_up`] does.
    pub(super) async fn warm_up(&self, url: &str) {
        let Ok(request) = Request::head(url).body(Body::default()) else { return };
        // Sent like any other request. Otherwise its status would stay on the connection and be taken for the status of the
        // first event.
        if let Err(reason) = self.send(request, WARM_UP_TIMEOUT).await {
            tracing::debug!(reason, "no connection to the bot platform at the start");
        }
    }

    /// Sends a request once and returns the status of the response, and its headers as far as they can be read.
    ///
    /// # Errors
    /// There is no status within `limit`. The text says why, and holds no address, header or body.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        limit: Duration,
    ) -> Result<(StatusCode, HeaderMap), &'static str> {
        let headers = request.headers_mut();
        // Decompression costs more than a small body saves.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
        let connection = capture_connection(&mut request);
        let deadline = Instant::now() + limit;
        let reason = match timeout_at(deadline, self.0.request(request)).await {
            Ok(Ok(response)) => {
                // Until the next request is written, bytes that arrive on this connection belong to no request.
                take_status(&connection);
                let (head, body) = response.into_parts();
                let body = read_body(Response::new(Body::wrap(body)).into(), RESPONSE_LIMIT);
                let _ = timeout_at(deadline, body).await;
                return Ok((head.status, head.headers));
            }
            Ok(Err(error)) if error.is_connect() => "no connection",
            Ok(Err(_)) => "the connection was lost",
            Err(_) => "no response in time",
        };
        take_status(&connection).map(|status| (status, HeaderMap::new())).ok_or(reason)
    }
}

/// The status of the response that is being read on a connection.
fn take_status(connection: &CaptureConnection) -> Option<StatusCode> {
    let mut extras = Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    let status = extras.get::<Arc<AtomicU16>>()?.swap(0, Ordering::Relaxed);
    StatusCode::from_u16(status).ok()
}

/// Opens connections that record the status of a response.
#[derive(Debug, Clone)]
pub(super) struct Connector(HttpsConnector<HttpConnector>);

impl Service<Uri> for Connector {
    type Response = TokioIo<StatusStream>;
    type Error = <HttpsConnector<HttpConnector> as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let stream = TokioIo::new(connecting.await?);
            let start = Vec::with_capacity(STATUS_LENGTH);
            Ok(TokioIo::new(StatusStream { stream, is_awaited: false, start, status: Arc::default() }))
        })
    }
}

/// The length of `HTTP/1.1 200 `: the version, the status and the space after it (RFC 9112 §4).
const STATUS_LENGTH: usize = 13;

/// A connection that records the status of the response to the last request that was written.
#[derive(Debug)]
pub(super) struct StatusStream {
    stream: TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>,
    /// Whether a request has been written and the status of its response has not arrived yet.
    is_awaited: bool,
    /// The first bytes of the response.
    start: Vec<u8>,
    /// 0 if there is no status.
    status: Arc<AtomicU16>,
}

impl StatusStream {
    fn write_begins(&mut self) {
        self.is_awaited = true;
        self.start.clear();
        self.status.store(0, Ordering::Relaxed);
    }

    fn has_read(&mut self, bytes: &[u8]) {
        self.start.extend(bytes.iter().take(STATUS_LENGTH - self.start.len()));
        if self.start.len() == STATUS_LENGTH {
            self.is_awaited = false;
            self.status.store(status(&self.start).map_or(0, |status| status.as_u16()), Ordering::Relaxed);
        }
    }
}

/// The status in the first bytes of a response. An interim response (1xx) is followed by another one.
fn status(start: &[u8]) -> Option<StatusCode> {
    let (status, end) = start.strip_prefix(b"HTTP/1.1 ").or(start.strip_prefix(b"HTTP/1.0 "))?.split_at_checked(3)?;
    let status = StatusCode::from_bytes(status).ok()?;
    (end.iter().all(u8::is_ascii_whitespace) && !status.is_informational()).then_some(status)
}

impl AsyncRead for StatusStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if this.is_awaited {
            this.has_read(buffer.filled().get(before..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StatusStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        this.write_begins();
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        this.write_begins();
        Pin::new(&mut this.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connection for StatusStream {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(Arc::clone(&self.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_of_a_status_line_and_of_nothing_else() {
        for (start, expected) in [
            ("HTTP/1.1 200 ", Some(200)),
            ("HTTP/1.0 503\r", Some(503)),
            ("HTTP/1.1 204\n", Some(204)),
            ("HTTP/1.1 100 ", None),
            ("HTTP/1.1 2000", None),
            ("HTTP/1.1 2 0 ", None),
            ("HTTP/2.0 200 ", None),
            ("\r\nHTTP/1.1 20", None),
        ] {
            assert_eq!(start.len(), STATUS_LENGTH, "{start}");
            assert_eq!(status(start.as_bytes()).map(|status| status.as_u16()), expected, "{start}");
        }
    }
}
