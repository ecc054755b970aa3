//! The cold start of watch-handovers.

use lambda_runtime::LambdaEvent;
use shared::clock::UnixTime;
use shared::environment::Environment;
use shared::runtime;
use watch_handovers::{Config, WatchHandovers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::start(env!("CARGO_CRATE_NAME"));
    let function = WatchHandovers::start(Config::from_environment(&Environment::of_process())?).await?;
    // The schedule's event says nothing that matters here.
    runtime::run(async |event: LambdaEvent<serde::de::IgnoredAny>| {
        function.handle(UnixTime::from_millis(event.context.deadline)).await
    })
    .await
}
