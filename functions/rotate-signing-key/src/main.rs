//! The cold start of rotate-signing-key.

use lambda_runtime::LambdaEvent;
use rotate_signing_key::{Config, RotateSigningKey};
use shared::environment::Environment;
use shared::runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::start(env!("CARGO_CRATE_NAME"));
    let function = RotateSigningKey::start(Config::from_environment(&Environment::of_process())?).await?;
    runtime::run(async |event: LambdaEvent<_>| function.handle(&event.payload).await).await
}
