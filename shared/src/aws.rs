//! The AWS SDK's configuration: AWS's own environment variables work as in every AWS program, calls go through the
//! functions' one HTTP client, and each has a time-out.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::timeout::TimeoutConfig;

/// Secrets Manager and SQS answer in tens of milliseconds. Two seconds are far above that and let the SDK's standard
/// three attempts end within [`OPERATION_TIMEOUT`].
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// All attempts of one operation together. 8x8 waits for receive-message meanwhile, and how long it does is not
/// documented: below ten seconds is what webhook senders commonly allow.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(7);

/// The configuration that every AWS client of a function is made from.
#[tracing::instrument(level = "debug", name = "AWS SDK", skip_all)]
pub async fn sdk_config(http: &reqwest::Client) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client(http))
        .timeout_config(timeouts)
        // Answers are a few kilobytes, and the attempt's time-out covers their bodies too.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .load()
        .await
}

/// The functions' HTTP client, lent to the SDK.
pub fn http_client(client: &reqwest::Client) -> SharedHttpClient {
    SharedHttpClient::new(LentClient(client.clone()))
}

/// Why an AWS operation failed: AWS's error code, or what kept the call from getting an answer. Never the request or the
/// answer: an SDK error's own text can hold the secret that was being read.
pub fn failure<E, R>(error: &aws_smithy_runtime_api::client::result::SdkError<E, R>) -> String
where
    E: aws_smithy_types::error::metadata::ProvideErrorMetadata,
{
    use aws_smithy_runtime_api::client::result::SdkError;

    match error {
        SdkError::ServiceError(answer) => answer.err().code().unwrap_or("an error without a code").to_owned(),
        SdkError::TimeoutError(_) => "no answer in time".to_owned(),
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => "no answer in time".to_owned(),
        SdkError::DispatchFailure(dispatch) if dispatch.is_io() => "no connection".to_owned(),
        SdkError::DispatchFailure(_) => "no credentials or no connection".to_owned(),
        SdkError::ConstructionFailure(_) => "the request cannot be built".to_owned(),
        SdkError::ResponseError(_) | _ => "an answer that cannot be read".to_owned(),
    }
}

/// The functions' HTTP client behind the SDK's seam for one.
#[derive(Debug, Clone)]
struct LentClient(reqwest::Client);

impl HttpClient for LentClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for LentClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let request = request.map(reqwest::Body::wrap).try_into().map_err(connector_error)?;
            let response = client.execute(request).await.map_err(connector_error)?;
            HttpResponse::try_from(::http::Response::from(response).map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn connector_error(error: reqwest::Error) -> ConnectorError {
    // The address is the SDK's to report, if at all: a queue's URL holds the account.
    let error = error.without_url();
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        // Lost before or after the server had it: every operation that we use may be sent again.
        ConnectorError::io(error.into())
    }
}
