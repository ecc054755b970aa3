//! One execution environment: a process, and the runtime API from which the process gets its work.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{Clock, FunctionSettings, InvokeError, LogLine};
use crate::cloud::{ACCESS_KEY_PREFIX, REGION};
use simulation::server::Server;

/// Lambda ends an init that takes longer.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);

type Outcome = Result<Bytes, Value>;

#[derive(Debug)]
struct Invocation {
    id: String,
    event: Bytes,
    deadline: u128,
    response: oneshot::Sender<Outcome>,
}

/// The state that the runtime API's handlers share.
#[derive(Debug)]
struct RuntimeApi {
    function: &'static str,
    next: Mutex<mpsc::Receiver<Invocation>>,
    current: std::sync::Mutex<Option<(String, oneshot::Sender<Outcome>)>>,
    asked: std::sync::Mutex<Option<oneshot::Sender<()>>>,
}

/// A process of a function.
#[derive(Debug)]
pub(super) struct ExecutionEnvironment {
    process: Child,
    invocations: mpsc::Sender<Invocation>,
    clock: Option<Arc<Clock>>,
    _runtime_api: Server,
}

impl ExecutionEnvironment {
    /// Starts the process and waits until it requests its first invocation; `None` if it ends before.
    pub(super) async fn start(settings: &FunctionSettings, logs: mpsc::UnboundedSender<LogLine>) -> Option<Self> {
        let (invocations, next) = mpsc::channel(1);
        let (asked, initialised) = oneshot::channel();
        let api = Arc::new(RuntimeApi {
            function: settings.name,
            next: Mutex::new(next),
            current: std::sync::Mutex::default(),
            asked: std::sync::Mutex::new(Some(asked)),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(hand_out))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .layer(axum::extract::DefaultBodyLimit::max(8 * 1024 * 1024))
            .with_state(api);
        let runtime_api = Server::start(router).await;
        let mut process = Command::new(&settings.binary)
            .env_clear()
            .envs(lambda_variables(settings.name, &runtime_api))
            .envs(&settings.variables)
            .envs(settings.clock.iter().flat_map(|clock| clock.variables()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", settings.binary.display()));
        let (stdout, stderr) =
            (process.stdout.take().expect("it is piped"), process.stderr.take().expect("it is piped"));
        tokio::spawn(copy_lines(settings.name, stdout, logs.clone()));
        tokio::spawn(copy_lines(settings.name, stderr, logs));
        tokio::select! {
            asked = tokio::time::timeout(INIT_TIMEOUT, initialised) => asked.ok()?.ok()?,
            _ = process.wait() => return None,
        }
        Some(Self { process, invocations, clock: settings.clock.clone(), _runtime_api: runtime_api })
    }

    /// Passes the event to the process. With `kill`, the process is killed while it processes the event.
    pub(super) async fn invoke(&mut self, event: Bytes, timeout: Duration, kill: bool) -> Result<Bytes, InvokeError> {
        let (response, responded) = oneshot::channel();
        let now = match &self.clock {
            Some(clock) => clock.now(),
            None => SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970"),
        };
        let deadline = now + timeout;
        let invocation = Invocation { id: simulation::id::uuid(), event, deadline: deadline.as_millis(), response };
        self.invocations.send(invocation).await.map_err(|_| InvokeError::Exited)?;
        let killed = async {
            if kill {
                // An event takes a few milliseconds: some processes are killed before their first call, some after their last.
                tokio::time::sleep(Duration::from_micros(fastrand::u64(0..4000))).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            response = responded => match response {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(error)) => Err(InvokeError::Function(error)),
                Err(_) => Err(InvokeError::Exited),
            },
            _ = self.process.wait() => Err(InvokeError::Exited),
            () = killed => {
                let _ = self.process.kill().await;
                Err(InvokeError::Exited)
            }
            () = tokio::time::sleep(timeout) => Err(InvokeError::TimedOut),
        }
    }

    pub(super) fn is_alive(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    pub(super) fn process(&self) -> Option<u32> {
        self.process.id()
    }
}

/// The environment variables that Lambda sets for every function.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
fn lambda_variables(name: &str, runtime_api: &Server) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.address().to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "sandbox".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", format!("{ACCESS_KEY_PREFIX}{name}")),
        ("AWS_SECRET_ACCESS_KEY", "sandbox-secret-access-key".to_owned()),
        ("AWS_SESSION_TOKEN", "sandbox-session-token".to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/opt/bin".to_owned()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ]
}

async fn copy_lines(function: &'static str, output: impl AsyncRead + Unpin, logs: mpsc::UnboundedSender<LogLine>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(text)) = lines.next_line().await {
        let _ = logs.send(LogLine { function, text });
    }
}

async fn hand_out(State(api): State<Arc<RuntimeApi>>) -> Response {
    if let Some(asked) = api.asked.lock().expect("no holder panics").take() {
        let _ = asked.send(());
    }
    let Some(invocation) = api.next.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.id.clone()),
        ("lambda-runtime-deadline-ms", invocation.deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            format!("arn:aws:lambda:us-east-1:123456789012:function:{}", api.function),
        ),
        ("content-type", "application/json".to_owned()),
    ];
    *api.current.lock().expect("no holder panics") = Some((invocation.id, invocation.response));
    (headers, Body::from(invocation.event)).into_response()
}

async fn response(State(api): State<Arc<RuntimeApi>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    finish(&api, &id, Ok(body))
}

async fn error(State(api): State<Arc<RuntimeApi>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    finish(&api, &id, Err(serde_json::from_slice(&body).unwrap_or_default()))
}

fn finish(api: &RuntimeApi, id: &str, response: Outcome) -> StatusCode {
    let mut current = api.current.lock().expect("no holder panics");
    match current.take_if(|(current, _)| current == id) {
        Some((_, sender)) => {
            let _ = sender.send(response);
            StatusCode::ACCEPTED
        }
        None => StatusCode::BAD_REQUEST,
    }
}
