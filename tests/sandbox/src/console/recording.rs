//! Plays the events of a recording again.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::Sandbox;
use contact_center::Conversation;

/// A pause of the recording is cut to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Lets 8x8 send the events of a recording again, once each and at the pace of the recording: in conversations of their own
/// on that channel, with ids and signatures of their own. Gives the number of events.
///
/// # Errors
/// Fails if the file cannot be read, or has a line that is not one of a recording.
pub async fn replay(sandbox: &Sandbox, channel_id: &str, file: &Path) -> Result<usize, String> {
    let file = File::open(file).map_err(|error| error.to_string())?;
    let mut conversations = HashMap::<String, Conversation>::new();
    let mut sent = HashSet::new();
    let mut last_at = None;
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| error.to_string())?;
        let hop: Value = serde_json::from_str(&line).map_err(|error| format!("line {}: {error}", index + 1))?;
        let Some(event) = Recorded::from(&hop) else { continue };
        if !sent.insert(event.id.to_owned()) {
            continue;
        }
        let pause = last_at.map_or(0, |last| event.at.saturating_sub(last));
        last_at = Some(event.at);
        tokio::time::sleep(Duration::from_millis(pause).min(LONGEST_PAUSE)).await;
        let conversation = conversations
            .entry(event.conversation.to_owned())
            .or_insert_with(|| sandbox.contact_center.open_conversation(channel_id));
        conversation.event(event.kind, event.body.replace(event.conversation, conversation.id()));
    }
    Ok(sent.len())
}

/// An event of 8x8 that was accepted.
struct Recorded<'l> {
    id: &'l str,
    kind: &'l str,
    conversation: &'l str,
    at: u64,
    body: &'l str,
}

impl<'l> Recorded<'l> {
    fn from(hop: &'l Value) -> Option<Self> {
        let text = |field: &str| hop[field].as_str();
        let status = hop["request"]["response"]["status"].as_u64()?;
        let is_accepted = text("from") == Some("8x8") && text("to") == Some("receive-message") && status / 100 == 2;
        is_accepted.then_some(())?;
        let conversation = text("conversation_id").filter(|id| !id.is_empty())?;
        let (id, kind, body) = (text("event_id")?, text("kind")?, hop["request"]["body"].as_str()?);
        Some(Self { id, kind, conversation, at: hop["at_ms"].as_u64()?, body })
    }
}
