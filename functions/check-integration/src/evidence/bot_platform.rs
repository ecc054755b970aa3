//! The bot platform: does it respond, does it accept our token, and do our credentials get one?

use std::sync::Arc;

use shared::bot_platform::{BotTokenEndpoint, Probe, probe};
use shared::clock::UnixTime;
use shared::oauth::Token;
use shared::secrets::SecretsManager;

use super::secrets::Secrets;
use super::{CALL_LIMIT, ClockReading, Deadline, LogIn, alive, are_newer};
use crate::CheckIntegration;

/// The bot platform's response to a probe, or why there is no response.
pub(crate) type ProbeResult = Result<Probe, &'static str>;

#[derive(Debug)]
pub(crate) struct BotPlatformEvidence {
    /// With the stored token; `None` if there is no valid one.
    pub(crate) stored: Option<ProbeResult>,
    pub(crate) log_in: LogIn,
    /// With the token of that log-in, where the stored one has expired or is refused.
    pub(crate) fresh: Option<ProbeResult>,
    pub(crate) clock: Option<ClockReading>,
}

impl BotPlatformEvidence {
    pub(super) async fn gather(
        function: &CheckIntegration,
        secrets: &Secrets,
        now: UnixTime,
        deadline: Deadline,
    ) -> Self {
        let mut evidence = Self { stored: None, log_in: LogIn::NotNeeded, fresh: None, clock: None };
        let Ok(credentials) = &secrets.bot else { return evidence };
        if !credentials.content.missing().is_empty() {
            return evidence;
        }
        let ask = async |token: &Token| {
            let (endpoint, sent_at) = (&function.config.bot.endpoint, UnixTime::now());
            let probed = probe(&function.client, endpoint, &credentials.content, token, CALL_LIMIT);
            let result = deadline.within(CALL_LIMIT, probed).await.unwrap_or(Err("no response in time"));
            let received_at = UnixTime::now();
            let date = result.ok().and_then(|probe| probe.date);
            (Some(result), date.map(|date| ClockReading { date, sent_at, received_at }))
        };
        let token = secrets.bot_token.as_ref().ok().and_then(|stored| alive(stored, now));
        if let Some(token) = token {
            (evidence.stored, evidence.clock) = ask(token).await;
        }
        let is_refused = evidence.stored.is_some_and(|result| is_rejected(&result));
        if is_refused || token.is_none_or(|token| are_newer(credentials, token)) {
            let credentials = SecretsManager::new(&function.sdk).secret(function.config.bot.secret_id.clone());
            let endpoint = &function.config.bot.endpoint;
            let endpoint = BotTokenEndpoint::new(function.client.clone(), endpoint, Arc::new(credentials));
            evidence.log_in = LogIn::attempt(&endpoint, now, deadline).await;
        }
        if let LogIn::Works(fresh) = &evidence.log_in
            && (is_refused || token.is_none())
        {
            (evidence.fresh, evidence.clock) = ask(fresh).await;
        }
        evidence
    }

    /// The result of the last probe.
    pub(crate) fn probe_result(&self) -> Option<&ProbeResult> {
        self.fresh.as_ref().or(self.stored.as_ref())
    }

    /// Whether the stored token is refused although a new one is accepted.
    pub(crate) fn is_stored_token_refused(&self) -> bool {
        let is = |result: &Option<ProbeResult>, refused| {
            result.as_ref().is_some_and(|result| is_rejected(result) == refused)
        };
        is(&self.stored, true) && is(&self.fresh, false)
    }
}

/// Whether the bot platform refuses our token, or our app token.
pub(crate) fn is_rejected(result: &ProbeResult) -> bool {
    result.is_ok_and(|probe| matches!(probe.status, 401 | 403))
}
