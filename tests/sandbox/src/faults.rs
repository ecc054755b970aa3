//! What can go wrong around the functions, switched on from the command line and from tests.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A fault of one of the simulated systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The bot platform answers an event with 500.
    Bot500,
    /// The bot platform answers an event with 429 and `Retry-After: 1`.
    Bot429,
    /// The bot platform refuses our token.
    Bot401,
    /// The bot platform takes the event and never answers.
    BotHangs,
    /// The bot platform takes the event and drops the connection.
    BotDrops,
    /// 8x8 sends an event twice.
    Duplicate,
    /// 8x8's event arrives five minutes after it was signed.
    Late,
    /// 8x8 sends an event before the one that it follows.
    Reorder,
    /// Beside an event, someone sends one that 8x8 has not signed.
    Forged,
    /// 8x8's key endpoint answers 500.
    KeysDown,
    /// The bot platform revokes all access tokens.
    TokenRevoked,
    /// Secrets Manager answers 500.
    SecretsDown,
    /// SQS answers 500.
    QueueDown,
    /// DynamoDB answers 500.
    TableDown,
    /// 8x8 does what it is asked to, or does not, and then drops the connection instead of answering.
    ContactCenterDrops,
    /// 8x8 does what it is asked to, or does not, and then does not answer.
    ContactCenterHangs,
    /// 8x8 does what it is asked to, or does not, and then answers 500.
    ContactCenter500,
    /// 8x8 answers 429 and `Retry-After: 1`.
    ContactCenter429,
    /// 8x8 drops the connection, does not answer or answers 500 or 504 when something is to be added to a conversation, and
    /// does it one to four seconds later.
    ContactCenterLate,
    /// 8x8 does at once what it is asked to, and answers a POST nine seconds later.
    ContactCenterSlow,
    /// 8x8 lists a message three seconds after it has taken it.
    ContactCenterShowsLate,
    /// 8x8 lists messages oldest first, whatever is asked for.
    ContactCenterOldestFirst,
    /// The process of receive-message is killed in the middle of an event.
    KillReceive,
    /// The process of deliver-message is killed in the middle of an event.
    KillDeliver,
    /// The process of refresh-tokens is killed in the middle of a run.
    KillRefresh,
    /// The process of register-channel is killed in the middle of an operation.
    KillRegister,
    /// The process of issue-token is killed in the middle of a request.
    KillIssue,
    /// The process of rotate-signing-key is killed in the middle of a step.
    KillRotate,
    /// The process of converse is killed in the middle of a request.
    KillConverse,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::Bot500,
        Self::Bot429,
        Self::Bot401,
        Self::BotHangs,
        Self::BotDrops,
        Self::Duplicate,
        Self::Late,
        Self::Reorder,
        Self::Forged,
        Self::KeysDown,
        Self::TokenRevoked,
        Self::SecretsDown,
        Self::QueueDown,
        Self::TableDown,
        Self::ContactCenterDrops,
        Self::ContactCenterHangs,
        Self::ContactCenter500,
        Self::ContactCenter429,
        Self::ContactCenterLate,
        Self::ContactCenterSlow,
        Self::ContactCenterShowsLate,
        Self::ContactCenterOldestFirst,
        Self::KillReceive,
        Self::KillDeliver,
        Self::KillRefresh,
        Self::KillRegister,
        Self::KillIssue,
        Self::KillRotate,
        Self::KillConverse,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Bot500 => "bot-500",
            Self::Bot429 => "bot-429",
            Self::Bot401 => "bot-401",
            Self::BotHangs => "bot-hangs",
            Self::BotDrops => "bot-drops",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::Reorder => "reorder",
            Self::Forged => "forged",
            Self::KeysDown => "keys-down",
            Self::TokenRevoked => "token-revoked",
            Self::SecretsDown => "secrets-down",
            Self::QueueDown => "queue-down",
            Self::TableDown => "table-down",
            Self::ContactCenterDrops => "8x8-drops",
            Self::ContactCenterHangs => "8x8-hangs",
            Self::ContactCenter500 => "8x8-500",
            Self::ContactCenter429 => "8x8-429",
            Self::ContactCenterLate => "8x8-late",
            Self::ContactCenterSlow => "8x8-slow",
            Self::ContactCenterShowsLate => "8x8-shows-late",
            Self::ContactCenterOldestFirst => "8x8-oldest-first",
            Self::KillReceive => "kill-receive",
            Self::KillDeliver => "kill-deliver",
            Self::KillRefresh => "kill-refresh",
            Self::KillRegister => "kill-register",
            Self::KillIssue => "kill-issue",
            Self::KillRotate => "kill-rotate",
            Self::KillConverse => "kill-converse",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// At the next so many occasions.
    Next(u32),
    /// At that share of all occasions, from 0 to 1.
    Share(f64),
    /// At every occasion for so long.
    For(Duration),
}

/// A fault and when it strikes, as the command line names it: `bot-500=3`, `bot-500=20%`, `bot-500=5s`, `bot-500` (once).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedFault {
    /// What goes wrong.
    pub fault: Fault,
    /// When.
    pub when: When,
}

impl fmt::Display for PlannedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.when {
            When::Next(times) => write!(f, "{}={times}", self.fault),
            When::Share(share) => write!(f, "{}={}%", self.fault, share * 100.0),
            When::For(time) => write!(f, "{}={}s", self.fault, time.as_secs_f64()),
        }
    }
}

impl FromStr for PlannedFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, when) = text.split_once('=').unwrap_or((text, "1"));
        let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| {
            let names: Vec<_> = Fault::ALL.iter().map(ToString::to_string).collect();
            format!("no such fault; there are {}", names.join(", "))
        })?;
        let bad =
            || "a fault strikes a number of times (3), at a share of all occasions (20%) or for a time (5s)".to_owned();
        let when = if let Some(percent) = when.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| bad())?;
            When::Share((0.0..=100.0).contains(&percent).then_some(percent / 100.0).ok_or_else(bad)?)
        } else if let Some(seconds) = when.strip_suffix('s') {
            let seconds = seconds.parse().map_err(|_| bad())?;
            When::For(Duration::try_from_secs_f64(seconds).map_err(|_| bad())?)
        } else {
            When::Next(when.parse().map_err(|_| bad())?)
        };
        Ok(Self { fault, when })
    }
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub struct Faults {
    active: Mutex<HashMap<Fault, Active>>,
}

#[derive(Debug)]
struct Active {
    when: When,
    since: Instant,
    struck: u64,
}

impl Faults {
    /// Switches a fault on, from now.
    pub fn set(&self, fault: Fault, when: When) {
        let mut active = self.active();
        let struck = active.get(&fault).map_or(0, |active| active.struck);
        active.insert(fault, Active { when, since: Instant::now(), struck });
    }

    /// Switches all faults off.
    pub fn clear(&self) {
        for active in self.active().values_mut() {
            active.when = When::Next(0);
        }
    }

    /// Whether a fault may still strike.
    pub fn is_on(&self, fault: Fault) -> bool {
        self.active().get(&fault).is_some_and(|active| match active.when {
            When::Next(left) => left > 0,
            When::Share(share) => share > 0.0,
            When::For(time) => active.since.elapsed() < time,
        })
    }

    /// Whether a fault strikes at this occasion.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let mut all = self.active();
        let Some(active) = all.get_mut(&fault) else { return false };
        let strikes = match &mut active.when {
            When::Next(0) => false,
            When::Next(left) => {
                *left -= 1;
                true
            }
            When::Share(share) => fastrand::f64() < *share,
            When::For(time) => active.since.elapsed() < *time,
        };
        active.struck += u64::from(strikes);
        strikes
    }

    /// How often each fault has struck.
    pub fn struck(&self) -> Vec<(Fault, u64)> {
        let all = self.active();
        Fault::ALL.into_iter().filter_map(|fault| Some((fault, all.get(&fault)?.struck))).collect()
    }

    fn active(&self) -> MutexGuard<'_, HashMap<Fault, Active>> {
        self.active.lock().expect("no holder panics")
    }
}
