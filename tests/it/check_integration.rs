//! check-integration: each planted misconfiguration is named by exactly its check, and what the check says is to be done turns
//! it green. Nothing is changed anywhere, and the answer comes in time whatever hangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws::lambda::{Function, FunctionSettings, LogLine};
use bot_platform::Fault;
use bytes::Bytes;
use contact_center::signer::Claims;
use contact_center::{Authentication, ContactCenterApi, ContactCenterSettings};
use http::StatusCode;
use sandbox::SandboxSettings;
use sandbox::deployment::{
    BOT_SECRET, BOT_TOKEN_SECRET, CALLER_SECRET, CHANNEL_SECRET, CHECK_INTEGRATION, CONTACT_CENTER_SECRET,
    CONTACT_CENTER_TOKEN_SECRET, CallbackAuthentication, DEAD_LETTER_QUEUE, EVENT_QUEUE, IDEMPOTENCY_TABLE,
};
use serde_json::{Value, json};
use simulation::faults::When;
use tokio::sync::mpsc;

use crate::stand_in::{StandIn, delayed, response};
use crate::support::{PATIENCE, Stack, message, now_millis};

const SECRETS: [&str; 6] =
    [BOT_SECRET, BOT_TOKEN_SECRET, CALLER_SECRET, CHANNEL_SECRET, CONTACT_CENTER_SECRET, CONTACT_CENTER_TOKEN_SECRET];

/// A stack with a token that is a minute old, and one event that was delivered.
struct Patient {
    stack: Stack,
    /// What a person has set up.
    secrets: BTreeMap<&'static str, Value>,
    /// Variables of check-integration that are not the sandbox's, as other parameters of the stack would set them.
    variables: BTreeMap<&'static str, String>,
}

impl Patient {
    async fn start() -> Self {
        Self::with(SandboxSettings::default()).await
    }

    async fn with(settings: SandboxSettings) -> Self {
        let stack = Stack::with(SandboxSettings { time_scale: 60, ..settings }).await;
        stack.refresh_tokens().await.expect("the first tokens");
        let secrets = SECRETS.map(|name| (name, stack.cloud.secrets.current(name)));
        let patient = Self { stack, secrets: secrets.into(), variables: BTreeMap::new() };
        for secret in [BOT_SECRET, CONTACT_CENTER_SECRET] {
            patient.stack.cloud.secrets.age(secret, Duration::from_secs(3600));
        }
        for secret in [BOT_TOKEN_SECRET, CONTACT_CENTER_TOKEN_SECRET] {
            patient.move_token(secret, -60);
        }
        patient.an_event_arrives().await;
        patient
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
        let answer = match self.variables.is_empty() {
            true => function.invoke(&json!({})).await,
            false => Function::new(settings, Arc::default(), logs).invoke(&json!({})).await,
        };
        let report: Value = serde_json::from_slice(&answer.expect("a report")).expect("JSON");
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
    let patient = Patient::start().await;
    let password_grants = patient.stack.bot.grants("password");
    patient.is_well().await;
    assert_eq!(patient.stack.bot.grants("password"), password_grants, "no log-in while a token is accepted");
    let report = patient.report().await;
    assert_eq!(report["checks"].as_array().unwrap().len(), 18);
    assert_eq!(row(&report, "contact-center-token")["status"], "skipped");
    assert!(row(&report, "last-event")["found"].as_str().unwrap().contains("ago"), "{report:#}");
    patient.leaves().await;
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
        let patient = Patient::with(settings).await;
        if is_adopted {
            patient.stack.invoke_register(json!({ "operation": "deregister" })).await.expect("a removal");
            let channel_id = patient.stack.register_by_bot_platform();
            patient.stack.adopt(&channel_id).await.expect("an adoption");
        }
        patient.is_well().await;
        patient.leaves().await;
    }
}

#[tokio::test]
async fn a_secret_that_lacks_something_is_named_with_what_it_lacks() {
    let mut patient = Patient::start().await;
    let caller = &patient.secrets[CALLER_SECRET];
    let short = json!({ "app_token": caller["app_token"], "username": "u", "password": "", "signing_key": "short" });
    for (check, secret, content, found) in [
        ("contact-center-secret", CONTACT_CENTER_SECRET, json!({ "api_key": " " }), "api_key"),
        ("contact-center-secret", CONTACT_CENTER_SECRET, json!("confidential"), "does not hold"),
        ("bot-secret", BOT_SECRET, json!({ "app_token": "", "username": "", "password": "confidential" }), "username"),
        ("bot-secret", BOT_SECRET, json!({ "app_token": "confidential" }), "does not hold"),
        ("caller-secret", CALLER_SECRET, short, "password, signing_key"),
    ] {
        patient.stack.cloud.secrets.set(secret, &content);
        let action = patient.suffers(check, "failed", found).await;
        patient.is_cured_by(&action).await;
    }
    patient.leaves().await;
}

#[tokio::test]
async fn credentials_that_are_refused_are_named() {
    let mut patient = Patient::start().await;
    let bot = patient.secrets[BOT_SECRET].clone();
    let with = |field: &str| {
        let mut changed = bot.clone();
        changed[field] = "wrong".into();
        changed
    };
    for (check, secret, content, found) in [
        ("contact-center", CONTACT_CENTER_SECRET, json!({ "api_key": "wrong" }), "401"),
        // The token that is stored is alive: only a log-in can show it.
        ("bot-log-in", BOT_SECRET, with("password"), "invalid_grant"),
        ("bot-log-in", BOT_SECRET, with("app_token"), "invalid_client"),
    ] {
        patient.stack.cloud.secrets.set(secret, &content);
        let action = patient.suffers(check, "failed", found).await;
        patient.is_cured_by(&action).await;
    }
    patient.leaves().await;
}

#[tokio::test]
async fn an_api_secret_that_is_refused_is_named_while_the_stored_token_is_alive() {
    let authentication = Authentication::ClientCredentials;
    let contact_center = ContactCenterSettings { authentication, ..ContactCenterSettings::default() };
    let mut patient = Patient::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
    let mut wrong = patient.secrets[CONTACT_CENTER_SECRET].clone();
    wrong["api_secret"] = "wrong".into();
    patient.stack.cloud.secrets.set(CONTACT_CENTER_SECRET, &wrong);
    let action = patient.suffers("contact-center", "failed", "token endpoint").await;
    patient.is_cured_by(&action).await;

    patient.move_token(CONTACT_CENTER_TOKEN_SECRET, -3600);
    let action = patient.suffers("contact-center-token", "failed", "expired").await;
    patient.is_cured_by(&action).await;
    patient.leaves().await;
}

#[tokio::test]
async fn a_wrong_tenant_or_none_is_named_with_the_tenant_of_the_last_event() {
    let mut patient = Patient::start().await;
    for (tenant, status, found) in
        [("wrong", "failed", "rejects the tenant `wrong`"), ("", "warning", "no tenant is set")]
    {
        patient.variables.insert("CONTACT_CENTER_TENANT_ID", tenant.to_owned());
        let action = patient.suffers("tenant", status, found).await;
        assert!(action.contains("TenantId=sandboxtenant"), "{action}");
        patient.is_cured_by(&action).await;
    }
    // 8x8 sends events of another tenant.
    let body = Bytes::from(message("foreign"));
    let claims = Claims { tenant_id: "another".to_owned(), ..patient.stack.claims() };
    let headers = patient.stack.contact_center.signer().headers(&body, &claims);
    assert_eq!(patient.stack.post(&headers, body).await.status(), StatusCode::UNAUTHORIZED);
    patient.until_logged("foreign-tenant\",\"tenant_id\"", 1).await;
    let action = patient.suffers("tenant", "failed", "events of `another` are refused").await;
    assert!(action.contains("TenantId=another"), "{action}");
    patient.leaves().await;
}

#[tokio::test]
async fn what_an_administrator_changed_at_8x8_is_named() {
    let mut patient = Patient::start().await;
    let cases: [(&str, &str, Edit); 6] = [
        ("webhook", "does not exist", |stack| stack.contact_center.remove(&stack.webhook_id())),
        ("webhook", "other.example", |stack| {
            stack.contact_center.repoint(&stack.webhook_id(), "https://other.example/?token=confidential");
        }),
        ("channel", "does not exist", |stack| stack.contact_center.remove(&stack.registered_channel())),
        ("channel", "channel_webhook_id", |stack| {
            let (webhook_id, _) = stack.contact_center.add_foreign("another", "https://another.example/");
            stack.contact_center.move_channel(&stack.registered_channel(), &webhook_id);
        }),
        ("channel", "queue_id is `102` instead of `101`", |stack| {
            stack.contact_center.reroute(&stack.registered_channel(), "102")
        }),
        ("channel", "channel_name", |stack| stack.contact_center.rename(&stack.registered_channel(), "renamed")),
    ];
    for (check, found, change) in cases {
        change(&patient.stack);
        let action = patient.suffers(check, "failed", found).await;
        patient.is_cured_by(&action).await;
    }
    patient.leaves().await;
}

#[tokio::test]
async fn what_is_not_registered_or_cannot_be_reached_is_named() {
    let mut patient = Patient::start().await;
    patient.stack.invoke_register(json!({ "operation": "deregister" })).await.expect("a removal");
    let action = patient.suffers("registration", "failed", "nothing is registered").await;
    patient.is_cured_by(&action).await;

    let elsewhere = json!({ "operation": "update", "callback_url": "http://127.0.0.1:9/v1/liveAgent/receiveMessage" });
    patient.stack.invoke_register(elsewhere).await.expect("an update");
    let action = patient.suffers("callback", "failed", "8x8 gets no 2xx from 127.0.0.1").await;
    patient.is_cured_by(&action).await;
    patient.leaves().await;
}

#[tokio::test]
async fn a_wrong_endpoint_is_named() {
    let mut patient = Patient::start().await;
    let nowhere = format!(
        "{}nowhere/",
        patient.stack.function(CHECK_INTEGRATION).settings().variables["CONTACT_CENTER_ENDPOINT"]
    );
    for (check, variable, value, found) in [
        ("contact-center", "CONTACT_CENTER_ENDPOINT", "http://127.0.0.1:9/", "no connection"),
        ("contact-center", "CONTACT_CENTER_ENDPOINT", &nowhere, "404"),
        ("bot-platform", "BOT_ENDPOINT", "http://127.0.0.1:9/", "no connection"),
        ("bot-platform", "BOT_ENDPOINT", &patient.stack.api_url("/nowhere"), "status 404"),
    ] {
        patient.variables.insert(variable, value.to_owned());
        let action = patient.suffers(check, "failed", found).await;
        patient.is_cured_by(&action).await;
    }
    // At first there is no token yet: the token endpoint says that there is none, which is no refusal of the credentials.
    patient.stack.cloud.secrets.set(BOT_TOKEN_SECRET, &json!({}));
    patient.variables.insert("BOT_ENDPOINT", patient.stack.api_url("/nowhere"));
    let report = patient.report().await;
    assert_eq!(row(&report, "bot-platform")["status"], "failed", "{report:#}");
    assert_eq!(row(&report, "bot-log-in")["status"], "skipped", "{report:#}");
    patient.leaves().await;
}

#[tokio::test]
async fn an_outage_of_8x8_or_of_the_bot_platform_is_named() {
    let mut patient = Patient::start().await;
    patient.stack.fault(Fault::Status500, When::For(Duration::from_secs(600)));
    let action = patient.suffers("bot-platform", "failed", "500").await;
    patient.is_cured_by(&action).await;

    patient.stack.contact_center_server.set_reachable(false);
    patient.suffers("contact-center", "failed", "gave no response").await;
    patient.stack.contact_center_server.set_reachable(true);
    patient.is_well().await;
    patient.leaves().await;
}

#[tokio::test]
async fn a_bot_platform_that_needs_a_conversation_is_healthy() {
    let mut patient = Patient::start().await;
    let bot = StandIn::start(|_, _| response(StatusCode::UNPROCESSABLE_ENTITY, &[], "")).await;
    patient.variables.insert("BOT_ENDPOINT", bot.url());
    patient.is_well().await;
    let requests = bot.take();
    assert_eq!(requests.len(), 1, "one probe, and no log-in");
    let (parts, body) = &requests[0];
    assert_eq!(parts.uri.path(), "/v1/liveAgent/receiveMessage");
    assert_eq!(serde_json::from_slice::<Value>(body).unwrap()["eventType"], "WEB_HOOK_VERIFY");
    patient.leaves().await;
}

#[tokio::test]
async fn a_token_that_is_not_refreshed_is_named() {
    let mut patient = Patient::start().await;
    let token = patient.stack.cloud.secrets.current(BOT_TOKEN_SECRET);
    for (token, status, found) in [
        (json!({}), "failed", "no token yet"),
        (json!({ "access_token": token["access_token"], "expires_at": 1 }), "failed", "expired"),
    ] {
        patient.stack.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
        let action = patient.suffers("bot-token", status, found).await;
        patient.is_cured_by(&action).await;
    }
    // Five minutes are left: the last runs should have refreshed it.
    let left = patient.stack.cloud.secrets.current(BOT_TOKEN_SECRET)["expires_at"].as_i64().unwrap();
    let now = i64::try_from(now_millis() / 1000).unwrap();
    patient.move_token(BOT_TOKEN_SECRET, now + 270 - left);
    let action = patient.suffers("bot-token", "warning", "4 min remain").await;
    patient.is_cured_by(&action).await;

    patient.stack.bot.revoke_access_tokens();
    let action = patient.suffers("bot-token", "warning", "refuses the stored token").await;
    patient.is_cured_by(&action).await;
    patient.leaves().await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_named_with_its_owner() {
    let mut patient = Patient::start().await;
    for (ahead, found) in [(300, "the clock of 8x8 is 2"), (-300, "the clock of 8x8 is 2")] {
        patient.stack.contact_center_server.set_clock_ahead(ahead);
        let action = patient.suffers("clocks", "failed", found).await;
        patient.is_cured_by(&action).await;
    }
    patient.stack.contact_center_server.set_clock_ahead(20);
    patient.is_well().await;
    patient.leaves().await;
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_named() {
    let patient = Patient::start().await;
    for (check, name) in [("event-queue", EVENT_QUEUE), ("dead-letters", DEAD_LETTER_QUEUE)] {
        let queue = patient.stack.cloud.sqs.remove(name).expect("there is one");
        let action = patient.suffers(check, "failed", "does not exist").await;
        assert!(action.starts_with("create the FIFO queue") && action.contains(name), "{action}");
        patient.stack.cloud.sqs.add(name, queue);
        patient.is_well().await;
    }
    patient.leaves().await;
}

#[tokio::test]
async fn an_event_that_waits_for_long_is_named_with_the_bot_platforms_reason() {
    let mut patient = Patient::start().await;
    patient.stack.bot.refuse_conversation("slow", 503, None);
    // It came ten minutes ago.
    let event = json!({
        "body": base64(&message("slow")),
        "content_type": "application/json",
        "headers": { "x-8x8-event-id": "waits" },
        "received_at": now_millis() as u64 - 600_000,
    });
    patient.stack.queues.events.send(event.to_string(), json!({}), "slow", "waits");
    patient.until_logged("to be tried again", 1).await;
    let action = patient.suffers("event-queue", "failed", "the oldest for 10 min: status 503").await;
    patient.is_cured_by(&action).await;
    patient.leaves().await;
}

#[tokio::test]
async fn events_that_deliver_message_leaves_alone_are_named() {
    let mut patient = Patient::start().await;
    // A queue without a trigger.
    let settings = patient.stack.queues.dead_letters.settings().clone();
    let queue = aws::cloud::fifo::FifoQueue::new(settings);
    queue.send(message("alone"), json!({}), "alone", "alone");
    patient.stack.cloud.sqs.add("alone.fifo", Arc::clone(&queue));
    patient.variables.insert("EVENT_QUEUE_URL", patient.stack.cloud.queue_url("alone.fifo"));
    let action = patient.suffers("event-queue", "failed", "deliver-message receives none").await;
    assert!(action.contains("trigger"), "{action}");
    for received in queue.receive(1, None) {
        queue.delete(&received.receipt_handle).expect("it was received");
    }
    patient.is_well().await;
    patient.leaves().await;
}

#[tokio::test]
async fn dead_letters_are_counted_by_their_reason() {
    let mut patient = Patient::start().await;
    patient.stack.bot.refuse_conversation("dead", 400, None);
    for _ in 0..2 {
        assert_eq!(patient.stack.post_signed(message("dead")).await.status(), StatusCode::OK);
        assert!(patient.stack.settle(PATIENCE).await);
    }
    patient.until_logged("to the dead-letter queue", 2).await;
    let found = "2 dead letters; moved there within a day: 2 × rejected";
    let action = patient.suffers("dead-letters", "failed", found).await;
    patient.is_cured_by(&action).await;
    patient.leaves().await;
}

#[tokio::test]
async fn a_load_balancer_without_our_headers_is_named() {
    let callback_authentication = CallbackAuthentication::Both;
    let patient = Patient::with(SandboxSettings { callback_authentication, ..SandboxSettings::default() }).await;
    // 8x8's event reaches us as the load balancer passes it on: past it.
    let body = Bytes::from(message("headers"));
    let signed = patient.stack.signed(&body);
    let request =
        signed.iter().fold(http::Request::post(patient.stack.api_url(sandbox::RECEIVE_MESSAGE)), |request, header| {
            request.header(header.0, &header.1)
        });
    let refused = simulation::client::Client::new().send(request.body(body).unwrap()).await.expect("a response");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    patient.until_logged("no-credentials", 1).await;
    let action = patient.suffers("refused-events", "failed", "1 × no-credentials").await;
    assert!(action.contains("x-app-token") && action.contains("CallerSecretArn"), "{action}");
    // It adds them again.
    patient.an_event_arrives().await;
    patient.is_well().await;
    patient.leaves().await;
}

#[tokio::test]
async fn requests_without_a_signature_are_no_finding() {
    let patient = Patient::start().await;
    let refused = patient.stack.post(&Vec::new(), message("noise")).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    patient.until_logged("no-credentials", 1).await;
    patient.is_well().await;
    // A forger is one.
    let body = message("forged");
    let mut headers = patient.stack.signed(body.as_bytes());
    for (name, value) in &mut headers {
        if *name == "x-8x8-event-id" {
            *value = "another".to_owned();
        }
    }
    assert_eq!(patient.stack.post(&headers, body).await.status(), StatusCode::UNAUTHORIZED);
    patient.until_logged("\"reason\":\"forged\"", 1).await;
    patient.suffers("refused-events", "failed", "1 × forged").await;
    patient.leaves().await;
}

#[tokio::test]
async fn what_cannot_be_found_out_is_unknown_and_never_green() {
    let mut patient = Patient::start().await;
    patient.stack.fault(aws::Fault::QueueDown, When::For(Duration::from_secs(600)));
    patient.variables.insert("RECEIVE_MESSAGE_LOG_GROUP", "another".to_owned());
    let report = patient.report().await;
    let unknown = ["tenant", "last-event", "refused-events", "event-queue", "dead-letters"];
    assert_eq!(noticed(&report), unknown.map(|check| (check.to_owned(), "unknown".to_owned())), "{report:#}");
    assert_eq!(report["status"], "unknown");
    patient.variables.clear();
    patient.stack.fault(aws::Fault::QueueDown, When::Next(0));
    patient.is_well().await;

    patient.stack.fault(aws::Fault::SecretsDown, When::For(Duration::from_secs(600)));
    let report = patient.report().await;
    for check in ["contact-center-secret", "bot-secret", "caller-secret", "registration", "bot-token"] {
        assert_eq!(row(&report, check)["status"], "unknown", "{report:#}");
    }
    for check in ["contact-center", "webhook", "channel", "callback", "bot-platform", "bot-log-in", "clocks"] {
        assert_eq!(row(&report, check)["status"], "skipped", "{report:#}");
    }
    patient.stack.fault(aws::Fault::SecretsDown, When::Next(0));
    patient.leaves().await;
}

#[tokio::test]
async fn it_ends_within_thirty_seconds_even_if_everything_hangs() {
    let hanging = StandIn::start(|_, _| delayed(response(StatusCode::OK, &[], ""), Duration::from_secs(120))).await;
    let mut patient = Patient::start().await;
    let peers = ["CONTACT_CENTER_ENDPOINT", "BOT_ENDPOINT"];
    for all in [&["CONTACT_CENTER_ENDPOINT", "BOT_ENDPOINT", "AWS_ENDPOINT_URL"][..], &peers[..]] {
        patient.variables = all.iter().map(|name| (*name, hanging.url())).collect();
        // Nothing is stored, so that log-ins hang as well.
        patient.stack.cloud.secrets.set(BOT_TOKEN_SECRET, &json!({}));
        let started = Instant::now();
        let report = patient.report().await;
        assert!(started.elapsed() < Duration::from_secs(28), "{:?}", started.elapsed());
        assert_eq!(report["checks"].as_array().unwrap().len(), 18);
        assert!(["failed", "unknown"].contains(&report["status"].as_str().unwrap()), "{report:#}");
    }
    patient.leaves().await;
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
