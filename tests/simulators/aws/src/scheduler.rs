//! EventBridge Scheduler: invokes a function at an interval.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use crate::lambda::Function;

/// Invokes `function` every `interval`, the first time after one interval, until the handle is aborted.
pub fn start(function: Arc<Function>, interval: Duration) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            // A failure is in the function's log, and the next run follows.
            let _ = function.invoke(&json!({ "source": "aws.scheduler" })).await;
        }
    })
}
