//! check-integration: each planted misconfiguration is named by exactly its check, and what the check says is to be done turns
//! it green. Nothing is changed anywhere, and the response comes in time whatever hangs.

mod at_8x8;
mod credentials;
mod events;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws::lambda::{Function, FunctionSettings, LogLine};
use bot_platform::Fault;
use contact_center::{Authentication, ContactCenterApi, ContactCenterSettings};
use http::StatusCode;
use sandbox::SandboxSettings;
use sandbox::deployment::{
    BOT_SECRET, BOT_TOKEN_SECRET, CALLER_SECRET, CHANNEL_SECRET, CHECK_INTEGRATION, CONTACT_CENTER_SECRET,
    CONTACT_CENTER_TOKEN_SECRET, CallbackAuthentication, IDEMPOTENCY_TABLE,
};
use serde_json::{Value, json};
use simulation::faults::When;
use tokio::sync::mpsc;

use crate::stand_in::{StandIn, delayed, response};
use crate::support::{PATIENCE, Stack};

const SECRETS: [&str; 6] =
    [BOT_SECRET, BOT_TOKEN_SECRET, CALLER_SECRET, CHANNEL_SECRET, CONTACT_CENTER_SECRET, CONTACT_CENTER_TOKEN_SECRET];

/// A stack with a token that is a minute old, and one event that was delivered.
struct CheckedStack {
    stack: Stack,
    /// What a person has set up.
    secrets: BTreeMap<&'static str, Value>,
    /// Variables of check-integration that are not the sandbox's, as other parameters of the stack would set them.
    variables: BTreeMap<&'static str, String>,
}

impl CheckedStack {
    async fn start() -> Self {
        Self::with(SandboxSettings::default()).await
    }

    async fn with(settings: SandboxSettings) -> Self {
        let stack = Stack::with(SandboxSettings { time_scale: 60, ..settings }).await;
        stack.refresh_tokens().await.expect("the first tokens");
        let secrets = SECRETS.map(|name| (name, stack.cloud.secrets.current(name)));
        let checked = Self { stack, secrets: secrets.into(), variables: BTreeMap::new() };
        for secret in [BOT_SECRET, CONTACT_CENTER_SECRET] {
            checked.stack.cloud.secrets.age(secret, Duration::from_secs(3600));
        }
        for secret in [BOT_TOKEN_SECRET, CONTACT_CENTER_TOKEN_SECRET] {
            checked.move_token(secret, -60);
        }
        checked.an_event_arrives().await;
        checked
    }

    /// Lets a stored token have been issued, and expire, so many seconds later.
    fn move_token(&self, secret: &str, seconds: i64) {
        let mut token = self.stack.cloud.secrets.current(secret);
        for field in ["issued_at", "expires_at"] {
            if let Some(time) = token[field].as_i64() {
                token[field] = json!(time + seconds);
            }
        }
        self.stack.cloud.secrets.set(secret, &token);
    }

    async fn an_event_arrives(&self) {
        let so_far = self.stack.logged("\"queued\"");
        self.stack.contact_center.open_conversation(&self.stack.registered_channel()).joined("agent");
        assert!(self.stack.settle(PATIENCE).await);
        self.until_logged("\"queued\"", so_far + 1).await;
    }

    async fn until_logged(&self, text: &str, times: usize) {
        while self.stack.logged(text) < times {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Invokes check-integration, with the variables that are not the sandbox's.
    async fn report(&self) -> Value {
        let function = self.stack.function(CHECK_INTEGRATION);
        let (logs, mut lines) = mpsc::unbounded_channel();
        let mut settings: FunctionSettings = function.settings().clone();
        settings.variables.extend(self.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let before = self.stores();
        let response = match self.variables.is_empty() {
            true => function.invoke(&json!({})).await,
            false => Function::new(settings, Arc::default(), logs).invoke(&json!({})).await,
        };
        let report: Value = serde_json::from_slice(&response.expect("a report")).expect("JSON");
        assert_eq!(self.stores(), before, "nothing is changed");
        // What it says and logs is searched for secrets at the end.
        self.stack.cloud.logs.add(LogLine { function: CHECK_INTEGRATION, text: report.to_string() });
        while let Ok(line) = lines.try_recv() {
            self.stack.cloud.logs.add(line);
        }
        report
    }

    /// All that is kept anywhere.
    fn stores(&self) -> Value {
        let cloud = &self.stack.cloud;
        let secrets = SECRETS.map(|name| (cloud.secrets.current(name), cloud.secrets.versions(name)));
        let (webhooks, channels) = self.stack.contact_center.registered();
        let queues = [&self.stack.queues.events, &self.stack.queues.dead_letters];
        let messages = queues.map(|queue| queue.contents().into_iter().map(|message| message.body).collect::<Vec<_>>());
        json!({
            "secrets": secrets,
            "8x8": [webhooks, channels],
            "conversations": self.stack.contact_center.conversation_ids(),
            "bot": [self.stack.bot.received(), self.stack.bot.grants("refresh_token")],
            "queues": messages,
            "table": cloud.dynamo_db.items(IDEMPOTENCY_TABLE),
        })
    }

    /// Shows that exactly this check has something to say, and gives what is to be done.
    async fn suffers(&self, check: &str, status: &str, found: &str) -> String {
        let report = self.report().await;
        assert_eq!(noticed(&report), [(check.to_owned(), status.to_owned())], "{report:#}");
        assert_eq!(report["status"], status);
        let row = row(&report, check);
        assert!(row["found"].as_str().unwrap().contains(found), "{row:#}");
        row["do"].as_str().unwrap_or_else(|| panic!("{row:#} says nothing to do")).to_owned()
    }

    /// Carries out what is to be done, and shows that all is well then.
    async fn is_cured_by(&mut self, action: &str) {
        self.carry_out(action).await;
        self.is_well().await;
    }

    async fn is_well(&self) {
        let report = self.report().await;
        assert_eq!(noticed(&report), [], "{report:#}");
        assert_eq!(report["status"], "ok");
        for row in report["checks"].as_array().unwrap() {
            assert!(row.get("do").is_none(), "{row:#}");
        }
    }

    /// What an administrator does who reads this.
    async fn carry_out(&mut self, action: &str) {
        let stack = &self.stack;
        if let Some((_, rest)) = action.split_once("invoke register-channel with ") {
            let mut payloads = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let mut payload = payloads.next().unwrap().expect("a payload");
            if let Some(queue_id) = payload.get_mut("queue_id") {
                *queue_id = "101".into();
            }
            stack.invoke_register(payload).await.expect("the operation succeeds");
        } else if let Some((_, rest)) = action.split_once("STACK=… SET=\"") {
            let (assignments, _) = rest.split_once('"').expect("it ends");
            let own = &stack.function(CHECK_INTEGRATION).settings().variables;
            for (parameter, value) in assignments.split_inclusive('>').flat_map(|part| part.trim().split_once('=')) {
                let variable = match parameter {
                    "TenantId" => "CONTACT_CENTER_TENANT_ID",
                    "Endpoint" => "CONTACT_CENTER_ENDPOINT",
                    "ContactCenterApi" => "CONTACT_CENTER_API",
                    "BotEndpoint" => "BOT_ENDPOINT",
                    other => panic!("{other} is a parameter of the template?"),
                };
                // What stands in angle brackets is for the reader to fill in.
                let value = if value.starts_with('<') { &own[variable] } else { value };
                assert_eq!(value, own[variable]);
                self.variables.remove(variable);
            }
        } else if action.contains("the secret `") {
            let (_, rest) = action.split_once("the secret `").unwrap();
            let (id, _) = rest.split_once('`').unwrap();
            if action.contains("put {}") {
                stack.cloud.secrets.set(id, &json!({}));
                stack.refresh_tokens().await.expect("a refresh");
            } else {
                stack.cloud.secrets.set(id, &self.secrets[id]);
            }
        } else if action.contains("invoke refresh-tokens") {
            stack.refresh_tokens().await.expect("a refresh");
        } else if action.starts_with("bring the bot platform back") {
            stack.fault(Fault::Status500, When::Next(0));
            for conversation in stack.bot.refused_conversations() {
                stack.bot.take_conversation(&conversation);
            }
            assert!(stack.settle(PATIENCE).await);
        } else if action.starts_with("make dead-letters STACK=…") {
            for dead in stack.queues.dead_letters.receive(10, None) {
                stack.queues.dead_letters.delete(&dead.receipt_handle).expect("it was received");
            }
        } else if action.starts_with("let its operator set that clock") {
            stack.contact_center_server.set_clock_ahead(0);
        } else {
            panic!("how is this carried out? {action}");
        }
    }

    /// Looks for what must never be.
    async fn leaves(self) {
        self.stack.finish().await;
    }
}

/// What an administrator does in 8x8's console.
type Edit = fn(&Stack);

/// The checks that have something to say, with their status.
fn noticed(report: &Value) -> Vec<(String, String)> {
    let rows = report["checks"].as_array().expect("rows").iter();
    let noticed = rows.filter(|row| !["ok", "skipped"].contains(&row["status"].as_str().unwrap()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    noticed.map(|row| (text(&row["check"]), text(&row["status"]))).collect()
}

fn row<'r>(report: &'r Value, check: &str) -> &'r Value {
    report["checks"].as_array().unwrap().iter().find(|row| row["check"] == check).expect("there is such a check")
}
#[tokio::test]
async fn a_healthy_set_gives_no_warning_and_nothing_is_changed_anywhere() {
    let checked = CheckedStack::start().await;
    let password_grants = checked.stack.bot.grants("password");
    checked.is_well().await;
    assert_eq!(checked.stack.bot.grants("password"), password_grants, "no log-in while a token is accepted");
    let report = checked.report().await;
    assert_eq!(report["checks"].as_array().unwrap().len(), 18);
    assert_eq!(row(&report, "contact-center-token")["status"], "skipped");
    assert!(row(&report, "last-event")["found"].as_str().unwrap().contains("ago"), "{report:#}");
    checked.leaves().await;
}

#[tokio::test]
async fn every_way_to_set_it_up_is_healthy() {
    for (api, authentication, callback_authentication, is_adopted) in [
        (ContactCenterApi::ChatGatewayV1, Authentication::ClientCredentials, CallbackAuthentication::Both, false),
        (ContactCenterApi::ChatApiV2, Authentication::Password, CallbackAuthentication::Either, false),
        (ContactCenterApi::ChatGatewayV1, Authentication::ApiKey, CallbackAuthentication::Headers, true),
    ] {
        let contact_center = ContactCenterSettings { api, authentication, ..ContactCenterSettings::default() };
        let settings = SandboxSettings { contact_center, callback_authentication, ..SandboxSettings::default() };
        let checked = CheckedStack::with(settings).await;
        if is_adopted {
            checked.stack.invoke_register(json!({ "operation": "deregister" })).await.expect("a removal");
            let channel_id = checked.stack.register_by_bot_platform();
            checked.stack.adopt(&channel_id).await.expect("an adoption");
        }
        checked.is_well().await;
        checked.leaves().await;
    }
}

#[tokio::test]
async fn an_outage_of_8x8_or_of_the_bot_platform_is_named() {
    let mut checked = CheckedStack::start().await;
    checked.stack.fault(Fault::Status500, When::For(Duration::from_secs(600)));
    let action = checked.suffers("bot-platform", "failed", "500").await;
    checked.is_cured_by(&action).await;

    checked.stack.contact_center_server.set_reachable(false);
    checked.suffers("contact-center", "failed", "gave no response").await;
    checked.stack.contact_center_server.set_reachable(true);
    checked.is_well().await;
    checked.leaves().await;
}

#[tokio::test]
async fn a_bot_platform_that_needs_a_conversation_is_healthy() {
    let mut checked = CheckedStack::start().await;
    let bot = StandIn::start(|_, _| response(StatusCode::UNPROCESSABLE_ENTITY, &[], "")).await;
    checked.variables.insert("BOT_ENDPOINT", bot.url());
    checked.is_well().await;
    let requests = bot.take();
    assert_eq!(requests.len(), 1, "one probe, and no log-in");
    let (parts, body) = &requests[0];
    assert_eq!(parts.uri.path(), "/v1/liveAgent/receiveMessage");
    assert_eq!(serde_json::from_slice::<Value>(body).unwrap()["eventType"], "WEB_HOOK_VERIFY");
    checked.leaves().await;
}

#[tokio::test]
async fn what_cannot_be_found_out_is_unknown_and_never_green() {
    let mut checked = CheckedStack::start().await;
    checked.stack.fault(aws::Fault::QueueDown, When::For(Duration::from_secs(600)));
    checked.variables.insert("RECEIVE_MESSAGE_LOG_GROUP", "another".to_owned());
    let report = checked.report().await;
    let unknown = ["tenant", "last-event", "refused-events", "event-queue", "dead-letters"];
    assert_eq!(noticed(&report), unknown.map(|check| (check.to_owned(), "unknown".to_owned())), "{report:#}");
    assert_eq!(report["status"], "unknown");
    checked.variables.clear();
    checked.stack.fault(aws::Fault::QueueDown, When::Next(0));
    checked.is_well().await;

    checked.stack.fault(aws::Fault::SecretsDown, When::For(Duration::from_secs(600)));
    let report = checked.report().await;
    for check in ["contact-center-secret", "bot-secret", "caller-secret", "registration", "bot-token"] {
        assert_eq!(row(&report, check)["status"], "unknown", "{report:#}");
    }
    for check in ["contact-center", "webhook", "channel", "callback", "bot-platform", "bot-log-in", "clocks"] {
        assert_eq!(row(&report, check)["status"], "skipped", "{report:#}");
    }
    checked.stack.fault(aws::Fault::SecretsDown, When::Next(0));
    checked.leaves().await;
}

#[tokio::test]
async fn it_ends_within_thirty_seconds_even_if_everything_hangs() {
    let hanging = StandIn::start(|_, _| delayed(response(StatusCode::OK, &[], ""), Duration::from_secs(120))).await;
    let mut checked = CheckedStack::start().await;
    let peers = ["CONTACT_CENTER_ENDPOINT", "BOT_ENDPOINT"];
    for all in [&["CONTACT_CENTER_ENDPOINT", "BOT_ENDPOINT", "AWS_ENDPOINT_URL"][..], &peers[..]] {
        checked.variables = all.iter().map(|name| (*name, hanging.url())).collect();
        // Nothing is stored, so that log-ins hang as well.
        checked.stack.cloud.secrets.set(BOT_TOKEN_SECRET, &json!({}));
        let started = Instant::now();
        let report = checked.report().await;
        assert!(started.elapsed() < Duration::from_secs(28), "{:?}", started.elapsed());
        assert_eq!(report["checks"].as_array().unwrap().len(), 18);
        assert!(["failed", "unknown"].contains(&report["status"].as_str().unwrap()), "{report:#}");
    }
    checked.leaves().await;
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

impl Stack {
    fn saved(&self, field: &str) -> String {
        let saved = self.cloud.secrets.current(CHANNEL_SECRET);
        saved[field].as_str().expect("something is registered").to_owned()
    }

    fn webhook_id(&self) -> String {
        self.saved("webhook_id")
    }

    /// The channel that is registered now.
    fn registered_channel(&self) -> String {
        self.saved("channel_id")
    }
}
