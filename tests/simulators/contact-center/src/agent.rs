//! The automatic agent of `--agent auto`, so that your own bot gets an agent in each conversation that it opens. The agent acts
//! within the call that causes its action, so that the events keep their order.

use std::sync::Arc;

use serde_json::Value;

use crate::{Agents, ContactCenter, Conversation};

/// The agent's id.
const NAME: &str = "agent-auto";

impl ContactCenter {
    /// Replies to a message of the customer, if agents are automatic. A bot's message gets no reply.
    pub(crate) fn answer_automatically(self: &Arc<Self>, conversation_id: &str, author_type: &str, message: &Value) {
        if self.settings.agents == Agents::Auto
            && author_type == "user"
            && let Some(conversation) = self.conversation(conversation_id)
        {
            conversation.agent_answers(message);
        }
    }
}

impl Conversation {
    /// The agent joins and greets.
    pub(crate) fn agent_greets(&self) {
        self.joined(NAME);
        self.writes(NAME, "Hello, I am an automatic agent. How can I help?");
    }

    fn agent_answers(&self, message: &Value) {
        if !self.has_automatic_agent() {
            return;
        }
        let characters = message["text"].as_str().unwrap_or_default().chars().count();
        self.types(NAME);
        self.writes(NAME, &format!("I received your message; it has {characters} characters."));
        self.stops_typing();
    }

    /// The agent says good-bye and leaves.
    pub(crate) fn agent_says_good_bye(&self) {
        if self.has_automatic_agent() {
            self.writes(NAME, "Good-bye.");
            self.left(NAME);
        }
    }

    fn has_automatic_agent(&self) -> bool {
        self.record(|record| record.agents().contains(&NAME))
    }
}
