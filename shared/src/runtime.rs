//! The life of a function in Lambda: its start, and the loop that runs one invocation after another. The metrics of an
//! invocation are written when it ends.

use std::sync::OnceLock;
use std::time::Instant;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::telemetry;

/// When [`start`] was called.
static STARTED: OnceLock<Instant> = OnceLock::new();

/// Begins the start of a function: from here on there are logs and metrics. `main` calls it once, before anything else; a
/// second call changes nothing. `function` is `env!("CARGO_CRATE_NAME")` there: the log lines of that crate and of this crate
/// are ours, all others come from libraries.
pub fn start(function: &'static str) {
    let _ = STARTED.set(Instant::now());
    telemetry::init(function);
}

/// Runs a function that is invoked with JSON and returns JSON. Before the first invocation it logs, at the level DEBUG,
/// how long the start took.
///
/// # Errors
/// Lambda's runtime API is lost; the execution environment ends then.
pub async fn run<Event, Output>(
    handle: impl AsyncFn(LambdaEvent<Event>) -> Result<Output, Diagnostic>,
) -> Result<(), lambda_runtime::Error>
where
    Event: DeserializeOwned,
    Output: Serialize,
{
    if let Some(started) = STARTED.get() {
        tracing::debug!(took_us = started.elapsed().as_micros() as u64, "started");
    }
    let handle = &handle;
    lambda_runtime::run(service_fn(async |event| {
        // On the heap: Lambda's client moves the future that it is given.
        let result = Box::pin(handle(event)).await;
        telemetry::flush();
        result
    }))
    .await
}
