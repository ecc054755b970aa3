//! A caller: logs in at our token endpoint, refreshes its tokens in time, and returns app token and access token for each call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::deployment::ISSUE_TOKEN;
use simulation::client::Client;
use simulation::journal::Journal;

/// The remaining lifetime at which a token is refreshed.
const MARGIN: Duration = Duration::from_secs(300);

/// The credentials of a caller.
#[derive(Debug, Clone)]
pub struct Login {
    /// The app token.
    pub app_token: String,
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
}

/// A caller.
#[derive(Debug)]
pub struct Caller {
    name: &'static str,
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

impl Caller {
    /// A caller with that name, which gets tokens at `token_url`.
    pub fn new(name: &'static str, token_url: String, journal: Arc<Journal>) -> Self {
        Self { name, token_url, login: Mutex::default(), tokens: Mutex::default(), client: Client::new(), journal }
    }

    /// Sets its credentials, as an administrator does. Tokens that it already has stay in use.
    pub async fn configure(&self, login: Login) {
        *self.login.lock().await = Some(login);
    }

    /// Makes the caller refresh its tokens at the next call.
    pub async fn refresh_now(&self) {
        if let Some(tokens) = self.tokens.lock().await.as_mut() {
            tokens.refresh_at = Instant::now();
        }
    }

    /// Makes the caller log in again at the next call.
    pub async fn forget_tokens(&self) {
        *self.tokens.lock().await = None;
    }

    /// App token and access token for the next call; `None` if the caller has no credentials or gets no tokens.
    pub async fn credentials(&self) -> Option<(String, String)> {
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
        let response = self.client.send(request.body(Bytes::from(form)).ok()?).await?;
        let grant = fields.first().map_or("", |(_, grant)| grant);
        self.journal.hop(self.name, ISSUE_TOKEN, &format!("POST token ({grant})"), response.status().as_str(), None);
        let tokens: Value = serde_json::from_slice(response.body()).ok()?;
        let life = Duration::from_secs(tokens["expires_in"].as_u64()?);
        Some(Tokens {
            access_token: tokens["access_token"].as_str()?.to_owned(),
            refresh_token: tokens["refresh_token"].as_str()?.to_owned(),
            refresh_at: Instant::now() + life.saturating_sub(MARGIN),
        })
    }
}
