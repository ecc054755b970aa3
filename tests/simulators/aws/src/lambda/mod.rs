//! AWS Lambda: a function is a pool of execution environments. Each is a process of the real binary and handles one invocation
//! at a time.

mod clock;
mod environment;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use crate::Fault;
pub use clock::Clock;
use environment::ExecutionEnvironment;
use simulation::faults::Faults;

/// How a function is deployed.
#[derive(Debug, Clone)]
pub struct FunctionSettings {
    /// The name of folder, package and binary.
    pub name: &'static str,
    /// The path of the binary.
    pub binary: PathBuf,
    /// The variables that its configuration sets.
    pub variables: BTreeMap<String, String>,
    /// The time-out of an invocation. When it is over, the invocation and its environment are ended.
    pub timeout: Duration,
    /// The largest number of environments.
    pub concurrency: usize,
    /// The clock of its processes, if they do not use this machine's clock.
    pub clock: Option<Arc<Clock>>,
}

/// Why an invocation has no response.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvokeError {
    /// The function returned an error: `{"errorMessage","errorType"}`.
    #[error("{0}")]
    Function(Value),
    /// The process ended before it responded.
    #[error("the process ended")]
    Exited,
    /// The time-out was over before the process responded.
    #[error("timed out")]
    TimedOut,
    /// The process did not start.
    #[error("the function does not start")]
    DidNotStart,
}

/// A line that a function wrote.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// The function.
    pub function: &'static str,
    /// The line, without the line feed.
    pub text: String,
}

/// A deployed function.
#[derive(Debug)]
pub struct Function {
    settings: FunctionSettings,
    faults: Arc<Faults<Fault>>,
    logs: mpsc::UnboundedSender<LogLine>,
    /// The idle environments. The last one used is on top, as on Lambda.
    idle: Mutex<Vec<ExecutionEnvironment>>,
    busy: Arc<Semaphore>,
    started: AtomicUsize,
}

impl Function {
    /// Deploys a function; the first invocation starts its first process.
    pub fn new(
        settings: FunctionSettings,
        faults: Arc<Faults<Fault>>,
        logs: mpsc::UnboundedSender<LogLine>,
    ) -> Arc<Self> {
        let busy = Arc::new(Semaphore::new(settings.concurrency));
        Arc::new(Self { settings, faults, logs, idle: Mutex::default(), busy, started: AtomicUsize::new(0) })
    }

    /// The function's name.
    pub fn name(&self) -> &'static str {
        self.settings.name
    }

    /// The settings that it is deployed with.
    pub fn settings(&self) -> &FunctionSettings {
        &self.settings
    }

    /// How many processes have been started.
    pub fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }

    /// Invokes the function and waits for its response. If all environments are busy, first waits until one is free.
    pub async fn invoke(&self, event: &Value) -> Result<Bytes, InvokeError> {
        self.invoke_bytes(event.to_string().into()).await
    }

    pub(crate) async fn invoke_bytes(&self, event: Bytes) -> Result<Bytes, InvokeError> {
        let _permit = self.busy.acquire().await.expect("the semaphore is never closed");
        let mut environment = match self.take_idle() {
            Some(environment) => environment,
            None => {
                self.started.fetch_add(1, Ordering::Relaxed);
                ExecutionEnvironment::start(&self.settings, self.logs.clone()).await.ok_or(InvokeError::DidNotStart)?
            }
        };
        let kill = self.faults.strikes(Fault::Kill(self.settings.name));
        let response = environment.invoke(event, self.settings.timeout, kill).await;
        match &response {
            Ok(_) | Err(InvokeError::Function(_)) => self.idle().push(environment),
            // The environment is dropped, and its process with it.
            Err(InvokeError::Exited | InvokeError::TimedOut | InvokeError::DidNotStart) => {}
        }
        response
    }

    /// Kills every idle process. The next invocations start new ones.
    pub fn recycle(&self) {
        self.idle().clear();
    }

    /// The ids of the idle processes.
    pub fn processes(&self) -> Vec<u32> {
        self.idle().iter().filter_map(ExecutionEnvironment::process).collect()
    }

    fn take_idle(&self) -> Option<ExecutionEnvironment> {
        let mut idle = self.idle();
        while let Some(mut environment) = idle.pop() {
            if environment.is_alive() {
                return Some(environment);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<ExecutionEnvironment>> {
        self.idle.lock().expect("no holder panics")
    }
}
