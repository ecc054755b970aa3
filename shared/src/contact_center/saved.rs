//! The channel secret: what is registered, so that other functions and the next run know it.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::clock::UnixTime;
use crate::secrets::SecretContent;

/// A webhook and a channel at 8x8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The channel's id.
    pub channel_id: String,
    /// The id of the webhook that gets the channel's events.
    pub webhook_id: String,
    /// The queue that the channel's conversations go to.
    pub queue_id: String,
    /// The URL that the webhook calls.
    pub callback_url: String,
    /// Unix seconds: when these fields last changed.
    pub registered_at: u64,
}

impl Registration {
    /// Whether both say the same, whenever it was.
    pub fn same(&self, other: &Self) -> bool {
        Self { registered_at: 0, ..self.clone() } == Self { registered_at: 0, ..other.clone() }
    }

    /// The same, registered at `now`.
    pub fn registered_at(mut self, now: UnixTime) -> Self {
        self.registered_at = now.secs();
        self
    }
}

/// What the secret holds: a registration, or `{}` before the first one and after the last.
#[derive(Debug)]
pub struct SavedChannel(pub Option<Registration>);

impl SecretContent for SavedChannel {
    const SHAPE: &'static str = r#"{"channel_id","webhook_id","queue_id","callback_url","registered_at"} or {}"#;
}

impl SavedChannel {
    /// As it is stored.
    pub fn to_json(&self) -> SecretString {
        // A struct of strings and a number becomes JSON without fail.
        let json = self.0.as_ref().and_then(|registration| serde_json::to_string(registration).ok());
        json.unwrap_or_else(|| "{}".to_owned()).into()
    }
}

impl<'de> Deserialize<'de> for SavedChannel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = serde_json::Map::deserialize(deserializer)?;
        if fields.is_empty() {
            return Ok(Self(None));
        }
        serde_json::from_value(fields.into())
            .map(|registration| Self(Some(registration)))
            .map_err(serde::de::Error::custom)
    }
}
