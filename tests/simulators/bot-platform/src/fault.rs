//! The faults of the bot platform.

/// A fault of the bot platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The bot platform responds to an event with 500.
    Status500,
    /// The bot platform rejects an event for good, with 422.
    Status422,
    /// The bot platform responds to an event with 429 and `Retry-After: 1`.
    Status429,
    /// The bot platform rejects the access token of an event.
    Status401,
    /// The bot platform takes the event, or does not, and never responds.
    Hangs,
    /// The bot platform takes the event, or does not, and drops the connection.
    Drops,
    /// The bot platform revokes all access tokens.
    TokenRevoked,
}

impl simulation::faults::Fault for Fault {
    fn all() -> Vec<(Self, &'static str)> {
        vec![
            (Self::Status500, "bot-500"),
            (Self::Status422, "bot-422"),
            (Self::Status429, "bot-429"),
            (Self::Status401, "bot-401"),
            (Self::Hangs, "bot-hangs"),
            (Self::Drops, "bot-drops"),
            (Self::TokenRevoked, "token-revoked"),
        ]
    }
}
