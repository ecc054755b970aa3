//! What the tests share: a sandbox, events, and the last look at it.

use std::ops::Deref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use contact_center::signer::Claims;
use http::{Request, Response};
use sandbox::{Sandbox, SandboxSettings};
use serde_json::json;
use simulation::client::Client;

/// Far more than anything here takes; a test that needs it all is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Headers of a request to receive-message.
pub type Headers = Vec<(&'static str, String)>;

/// A sandbox with a registered channel.
pub struct Stack {
    sandbox: Sandbox,
    pub channel_id: String,
    client: Client,
}

impl Stack {
    pub async fn start() -> Self {
        Self::with(SandboxSettings::default()).await
    }

    pub async fn with(settings: SandboxSettings) -> Self {
        Self::registered(Sandbox::start(settings).await).await
    }

    /// A second one, at the same 8x8.
    pub async fn beside(&self, settings: SandboxSettings) -> Self {
        Self::registered(self.start_beside(settings).await).await
    }

    async fn registered(sandbox: Sandbox) -> Self {
        let channel_id = sandbox.register("101").await.expect("the channel can be registered");
        Self { sandbox, channel_id, client: Client::new() }
    }

    /// What 8x8 signs beside a body, now, with a new event id.
    pub fn claims(&self) -> Claims {
        Claims {
            tenant_id: self.contact_center.settings().tenant_id.clone(),
            customer_id: "customer".to_owned(),
            event_id: format!("event-{}", self.queues.events.sent() + u64::from(rand())),
            retry: 0,
            transmission_time: now_millis(),
        }
    }

    /// The headers of a genuine event.
    pub fn signed(&self, body: &[u8]) -> Headers {
        self.contact_center.signer().headers(body, &self.claims())
    }

    /// Posts to receive-message.
    pub async fn post(&self, headers: &Headers, body: impl Into<Bytes>) -> Response<Bytes> {
        let request = Request::post(self.callback_url());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let request = request.body(body.into()).expect("a request");
        self.client.send(request).await.expect("receive-message answers")
    }

    /// Posts a genuine event.
    pub async fn post_signed(&self, body: impl Into<Bytes>) -> Response<Bytes> {
        let body = body.into();
        self.post(&self.signed(&body), body).await
    }

    /// Waits until all is delivered, and looks for what must never be.
    pub async fn finish(self) {
        assert!(self.settle(PATIENCE).await, "events are stuck");
        self.check();
    }

    /// Looks for what must never be, whatever is left in the queue.
    pub fn check(&self) {
        assert_eq!(self.leaks(), Vec::<String>::new());
        assert_eq!(self.bot.violations(), Vec::<String>::new());
        assert_eq!(self.contact_center.violations(), Vec::<String>::new());
    }

    /// As [`Self::check`], where one violation is part of the story.
    pub fn check_but_for(&self, violation: &str) {
        assert_eq!(self.leaks(), Vec::<String>::new());
        assert!(self.bot.violations().iter().all(|found| found == violation), "{:?}", self.bot.violations());
    }

    /// Log lines and metrics that hold a text.
    pub fn logged(&self, text: &str) -> usize {
        self.logs().iter().filter(|line| line.text.contains(text)).count()
    }
}

impl Deref for Stack {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

/// The event ids that the bot platform has of a conversation.
pub fn received(sandbox: &Sandbox, conversation_id: &str) -> Vec<String> {
    let receipts = sandbox.bot.receipts();
    receipts.get(conversation_id).into_iter().flatten().map(|receipt| receipt.event_id.clone()).collect()
}

/// An event of a conversation.
pub fn message(conversation_id: &str) -> String {
    json!({ "eventType": "MESSAGE", "conversationId": conversation_id, "timestamp": 1, "data": { "text": "confidential" } }).to_string()
}

pub fn now_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis()
}

fn rand() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) as u32
}

/// Waits for something that takes a moment, at most [`PATIENCE`].
pub async fn wait_until(holds: impl Fn() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, held).await.expect("it comes about in time");
}
