//! CloudWatch Logs: what the functions have logged, found by a field of a line.
//!
//! One call, so that it is made by hand: AWS's SDK for this service would be the largest dependency of all.
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::http::{failure, read_body};

/// A page of AWS has a megabyte of lines at most; in JSON they take up to twice that.
const PAGE_LIMIT: usize = 4 * 1024 * 1024;

/// AWS returns a page in less than a second, however many lines it has looked at.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The fields of our lines that are of interest here.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) step: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) tenant_id: Option<String>,
    pub(super) age_s: Option<u64>,
    pub(super) wait_s: Option<u64>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    events: Vec<LogEvent>,
    #[serde(rename = "nextToken")]
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct LogEvent {
    timestamp: u64,
    message: String,
}

/// Why the log cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the log group `{group}` cannot be read ({reason})")]
pub(crate) struct LogError {
    group: String,
    reason: String,
}

impl LogError {
    pub(super) fn new(group: &str, reason: impl Into<String>) -> Self {
        Self { group: group.to_owned(), reason: reason.into() }
    }
}

/// The lines since `from` that have one of these values in that field, oldest first, each with the time at which it was written.
pub(super) async fn search(
    client: &reqwest::Client,
    sdk: &SdkConfig,
    group: &str,
    values: &[(&str, &str)],
    from: UnixTime,
) -> Result<Vec<(UnixTime, Line)>, LogError> {
    let alternatives: Vec<String> = values.iter().map(|(field, value)| format!(r#"($.{field} = "{value}")"#)).collect();
    let pattern = format!("{{ {} }}", alternatives.join(" || "));
    let (mut found, mut next_token) = (Vec::new(), None);
    loop {
        let mut request = json!({ "logGroupName": group, "startTime": from.millis(), "filterPattern": pattern });
        if let (Some(token), Some(fields)) = (next_token, request.as_object_mut()) {
            fields.insert("nextToken".to_owned(), Value::String(token));
        }
        let page = page(client, sdk, &request).await.map_err(|reason| LogError::new(group, reason))?;
        // A line that is not one of ours matches no pattern of ours either.
        let lines = page.events.into_iter().filter_map(|event| {
            Some((UnixTime::from_millis(event.timestamp), serde_json::from_str(&event.message).ok()?))
        });
        found.extend(lines);
        next_token = page.next_token;
        if next_token.is_none() {
            return Ok(found);
        }
    }
}

async fn page(client: &reqwest::Client, sdk: &SdkConfig, request: &Value) -> Result<Page, String> {
    let request = signed(sdk, request.to_string()).await?;
    let response = client.execute(request).await.map_err(|error| failure(&error).to_owned())?;
    let status = response.status();
    let body = read_body(response, PAGE_LIMIT).await.map_err(|_| "a response that cannot be read".to_owned())?;
    if !status.is_success() {
        let error: Value = serde_json::from_slice(&body).unwrap_or_default();
        let code = error.get("__type").and_then(Value::as_str).and_then(|code| code.rsplit('#').next());
        return Err(code.map_or_else(|| format!("status {}", status.as_u16()), str::to_owned));
    }
    serde_json::from_slice(&body).map_err(|_| "a response that cannot be read".to_owned())
}

async fn signed(sdk: &SdkConfig, body: String) -> Result<reqwest::Request, String> {
    let unusable = || "the request cannot be built".to_owned();
    let region = sdk.region().ok_or_else(unusable)?.as_ref();
    let provider = sdk.credentials_provider().ok_or_else(|| "no credentials".to_owned())?;
    let identity = provider.provide_credentials().await.map_err(|_| "no credentials".to_owned())?.into();
    // AWS in China has a domain of its own: https://docs.aws.amazon.com/general/latest/gr/cwl_region.html
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let endpoint = sdk.endpoint_url().map_or_else(|| format!("https://logs.{region}.{domain}"), str::to_owned);
    let url = format!("{}/", endpoint.trim_end_matches('/'));
    let headers =
        [(CONTENT_TYPE.as_str(), "application/x-amz-json-1.1"), ("x-amz-target", "Logs_20140328.FilterLogEvents")];
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("logs")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| unusable())?
        .into();
    let signable = SignableRequest::new("POST", &url, headers.into_iter(), SignableBody::Bytes(body.as_bytes()));
    let signed = sign(signable.map_err(|_| unusable())?, &parameters).map_err(|_| unusable())?;
    let (instructions, _) = signed.into_parts();
    let request =
        headers.iter().fold(http::Request::post(&url), |request, (name, value)| request.header(*name, *value));
    let mut request = request.body(body).map_err(|_| unusable())?;
    instructions.apply_to_request_http1x(&mut request);
    let mut request = reqwest::Request::try_from(request).map_err(|_| unusable())?;
    *request.timeout_mut() = Some(PAGE_TIMEOUT);
    Ok(request)
}
