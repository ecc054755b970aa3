//! The cold start of rotate-signing-key.

use lambda_runtime::LambdaEvent;
use rotate_signing_key::{Config, RotateSigningKey};
use shared::config::Environment;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let function = RotateSigningKey::start(Config::read(&Environment::of_process())?).await?;
    telemetry::run(async |event: LambdaEvent<_>| function.handle(&event.payload).await).await
}
