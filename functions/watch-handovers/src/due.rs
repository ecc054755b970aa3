//! What a conversation is due for, given its recorded state.

use std::time::Duration;

use shared::clock::UnixTime;
use shared::environment::{ConfigError, Environment};
use shared::handover::state::{EndReason, Handover};
use shared::handover::table::Notes;

/// A conversation that has waited that long is checked: its end may have got lost on the way to the table. Before the alarm
/// of ten minutes goes off for it, and again after as long.
pub(crate) const CHECK_END_AFTER: Duration = Duration::from_secs(5 * 60);

/// How long a claim of a conversation's end holds against other runs: longer than a run may last.
const LEASE: Duration = Duration::from_secs(60);

/// The variable of [`Limits::customer_idle`].
pub(crate) const CUSTOMER_IDLE: &str = "CUSTOMER_IDLE_MINUTES";

/// After how long the bridge ends a conversation; `None`: never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// While no agent has joined.
    pub(crate) no_agent: Option<Duration>,
    /// While the customer does not reply to the agent.
    pub(crate) customer_idle: Option<Duration>,
}

/// What a conversation is due for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Its end, for this reason.
    Close(EndReason),
    /// Check whether the customer has replied since that time.
    CheckReply(UnixTime),
    /// Check whether it has ended.
    CheckEnd,
    /// Nothing. An end that was begun did not take place, and its reason no longer holds.
    Forget,
}

impl Limits {
    /// Reads `NO_AGENT_MINUTES` and `CUSTOMER_IDLE_MINUTES`: 0, as they are unless they are set, for never.
    ///
    /// # Errors
    /// A variable is malformed.
    pub(crate) fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let limit = |name| {
            // A day is longer than any customer waits.
            let minutes = environment.optional(name).map_or(Some(0), |text| text.parse().ok());
            match minutes.filter(|minutes| (0..=1440).contains(minutes)) {
                Some(0) => Ok(None),
                Some(minutes) => Ok(Some(Duration::from_secs(minutes * 60))),
                None => Err(ConfigError::Malformed { name, expected: "a number of minutes from 0 to 1440" }),
            }
        };
        Ok(Self { no_agent: limit("NO_AGENT_MINUTES")?, customer_idle: limit(CUSTOMER_IDLE)? })
    }

    /// What is due now, if anything is.
    pub(crate) fn due(&self, handover: &Handover, notes: &Notes, now: UnixTime) -> Option<Due> {
        let is_over = |since: UnixTime, limit: Duration| since + limit <= now;
        if notes.closing.is_some_and(|closing| !is_over(closing.at, LEASE)) {
            return None;
        }
        let forget = notes.closing.map(|_| Due::Forget);
        let may_look = notes.look_at.is_none_or(|look_at| look_at <= now);
        if let Some(since) = handover.waiting_since {
            return match self.no_agent {
                _ if !may_look => None,
                Some(limit) if is_over(since, limit) => Some(Due::Close(EndReason::NoAgent)),
                _ if is_over(since, CHECK_END_AFTER) => Some(Due::CheckEnd),
                _ => forget,
            };
        }
        match (self.customer_idle, handover.agent_since) {
            (Some(_), _) if !may_look => None,
            (Some(limit), Some(since)) if is_over(since, limit) => Some(Due::CheckReply(since)),
            _ => forget,
        }
    }

    /// When a conversation that waits is checked again.
    pub(crate) fn next_look(&self, handover: &Handover, now: UnixTime) -> UnixTime {
        let next = now + CHECK_END_AFTER;
        let end = self.no_agent.and_then(|limit| Some(handover.waiting_since? + limit));
        end.filter(|end| *end > now).map_or(next, |end| end.min(next))
    }
}

#[cfg(test)]
mod tests {
    use shared::handover::fact::{Fact, Kind};
    use shared::handover::table::Closing;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minute: u64) -> UnixTime {
        UnixTime::from_secs(1_700_000_000 + minute * 60)
    }

    fn limits(no_agent: u64, customer_idle: u64) -> Limits {
        let limit = |minutes: u64| (minutes > 0).then(|| Duration::from_secs(minutes * 60));
        Limits { no_agent: limit(no_agent), customer_idle: limit(customer_idle) }
    }

    fn waiting() -> Handover {
        Handover::of(&[Fact::new(at(0), Kind::Queued, "101")], None)
    }

    fn active() -> Handover {
        let joined = Fact::new(at(0), Kind::AgentJoined, "anna");
        Handover::of(&[joined], None)
    }

    #[test]
    fn without_a_limit_nothing_is_ever_ended() {
        for minute in 0..3000 {
            let due = |handover| limits(0, 0).due(&handover, &Notes::default(), at(minute));
            assert!(matches!(due(waiting()), None | Some(Due::CheckEnd)));
            assert_eq!(due(active()), None);
        }
    }

    #[test]
    fn a_conversation_is_ended_when_its_time_is_over_and_not_before() {
        let close = Some(Due::Close(EndReason::NoAgent));
        assert_eq!(limits(3, 0).due(&waiting(), &Notes::default(), at(2)), None);
        assert_eq!(limits(3, 0).due(&waiting(), &Notes::default(), at(3)), close);
        assert_eq!(limits(0, 3).due(&active(), &Notes::default(), at(2)), None);
        assert_eq!(limits(0, 3).due(&active(), &Notes::default(), at(3)), Some(Due::CheckReply(at(0))));
    }

    #[test]
    fn an_end_in_progress_is_left_alone_and_one_that_broke_off_is_begun_again() {
        let closing = Some(Closing { reason: EndReason::NoAgent, at: at(10) });
        let notes = Notes { closing, ..Notes::default() };
        assert_eq!(limits(3, 0).due(&waiting(), &notes, at(11) - Duration::from_secs(1)), None);
        assert_eq!(limits(3, 0).due(&waiting(), &notes, at(11)), Some(Due::Close(EndReason::NoAgent)));
        // An agent has joined in between.
        assert_eq!(limits(3, 0).due(&active(), &notes, at(11)), Some(Due::Forget));
    }

    #[test]
    fn a_look_never_delays_an_end() {
        assert_eq!(limits(8, 0).next_look(&waiting(), at(5)), at(8));
        assert_eq!(limits(0, 0).next_look(&waiting(), at(5)), at(10));
        assert_eq!(limits(3, 0).next_look(&waiting(), at(5)), at(5) + 5 * MINUTE);
    }
}
