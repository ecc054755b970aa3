//! A stand-in for a peer that responds with whatever a test wants, byte for byte, and keeps what it gets as it came.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use simulation::server::Server;

/// A running stand-in.
pub struct StandIn {
    requests: Arc<Mutex<Vec<(Parts, Bytes)>>>,
    warm_ups: Arc<AtomicUsize>,
    server: Server,
}

/// An extension of a response that is sent so much later.
#[derive(Debug, Clone, Copy)]
pub struct Delay(pub Duration);

impl StandIn {
    /// Starts it on a free port; `respond` makes the responses.
    pub async fn start(respond: impl Fn(&Parts, &Bytes) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let warm_ups = Arc::new(AtomicUsize::new(0));
        let (kept, counted, respond) = (Arc::clone(&requests), Arc::clone(&warm_ups), Arc::new(respond));
        let handler = move |request: Request| {
            let (kept, counted, respond) = (Arc::clone(&kept), Arc::clone(&counted), Arc::clone(&respond));
            async move {
                if request.method() == Method::HEAD {
                    // A function opens a connection while it starts, and asks for nothing.
                    counted.fetch_add(1, Ordering::SeqCst);
                    return response(StatusCode::NOT_FOUND, &[], "").map(Body::from);
                }
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.expect("the bridge sends a whole body");
                let response = respond(&parts, &body);
                kept.lock().expect("no holder panics").push((parts, body));
                if let Some(Delay(time)) = response.extensions().get() {
                    tokio::time::sleep(*time).await;
                }
                response.map(Body::from)
            }
        };
        Self { requests, warm_ups, server: Server::start(Router::new().fallback(handler)).await }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// How often a function has opened a connection while it started.
    pub fn warm_ups(&self) -> usize {
        self.warm_ups.load(Ordering::SeqCst)
    }

    /// What it got so far, which it forgets.
    pub fn take(&self) -> Vec<(Parts, Bytes)> {
        std::mem::take(&mut self.requests.lock().expect("no holder panics"))
    }
}

/// A response with that status, headers and body.
pub fn response(status: StatusCode, headers: &[(&str, &[u8])], body: impl Into<Bytes>) -> Response<Bytes> {
    let builder = headers.iter().fold(Response::builder().status(status), |builder, (name, value)| {
        builder.header(*name, HeaderValue::from_bytes(value).expect("a header's value"))
    });
    builder.body(body.into()).expect("a response")
}

/// The same response, so much later.
pub fn delayed(mut response: Response<Bytes>, time: Duration) -> Response<Bytes> {
    response.extensions_mut().insert(Delay(time));
    response
}
