//! The cold start of receive-message.

use receive_message::{Config, ReceiveMessage};
use shared::config::Environment;
use shared::{http_api, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let function = ReceiveMessage::start(Config::read(&Environment::of_process())?).await?;
    http_api::run(|request| function.handle(request)).await
}
