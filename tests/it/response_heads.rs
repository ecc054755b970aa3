//! deliver-message and responses whose head is too long, broken, cut off or late: the status counts once it is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sandbox::SandboxSettings;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PATIENCE, Stack, message};

/// What the bot platform does after it has read an event.
#[derive(Debug, Clone)]
enum Reaction {
    /// Sends this, and keeps the connection open.
    Open(String),
    /// Sends this, and closes it.
    Closed(String),
}

use Reaction::{Closed, Open};

fn head(status: &str, headers: usize) -> String {
    let headers: String = (0..headers).map(|number| format!("x-{number}: {number}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: 0\r\n\r\n")
}

/// A bot platform that does with the events of each conversation what is written for it, one after another, and in the end
/// accepts them.
struct RawBot {
    url: String,
    /// By conversation: how often an event of it came.
    received: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl RawBot {
    async fn start(reactions: BTreeMap<String, Vec<Reaction>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let (reactions, counts) = (Arc::new(reactions), Arc::clone(&received));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&reactions), Arc::clone(&counts)));
            }
        });
        Self { url, received }
    }

    fn received(&self) -> BTreeMap<String, usize> {
        self.received.lock().unwrap().clone()
    }
}

async fn serve(
    mut connection: TcpStream,
    reactions: Arc<BTreeMap<String, Vec<Reaction>>>,
    received: Arc<Mutex<BTreeMap<String, usize>>>,
) {
    while let Some((target, body)) = read_request(&mut connection).await {
        if target.ends_with("/token") {
            let token = r#"{"access_token":"bot-access","token_type":"bearer","expires_in":3600}"#;
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{token}", token.len());
            connection.write_all(response.as_bytes()).await.unwrap();
            continue;
        }
        let event: Value = serde_json::from_slice(&body).expect("an event");
        let conversation = event["conversationId"].as_str().expect("a conversation").to_owned();
        let count = {
            let mut received = received.lock().unwrap();
            let count = received.entry(conversation.clone()).or_default();
            *count += 1;
            *count
        };
        let reaction = reactions.get(&conversation).and_then(|reactions| reactions.get(count - 1));
        match reaction.cloned().unwrap_or(Open(head("200 OK", 0))) {
            // The client may close before it has read all of it.
            Open(response) => drop(connection.write_all(response.as_bytes()).await),
            Closed(response) => return drop(connection.write_all(response.as_bytes()).await),
        }
    }
}

/// The target and the body; `None` at the end of the connection.
async fn read_request(connection: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("our headers are text");
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some((head.split(' ').nth(1)?.to_owned(), body))
}

/// Each row: the conversation, what its event meets, how often it is sent.
#[tokio::test]
async fn an_event_is_sent_again_only_if_no_status_says_that_it_arrived() {
    let cut_off = || "HTTP/1.1 200 OK\r\ncontent-le".to_owned();
    let rows: [(&str, Vec<Reaction>, usize); 11] = [
        ("101 headers", vec![Open(head("200 OK", 101))], 1),
        ("1,500 headers", vec![Open(head("200 OK", 1_500))], 1),
        ("a head of 2 MB", vec![Open(head("204 No Content", 100_000))], 1),
        ("a line that is no header", vec![Open("HTTP/1.1 200 OK\r\nno header\r\n\r\n".to_owned())], 1),
        ("two lengths", vec![Open("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned())], 1),
        ("cut off", vec![Closed(cut_off())], 1),
        ("never ends", vec![Open(cut_off())], 1),
        ("cut off in the status line", vec![Closed("HTTP/1.1 2".to_owned())], 2),
        ("no response", vec![Closed(String::new())], 2),
        ("a failure with 1,500 headers", vec![Open(head("503 Service Unavailable", 1_500))], 2),
        ("an interim response alone", vec![Closed("HTTP/1.1 100 Continue\r\n\r\n".to_owned())], 2),
    ];
    let reactions = rows.iter().map(|(name, reactions, _)| ((*name).to_owned(), reactions.clone()));
    let bot = RawBot::start(reactions.collect()).await;
    let stack =
        Stack::with(SandboxSettings { bot_endpoint: Some(bot.url.clone()), ..SandboxSettings::default() }).await;
    for (name, ..) in &rows {
        assert_eq!(stack.post_signed(message(name)).await.status(), 200);
    }
    assert!(stack.settle(PATIENCE).await);
    let expected = rows.iter().map(|(name, _, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(bot.received(), expected);
    assert_eq!(stack.logged(r#""step":"delivered""#), rows.len());
    assert_eq!(stack.queues.dead_letters.len(), 0);
}

/// The status of one response is not that of the next request on the same connection.
#[tokio::test]
async fn a_connection_that_is_closed_after_a_success_says_nothing_of_the_next_event() {
    let accepted = || Open(head("200 OK", 0));
    let reactions = [("c".to_owned(), vec![accepted(), Closed(String::new()), accepted(), Closed(String::new())])];
    let bot = RawBot::start(reactions.into()).await;
    let settings =
        SandboxSettings { bot_endpoint: Some(bot.url.clone()), concurrency: 1, ..SandboxSettings::default() };
    let stack = Stack::with(settings).await;
    for _ in 0..3 {
        assert_eq!(stack.post_signed(message("c")).await.status(), 200);
        assert!(stack.settle(PATIENCE).await);
    }
    assert_eq!(bot.received(), [("c".to_owned(), 5)].into());
    assert_eq!(stack.logged(r#""step":"delivered""#), 3);
}
