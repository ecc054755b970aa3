//! How the set is deployed: the queues, the secrets, and each function with just the variables it uses.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use crate::SandboxSettings;
use crate::bot_platform::BotPlatformSettings;
use crate::cloud::Cloud;
use crate::cloud::fifo::{FifoQueue, QueueSettings};
use crate::contact_center::{Authentication, ContactCenterApi, ContactCenterSettings};
use crate::faults::{Fault, Faults};
use crate::lambda::{Function, FunctionSettings, LogLine};

const EVENT_QUEUE: &str = "events.fifo";
const DEAD_LETTER_QUEUE: &str = "dead-letters.fifo";
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

/// The C library's settings, as the template has them.
const GLIBC_TUNABLES: &str = "glibc.malloc.tcache_count=127";

/// Six times deliver-message's time-out, as AWS advises.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(180);

/// A message is received about every 75 seconds: 1000 receives are more than twenty hours, three times the outage that has to
/// lose nothing.
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
    /// Between receive-message and deliver-message.
    pub events: Arc<FifoQueue>,
    /// What the bot platform will never take.
    pub dead_letters: Arc<FifoQueue>,
}

/// The functions of the set.
#[derive(Debug)]
pub struct Functions {
    /// `POST /v1/liveAgent/receiveMessage`.
    pub receive_message: Arc<Function>,
    /// The queue's consumer.
    pub deliver_message: Arc<Function>,
    /// Every five minutes.
    pub refresh_tokens: Arc<Function>,
    /// Direct invokes.
    pub register_channel: Arc<Function>,
    /// `POST /tenant-users/oauth2/token`.
    pub issue_token: Arc<Function>,
    /// Secrets Manager's rotation.
    pub rotate_signing_key: Arc<Function>,
    /// `/v1/liveAgent/conversations…`.
    pub converse: Arc<Function>,
}

/// Where the parts of the set find what is around them.
#[derive(Debug)]
pub struct Surroundings<'a> {
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
pub fn create_queues(cloud: &Cloud, haste: u32) -> Queues {
    let settings =
        QueueSettings { visibility_timeout: VISIBILITY_TIMEOUT, redrive: None, deduplicates_per_group: true, haste };
    let dead_letters = FifoQueue::new(settings.clone());
    let redrive = Some((MAX_RECEIVE_COUNT, Arc::clone(&dead_letters)));
    let events = FifoQueue::new(QueueSettings { redrive, ..settings });
    cloud.sqs.add(EVENT_QUEUE, Arc::clone(&events));
    cloud.sqs.add(DEAD_LETTER_QUEUE, Arc::clone(&dead_letters));
    Queues { events, dead_letters }
}

/// Creates the secrets as a person sets them up, and the empty ones.
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
    // As the template generates it: the first rotation fills in the rest.
    cloud.secrets.set(CALLER_SECRET, &json!({ "username": "sandbox-caller", "signing_key": crate::id::base64() }));
    for name in [CONTACT_CENTER_TOKEN_SECRET, BOT_TOKEN_SECRET, CHANNEL_SECRET] {
        cloud.secrets.set(name, &json!({}));
    }
}

/// Creates the tables.
pub fn create_tables(cloud: &Cloud) {
    cloud.dynamo_db.add(IDEMPOTENCY_TABLE, "id");
}

/// Deploys the functions whose binaries lie in `binaries`.
pub fn deploy(
    settings: &SandboxSettings,
    around: &Surroundings<'_>,
    cloud: &Cloud,
    binaries: &Path,
    faults: &Arc<Faults>,
    logs: &mpsc::UnboundedSender<LogLine>,
) -> Functions {
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
        ("INTEGRATION_NAME", "sandbox".to_owned()),
        ("CONTACT_CENTER_ENDPOINT", around.contact_center_endpoint.to_owned()),
        ("CONTACT_CENTER_API", api.to_owned()),
        ("CONTACT_CENTER_TENANT_ID", contact_center.tenant_id.clone()),
        ("CONTACT_CENTER_AUTHENTICATION", authentication.to_owned()),
        ("CONTACT_CENTER_SECRET_ID", CONTACT_CENTER_SECRET.to_owned()),
        ("CONTACT_CENTER_ACCESS_TOKEN_URL", around.access_token_url.to_owned()),
        ("CONTACT_CENTER_TOKEN_SECRET_ID", CONTACT_CENTER_TOKEN_SECRET.to_owned()),
        ("BOT_ENDPOINT", around.bot_endpoint.to_owned()),
        ("BOT_SECRET_ID", BOT_SECRET.to_owned()),
        ("BOT_TOKEN_SECRET_ID", BOT_TOKEN_SECRET.to_owned()),
        ("CALLBACK_URL", around.callback_url.to_owned()),
        ("CALLBACK_AUTHENTICATION", settings.callback_authentication.name().to_owned()),
        ("CALLER_SECRET_ID", CALLER_SECRET.to_owned()),
        ("REFRESH_TOKEN_DAYS", "30".to_owned()),
        ("EVENT_QUEUE_URL", cloud.queue_url(EVENT_QUEUE)),
        ("DEAD_LETTER_QUEUE_URL", cloud.queue_url(DEAD_LETTER_QUEUE)),
        ("CHANNEL_SECRET_ID", CHANNEL_SECRET.to_owned()),
        ("IDEMPOTENCY_TABLE", IDEMPOTENCY_TABLE.to_owned()),
        ("AWS_ENDPOINT_URL", around.cloud_url.to_owned()),
        ("GLIBC_TUNABLES", GLIBC_TUNABLES.to_owned()),
    ]);
    let function = |name, seconds, concurrency, killed_by, groups: &[&[&str]]| {
        let names = groups.iter().copied().flatten().chain(&["AWS_ENDPOINT_URL", "GLIBC_TUNABLES"]);
        let variables = names.map(|name| ((*name).to_owned(), values[name].clone())).collect();
        let timeout = Duration::from_secs(seconds);
        let settings =
            FunctionSettings { name, binary: binaries.join(name), variables, timeout, concurrency, killed_by };
        Function::new(settings, Arc::clone(faults), logs.clone())
    };
    let has_token = contact_center.authentication != Authentication::ApiKey;
    let if_token = |names: &'static [&'static str]| if has_token { names } else { &[] };

    let the_contact_center: &[_] = &["CONTACT_CENTER_ENDPOINT", "CONTACT_CENTER_API", "CONTACT_CENTER_TENANT_ID"];
    let the_bot: &[_] = &["BOT_ENDPOINT", "BOT_SECRET_ID", "BOT_TOKEN_SECRET_ID"];
    let the_callers: &[_] = &["INTEGRATION_NAME", "CALLER_SECRET_ID"];
    let callers_if_asked =
        if settings.callback_authentication == CallbackAuthentication::Signature { &[] } else { the_callers };
    let token = if_token(&["CONTACT_CENTER_ACCESS_TOKEN_URL", "CONTACT_CENTER_TOKEN_SECRET_ID"]);
    Functions {
        receive_message: function(
            "receive-message",
            15,
            settings.concurrency,
            Fault::KillReceive,
            &[the_contact_center, &["CALLBACK_AUTHENTICATION", "EVENT_QUEUE_URL"], callers_if_asked],
        ),
        deliver_message: function(
            "deliver-message",
            30,
            settings.concurrency,
            Fault::KillDeliver,
            &[the_bot, &["EVENT_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"]],
        ),
        refresh_tokens: function(
            "refresh-tokens",
            90,
            1,
            Fault::KillRefresh,
            &[the_bot, &["CONTACT_CENTER_AUTHENTICATION"], token, if_token(&["CONTACT_CENTER_SECRET_ID"])],
        ),
        register_channel: function(
            "register-channel",
            120,
            1,
            Fault::KillRegister,
            &[
                the_contact_center,
                &["CONTACT_CENTER_AUTHENTICATION", "CONTACT_CENTER_SECRET_ID"],
                token,
                &["INTEGRATION_NAME", "CALLBACK_URL", "CHANNEL_SECRET_ID"],
            ],
        ),
        issue_token: function(
            "issue-token",
            15,
            settings.concurrency,
            Fault::KillIssue,
            &[the_callers, &["REFRESH_TOKEN_DAYS"]],
        ),
        rotate_signing_key: function(
            "rotate-signing-key",
            60,
            1,
            Fault::KillRotate,
            &[&["CALLER_SECRET_ID", "REFRESH_TOKEN_DAYS"]],
        ),
        converse: function(
            "converse",
            29,
            settings.concurrency,
            Fault::KillConverse,
            &[
                the_contact_center,
                &["CONTACT_CENTER_AUTHENTICATION", "CONTACT_CENTER_SECRET_ID"],
                token,
                the_callers,
                &["CHANNEL_SECRET_ID", "IDEMPOTENCY_TABLE"],
            ],
        ),
    }
}
