//! The checks: one row each. A check judges the evidence and asks nothing itself. Where something that it needs is missing,
//! another check reports that, and it is skipped: one fault is one finding.

mod bot_platform;
mod clocks;
mod contact_center;
mod events;
mod registration;
mod secrets;
mod tokens;

use std::time::Duration;

use crate::evidence::Evidence;
use crate::report::Finding;

/// How a check judges.
type Judge = fn(&Evidence<'_>) -> Finding;

/// Name and judgement of each check, in the order in which a person would look.
pub(crate) const CHECKS: [(&str, Judge); 18] = [
    (CONTACT_CENTER_SECRET, secrets::contact_center),
    (BOT_SECRET, secrets::bot),
    ("caller-secret", secrets::caller),
    (CONTACT_CENTER, contact_center::access),
    ("contact-center-token", contact_center::token),
    (TENANT, contact_center::tenant),
    (REGISTRATION, registration::saved),
    ("webhook", registration::webhook),
    ("channel", registration::channel),
    ("callback", registration::callback),
    (BOT_PLATFORM, bot_platform::access),
    (BOT_LOG_IN, bot_platform::log_in),
    ("bot-token", bot_platform::token),
    ("clocks", clocks::clocks),
    ("last-event", events::last),
    ("refused-events", events::refused),
    ("event-queue", events::queue),
    ("dead-letters", events::dead_letters),
];

// The names that one check refers another one to.
const CONTACT_CENTER_SECRET: &str = "contact-center-secret";
const BOT_SECRET: &str = "bot-secret";
const CONTACT_CENTER: &str = "contact-center";
const TENANT: &str = "tenant";
const REGISTRATION: &str = "registration";
const BOT_PLATFORM: &str = "bot-platform";
const BOT_LOG_IN: &str = "bot-log-in";

/// What to do about the registration, by an invocation of register-channel with this payload.
fn register_channel(payload: &str) -> String {
    format!("invoke register-channel with {payload} (docs/operate/README.md shows how)")
}

/// `40 s`, `12 min`, `3 h`, `2 days`.
fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
