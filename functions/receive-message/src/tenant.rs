//! Which tenant of 8x8 an event has to be of. One key of 8x8 signs for many tenants, so that the signature of an event does
//! not say that it is of the tenant that this integration serves.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use shared::contact_center::event::Event;
use shared::telemetry;

use crate::error::Rejection;

/// The header in which 8x8 names the tenant of an event; its signature covers it.
const TENANT_ID: &str = "x-8x8-tenant-id";

/// The most characters of a tenant's id in a log line. 8x8's ids have about ten.
const LOGGED_LENGTH: usize = 64;

/// The tenant whose events are accepted.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// `CONTACT_CENTER_TENANT_ID`: every event must be of this one. If it is not set, every genuine event of 8x8 is accepted.
    only: Option<String>,
    /// Whether this process has logged the tenant of an event that it accepted.
    is_logged: AtomicBool,
}

impl Tenant {
    /// Warns, at the cold start, if every tenant is accepted.
    pub(crate) fn new(only: Option<String>) -> Self {
        if only.is_none() {
            tracing::warn!(
                "CONTACT_CENTER_TENANT_ID is not set: genuine events of every 8x8 tenant are accepted. Set the stack's \
                 parameter TenantId: make deploy STACK=<name> SET=TenantId"
            );
        }
        Self { only, is_logged: AtomicBool::new(false) }
    }

    /// Every event names its tenant; a verification of the webhook that a load balancer authenticates need not.
    pub(crate) fn check(&self, event: &Event, headers: &HeaderMap) -> Result<(), Rejection> {
        let Some(id) = &self.only else { return Ok(()) };
        let mut named = headers.get_all(TENANT_ID).iter().peekable();
        let is_ours = match named.peek() {
            Some(_) => named.all(|tenant| tenant.as_bytes() == id.as_bytes()),
            None => event.is_web_hook_verify(),
        };
        if is_ours { Ok(()) } else { Err(Rejection::ForeignTenant { tenant_id: named_in(headers).map(str::to_owned) }) }
    }

    /// Counts an event that was accepted whatever its tenant, and warns once. Returns what the log line of an accepted event
    /// says of its tenant: if only one tenant is accepted, the first event of this process names it.
    pub(crate) fn record_accepted<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let tenant_id = named_in(headers);
        let is_logged = self.is_logged.swap(true, Ordering::Relaxed);
        if self.only.is_some() {
            return tenant_id.filter(|_| !is_logged);
        }
        telemetry::event_without_tenant_check();
        if !is_logged {
            tracing::warn!(
                tenant_id,
                "an event of this 8x8 tenant was accepted without a check. If it is yours, set the stack's parameter TenantId to it"
            );
        }
        tenant_id
    }
}

/// The tenant that a request names, for a log line: `None` if it names no tenant, or one that cannot be an id.
fn named_in(headers: &HeaderMap) -> Option<&str> {
    headers.get(TENANT_ID)?.to_str().ok().filter(|id| id.len() <= LOGGED_LENGTH)
}
