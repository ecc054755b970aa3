//! The cold start of check-integration.

use check_integration::{CheckIntegration, Config};
use lambda_runtime::LambdaEvent;
use serde::de::IgnoredAny;
use shared::environment::Environment;
use shared::runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::start(env!("CARGO_CRATE_NAME"));
    let function = CheckIntegration::start(Config::from_environment(&Environment::of_process())?).await?;
    // There is nothing to choose: every check is made.
    runtime::run(async |_: LambdaEvent<IgnoredAny>| Ok(function.handle().await)).await
}
