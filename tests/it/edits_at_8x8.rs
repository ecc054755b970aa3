//! An administrator edits webhook and channel in 8x8's console while a conversation with an agent runs.

use contact_center::Conversation;
use http::{Method, StatusCode};
use sandbox::SandboxSettings;
use sandbox::deployment::CHANNEL_SECRET;
use serde_json::{Value, json};

use crate::register_channel::run;
use crate::support::{PATIENCE, Stack};

/// A conversation between a customer, who writes through the bridge, and an agent.
struct HandOver {
    stack: Stack,
    conversation: Conversation,
}

impl HandOver {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let (status, created) = open(&stack).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{created}");
        let id = created["conversationId"].as_str().expect("a creation has an id");
        let conversation = stack.contact_center.conversation(id).expect("its channel has a webhook");
        conversation.joined("agent");
        let hand_over = Self { stack, conversation };
        assert_eq!(hand_over.customer_writes("confidential: hello").await, StatusCode::ACCEPTED);
        assert!(hand_over.agent_reaches_the_bot("confidential: how can I help?").await);
        hand_over
    }

    fn webhook_id(&self) -> String {
        let saved = self.stack.cloud.secrets.current(CHANNEL_SECRET);
        saved["webhook_id"].as_str().expect("a registration has a webhook").to_owned()
    }

    async fn customer_writes(&self, text: &str) -> StatusCode {
        let key = simulation::id::uuid();
        self.stack.chatbot.say(self.conversation.id(), "user", text, &key).await.status()
    }

    /// Whether what an agent writes arrives at the bot platform of this stack, once.
    async fn agent_reaches_the_bot(&self, text: &str) -> bool {
        self.conversation.writes("agent", text);
        assert!(self.stack.settle(PATIENCE).await, "events are stuck");
        let receipts = self.stack.bot.receipts();
        let receipts = receipts.get(self.conversation.id()).into_iter().flatten();
        let bodies = receipts.map(|receipt| serde_json::from_slice::<Value>(&receipt.body).expect("JSON"));
        match bodies.filter(|event| event["data"]["text"] == text).count() {
            0 => false,
            1 => true,
            times => panic!("it arrived {times} times"),
        }
    }

    /// The fields that a review finds different.
    async fn review(&self) -> Vec<String> {
        let review = run(&self.stack, json!({ "operation": "review" })).await;
        let differences = review["differences"].as_array().expect("a review has a list");
        assert_eq!(review["in_sync"], differences.is_empty());
        differences.iter().map(|difference| difference["field"].as_str().expect("a name").to_owned()).collect()
    }

    async fn register(&self) -> Value {
        run(&self.stack, json!({ "operation": "register" })).await["changes"].clone()
    }
}

async fn open(stack: &Stack) -> (StatusCode, Value) {
    stack.chatbot.json(Method::POST, "", &json!({ "user": { "name": "Sandbox Customer" } })).await
}

#[tokio::test]
async fn under_other_names_a_hand_over_goes_on_and_a_review_reports_them() {
    let hand_over = HandOver::start().await;
    hand_over.stack.contact_center.rename(&hand_over.webhook_id(), "renamed");
    hand_over.stack.contact_center.rename(&hand_over.stack.channel_id, "renamed");
    assert_eq!(hand_over.customer_writes("confidential: and now?").await, StatusCode::ACCEPTED);
    assert!(hand_over.agent_reaches_the_bot("confidential: as before").await);
    assert_eq!(open(&hand_over.stack).await.0, StatusCode::ACCEPTED);
    assert_eq!(hand_over.review().await, ["webhook_name", "channel_name"]);
    assert_eq!(hand_over.register().await, json!(["webhook updated", "channel updated"]));
    assert_eq!(hand_over.review().await, Vec::<String>::new());
    hand_over.stack.finish().await;
}

#[tokio::test]
async fn events_of_a_channel_that_was_moved_go_to_its_new_webhook_until_register_moves_it_back() {
    let hand_over = HandOver::start().await;
    let settings = SandboxSettings { integration_name: "other".to_owned(), ..SandboxSettings::default() };
    let other = hand_over.stack.beside(settings).await;
    let others = other.cloud.secrets.current(CHANNEL_SECRET);
    let (ours, theirs) = (hand_over.webhook_id(), others["webhook_id"].as_str().expect("a webhook").to_owned());
    hand_over.stack.contact_center.move_channel(&hand_over.stack.channel_id, &theirs);
    assert_eq!(hand_over.customer_writes("confidential: where are you?").await, StatusCode::ACCEPTED);
    assert!(!hand_over.agent_reaches_the_bot("confidential: at the other stack").await);
    assert!(other.settle(PATIENCE).await);
    let receipts = other.bot.receipts();
    // The echo of the customer's message, and the agent's.
    assert_eq!(receipts[hand_over.conversation.id()].len(), 2);

    let review = run(&hand_over.stack, json!({ "operation": "review" })).await;
    let difference = json!({ "field": "channel_webhook_id", "expected": ours, "actual": theirs });
    assert_eq!(review["differences"], json!([difference]));
    assert_eq!(run(&other, json!({ "operation": "review" })).await["in_sync"], true);
    assert_eq!(hand_over.register().await, json!(["channel updated"]));
    assert!(hand_over.agent_reaches_the_bot("confidential: back again").await);
    assert_eq!(run(&other, json!({ "operation": "review" })).await["in_sync"], true);
    other.finish().await;
    hand_over.stack.finish().await;
}

#[tokio::test]
async fn without_its_channel_a_hand_over_gets_no_events_and_register_creates_one_for_new_ones() {
    let hand_over = HandOver::start().await;
    hand_over.stack.contact_center.remove(&hand_over.stack.channel_id);
    let (status, error) = open(&hand_over.stack).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error.to_string().contains(&format!("Channel ID {} is invalid.", hand_over.stack.channel_id)), "{error}");
    assert_eq!(hand_over.customer_writes("confidential: is anyone there?").await, StatusCode::ACCEPTED);
    assert!(!hand_over.agent_reaches_the_bot("confidential: nothing reaches you").await);
    assert_eq!(hand_over.review().await, ["channel_id"]);

    assert_eq!(hand_over.register().await, json!(["channel created"]));
    assert_eq!(hand_over.review().await, Vec::<String>::new());
    let (status, created) = open(&hand_over.stack).await;
    assert_eq!(
        status,
        StatusCode::ACCEPTED,
        "a function that knows the former channel reads which one it is now: {created}"
    );
    // The conversation that is open stays with the channel that was removed.
    assert!(!hand_over.agent_reaches_the_bot("confidential: still nothing").await);
    hand_over.stack.finish().await;
}

#[tokio::test]
async fn without_its_webhook_a_hand_over_gets_no_events_until_register_creates_one() {
    let hand_over = HandOver::start().await;
    let webhook_id = hand_over.webhook_id();
    hand_over.stack.contact_center.remove(&webhook_id);
    let (status, error) = open(&hand_over.stack).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error.to_string().contains(&format!("WebHook ID {webhook_id} is invalid.")), "{error}");
    assert_eq!(hand_over.customer_writes("confidential: is anyone there?").await, StatusCode::ACCEPTED);
    assert!(!hand_over.agent_reaches_the_bot("confidential: nothing reaches you").await);
    assert_eq!(hand_over.review().await, ["webhook_id"]);

    assert_eq!(hand_over.register().await, json!(["webhook created", "channel updated"]));
    assert_eq!(hand_over.review().await, Vec::<String>::new());
    assert!(hand_over.agent_reaches_the_bot("confidential: here I am again").await);
    assert_eq!(open(&hand_over.stack).await.0, StatusCode::ACCEPTED);
    hand_over.stack.finish().await;
}
