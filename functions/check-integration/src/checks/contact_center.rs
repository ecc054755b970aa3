//! 8x8: does it respond and accept our credentials, and is the tenant right?

use shared::contact_center::client::{ContactCenterError, Response};
use shared::oauth::{GrantError, TokenError};

use super::{CONTACT_CENTER, CONTACT_CENTER_SECRET, secrets, tokens};
use crate::evidence::{Evidence, LogIn};
use crate::report::Finding;

pub(super) fn access(evidence: &Evidence<'_>) -> Finding {
    let id = &evidence.config.credentials_id;
    let refused = |found: String| {
        Finding::failed(
            found,
            format!(
                "ask your 8x8 administrator for valid credentials (Admin Console → API Keys) and put them into the secret \
                 `{id}` in AWS Secrets Manager"
            ),
        )
    };
    let unreachable = |found: String| {
        Finding::failed(
            found,
            "check https://status.8x8.com and the way from the VPC if there is one; if the address is wrong: make deploy \
             STACK=… SET=\"Endpoint=<base URL of 8x8's chat API>\"",
        )
    };
    match (&evidence.contact_center.log_in, &evidence.contact_center.probe) {
        (LogIn::Failed(error @ GrantError::Refused { .. }), _) => refused(format!("8x8's token endpoint: {error}")),
        (LogIn::Failed(error), _) => unreachable(format!("8x8's token endpoint: {error}")),
        (_, None) => Finding::after(CONTACT_CENTER_SECRET),
        (_, Some(Ok(response))) => match response.status.as_u16() {
            200..=299 => Finding::ok("8x8 answers and accepts the credentials"),
            _ if evidence.contact_center.is_tenant_refused => {
                Finding::ok("8x8 answers and accepts the credentials, but not with this tenant")
            }
            401 | 403 => refused(rejection(response)),
            404 | 405 | 300..=399 => Finding::failed(
                format!("there is no chat API of 8x8 at the endpoint: {}", rejection(response)),
                "make deploy STACK=… SET=\"Endpoint=<base URL of 8x8's chat API> ContactCenterApi=<what it speaks>\"",
            ),
            _ => unreachable(rejection(response)),
        },
        (_, Some(Err(ContactCenterError::NoCredentials { error, .. }))) => match error {
            TokenError::Grant(GrantError::Refused { .. }) => refused(format!("8x8's token endpoint: {error}")),
            TokenError::Grant(_) => unreachable(format!("8x8's token endpoint: {error}")),
            TokenError::Secret(error) => secrets::unreadable(error),
        },
        (_, Some(Err(error))) => unreachable(error.to_string()),
    }
}

fn rejection(response: &Response) -> String {
    format!("8x8 answers: {}", response.problem())
}

/// Why the registration at 8x8 cannot be read; `None` if it can.
pub(super) fn obstacle(evidence: &Evidence<'_>) -> Option<Finding> {
    let is_accepted = matches!(&evidence.contact_center.probe, Some(Ok(response)) if response.status.is_success());
    let check = if evidence.contact_center.is_tenant_refused { super::TENANT } else { CONTACT_CENTER };
    (!is_accepted).then(|| Finding::after(check))
}

pub(super) fn token(evidence: &Evidence<'_>) -> Finding {
    match &evidence.secrets.contact_center_token {
        None => Finding::skipped("an API key needs no token"),
        Some(Err(error)) => secrets::unreadable(error),
        Some(Ok(_)) if matches!(evidence.contact_center.log_in, LogIn::Failed(_)) => Finding::after(CONTACT_CENTER),
        Some(Ok(stored)) => tokens::judge(stored, evidence.now),
    }
}

pub(super) fn tenant(evidence: &Evidence<'_>) -> Finding {
    let set = |tenant: Option<&str>| {
        let tenant = tenant.unwrap_or("<the name of your Contact Center tenant, from the 8x8 administrator>");
        format!("make deploy STACK=… SET=\"TenantId={tenant}\"")
    };
    let received = match &evidence.events.received {
        Ok(received) => received,
        Err(error) => return super::events::unreadable(error),
    };
    match (&evidence.config.contact_center.tenant_id, received.tenant()) {
        (Some(ours), theirs) if evidence.contact_center.is_tenant_refused => Finding::failed(
            format!("8x8 rejects the tenant `{ours}` and accepts the same call without it"),
            set(theirs),
        ),
        (Some(ours), Some(theirs)) if ours == theirs => Finding::ok(format!("`{ours}`, as in the last event")),
        (Some(ours), Some(theirs)) => Finding::failed(
            format!("the tenant is set to `{ours}`, and events of `{theirs}` are refused"),
            set(Some(theirs)),
        ),
        (Some(ours), None) => {
            Finding::ok(format!("`{ours}`; no line of the last day's log names a tenant to compare it with"))
        }
        (None, theirs) => Finding::warning("no tenant is set: events of any 8x8 tenant are accepted", set(theirs)),
    }
}
