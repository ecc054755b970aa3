//! What the documentation says of our API is true of the running set.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sandbox::SandboxSettings;
use sandbox::build::root;
use sandbox::deployment::{CallbackAuthentication, FUNCTIONS};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::Stack;

/// Far more than any program here takes; it ends then.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs a command to its end and gives what it printed.
async fn output(command: &mut Command) -> String {
    let output = timeout(PATIENCE, command.stdin(Stdio::null()).kill_on_drop(true).output()).await;
    let output = output.expect("the program ends in time").expect("the program is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

/// The shell examples of a document, in their order, as one script.
fn examples(document: &str) -> String {
    let text = std::fs::read_to_string(root().join(document)).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_for_a_bot_are_a_whole_hand_over() {
    let stack = Stack::start().await;
    let (webhooks, _) = stack.contact_center.registered();
    let login = stack.caller_login();
    let script = examples("docs/guides/connect-a-bot.md");
    assert!(script.matches("curl ").count() >= 9, "{script}");
    output(
        Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .env("TOKEN_URL", stack.api_url(sandbox::TOKEN))
            .env("CONVERSATIONS_URL", stack.api_url(sandbox::CONVERSATIONS))
            .env("APP_TOKEN", login.app_token)
            .env("USERNAME", login.username)
            .env("PASSWORD", login.password)
            .env("WEBHOOK_ID", webhooks[0]["id"].as_str().unwrap())
            .env("PICTURE", root().join("LICENSE-MIT")),
    )
    .await;
    let conversations = stack.contact_center.conversation_ids();
    assert_eq!(conversations.len(), 1);
    let kept = stack.contact_center.kept(&conversations[0]);
    assert_eq!((&kept["user"]["name"], &kept["state"]), (&"Ada".into(), &"idle".into()));
    assert_eq!(kept["history"].as_array().unwrap().len(), 2);
    assert_eq!(kept["postAgentAssignments"].as_array().unwrap().len(), 1);
    let said: Vec<_> = stack.contact_center.said(&conversations[0]).into_iter().map(|(_, text)| text).collect();
    assert_eq!(said, ["It should have been here on Monday.", ""]);
    stack.finish().await;
}

#[tokio::test]
async fn openssl_finds_the_documented_signature_good() {
    let folder = root().join(format!("target/tmp/signature-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = examples("docs/signature/README.md");
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &script]).env("WORK", &folder).current_dir(root().join("docs/signature"));
    assert_eq!(output(&mut command).await.trim(), "Verified OK");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn the_openapi_file_is_valid() {
    let validator = root().join("target/python/openapi/bin/openapi-spec-validator");
    output(Command::new(validator).arg(root().join("docs/openapi.yaml"))).await;
}

/// Schemathesis makes up requests from the OpenAPI file, sends them, and holds the responses against it.
#[tokio::test(flavor = "multi_thread")]
async fn the_running_set_answers_as_the_openapi_file_says() {
    let callback_authentication = CallbackAuthentication::Either;
    let stack = Stack::with(SandboxSettings { callback_authentication, ..SandboxSettings::default() }).await;
    let (app_token, access_token) = stack.chatbot.caller.credentials().await.expect("a caller gets tokens");
    // It leaves files where it runs.
    let folder = root().join("target/schemathesis");
    std::fs::create_dir_all(&folder).unwrap();
    output(
        Command::new(root().join("target/python/openapi/bin/schemathesis"))
            .current_dir(folder)
            .arg("--config-file")
            .arg(root().join("tests/it/fixtures/schemathesis.toml"))
            .arg("run")
            .arg(root().join("docs/openapi.yaml"))
            .args(["--url", &stack.api_url("")])
            .env("APP_TOKEN", app_token)
            .env("BEARER_TOKEN", access_token),
    )
    .await;
    assert!(stack.contact_center.conversation_ids().len() > 10, "it gets beyond the door");
    assert_eq!(stack.leaks(), Vec::<String>::new());
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// So that they are of use to any bot and any bridge.
#[test]
fn no_simulator_names_a_function_of_ours() {
    let files = files(&root().join("tests/simulators"));
    assert!(files.len() > 40, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for function in &FUNCTIONS {
            assert!(!text.contains(function.name), "{} names {}", file.display(), function.name);
        }
    }
}
