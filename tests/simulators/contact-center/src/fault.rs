//! What can go wrong at 8x8.

use std::time::Duration;

/// The most that 8x8 is late with a call or a list. 8x8 documents no limit. A caller that has to respond to API
/// Gateway within 29 seconds waits less than twenty.
pub const LATEST: Duration = Duration::from_secs(20);

/// How late it is this time: any time up to [`LATEST`], all of them equally likely.
pub(crate) fn delay() -> Duration {
    LATEST.mul_f64(fastrand::f64())
}

/// A fault of the contact center.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It sends an event twice.
    Duplicate,
    /// An event arrives five minutes after it was signed.
    Late,
    /// It sends an event before the one that it follows.
    Reorder,
    /// Beside an event, a forger sends one that 8x8 has not signed.
    Forged,
    /// The key endpoint responds with 500.
    KeysDown,
    /// The key endpoint does not respond.
    KeysHang,
    /// The key endpoint responds with 404 for a key that it has.
    KeysGone,
    /// It carries out a call about conversations, or does not, and then drops the connection instead of responding.
    Drops,
    /// It carries out a call about conversations, or does not, and then does not respond.
    Hangs,
    /// It carries out a call about conversations, or does not, and then responds with 500.
    Status500,
    /// It responds to a call about conversations with 429 and `Retry-After: 1`.
    Status429,
    /// It drops the connection, does not respond, or responds with 500 or 504 when something is to be added to a conversation.
    /// It adds it up to [`LATEST`] later.
    CarriesOutLate,
    /// It carries out a POST at once, and responds nine seconds later.
    AnswersSlowly,
    /// It lists a message up to [`LATEST`] after it has accepted it; each message has a delay of its own.
    ListsLate,
    /// It lists messages oldest first, whatever is asked for.
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
