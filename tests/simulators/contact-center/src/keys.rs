//! The key endpoint: its keys and its faults.

use std::collections::HashMap;

use serde_json::Value;

use crate::api::{Outcome, failed, ok};
use crate::problem::Problem;
use crate::signer::Signer;
use crate::{ContactCenter, FailureKind, Fault};

/// The keys of the key endpoint, and the number of requests for them.
#[derive(Debug)]
pub(crate) struct Keys {
    published: HashMap<String, Value>,
    requests: usize,
}

impl Keys {
    pub(crate) fn of(signer: &Signer) -> Self {
        Self { published: HashMap::from([(signer.key_id().to_owned(), signer.jwk())]), requests: 0 }
    }
}

impl ContactCenter {
    /// Adds this key to the key endpoint, in place of a key with the same id.
    pub fn publish_key(&self, signer: &Signer) {
        self.keys().published.insert(signer.key_id().to_owned(), signer.jwk());
    }

    /// Removes the key with that id from the key endpoint.
    pub fn withdraw_key(&self, key_id: &str) {
        self.keys().published.remove(key_id);
    }

    /// How often a key was requested.
    pub fn key_requests(&self) -> usize {
        self.keys().requests
    }

    pub(crate) async fn key(&self, id: &str) -> Outcome {
        self.keys().requests += 1;
        if self.faults.strikes(Fault::KeysHang) {
            return failed(FailureKind::Hangs, self.settings.api).await;
        }
        if self.faults.strikes(Fault::KeysDown) {
            return Err(Problem::internal(self.settings.api));
        }
        if self.faults.strikes(Fault::KeysGone) {
            return Err(Problem::not_found("JWK", id));
        }
        self.keys().published.get(id).cloned().map_or_else(|| Err(Problem::not_found("JWK", id)), ok)
    }
}
