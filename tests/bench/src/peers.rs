//! receive-message's job in other languages (`tests/bench/peers/`), to compare with.

use std::path::Path;

use aws::lambda::FunctionSettings;
use serde::{Deserialize, Serialize};

use crate::cold::Cold;

/// A peer before it is measured.
#[derive(Debug)]
pub struct PeerRow {
    /// For the reader.
    pub name: &'static str,
    /// Starts it, as Lambda's `bootstrap` starts a runtime.
    bootstrap: &'static str,
    /// `make bench` installs its libraries there.
    libraries: &'static str,
    /// receive-message's processor time for an event is at most that many percent of the peer's: a third, a fifth.
    pub processor_time: f64,
    /// Its init is at most that many percent of the peer's: a fiftieth, a thirtieth.
    pub init: f64,
}

/// All of them.
pub const PEERS: [PeerRow; 2] = [
    PeerRow {
        name: "the same in Python",
        bootstrap: "tests/bench/peers/python/bootstrap",
        libraries: "target/python/peers",
        processor_time: 33.3,
        init: 2.0,
    },
    PeerRow {
        name: "the same in Node.js",
        bootstrap: "target/node/peers/bootstrap",
        libraries: "target/node/peers",
        processor_time: 20.0,
        init: 3.3,
    },
];

/// A peer and what was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Peer {
    /// That of its [`PeerRow`].
    pub name: String,
    /// Or why it was not.
    pub measured: Result<Cold, String>,
}

impl PeerRow {
    /// receive-message's settings, so that it gets the same events, with the peer's program.
    ///
    /// # Errors
    /// The reason why the peer is not installed.
    pub fn settings(&self, receive_message: &FunctionSettings) -> Result<FunctionSettings, String> {
        let libraries = Path::new(self.libraries);
        if !libraries.join(".installed").exists() {
            let reason = std::fs::read_to_string(libraries.join("not-installed"));
            return Err(
                reason.map_or("`make bench` has not installed it".to_owned(), |reason| reason.trim().to_owned())
            );
        }
        let mut settings = receive_message.clone();
        settings.binary =
            Path::new(self.bootstrap).canonicalize().map_err(|error| format!("{}: {error}", self.bootstrap))?;
        // `node` is found there.
        settings.variables.insert("PATH".to_owned(), std::env::var("PATH").unwrap_or_default());
        Ok(settings)
    }
}
