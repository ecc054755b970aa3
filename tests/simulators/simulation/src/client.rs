//! A client for calls of the simulated systems and of tests, all of them to loopback.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Longer than any of our responses takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// A pool of connections.
#[derive(Debug, Clone)]
pub struct Client(Pool<HttpConnector, Body>);

impl Client {
    /// An empty pool.
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Pool::builder(TokioExecutor::new()).build(connector))
    }

    /// Sends a request and reads the response; `None` if there is no response.
    pub async fn send(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let exchange = async {
            let (parts, body) = self.0.request(request.map(Body::from)).await.ok()?.into_parts();
            let body = axum::body::to_bytes(Body::new(body), usize::MAX).await.ok()?;
            Some(Response::from_parts(parts, body))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.ok()?
    }

    /// Posts `body` and returns the status; `None` if there is no response.
    pub async fn post<'h>(
        &self,
        url: &str,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        body: String,
    ) -> Option<StatusCode> {
        let request = Request::post(url);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        Some(self.send(request.body(Bytes::from(body)).ok()?).await?.status())
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}
