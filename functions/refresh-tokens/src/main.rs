//! The cold start of refresh-tokens.

use lambda_runtime::LambdaEvent;
use refresh_tokens::{Config, RefreshTokens};
use shared::environment::Environment;
use shared::runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::start(env!("CARGO_CRATE_NAME"));
    let function = RefreshTokens::start(Config::from_environment(&Environment::of_process())?).await?;
    // The schedule's event says nothing that matters here.
    runtime::run(async |_: LambdaEvent<serde::de::IgnoredAny>| function.handle().await).await
}
