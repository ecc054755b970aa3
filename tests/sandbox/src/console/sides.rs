//! What each side of a conversation sees: the customer in the bot's chat, the agent at the desk. Customers and agents write the
//! texts and names, so the page shows them as text, not as HTML.

use std::collections::HashSet;

use axum::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use simulation::journal::{Entry, Exchange};

/// A line of the customer's chat or of the agent's desk.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// `user`, `bot`, `agent` or `note`.
    author: String,
    text: String,
    /// The options of a card; with the card's `id` if the reader can choose one.
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<Value>,
    /// `id` and `name` of files that can be downloaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<Value>,
}

impl Line {
    fn new(author: &str, text: impl Into<String>) -> Self {
        Self { author: author.to_owned(), text: text.into(), card: None, files: Vec::new() }
    }
}

/// The customer's side: the messages of bot and customer, and the agent's messages that the bot platform has received.
pub(super) fn customer(entries: &[&Entry], received: &HashSet<&str>) -> Vec<Line> {
    let (mut before, mut lines) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for entry in entries {
        let Some(exchange) = &entry.exchange else { continue };
        let body: Value = serde_json::from_slice(&exchange.body).unwrap_or_default();
        match (entry.from.as_str(), entry.to.as_str()) {
            // Its events may arrive before the response.
            ("chatbot", "converse") if entry.kind == "POST conversation" => {
                let history = body["history"]["messages"].as_array().into_iter().flatten();
                before.extend(history.map(|said| Line::new(&text(&said["authorType"]), text(&said["text"]))));
                before.push(Line::new("note", "The bot asks for a person."));
            }
            ("chatbot", "converse") => lines.extend(call(entry, exchange, &body)),
            ("deliver-message", "bot platform")
                if received.contains(entry.event_id.as_str()) && seen.insert(&entry.event_id) =>
            {
                lines.extend(event(&body));
            }
            _ => {}
        }
    }
    before.extend(lines);
    before
}

/// A call of the chatbot as a line of its chat.
fn call(entry: &Entry, exchange: &Exchange, body: &Value) -> Option<Line> {
    let resource = exchange.path.rsplit('/').next()?;
    let author = body["authorType"].as_str().unwrap_or("user");
    let mut line = match (&exchange.method, resource) {
        (&Method::POST, "messages") if !body["attachments"].is_null() => Line::new(author, "sent a file"),
        (&Method::POST, "messages") if body["text"].is_null() => {
            Line::new(author, first_card(body).map(title).unwrap_or_default())
        }
        (&Method::POST, "messages") => Line::new(author, text(&body["text"])),
        (&Method::PUT, "action-submit") => Line::new("user", text(&body["name"])),
        (&Method::PATCH, "user") => Line::new("note", "The customer ended the chat."),
        _ => return None,
    };
    if !exchange.is_successful() {
        line.text = format!("{} (not sent: status {})", line.text, entry.outcome);
    }
    Some(line)
}

/// An event as a line of the bot's chat, in either dialect.
fn event(event: &Value) -> Option<Line> {
    let data = event.get("data").unwrap_or(event);
    let agent = data["agentName"].as_str().unwrap_or("the agent");
    let note = |text: String| Some(Line::new("note", text));
    match (event["eventType"].as_str()?, data["memberType"].as_str(), data["change"].as_str()) {
        ("QUEUED", _, _) => note(format!("Waiting in the queue {}.", text(&data["queueName"]))),
        ("MEMBERS_CHANGED", Some("agent"), Some(change)) => note(format!("{} {change}.", text(&data["id"]))),
        ("AGENT_JOINED", _, _) => note(format!("{agent} joined.")),
        ("AGENT_LEFT", _, _) => note(format!("{agent} left.")),
        ("TRANSFER", _, _) => note("The chat is transferred.".to_owned()),
        ("CONVERSATION_UPDATE", _, _) if data["state"] == "idle" => note("The chat has ended.".to_owned()),
        ("ACTIVITY", _, _) if data["name"] == "typing" => {
            let users = data["value"]["users"].as_array()?;
            let is_typing = users.iter().any(|user| user["type"] == "agent");
            note(if is_typing { "The agent types …" } else { "The agent stopped typing." }.to_owned())
        }
        ("MESSAGE", _, _) if data["isEcho"] == true => None,
        ("MESSAGE", _, _) => Some(message(data)),
        ("TEXT", _, _) if data["messageType"] == "AGENT" => Some(Line::new("agent", text(&data["message"]))),
        _ => None,
    }
}

fn message(data: &Value) -> Line {
    let mut line = Line::new("agent", text(&data["text"]));
    let mut files = data["attachments"].as_array().into_iter().flatten();
    if let Some(file) = files.next() {
        line.text = format!("{} sent the file {}", line.text, text(&file["fileName"])).trim_start().to_owned();
    }
    if let Some(card) = first_card(data) {
        line.card = Some(json!({ "id": card["id"], "options": options(card) }));
        if line.text.is_empty() {
            line.text = title(card);
        }
    }
    line
}

/// The agent's side of messages as 8x8 stores them, in either dialect.
pub(super) fn agent(messages: &[Value]) -> Vec<Line> {
    let line = |message: &Value| {
        let authors = [&message["author"]["type"], &message["authorType"], &message["type"]];
        let author = authors.into_iter().find_map(Value::as_str).unwrap_or("user");
        let mut line = Line::new(author, text(&message["text"]));
        let files = message["attachments"].as_array().into_iter().flatten();
        line.files = files.map(|file| json!({ "id": file["id"], "name": file["fileName"] })).collect();
        if let Some(card) = first_card(message) {
            line.text = [line.text, title(card)].join(" ").trim().to_owned();
            line.card = Some(json!({ "options": options(card) }));
        }
        line
    };
    messages.iter().map(line).collect()
}

fn first_card(message: &Value) -> Option<&Value> {
    message["cards"].as_array()?.first()
}

/// The title of a quick reply, or the first text of an Adaptive Card.
fn title(card: &Value) -> String {
    let content = &card["content"];
    let mut texts = content["body"].as_array().into_iter().flatten().map(|block| &block["text"]);
    content["title"].as_str().or_else(|| texts.find_map(Value::as_str)).unwrap_or("a card").to_owned()
}

/// The options of a card: those of a quick reply, or the actions of an Adaptive Card.
fn options(card: &Value) -> Vec<&str> {
    let all = ["options", "actions"].into_iter().filter_map(|field| card["content"][field].as_array()).flatten();
    all.filter_map(|option| option["title"].as_str()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
