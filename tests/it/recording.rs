//! `--record` and `--replay`: what a recording holds, and what is the same when it is played again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contact_center::{ContactCenterApi, ContactCenterSettings};
use http::{Method, StatusCode};
use sandbox::console::{self, Replayed};
use sandbox::{Sandbox, SandboxSettings, handover};
use serde_json::{Value, json};
use simulation::faults::When;

use crate::console::Stage;
use crate::support::PATIENCE;

/// A file for a recording; it is removed in the end.
struct Recording(PathBuf);

impl Recording {
    fn new(test: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}.jsonl", std::process::id())))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("the recording can be read")
    }

    async fn play(&self, settings: SandboxSettings) -> (Stage, Replayed) {
        let stage = Stage::with(settings, None).await;
        let replayed = console::replay(&stage.sandbox, &stage.channel_id, &self.0).await.expect("it can be played");
        stage.check().await;
        (stage, replayed)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_hand_over_with_an_outage_is_played_again_from_both_sides() {
    let file = Recording::new("hand-over");
    let stage = Stage::start(Some(&file.0)).await;
    let sandbox = &stage.sandbox;
    // A card, files, a transfer, a failure of the bot platform, an event twice and a forged one.
    let verdict = handover::play(sandbox).await.expect("it is played to its end");
    assert!(verdict.failures.is_empty(), "{verdict}");
    // A second customer, with the console's buttons; the bot platform is down, slow, and a function is killed.
    let user = json!({ "user": { "name": "Sandbox Customer", "language": "en" } });
    let (_, created) = sandbox.chatbot.open(&user, "second").await;
    let id = created["conversationId"].as_str().expect("it is created");
    sandbox.chatbot.say(id, "user", "confidential: is an agent there?", "second-1").await;
    // The bot's own card; what the customer chooses names the id that 8x8 gave it.
    let card =
        json!({ "contentType": "application/8x8.quick.replies", "content": { "options": [{ "title": "Yes" }] } });
    let message = json!({ "authorType": "bot", "cards": [card] });
    let (status, _) = sandbox.chatbot.json(Method::POST, &format!("/{id}/messages"), &message).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    // A customer can choose when the bot knows the card's id, from 8x8's echo.
    assert!(sandbox.settle(PATIENCE).await);
    let card = sandbox.contact_center.messages(id)[1]["cards"][0]["id"].as_str().expect("8x8 names cards").to_owned();
    let path = format!("/{id}/cards/{card}/action-submit");
    let (status, _) = sandbox.chatbot.json(Method::PUT, &path, &json!({ "name": "Yes" })).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let press = async |path: &str, body: Value| {
        let (status, _) = stage.request(Method::POST, path, &body).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{path} {body}");
    };
    let agent = format!("api/conversations/{id}/agent");
    press(&agent, json!({ "action": "join", "agent": "agent-ben" })).await;
    assert!(sandbox.settle(PATIENCE).await);
    press("api/faults", json!({ "name": "bot-slow", "on": true })).await;
    press("api/faults", json!({ "name": "bot-slow", "on": false })).await;
    press("api/kill", json!({ "function": "deliver-message" })).await;
    sandbox.fault(bot_platform::Fault::Status500, When::Next(2));
    press(&agent, json!({ "action": "write", "agent": "agent-ben", "text": "confidential: during the outage" })).await;
    let photo = json!({ "action": "file", "agent": "agent-ben", "text": "photo.bin", "content": "AP/+PGI+" });
    press(&agent, photo).await;
    press(&agent, json!({ "action": "end", "agent": "agent-ben" })).await;
    stage.check().await;

    let (again, replayed) = file.play(SandboxSettings::default()).await;
    assert_eq!(replayed.differences, Vec::<String>::new());
    assert_eq!(replayed.events, sandbox.contact_center.accepted().values().map(Vec::len).sum::<usize>());
    assert_eq!(events(&again.sandbox), events(sandbox));
    assert_eq!(lines(&again.sandbox), lines(sandbox));
    // 500: one of the hand-over, two of the outage.
    assert_eq!((again.sandbox.bot.refused_with(500), sandbox.bot.refused_with(500)), (3, 3));
    let struck = again.sandbox.faults.struck();
    for fault in [
        contact_center::Fault::Duplicate.into(),
        contact_center::Fault::Forged.into(),
        aws::Fault::Kill("deliver-message").into(),
    ] {
        assert!(struck.contains(&(fault, 1)), "{fault:?}: {struck:?}");
    }
    assert!(!again.sandbox.bot.is_slow());

    // After it, 8x8 causes events as before.
    let conversation = again.sandbox.contact_center.open_conversation(&again.channel_id);
    conversation.writes("agent-ben", "confidential: afterwards");
    again.check().await;
    assert_eq!(again.sandbox.bot.receipts()[conversation.id()].len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_the_older_api_is_played_again() {
    let settings = || SandboxSettings {
        contact_center: ContactCenterSettings { api: ContactCenterApi::ChatApiV2, ..ContactCenterSettings::default() },
        ..SandboxSettings::default()
    };
    let file = Recording::new("older-api");
    let stage = Stage::with(settings(), Some(&file.0)).await;
    let user = json!({ "user": { "name": "Sandbox Customer", "language": "en" } });
    stage.sandbox.chatbot.open(&user, "older").await;
    let id = stage.conversation();
    let conversation = stage.sandbox.contact_center.conversation(&id).expect("its channel has a webhook");
    conversation.joined("agent-anna");
    conversation.writes("agent-anna", "confidential: Grüezi");
    // The customer answers what has arrived.
    assert!(stage.sandbox.settle(PATIENCE).await);
    stage.sandbox.chatbot.say(&id, "user", "confidential: hello", "older-1").await;
    conversation.left("agent-anna");
    let removed = json!({ "removed": true });
    let (status, _) = stage.sandbox.chatbot.json(Method::PATCH, &format!("/{id}/participants/user"), &removed).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    stage.check().await;

    let (again, replayed) = file.play(settings()).await;
    assert_eq!((replayed.calls, replayed.events, replayed.differences), (3, 4, Vec::new()));
    assert_eq!(events(&again.sandbox), events(&stage.sandbox));
    assert_eq!(lines(&again.sandbox), lines(&stage.sandbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_holds_no_secret_and_events_without_a_call_are_played_again_byte_by_byte() {
    let file = Recording::new("recording");
    let stage = Stage::start(Some(&file.0)).await;
    let conversation = stage.sandbox.contact_center.open_conversation(&stage.channel_id);
    stage.sandbox.fault(contact_center::Fault::Forged, When::Next(1));
    stage.sandbox.fault(contact_center::Fault::Late, When::Next(1));
    conversation.joined("agent");
    conversation.writes("agent", "confidential: Grüezi \u{2028} 👋");
    stage.check().await;
    let first = bodies(&stage.sandbox, conversation.id());

    let recorded = file.text();
    let secrets = ["bot-access-", "eyJ", &stage.sandbox.bot.settings().app_token];
    assert!(secrets.iter().all(|secret| !recorded.contains(*secret)), "{recorded}");
    let (again, replayed) = file.play(SandboxSettings::default()).await;
    let id = again.conversation();
    let second: Vec<_> = bodies(&again.sandbox, &id).iter().map(|body| body.replace(&id, conversation.id())).collect();
    assert_eq!((replayed.events, second), (first.len(), first));
    std::fs::write(&file.0, "no JSON\n").expect("it can be written");
    let played = console::replay(&again.sandbox, &again.channel_id, &file.0).await;
    assert!(played.is_err_and(|error| error.contains("line 1")));
}

/// What the bot platform has of a conversation.
fn bodies(sandbox: &Sandbox, conversation_id: &str) -> Vec<String> {
    let receipts = sandbox.bot.receipts();
    let receipts = receipts[conversation_id].iter();
    receipts.map(|receipt| String::from_utf8(receipt.body.to_vec()).expect("text")).collect()
}

/// The events at the bot platform by the conversation's first line at 8x8, without ids that 8x8 gave.
fn events(sandbox: &Sandbox) -> BTreeMap<String, Vec<Value>> {
    let strip = |body: &String| {
        let mut event: Value = serde_json::from_str(body).expect("JSON");
        event["conversationId"] = Value::Null;
        for file in event["data"]["attachments"].as_array_mut().into_iter().flatten() {
            (file["id"], file["preSignedUrl"]) = (Value::Null, Value::Null);
        }
        event
    };
    let ids = sandbox.contact_center.conversation_ids();
    ids.iter().map(|id| (name(sandbox, id), bodies(sandbox, id).iter().map(strip).collect())).collect()
}

/// What 8x8 has of the conversations, without ids that it gave.
fn lines(sandbox: &Sandbox) -> BTreeMap<String, Value> {
    let kept = |id: &String| {
        let mut kept = sandbox.contact_center.kept(id);
        kept["channelId"] = Value::Null;
        for assignment in kept["postAgentAssignments"].as_array_mut().into_iter().flatten() {
            assignment["id"] = Value::Null;
        }
        // converse gives each creation an id of its own, which each dialect has in another place.
        kept["user"]["liveAgentBridgeId"] = Value::Null;
        for property in kept["user"]["additionalProperties"].as_array_mut().into_iter().flatten() {
            if property["key"] == "liveAgentBridgeId" {
                property["value"] = Value::Null;
            }
        }
        let messages = sandbox.contact_center.messages(id);
        let files = messages.iter().flat_map(|message| {
            let files = message["attachments"].as_array().into_iter().flatten();
            files.map(|file| {
                let file_id = file["id"].as_str().expect("files have ids");
                let content = sandbox.contact_center.attached_file(id, file_id);
                json!({ "name": file["fileName"], "content": content })
            })
        });
        let files: Vec<Value> = files.collect();
        let cards: Vec<_> = messages.iter().map(|message| message["cards"].clone()).collect();
        json!({ "kept": kept, "said": sandbox.contact_center.said(id), "files": files, "cards": cards })
    };
    let ids = sandbox.contact_center.conversation_ids();
    ids.iter().map(|id| (name(sandbox, id), kept(id))).collect()
}

fn name(sandbox: &Sandbox, conversation_id: &str) -> String {
    sandbox.contact_center.said(conversation_id).first().expect("something was said").1.clone()
}
