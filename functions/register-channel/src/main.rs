//! The cold start of register-channel.

use register_channel::{Config, RegisterChannel};
use shared::config::Environment;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let function = RegisterChannel::start(Config::read(&Environment::of_process())?).await?;
    telemetry::run(async |event| function.handle(event).await).await
}
