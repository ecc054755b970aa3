//! A scripted hand-over: the customer asks for a person, the bot starts a conversation, an agent joins, types and writes, and
//! the customer answers. The agent transfers to a second agent, who returns the conversation to the bot.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::Sandbox;
use crate::deployment::BOT_TOKEN_SECRET;
use crate::verdict::Verdict;
use contact_center::{Conversation, FailureKind};
use simulation::faults::When;

/// Longer than any of the events here needs, even with faults.
const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest possible PNG.
const PICTURE: &[u8] =
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\0IEND\xaeB`\x82";

/// Plays both halves of a hand-over on the registered channel. During the hand-over a token is refreshed, the bot platform
/// fails once, 8x8 sends an event twice and once carries out a call without a response, and a forger sends an event.
pub async fn play(sandbox: &Sandbox) -> Result<Verdict, String> {
    let journal = &sandbox.journal;
    let (anna, ben) = ("agent-anna", "agent-ben");
    let mut script = Script { sandbox, expected: Vec::new() };

    journal.say("the customer asks for a person: the bot starts a conversation, with what was said so far");
    let conversation = script.start().await?;
    sandbox.settle(PATIENCE).await;

    journal.say("an agent joins, types and writes");
    conversation.joined(anna);
    conversation.types(anna);
    conversation.stops_typing();
    conversation.writes(anna, "confidential: Grüezi, wie kann ich helfen? 👋");
    sandbox.settle(PATIENCE).await;

    journal.say("the customer answers; 8x8 takes the line and drops the connection instead of saying so");
    sandbox.contact_center.break_next("POST", "messages", FailureKind::Drops, true);
    script.say(&conversation, "user", "confidential: my order is late").await?;

    journal.say("the bot platform's token comes of age: the schedule refreshes it");
    age_bot_token(sandbox);
    sandbox.refresh_tokens().await.map_err(|error| error.to_string())?;

    journal.say("the agent writes while the bot platform fails once");
    sandbox.fault(bot_platform::Fault::Status500, When::Next(1));
    conversation.writes(anna, "confidential: I am looking at your order \u{2028} now");
    sandbox.settle(PATIENCE).await;

    journal.say("the customer sends a picture, the agent a file and two cards, and the customer uses both");
    script.send_picture(&conversation).await?;
    conversation.reads(anna);
    conversation.sends_file(anna, "order.txt", b"confidential: on its way");
    script.answer_cards(&conversation, anna).await?;

    journal.say("8x8 sends the next event twice, and a forger sends one");
    sandbox.fault(contact_center::Fault::Duplicate, When::Next(1));
    sandbox.fault(contact_center::Fault::Forged, When::Next(1));
    conversation.writes(anna, "confidential: my colleague knows more, I hand you over");
    sandbox.settle(PATIENCE).await;

    journal.say("the agent transfers the conversation to a second one");
    conversation.transferred();
    conversation.left(anna);
    conversation.queued();
    conversation.joined(ben);
    conversation.writes(ben, "confidential: 你好, it is solved");
    sandbox.settle(PATIENCE).await;

    journal.say("the second agent leaves: the bot has the conversation back, and the customer ends it");
    script.hand_back(&conversation).await?;
    conversation.left(ben);
    script.say(&conversation, "bot", "confidential: Anything else?").await?;
    script.end(&conversation).await?;
    sandbox.settle(PATIENCE).await;
    Ok(script.verdict(&conversation).await)
}

/// The bot's half, and the messages that 8x8 should have in the end.
struct Script<'s> {
    sandbox: &'s Sandbox,
    expected: Vec<(String, String)>,
}

impl Script<'_> {
    async fn start(&self) -> Result<Conversation, String> {
        let body = json!({
            "user": {
                "name": "Sandbox Customer",
                "userId": "c-1",
                "language": "en",
                "additionalProperties": [{ "key": "plan", "value": "gold" }],
            },
            "history": { "messages": [
                { "authorType": "user", "text": "confidential: where is my order?" },
                { "authorType": "bot", "text": "confidential: I ask a person" },
            ] },
        });
        let (status, created) = self.sandbox.chatbot.json(Method::POST, "", &body).await;
        expect("the creation", status, StatusCode::ACCEPTED, &created)?;
        let id = created["conversationId"].as_str().ok_or("a creation gives no id")?;
        self.sandbox.contact_center.conversation(id).ok_or_else(|| "8x8 does not have the conversation".to_owned())
    }

    async fn say(&mut self, conversation: &Conversation, author_type: &str, text: &str) -> Result<(), String> {
        let key = simulation::id::uuid();
        let response = self.sandbox.chatbot.say(conversation.id(), author_type, text, &key).await;
        expect("a message", response.status(), StatusCode::ACCEPTED, &Value::Null)?;
        self.expected.push((author_type.to_owned(), text.to_owned()));
        Ok(())
    }

    /// The older API has no attachments: it responds with an error.
    async fn send_picture(&mut self, conversation: &Conversation) -> Result<(), String> {
        let chatbot = &self.sandbox.chatbot;
        let (status, attachment) = chatbot.upload(conversation.id(), "order.png", PICTURE).await;
        if !self.sandbox.contact_center.is_gateway() {
            return expect("an attachment", status, StatusCode::NOT_IMPLEMENTED, &attachment);
        }
        expect("an attachment", status, StatusCode::OK, &attachment)?;
        let body = json!({ "authorType": "user", "attachments": [{ "id": attachment["id"] }] });
        let (status, response) = chatbot.json(Method::POST, &format!("/{}/messages", conversation.id()), &body).await;
        expect("a message with a picture", status, StatusCode::ACCEPTED, &response)?;
        self.expected.push(("user".to_owned(), String::new()));
        Ok(())
    }

    async fn answer_cards(&self, conversation: &Conversation, agent: &str) -> Result<(), String> {
        let options = json!({ "options": [{ "title": "Send it again" }, { "title": "Refund" }] });
        let Some(card) = conversation.sends_card(agent, &options) else { return Ok(()) };
        self.act_on_card(conversation, &card, "action-submit", "Refund").await?;
        let content = json!({
            "type": "AdaptiveCard",
            "version": "1.5",
            "body": [{ "type": "TextBlock", "text": "confidential: refund of 20.00?" }],
            "actions": [{ "type": "Action.Execute", "title": "Confirm", "verb": "confirm" }],
        });
        let Some(card) = conversation.sends_adaptive_card(agent, &content) else { return Ok(()) };
        self.act_on_card(conversation, &card, "action-execute", "Confirm").await
    }

    async fn act_on_card(
        &self,
        conversation: &Conversation,
        card: &str,
        action: &str,
        name: &str,
    ) -> Result<(), String> {
        // The customer must see the card before using it.
        self.sandbox.settle(PATIENCE).await;
        let path = format!("/{}/cards/{card}/{action}", conversation.id());
        let (status, response) = self.sandbox.chatbot.json(Method::PUT, &path, &json!({ "name": name })).await;
        expect("a card's action", status, StatusCode::NO_CONTENT, &response)
    }

    async fn hand_back(&self, conversation: &Conversation) -> Result<(), String> {
        let (webhooks, _) = self.sandbox.contact_center.registered();
        let webhook = webhooks.first().ok_or("no webhook is registered")?;
        let body = json!({ "type": "webhook", "id": webhook["id"] });
        let path = format!("/{}/post-agent-assignment", conversation.id());
        let (status, response) = self.sandbox.chatbot.json(Method::POST, &path, &body).await;
        let expected =
            if self.sandbox.contact_center.is_gateway() { StatusCode::CREATED } else { StatusCode::NOT_IMPLEMENTED };
        expect("the hand-back", status, expected, &response)
    }

    async fn end(&self, conversation: &Conversation) -> Result<(), String> {
        let path = format!("/{}/participants/user", conversation.id());
        let (status, response) = self.sandbox.chatbot.json(Method::PATCH, &path, &json!({ "removed": true })).await;
        expect("the end", status, StatusCode::NO_CONTENT, &response)
    }

    async fn verdict(self, conversation: &Conversation) -> Verdict {
        let mut verdict = Verdict::on(self.sandbox).await;
        let said = self.sandbox.contact_center.said(conversation.id());
        let of_the_bot: Vec<_> = said.into_iter().filter(|(author_type, _)| author_type != "agent").collect();
        if of_the_bot != self.expected {
            verdict.failures.push("8x8 does not have the lines of customer and bot each once and in order".to_owned());
        }
        verdict.said = Some(of_the_bot.len());
        verdict
    }
}

fn expect(what: &str, status: StatusCode, expected: StatusCode, response: &Value) -> Result<(), String> {
    if status == expected { Ok(()) } else { Err(format!("{what} was answered with {status}: {response}")) }
}

/// Sets the stored token's remaining lifetime to ten minutes, as if it had been issued fifty minutes ago.
fn age_bot_token(sandbox: &Sandbox) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    let mut token = sandbox.cloud.secrets.current(BOT_TOKEN_SECRET);
    token["issued_at"] = json!(now - 3000);
    token["expires_at"] = json!(now + 600);
    sandbox.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
}
