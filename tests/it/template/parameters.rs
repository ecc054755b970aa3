//! Parameters, rules, conditions and secrets.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{TEMPLATE, output, python, resources, strings};

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

/// Creates the stack on moto, with these parameters beside those that every stack needs.
pub(super) fn created_on_moto(parameters: &[(&str, &str)]) -> Value {
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
pub(super) fn is_taken(parameter: &str, value: &str) -> bool {
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
pub(super) fn holds(function: &Value, parameters: &[(&str, &str)]) -> bool {
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
