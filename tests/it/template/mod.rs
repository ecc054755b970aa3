//! The template: it is valid, complete and fits the code; no function may do more than it does, and no secret leaves its
//! place.

mod functions;
mod monitoring;
mod parameters;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::LazyLock;

use sandbox::build::root;
use serde_json::{Value, json};

use self::parameters::created_on_moto;

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
