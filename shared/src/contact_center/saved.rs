//! The channel secret: it records what is registered at 8x8, for other functions and for the next run.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::UnixTime;
use crate::secrets::SecretContent;

/// A webhook and a channel at 8x8 whose events come to us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The channel's id.
    pub channel_id: String,
    /// The id of the webhook that gets the channel's events.
    pub webhook_id: String,
    /// The queue that the channel's conversations go to; an adopted channel may be routed to something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_id: Option<String>,
    /// The URL that the webhook calls.
    pub callback_url: String,
    /// During an update: the other URL of ours that the webhook may call, already or still. It is stored before 8x8 is asked
    /// for the change, so that the webhook is recognised after an interruption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_callback_url: Option<String>,
    /// Set if another system created webhook and channel: the values that `release` restores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<FormerWebhook>,
    /// Unix seconds: when these fields last changed.
    pub registered_at: u64,
}

/// The former values of an adopted webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerWebhook {
    /// The URL that it called. `None` if it already called ours: then there is nothing to restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The version of its events, if 8x8 returned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Registration {
    /// Whether both have the same values, apart from the time.
    pub fn same(&self, other: &Self) -> bool {
        Self { registered_at: 0, ..self.clone() } == Self { registered_at: 0, ..other.clone() }
    }

    /// The same values, registered at `now`.
    pub fn registered_at(mut self, now: UnixTime) -> Self {
        self.registered_at = now.secs();
        self
    }
}

/// One of the two parts that a registration creates at 8x8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The webhook.
    Webhook,
    /// The channel.
    Channel,
}

/// A first registration that has begun to create parts. Its rollback may remove these parts and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creation {
    /// The parts that it creates.
    pub creating: Vec<Part>,
    /// The URL of the webhook.
    pub callback_url: String,
}

/// The content of the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SavedChannel {
    /// `{}`: nothing is registered.
    Empty,
    /// `{"creating":["webhook","channel"],"callback_url"}`: a first registration has begun and was not completed.
    Creating(Creation),
    /// A complete registration.
    Registered(Registration),
}

impl SecretContent for SavedChannel {
    const SHAPE: &'static str =
        r#"{"channel_id","webhook_id","queue_id","callback_url","registered_at"}, {"creating":[…]} or {}"#;
}

impl SavedChannel {
    /// The registration, if there is one.
    pub fn registration(&self) -> Option<&Registration> {
        match self {
            Self::Registered(registration) => Some(registration),
            Self::Empty | Self::Creating(_) => None,
        }
    }

    /// Whether a webhook that calls `uri` is ours, according to the secret.
    pub fn owns(&self, uri: &str) -> bool {
        match self {
            Self::Empty => false,
            Self::Creating(creation) => creation.callback_url == uri,
            Self::Registered(registration) => {
                registration.callback_url == uri || registration.pending_callback_url.as_deref() == Some(uri)
            }
        }
    }

    /// The form in which it is stored.
    pub fn to_json(&self) -> SecretString {
        let json = match self {
            Self::Empty => Value::Object(serde_json::Map::new()),
            Self::Creating(creation) => serde_json::json!(creation),
            Self::Registered(registration) => serde_json::json!(registration),
        };
        json.to_string().into()
    }
}

impl<'de> Deserialize<'de> for SavedChannel {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = serde_json::Map::deserialize(deserializer)?;
        let saved = if fields.is_empty() {
            Ok(Self::Empty)
        } else if fields.contains_key("creating") {
            serde_json::from_value(fields.into()).map(Self::Creating)
        } else {
            serde_json::from_value(fields.into()).map(Self::Registered)
        };
        saved.map_err(serde::de::Error::custom)
    }
}
