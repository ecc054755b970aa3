//! The faults of 8x8.

use std::time::Duration;

/// The longest delay of a call or of a listed message. 8x8 documents no limit. A caller that has to respond to API Gateway
/// within 29 seconds waits less than twenty.
pub const LATEST: Duration = Duration::from_secs(20);

/// A delay: any time up to [`LATEST`], all equally likely.
pub(crate) fn delay() -> Duration {
    LATEST.mul_f64(fastrand::f64())
}

/// A fault of the contact center.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// 8x8 sends an event twice.
    Duplicate,
    /// An event arrives five minutes after it was signed.
    Late,
    /// 8x8 sends an event before the event that it follows.
    Reorder,
    /// Beside an event, a forger sends an event that 8x8 has not signed.
    Forged,
    /// The key endpoint responds with 500.
    KeysDown,
    /// The key endpoint does not respond.
    KeysHang,
    /// The key endpoint responds with 404 for a key that it has.
    KeysGone,
    /// 8x8 carries out a call about conversations, or does not, and then drops the connection instead of responding.
    Drops,
    /// 8x8 carries out a call about conversations, or does not, and then does not respond.
    Hangs,
    /// 8x8 carries out a call about conversations, or does not, and then responds with 500.
    Status500,
    /// 8x8 responds to a call about conversations with 429 and `Retry-After: 1`.
    Status429,
    /// 8x8 drops the connection, does not respond, or responds with 500 or 504 to a call that adds something to a conversation.
    /// 8x8 carries out the call up to [`LATEST`] later.
    CarriesOutLate,
    /// 8x8 carries out a POST at once, and responds nine seconds later.
    AnswersSlowly,
    /// 8x8 lists a message up to [`LATEST`] after it has accepted it; each message has its own delay.
    ListsLate,
    /// 8x8 lists messages oldest first, whatever order is requested.
    ListsOldestFirst,
}

impl simulation::faults::Fault for Fault {
    fn all() -> Vec<(Self, &'static str)> {
        vec![
            (Self::Duplicate, "duplicate"),
            (Self::Late, "late"),
            (Self::Reorder, "reorder"),
            (Self::Forged, "forged"),
            (Self::KeysDown, "keys-down"),
            (Self::KeysHang, "keys-hang"),
            (Self::KeysGone, "keys-gone"),
            (Self::Drops, "8x8-drops"),
            (Self::Hangs, "8x8-hangs"),
            (Self::Status500, "8x8-500"),
            (Self::Status429, "8x8-429"),
            (Self::CarriesOutLate, "8x8-late"),
            (Self::AnswersSlowly, "8x8-slow"),
            (Self::ListsLate, "8x8-shows-late"),
            (Self::ListsOldestFirst, "8x8-oldest-first"),
        ]
    }
}
