//! The template: it is valid, complete and fits the code; no function may do more than it does, and no secret leaves its
//! place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use aws::cloud::Call;
use aws::cloud::logs::FilterPattern;
use bot_platform::BotPlatformSettings;
use contact_center::{Authentication, ContactCenterSettings, FailureKind};
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::deployment::{self, BOT_SECRET, BOT_TOKEN_SECRET, CHANNEL_SECRET, CallbackAuthentication};
use serde_json::{Value, json};
use shared::environment::{ConfigError, Environment};

use crate::support::{PATIENCE, Stack, now_millis};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace exists")
}

/// A program of one of the Python environments that `make python` installs.
fn python(environment: &str, program: &str) -> Command {
    let mut command = Command::new(root().join("target/python").join(environment).join("bin").join(program));
    command.current_dir(root()).env("SAM_CLI_TELEMETRY", "0").env("AWS_DEFAULT_REGION", "us-east-1");
    command
}

fn output(mut command: Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: `make python` installs it"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The template, as it is written and as SAM translates it.
static TEMPLATE: LazyLock<Value> = LazyLock::new(|| {
    let mut translate = python("sam", "python");
    translate.args(["tests/it/template/translate.py", "template.yaml"]);
    serde_json::from_str(&output(translate)).expect("it prints JSON")
});

fn resources(kind: &str) -> impl Iterator<Item = (&'static String, &'static Value)> {
    let resources = TEMPLATE["translated"]["Resources"].as_object().expect("there are resources");
    resources.iter().filter(move |(_, resource)| resource["Type"] == kind)
}

fn property(resource: &str, pointer: &str) -> &'static Value {
    TEMPLATE["translated"]["Resources"][resource]["Properties"].pointer(pointer).unwrap_or(&Value::Null)
}

/// `ReceiveMessageFunction` → `receive-message`
fn folder_of(function: &str) -> String {
    kebab(function.strip_suffix("Function").expect("functions are named after their folders"))
}

/// `DeadLettersAlarm` → `dead-letters-alarm`
fn kebab(name: &str) -> String {
    name.chars().fold(String::new(), |kebab, letter| match letter {
        'A'..='Z' if !kebab.is_empty() => format!("{kebab}-{}", letter.to_ascii_lowercase()),
        _ => format!("{kebab}{}", letter.to_ascii_lowercase()),
    })
}

/// Every string within a value.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[test]
fn sam_and_cfn_lint_find_nothing() {
    let mut lint = python("sam", "cfn-lint");
    lint.arg("template.yaml");
    assert_eq!(output(lint), "");
    let mut validate = python("sam", "sam");
    validate.args(["validate", "--lint", "--template", "template.yaml", "--region", "us-east-1"]);
    assert!(output(validate).contains("is a valid SAM Template"));
}

#[test]
fn every_folder_of_functions_is_in_the_template_and_the_other_way_round() {
    let folders: BTreeSet<String> = std::fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    let functions: BTreeSet<String> = resources("AWS::Lambda::Function").map(|(name, _)| folder_of(name)).collect();
    assert_eq!(functions, folders);
    for function in resources("AWS::Lambda::Function").map(|(name, _)| name) {
        let written = &TEMPLATE["written"]["Resources"][function];
        // What `make build` writes, so that exactly that is deployed.
        assert_eq!(written["Properties"]["CodeUri"], format!("target/lambda/{}/bootstrap.zip", folder_of(function)));
        assert!(written["Metadata"].is_null(), "`sam build` has nothing to build");
    }
}

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
    let answer = stack.chatbot.say(spoken_in, "user", "confidential: hello?", "another-key").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
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

#[test]
fn secrets_are_hidden_parameters_that_go_into_secrets_and_nowhere_else() {
    let hidden: BTreeSet<&str> = TEMPLATE["written"]["Parameters"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, parameter)| parameter["NoEcho"] == true)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(hidden, ["ApiKey", "ApiSecret", "AppToken", "BotPassword", "Password"].into());
    let mentions = |value: &Value| strings(value).into_iter().any(|text| hidden.iter().any(|name| text.contains(name)));
    for (name, resource) in TEMPLATE["written"]["Resources"].as_object().unwrap() {
        if resource["Type"] != "AWS::SecretsManager::Secret" {
            let references = strings(resource).into_iter().filter(|text| hidden.contains(text)).count();
            assert_eq!(references, 0, "{name} holds a secret");
        }
    }
    assert!(!mentions(&TEMPLATE["written"]["Outputs"]), "an output holds a secret");
}

#[test]
fn every_alarm_reaches_the_topic_and_names_its_page() {
    for (alarm, definition) in resources("AWS::CloudWatch::Alarm") {
        assert_eq!(definition["Properties"]["AlarmActions"]["Fn::If"][0], "HasAlarmTopic", "{alarm}");
        let name = alarm.strip_suffix("Alarm").expect("alarms are named so");
        let path = format!("docs/operate/{}.md", kebab(alarm));
        let page = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(page.starts_with(&format!("# {name}\n")), "{path} is not about {name}");
        let description = strings(&definition["Properties"]["AlarmDescription"]).concat();
        assert!(description.ends_with(&format!("See {path}")), "{alarm}: {description}");
        // What CloudWatch allows.
        assert!(description.len() <= 1024, "{alarm}: {description}");
    }
}

#[test]
fn the_alarm_goes_off_when_a_customer_waits_longer_than_the_parameter_says() {
    let metrics = property("NobodyJoinsAlarm", "/Metrics").as_array().expect("a calculation");
    assert_eq!(metrics[0]["Expression"], "oldest / 60", "the metric is in seconds, the parameter in minutes");
    let metric = &metrics[1]["MetricStat"]["Metric"];
    assert_eq!(metric["MetricName"], "OldestWaiting");
    assert_eq!(metric["Dimensions"][0]["Value"], json!({ "Ref": "WatchHandoversFunction" }));
    assert_eq!(*property("NobodyJoinsAlarm", "/Threshold"), json!({ "Ref": "NoAgentAlarmMinutes" }));
    assert_eq!(*property("NobodyJoinsAlarm", "/ComparisonOperator"), "GreaterThanThreshold");
    assert_eq!(TEMPLATE["written"]["Parameters"]["NoAgentAlarmMinutes"]["Default"], 10);
    for timer in ["NoAgentMinutes", "CustomerIdleMinutes"] {
        assert_eq!(TEMPLATE["written"]["Parameters"][timer]["Default"], 0, "{timer} is off");
    }
}

#[test]
fn an_alarm_says_that_every_tenant_is_accepted_while_no_tenant_id_is_set_and_a_blank_one_is_refused() {
    let alarm = &TEMPLATE["written"]["Resources"]["UncheckedTenantAlarm"];
    let condition = &TEMPLATE["written"]["Conditions"][alarm["Condition"].as_str().expect("a condition")];
    assert!(holds(condition, &[]) && holds(condition, &[("TenantId", "")]));
    assert!(!holds(condition, &[("TenantId", "acme")]));
    let description = alarm["Properties"]["AlarmDescription"].as_str().expect("a description");
    assert!(description.contains("SET=TenantId"), "{description}");
    assert_eq!(alarm["Properties"]["MetricName"], "EventsWithoutTenantCheck");
    for (id, taken) in [("", true), ("acme", true), (" ", false), ("acme ", false), (" acme", false)] {
        assert_eq!(is_taken("TenantId", id), taken, "{id:?}");
    }
}

/// A metric: namespace, name, and the names of its dimensions with their values, where the template gives one.
type Metric = (String, String, BTreeMap<String, Option<String>>);

/// A text of the template, with the names of what stands in it: `{"Ref": "A"}` → `${A}`.
fn text_of(value: &Value) -> String {
    let reference = || value["Ref"].as_str().map(|name| format!("${{{name}}}"));
    let text = value.as_str().or_else(|| value["Fn::Sub"].as_str()).map(str::to_owned).or_else(reference);
    text.unwrap_or_else(|| value.to_string())
}

/// The metrics of the metric filters.
fn filtered_metrics() -> Vec<(&'static str, Metric)> {
    let filters = resources("AWS::Logs::MetricFilter");
    let metric = |(filter, _): (&'static String, _)| {
        let transformation = property(filter, "/MetricTransformations/0");
        assert!(transformation["Dimensions"].is_null() && transformation["DefaultValue"].is_null(), "{filter}");
        let [namespace, name] = ["MetricNamespace", "MetricName"].map(|field| text_of(&transformation[field]));
        (filter.as_str(), (namespace, name, BTreeMap::new()))
    };
    filters.map(metric).collect()
}

/// The metrics that functions write as lines: the code that does it, and the table in its documentation, which names the
/// function.
fn written_metrics() -> Vec<Metric> {
    let telemetry = std::fs::read_to_string(root().join("shared/src/telemetry.rs")).unwrap();
    let quoted = |text: &str| text.split('"').nth(1).unwrap_or_default().to_owned();
    let namespace = telemetry.lines().find(|line| line.starts_with("const NAMESPACE")).expect("there is one");
    let calls = telemetry.lines().flat_map(|line| {
        ["counter!(", "histogram!("]
            .into_iter()
            .filter_map(|call| line.trim_start().strip_prefix(call)?.split_once(')'))
    });
    let metric = |(arguments, _): (&str, &str)| {
        let name = quoted(arguments);
        let row = format!("//! | `{name}` |");
        let row = telemetry.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("{name} has no row"));
        let function = row.split('|').nth(4).expect("a column with the function").trim();
        let function = function.split(':').next().unwrap_or_default();
        let (id, _) = resources("AWS::Lambda::Function").find(|(id, _)| folder_of(id) == function).expect(function);
        let labels = arguments.split(", ").filter(|argument| argument.contains("=>"));
        let mut dimensions: BTreeMap<_, _> = labels.map(|label| (quoted(label), None)).collect();
        dimensions.insert("FunctionName".to_owned(), Some(format!("${{{id}}}")));
        (quoted(namespace), name, dimensions)
    };
    calls.map(metric).collect()
}

/// The metrics of ours that alarms and dashboard show.
fn shown_metrics() -> Vec<(&'static str, Metric)> {
    let mut shown = Vec::new();
    for (alarm, definition) in resources("AWS::CloudWatch::Alarm") {
        let properties = &definition["Properties"];
        let parts = properties["Metrics"].as_array().into_iter().flatten();
        let metrics = parts.map(|part| &part["MetricStat"]["Metric"]).chain([properties]);
        for metric in metrics.filter(|metric| metric["MetricName"].is_string()) {
            let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
            let dimensions = dimensions.map(|each| (text_of(&each["Name"]), Some(text_of(&each["Value"]))));
            let [namespace, name] = ["Namespace", "MetricName"].map(|field| text_of(&metric[field]));
            shown.push((alarm.as_str(), (namespace, name, dimensions.collect())));
        }
    }
    // The only parameter that stands in it as a number.
    let body = text_of(property("Dashboard", "/DashboardBody")).replace("${NoAgentAlarmMinutes}", "10");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    for widget in body["widgets"].as_array().expect("widgets") {
        for metric in widget["properties"]["metrics"].as_array().into_iter().flatten() {
            if let Some(expression) = metric[0]["expression"].as_str() {
                let Some((schema, search)) = expression.strip_prefix("SEARCH('{").and_then(|rest| rest.split_once('}'))
                else {
                    continue;
                };
                let given =
                    |name: &str| Some(search.split_once(&format!("{name}=\""))?.1.split('"').next()?.to_owned());
                let (namespace, dimensions) = schema.split_once(',').expect("a namespace and dimensions");
                let dimensions = dimensions.split(',').map(|name| (name.to_owned(), given(name)));
                let name = given("MetricName").expect("the name of a metric");
                shown.push(("Dashboard", (namespace.to_owned(), name, dimensions.collect())));
            } else {
                let texts: Vec<_> = metric.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
                let dimensions = texts[2..].chunks(2).map(|pair| (pair[0].to_owned(), Some(pair[1].to_owned())));
                shown.push(("Dashboard", (texts[0].to_owned(), texts[1].to_owned(), dimensions.collect())));
            }
        }
    }
    shown.retain(|(_, (namespace, ..))| namespace.starts_with("LiveAgentBridge"));
    shown
}

#[test]
fn alarms_and_dashboard_show_metrics_that_filters_or_functions_write_in_their_namespace_and_dimensions() {
    let (filtered, written, shown) = (filtered_metrics(), written_metrics(), shown_metrics());
    assert!(written.len() >= 20 && shown.len() >= 25, "{} are written, {} shown", written.len(), shown.len());
    // A dimension of a written metric, such as Reason, has any value that the function gives it.
    let is_of = |(namespace, name, dimensions): &Metric, shown: &Metric| {
        let given = |(name, value): (&String, &Option<String>)| match shown.2.get(name) {
            Some(shown) => value.is_none() || value == shown,
            None => false,
        };
        (namespace, name) == (&shown.0, &shown.1) && dimensions.len() == shown.2.len() && dimensions.iter().all(given)
    };
    for (place, metric) in &shown {
        let mut all = filtered.iter().map(|(_, metric)| metric).chain(&written);
        assert!(all.any(|each| is_of(each, metric)), "{place} shows {metric:?}, which is not written");
    }
    for (filter, metric) in &filtered {
        assert!(shown.iter().any(|(_, shown)| is_of(metric, shown)), "{filter}: {metric:?} is not shown");
        assert!(written.iter().all(|written| written.1 != metric.1), "{} is counted twice", metric.1);
    }
}

#[tokio::test]
async fn the_metric_filters_count_the_events_that_the_functions_log_and_find_their_age() {
    let stack = Stack::start().await;
    let conversation = stack.contact_center.open_conversation(&stack.channel_id);
    let event_id = conversation.event("MESSAGE", crate::support::message(conversation.id()));
    assert!(stack.settle(PATIENCE).await);
    // One that 8x8 sends again, which SQS drops; one of an undocumented type; one that is refused; one that is rejected.
    stack.contact_center.resend(&event_id, contact_center::Resend::Again).await.expect("8x8 knows the event");
    assert_eq!(stack.post_signed(r#"{"eventType":"NEW"}"#).await.status(), StatusCode::OK);
    assert_eq!(stack.post(&Vec::new(), "{}").await.status(), StatusCode::UNAUTHORIZED);
    assert!(stack.settle(PATIENCE).await);
    stack.bot.refuse_conversation(conversation.id(), 422, None);
    conversation.event("MESSAGE", crate::support::message(conversation.id()));
    assert!(stack.settle(PATIENCE).await);
    let values = |filter: &str| {
        let pattern = property(filter, "/FilterPattern").as_str().expect("a pattern");
        let pattern = FilterPattern::parse(pattern).unwrap_or_else(|| panic!("{filter}: {pattern}"));
        let group = property(filter, "/LogGroupName/Ref").as_str().expect("a log group of the template");
        let function = folder_of(&group.replace("Logs", "Function"));
        let value = property(filter, "/MetricTransformations/0/MetricValue").as_str().expect("a value");
        let logs = stack.logs();
        let of_function = logs.iter().filter(|line| line.function == function);
        // A line that is not JSON throughout matches no pattern.
        let lines = of_function.filter_map(|line| serde_json::from_str::<Value>(&line.text).ok());
        let matching = lines.filter(|fields| pattern.matches(fields));
        let number = |fields: Value| match value.strip_prefix("$.") {
            Some(field) => fields[field].as_f64().unwrap_or_else(|| panic!("{filter}: {fields} has no {field}")),
            None => value.parse().expect("a number"),
        };
        matching.map(number).collect::<Vec<f64>>()
    };
    // The last line is written before the event is settled, and read soon after.
    while stack.logged(r#""step":"dead-lettered""#) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(values("EventsReceivedFilter"), [1.0; 4]);
    assert_eq!(stack.logged(r#""EventsRepeated":1"#), 1);
    assert_eq!(stack.logged(r#""EventsUndocumented":1"#), 1);
    assert_eq!(values("EventsDeliveredFilter"), [1.0; 2]);
    let ages = values("EventAgeFilter");
    assert_eq!(ages.len(), 2);
    assert!(ages.iter().all(|age| (0.0..PATIENCE.as_millis() as f64).contains(age)), "{ages:?}");
    let unit = |filter: &str| property(filter, "/MetricTransformations/0/Unit");
    assert_eq!((unit("EventsReceivedFilter"), unit("EventAgeFilter")), (&json!("Count"), &json!("Milliseconds")));
    assert_eq!(resources("AWS::Logs::MetricFilter").count(), 3);
    // Only the standard log class has metric filters.
    for (group, _) in resources("AWS::Logs::LogGroup") {
        assert!(property(group, "/LogGroupClass").is_null(), "{group}");
    }
    stack.finish().await;
}

/// Creates the stack on moto, with these parameters beside those that every stack needs.
fn created_on_moto(parameters: &[(&str, &str)]) -> Value {
    let mut create = python("moto", "python");
    create
        .arg("tests/it/template/create_on_moto.py")
        .args(parameters.iter().map(|(name, value)| format!("{name}={value}")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut process = create.spawn().expect("`make python` installs it");
    serde_json::to_writer(process.stdin.take().unwrap(), &TEMPLATE["translated"]).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn parsed(text: &Value) -> Value {
    let text = text.as_str().expect("a text");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Whether CloudFormation takes `value` for a parameter, as far as its pattern goes.
fn is_taken(parameter: &str, value: &str) -> bool {
    let pattern = TEMPLATE["written"]["Parameters"][parameter]["AllowedPattern"].as_str();
    let pattern = pattern.unwrap_or_else(|| panic!("{parameter} has a pattern"));
    let mut check = python("sam", "python");
    check.args(["-c", "import re, sys; print(bool(re.fullmatch(sys.argv[1], sys.argv[2])))", pattern, value]);
    output(check).trim() == "True"
}

#[test]
fn dashboard_and_secrets_are_json_whatever_the_parameters() {
    let hostile = "é ${ApiKey} ${!x} $${AWS::Region} ' {}[]:, \u{1F511}";
    // Not the name of a parameter that comes later in the secret's text: moto replaces one after another, AWS all at once.
    let visible = "!#$%&'()*+,-./0:;<=>?@A[]^_`a{|}~${x}${IntegrationName}";
    for name in ["ApiSecret", "Username", "Password", "BotUsername", "BotPassword"] {
        assert!(is_taken(name, hostile), "{name}");
    }
    for name in ["ApiKey", "AppToken"] {
        assert!(is_taken(name, visible), "{name}");
    }
    let stack = created_on_moto(&[
        ("ApiKey", visible),
        ("AppToken", visible),
        ("ApiSecret", hostile),
        ("Username", hostile),
        ("Password", hostile),
        ("BotUsername", hostile),
        ("BotPassword", hostile),
        ("Description", "\"\\"),
    ]);
    assert_eq!(
        parsed(&stack["outputs"]["TextContactCenterSecret"]),
        json!({ "api_key": visible, "api_secret": hostile, "username": hostile, "password": hostile })
    );
    assert_eq!(
        parsed(&stack["outputs"]["TextBotSecret"]),
        json!({ "app_token": visible, "username": hostile, "password": hostile })
    );
    let dashboards = stack["dashboards"].as_array().unwrap();
    assert_eq!(dashboards.len(), 1);
    let dashboard = parsed(&dashboards[0]);
    assert_eq!(dashboard["widgets"].as_array().unwrap().len(), 15);
    assert!(!strings(&dashboard).iter().any(|text| text.contains("${")), "everything has its name");
}

#[test]
fn what_would_break_a_secrets_json_is_refused_and_the_reason_is_readable() {
    let secrets = resources("AWS::SecretsManager::Secret").flat_map(|(_, secret)| strings(secret));
    let text: String = secrets.filter(|text| text.starts_with('{')).collect();
    let mut checked = BTreeSet::new();
    for (name, parameter) in TEMPLATE["written"]["Parameters"].as_object().unwrap() {
        if !text.contains(&format!("${{{name}}}")) {
            continue;
        }
        checked.insert(name.as_str());
        for broken in ["a\"b", "a\\b", "a\nb", "a\tb", "\u{1}", "\u{7f}", "\"", "\\"] {
            assert!(!is_taken(name, broken), "{name} takes {broken:?}");
        }
        assert_eq!(is_taken(name, ""), parameter["Default"] == "", "{name}: only optional ones may be empty");
        let reason = parameter["ConstraintDescription"].as_str().unwrap();
        assert!(reason.contains("quotation mark") && reason.contains("backslash"), "{name}: {reason}");
    }
    assert_eq!(
        checked,
        ["ApiKey", "ApiSecret", "AppToken", "BotPassword", "BotUsername", "Password", "Username"].into()
    );
}

/// What a rule's or a condition's function says about these parameters; all others have their defaults.
fn holds(function: &Value, parameters: &[(&str, &str)]) -> bool {
    let text = |value: &Value| match value.get("Ref").and_then(Value::as_str) {
        Some(name) => {
            let given = parameters.iter().find(|(given, _)| *given == name).map(|(_, value)| json!(value));
            given.unwrap_or_else(|| TEMPLATE["written"]["Parameters"][name]["Default"].clone())
        }
        None => value.clone(),
    };
    let (name, arguments) = function.as_object().and_then(|function| function.iter().next()).expect("a function");
    let arguments = arguments.as_array().expect("arguments");
    match name.as_str() {
        "Fn::Equals" => text(&arguments[0]) == text(&arguments[1]),
        "Fn::Not" => !holds(&arguments[0], parameters),
        "Fn::And" => arguments.iter().all(|argument| holds(argument, parameters)),
        "Fn::Or" => arguments.iter().any(|argument| holds(argument, parameters)),
        other => panic!("{other} is not allowed everywhere in rules and conditions"),
    }
}

/// What the rules say against these parameters.
fn refusals(parameters: &[(&str, &str)]) -> Vec<&'static str> {
    let rules = TEMPLATE["written"]["Rules"].as_object().unwrap().values();
    let asked = rules.filter(|rule| rule.get("RuleCondition").is_none_or(|condition| holds(condition, parameters)));
    let assertions = asked.flat_map(|rule| rule["Assertions"].as_array().unwrap());
    let failed = assertions.filter(|assertion| !holds(&assertion["Assert"], parameters));
    failed.map(|assertion| assertion["AssertDescription"].as_str().unwrap()).collect()
}

#[test]
fn the_rules_refuse_what_cannot_work() {
    let fits = [("QueueId", "101"), ("AiseraTenant", "acme")];
    let with = |more: &[(&'static str, &'static str)]| refusals(&[more, &fits[..]].concat());
    assert_eq!(refusals(&fits), [""; 0]);
    assert_eq!(with(&[("AiseraTenant", ""), ("BotEndpoint", "https://bot.example")]), [""; 0]);
    assert_eq!(with(&[("AiseraTenant", "")]).len(), 1);
    assert_eq!(with(&[("BotEndpoint", "https://bot.example")]).len(), 1);
    assert_eq!(with(&[("QueueId", "")]).len(), 1);
    assert_eq!(with(&[("QueueId", ""), ("ChannelId", "c")]), [""; 0]);
    assert_eq!(with(&[("ContactCenterApi", "chat-api-v2")]).len(), 1);
    let gateway = "https://api.8x8.com/chat-gateway/v1";
    assert_eq!(with(&[("ContactCenterApi", "chat-api-v2"), ("Endpoint", gateway)]).len(), 1);
    let older = "https://api.8x8.com/vcc/us/chat/v2/tenant/acme/";
    let idle = [("ContactCenterApi", "chat-api-v2"), ("Endpoint", older), ("CustomerIdleMinutes", "5")];
    assert_eq!(with(&idle).len(), 1);
    assert_eq!(with(&[("ContactCenterApi", "chat-api-v2"), ("Endpoint", older)]), [""; 0]);
    assert_eq!(with(&[("Public", "no")]).len(), 2);
    assert_eq!(with(&[("Public", "no"), ("SubnetIds", "subnet-1")]).len(), 1);
    assert_eq!(with(&[("Public", "no"), ("SubnetIds", "subnet-1"), ("SecurityGroupIds", "sg-1")]), [""; 0]);
}

#[test]
fn conditions_use_only_functions_that_are_documented_for_them() {
    for (name, condition) in TEMPLATE["written"]["Conditions"].as_object().unwrap() {
        // Panics on any other function.
        holds(condition, &[]);
        assert!(!condition.to_string().contains("Fn::Split"), "{name}");
    }
    assert_eq!(TEMPLATE["written"]["Transform"], "AWS::Serverless-2016-10-31");
}

#[test]
fn all_that_a_registration_depends_on_is_a_property_of_the_channel() {
    let properties = TEMPLATE["written"]["Resources"]["Channel"]["Properties"].as_object().unwrap();
    let groups = TEMPLATE["written"]["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"].as_array();
    let group = groups.unwrap().iter().find(|group| group["Label"]["default"] == "8x8 Contact Center").unwrap();
    // What CredentialsRevision stands for: what goes into 8x8's secret.
    let secret = property("ContactCenterSecret", "/SecretString/Fn::Sub").as_str().unwrap();
    for parameter in strings(&group["Parameters"]) {
        let is_credential = secret.contains(&format!("${{{parameter}}}"));
        assert_eq!(properties.contains_key(parameter), !is_credential, "{parameter}");
    }
    for parameter in ["IntegrationName", "QueueId", "ChannelId", "CredentialsRevision"] {
        assert_eq!(properties[parameter], json!({ "Ref": parameter }));
    }
    assert_eq!(properties["CallbackUrl"]["Fn::If"][0], "HasCallbackUrl");
    assert_eq!(
        *property("RegisterChannelFunction", "/Environment/Variables/CALLBACK_URL"),
        properties["CallbackUrl"],
        "an operator registers the URL that the stack does"
    );
}

#[test]
fn every_role_has_the_boundary_and_every_function_logs_its_metrics() {
    let boundary =
        json!({ "Fn::If": ["HasPermissionsBoundary", { "Ref": "PermissionsBoundaryArn" }, { "Ref": "AWS::NoValue" }] });
    let roles: Vec<_> = resources("AWS::IAM::Role").collect();
    assert_eq!(roles.len(), 13, "one a function and one a schedule");
    for (name, role) in roles {
        assert_eq!(role["Properties"]["PermissionsBoundary"], boundary, "{name}");
    }
    assert_eq!(TEMPLATE["written"]["Globals"]["Function"]["PermissionsBoundary"], boundary, "for roles that SAM makes");
    for (function, _) in resources("AWS::Lambda::Function") {
        assert_eq!(*property(function, "/LoggingConfig/ApplicationLogLevel"), "INFO", "{function}");
    }
}

#[test]
fn the_access_log_shows_who_calls_and_needs_no_policy_of_its_own() {
    let api = &TEMPLATE["written"]["Resources"]["Api"]["Properties"];
    let format = api["AccessLogSettings"]["Format"].as_str().unwrap();
    let format: Value = serde_json::from_str(format).expect("JSON");
    assert_eq!(format["sourceIp"], "$context.identity.sourceIp");
    assert_eq!(format["userAgent"], "$context.identity.userAgent");
    assert!(api.get("FailOnWarnings").is_none());
    let name = property("ApiLogs", "/LogGroupName/Fn::Sub/0").as_str().unwrap();
    assert!(name.starts_with("/aws/vendedlogs/") && name.contains("${AWS::StackName}"), "{name}");
    let review = property("RegisterChannelFunctionDailyReview", "/ScheduleExpression").as_str().unwrap();
    assert!(review.starts_with("cron("), "{review}: a rate runs at once, before anything is registered");
}

/// The values of an alarm's metric for the bot's token over a number of runs of refresh-tokens, five minutes apart.
async fn values(stack: &Stack, metric: &str, runs: usize) -> Vec<f64> {
    let mut values = Vec::new();
    for _ in 0..runs {
        // Five minutes pass.
        let mut token = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
        for field in ["issued_at", "expires_at"] {
            if let Some(time) = token[field].as_u64() {
                token[field] = json!(time - 300);
            }
        }
        stack.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
        // The lines of this run are those that come after the ones so far.
        let so_far = stack.logs().len();
        let _ = stack.refresh_tokens().await;
        let written = loop {
            let logs = stack.logs();
            let start = format!("\"{metric}\":[");
            let lines = logs.iter().skip(so_far).filter_map(|line| line.text.split_once(&start));
            let written: Vec<f64> = lines.filter_map(|(_, rest)| rest.split_once(']')?.0.parse().ok()).collect();
            if !written.is_empty() {
                break written;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert_eq!(written.len(), 1, "once a run");
        values.extend(written);
    }
    values
}

/// After how many periods the alarm goes off first.
fn goes_off(alarm: &str, values: &[f64]) -> Option<usize> {
    let number = |name: &str| property(alarm, name).as_f64().expect("a number");
    assert_eq!(number("/Period"), 300.0, "one run a period");
    assert_eq!(*property(alarm, "/ComparisonOperator"), "GreaterThanThreshold");
    let (periods, needed) = (number("/EvaluationPeriods") as usize, number("/DatapointsToAlarm") as usize);
    (1..=values.len()).find(|end| {
        let evaluated = &values[end.saturating_sub(periods)..*end];
        evaluated.iter().filter(|value| **value > number("/Threshold")).count() >= needed
    })
}

#[tokio::test]
async fn a_healthy_day_raises_no_alarm_and_a_failed_refresh_does_within_twenty_minutes() {
    let metric = property("BotTokenLifeAlarm", "/MetricName").as_str().unwrap();
    for minutes in [30, 60, 120, 24 * 60] {
        let bot =
            BotPlatformSettings { token_life: Duration::from_secs(minutes * 60), ..BotPlatformSettings::default() };
        let stack = Stack::with(SandboxSettings { bot, ..SandboxSettings::default() }).await;
        let day = values(&stack, metric, 24 * 12).await;
        assert_eq!(goes_off("BotTokenLifeAlarm", &day), None, "{minutes} minutes");
        assert!(day.iter().all(|value| *value == 0.0));
        // The token is due now, and the bot platform knows neither user nor refresh token any more.
        stack.cloud.secrets.set(BOT_SECRET, &json!({ "app_token": "wrong", "username": "wrong", "password": "wrong" }));
        stack.bot.revoke_refresh_tokens();
        let mut token = stack.cloud.secrets.current(BOT_TOKEN_SECRET);
        let left = token["expires_at"].as_u64().unwrap() - shared::clock::UnixTime::now().secs();
        let due = left.min(minutes * 60) - 60;
        for field in ["issued_at", "expires_at"] {
            token[field] = json!(token[field].as_u64().unwrap() - due);
        }
        stack.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
        let failing = values(&stack, metric, 4).await;
        assert!(goes_off("BotTokenLifeAlarm", &failing).is_some_and(|runs| runs * 5 <= 20), "{minutes}: {failing:?}");
    }
}

#[test]
fn the_alarms_hold_until_the_next_review_and_one_repeated_event_is_none() {
    assert_eq!(*property("ChannelDriftAlarm", "/TreatMissingData"), "ignore", "a review is once a day");
    assert!(property("RepeatedEventsAlarm", "/Threshold").as_u64().unwrap() > 1);
    // A gauge is written again at every flush, also when nothing was measured.
    let telemetry = std::fs::read_to_string(root().join("shared/src/telemetry.rs")).unwrap();
    assert!(!telemetry.contains("gauge!("), "histograms are written once");
}

#[test]
fn the_translated_template_can_be_created_on_moto_as_far_as_moto_goes() {
    let stack = created_on_moto(&[]);
    assert_eq!(stack["status"], "CREATE_COMPLETE");
    assert_eq!(
        stack["created"],
        json!([
            "AWS::CloudWatch::Dashboard",
            "AWS::DynamoDB::Table",
            "AWS::IAM::Role",
            "AWS::Lambda::EventSourceMapping",
            "AWS::Lambda::Function",
            "AWS::Lambda::Permission",
            "AWS::Logs::LogGroup",
            "AWS::SQS::Queue",
        ])
    );
    // What moto's CloudFormation does not know; cfn-lint has checked these against AWS's own schemas.
    assert_eq!(
        stack["unknown"],
        json!([
            "AWS::ApiGatewayV2::Api",
            "AWS::ApiGatewayV2::ApiMapping",
            "AWS::ApiGatewayV2::DomainName",
            "AWS::ApiGatewayV2::Stage",
            "AWS::CloudWatch::Alarm",
            "AWS::Lambda::EventInvokeConfig",
            "AWS::Logs::MetricFilter",
            "AWS::Logs::QueryDefinition",
            "AWS::Scheduler::Schedule",
            "AWS::SecretsManager::RotationSchedule",
            "AWS::SecretsManager::Secret",
            "Custom::LiveAgentChannel",
        ])
    );
    assert_eq!(stack["queues"].as_array().unwrap().len(), 3);
}
