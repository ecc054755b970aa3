//! The cold start of refresh-tokens.

use lambda_runtime::LambdaEvent;
use refresh_tokens::{Config, RefreshTokens};
use shared::config::Environment;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let function = RefreshTokens::start(Config::read(&Environment::of_process())?).await?;
    // The schedule's event says nothing that matters here.
    telemetry::run(async |_: LambdaEvent<serde::de::IgnoredAny>| function.handle().await).await
}
