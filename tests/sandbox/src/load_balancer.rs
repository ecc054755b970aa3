//! A load balancer of 8x8's administrators between 8x8 and us: it logs in at our token endpoint, refreshes in time, and adds
//! `x-app-token` and `Authorization: Bearer …` to every callback.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::client::Client;
use crate::journal::Journal;
use crate::server::Server;

/// What is left of a token's life when it is refreshed.
const MARGIN: Duration = Duration::from_secs(300);

/// What the load balancer logs in with.
#[derive(Debug, Clone)]
pub struct Login {
    /// The app token.
    pub app_token: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

/// The load balancer.
#[derive(Debug)]
pub struct LoadBalancer {
    target: String,
    token_url: String,
    login: Mutex<Option<Login>>,
    tokens: Mutex<Option<Tokens>>,
    client: Client,
    journal: Arc<Journal>,
}

#[derive(Debug)]
struct Tokens {
    access_token: String,
    refresh_token: String,
    refresh_at: Instant,
}

impl LoadBalancer {
    /// Starts a load balancer in front of the API at `origin`, for callbacks to its `path`.
    pub async fn start(origin: &str, path: &str, journal: Arc<Journal>) -> (Arc<Self>, Server) {
        let load_balancer = Arc::new(Self {
            target: format!("{origin}{path}"),
            token_url: format!("{origin}{}", crate::TOKEN),
            login: Mutex::default(),
            tokens: Mutex::default(),
            client: Client::new(),
            journal,
        });
        let server = Server::start(Router::new().fallback(forward).with_state(Arc::clone(&load_balancer))).await;
        (load_balancer, server)
    }

    /// Sets what it logs in with, as an administrator does. The tokens that it has stay in use.
    pub async fn configure(&self, login: Login) {
        *self.login.lock().await = Some(login);
    }

    /// Makes it refresh its tokens with the next callback.
    pub async fn refresh_now(&self) {
        if let Some(tokens) = self.tokens.lock().await.as_mut() {
            tokens.refresh_at = Instant::now();
        }
    }

    /// Makes it log in anew with the next callback.
    pub async fn forget_tokens(&self) {
        *self.tokens.lock().await = None;
    }

    /// App token and access token for the next callback.
    async fn credentials(&self) -> Option<(String, String)> {
        let login = self.login.lock().await.clone()?;
        let mut tokens = self.tokens.lock().await;
        let renewed = match tokens.as_ref() {
            Some(tokens) if Instant::now() < tokens.refresh_at => None,
            Some(tokens) => {
                let fields = [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh_token)];
                Some(self.request_tokens(&login, &fields).await?)
            }
            None => {
                let fields = [("grant_type", "password"), ("username", &login.username), ("password", &login.password)];
                Some(self.request_tokens(&login, &fields).await?)
            }
        };
        if renewed.is_some() {
            *tokens = renewed;
        }
        Some((login.app_token, tokens.as_ref()?.access_token.clone()))
    }

    async fn request_tokens(&self, login: &Login, fields: &[(&str, &str)]) -> Option<Tokens> {
        let form = {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(fields).append_pair("clientid", &login.app_token).finish()
        };
        let request = Request::post(&self.token_url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = self.client.send(request.body(Bytes::from(form)).ok()?).await?;
        let grant = fields.first().map_or("", |(_, grant)| grant);
        self.journal.hop(
            "load balancer",
            "issue-token",
            &format!("POST token ({grant})"),
            answer.status().as_str(),
            None,
        );
        let tokens: Value = serde_json::from_slice(answer.body()).ok()?;
        let life = Duration::from_secs(tokens["expires_in"].as_u64()?);
        Some(Tokens {
            access_token: tokens["access_token"].as_str()?.to_owned(),
            refresh_token: tokens["refresh_token"].as_str()?.to_owned(),
            refresh_at: Instant::now() + life.saturating_sub(MARGIN),
        })
    }
}

async fn forward(
    State(load_balancer): State<Arc<LoadBalancer>>,
    method: Method,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some((app_token, access_token)) = load_balancer.credentials().await else {
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
        Some(answer) => {
            let (parts, body) = answer.into_parts();
            (parts.status, parts.headers, body).into_response()
        }
        None => StatusCode::BAD_GATEWAY.into_response(),
    }
}
