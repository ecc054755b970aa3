//! What each function is given and allowed: variables, policies, roles, numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use aws::cloud::Call;
use contact_center::{Authentication, ContactCenterSettings, FailureKind};
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::deployment::{self, BOT_TOKEN_SECRET, CHANNEL_SECRET, CallbackAuthentication};
use serde_json::{Value, json};
use shared::environment::{ConfigError, Environment};

use super::{folder_of, property, resources, strings};
use crate::support::{PATIENCE, Stack, now_millis};

/// Reads a function's configuration from `variables` and gives the names that it asked for.
fn names_read(function: &str, variables: &BTreeMap<String, String>) -> BTreeSet<String> {
    let asked = Mutex::new(BTreeSet::new());
    let look_up = |name: &str| {
        asked.lock().unwrap().insert(name.to_owned());
        variables.get(name).cloned()
    };
    let environment = Environment::new(&look_up);
    let read: Result<(), ConfigError> = match function {
        "receive-message" => receive_message::Config::from_environment(&environment).map(drop),
        "deliver-message" => deliver_message::Config::from_environment(&environment).map(drop),
        "refresh-tokens" => refresh_tokens::Config::from_environment(&environment).map(drop),
        "register-channel" => register_channel::Config::from_environment(&environment).map(drop),
        "issue-token" => issue_token::Config::from_environment(&environment).map(drop),
        "rotate-signing-key" => rotate_signing_key::Config::from_environment(&environment).map(drop),
        "converse" => converse::Config::from_environment(&environment).map(drop),
        "watch-handovers" => watch_handovers::Config::from_environment(&environment).map(drop),
        "manage-dead-letters" => manage_dead_letters::Config::from_environment(&environment).map(drop),
        "check-integration" => check_integration::Config::from_environment(&environment).map(drop),
        unknown => panic!("how is {unknown} configured?"),
    };
    read.unwrap_or_else(|error| panic!("{function}: {error}"));
    asked.into_inner().unwrap()
}

/// The names of the variables that the template sets where these of its conditions hold.
fn names_set(function: &str, conditions: &[&str]) -> BTreeSet<String> {
    let variables = property(function, "/Environment/Variables").as_object().expect("every function has variables");
    let is_set = |value: &Value| match value.pointer("/Fn::If") {
        Some(choice) if choice[2] == json!({ "Ref": "AWS::NoValue" }) => {
            conditions.iter().any(|condition| choice[0] == *condition)
        }
        Some(_) | None => true,
    };
    variables.iter().filter(|(_, value)| is_set(value)).map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn every_variable_that_a_function_reads_is_set_for_it_and_no_other() {
    for (authentication, callback_authentication, conditions) in [
        (Authentication::ApiKey, CallbackAuthentication::Signature, &[][..]),
        (Authentication::ClientCredentials, CallbackAuthentication::Headers, &["HasToken", "KnowsCallers"]),
        (Authentication::Password, CallbackAuthentication::Either, &["HasToken", "KnowsCallers"]),
        (Authentication::ApiKey, CallbackAuthentication::Both, &["KnowsCallers"]),
    ] {
        let contact_center = ContactCenterSettings { authentication, ..ContactCenterSettings::default() };
        let settings = SandboxSettings { contact_center, callback_authentication, ..SandboxSettings::default() };
        let stack = Stack::with(settings).await;
        for function in &stack.functions {
            let logical_id = resources("AWS::Lambda::Function").find(|(id, _)| folder_of(id) == function.name());
            let (logical_id, _) = logical_id.expect("the sandbox has the template's functions");
            let set = names_set(logical_id, conditions);
            let mut variables = function.settings().variables.clone();
            // Set by Lambda, not by the template.
            variables.remove("AWS_ENDPOINT_URL");
            assert_eq!(names_read(function.name(), &variables), set, "{} reads what is set", function.name());
            let sandboxed: BTreeSet<String> = variables.into_keys().collect();
            assert_eq!(sandboxed, set, "the sandbox starts {} as the template does", function.name());
        }
    }
}

#[tokio::test]
async fn the_sandbox_deploys_with_the_templates_numbers() {
    let stack = Stack::start().await;
    for function in &stack.functions {
        let (id, _) = resources("AWS::Lambda::Function").find(|(id, _)| folder_of(id) == function.name()).unwrap();
        assert_eq!(*property(id, "/Timeout"), function.settings().timeout.as_secs(), "{id}");
    }
    let queue = stack.queues.events.settings();
    assert_eq!(*property("EventQueue", "/VisibilityTimeout"), queue.visibility_timeout.as_secs());
    assert_eq!(*property("EventQueue", "/RedrivePolicy/maxReceiveCount"), queue.redrive.as_ref().unwrap().0);
    assert_eq!(*property("DeliverMessageFunctionEventQueue", "/BatchSize"), aws::event_source::BATCH_SIZE);
    assert_eq!(
        *property("DeliverMessageFunctionEventQueue", "/FunctionResponseTypes"),
        json!(["ReportBatchItemFailures"])
    );
    let reserved = property("RefreshTokensFunction", "/ReservedConcurrentExecutions");
    assert_eq!(*reserved, json!({ "Fn::If": ["Reserve", 1, { "Ref": "AWS::NoValue" }] }));
    for queue in ["EventQueue", "DeadLetterQueue"] {
        assert_eq!(*property(queue, "/FifoThroughputLimit"), "perMessageGroupId");
        assert_eq!(*property(queue, "/DeduplicationScope"), "messageGroup");
        assert_eq!(*property(queue, "/MessageRetentionPeriod"), 14 * 24 * 3600);
    }
    for schedule in [
        "RefreshTokensFunctionEveryFiveMinutes",
        "RegisterChannelFunctionDailyReview",
        "WatchHandoversFunctionEveryMinute",
    ] {
        assert!(property(schedule, "/Name").is_null(), "two integrations of an account need two names");
        assert_eq!(*property(schedule, "/Target/DeadLetterConfig/Arn/Fn::GetAtt/0"), "ScheduleDeadLetterQueue");
    }
}

/// What a policy of the template allows: action and logical id, as the sandbox names the resource.
fn allowed(function: &str) -> BTreeSet<(String, String)> {
    let sandboxed = |resource: &str| match resource {
        "EventQueue" => "events.fifo",
        "DeadLetterQueue" => "dead-letters.fifo",
        "ContactCenterSecret" => "contact-center",
        "ContactCenterTokenSecret" => "contact-center-token",
        "BotSecret" => "bot",
        "BotTokenSecret" => "bot-token",
        "ChannelSecret" => "channel",
        "CallerSecret" => "caller",
        "IdempotencyTable" => "idempotency",
        "HandoverTable" => "handovers",
        "${HandoverTable.Arn}/index/open" => "handovers/index/open",
        "ReceiveMessageLogs" => deployment::RECEIVE_MESSAGE,
        "DeliverMessageLogs" => deployment::DELIVER_MESSAGE,
        other => panic!("what is {other} in the sandbox?"),
    };
    let role = property(function, "/Role/Fn::GetAtt/0").as_str().expect("a role of its own");
    let statements = property(role, "/Policies/0/PolicyDocument/Statement").as_array().expect("statements");
    let mut allowed = BTreeSet::new();
    for statement in statements.iter().map(|statement| statement.pointer("/Fn::If/1").unwrap_or(statement)) {
        assert_eq!(statement["Effect"], "Allow");
        for action in strings(&statement["Action"]) {
            let resources = match &statement["Resource"] {
                Value::Array(resources) => resources.clone(),
                one => vec![one.clone()],
            };
            for resource in &resources {
                let id = ["Ref", "Fn::Sub"].iter().find_map(|function| resource[*function].as_str());
                let id = id.or_else(|| resource["Fn::GetAtt"][0].as_str());
                let id = id.unwrap_or_else(|| panic!("{role}: {resource} names no resource of the template"));
                // What Lambda does with the role, and not our code: logs, polling, runs that failed for good.
                let is_polling = function == "DeliverMessageFunction"
                    && ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"].contains(&action);
                let is_lambdas = ["logs:CreateLogStream", "logs:PutLogEvents"].contains(&action)
                    || is_polling
                    || id == "ScheduleDeadLetterQueue";
                if !is_lambdas {
                    allowed.insert((action.to_owned(), sandboxed(id).to_owned()));
                }
            }
        }
    }
    allowed
}

#[tokio::test]
async fn every_call_that_a_function_makes_is_allowed_and_nothing_else_is() {
    let contact_center =
        ContactCenterSettings { authentication: Authentication::ClientCredentials, ..ContactCenterSettings::default() };
    let callback_authentication = CallbackAuthentication::Both;
    let settings = SandboxSettings {
        contact_center,
        callback_authentication,
        time_scale: 60,
        no_agent_minutes: 1,
        ..SandboxSettings::default()
    };
    let stack = Stack::with(settings).await;
    // Everything that makes a function call AWS: a refresh of both tokens, an event that is delivered, one that waits, one
    // that is refused and redriven, a token that is replaced, a channel that is registered and removed. The load balancer has got a
    // token, and the first rotation has filled the caller secret in. A bot opens a conversation, speaks under a
    // key and asks for its hand-over. A conversation that has waited for too long is ended.
    for token in [BOT_TOKEN_SECRET, sandbox::deployment::CONTACT_CENTER_TOKEN_SECRET] {
        stack.cloud.secrets.set(token, &json!({}));
    }
    stack.refresh_tokens().await.expect("a refresh");
    stack.function(deployment::REGISTER_CHANNEL).recycle();
    stack.bot.revoke_access_tokens();
    stack.contact_center.revoke_tokens();
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    conversation.queued();
    assert!(stack.settle(PATIENCE).await);
    stack.bot.refuse_conversation(conversation.id(), 503, Some(60));
    conversation.joined("agent");
    while stack.logged("tried again") == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    stack.bot.refuse_conversation(conversation.id(), 400, None);
    conversation.left("agent");
    assert!(stack.settle(PATIENCE).await);
    stack.bot.take_conversation(conversation.id());
    let last = stack.queues.dead_letters.contents().pop().expect("a dead letter").body;
    let queued = shared::queue::QueuedEvent::from_message(&last).expect("an event");
    // The letters before it are seen and kept.
    let redrive = json!({ "operation": "redrive", "event_ids": [queued.id().expect("an id")] });
    stack.manage_dead_letters(redrive).await.expect("a redrive");
    assert!(stack.settle(PATIENCE).await);
    let (_, created) = stack.chatbot.json(Method::POST, "", &json!({ "user": {} })).await;
    let spoken_in = created["conversationId"].as_str().expect("a conversation");
    stack.chatbot.say(spoken_in, "user", "confidential: hello", "key").await;
    let (status, _) = stack.chatbot.get(&format!("/{spoken_in}/handover")).await;
    assert_eq!(status, StatusCode::OK);
    let waiting = stack.contact_center.open_conversation(&stack.channel_id);
    let queued = json!({ "eventType": "QUEUED", "conversationId": waiting.id(), "timestamp": now_millis() as u64 - 120_000, "data": { "queueId": "101" } });
    waiting.event("QUEUED", queued.to_string());
    assert!(stack.settle(PATIENCE).await);
    stack.contact_center.revoke_tokens();
    assert_eq!(stack.watch_handovers().await.expect("a run")["closed"], 1);
    stack.contact_center.revoke_tokens();
    // A process that has just logged in does not do so again within seconds.
    stack.function(deployment::CONVERSE).recycle();
    stack.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    let response = stack.chatbot.say(spoken_in, "user", "confidential: hello?", "another-key").await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert!(stack.settle(PATIENCE).await);
    // The dead letter has a reason, which is read in the log.
    stack.check_integration().await.expect("a report");
    stack.invoke_register(json!({ "operation": "deregister" })).await.expect("a removal");
    assert_eq!(stack.cloud.secrets.current(CHANNEL_SECRET), json!({}));

    for (function, _) in resources("AWS::Lambda::Function") {
        let folder = folder_of(function);
        let calls = stack.cloud.calls().into_keys().filter(|call| call.function == folder);
        let made: BTreeSet<(String, String)> = calls.map(|Call { action, resource, .. }| (action, resource)).collect();
        assert_eq!(made, allowed(function), "{function}");
    }
}

#[test]
fn each_function_has_a_role_of_its_own_and_no_policy_names_every_resource() {
    let mut roles = BTreeSet::new();
    for (function, _) in resources("AWS::Lambda::Function") {
        let role = property(function, "/Role/Fn::GetAtt/0").as_str().unwrap();
        assert!(roles.insert(role), "{role} is shared");
        let managed = property(role, "/ManagedPolicyArns");
        assert_eq!(managed["Fn::If"][0], "InVpc", "AWS's own policy only where a network interface is needed");
    }
    for (role, definition) in resources("AWS::IAM::Role") {
        for policy in definition["Properties"]["Policies"].as_array().unwrap() {
            for text in strings(&policy["PolicyDocument"]["Statement"]) {
                assert!(!text.contains('*'), "{role}: {text}");
            }
        }
    }
}

#[test]
fn the_role_of_check_integration_may_only_read() {
    for (action, resource) in allowed("CheckIntegrationFunction") {
        let (_, operation) = action.split_once(':').expect("a service and an operation");
        let is_reading = ["Get", "List", "Describe", "Filter"].iter().any(|verb| operation.starts_with(verb));
        assert!(is_reading, "{action} on {resource}");
    }
}
