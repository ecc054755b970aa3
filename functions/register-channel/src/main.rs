//! The cold start of register-channel.

use register_channel::{Config, Misconfigured, RegisterChannel};
use shared::environment::Environment;
use shared::runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::start(env!("CARGO_CRATE_NAME"));
    let environment = Environment::of_process();
    match Config::from_environment(&environment) {
        Ok(config) => {
            let function = RegisterChannel::start(config).await?;
            runtime::run(async |event| function.handle(event).await).await
        }
        Err(error) => {
            tracing::error!(%error, "the configuration is wrong");
            let function = Misconfigured::start(error, &environment).await?;
            runtime::run(async |event| function.handle(event).await).await
        }
    }
}
