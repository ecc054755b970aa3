//! The function set on one machine, without an account, a container or a network.
//!
//! The functions are their real binaries, each a process of its own. Everything around them is simulated, on loopback ports and
//! with the real wire protocols, by crates of their own: `contact_center` (8x8), `bot_platform` (an Aisera tenant, as far as it
//! receives events) and `aws`. This crate connects them:
//!
//! | module | what it is |
//! |---|---|
//! | [`deployment`] | the counterpart of the template: the functions, and which variables each gets |
//! | [`build`] | the functions' binaries |
//! | [`load_balancer`] | the load balancer that some 8x8 tenants put in front of us |
//! | [`chatbot`] | a bot that calls 8x8 through us |
//! | [`caller`] | how load balancer and chatbot log in at us |
//! | [`faults`] | the faults of all simulators |
//! | [`console`] | the page that shows every hop, with buttons |
//! | [`doctor`] | the report of check-integration as a table |
//! | [`handover`], [`soak`], [`verdict`] | a scripted hand-over, a load with faults, and the result of a run |
//! | [`trace`] | the log lines of each event |
//! | [`own_bot`] | a user's own bot in place of the simulated bot platform |
//! | [`peers`] | 8x8 and the bot platform alone, for a set that is deployed elsewhere |

pub mod build;
pub mod caller;
pub mod chatbot;
pub mod console;
pub mod deployment;
pub mod doctor;
pub mod faults;
pub mod handover;
pub mod load_balancer;
pub mod own_bot;
pub mod peers;
pub mod soak;
pub mod trace;
pub mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws::cloud::Cloud;
use aws::http_api::{self, EventHeaders, Route};
use aws::lambda::{Clock, Function, InvokeError, LogLine};
use aws::{event_source, scheduler};
use axum::http::Method;
use bot_platform::{BotPlatform, BotPlatformSettings};
use contact_center::{ContactCenter, ContactCenterSettings};
use serde_json::{Value, json};
use simulation::faults::{PlannedFault, When};
use simulation::journal::Journal;
use simulation::server::Server;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use caller::Login;
use chatbot::Chatbot;
use deployment::{CALLER_SECRET, CallbackAuthentication, Endpoints, Queues};
use faults::{Fault, SandboxFaults};
use load_balancer::LoadBalancer;

/// The path of our public route.
pub const RECEIVE_MESSAGE: &str = "/v1/liveAgent/receiveMessage";
/// The path of our token endpoint.
pub const TOKEN: &str = "/tenant-users/oauth2/token";
/// The path of the bot's half.
pub const CONVERSATIONS: &str = "/v1/liveAgent/conversations";

/// The settings of a sandbox.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// `INTEGRATION_NAME`, which is part of the names of webhook and channel at 8x8.
    pub integration_name: String,
    /// 8x8.
    pub contact_center: ContactCenterSettings,
    /// The bot platform.
    pub bot: BotPlatformSettings,
    /// A contact center outside the sandbox, instead of ours.
    pub contact_center_endpoint: Option<String>,
    /// The token endpoint of that contact center.
    pub access_token_url: Option<String>,
    /// A bot platform outside the sandbox, instead of ours.
    pub bot_endpoint: Option<String>,
    /// The URL at which a contact center outside this machine reaches `receiveMessage`.
    pub callback_url: Option<String>,
    /// How 8x8's events prove that they are genuine. If not only by the signature, a load balancer is in front of us.
    pub callback_authentication: CallbackAuthentication,
    /// The stack's `TenantId`, if it is not 8x8's own.
    pub tenant_id: Option<&'static str>,
    /// Whether every hop is printed.
    pub is_shown: bool,
    /// The largest number of processes of receive-message, and of deliver-message.
    pub concurrency: usize,
    /// How many times faster than at SQS a returned message becomes visible again.
    pub time_scale: u32,
    /// Time-outs of functions that differ from the template's.
    pub timeouts: BTreeMap<&'static str, Duration>,
    /// `MAX_EVENT_AGE_MINUTES`
    pub max_event_age_minutes: u64,
    /// The minutes without an agent after which the bridge ends a conversation; 0 means never.
    pub no_agent_minutes: u32,
    /// The minutes without a reply of the customer after which the bridge ends a conversation; 0 means never.
    pub customer_idle_minutes: u32,
    /// Whether the clock of the functions can be set ahead.
    pub has_clock: bool,
    /// A file to which the functions' log lines are written too.
    pub logs: Option<PathBuf>,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            integration_name: "sandbox".to_owned(),
            contact_center: ContactCenterSettings::default(),
            bot: BotPlatformSettings::default(),
            contact_center_endpoint: None,
            access_token_url: None,
            bot_endpoint: None,
            callback_url: None,
            callback_authentication: CallbackAuthentication::default(),
            tenant_id: None,
            is_shown: false,
            concurrency: 8,
            time_scale: 1,
            timeouts: BTreeMap::new(),
            max_event_age_minutes: 0,
            no_agent_minutes: 0,
            customer_idle_minutes: 0,
            has_clock: false,
            logs: None,
        }
    }
}

/// A running set.
#[derive(Debug)]
pub struct Sandbox {
    /// The faults of all simulators.
    pub faults: SandboxFaults,
    /// The journal of all hops.
    pub journal: Arc<Journal>,
    /// AWS.
    pub cloud: Arc<Cloud>,
    /// The queues.
    pub queues: Queues,
    /// 8x8.
    pub contact_center: Arc<ContactCenter>,
    /// The server at which the functions reach it.
    pub contact_center_server: Server,
    /// The bot platform.
    pub bot: Arc<BotPlatform>,
    /// The functions of [`deployment::FUNCTIONS`].
    pub functions: Vec<Arc<Function>>,
    /// The load balancer in front of us, which adds the caller's headers.
    pub load_balancer: Arc<LoadBalancer>,
    /// A bot that talks to 8x8 through us.
    pub chatbot: Chatbot,
    /// The clock of the functions, if it can be set.
    clock: Option<Arc<Clock>>,
    /// The addresses of the parts: name and URL.
    pub addresses: Vec<(&'static str, String)>,
    callback_url: String,
    /// Whether the bot platform is simulated, so that its receipts are known.
    pub plays_bot: bool,
    _servers: Vec<Server>,
    tasks: Vec<JoinHandle<()>>,
}

impl Sandbox {
    /// Builds the functions if they are not up to date and starts everything.
    pub async fn start(settings: SandboxSettings) -> Self {
        let faults = SandboxFaults::default();
        let journal = Arc::new(Journal::new(settings.is_shown));
        let clients = contact_center::Clients {
            webhook: deployment::RECEIVE_MESSAGE,
            conversations: deployment::CONVERSE,
            registrar: deployment::REGISTER_CHANNEL,
        };
        let contact_center = ContactCenterSettings { clients, ..settings.contact_center.clone() };
        let (contact_center, server) =
            ContactCenter::start(contact_center, Arc::clone(&faults.contact_center), Arc::clone(&journal)).await;
        let sandbox = Self::join(settings, faults, journal, contact_center, server).await;
        sandbox.contact_center.aim_forgers_at(sandbox.api_url(RECEIVE_MESSAGE));
        sandbox
    }

    /// Starts another set at the same 8x8, with its own AWS account and bot platform, like a second stack on one tenant. The
    /// second set reaches 8x8 at its own server, [`Self::contact_center_server`], and shares 8x8's faults and the journal with
    /// the first set. `settings` needs another [`SandboxSettings::integration_name`]; the settings of 8x8 are those of the
    /// first set.
    pub async fn start_beside(&self, settings: SandboxSettings) -> Self {
        let settings = SandboxSettings { contact_center: self.contact_center.settings().clone(), ..settings };
        let contact_center = Arc::clone(&self.faults.contact_center);
        let faults = SandboxFaults { contact_center, ..SandboxFaults::default() };
        let server = self.contact_center.second_server().await;
        Self::join(settings, faults, Arc::clone(&self.journal), Arc::clone(&self.contact_center), server).await
    }

    /// Starts everything except 8x8.
    async fn join(
        settings: SandboxSettings,
        faults: SandboxFaults,
        journal: Arc<Journal>,
        contact_center: Arc<ContactCenter>,
        contact_center_server: Server,
    ) -> Self {
        let binaries = build::functions();
        let (cloud, cloud_server) = Cloud::start(Arc::clone(&faults.aws), Arc::clone(&journal)).await;
        let callers = bot_platform::Callers { logs_in: "the functions", delivers: deployment::DELIVER_MESSAGE };
        let bot = BotPlatformSettings { callers, ..settings.bot.clone() };
        let (bot, bot_server) = BotPlatform::start(bot, Arc::clone(&faults.bot_platform), Arc::clone(&journal)).await;
        let queues = deployment::create_queues(&cloud, settings.time_scale);
        deployment::create_tables(&cloud);
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
        let (load_balancer, load_balancer_server) =
            LoadBalancer::start(&api_url, RECEIVE_MESSAGE, Arc::clone(&journal)).await;
        let own_callback_url = match settings.callback_authentication {
            CallbackAuthentication::Signature => format!("{api_url}{RECEIVE_MESSAGE}"),
            CallbackAuthentication::Headers | CallbackAuthentication::Either | CallbackAuthentication::Both => {
                format!("{}/callbacks", load_balancer_server.url())
            }
        };
        let callback_url = or(&settings.callback_url, own_callback_url);
        let endpoints = Endpoints {
            contact_center_endpoint: &contact_center_endpoint,
            access_token_url: &access_token_url,
            bot_endpoint: &bot_endpoint,
            callback_url: &callback_url,
            cloud_url: &cloud_server.url(),
        };
        let (log_sender, log_task) = collect_logs(Arc::clone(&cloud), settings.logs.clone());
        let clock = settings.has_clock.then(|| Arc::new(Clock::new(build::clock())));
        let functions =
            deployment::deploy(&settings, &endpoints, &cloud, &binaries, &faults.aws, clock.as_ref(), &log_sender);

        let function = |name| Arc::clone(named(&functions, name));
        let route = |method, path, name, events| Route { method, path, function: function(name), events };
        let events = EventHeaders { sender: "8x8", id: "x-8x8-event-id", retry: "x-8x8-retry" };
        let routes = vec![
            route(Some(Method::POST), RECEIVE_MESSAGE, deployment::RECEIVE_MESSAGE, Some(events)),
            route(Some(Method::POST), TOKEN, deployment::ISSUE_TOKEN, None),
            route(None, CONVERSATIONS, deployment::CONVERSE, None),
            route(None, "/v1/liveAgent/conversations/{proxy+}", deployment::CONVERSE, None),
        ];
        let api = http_api::start(api_listener, routes, Arc::clone(&journal));
        let tasks = vec![
            log_task,
            event_source::start(
                Arc::clone(&queues.events),
                function(deployment::DELIVER_MESSAGE),
                settings.concurrency,
                Arc::clone(&journal),
            ),
            scheduler::start(function(deployment::REFRESH_TOKENS), Duration::from_secs(300)),
            scheduler::start(function(deployment::WATCH_HANDOVERS), Duration::from_secs(60)),
        ];
        let chatbot = Chatbot::new(&api_url, Arc::clone(&journal));
        let addresses = vec![
            ("8x8", contact_center_endpoint.clone()),
            ("bot platform", bot_endpoint.clone()),
            ("our API", api_url),
            ("our callback URL", callback_url.clone()),
            ("AWS", cloud_server.url()),
        ];
        let servers = vec![cloud_server, bot_server, load_balancer_server, api];
        let sandbox = Self {
            faults,
            journal,
            cloud,
            queues,
            contact_center,
            contact_center_server,
            bot,
            functions,
            load_balancer,
            chatbot,
            clock,
            addresses,
            callback_url,
            plays_bot: settings.bot_endpoint.is_none(),
            _servers: servers,
            tasks,
        };
        sandbox.rotate_signing_key().await.expect("the first rotation fills the caller secret in");
        sandbox.load_balancer.caller.configure(sandbox.caller_login()).await;
        sandbox.chatbot.caller.configure(sandbox.caller_login()).await;
        sandbox
    }

    /// The credentials of a caller, as an administrator finds them in the secret.
    pub fn caller_login(&self) -> Login {
        let secret = self.cloud.secrets.current(CALLER_SECRET);
        let text = |field: &str| secret[field].as_str().expect("the secret is filled in").to_owned();
        Login { app_token: text("app_token"), username: text("username"), password: text("password") }
    }

    /// Rotates the caller secret, as Secrets Manager does on its schedule.
    pub async fn rotate_signing_key(&self) -> Result<(), InvokeError> {
        let token = self.cloud.secrets.begin_rotation(CALLER_SECRET);
        for step in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
            let event = json!({ "Step": step, "SecretId": CALLER_SECRET, "ClientRequestToken": token });
            self.function(deployment::ROTATE_SIGNING_KEY).invoke(&event).await?;
        }
        Ok(())
    }

    /// The URL of a path of our API.
    pub fn api_url(&self, path: &str) -> String {
        let api = self.addresses.iter().find(|(name, _)| *name == "our API").expect("it is listed");
        format!("{}{path}", api.1)
    }

    /// Our public `receiveMessage`.
    pub fn callback_url(&self) -> &str {
        &self.callback_url
    }

    /// Registers webhook and channel with that queue and returns the channel's id.
    pub async fn register(&self, queue_id: &str) -> Result<String, InvokeError> {
        let response = self.invoke_register(json!({ "operation": "register", "queue_id": queue_id })).await?;
        Ok(response["channel_id"].as_str().expect("a registration has a channel").to_owned())
    }

    /// Makes the bot platform register its own webhook and channel at 8x8, as an Aisera tenant does, and returns the channel's
    /// id.
    pub fn register_by_bot_platform(&self) -> String {
        let bot = self.addresses.iter().find(|(name, _)| *name == "bot platform").map(|(_, url)| url.as_str());
        let uri = format!("{}{RECEIVE_MESSAGE}", bot.unwrap_or_default().trim_end_matches('/'));
        self.contact_center.add_foreign("aisera-acme", &uri).1
    }

    /// Adopts a channel that another system registered.
    pub async fn adopt(&self, channel_id: &str) -> Result<Value, InvokeError> {
        self.invoke_register(json!({ "operation": "adopt", "channel_id": channel_id })).await
    }

    /// Releases the adopted channel.
    pub async fn release(&self) -> Result<Value, InvokeError> {
        self.invoke_register(json!({ "operation": "release" })).await
    }

    /// Sets only the functions' clock ahead by this time, from now on.
    ///
    /// # Panics
    /// If [`SandboxSettings::has_clock`] is not set.
    pub fn set_clock_ahead(&self, by: Duration) {
        self.clock.as_ref().expect("the functions have a clock that can be set").set_ahead(by);
    }

    /// The function of that name.
    ///
    /// # Panics
    /// If [`deployment::FUNCTIONS`] does not have it.
    pub fn function(&self, name: &str) -> &Arc<Function> {
        named(&self.functions, name)
    }

    /// Invokes register-channel.
    pub async fn invoke_register(&self, request: Value) -> Result<Value, InvokeError> {
        let response = self.function(deployment::REGISTER_CHANNEL).invoke(&request).await?;
        Ok(serde_json::from_slice(&response).expect("functions answer with JSON"))
    }

    /// Invokes check-integration, which reports what is wrong with the set and what to do.
    pub async fn check_integration(&self) -> Result<Value, InvokeError> {
        let response = self.function(deployment::CHECK_INTEGRATION).invoke(&json!({})).await?;
        Ok(serde_json::from_slice(&response).expect("functions answer with JSON"))
    }

    /// Invokes refresh-tokens, as the schedule does.
    pub async fn refresh_tokens(&self) -> Result<Value, InvokeError> {
        let response = self.function(deployment::REFRESH_TOKENS).invoke(&json!({ "source": "aws.scheduler" })).await?;
        Ok(serde_json::from_slice(&response).expect("functions answer with JSON"))
    }

    /// Invokes watch-handovers, as the schedule does.
    pub async fn watch_handovers(&self) -> Result<Value, InvokeError> {
        let response = self.function(deployment::WATCH_HANDOVERS).invoke(&json!({ "source": "aws.scheduler" })).await?;
        Ok(serde_json::from_slice(&response).expect("functions answer with JSON"))
    }

    /// Invokes manage-dead-letters.
    pub async fn manage_dead_letters(&self, request: Value) -> Result<Value, InvokeError> {
        let response = self.function(deployment::MANAGE_DEAD_LETTERS).invoke(&request).await?;
        Ok(serde_json::from_slice(&response).expect("functions answer with JSON"))
    }

    /// Every line that a function wrote.
    pub fn logs(&self) -> Vec<LogLine> {
        self.cloud.logs.all()
    }

    /// Log lines that hold something forbidden: a secret, a token, a signature, the text of a message, a person's name.
    pub fn leaks(&self) -> Vec<String> {
        /// The beginnings of secret values and texts in the simulated systems; `{"b64"` and `{"alg"` in base64 begin a JWS or a
        /// JWT.
        const PLANTED: [&str; 7] =
            ["8x8-access-", "bot-access-", "bot-refresh-", "confidential", "Sandbox Customer", "eyJiNjQi", "eyJhbGci"];

        let known = &self.contact_center.settings().credentials;
        let bot = self.bot.settings();
        let caller = self.cloud.secrets.current(CALLER_SECRET);
        let caller = ["app_token", "password", "signing_key"].map(|field| caller[field].as_str().unwrap_or("none"));
        let secrets = [
            &*known.api_key,
            &*known.api_secret,
            &*known.username,
            &*known.password,
            &*bot.app_token,
            &*bot.username,
            &*bot.password,
        ];
        let planted: Vec<&str> = PLANTED.into_iter().chain(secrets).chain(caller).collect();
        let logs = self.logs();
        let leaking = logs.iter().filter(|line| planted.iter().any(|secret| line.text.contains(secret)));
        leaking.map(|line| format!("{}: {}", line.function, line.text)).collect()
    }

    /// Waits until every event of 8x8 is accepted and every accepted event has left the queue. `false` if that takes longer
    /// than `patience`.
    pub async fn settle(&self, patience: Duration) -> bool {
        let settled = async {
            while self.contact_center.unanswered() > 0 || !self.queues.events.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(patience, settled).await.is_ok()
    }

    /// Switches a fault on, or off with [`When::Next`] of 0.
    pub fn fault(&self, fault: impl Into<Fault>, when: When) {
        let fault = fault.into();
        self.journal.switched(&PlannedFault { fault, when }.to_string());
        self.faults.set(fault, when);
    }

    /// From now on the bot platform delays its responses by this time; `None` ends the delay.
    pub fn slow_bot(&self, by: Option<Duration>) {
        self.journal.switched(&format!("bot-slow={}s", by.unwrap_or_default().as_secs_f64()));
        match by {
            Some(by) => self.bot.delay_responses(None, by),
            None => self.bot.answer_at_once(),
        }
    }

    /// Kills the idle processes of a function, and the next process during its work. `false` if there is no such function.
    pub fn kill(&self, name: &str) -> bool {
        let Some(function) = self.functions.iter().find(|function| function.name() == name) else {
            return false;
        };
        self.journal.killed(name);
        function.recycle();
        self.faults.set(aws::Fault::Kill(function.name()), When::Next(1));
        true
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn named<'f>(functions: &'f [Arc<Function>], name: &str) -> &'f Arc<Function> {
    functions.iter().find(|function| function.name() == name).expect("the table has every function")
}

fn collect_logs(cloud: Arc<Cloud>, file: Option<PathBuf>) -> (mpsc::UnboundedSender<LogLine>, JoinHandle<()>) {
    let (sender, mut lines) = mpsc::unbounded_channel::<LogLine>();
    let mut file = file.map(|path| std::fs::File::create(path).expect("the log file can be written"));
    let task = tokio::spawn(async move {
        use std::io::Write;

        while let Some(line) = lines.recv().await {
            if let Some(file) = &mut file {
                writeln!(file, "{:<16} {}", line.function, line.text).expect("the log file can be written");
            }
            cloud.logs.add(line);
        }
    });
    (sender, task)
}
