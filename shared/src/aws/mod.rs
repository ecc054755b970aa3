//! The AWS SDK's configuration. Each call has a time-out. AWS's environment variables for endpoints, retries and FIPS work as in
//! every AWS program. Region and credentials are read from the environment alone, where Lambda sets them
//! (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>): preparing the SDK's other sources took a third of
//! a millisecond of each start. Profiles are therefore not read for credentials.
//!
//! The future of an SDK operation has 15 KB. Where it is awaited in place, every future around it becomes as large, and is
//! copied whenever it is moved. Where events pass, it is therefore put on the heap (`Box::pin`), which saved 34,000
//! instructions per event.

mod transport;

use std::sync::LazyLock;
use std::time::Duration;

use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::timeout::TimeoutConfig;

pub use transport::Transport;

/// Secrets Manager and SQS respond in tens of milliseconds. Two seconds are far above that, and let the three attempts of the
/// SDK's standard retry mode end within [`OPERATION_TIMEOUT`].
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// All attempts of one operation together. 8x8 waits for receive-message meanwhile. How long 8x8 waits is not documented; this
/// is below the ten seconds that webhook senders commonly allow.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(7);

/// The configuration that every AWS client of a function is made from.
#[tracing::instrument(level = "debug", name = "AWS SDK", skip_all)]
pub async fn sdk_config(transport: &Transport) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(EnvironmentVariableRegionProvider::new())
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .http_client(transport.clone())
        .timeout_config(timeouts)
        // Responses are a few kilobytes, and the attempt's time-out covers their bodies too.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .load()
        .await
}

/// What is made when it is first needed. Making an SDK client takes half a million instructions, most of them for the SDK's list
/// of AWS's partitions. With two clients that most events do not need, deliver-message's start took 3.9 million.
pub type Lazy<T> = LazyLock<T, Box<dyn FnOnce() -> T + Send>>;

/// Makes something with the clients' configuration when it is first needed.
pub fn lazily<T>(sdk: &SdkConfig, make: impl FnOnce(&SdkConfig) -> T + Send + 'static) -> Lazy<T> {
    let sdk = sdk.clone();
    LazyLock::new(Box::new(move || make(&sdk)))
}

/// Why an AWS operation failed: AWS's error code, or why there was no response. It never holds the request or the response: the
/// text of an SDK error can hold the secret that was being read.
pub fn failure<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(response) => response.err().code().unwrap_or("an error without a code").to_owned(),
        SdkError::TimeoutError(_) => "no response in time".to_owned(),
        SdkError::DispatchFailure(dispatch) if dispatch.is_timeout() => "no response in time".to_owned(),
        SdkError::DispatchFailure(dispatch) if dispatch.is_io() => "no connection".to_owned(),
        SdkError::DispatchFailure(_) => "no credentials or no connection".to_owned(),
        SdkError::ConstructionFailure(_) => "the request cannot be built".to_owned(),
        SdkError::ResponseError(_) | _ => "a response that cannot be read".to_owned(),
    }
}
