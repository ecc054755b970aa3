//! What the bridge adds to a bot's message: sent to 8x8 directly and through converse, by turns, all of it on loopback.
//!
//! 8x8 sends no echoes: signing one takes the simulated 8x8 longer than all the rest, on the processors that are measured.

use std::time::{Duration, Instant};

use axum::http::{Method, Request, header};
use bytes::Bytes;
use contact_center::ContactCenterSettings;
use sandbox::{Sandbox, SandboxSettings, deployment};
use serde::{Deserialize, Serialize};
use serde_json::json;
use simulation::client::Client;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::statistics::percentile;

/// Messages each way.
const MESSAGES: usize = 2000;

/// Messages each way of one conversation. The log of a conversation grows with its messages, and so does what is read with it:
/// a chat has some dozens.
const MESSAGES_OF_A_CONVERSATION: usize = 20;

/// For what the bridge writes after a response: far more than it takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A way to 8x8 and how long a message took, in milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Way {
    /// Which.
    pub name: String,
    /// p50, p99.
    pub latency: [f64; 2],
}

/// Measures the direct way, and those through the bridge without and with an `Idempotency-Key`.
pub async fn measure() -> Vec<Way> {
    let contact_center = ContactCenterSettings { echoes: false, ..ContactCenterSettings::default() };
    let sandbox = Sandbox::start(SandboxSettings { contact_center, ..SandboxSettings::default() }).await;
    let channel_id = sandbox.register("101").await.expect("the channel can be registered");
    let mut conversation = sandbox.contact_center.open_conversation(&channel_id);
    let mut direct = Direct::to(&sandbox, conversation.id());
    let requests = || sandbox.cloud.requests_of(deployment::CONVERSE, "dynamodb");
    let mut times = [const { Vec::new() }; 3];
    for number in 0..=MESSAGES {
        if number % MESSAGES_OF_A_CONVERSATION == 0 {
            conversation = sandbox.contact_center.open_conversation(&channel_id);
            direct = Direct::to(&sandbox, conversation.id());
        }
        let text = format!("confidential: {number}");
        let body = json!({ "authorType": "user", "text": text }).to_string();
        let started = Instant::now();
        direct.send(&body).await;
        let directly = started.elapsed();
        let headers = [(header::CONTENT_TYPE, "application/json")];
        let path = format!("/{}/messages", conversation.id());
        let started = Instant::now();
        let response = sandbox.chatbot.call(Method::POST, &path, &headers, body).await;
        let through = started.elapsed();
        assert!(response.status().is_success(), "{response:?}");
        // A bot writes its next message later than the bridge writes, after the response, what became of this one.
        let written = async {
            while requests() < 2 * (2 * number + 1) {
                yield_now().await;
            }
        };
        timeout(PATIENCE, written).await.expect("what became of the message is written");
        let started = Instant::now();
        let response = sandbox.chatbot.say(conversation.id(), "user", &text, &number.to_string()).await;
        let under_a_key = started.elapsed();
        assert!(response.status().is_success(), "{response:?}");
        // The first one starts the process.
        if number > 0 {
            for (times, took) in times.iter_mut().zip([directly, through, under_a_key]) {
                times.push(took.as_secs_f64() * 1000.0);
            }
        }
    }
    let names = ["8x8 directly", "through converse", "through converse, under an Idempotency-Key"];
    let ways = names.into_iter().zip(times);
    ways.map(|(name, times)| Way {
        name: name.to_owned(),
        latency: [percentile(times.clone(), 0.5), percentile(times, 0.99)],
    })
    .collect()
}

/// A bot that has 8x8's credentials itself.
struct Direct {
    client: Client,
    url: String,
    api_key: String,
}

impl Direct {
    fn to(sandbox: &Sandbox, conversation: &str) -> Self {
        let endpoint = sandbox.addresses.iter().find(|(name, _)| *name == "8x8").map(|(_, address)| address);
        let endpoint = endpoint.expect("8x8 is there");
        Self {
            client: Client::new(),
            url: format!("{endpoint}conversations/{conversation}/messages"),
            api_key: sandbox.contact_center.settings().credentials.api_key.clone(),
        }
    }

    async fn send(&self, body: &str) {
        let request = Request::post(&self.url).header("x-api-key", &self.api_key);
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Bytes::from(body.to_owned()));
        let response = self.client.send(request.expect("a request")).await.expect("8x8 answers");
        assert!(response.status().is_success(), "{response:?}");
    }
}
