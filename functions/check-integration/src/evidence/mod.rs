//! What is known of the integration: gathered from all sides at the same time, each step within a limit of its own, so that the
//! report comes in time whatever hangs.

pub(crate) mod bot_platform;
pub(crate) mod contact_center;
pub(crate) mod events;
mod logs;
mod secrets;

use std::time::Duration;

use shared::clock::UnixTime;
use shared::oauth::{GrantError, Token, TokenContent, TokenEndpoint};
use shared::secrets::Version;

use crate::{CheckIntegration, Config};
use bot_platform::BotPlatformEvidence;
use contact_center::ContactCenterEvidence;
use events::EventEvidence;
use secrets::Secrets;

/// All of it. Lambda ends the function after 30 s, and a start takes up to a few of them.
const LIMIT: Duration = Duration::from_secs(22);

/// One call to a peer. Both respond in well under a second; with a cold start of theirs, in a few.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// What is known.
#[derive(Debug)]
pub(crate) struct Evidence<'c> {
    pub(crate) config: &'c Config,
    /// When it began.
    pub(crate) now: UnixTime,
    pub(crate) secrets: Secrets,
    pub(crate) contact_center: ContactCenterEvidence,
    pub(crate) bot: BotPlatformEvidence,
    pub(crate) events: EventEvidence,
}

impl<'c> Evidence<'c> {
    pub(crate) async fn gather(function: &'c CheckIntegration) -> Self {
        let (now, deadline) = (UnixTime::now(), Deadline(tokio::time::Instant::now() + LIMIT));
        let peers = async {
            let secrets = Secrets::read(function, now).await;
            let (contact_center, bot) = tokio::join!(
                Box::pin(ContactCenterEvidence::gather(function, &secrets, now, deadline)),
                Box::pin(BotPlatformEvidence::gather(function, &secrets, now, deadline)),
            );
            (secrets, contact_center, bot)
        };
        let ((secrets, contact_center, bot), events) =
            tokio::join!(peers, Box::pin(EventEvidence::gather(function, now, deadline)));
        Self { config: &function.config, now, secrets, contact_center, bot, events }
    }
}

/// When all evidence has to be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(tokio::time::Instant);

impl Deadline {
    /// The result of a step within `limit` and before the deadline; `None` if it takes longer.
    async fn within<T>(self, limit: Duration, step: impl Future<Output = T>) -> Option<T> {
        let until = self.0.min(tokio::time::Instant::now() + limit);
        tokio::time::timeout_at(until, Box::pin(step)).await.ok()
    }
}

/// A clock, read from the `Date` of a response, which has whole seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockReading {
    date: UnixTime,
    sent_at: UnixTime,
    received_at: UnixTime,
}

impl ClockReading {
    /// How much the clock is ahead of ours (positive) or behind it, at least.
    pub(crate) fn seconds_ahead(&self) -> i64 {
        let second = Duration::from_secs(1);
        let ahead = self.date.since(self.received_at).as_secs();
        let behind = self.sent_at.since(self.date + second).as_secs();
        i64::try_from(ahead).unwrap_or(i64::MAX).saturating_sub_unsigned(behind)
    }
}

/// Whether our credentials are good for a token. A log-in changes nothing here, but it makes a token there, and a server may
/// allow one at a time. So it takes place only where it invalidates no token, or where a sender would log in too: there is
/// no valid token, or the token was refused, or the credentials are newer than it.
#[derive(Debug)]
pub(crate) enum LogIn {
    /// The token that is stored shows that one worked.
    NotNeeded,
    /// It worked.
    Works(Token),
    /// It did not.
    Failed(GrantError),
}

impl LogIn {
    async fn attempt(endpoint: &impl TokenEndpoint, now: UnixTime, deadline: Deadline) -> Self {
        match deadline.within(CALL_LIMIT, endpoint.credentials_grant(now)).await {
            Some(Ok(token)) => Self::Works(token),
            Some(Err(error)) => Self::Failed(error),
            None => Self::Failed(GrantError::Lost("no response in time")),
        }
    }
}

/// The stored token, if it is alive.
fn alive(stored: &Version<TokenContent>, now: UnixTime) -> Option<&Token> {
    stored.content.token().map(|token| &**token).filter(|token| token.is_alive(now))
}

/// Whether credentials were written after the token was issued, so that it says nothing of them.
fn are_newer<T>(credentials: &Version<T>, token: &Token) -> bool {
    // Tokens have whole seconds.
    token.issued_at().is_none_or(|issued_at| credentials.written_at > issued_at + Duration::from_secs(1))
}
