//! The cold start of receive-message.

use receive_message::{Config, ReceiveMessage};
use shared::environment::Environment;
use shared::{http_api, runtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::start(env!("CARGO_CRATE_NAME"));
    let function = ReceiveMessage::start(Config::from_environment(&Environment::of_process())?).await?;
    http_api::run(|request| function.handle(request)).await
}
