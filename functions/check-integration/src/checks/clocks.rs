//! The clocks of the others, compared with ours, which AWS keeps right.

use super::{BOT_PLATFORM, CONTACT_CENTER};
use crate::evidence::Evidence;
use crate::report::Finding;

/// Seconds. Half of what an event of 8x8 may be ahead (60 s), and what a token may have left when it is still sent (30 s).
const TOLERANCE: u64 = 30;

pub(super) fn clocks(evidence: &Evidence<'_>) -> Finding {
    let clocks = [("8x8", evidence.contact_center.clock), ("the bot platform", evidence.bot.clock)];
    let read: Vec<(&str, i64)> =
        clocks.into_iter().filter_map(|(name, clock)| Some((name, clock?.seconds_ahead()))).collect();
    let wrong: Vec<String> = read
        .iter()
        .filter(|(_, ahead)| ahead.unsigned_abs() > TOLERANCE)
        .map(|(name, ahead)| {
            let direction = if *ahead > 0 { "ahead" } else { "behind" };
            format!("the clock of {name} is {} s {direction}", ahead.unsigned_abs())
        })
        .collect();
    match (wrong.as_slice(), read.as_slice()) {
        ([], []) => Finding::skipped(format!("no clock was read: see {CONTACT_CENTER} and {BOT_PLATFORM}")),
        ([], read) => {
            let names: Vec<&str> = read.iter().map(|(name, _)| *name).collect();
            Finding::ok(format!("within {TOLERANCE} s of ours: {}", names.join(", ")))
        }
        (wrong, _) => Finding::failed(
            wrong.join(", "),
            "let its operator set that clock (NTP): events count as too old or too early, and tokens as expired",
        ),
    }
}
