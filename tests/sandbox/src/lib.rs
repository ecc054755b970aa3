//! The function set on one machine: no account, no container, no network.
//!
//! The functions are their real binaries, each a process of its own. Everything around them is played here, on loopback
//! ports and on the real wire protocols:
//!
//! | module | plays |
//! |---|---|
//! | [`lambda`] | AWS Lambda: processes and their runtime API |
//! | [`http_api`] | API Gateway |
//! | [`event_source`], [`scheduler`] | what invokes deliver-message and refresh-tokens |
//! | [`cloud`] | Secrets Manager and SQS |
//! | [`cloud_formation`] | CloudFormation's protocol for a custom resource |
//! | [`contact_center`] | 8x8 |
//! | [`bot_platform`] | an Aisera tenant |
//! | [`deployment`] | the template: which function gets what |
//! | [`faults`] | what goes wrong |
//! | [`journal`] | what is seen of it all |
//! | [`handover`], [`soak`], [`verdict`] | what is played on it, and what it shows |
//! | [`build`], [`server`], [`client`] | the functions' binaries; a server and a client on loopback |

pub mod bot_platform;
pub mod build;
pub mod client;
pub mod cloud;
pub mod cloud_formation;
pub mod contact_center;
pub mod deployment;
pub mod event_source;
pub mod faults;
pub mod handover;
pub mod http_api;
mod id;
pub mod journal;
pub mod lambda;
pub mod scheduler;
pub mod server;
pub mod soak;
pub mod verdict;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use bot_platform::{BotPlatform, BotPlatformSettings};
use cloud::Cloud;
use contact_center::{ContactCenter, ContactCenterSettings};
use deployment::{Functions, Queues, Surroundings};
use faults::{Fault, Faults, When};
use http_api::Route;
use journal::Journal;
use lambda::{Function, InvokeError, LogLine};
use server::Server;

/// The path of our public route.
pub const RECEIVE_MESSAGE: &str = "/v1/liveAgent/receiveMessage";

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// 8x8.
    pub contact_center: ContactCenterSettings,
    /// The bot platform.
    pub bot: BotPlatformSettings,
    /// Someone else's contact center instead of ours.
    pub contact_center_endpoint: Option<String>,
    /// Where its access tokens come from.
    pub access_token_url: Option<String>,
    /// Someone else's bot platform instead of ours.
    pub bot_endpoint: Option<String>,
    /// The URL under which a contact center outside this machine reaches `receiveMessage`.
    pub callback_url: Option<String>,
    /// Whether every hop is printed.
    pub is_shown: bool,
    /// At most so many processes of receive-message and of deliver-message.
    pub concurrency: usize,
    /// How many times faster than in life a message that was given back comes again.
    pub haste: u32,
    /// Where the functions' log lines are written to as well.
    pub logs: Option<PathBuf>,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            contact_center: ContactCenterSettings::default(),
            bot: BotPlatformSettings::default(),
            contact_center_endpoint: None,
            access_token_url: None,
            bot_endpoint: None,
            callback_url: None,
            is_shown: false,
            concurrency: 8,
            haste: 1,
            logs: None,
        }
    }
}

/// A running set.
#[derive(Debug)]
pub struct Sandbox {
    /// What goes wrong.
    pub faults: Arc<Faults>,
    /// What is seen.
    pub journal: Arc<Journal>,
    /// AWS.
    pub cloud: Arc<Cloud>,
    /// The queues.
    pub queues: Queues,
    /// 8x8.
    pub contact_center: Arc<ContactCenter>,
    /// The bot platform.
    pub bot: Arc<BotPlatform>,
    /// The functions.
    pub functions: Functions,
    /// Where the parts listen: name and URL.
    pub addresses: Vec<(&'static str, String)>,
    callback_url: String,
    /// Whether the bot platform is ours, so that it can be asked.
    pub plays_bot: bool,
    logs: Arc<Mutex<Vec<LogLine>>>,
    _servers: Vec<Server>,
    tasks: Vec<JoinHandle<()>>,
}

impl Sandbox {
    /// Builds the functions if they are not up to date and starts everything.
    pub async fn start(settings: SandboxSettings) -> Self {
        let binaries = build::functions();
        let faults = Arc::new(Faults::default());
        let journal = Arc::new(Journal::new(settings.is_shown));
        let (cloud, cloud_server) = Cloud::start(Arc::clone(&faults), Arc::clone(&journal)).await;
        let (contact_center, contact_center_server) =
            ContactCenter::start(settings.contact_center.clone(), Arc::clone(&faults), Arc::clone(&journal)).await;
        let (bot, bot_server) =
            BotPlatform::start(settings.bot.clone(), Arc::clone(&faults), Arc::clone(&journal)).await;
        let queues = deployment::create_queues(&cloud, settings.haste);
        deployment::create_secrets(&cloud, &settings.contact_center, &settings.bot);

        let api_listener = Server::listener().await;
        let api_url = format!("http://{}", api_listener.local_addr().expect("a bound listener has an address"));
        let or = |given: &Option<String>, own: String| given.clone().unwrap_or(own);
        let contact_center_endpoint = or(
            &settings.contact_center_endpoint,
            ContactCenter::endpoint(&settings.contact_center, &contact_center_server.url()),
        );
        let access_token_url =
            or(&settings.access_token_url, format!("{}/oauth/v2/token", contact_center_server.url()));
        let bot_endpoint = or(&settings.bot_endpoint, bot_server.url());
        let callback_url = or(&settings.callback_url, format!("{api_url}{RECEIVE_MESSAGE}"));
        let around = Surroundings {
            contact_center_endpoint: &contact_center_endpoint,
            access_token_url: &access_token_url,
            bot_endpoint: &bot_endpoint,
            callback_url: &callback_url,
            cloud_url: &cloud_server.url(),
        };
        let logs = Arc::new(Mutex::new(Vec::new()));
        let (log_sender, log_task) = collect_logs(Arc::clone(&logs), settings.logs.clone());
        let functions = deployment::deploy(&settings, &around, &cloud, &binaries, &faults, &log_sender);

        let routes = vec![Route {
            method: Method::POST,
            path: RECEIVE_MESSAGE,
            function: Arc::clone(&functions.receive_message),
        }];
        let api = http_api::start(api_listener, routes);
        let tasks = vec![
            log_task,
            event_source::start(
                Arc::clone(&queues.events),
                Arc::clone(&functions.deliver_message),
                settings.concurrency,
                Arc::clone(&journal),
            ),
            scheduler::start(Arc::clone(&functions.refresh_tokens), Duration::from_secs(300)),
        ];
        let addresses = vec![
            ("8x8", contact_center_endpoint.clone()),
            ("bot platform", bot_endpoint.clone()),
            ("our callback URL", callback_url.clone()),
            ("Secrets Manager and SQS", cloud_server.url()),
        ];
        let servers = vec![cloud_server, contact_center_server, bot_server, api];
        Self {
            faults,
            journal,
            cloud,
            queues,
            contact_center,
            bot,
            functions,
            addresses,
            callback_url,
            plays_bot: settings.bot_endpoint.is_none(),
            logs,
            _servers: servers,
            tasks,
        }
    }

    /// Our public `receiveMessage`.
    pub fn callback_url(&self) -> &str {
        &self.callback_url
    }

    /// Registers webhook and channel with that queue and gives the channel's id.
    pub async fn register(&self, queue_id: &str) -> Result<String, InvokeError> {
        let answer = self.invoke_register(json!({ "operation": "register", "queue_id": queue_id })).await?;
        Ok(answer["channel_id"].as_str().expect("a registration has a channel").to_owned())
    }

    /// The functions, all of them.
    pub fn all_functions(&self) -> [&Arc<Function>; 4] {
        let Functions { receive_message, deliver_message, refresh_tokens, register_channel } = &self.functions;
        [receive_message, deliver_message, refresh_tokens, register_channel]
    }

    /// Invokes register-channel.
    pub async fn invoke_register(&self, request: Value) -> Result<Value, InvokeError> {
        let answer = self.functions.register_channel.invoke(&request).await?;
        Ok(serde_json::from_slice(&answer).expect("functions answer with JSON"))
    }

    /// Invokes refresh-tokens, as the schedule does.
    pub async fn refresh_tokens(&self) -> Result<Value, InvokeError> {
        let answer = self.functions.refresh_tokens.invoke(&json!({ "source": "aws.scheduler" })).await?;
        Ok(serde_json::from_slice(&answer).expect("functions answer with JSON"))
    }

    /// Every line that a function wrote.
    pub fn logs(&self) -> Vec<LogLine> {
        self.logs.lock().expect("no holder panics").clone()
    }

    /// Log lines that hold what none may: a secret, a token, a signature, the text of a message, a person's name.
    pub fn leaks(&self) -> Vec<String> {
        /// Beginnings of what the simulated systems give out and send; `{"b64"` and `{"alg"` in base64: a JWS or a JWT.
        const PLANTED: [&str; 7] =
            ["8x8-access-", "bot-access-", "bot-refresh-", "confidential", "Sandbox Customer", "eyJiNjQi", "eyJhbGci"];

        let known = &self.contact_center.settings().credentials;
        let bot = self.bot.settings();
        let secrets = [
            &known.api_key,
            &known.api_secret,
            &known.username,
            &known.password,
            &bot.app_token,
            &bot.username,
            &bot.password,
        ];
        let planted: Vec<&str> = PLANTED.into_iter().chain(secrets.into_iter().map(String::as_str)).collect();
        let logs = self.logs.lock().expect("no holder panics");
        let leaking = logs.iter().filter(|line| planted.iter().any(|secret| line.text.contains(secret)));
        leaking.map(|line| format!("{}: {}", line.function, line.text)).collect()
    }

    /// Waits until every event of 8x8 is accepted and every accepted one has left the queue. `false` if that takes longer
    /// than `patience`.
    pub async fn settle(&self, patience: Duration) -> bool {
        let settled = async {
            while self.contact_center.unanswered() > 0 || !self.queues.events.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(patience, settled).await.is_ok()
    }

    /// Switches a fault on.
    pub fn fault(&self, fault: Fault, when: When) {
        self.faults.set(fault, when);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn collect_logs(
    logs: Arc<Mutex<Vec<LogLine>>>,
    file: Option<PathBuf>,
) -> (mpsc::UnboundedSender<LogLine>, JoinHandle<()>) {
    let (sender, mut lines) = mpsc::unbounded_channel::<LogLine>();
    let mut file = file.map(|path| std::fs::File::create(path).expect("the log file can be written"));
    let task = tokio::spawn(async move {
        use std::io::Write;

        while let Some(line) = lines.recv().await {
            if let Some(file) = &mut file {
                writeln!(file, "{:<16} {}", line.function, line.text).expect("the log file can be written");
            }
            logs.lock().expect("no holder panics").push(line);
        }
    });
    (sender, task)
}
