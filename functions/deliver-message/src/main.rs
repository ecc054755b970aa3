//! The cold start of deliver-message.

use deliver_message::{Config, DeliverMessage};
use shared::environment::Environment;
use shared::runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::start(env!("CARGO_CRATE_NAME"));
    let function = DeliverMessage::start(Config::from_environment(&Environment::of_process())?).await?;
    runtime::run(async |event| Ok(function.handle(event).await)).await
}
