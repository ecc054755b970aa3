//! The cold start of manage-dead-letters.

use manage_dead_letters::{Config, ManageDeadLetters};
use shared::environment::Environment;
use shared::runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::start(env!("CARGO_CRATE_NAME"));
    let function = ManageDeadLetters::start(Config::from_environment(&Environment::of_process())?).await?;
    runtime::run(async |event| function.handle(event).await).await
}
