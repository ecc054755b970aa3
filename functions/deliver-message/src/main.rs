//! The cold start of deliver-message.

use deliver_message::{Config, DeliverMessage};
use shared::config::Environment;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let function = DeliverMessage::start(Config::read(&Environment::of_process())?).await?;
    telemetry::run(async |event| Ok(function.handle(event).await)).await
}
