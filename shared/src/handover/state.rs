//! The state of a hand-over, derived from the facts of its conversation.
//!
//! Facts have no order other than their times. The state is therefore the same in whatever order, and however often, the events
//! arrive.

use crate::clock::UnixTime;
use crate::handover::fact::{Fact, Kind};

/// The state of a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The conversation was created.
    Created,
    /// The conversation waits in a queue for an agent.
    Queued,
    /// An agent has the conversation.
    Active,
    /// An agent has transferred the conversation, and no queue and no other agent has it yet.
    Transferring,
    /// The conversation has ended.
    Ended,
}

/// Why a hand-over ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The conversation ended before an agent joined, and not because the customer left.
    BeforeAgent,
    /// The conversation ended after the agents had left, or the agents ended it.
    AfterAgent,
    /// The customer left while waiting or while an agent was in the conversation.
    UserEnded,
    /// The bridge ended the conversation: no agent joined in time.
    NoAgent,
    /// The bridge ended the conversation: the customer did not reply to the agent in time.
    Idle,
}

/// The times of a hand-over, by 8x8's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// When the conversation was created.
    pub created: Option<UnixTime>,
    /// When the conversation first waited in a queue.
    pub queued: Option<UnixTime>,
    /// When an agent first joined.
    pub joined: Option<UnixTime>,
    /// When the conversation was last transferred.
    pub transferred: Option<UnixTime>,
    /// When an agent last left.
    pub left: Option<UnixTime>,
    /// When the customer left, unless the customer has come back.
    pub customer_left: Option<UnixTime>,
    /// When the conversation ended.
    pub ended: Option<UnixTime>,
}

/// A hand-over, as far as 8x8's events describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Its state.
    pub state: State,
    /// The present or last queue.
    pub queue_id: Option<String>,
    /// The agent who has the conversation, or who had it last if it has ended.
    pub agent_id: Option<String>,
    /// Its times.
    pub times: Times,
    /// Why it ended, if it has ended.
    pub end_reason: Option<EndReason>,
    /// Since when the conversation has waited for an agent, if it is waiting.
    pub waiting_since: Option<UnixTime>,
    /// Since when the present agent has been in the conversation.
    pub agent_since: Option<UnixTime>,
    /// Whether the customer left while the conversation waited for an agent.
    pub left_waiting: bool,
}

impl State {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Queued => "queued",
            Self::Active => "active",
            Self::Transferring => "transferring",
            Self::Ended => "ended",
        }
    }

    /// Whether the conversation waits for an agent.
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Created | Self::Queued | Self::Transferring)
    }
}

impl EndReason {
    /// The name in the API and in the metric `HandoversEnded`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeAgent => "before_agent",
            Self::AfterAgent => "after_agent",
            Self::UserEnded => "user_ended",
            Self::NoAgent => "no_agent",
            Self::Idle => "idle",
        }
    }
}

/// An agent of a conversation.
#[derive(Debug)]
struct Agent<'f> {
    id: &'f str,
    /// When the agent last joined. If no joining is known, when the conversation was first assigned to the agent.
    joined: Option<UnixTime>,
    left: Option<UnixTime>,
}

impl Agent<'_> {
    fn is_present(&self) -> bool {
        self.joined.is_some_and(|joined| self.left.is_none_or(|left| left < joined))
    }

    /// The last time at which the agent is known to have been in the conversation.
    fn seen(&self) -> Option<UnixTime> {
        self.joined.or(self.left)
    }
}

/// The facts of a conversation, with queries for the first and the last fact of a kind.
struct Facts<'f>(&'f [Fact]);

impl<'f> Facts<'f> {
    fn of(&self, kind: Kind) -> impl Iterator<Item = &'f Fact> {
        self.0.iter().filter(move |fact| fact.kind == kind)
    }

    fn first(&self, kind: Kind) -> Option<UnixTime> {
        self.of(kind).map(|fact| fact.at).min()
    }

    fn last(&self, kind: Kind) -> Option<UnixTime> {
        self.of(kind).map(|fact| fact.at).max()
    }

    fn agents(&self) -> Vec<Agent<'f>> {
        let of =
            |kind, id: &str| self.of(kind).filter(move |fact| fact.id == id).map(|fact| fact.at).collect::<Vec<_>>();
        let kinds = [Kind::AgentJoined, Kind::AgentAssigned, Kind::AgentLeft, Kind::AgentLeftForGood];
        let mut ids: Vec<&str> =
            kinds.into_iter().flat_map(|kind| self.of(kind)).map(|fact| fact.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let agent = |id| {
            let joined = of(Kind::AgentJoined, id).into_iter().max();
            let left = of(Kind::AgentLeft, id).into_iter().max().max(of(Kind::AgentLeftForGood, id).into_iter().max());
            Agent { id, joined: joined.or_else(|| of(Kind::AgentAssigned, id).into_iter().min()), left }
        };
        ids.into_iter().map(agent).collect()
    }
}

impl Handover {
    /// Derives the hand-over from the facts. `closed` is the reason why the bridge has ended the conversation, if it has.
    pub fn of(facts: &[Fact], closed: Option<EndReason>) -> Self {
        let known = Facts(facts);
        let agents = known.agents();
        let joined = agents.iter().filter_map(|agent| agent.joined).max();
        let left = agents.iter().filter_map(|agent| agent.left).max();
        let queued = known.last(Kind::Queued);
        let transferred = known.last(Kind::Transferred);
        // If a transfer and a joining have the same millisecond, the transfer came last, unless an agent has left since.
        let is_transferred = transferred.is_some_and(|transferred| {
            joined < Some(transferred) || (joined == Some(transferred) && left < Some(transferred))
        });
        let present = || agents.iter().filter(|agent| agent.is_present());

        // A later fact shows that the conversation goes on after this end.
        let activity = joined.max(queued).max(transferred);
        let ended = known.of(Kind::Ended).map(|fact| fact.at).filter(|at| Some(*at) >= activity).min();
        // The older dialect has only this end.
        let left_for_good = known.last(Kind::AgentLeftForGood).filter(|left| {
            !is_transferred && present().next().is_none() && Some(*left) >= joined && Some(*left) > queued
        });
        let ended = ended.or(left_for_good);
        let seen = agents.iter().filter_map(Agent::seen).max();
        let state = match (ended, is_transferred) {
            (Some(_), _) => State::Ended,
            (None, true) if queued >= transferred => State::Queued,
            (None, true) => State::Transferring,
            (None, false) if queued > seen => State::Queued,
            (None, false) if seen.is_some() => State::Active,
            (None, false) => State::Created,
        };

        let customer_left =
            known.last(Kind::CustomerLeft).filter(|left| Some(*left) > known.last(Kind::CustomerJoined));
        let times = Times {
            created: known.first(Kind::Created),
            queued: known.first(Kind::Queued),
            joined: known.first(Kind::AgentJoined).or_else(|| agents.iter().filter_map(|agent| agent.joined).min()),
            transferred,
            left,
            customer_left,
            ended,
        };
        let left_waiting = customer_left.is_some_and(|at| was_waiting(facts, at));
        let end_reason = ended.map(|_| {
            closed.unwrap_or(match customer_left {
                Some(_) if left_waiting || present().next().is_some() => EndReason::UserEnded,
                // An agent who ends a conversation leaves before the customer does.
                Some(customer) if left.is_none_or(|left| customer <= left) => EndReason::UserEnded,
                _ if !agents.is_empty() => EndReason::AfterAgent,
                _ => EndReason::BeforeAgent,
            })
        });
        let last_agent = if ended.is_some() {
            agents.iter().max_by_key(|agent| agent.seen())
        } else {
            present().max_by_key(|agent| agent.joined)
        };
        let is_waiting = state.is_waiting();
        Self {
            state,
            queue_id: queue_of(&known),
            agent_id: last_agent.filter(|agent| !agent.id.is_empty()).map(|agent| agent.id.to_owned()),
            times,
            end_reason,
            agent_since: last_agent.filter(|_| state == State::Active).and_then(|agent| agent.joined),
            waiting_since: if is_waiting { waiting_since(&known, seen, &times) } else { None },
            left_waiting,
        }
    }

    /// How long the customer waited for the first agent, once one has joined.
    pub fn time_to_agent(&self) -> Option<std::time::Duration> {
        let began = self.times.queued.or(self.times.created)?;
        Some(self.times.joined?.since(began))
    }
}

/// The queue of the last fact that names one. If two have the same time, a queue's own event has precedence over an assignment.
fn queue_of(known: &Facts<'_>) -> Option<String> {
    let named = known.of(Kind::QueueAssigned).chain(known.of(Kind::Queued)).filter(|fact| !fact.id.is_empty());
    named.max_by_key(|fact| fact.at).map(|fact| fact.id.clone())
}

/// Since when a conversation waits: since it first came into a queue, or, if an agent `seen` had it, since it was transferred
/// or queued again.
fn waiting_since(known: &Facts<'_>, seen: Option<UnixTime>, times: &Times) -> Option<UnixTime> {
    match seen {
        None => times.queued.or(times.created).or(times.transferred),
        Some(_) => {
            let kinds = known.of(Kind::Queued).chain(known.of(Kind::Transferred));
            kinds.map(|fact| fact.at).filter(|at| Some(*at) >= seen).min().or(times.transferred)
        }
    }
}

/// Whether a conversation waited for an agent at the time `at`.
fn was_waiting(facts: &[Fact], at: UnixTime) -> bool {
    let before: Vec<Fact> = facts
        .iter()
        .filter(|fact| fact.at <= at && !matches!(fact.kind, Kind::CustomerLeft | Kind::Ended))
        .cloned()
        .collect();
    Handover::of(&before, None).state.is_waiting()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// A conversation as 8x8 would run it: its facts, and the expected hand-over, derived from the order of what happens.
    #[derive(Debug, Clone)]
    struct Play {
        is_older: bool,
        facts: Vec<Fact>,
        state: State,
        agents: Vec<String>,
        reason: Option<EndReason>,
        queue: String,
        left_waiting: bool,
        waiting_since: Option<UnixTime>,
    }

    impl Play {
        fn begin(is_older: bool) -> Self {
            let mut play = Self {
                is_older,
                facts: Vec::new(),
                state: State::Created,
                agents: Vec::new(),
                reason: None,
                queue: String::new(),
                left_waiting: false,
                waiting_since: None,
            };
            if is_older {
                play.queued("101");
            } else {
                play.happens(Kind::Created, "");
                play.waiting_since = play.facts.last().map(|fact| fact.at);
                play.happens(Kind::CustomerJoined, "");
            }
            play
        }

        fn happens(&mut self, kind: Kind, id: &str) {
            let at = UnixTime::from_secs(1_700_000_000 + self.facts.len() as u64);
            self.facts.push(Fact::new(at, kind, id));
        }

        fn queued(&mut self, queue: &str) {
            self.happens(Kind::Queued, queue);
            let is_first = self.facts.iter().filter(|fact| fact.kind == Kind::Queued).count() == 1;
            // The customer's wait begins with the first queue, and goes on in the next one.
            if self.waiting_since.is_none() || is_first {
                self.waiting_since = self.facts.last().map(|fact| fact.at);
            }
            (self.state, self.queue) = (State::Queued, queue.to_owned());
        }

        fn joined(&mut self) {
            let agent = format!("agent-{}", self.facts.len());
            self.happens(Kind::AgentJoined, &agent);
            if !self.is_older {
                self.happens(Kind::AgentAssigned, &agent);
            }
            (self.state, self.waiting_since) = (State::Active, None);
            self.agents.push(agent);
        }

        fn agent_left(&mut self) {
            let agent = self.agents.remove(0);
            let kind = if self.is_older { Kind::AgentLeftForGood } else { Kind::AgentLeft };
            self.happens(kind, &agent);
            if self.is_older && self.agents.is_empty() && self.state != State::Transferring {
                self.ended(EndReason::AfterAgent);
            }
        }

        fn transferred(&mut self) {
            self.happens(Kind::Transferred, "");
            (self.state, self.waiting_since) = (State::Transferring, self.facts.last().map(|fact| fact.at));
        }

        fn customer_left(&mut self) {
            self.left_waiting = self.state.is_waiting();
            self.happens(Kind::CustomerLeft, "");
            while !self.agents.is_empty() {
                self.agent_left();
            }
            self.happens(Kind::Ended, "");
            self.ended(EndReason::UserEnded);
        }

        fn idle(&mut self) {
            let had_agent = self.facts.iter().any(|fact| fact.kind == Kind::AgentJoined);
            self.happens(Kind::Ended, "");
            self.ended(if had_agent { EndReason::AfterAgent } else { EndReason::BeforeAgent });
        }

        fn ended(&mut self, reason: EndReason) {
            (self.state, self.reason, self.waiting_since) = (State::Ended, Some(reason), None);
        }

        /// Does something that 8x8's documents allow to come next.
        fn goes_on(&mut self, choice: u8) {
            let has_end = !self.is_older;
            match (self.state, choice % 6) {
                (State::Created, 0..4) | (State::Queued, 0) => self.queued(if choice < 128 { "101" } else { "202" }),
                (State::Created | State::Queued, 4) if has_end => self.customer_left(),
                (State::Created | State::Queued, 5) if has_end => self.idle(),
                (State::Created, _) => {}
                (State::Queued, _) => self.joined(),
                (State::Active, 0) => self.joined(),
                // The last agent leaves, and no fact says yet what comes next.
                (State::Active, 1 | 2) if !self.agents.is_empty() => self.agent_left(),
                (State::Active, 3) if !self.agents.is_empty() => self.transferred(),
                (State::Active, 4) if has_end && !self.agents.is_empty() => self.customer_left(),
                (State::Active, 5) if has_end && self.agents.is_empty() => self.idle(),
                (State::Active, _) if self.agents.is_empty() => self.queued("202"),
                (State::Active, _) => {}
                (State::Transferring, 0 | 1) if !self.agents.is_empty() => self.agent_left(),
                (State::Transferring, 2) => self.queued("303"),
                (State::Transferring, 3) if has_end => self.customer_left(),
                (State::Transferring, _) => self.joined(),
                // In the older dialect, an agent's leaving is the end only if nothing follows.
                (State::Ended, 0) if self.is_older => {
                    self.reason = None;
                    self.queued("202");
                }
                (State::Ended, _) => {}
            }
        }

        fn expect(&self, facts: &[Fact]) -> Result<(), TestCaseError> {
            let handover = Handover::of(facts, None);
            prop_assert_eq!(handover.state, self.state, "{:#?}", self);
            prop_assert_eq!(handover.end_reason, self.reason, "{:#?}", self);
            prop_assert_eq!(handover.left_waiting, self.left_waiting, "{:#?}", self);
            prop_assert_eq!(handover.waiting_since, self.waiting_since, "{:#?}", self);
            prop_assert_eq!(handover.queue_id.unwrap_or_default(), self.queue.clone());
            let joined = self.facts.iter().find(|fact| fact.kind == Kind::AgentJoined).map(|fact| fact.at);
            prop_assert_eq!(handover.times.joined, joined);
            if self.state == State::Active {
                prop_assert_eq!(handover.agent_id.as_ref(), self.agents.last());
            }
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Checks every moment of a conversation, in any order of arrival of its events, with any number of repeats.
        #[test]
        fn every_order_that_8x8_allows_arriving_in_any_order_ends_in_the_right_state(
            is_older: bool,
            choices in proptest::collection::vec(any::<u8>(), 0..16),
            shuffles in proptest::collection::vec(any::<Index>(), 48),
            repeats in proptest::collection::vec(any::<Index>(), 0..6),
        ) {
            let mut play = Play::begin(is_older);
            for choice in choices {
                play.goes_on(choice);
                let mut arrived = play.facts.clone();
                arrived.extend(repeats.iter().map(|repeat| repeat.get(&play.facts).clone()));
                for (place, other) in shuffles.iter().enumerate().take(arrived.len()) {
                    let other = other.index(arrived.len());
                    arrived.swap(place, other);
                }
                play.expect(&arrived)?;
            }
        }

        #[test]
        fn any_facts_have_a_state(facts in proptest::collection::vec((0..20_u64, 0..11_usize, 0..3_u8), 0..20)) {
            let kinds = [
                Kind::Created, Kind::QueueAssigned, Kind::Queued, Kind::AgentAssigned, Kind::AgentJoined, Kind::AgentLeft,
                Kind::AgentLeftForGood, Kind::Transferred, Kind::CustomerJoined, Kind::CustomerLeft, Kind::Ended,
            ];
            let facts: Vec<_> = facts
                .into_iter()
                .map(|(at, kind, id)| Fact::new(UnixTime::from_millis(at), kinds[kind], &id.to_string()))
                .collect();
            let handover = Handover::of(&facts, None);
            prop_assert_eq!(handover.end_reason.is_some(), handover.state == State::Ended);
        }
    }

    fn facts(kinds: &[(u64, Kind, &str)]) -> Vec<Fact> {
        kinds.iter().map(|(at, kind, id)| Fact::new(UnixTime::from_secs(*at), *kind, id)).collect()
    }

    #[test]
    fn the_next_event_repairs_what_a_lost_one_would_have_said() {
        // The joining of the agent is lost; the assignment of the conversation replaces it.
        let handover = Handover::of(&facts(&[(1, Kind::Queued, "101"), (9, Kind::AgentAssigned, "anna")]), None);
        assert_eq!((handover.state, handover.agent_id.as_deref()), (State::Active, Some("anna")));
        assert_eq!(handover.time_to_agent().map(|wait| wait.as_secs()), Some(8));
        // The joining of the agent and the transfer are lost.
        let handover = Handover::of(&facts(&[(1, Kind::Queued, "101"), (9, Kind::AgentLeft, "anna")]), None);
        assert_eq!(handover.state, State::Active);
        let handover = Handover::of(
            &facts(&[(1, Kind::Queued, "101"), (9, Kind::AgentLeft, "anna"), (10, Kind::Queued, "102")]),
            None,
        );
        assert_eq!((handover.state, handover.queue_id.as_deref()), (State::Queued, Some("102")));
        // The queueing is lost.
        let handover = Handover::of(&facts(&[(1, Kind::QueueAssigned, "101"), (9, Kind::AgentJoined, "anna")]), None);
        assert_eq!((handover.state, handover.queue_id.as_deref()), (State::Active, Some("101")));
    }

    #[test]
    fn a_transfer_in_one_millisecond_is_no_end() {
        let transfer = [(1, Kind::AgentJoined, "a"), (2, Kind::Transferred, ""), (2, Kind::AgentLeft, "a")];
        assert_eq!(Handover::of(&facts(&transfer), None).state, State::Transferring);
        let queued = [&transfer[..], &[(2, Kind::Queued, "2")]].concat();
        assert_eq!(Handover::of(&facts(&queued), None).state, State::Queued);
        let joined = [&transfer[..], &[(2, Kind::AgentJoined, "b")]].concat();
        assert_eq!(Handover::of(&facts(&joined), None).state, State::Active);
    }

    #[test]
    fn the_bridges_own_end_has_its_own_reason() {
        let ended = facts(&[(1, Kind::Queued, "1"), (2, Kind::CustomerLeft, ""), (2, Kind::Ended, "")]);
        assert_eq!(Handover::of(&ended, Some(EndReason::NoAgent)).end_reason, Some(EndReason::NoAgent));
        assert_eq!(Handover::of(&ended, None).end_reason, Some(EndReason::UserEnded));
    }
}
