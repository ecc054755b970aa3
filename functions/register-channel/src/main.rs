//! The cold start of register-channel.

use register_channel::{Config, Misconfigured, RegisterChannel};
use shared::config::Environment;
use shared::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let environment = Environment::of_process();
    match Config::read(&environment) {
        Ok(config) => {
            let function = RegisterChannel::start(config).await?;
            telemetry::run(async |event| function.handle(event).await).await
        }
        Err(error) => {
            tracing::error!(%error, "the configuration is wrong");
            let function = Misconfigured::start(error, &environment).await?;
            telemetry::run(async |event| function.handle(event).await).await
        }
    }
}
