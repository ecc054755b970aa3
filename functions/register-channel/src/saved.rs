//! The channel secret: what is registered, so that other functions and the next run know it.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use shared::clock::UnixTime;
use shared::secrets::SecretContent;

/// A webhook and a channel at 8x8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) channel_id: String,
    pub(crate) webhook_id: String,
    pub(crate) queue_id: String,
    pub(crate) callback_url: String,
    /// Unix seconds: when these fields last changed.
    pub(crate) registered_at: u64,
}

impl Registration {
    /// Whether both say the same, whenever it was.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Self { registered_at: 0, ..self.clone() } == Self { registered_at: 0, ..other.clone() }
    }

    pub(crate) fn registered_at(mut self, now: UnixTime) -> Self {
        self.registered_at = now.secs();
        self
    }
}

/// What the secret holds: a registration, or `{}` before the first one and after the last.
#[derive(Debug)]
pub(crate) struct SavedChannel(pub(crate) Option<Registration>);

impl SecretContent for SavedChannel {
    const SHAPE: &'static str = r#"{"channel_id","webhook_id","queue_id","callback_url","registered_at"} or {}"#;
}

impl SavedChannel {
    pub(crate) fn to_json(&self) -> SecretString {
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
