//! Two stacks on one 8x8 tenant: each with its own AWS account, bot platform and registration, and its own way to 8x8.

use aws::lambda::InvokeError;
use contact_center::{Authentication, ContactCenterSettings, Conversation};
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::deployment::CONTACT_CENTER_TOKEN_SECRET;
use serde_json::{Value, json};

use crate::register_channel::{refused, run};
use crate::support::{PATIENCE, Stack, now_millis, received};

async fn start(authentication: Authentication) -> (Stack, Stack) {
    let contact_center = ContactCenterSettings { authentication, ..ContactCenterSettings::default() };
    let first = Stack::with(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
    let settings = SandboxSettings { integration_name: "second".to_owned(), ..SandboxSettings::default() };
    let second = first.beside(settings).await;
    (first, second)
}

async fn opened(stack: &Stack) -> Conversation {
    let (status, created) =
        stack.chatbot.json(Method::POST, "", &json!({ "user": { "name": "Sandbox Customer" } })).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{created}");
    let id = created["conversationId"].as_str().expect("a creation has an id");
    stack.contact_center.conversation(id).expect("its channel has a webhook")
}

/// The webhook and the channel of an integration, as 8x8 shows them.
fn of(stack: &Stack, integration: &str) -> (Vec<Value>, Vec<Value>) {
    let (webhooks, channels) = stack.contact_center.registered();
    let own = |all: Vec<Value>| all.into_iter().filter(|one| one["name"] == format!("live-agent-{integration}"));
    (own(webhooks).collect(), own(channels).collect())
}

async fn review(stack: &Stack) -> Value {
    run(stack, json!({ "operation": "review" })).await["in_sync"].clone()
}

#[tokio::test]
async fn two_stacks_register_beside_each_other_and_neither_changes_what_is_the_others() {
    let (first, second) = start(Authentication::ApiKey).await;
    for (stack, name) in [(&first, "sandbox"), (&second, "second")] {
        let (webhooks, channels) = of(&first, name);
        assert_eq!((webhooks.len(), channels.len()), (1, 1), "{name}");
        assert_eq!(webhooks[0]["uri"], stack.callback_url());
        assert_eq!((&channels[0]["id"], &channels[0]["webHookId"]), (&json!(stack.channel_id), &webhooks[0]["id"]));
    }
    for (stack, other, others) in [(&first, &second, "second"), (&second, &first, "sandbox")] {
        let before = of(&first, others);
        for request in [
            json!({ "operation": "register" }),
            json!({ "operation": "update", "queue_id": "102" }),
            json!({ "operation": "update", "callback_url": "https://callbacks.acme.example/" }),
            json!({ "operation": "review" }),
            json!({ "operation": "deregister" }),
            json!({ "operation": "register", "queue_id": "101" }),
        ] {
            run(stack, request.clone()).await;
            assert_eq!(of(&first, others), before, "{request}");
            assert_eq!(review(other).await, true, "{request}");
        }
        assert_eq!(review(stack).await, true);
    }
    second.finish().await;
    first.finish().await;
}

#[tokio::test]
async fn each_of_two_stacks_gets_the_events_of_its_own_conversations() {
    let (first, second) = start(Authentication::ApiKey).await;
    let (of_first, of_second) = (opened(&first).await, opened(&second).await);
    for conversation in [&of_first, &of_second] {
        conversation.joined("agent");
        conversation.writes("agent", "confidential");
    }
    for (stack, own, others) in [(&first, &of_first, &of_second), (&second, &of_second, &of_first)] {
        assert!(stack.settle(PATIENCE).await);
        assert_eq!(received(stack, own.id()), stack.contact_center.accepted()[own.id()]);
        assert_eq!(received(stack, others.id()), Vec::<String>::new());
    }
    second.finish().await;
    first.finish().await;
}

#[tokio::test]
async fn a_stack_that_cannot_reach_8x8_says_so_loses_nothing_and_does_not_disturb_the_other() {
    let (first, second) = start(Authentication::ClientCredentials).await;
    for stack in [&first, &second] {
        stack.refresh_tokens().await.expect("8x8 can be reached");
    }
    let conversation = opened(&second).await;
    conversation.joined("agent");
    assert!(second.settle(PATIENCE).await);
    second.contact_center_server.set_reachable(false);

    let path = format!("/{}", conversation.id());
    let (status, response) = second.chatbot.get(&path).await;
    assert_eq!((status, &response["errors"][0]["code"]), (StatusCode::GATEWAY_TIMEOUT, &json!("no_response")));
    let say = async || second.chatbot.say(conversation.id(), "user", "confidential: hello?", "key").await.status();
    assert_eq!(say().await, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(second.contact_center.said(conversation.id()), []);
    let token = second.cloud.secrets.current(CONTACT_CENTER_TOKEN_SECRET);
    let mut aged = token.clone();
    aged["expires_at"] = json!(now_millis() as u64 / 1000 + 60);
    aged["issued_at"] = json!(now_millis() as u64 / 1000 - 1739);
    second.cloud.secrets.set(CONTACT_CENTER_TOKEN_SECRET, &aged);
    let Err(InvokeError::Function(error)) = second.refresh_tokens().await else { panic!("an error is due") };
    let report: Value = serde_json::from_str(error["errorMessage"].as_str().expect("a message")).expect("JSON");
    assert_eq!((&report["fresh"], &report["failed"][0]["token"]), (&json!(["bot"]), &json!("contact-center")));
    let reason = refused(&second, json!({ "operation": "register" })).await;
    assert!(reason.contains("8x8"), "{reason}");

    // Events come in by another way than calls go out; and the other stack does everything as before.
    conversation.writes("agent", "confidential: I hear nothing");
    let other = opened(&first).await;
    assert_eq!(first.chatbot.say(other.id(), "user", "confidential", "key").await.status(), StatusCode::ACCEPTED);
    assert_eq!(review(&first).await, true);
    assert!(second.settle(PATIENCE).await, "events are stuck");
    assert_eq!(received(&second, conversation.id()), second.contact_center.accepted()[conversation.id()]);

    second.contact_center_server.set_reachable(true);
    let report = second.refresh_tokens().await.expect("8x8 can be reached again");
    assert_eq!(report["refreshed"], json!(["contact-center"]));
    assert_ne!(second.cloud.secrets.current(CONTACT_CENTER_TOKEN_SECRET)["access_token"], token["access_token"]);
    assert_eq!(second.chatbot.get(&path).await.0, StatusCode::OK);
    assert_eq!(say().await, StatusCode::ACCEPTED);
    assert_eq!(say().await, StatusCode::ACCEPTED);
    let said = [("agent", "confidential: I hear nothing"), ("user", "confidential: hello?")];
    let said = said.map(|(author, text)| (author.to_owned(), text.to_owned()));
    assert_eq!(second.contact_center.said(conversation.id()), said);
    assert_eq!(review(&second).await, true);
    second.finish().await;
    first.finish().await;
}
