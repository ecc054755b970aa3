//! A scripted hand-over: a conversation waits, an agent joins, types and writes, transfers it to a second one, who leaves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::Sandbox;
use crate::deployment::BOT_TOKEN_SECRET;
use crate::faults::{Fault, When};
use crate::lambda::InvokeError;
use crate::verdict::Verdict;

/// Longer than any of the events here needs, faults and all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Plays a hand-over on a registered channel. On its way a token is refreshed, the bot platform fails once, 8x8 sends an
/// event twice, and someone sends a forged one.
pub async fn play(sandbox: &Sandbox, channel_id: &str) -> Result<Verdict, InvokeError> {
    let journal = &sandbox.journal;
    let (anna, ben) = ("agent-anna", "agent-ben");
    let conversation = sandbox.contact_center.open_conversation(channel_id);

    journal.say("the bot cannot help: a conversation waits in the queue");
    conversation.created();
    conversation.queued();
    sandbox.settle(PATIENCE).await;

    journal.say("an agent joins, types and writes");
    conversation.joined(anna);
    conversation.types(anna);
    conversation.writes(anna, "confidential: Grüezi, wie kann ich helfen? 👋");
    sandbox.settle(PATIENCE).await;

    journal.say("the bot platform's token comes of age: the schedule refreshes it");
    age_bot_token(sandbox);
    sandbox.refresh_tokens().await?;

    journal.say("the agent writes while the bot platform fails once");
    sandbox.fault(Fault::Bot500, When::Next(1));
    conversation.writes(anna, "confidential: I am looking at your order \u{2028} now");
    sandbox.settle(PATIENCE).await;

    journal.say("8x8 sends the next event twice, and someone forges one");
    sandbox.fault(Fault::Duplicate, When::Next(1));
    sandbox.fault(Fault::Forged, When::Next(1));
    conversation.writes(anna, "confidential: my colleague knows more, I hand you over");
    sandbox.settle(PATIENCE).await;

    journal.say("the agent transfers the conversation to a second one");
    conversation.transferred();
    conversation.left(anna);
    conversation.joined(ben);
    conversation.writes(ben, "confidential: 你好, it is solved");
    sandbox.settle(PATIENCE).await;

    journal.say("the second agent leaves: the end");
    conversation.left(ben);
    conversation.idle();
    sandbox.settle(PATIENCE).await;
    Ok(Verdict::on(sandbox))
}

/// Leaves the stored token ten minutes to live, as if it had been issued fifty minutes ago.
fn age_bot_token(sandbox: &Sandbox) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
    let mut token = sandbox.cloud.secrets.current(BOT_TOKEN_SECRET);
    token["issued_at"] = json!(now - 3000);
    token["expires_at"] = json!(now + 600);
    sandbox.cloud.secrets.set(BOT_TOKEN_SECRET, &token);
}
