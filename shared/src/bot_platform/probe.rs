//! A call to the bot platform that changes nothing there: 8x8's own verification of a webhook, which names no conversation,
//! with our two headers. The response shows whether events would be accepted.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use secrecy::ExposeSecret;

use super::token_endpoint::BotCredentials;
use crate::clock::UnixTime;
use crate::contact_center::event::WEB_HOOK_VERIFY;
use crate::http::{failure, sensitive_header};
use crate::oauth::Token;
use crate::url::BaseUrl;

/// A bot platform's response to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// HTTP status.
    pub status: u16,
    /// The time by the bot platform's clock, if the response has one.
    pub date: Option<UnixTime>,
}

/// Posts a probe to the `receiveMessage` of the bot platform at `endpoint`.
///
/// # Errors
/// There is no response within `timeout`, or the app token or the token has characters that no header can carry.
pub async fn probe(
    client: &reqwest::Client,
    endpoint: &BaseUrl,
    credentials: &BotCredentials,
    token: &Token,
    timeout: Duration,
) -> Result<Probe, &'static str> {
    let app_token = sensitive_header(credentials.app_token.expose_secret());
    let app_token = app_token.ok_or("the app token has characters that no header can carry")?;
    let bearer = token.bearer().ok_or("the access token has characters that no header can carry")?;
    let request = client
        .post(endpoint.join(["v1", "liveAgent", "receiveMessage"]))
        .timeout(timeout)
        .header("x-app-token", app_token)
        .header(AUTHORIZATION, bearer)
        .header(CONTENT_TYPE, "application/json")
        .body(format!(r#"{{"notificationVersion":"Chat Gateway v1.0","eventType":"{WEB_HOOK_VERIFY}"}}"#));
    let response = request.send().await.map_err(|error| failure(&error))?;
    let date = response.headers().get(DATE).and_then(|date| UnixTime::from_http_date(date.to_str().ok()?));
    Ok(Probe { status: response.status().as_u16(), date })
}
