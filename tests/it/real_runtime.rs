//! The binaries under AWS's own Runtime Interface Emulator, with moto as AWS: none of what is around them here was
//! written by us, but for 8x8 and the bot platform.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use aws::cloud_formation::CloudFormation;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contact_center::FailureKind;
use http::Request;
use sandbox::build::root;
use serde_json::{Value, json};
use simulation::client::Client;
use simulation::faults::When;
use simulation::server::free_port;
use tokio::process::{Child, Command};

use crate::conformance::dynamodb::create_table;
use crate::conformance::{Peer, sdk_config};
use crate::support::{Stack, message, received};

fn fixture(name: &str) -> Value {
    let text = std::fs::read_to_string(root().join("tests/it/fixtures").join(name)).expect("the fixture exists");
    serde_json::from_str(&text).expect("a fixture is JSON")
}

/// One execution environment under the emulator.
struct Emulated {
    _process: Child,
    url: String,
    client: Client,
}

impl Emulated {
    async fn start(function: &str, cloud: &Peer, variables: &[(&str, &str)]) -> Self {
        let (port, runtime_api) = (free_port(), free_port());
        let process = Command::new(sandbox::build::emulator())
            .args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{port}")])
            .args(["--runtime-api-address", &format!("127.0.0.1:{runtime_api}")])
            .arg(sandbox::build::functions().join(function).canonicalize().expect("the binary was just built"))
            .env_clear()
            .envs(BTreeMap::from([
                ("AWS_LAMBDA_FUNCTION_NAME", function),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
                // As the template has it for converse; the others need less here.
                ("AWS_LAMBDA_FUNCTION_TIMEOUT", "29"),
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_ENDPOINT_URL", &cloud.url()),
            ]))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the emulator starts");
        let url = format!("http://127.0.0.1:{port}/2015-03-31/functions/function/invocations");
        Self { _process: process, url, client: Client::new() }
    }

    /// Invokes the function; the emulator needs a moment until it listens.
    async fn invoke(&self, event: &Value) -> Value {
        for _ in 0..500 {
            let request = Request::post(&self.url).body(Bytes::from(event.to_string())).unwrap();
            match self.client.send(request).await {
                Some(response) => return serde_json::from_slice(response.body()).unwrap_or_default(),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("the emulator does not listen on {}", self.url);
    }
}

/// moto with the queues and secrets of a deployment.
struct Deployment {
    stack: Stack,
    cloud: Peer,
    sqs: aws_sdk_sqs::Client,
    event_queue: String,
    dead_letter_queue: String,
    secrets: aws_sdk_secretsmanager::Client,
}

impl Deployment {
    async fn start() -> Self {
        // 8x8 and the bot platform.
        let stack = Stack::start().await;
        let cloud = Peer::moto().await;
        let config = sdk_config(&cloud.url());
        let (sqs, secrets) = (aws_sdk_sqs::Client::new(&config), aws_sdk_secretsmanager::Client::new(&config));
        let queue = async |name: &str| {
            let queue = sqs.create_queue().queue_name(name).attributes(QueueAttributeName::FifoQueue, "true");
            queue.send().await.expect("a queue").queue_url.expect("a queue has a URL")
        };
        let (event_queue, dead_letter_queue) = (queue("events.fifo").await, queue("dead-letters.fifo").await);
        let bot = stack.bot.settings();
        for (name, value) in [
            ("contact-center", json!({ "api_key": stack.contact_center.settings().credentials.api_key })),
            ("bot", json!({ "app_token": bot.app_token, "username": bot.username, "password": bot.password })),
            ("bot-token", json!({})),
            ("channel", json!({})),
        ] {
            secrets.create_secret().name(name).secret_string(value.to_string()).send().await.expect("a secret");
        }
        Self { stack, cloud, sqs, event_queue, dead_letter_queue, secrets }
    }

    fn address(&self, part: &str) -> &str {
        &self.stack.addresses.iter().find(|(name, _)| *name == part).expect("the sandbox has it").1
    }

    async fn function(&self, name: &str) -> Emulated {
        self.function_with(name, &[]).await
    }

    async fn function_with(&self, name: &str, more: &[(&str, &str)]) -> Emulated {
        let variables = [
            ("INTEGRATION_NAME", "emulated"),
            ("CONTACT_CENTER_ENDPOINT", self.address("8x8")),
            ("CONTACT_CENTER_SECRET_ID", "contact-center"),
            ("BOT_ENDPOINT", self.address("bot platform")),
            ("BOT_SECRET_ID", "bot"),
            ("BOT_TOKEN_SECRET_ID", "bot-token"),
            ("CHANNEL_SECRET_ID", "channel"),
            ("CALLBACK_URL", self.stack.callback_url()),
            ("EVENT_QUEUE_URL", &self.event_queue),
            ("DEAD_LETTER_QUEUE_URL", &self.dead_letter_queue),
            ("CALLER_SECRET_ID", "caller"),
            ("HANDOVER_TABLE", "handovers"),
        ];
        let variables: Vec<_> = variables.into_iter().chain(more.iter().copied()).collect();
        Emulated::start(name, &self.cloud, &variables).await
    }

    async fn create_table(&self, name: &str) {
        create_table(&aws_sdk_dynamodb::Client::new(&sdk_config(&self.cloud.url())), name).await;
    }

    async fn secret(&self, name: &str) -> Value {
        let secret = self
            .secrets
            .get_secret_value()
            .secret_id(name)
            .version_stage("AWSCURRENT")
            .send()
            .await
            .expect("the secret exists");
        serde_json::from_str(secret.secret_string().expect("it has a value")).expect("it holds JSON")
    }

    /// The event file of a genuine event.
    fn event(&self, body: &str) -> Value {
        let mut event = fixture("http-api.json");
        for (name, value) in self.stack.signed(body.as_bytes()) {
            event["headers"][name] = value.into();
        }
        event["body"] = body.into();
        event
    }

    /// Takes the next message from the queue, as an event for deliver-message.
    async fn next_message(&self) -> Value {
        let receive = self.sqs.receive_message().queue_url(&self.event_queue).max_number_of_messages(1);
        let received = receive.message_system_attribute_names(MessageSystemAttributeName::All).send().await;
        let message = received.expect("the queue answers").messages.expect("there is a message").remove(0);
        let mut event = fixture("sqs.json");
        let record = &mut event["Records"][0];
        record["messageId"] = message.message_id().into();
        record["receiptHandle"] = message.receipt_handle().into();
        record["body"] = message.body().into();
        for (name, value) in message.attributes().expect("all were asked for") {
            record["attributes"][name.as_str()] = value.as_str().into();
        }
        event
    }
}

#[tokio::test]
async fn an_event_goes_through_receive_message_the_queue_and_deliver_message() {
    let deployment = Deployment::start().await;
    let (receive, deliver) =
        tokio::join!(deployment.function("receive-message"), deployment.function("deliver-message"));

    let body = message("c");
    let response = receive.invoke(&deployment.event(&body)).await;
    assert_eq!((&response["statusCode"], &response["body"]), (&json!(200), &json!("")));
    let response = receive.invoke(&fixture("http-api.json")).await;
    assert_eq!(response["statusCode"], 401);

    let response = deliver.invoke(&deployment.next_message().await).await;
    assert_eq!(response, json!({ "batchItemFailures": [] }));
    assert_eq!(received(&deployment.stack, "c").len(), 1);
    assert_eq!(deployment.stack.bot.receipts()["c"][0].body, body);
    // There was no token yet; the first event has logged in.
    assert!(deployment.secret("bot-token").await["access_token"].is_string());

    // One that has to wait is reported back and hidden, one that is refused goes to the dead letters.
    deployment.stack.bot.refuse_conversation("d", 503, Some(60));
    assert_eq!(receive.invoke(&deployment.event(&message("d"))).await["statusCode"], 200);
    let event = deployment.next_message().await;
    let response = deliver.invoke(&event).await;
    assert_eq!(response, json!({ "batchItemFailures": [{ "itemIdentifier": event["Records"][0]["messageId"] }] }));
    deployment.stack.bot.refuse_conversation("d", 400, None);
    assert_eq!(deliver.invoke(&event).await, json!({ "batchItemFailures": [] }));
    let dead = deployment.sqs.receive_message().queue_url(&deployment.dead_letter_queue).message_attribute_names("All");
    let dead = dead.send().await.unwrap().messages.expect("a dead letter").remove(0);
    assert_eq!(dead.message_attributes().unwrap()["status"].string_value(), Some("400"));
    deployment.stack.check();
}

#[tokio::test]
async fn a_schedule_refreshes_the_token() {
    let deployment = Deployment::start().await;
    let refresh = deployment.function("refresh-tokens").await;
    let report = |refreshed: &[&str], fresh: &[&str]| json!({ "refreshed": refreshed, "fresh": fresh, "failed": [] });
    assert_eq!(refresh.invoke(&fixture("schedule.json")).await, report(&["bot"], &[]));
    assert!(deployment.secret("bot-token").await["refresh_token"].is_string());
    assert_eq!(refresh.invoke(&fixture("schedule.json")).await, report(&[], &["bot"]));

    deployment.secrets.put_secret_value().secret_id("bot").secret_string("{}").send().await.expect("a new value");
    let old = json!({ "access_token": "a", "refresh_token": null, "token_type": "bearer", "expires_at": 1 });
    let put = deployment.secrets.put_secret_value().secret_id("bot-token");
    put.secret_string(old.to_string()).send().await.expect("a new value");
    let error = refresh.invoke(&fixture("schedule.json")).await;
    assert_eq!(error["errorType"], "TokensNotRefreshed");
    assert!(error["errorMessage"].as_str().unwrap().contains("app_token"), "{error}");
    deployment.stack.check();
}

#[tokio::test]
async fn a_caller_gets_a_token_and_its_callbacks_are_taken_through_a_rotation() {
    let deployment = Deployment::start().await;
    let caller =
        json!({ "app_token": "app", "username": "user", "password": "password", "signing_key": "1".repeat(43) });
    let secrets = &deployment.secrets;
    let created = secrets.create_secret().name("caller").secret_string(caller.to_string()).send().await;
    let created = created.expect("a secret");
    let (issue, rotate) = tokio::join!(deployment.function("issue-token"), deployment.function("rotate-signing-key"));
    let receive = deployment.function_with("receive-message", &[("CALLBACK_AUTHENTICATION", "headers")]).await;

    let mut request = fixture("http-api.json");
    request["routeKey"] = "POST /tenant-users/oauth2/token".into();
    request["headers"]["content-type"] = "application/x-www-form-urlencoded".into();
    let form = "grant_type=password&username=user&password=password&clientid=app";
    request["body"] = STANDARD.encode(form).into();
    request["isBase64Encoded"] = true.into();
    let tokens = async |function: &Emulated| {
        let response = function.invoke(&request).await;
        assert_eq!(response["statusCode"], 200, "{response}");
        serde_json::from_str::<Value>(response["body"].as_str().unwrap()).unwrap()
    };
    let callback = |tokens: &Value| {
        let mut event = deployment.event(&message("c"));
        event["headers"]["x-app-token"] = "app".into();
        event["headers"]["authorization"] = format!("Bearer {}", tokens["access_token"].as_str().unwrap()).into();
        event
    };
    let before = tokens(&issue).await;
    assert_eq!(before["expires_in"], 3600);
    assert_eq!(receive.invoke(&callback(&before)).await["statusCode"], 200);

    // Secrets Manager's four steps. moto does not invoke rotation functions by itself, nor label a version without a
    // value, so that the version is made here.
    let version = "0123456789abcdef0123456789abcdef";
    let step = |step: &str| json!({ "Step": step, "SecretId": "caller", "ClientRequestToken": version });
    let refused = rotate.invoke(&step("createSecret")).await;
    assert!(refused["errorMessage"].as_str().unwrap().contains("no rotation"), "{refused}");
    let rotated = json!({
        "app_token": "app", "username": "user", "password": "password", "signing_key": "2".repeat(43),
        "superseded": [{ "signing_key": "1".repeat(43), "until": 4_000_000_000_u64 }], "rotated_from": created.version_id(),
    });
    let put = secrets.put_secret_value().secret_id("caller").client_request_token(version);
    put.version_stages("AWSPENDING").secret_string(rotated.to_string()).send().await.expect("a pending version");
    for name in ["createSecret", "setSecret", "testSecret", "finishSecret", "finishSecret"] {
        assert_eq!(rotate.invoke(&step(name)).await, Value::Null, "{name}");
    }
    assert_eq!(deployment.secret("caller").await["signing_key"], "2".repeat(43));
    assert_eq!(receive.invoke(&callback(&before)).await["statusCode"], 200);
    let issue = deployment.function("issue-token").await;
    assert_eq!(receive.invoke(&callback(&tokens(&issue).await)).await["statusCode"], 200);
    deployment.stack.check();
}

#[tokio::test]
async fn a_bot_opens_a_conversation_and_speaks_once_under_a_key() {
    let deployment = Deployment::start().await;
    let caller =
        json!({ "app_token": "app", "username": "user", "password": "password", "signing_key": "1".repeat(43) });
    let create = deployment.secrets.create_secret().name("caller").secret_string(caller.to_string());
    create.send().await.expect("a secret");
    deployment.create_table("idempotency").await;
    let registered = deployment.stack.cloud.secrets.current(sandbox::deployment::CHANNEL_SECRET);
    let put = deployment.secrets.put_secret_value().secret_id("channel").secret_string(registered.to_string());
    put.send().await.expect("a new value");
    let (issue, converse) = tokio::join!(
        deployment.function("issue-token"),
        deployment.function_with("converse", &[("IDEMPOTENCY_TABLE", "idempotency")]),
    );
    let request = |path: &str, content_type: &str, body: &str| {
        let mut request = fixture("http-api.json");
        request["rawPath"] = path.into();
        request["requestContext"]["http"]["path"] = path.into();
        request["headers"]["content-type"] = content_type.into();
        request["headers"]["x-app-token"] = "app".into();
        request["body"] = body.into();
        request
    };
    let form = "grant_type=password&username=user&password=password&clientid=app";
    let tokens = issue.invoke(&request(sandbox::TOKEN, "application/x-www-form-urlencoded", form)).await;
    let tokens: Value = serde_json::from_str(tokens["body"].as_str().unwrap()).unwrap();
    let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let call = |path: &str, body: Value, key: &str| {
        let mut request = request(&format!("{}{path}", sandbox::CONVERSATIONS), "application/json", &body.to_string());
        request["headers"]["authorization"] = bearer.clone().into();
        request["headers"]["idempotency-key"] = key.into();
        request
    };

    let created = converse.invoke(&call("", json!({ "user": {} }), "creation")).await;
    assert_eq!(created["statusCode"], 202, "{created}");
    let conversation: Value = serde_json::from_str(created["body"].as_str().unwrap()).unwrap();
    let conversation = conversation["conversationId"].as_str().unwrap();
    let line = json!({ "authorType": "user", "text": "confidential" });
    let path = format!("/{conversation}/messages");
    for replayed in [Value::Null, "true".into(), "true".into()] {
        let response = converse.invoke(&call(&path, line.clone(), "line")).await;
        assert_eq!((&response["statusCode"], &response["headers"]["idempotent-replayed"]), (&json!(202), &replayed));
    }
    let other = converse.invoke(&call(&path, json!({ "authorType": "user", "text": "other" }), "line")).await;
    assert_eq!(other["statusCode"], 422);
    // What this process has not done another one does.
    deployment.stack.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    deployment.stack.fault(contact_center::Fault::Status500, When::For(Duration::from_secs(60)));
    let again = json!({ "authorType": "user", "text": "confidential: again" });
    assert_eq!(converse.invoke(&call(&path, again.clone(), "again")).await["statusCode"], 504);
    deployment.stack.faults.clear();
    assert_eq!(converse.invoke(&call(&path, again, "again")).await["statusCode"], 202);
    let said: Vec<_> = deployment.stack.contact_center.said(conversation).into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["confidential", "confidential: again"]);
    deployment.stack.check();
}

#[tokio::test]
async fn a_channel_is_registered_directly_and_by_cloudformation() {
    let deployment = Deployment::start().await;
    let register = deployment.function("register-channel").await;
    let response = register.invoke(&json!({ "operation": "register", "queue_id": "101" })).await;
    assert_eq!(response["changes"], json!(["webhook created", "channel created"]));
    assert_eq!(deployment.secret("channel").await["channel_id"], response["channel_id"]);
    assert_eq!(register.invoke(&json!({ "operation": "review" })).await["in_sync"], true);
    let error = register.invoke(&json!({ "operation": "update", "queue_id": "999" })).await;
    assert!(error["errorMessage"].as_str().unwrap().contains("Queue ID 999 is invalid."), "{error}");

    let cloud_formation = CloudFormation::start().await;
    for (request_type, queue_id, status) in [
        ("Create", "101", "SUCCESS"),
        ("Update", "999", "FAILED"),
        ("Update", "102", "SUCCESS"),
        ("Delete", "102", "SUCCESS"),
    ] {
        let properties = json!({ "QueueId": queue_id, "CallbackUrl": deployment.stack.callback_url() });
        let request = cloud_formation.prepare(request_type, Some("live-agent-emulated"), properties);
        register.invoke(request.event()).await;
        let response = request.response().expect("CloudFormation gets a response");
        assert_eq!(response["Status"], status, "{request_type}: {response}");
    }
    assert_eq!(deployment.secret("channel").await, json!({}));
    deployment.stack.check();
}

#[tokio::test]
async fn a_wrong_configuration_answers_cloudformation_with_the_variables_name() {
    let deployment = Deployment::start().await;
    let register = deployment.function_with("register-channel", &[("CONTACT_CENTER_API", "chat-api-v3")]).await;
    let cloud_formation = CloudFormation::start().await;
    let respond = async |request_type: &str| {
        let properties = json!({ "QueueId": "101", "CallbackUrl": deployment.stack.callback_url() });
        let request = cloud_formation.prepare(request_type, Some("live-agent-emulated"), properties);
        register.invoke(request.event()).await;
        request.response().expect("CloudFormation gets a response")
    };
    for request_type in ["Create", "Update"] {
        let response = respond(request_type).await;
        assert_eq!(response["Status"], "FAILED", "{response}");
        assert!(response["Reason"].as_str().unwrap().contains("CONTACT_CENTER_API"), "{response}");
    }
    assert_eq!(respond("Delete").await["Status"], "SUCCESS", "nothing was registered");
    let registered = json!({
        "channel_id": "25", "webhook_id": "12", "queue_id": "101", "callback_url": "https://a.example", "registered_at": 1
    });
    let secret = deployment.secrets.put_secret_value().secret_id("channel").secret_string(registered.to_string());
    secret.send().await.expect("the secret exists");
    assert_eq!(respond("Delete").await["Status"], "FAILED", "it cannot be removed");

    let error = register.invoke(&json!({ "operation": "review" })).await;
    assert!(error["errorMessage"].as_str().unwrap().contains("CONTACT_CENTER_API"), "{error}");
}
