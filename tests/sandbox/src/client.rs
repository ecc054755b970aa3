//! A client for the simulated systems' own calls, all of them to loopback.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Long enough for any answer of ours.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct Client(Pool<HttpConnector, Body>);

impl Client {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(Pool::builder(TokioExecutor::new()).build(connector))
    }

    /// Posts `body` and gives the status; `None` if there is no answer.
    pub(crate) async fn post<'h>(
        &self,
        url: &str,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        body: String,
    ) -> Option<StatusCode> {
        let request = Request::post(url);
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let request = request.body(Body::from(body)).ok()?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.0.request(request)).await.ok()?.ok()?;
        Some(answer.status())
    }
}
