//! The tenant's own load balancer between 8x8 and us: it adds `x-app-token` and `Authorization: Bearer …` to every
//! callback.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::HOST;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::caller::Caller;
use simulation::client::Client;
use simulation::journal::Journal;
use simulation::server::Server;

/// The load balancer.
#[derive(Debug)]
pub struct LoadBalancer {
    target: String,
    /// Its credentials at our token endpoint.
    pub caller: Caller,
    client: Client,
}

impl LoadBalancer {
    /// Starts a load balancer in front of the API at `origin`, for callbacks to its `path`.
    pub async fn start(origin: &str, path: &str, journal: Arc<Journal>) -> (Arc<Self>, Server) {
        let caller = Caller::new("load balancer", format!("{origin}{}", crate::TOKEN), journal);
        let load_balancer = Arc::new(Self { target: format!("{origin}{path}"), caller, client: Client::new() });
        let server = Server::start(Router::new().fallback(forward).with_state(Arc::clone(&load_balancer))).await;
        (load_balancer, server)
    }
}

async fn forward(
    State(load_balancer): State<Arc<LoadBalancer>>,
    method: Method,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((app_token, access_token)) = load_balancer.caller.credentials().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    headers.remove(HOST);
    headers.insert("x-app-token", app_token.parse().expect("an app token is a header"));
    headers.insert("authorization", format!("Bearer {access_token}").parse().expect("a token is a header"));
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = load_balancer.target.parse().expect("the target is a URL");
    *request.headers_mut() = headers;
    match load_balancer.client.send(request).await {
        Some(response) => {
            let (parts, body) = response.into_parts();
            (parts.status, parts.headers, body).into_response()
        }
        None => StatusCode::BAD_GATEWAY.into_response(),
    }
}
