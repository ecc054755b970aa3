//! The cold start of converse.

use converse::{Config, Converse};
use shared::config::Environment;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let function = Converse::start(Config::read(&Environment::of_process())?).await?;
    telemetry::run_http(|request| function.handle(request)).await
}
