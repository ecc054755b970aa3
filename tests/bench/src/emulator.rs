//! One execution environment under AWS's Runtime Interface Emulator, which says itself how long init and invocations take.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use aws::lambda::FunctionSettings;
use bytes::Bytes;
use http::Request;
use serde_json::Value;
use simulation::client::Client;
use simulation::server::free_port;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::process;

/// Far longer than an invocation takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running emulator and its function.
#[derive(Debug)]
pub struct Emulator {
    process: Child,
    url: String,
    client: Client,
    lines: mpsc::UnboundedReceiver<String>,
}

/// An invocation, as the emulator saw it.
#[derive(Debug)]
pub struct Invocation {
    /// What the function answered.
    pub response: Value,
    /// Milliseconds.
    pub duration: f64,
    /// Milliseconds of the init before, if there was one.
    pub init: Option<f64>,
    /// What the function wrote.
    pub lines: Vec<String>,
}

impl Emulator {
    /// Starts the emulator. It starts the function when that is invoked first.
    pub fn start(settings: &FunctionSettings, log_level: &str) -> Self {
        let (port, runtime_api) = (free_port(), free_port());
        let mut process = Command::new(sandbox::build::emulator())
            .args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{port}")])
            .args(["--runtime-api-address", &format!("127.0.0.1:{runtime_api}")])
            .arg(&settings.binary)
            .env_clear()
            .envs(BTreeMap::from([
                ("AWS_LAMBDA_FUNCTION_NAME", settings.name),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                ("AWS_LAMBDA_FUNCTION_TIMEOUT", "60"),
                ("AWS_LAMBDA_LOG_LEVEL", log_level),
                ("AWS_REGION", "us-east-1"),
                ("AWS_DEFAULT_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
            ]))
            .envs(&settings.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the emulator starts");
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(copy_lines(process.stdout.take().expect("it is piped"), sender.clone()));
        tokio::spawn(copy_lines(process.stderr.take().expect("it is piped"), sender));
        let url = format!("http://127.0.0.1:{port}/2015-03-31/functions/function/invocations");
        Self { process, url, client: Client::new(), lines }
    }

    /// Invokes the function; the emulator needs a moment until it listens.
    pub async fn invoke(&mut self, event: &Value) -> Invocation {
        let response = loop {
            let request = Request::post(&self.url).body(Bytes::from(event.to_string())).expect("a request");
            match self.client.send(request).await {
                Some(response) => break serde_json::from_slice(response.body()).unwrap_or_default(),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let (mut init, mut lines) = (None, Vec::new());
        loop {
            let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await.ok().flatten();
            let line = line.unwrap_or_else(|| panic!("the emulator reports every invocation, but here: {lines:#?}"));
            init = init.or(number_after(&line, "INIT REPORT(durationMs: "));
            if let Some(duration) =
                number_after(&line, "INVOKE RTDONE(").and_then(|_| number_after(&line, "duration: "))
            {
                return Invocation { response, duration, init, lines };
            }
            lines.push(line);
        }
    }

    /// Ends the emulator and waits until the function has ended too, which it does when its runtime API is gone: the end of a
    /// large process takes processor time from the next start.
    pub async fn stop(mut self) {
        let emulator = self.process.id().expect("the emulator runs");
        let functions = process::children(emulator);
        self.process.kill().await.expect("the emulator can be killed");
        let ended = async {
            while functions.iter().any(|function| process::memory(function.id).is_some()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("a function ends when its runtime API is gone");
    }

    /// The function's process.
    pub fn function(&self) -> u32 {
        let emulator = self.process.id().expect("the emulator runs");
        process::children(emulator).first().expect("the function runs").id
    }
}

/// The number that follows `name` in a line; 0 if something else follows.
fn number_after(line: &str, name: &str) -> Option<f64> {
    let (_, after) = line.split_once(name)?;
    let number: String = after.chars().take_while(|char| char.is_ascii_digit() || *char == '.').collect();
    Some(number.parse().unwrap_or(0.0))
}

async fn copy_lines(output: impl AsyncRead + Unpin, lines: mpsc::UnboundedSender<String>) {
    let mut output = BufReader::new(output).lines();
    while let Ok(Some(line)) = output.next_line().await {
        let _ = lines.send(line);
    }
}
