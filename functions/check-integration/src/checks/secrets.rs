//! The secrets that a person sets: does each hold what is needed?

use std::sync::Arc;

use shared::secrets::{SecretError, Version};

use crate::evidence::Evidence;
use crate::report::Finding;

pub(super) fn contact_center(evidence: &Evidence<'_>) -> Finding {
    let authentication = &evidence.config.authentication;
    judge(&evidence.secrets.contact_center, &evidence.config.credentials_id, |content| content.missing(authentication))
}

pub(super) fn bot(evidence: &Evidence<'_>) -> Finding {
    judge(&evidence.secrets.bot, &evidence.config.bot.secret_id, |content| content.missing())
}

pub(super) fn caller(evidence: &Evidence<'_>) -> Finding {
    judge(&evidence.secrets.caller, &evidence.config.caller_secret_id, |content| content.missing())
}

fn judge<T>(
    read: &Result<Arc<Version<T>>, SecretError>,
    id: &str,
    missing: impl Fn(&T) -> Vec<&'static str>,
) -> Finding {
    match read {
        Err(error) => unreadable(error),
        Ok(version) => match missing(&version.content).as_slice() {
            [] => Finding::ok("it holds all that is needed"),
            names => Finding::failed(
                format!("blank, missing or too short in the secret: {}", names.join(", ")),
                format!("in AWS Secrets Manager, set {} in the secret `{id}`", names.join(", ")),
            ),
        },
    }
}

/// What is to be said of a secret that cannot be used.
pub(super) fn unreadable(error: &SecretError) -> Finding {
    match error {
        SecretError::Malformed { id, expected } => Finding::failed(
            error.to_string(),
            format!("in AWS Secrets Manager, put JSON of this form into the secret `{id}`: {expected}"),
        ),
        SecretError::Unavailable { id, .. } => Finding::unknown(
            error.to_string(),
            format!(
                "check that the secret `{id}` exists, and that check-integration's role may read it and its KMS key"
            ),
        ),
    }
}
