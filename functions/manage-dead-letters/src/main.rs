//! The cold start of manage-dead-letters.

use manage_dead_letters::{Config, ManageDeadLetters};
use shared::config::Environment;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let function = ManageDeadLetters::start(Config::read(&Environment::of_process())?).await?;
    telemetry::run(async |event| function.handle(event).await).await
}
