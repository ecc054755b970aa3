//! The bot platform: does it respond, does it accept us, and is its token being refreshed?

use shared::oauth::GrantError;

use super::{BOT_LOG_IN, BOT_PLATFORM, BOT_SECRET, secrets, tokens};
use crate::evidence::bot_platform::is_rejected;
use crate::evidence::{Evidence, LogIn};
use crate::report::Finding;

pub(super) fn access(evidence: &Evidence<'_>) -> Finding {
    let parameter = "if the address is wrong: make deploy STACK=… SET=\"BotEndpoint=<base URL>\" (or AiseraTenant)";
    let Some(result) = evidence.bot.probe_result() else {
        return match &evidence.bot.log_in {
            LogIn::Failed(error) if is_absent(error) => Finding::failed(
                format!("there is no bot platform at the bot endpoint: {error}"),
                format!("let the bot platform accept POST /tenant-users/oauth2/token; {parameter}"),
            ),
            LogIn::Failed(GrantError::Refused { .. }) => Finding::after(BOT_LOG_IN),
            LogIn::Failed(error) => Finding::failed(error.to_string(), format!("start the bot platform; {parameter}")),
            LogIn::NotNeeded | LogIn::Works(_) => Finding::after(BOT_SECRET),
        };
    };
    match result {
        Err(reason) => Finding::failed(
            format!("receiveMessage cannot be called: {reason}"),
            format!("start the bot platform, and check the way from the VPC if there is one; {parameter}"),
        ),
        Ok(probe) => match probe.status {
            200..=299 => Finding::ok("receiveMessage answers and accepts app token and access token"),
            401 | 403 if matches!(evidence.bot.log_in, LogIn::Failed(_)) => Finding::after(BOT_LOG_IN),
            status @ (401 | 403) => Finding::failed(
                format!("receiveMessage refuses even a new token (status {status})"),
                format!(
                    "give the user of the secret `{}` the right to call receiveMessage at the bot platform, or put the right \
                     app token into that secret",
                    evidence.config.bot.secret_id
                ),
            ),
            status @ (408 | 425 | 429 | 500..=599) => Finding::failed(
                format!("receiveMessage answers with status {status}: events wait in the queue"),
                "bring the bot platform back; nothing is lost meanwhile",
            ),
            status if is_absence(status) => Finding::failed(
                format!("there is no receiveMessage at the bot endpoint (status {status})"),
                format!("let the bot platform accept POST /v1/liveAgent/receiveMessage; {parameter}"),
            ),
            status => Finding::ok(format!(
                "receiveMessage answers; it does not accept an event without a conversation (status {status}), which it \
                 need not"
            )),
        },
    }
}

pub(super) fn log_in(evidence: &Evidence<'_>) -> Finding {
    let id = &evidence.config.bot.secret_id;
    match &evidence.bot.log_in {
        LogIn::Works(_) => Finding::ok("a log-in with user and password works"),
        LogIn::Failed(error @ GrantError::Refused { .. }) if !is_absent(error) => Finding::failed(
            error.to_string(),
            format!(
                "put the app token, user name and password that the bot platform accepts into the secret `{id}` in AWS \
                 Secrets Manager"
            ),
        ),
        LogIn::Failed(error) => match evidence.bot.probe_result() {
            // The token endpoint alone does not respond.
            Some(Ok(probe)) if probe.status < 500 && !is_absence(probe.status) => Finding::failed(
                error.to_string(),
                "let the bot platform's POST /tenant-users/oauth2/token answer again",
            ),
            Some(_) | None => Finding::after(BOT_PLATFORM),
        },
        LogIn::NotNeeded => match evidence.bot.probe_result() {
            Some(result) if result.is_ok() && !is_rejected(result) => Finding::ok(
                "not tried, since a token issued with these credentials is accepted, and a log-in could end it",
            ),
            Some(_) => Finding::after(BOT_PLATFORM),
            None => Finding::after(BOT_SECRET),
        },
    }
}

/// Whether a status says that there is no such thing at that address.
fn is_absence(status: u16) -> bool {
    matches!(status, 300..=399 | 404 | 405)
}

/// Whether there is no token endpoint: that says nothing of our credentials.
fn is_absent(error: &GrantError) -> bool {
    matches!(error, GrantError::Refused { status, .. } if is_absence(*status))
}

pub(super) fn token(evidence: &Evidence<'_>) -> Finding {
    let stored = match &evidence.secrets.bot_token {
        Ok(stored) => stored,
        Err(error) => return secrets::unreadable(error),
    };
    match (&evidence.bot.log_in, evidence.bot.probe_result()) {
        // Without it there can be no token, which is one fault and not two.
        (LogIn::Failed(error @ GrantError::Refused { .. }), None) if !is_absent(error) => Finding::after(BOT_LOG_IN),
        (LogIn::Failed(_), None) => Finding::after(BOT_PLATFORM),
        // deliver-message logs in with the next event, but refresh-tokens considers the token fresh.
        _ if evidence.bot.is_stored_token_refused() => Finding::warning(
            "the bot platform refuses the stored token and accepts a new one; the next event replaces it",
            format!(
                "put {{}} into the secret `{}` in AWS Secrets Manager, then invoke refresh-tokens",
                evidence.config.bot.token_secret_id
            ),
        ),
        _ => tokens::judge(stored, evidence.now),
    }
}
