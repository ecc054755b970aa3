//! What each side of a conversation sees: the customer in the bot's chat, the agent at the desk.

use std::collections::HashSet;

use axum::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use simulation::journal::{Entry, Exchange};

/// A line of the customer's chat.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    /// `user`, `bot`, `agent` or `note`.
    author: String,
    text: String,
    /// What can be chosen on a card.
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<Value>,
}

impl Line {
    fn new(author: &str, text: impl Into<String>) -> Self {
        Self { author: author.to_owned(), text: text.into(), card: None }
    }
}

/// What the customer sees: what bot and customer said, and what the bot platform has received of the agent.
pub(super) fn customer(entries: &[&Entry], received: &HashSet<&str>) -> Vec<Line> {
    let (mut before, mut lines) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for entry in entries {
        let Some(exchange) = &entry.exchange else { continue };
        let body: Value = serde_json::from_slice(&exchange.body).unwrap_or_default();
        match (entry.from.as_str(), entry.to.as_str()) {
            // Its events may be here before the response.
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

/// What a call of the chatbot shows in its chat.
fn call(entry: &Entry, exchange: &Exchange, body: &Value) -> Option<Line> {
    let resource = exchange.path.rsplit('/').next()?;
    let author = body["authorType"].as_str().unwrap_or("user");
    let mut line = match (&exchange.method, resource) {
        (&Method::POST, "messages") if !body["attachments"].is_null() => Line::new(author, "sent a file"),
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

/// What an event shows in the bot's chat, in either dialect.
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
    if let Some(card) = data["cards"].as_array().and_then(|cards| cards.first()) {
        let options = card["content"]["options"].as_array().into_iter().flatten();
        let options: Vec<&str> = options.filter_map(|option| option["title"].as_str()).collect();
        line.card = Some(json!({ "id": card["id"], "options": options }));
        if line.text.is_empty() {
            line.text = text(&card["content"]["title"]);
        }
    }
    line
}

/// What the agent has: what 8x8 keeps of the conversation.
pub(super) fn agent(said: Vec<(String, String)>) -> Vec<Line> {
    let line = |(author, text): (String, String)| match text.is_empty() {
        true => Line::new(&author, "a file or a card"),
        false => Line::new(&author, text),
    };
    said.into_iter().map(line).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
