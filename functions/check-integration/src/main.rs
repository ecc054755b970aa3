//! The cold start of check-integration.

use check_integration::{CheckIntegration, Config};
use lambda_runtime::LambdaEvent;
use serde::de::IgnoredAny;
use shared::config::Environment;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let function = CheckIntegration::start(Config::read(&Environment::of_process())?).await?;
    // There is nothing to choose: every check is made.
    telemetry::run(async |_: LambdaEvent<IgnoredAny>| Ok(function.handle().await)).await
}
