//! 8x8: does it respond and accept our credentials and tenant, what is registered there, and does it reach us?

use std::sync::Arc;
use std::time::Duration;

use http::header::DATE;
use shared::clock::UnixTime;
use shared::contact_center::authentication::{Authenticator, ContactCenterTokenEndpoint};
use shared::contact_center::client::{ContactCenter, ContactCenterError, Response};
use shared::contact_center::config::{ContactCenterAuthentication, ContactCenterConfig};
use shared::contact_center::registration::{Channel, Webhook};
use shared::secrets::SecretsManager;

use super::secrets::Secrets;
use super::{CALL_LIMIT, ClockReading, Deadline, LogIn, alive, are_newer};
use crate::CheckIntegration;

/// 8x8 waits for our response before it sends its own, and a start of receive-message may be part of that.
const VERIFY_LIMIT: Duration = Duration::from_secs(8);

type Call<T> = Result<T, ContactCenterError>;

#[derive(Debug)]
pub(crate) struct ContactCenterEvidence {
    /// A call that asks for nothing in particular, with the tenant; `None` if there are no credentials for it.
    pub(crate) probe: Option<Call<Response>>,
    pub(crate) log_in: LogIn,
    /// Whether the same call is accepted without the tenant, and only so.
    pub(crate) is_tenant_refused: bool,
    pub(crate) clock: Option<ClockReading>,
    /// `None` if nothing is registered, or 8x8 does not accept the probe.
    pub(crate) registered: Option<Registered>,
    pub(crate) webhook_version: &'static str,
}

#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) webhook: Call<Option<Webhook>>,
    pub(crate) channel: Call<Option<Channel>>,
    /// Whether 8x8 gets a 2xx from the callback URL that is saved.
    pub(crate) verified: Call<()>,
}

impl ContactCenterEvidence {
    pub(super) async fn gather(
        function: &CheckIntegration,
        secrets: &Secrets,
        now: UnixTime,
        deadline: Deadline,
    ) -> Self {
        let contact_center = contact_center(function, function.config.contact_center.clone());
        let webhook_version = contact_center.webhook_version();
        let unknown = Self {
            probe: None,
            log_in: LogIn::NotNeeded,
            is_tenant_refused: false,
            clock: None,
            registered: None,
            webhook_version,
        };
        let credentials = secrets.contact_center.as_ref();
        let is_complete =
            credentials.is_ok_and(|read| read.content.missing(&function.config.authentication).is_empty());
        let is_token_readable = !matches!(&secrets.contact_center_token, Some(Err(_)));
        if !is_complete || !is_token_readable {
            return unknown;
        }
        let log_in = log_in(function, secrets, now, deadline).await;
        if let LogIn::Failed(_) = log_in {
            return Self { log_in, ..unknown };
        }
        let sent_at = UnixTime::now();
        let probe = timed("list the webhooks", CALL_LIMIT, deadline, contact_center.probe(CALL_LIMIT)).await;
        let received_at = UnixTime::now();
        let date = probe.as_ref().ok().and_then(|response| response.headers.get(DATE)?.to_str().ok());
        let clock = date.and_then(UnixTime::from_http_date);
        let clock = clock.map(|date| ClockReading { date, sent_at, received_at });
        let is_accepted = |probe: &Call<Response>| probe.as_ref().is_ok_and(|response| response.status.is_success());
        let is_tenant_refused = match &function.config.contact_center.tenant_id {
            Some(_) if probe.as_ref().is_ok_and(|response| !response.status.is_success()) => {
                let config = ContactCenterConfig { tenant_id: None, ..function.config.contact_center.clone() };
                let any_tenant = self::contact_center(function, config);
                is_accepted(&timed("list the webhooks", CALL_LIMIT, deadline, any_tenant.probe(CALL_LIMIT)).await)
            }
            Some(_) | None => false,
        };
        let saved = secrets.channel.as_ref().ok().and_then(|saved| saved.content.registration());
        let registered = match saved {
            Some(saved) if is_accepted(&probe) => {
                let (webhook, channel, verified) = tokio::join!(
                    timed("show the webhook", CALL_LIMIT, deadline, contact_center.webhook(&saved.webhook_id)),
                    timed("show the channel", CALL_LIMIT, deadline, contact_center.channel(&saved.channel_id)),
                    timed(
                        "verify the webhook",
                        VERIFY_LIMIT,
                        deadline,
                        contact_center.verify_webhook(&saved.callback_url)
                    ),
                );
                Some(Registered { webhook, channel, verified })
            }
            Some(_) | None => None,
        };
        Self { probe: Some(probe), log_in, is_tenant_refused, clock, registered, webhook_version }
    }
}

/// 8x8 at `config`. It may log in where the stored token is dead or refused; what it gets is not stored.
fn contact_center(function: &CheckIntegration, config: ContactCenterConfig) -> ContactCenter {
    let (client, secrets) = (function.client.clone(), SecretsManager::new(&function.sdk));
    let (authentication, id) = (function.config.authentication.clone(), function.config.credentials_id.clone());
    let authenticator = Authenticator::new(client.clone(), &secrets, authentication, id).read_only();
    ContactCenter::new(client, config, authenticator)
}

/// Tries the credentials where the stored token says nothing of them.
async fn log_in(function: &CheckIntegration, secrets: &Secrets, now: UnixTime, deadline: Deadline) -> LogIn {
    let (ContactCenterAuthentication::Token(config), Some(Ok(token)), Ok(credentials)) =
        (&function.config.authentication, &secrets.contact_center_token, &secrets.contact_center)
    else {
        return LogIn::NotNeeded;
    };
    if alive(token, now).is_some_and(|token| !are_newer(credentials, token)) {
        return LogIn::NotNeeded;
    }
    let credentials = SecretsManager::new(&function.sdk).secret(function.config.credentials_id.clone());
    let endpoint = ContactCenterTokenEndpoint::new(function.client.clone(), config, Arc::new(credentials));
    LogIn::attempt(&endpoint, now, deadline).await
}

async fn timed<T>(
    call: &'static str,
    limit: Duration,
    deadline: Deadline,
    work: impl Future<Output = Call<T>>,
) -> Call<T> {
    let no_response = ContactCenterError::NoResponse { call, reason: "no response in time", sent: true };
    deadline.within(limit, work).await.unwrap_or(Err(no_response))
}
