//! The deployment of the set: the queues, the secrets, and each function with only the variables that it uses.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws::cloud::Cloud;
use aws::cloud::fifo::{FifoQueue, QueueSettings};
use aws::cloud::logs::log_group;
use aws::lambda::{Clock, Function, FunctionSettings, LogLine};
use bot_platform::BotPlatformSettings;
use contact_center::{Authentication, ContactCenterApi, ContactCenterSettings};
use serde_json::json;
use simulation::faults::Faults;
use tokio::sync::mpsc;

use crate::SandboxSettings;

/// The queues' names.
pub const EVENT_QUEUE: &str = "events.fifo";
/// See [`EVENT_QUEUE`].
pub const DEAD_LETTER_QUEUE: &str = "dead-letters.fifo";
/// The secrets' names.
pub const CONTACT_CENTER_SECRET: &str = "contact-center";
/// See [`CONTACT_CENTER_SECRET`].
pub const CONTACT_CENTER_TOKEN_SECRET: &str = "contact-center-token";
/// See [`CONTACT_CENTER_SECRET`].
pub const BOT_SECRET: &str = "bot";
/// See [`CONTACT_CENTER_SECRET`].
pub const BOT_TOKEN_SECRET: &str = "bot-token";
/// See [`CONTACT_CENTER_SECRET`].
pub const CHANNEL_SECRET: &str = "channel";
/// See [`CONTACT_CENTER_SECRET`].
pub const CALLER_SECRET: &str = "caller";

/// The table of idempotency keys.
pub const IDEMPOTENCY_TABLE: &str = "idempotency";

/// The table of hand-overs.
pub const HANDOVER_TABLE: &str = "handovers";

/// Six times deliver-message's time-out, as AWS advises.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(180);

/// A message is received about every 75 seconds: 1000 receives take more than twenty hours, three times the outage in which no
/// event may be lost.
const MAX_RECEIVE_COUNT: u32 = 1000;

/// `CALLBACK_AUTHENTICATION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum CallbackAuthentication {
    /// By 8x8's signature.
    #[default]
    Signature,
    /// By the two headers of a load balancer in front.
    Headers,
    /// By one of them.
    Either,
    /// By both.
    Both,
}

impl CallbackAuthentication {
    fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Headers => "headers",
            Self::Either => "either",
            Self::Both => "both",
        }
    }
}

/// The event queue and its dead-letter queue.
#[derive(Debug)]
pub struct Queues {
    /// The queue between receive-message and deliver-message.
    pub events: Arc<FifoQueue>,
    /// The queue of events that the bot platform will never accept.
    pub dead_letters: Arc<FifoQueue>,
}

/// The receiver of 8x8's events: `POST /v1/liveAgent/receiveMessage`.
pub const RECEIVE_MESSAGE: &str = "receive-message";
/// The consumer of the event queue.
pub const DELIVER_MESSAGE: &str = "deliver-message";
/// Refreshes our tokens, every five minutes.
pub const REFRESH_TOKENS: &str = "refresh-tokens";
/// Registers webhook and channel; invoked directly.
pub const REGISTER_CHANNEL: &str = "register-channel";
/// Issues tokens: `POST /tenant-users/oauth2/token`.
pub const ISSUE_TOKEN: &str = "issue-token";
/// Rotates the signing key for Secrets Manager.
pub const ROTATE_SIGNING_KEY: &str = "rotate-signing-key";
/// Lists, redrives and discards dead letters; invoked directly.
pub const MANAGE_DEAD_LETTERS: &str = "manage-dead-letters";
/// The bot's half: `/v1/liveAgent/conversations…`.
pub const CONVERSE: &str = "converse";
/// Writes hand-over metrics and runs the timers, every minute.
pub const WATCH_HANDOVERS: &str = "watch-handovers";

/// Reports what is wrong, and what to do; invoked directly.
pub const CHECK_INTEGRATION: &str = "check-integration";

/// A function as the template deploys it.
#[derive(Debug)]
pub struct FunctionRow {
    /// The name of folder, package and binary.
    pub name: &'static str,
    /// Its time-out in seconds.
    timeout: u64,
    /// The largest number of its processes.
    concurrency: Concurrency,
    /// The name of the fault that kills its processes, on the command line.
    pub killed_by: &'static str,
    /// The environment variables of the function.
    variables: &'static [Variables],
}

#[derive(Debug)]
enum Concurrency {
    One,
    /// [`SandboxSettings::concurrency`]
    Many,
}

/// Variables, and the condition on which a function gets them.
#[derive(Debug)]
enum Variables {
    Always(&'static [&'static str]),
    /// If access tokens are used at 8x8.
    WithToken(&'static [&'static str]),
    /// If callbacks have the headers of a caller.
    WithCallers(&'static [&'static str]),
}

impl FunctionRow {
    /// The names of its variables, without those that every function gets. `has_token`: access tokens are used at 8x8.
    /// `has_callers`: callbacks have the headers of a caller.
    pub fn variables(&self, has_token: bool, has_callers: bool) -> impl Iterator<Item = &'static str> {
        let names = self.variables.iter().map(move |variables| match variables {
            Variables::Always(names) => *names,
            Variables::WithToken(names) if has_token => *names,
            Variables::WithCallers(names) if has_callers => *names,
            Variables::WithToken(_) | Variables::WithCallers(_) => &[],
        });
        names.flatten().copied()
    }
}

const CONTACT_CENTER: Variables =
    Variables::Always(&["CONTACT_CENTER_ENDPOINT", "CONTACT_CENTER_API", "CONTACT_CENTER_TENANT_ID"]);
const CREDENTIALS: Variables = Variables::Always(&["CONTACT_CENTER_AUTHENTICATION", "CONTACT_CENTER_SECRET_ID"]);
const TOKEN: Variables = Variables::WithToken(&["CONTACT_CENTER_ACCESS_TOKEN_URL", "CONTACT_CENTER_TOKEN_SECRET_ID"]);
const BOT: Variables = Variables::Always(&["BOT_ENDPOINT", "BOT_SECRET_ID", "BOT_TOKEN_SECRET_ID"]);
const CALLERS: &[&str] = &["INTEGRATION_NAME", "CALLER_SECRET_ID"];
/// The variables of every function.
const ALL: &[&str] = &["AWS_ENDPOINT_URL"];

/// All functions. This is the only list of them in the sandbox; a test compares it with the template.
pub const FUNCTIONS: [FunctionRow; 10] = [
    FunctionRow {
        name: RECEIVE_MESSAGE,
        timeout: 15,
        concurrency: Concurrency::Many,
        killed_by: "kill-receive",
        variables: &[
            CONTACT_CENTER,
            Variables::Always(&["CALLBACK_AUTHENTICATION", "EVENT_QUEUE_URL"]),
            Variables::WithCallers(CALLERS),
        ],
    },
    FunctionRow {
        name: DELIVER_MESSAGE,
        timeout: 30,
        concurrency: Concurrency::Many,
        killed_by: "kill-deliver",
        variables: &[
            BOT,
            Variables::Always(&["EVENT_QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "HANDOVER_TABLE", "MAX_EVENT_AGE_MINUTES"]),
        ],
    },
    FunctionRow {
        name: REFRESH_TOKENS,
        timeout: 90,
        concurrency: Concurrency::One,
        killed_by: "kill-refresh",
        variables: &[
            BOT,
            Variables::Always(&["CONTACT_CENTER_AUTHENTICATION"]),
            TOKEN,
            Variables::WithToken(&["CONTACT_CENTER_SECRET_ID"]),
        ],
    },
    FunctionRow {
        name: REGISTER_CHANNEL,
        timeout: 120,
        concurrency: Concurrency::One,
        killed_by: "kill-register",
        variables: &[
            CONTACT_CENTER,
            CREDENTIALS,
            TOKEN,
            Variables::Always(&["INTEGRATION_NAME", "CALLBACK_URL", "CHANNEL_SECRET_ID"]),
        ],
    },
    FunctionRow {
        name: ISSUE_TOKEN,
        timeout: 15,
        concurrency: Concurrency::Many,
        killed_by: "kill-issue",
        variables: &[Variables::Always(CALLERS), Variables::Always(&["REFRESH_TOKEN_DAYS"])],
    },
    FunctionRow {
        name: ROTATE_SIGNING_KEY,
        timeout: 60,
        concurrency: Concurrency::One,
        killed_by: "kill-rotate",
        variables: &[Variables::Always(&["CALLER_SECRET_ID", "REFRESH_TOKEN_DAYS"])],
    },
    FunctionRow {
        name: CONVERSE,
        timeout: 29,
        concurrency: Concurrency::Many,
        killed_by: "kill-converse",
        variables: &[
            CONTACT_CENTER,
            CREDENTIALS,
            TOKEN,
            Variables::Always(CALLERS),
            Variables::Always(&["CHANNEL_SECRET_ID", "IDEMPOTENCY_TABLE", "HANDOVER_TABLE"]),
        ],
    },
    FunctionRow {
        name: WATCH_HANDOVERS,
        timeout: 55,
        concurrency: Concurrency::Many,
        killed_by: "kill-watch",
        variables: &[
            CONTACT_CENTER,
            CREDENTIALS,
            TOKEN,
            Variables::Always(&["HANDOVER_TABLE", "NO_AGENT_MINUTES", "CUSTOMER_IDLE_MINUTES"]),
        ],
    },
    FunctionRow {
        name: MANAGE_DEAD_LETTERS,
        timeout: 120,
        // Two operators can run it at the same time.
        concurrency: Concurrency::Many,
        killed_by: "kill-dead-letters",
        variables: &[Variables::Always(&["EVENT_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"])],
    },
    FunctionRow {
        name: CHECK_INTEGRATION,
        timeout: 30,
        concurrency: Concurrency::One,
        killed_by: "kill-check",
        variables: &[
            CONTACT_CENTER,
            CREDENTIALS,
            TOKEN,
            BOT,
            Variables::Always(CALLERS),
            Variables::Always(&["CALLBACK_URL", "CALLBACK_AUTHENTICATION", "CHANNEL_SECRET_ID"]),
            Variables::Always(&["EVENT_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"]),
            Variables::Always(&["RECEIVE_MESSAGE_LOG_GROUP", "DELIVER_MESSAGE_LOG_GROUP"]),
        ],
    },
];

/// The addresses of what surrounds the set.
#[derive(Debug)]
pub struct Endpoints<'a> {
    /// Base URL of the contact center's API.
    pub contact_center_endpoint: &'a str,
    /// Its token endpoint.
    pub access_token_url: &'a str,
    /// Base URL of the bot platform.
    pub bot_endpoint: &'a str,
    /// Our public `receiveMessage`.
    pub callback_url: &'a str,
    /// AWS.
    pub cloud_url: &'a str,
}

/// Creates the queues.
pub fn create_queues(cloud: &Cloud, time_scale: u32) -> Queues {
    let settings = QueueSettings {
        visibility_timeout: VISIBILITY_TIMEOUT,
        redrive: None,
        deduplicates_per_group: true,
        time_scale,
    };
    let dead_letters = FifoQueue::new(settings.clone());
    let redrive = Some((MAX_RECEIVE_COUNT, Arc::clone(&dead_letters)));
    let events = FifoQueue::new(QueueSettings { redrive, ..settings });
    cloud.sqs.add(EVENT_QUEUE, Arc::clone(&events));
    cloud.sqs.add(DEAD_LETTER_QUEUE, Arc::clone(&dead_letters));
    Queues { events, dead_letters }
}

/// Creates the secrets as a person would fill them in, and the empty ones.
pub fn create_secrets(cloud: &Cloud, contact_center: &ContactCenterSettings, bot: &BotPlatformSettings) {
    let known = &contact_center.credentials;
    let credentials = match contact_center.authentication {
        Authentication::ApiKey => json!({ "api_key": known.api_key }),
        Authentication::ClientCredentials => json!({ "api_key": known.api_key, "api_secret": known.api_secret }),
        Authentication::Password => {
            json!({ "api_key": known.api_key, "username": known.username, "password": known.password })
        }
    };
    cloud.secrets.set(CONTACT_CENTER_SECRET, &credentials);
    let bot = json!({ "app_token": bot.app_token, "username": bot.username, "password": bot.password });
    cloud.secrets.set(BOT_SECRET, &bot);
    // In the form that the template generates: the first rotation fills in the rest.
    let signing_key = format!("{}{}", simulation::id::base64(), simulation::id::base64());
    cloud.secrets.set(CALLER_SECRET, &json!({ "username": "sandbox-caller", "signing_key": signing_key }));
    for name in [CONTACT_CENTER_TOKEN_SECRET, BOT_TOKEN_SECRET, CHANNEL_SECRET] {
        cloud.secrets.set(name, &json!({}));
    }
}

/// Creates the tables.
pub fn create_tables(cloud: &Cloud) {
    cloud.dynamo_db.add(IDEMPOTENCY_TABLE, "id");
    cloud.dynamo_db.add(HANDOVER_TABLE, "id");
    cloud.dynamo_db.add_index(HANDOVER_TABLE, "open", "watched");
}

/// Deploys the functions whose binaries are in `binaries`.
pub fn deploy(
    settings: &SandboxSettings,
    endpoints: &Endpoints<'_>,
    cloud: &Cloud,
    binaries: &Path,
    faults: &Arc<Faults<aws::Fault>>,
    clock: Option<&Arc<Clock>>,
    logs: &mpsc::UnboundedSender<LogLine>,
) -> Vec<Arc<Function>> {
    let contact_center = &settings.contact_center;
    let api = match contact_center.api {
        ContactCenterApi::ChatGatewayV1 => "chat-gateway-v1",
        ContactCenterApi::ChatApiV2 => "chat-api-v2",
    };
    let authentication = match contact_center.authentication {
        Authentication::ApiKey => "api-key",
        Authentication::ClientCredentials => "client-credentials",
        Authentication::Password => "password",
    };
    let values = BTreeMap::from([
        ("INTEGRATION_NAME", settings.integration_name.clone()),
        ("CONTACT_CENTER_ENDPOINT", endpoints.contact_center_endpoint.to_owned()),
        ("CONTACT_CENTER_API", api.to_owned()),
        ("CONTACT_CENTER_TENANT_ID", settings.tenant_id.unwrap_or(&contact_center.tenant_id).to_owned()),
        ("CONTACT_CENTER_AUTHENTICATION", authentication.to_owned()),
        ("CONTACT_CENTER_SECRET_ID", CONTACT_CENTER_SECRET.to_owned()),
        ("CONTACT_CENTER_ACCESS_TOKEN_URL", endpoints.access_token_url.to_owned()),
        ("CONTACT_CENTER_TOKEN_SECRET_ID", CONTACT_CENTER_TOKEN_SECRET.to_owned()),
        ("BOT_ENDPOINT", endpoints.bot_endpoint.to_owned()),
        ("BOT_SECRET_ID", BOT_SECRET.to_owned()),
        ("BOT_TOKEN_SECRET_ID", BOT_TOKEN_SECRET.to_owned()),
        ("CALLBACK_URL", endpoints.callback_url.to_owned()),
        ("CALLBACK_AUTHENTICATION", settings.callback_authentication.name().to_owned()),
        ("CALLER_SECRET_ID", CALLER_SECRET.to_owned()),
        ("REFRESH_TOKEN_DAYS", "30".to_owned()),
        ("EVENT_QUEUE_URL", cloud.queue_url(EVENT_QUEUE)),
        ("DEAD_LETTER_QUEUE_URL", cloud.queue_url(DEAD_LETTER_QUEUE)),
        ("MAX_EVENT_AGE_MINUTES", settings.max_event_age_minutes.to_string()),
        ("CHANNEL_SECRET_ID", CHANNEL_SECRET.to_owned()),
        ("IDEMPOTENCY_TABLE", IDEMPOTENCY_TABLE.to_owned()),
        ("HANDOVER_TABLE", HANDOVER_TABLE.to_owned()),
        ("NO_AGENT_MINUTES", settings.no_agent_minutes.to_string()),
        ("CUSTOMER_IDLE_MINUTES", settings.customer_idle_minutes.to_string()),
        ("RECEIVE_MESSAGE_LOG_GROUP", log_group(RECEIVE_MESSAGE)),
        ("DELIVER_MESSAGE_LOG_GROUP", log_group(DELIVER_MESSAGE)),
        ("AWS_ENDPOINT_URL", endpoints.cloud_url.to_owned()),
    ]);
    let has_token = contact_center.authentication != Authentication::ApiKey;
    let has_callers = settings.callback_authentication != CallbackAuthentication::Signature;
    let deploy = |function: &FunctionRow| {
        let names = function.variables(has_token, has_callers).chain(ALL.iter().copied());
        let settings = FunctionSettings {
            name: function.name,
            binary: binaries.join(function.name),
            variables: names.map(|name| (name.to_owned(), values[name].clone())).collect(),
            timeout: settings.timeouts.get(function.name).copied().unwrap_or(Duration::from_secs(function.timeout)),
            concurrency: match function.concurrency {
                Concurrency::One => 1,
                Concurrency::Many => settings.concurrency,
            },
            clock: clock.cloned(),
        };
        Function::new(settings, Arc::clone(faults), logs.clone())
    };
    FUNCTIONS.iter().map(deploy).collect()
}
