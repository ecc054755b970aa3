//! An access token that refresh-tokens renews: how much of its lifetime remains.

use std::time::Duration;

use shared::clock::UnixTime;
use shared::oauth::TokenContent;
use shared::secrets::Version;

use super::in_words;
use crate::report::Finding;

/// refresh-tokens runs every five minutes. A token that is still due after two of its runs is not being refreshed.
const OVERDUE: Duration = Duration::from_secs(10 * 60);

pub(super) fn judge(stored: &Version<TokenContent>, now: UnixTime) -> Finding {
    let Some(token) = stored.content.token() else {
        return Finding::failed("there is no token yet", REFRESH);
    };
    let lifetime = token.lifetime(now);
    if !token.is_alive(now) {
        return Finding::failed("the stored token has expired and was not refreshed", REFRESH);
    }
    let remaining = in_words(lifetime.remaining);
    if !token.is_fresh(now - OVERDUE) {
        return Finding::warning(format!("the token was due and is not refreshed; {remaining} remain"), REFRESH);
    }
    Finding::ok(format!("{remaining} of {} remain", in_words(lifetime.total)))
}

pub(super) const REFRESH: &str =
    "invoke refresh-tokens; if that fails, its error says why, and docs/operate/refresh-failing-alarm.md what to do";
