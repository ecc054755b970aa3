//! What to do next with a request to 8x8, as a state machine without a clock and without a network: the caller says what
//! happened and when, and asks what to do. The diagram is at the top of [`crate::delivery`].

use std::time::Duration;

use http::StatusCode;
use shared::clock::UnixTime;
use shared::contact_center::client::Response;
use shared::http::retry_after;

use crate::error::Error;
use crate::routes::OnUnknown;
use crate::upstream::SendError;

/// How long after an attempt has ended 8x8 may still carry it out: as long as a gateway waits for the service behind it. AWS's
/// API Gateway waits 30 s (<https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html>), and 29 s by
/// default where it serves REST APIs; 8x8 does not document its own limit.
pub(crate) const COMMIT_WINDOW: Duration = Duration::from_secs(30);

/// A request is sent only with at least this time before the deadline: otherwise a slow 8x8 would cause an unknown outcome.
const MIN_SEND_TIME: Duration = Duration::from_secs(6);

/// Where sending again is harmless. More tries only help against an outage, and the caller has time for that.
const MAX_SENDS: u32 = 3;

/// Before it is sent again, where 8x8 does not say how long to wait.
const RESEND_DELAY: Duration = Duration::from_millis(200);

/// Before the first probe: what 8x8 has accepted it usually lists a moment later.
const FIRST_PROBE_DELAY: Duration = Duration::from_millis(50);

/// Before each later probe; then the longest one again and again. Ten probes are all that fit into a call of 29 s.
const PROBE_DELAYS: [Duration; 4] =
    [Duration::from_millis(350), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// The longest time between two probes.
const LONGEST_PROBE_DELAY: Duration = Duration::from_secs(5);

/// No probe begins with less time than this before the deadline: listing takes some hundred milliseconds.
const MIN_PROBE_TIME: Duration = Duration::from_millis(500);

/// The last probe begins so long before the deadline.
const LAST_PROBE: Duration = Duration::from_secs(1);

/// A caller is never asked to repeat a request sooner than this.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The time, by our clock, in which a request was sent and got its response, or was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) began: UnixTime,
    pub(crate) ended: UnixTime,
}

/// What a probe has found out.
#[derive(Debug)]
pub(crate) enum Probe {
    /// 8x8 has carried it out, and this is what its response would have been.
    Found(Response),
    /// 8x8 lists neither it nor anything similar. It may still carry it out.
    Absent,
    /// Neither is certain. 8x8 may have said when to ask again.
    Unclear { retry_after: Option<Duration> },
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Step {
    Wait(Duration),
    Send,
    /// Look for what an attempt in that time has left at 8x8.
    Probe(Interval),
    Finish(Outcome),
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// 8x8 has responded, whatever its status is.
    Answered(Response, Interval),
    /// 8x8 has not said so, but has carried it out: this is what its response would have been.
    Reconciled(Response),
    /// Nothing was carried out.
    Failed(Error),
    /// It may have been carried out, in that interval or up to [`COMMIT_WINDOW`] later.
    Unknown(Error, Interval),
}

/// A request on its way.
#[derive(Debug)]
pub(crate) struct Attempt {
    on_unknown: OnUnknown,
    deadline: UnixTime,
    sends: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is to be sent, not before that time. If there is no time left, this is how it ends.
    Ready { not_before: UnixTime, otherwise: Box<Outcome> },
    /// It is unknown whether 8x8 has carried it out.
    Unknown { interval: Interval, reason: String, next_probe: UnixTime, probes: usize },
    /// It has ended.
    Finished(Box<Outcome>),
}

impl Attempt {
    /// A request that may be worked on until `deadline`. `previous`: when an attempt in an earlier call was made whose outcome
    /// is unknown.
    pub(crate) fn new(on_unknown: OnUnknown, previous: Option<Interval>, now: UnixTime, deadline: UnixTime) -> Self {
        let state = match previous {
            None => ready(now, Outcome::Failed(Error::NoResponse("there was no time left to ask it"))),
            Some(interval) => unknown(on_unknown, interval, "an earlier request had no response".to_owned(), now, now),
        };
        Self { on_unknown, deadline, sends: 0, state }
    }

    /// What to do at `now`.
    pub(crate) fn next(&mut self, now: UnixTime) -> Step {
        let remaining = self.deadline.since(now);
        let state = std::mem::replace(&mut self.state, State::Finished(Box::new(finished_before())));
        let (state, step) = match state {
            State::Ready { not_before, otherwise } => {
                let wait = not_before.since(now);
                if wait + MIN_SEND_TIME > remaining {
                    return Step::Finish(*otherwise);
                }
                let step = if wait.is_zero() { Step::Send } else { Step::Wait(wait) };
                (State::Ready { not_before, otherwise }, step)
            }
            State::Unknown { interval, reason, next_probe, probes } => {
                let wait = next_probe.since(now);
                if wait + MIN_PROBE_TIME > remaining {
                    return Step::Finish(unknown_outcome(interval, reason, now));
                }
                let step = if wait.is_zero() { Step::Probe(interval) } else { Step::Wait(wait) };
                (State::Unknown { interval, reason, next_probe, probes }, step)
            }
            State::Finished(outcome) => return Step::Finish(*outcome),
        };
        self.state = state;
        step
    }

    /// It was sent at `began`, and at `now` this is the result.
    pub(crate) fn sent(&mut self, began: UnixTime, now: UnixTime, result: Result<Response, SendError>) {
        self.sends += 1;
        let interval = Interval { began, ended: now };
        self.state = match result {
            Ok(response) if asks_again(response.status) => {
                let wait = retry_after(&response.headers, now).unwrap_or(RESEND_DELAY);
                self.resend(now + wait, Outcome::Answered(response, interval))
            }
            // 501: it cannot do that, so it has not done it.
            Ok(response) if response.status.is_server_error() && response.status != StatusCode::NOT_IMPLEMENTED => {
                // Not in 8x8's words, which may quote what was sent: this goes into the log.
                let reason = format!("status {}", response.status.as_u16());
                match self.on_unknown {
                    OnUnknown::Resend => {
                        let wait = retry_after(&response.headers, now).unwrap_or(RESEND_DELAY);
                        self.resend(now + wait, Outcome::Answered(response, interval))
                    }
                    OnUnknown::Reconcile | OnUnknown::Report => {
                        unknown(self.on_unknown, interval, reason, now, now + FIRST_PROBE_DELAY)
                    }
                }
            }
            Ok(response) => State::Finished(Box::new(Outcome::Answered(response, interval))),
            Err(SendError::NotSent(reason)) => {
                self.resend(now + RESEND_DELAY, Outcome::Failed(Error::NoResponse(reason)))
            }
            Err(SendError::NoResponse(reason)) => match self.on_unknown {
                OnUnknown::Resend => self.resend(now + RESEND_DELAY, Outcome::Failed(Error::NoResponse(reason))),
                OnUnknown::Reconcile | OnUnknown::Report => {
                    unknown(self.on_unknown, interval, reason.to_owned(), now, now + FIRST_PROBE_DELAY)
                }
            },
            Err(SendError::Unusable(reason)) => match self.on_unknown {
                OnUnknown::Resend => State::Finished(Box::new(Outcome::Failed(Error::UnusableResponse(reason)))),
                OnUnknown::Reconcile | OnUnknown::Report => {
                    unknown(self.on_unknown, interval, reason.to_owned(), now, now + FIRST_PROBE_DELAY)
                }
            },
            Err(SendError::Rejected(error)) => State::Finished(Box::new(Outcome::Failed(error))),
        };
    }

    /// The result, at `now`, of a probe that began at `began`.
    pub(crate) fn probed(&mut self, began: UnixTime, now: UnixTime, probe: Probe) {
        let State::Unknown { interval, reason, probes, .. } = &mut self.state else { return };
        let interval = *interval;
        let settled_at = interval.ended + COMMIT_WINDOW;
        let wait = match probe {
            Probe::Found(response) => {
                self.state = State::Finished(Box::new(Outcome::Reconciled(response)));
                return;
            }
            Probe::Absent if began >= settled_at => {
                // 8x8 has not carried it out. If there is no time left to send it now, the next repeat finds that out too.
                let otherwise = unknown_outcome(interval, reason.clone(), now);
                self.sends = 0;
                self.state = ready(now, otherwise);
                return;
            }
            Probe::Absent => Duration::ZERO,
            Probe::Unclear { retry_after } => retry_after.unwrap_or_default(),
        };
        let delay = PROBE_DELAYS.get(*probes).copied().unwrap_or(LONGEST_PROBE_DELAY).max(wait);
        let probes = *probes + 1;
        // One more probe at the time when the outcome becomes certain.
        let until_settled = settled_at.since(now);
        let mut next_probe = now + if until_settled.is_zero() { delay } else { delay.min(until_settled.max(wait)) };
        // And one more before the deadline.
        let last = self.deadline - LAST_PROBE;
        if next_probe > last && last >= now + wait.max(MIN_PROBE_TIME) {
            next_probe = last;
        }
        let reason = std::mem::take(reason);
        self.state = State::Unknown { interval, reason, next_probe, probes };
    }

    fn resend(&self, not_before: UnixTime, otherwise: Outcome) -> State {
        if self.sends < MAX_SENDS { ready(not_before, otherwise) } else { State::Finished(Box::new(otherwise)) }
    }
}

fn ready(not_before: UnixTime, otherwise: Outcome) -> State {
    State::Ready { not_before, otherwise: Box::new(otherwise) }
}

fn unknown(on_unknown: OnUnknown, interval: Interval, reason: String, now: UnixTime, next_probe: UnixTime) -> State {
    match on_unknown {
        OnUnknown::Reconcile => State::Unknown { interval, reason, next_probe, probes: 0 },
        OnUnknown::Resend => ready(now, Outcome::Failed(Error::NoResponse("there was no time left to ask it"))),
        OnUnknown::Report => State::Finished(Box::new(Outcome::Unknown(Error::UnknownForGood { reason }, interval))),
    }
}

fn unknown_outcome(interval: Interval, reason: String, now: UnixTime) -> Outcome {
    let retry_after = (interval.ended + COMMIT_WINDOW).since(now).max(MIN_RETRY_AFTER);
    Outcome::Unknown(Error::Unknown { reason, retry_after }, interval)
}

/// For a step that is asked for after the end: a bug of the caller, which gets an error instead of a second request to 8x8.
fn finished_before() -> Outcome {
    Outcome::Failed(Error::NoResponse("the request already has a response"))
}

/// Statuses by which 8x8 says that it has done nothing and that the request is worth a repeat.
pub(crate) fn asks_again(status: StatusCode) -> bool {
    [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(26_500);
    const START: UnixTime = UnixTime::from_millis(1_000_000_000);

    fn response(status: u16) -> Response {
        Response { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// What 8x8 does with one request that it gets.
    #[derive(Debug, Clone, Copy)]
    enum Reply {
        Status(u16),
        Dropped,
        TooBusy,
        NeverArrives,
    }

    #[derive(Debug, Clone, Copy)]
    struct Behaviour {
        reply: Reply,
        /// Milliseconds until it replies.
        latency: u64,
        /// Milliseconds from the request until it carries it out, if it does.
        commit: Option<u64>,
        /// Milliseconds from then until it lists it.
        listing: u64,
    }

    /// A simulated 8x8 with a clock of its own.
    struct World {
        now: UnixTime,
        behaviours: std::vec::IntoIter<Behaviour>,
        /// When each commit is made and when it is listed.
        commits: Vec<(UnixTime, UnixTime)>,
        /// Which probes, by their number, get no response.
        lost_probes: u64,
        probes: u32,
    }

    impl World {
        fn wait(&mut self, time: Duration) {
            self.now = self.now + time;
        }

        fn send(&mut self, deadline: UnixTime) -> Result<Response, SendError> {
            // After the planned ones 8x8 is well.
            let well = Behaviour { reply: Reply::Status(202), latency: 5, commit: Some(1), listing: 0 };
            let behaviour = self.behaviours.next().unwrap_or(well);
            let began = self.now;
            let timeout = Duration::from_secs(12).min(deadline.since(began));
            if let Some(commit) = behaviour.commit {
                let commit = began + Duration::from_millis(commit);
                self.commits.push((commit, commit + Duration::from_millis(behaviour.listing)));
            }
            let latency = Duration::from_millis(behaviour.latency);
            if latency > timeout {
                self.wait(timeout);
                return Err(SendError::NoResponse("no response in time"));
            }
            self.wait(latency);
            match behaviour.reply {
                Reply::Status(status) => Ok(response(status)),
                Reply::TooBusy => Ok(response(429)),
                Reply::Dropped => Err(SendError::NoResponse("the connection was lost")),
                Reply::NeverArrives => Err(SendError::NotSent("no connection")),
            }
        }

        fn probe(&mut self) -> Probe {
            let is_lost = self.lost_probes >> (self.probes % 64) & 1 == 1;
            self.probes += 1;
            let is_listed = self.commits.iter().any(|(_, listed)| *listed <= self.now);
            self.wait(Duration::from_millis(30));
            if is_lost {
                Probe::Unclear { retry_after: None }
            } else if is_listed {
                Probe::Found(response(202))
            } else {
                Probe::Absent
            }
        }

        /// One call of the bot; what the key remembers after it.
        fn call(&mut self, on_unknown: OnUnknown, previous: Option<Interval>) -> Outcome {
            let deadline = self.now + TIMEOUT;
            let mut attempt = Attempt::new(on_unknown, previous, self.now, deadline);
            loop {
                match attempt.next(self.now) {
                    Step::Wait(time) => self.wait(time),
                    Step::Send => {
                        let began = self.now;
                        let result = self.send(deadline);
                        attempt.sent(began, self.now, result);
                    }
                    Step::Probe(_) => {
                        let began = self.now;
                        let probe = self.probe();
                        attempt.probed(began, self.now, probe);
                    }
                    Step::Finish(outcome) => {
                        assert!(self.now <= deadline, "a call ends before its deadline");
                        return outcome;
                    }
                }
            }
        }
    }

    /// 8x8 commits within the window that the bridge allows it, and lists what it has committed as late as within the rest of
    /// it.
    fn behaviour() -> impl Strategy<Value = Behaviour> {
        let without_response = (0..3_usize, 0..20_000_u64, proptest::option::of(0..20_000_u64), 0..9_000_u64).prop_map(
            |(reply, latency, commit, listing)| {
                let reply = [Reply::Status(500), Reply::Status(504), Reply::Dropped][reply];
                Behaviour { reply, latency: latency.min(11_000), commit, listing }
            },
        );
        let slow = (0..26_000_u64, 0..9_000_u64).prop_map(|(latency, listing)| Behaviour {
            reply: Reply::Status(202),
            latency,
            commit: Some(latency.saturating_sub(1)),
            listing,
        });
        let nothing_done = (0..3_usize, 0..2_000_u64).prop_map(|(reply, latency)| {
            let reply = [Reply::TooBusy, Reply::NeverArrives, Reply::Status(400)][reply];
            Behaviour { reply, latency, commit: None, listing: 0 }
        });
        prop_oneof![3 => without_response, 1 => slow, 1 => nothing_done]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn in_every_order_of_response_commit_and_listing_a_request_takes_effect_once(
            behaviours in proptest::collection::vec(behaviour(), 0..6),
            lost_probes: u64,
            pauses in proptest::collection::vec(0..40_000_u64, 40),
        ) {
            let mut world =
                World { now: START, behaviours: behaviours.into_iter(), commits: Vec::new(), lost_probes, probes: 0 };
            let mut previous = None;
            let mut accepted = false;
            for pause in pauses {
                match world.call(OnUnknown::Reconcile, previous) {
                    Outcome::Answered(response, _) if response.status.is_success() => accepted = true,
                    Outcome::Reconciled(_) => {
                        prop_assert!(world.commits.iter().any(|(_, listed)| *listed <= world.now), "never said");
                        accepted = true;
                    }
                    // Nothing was done: the bot may repeat it as a new request.
                    Outcome::Answered(..) | Outcome::Failed(_) => previous = None,
                    Outcome::Unknown(Error::Unknown { retry_after, .. }, interval) => {
                        prop_assert!(retry_after <= COMMIT_WINDOW);
                        previous = Some(interval);
                    }
                    outcome @ Outcome::Unknown(..) => prop_assert!(false, "{outcome:?}"),
                }
                if accepted {
                    break;
                }
                // The bot comes again sooner or later than it is asked to.
                world.wait(Duration::from_millis(pause));
            }
            prop_assert!(accepted, "the bot gives up");
            prop_assert_eq!(world.commits.len(), 1, "said {} times", world.commits.len());
        }

        #[test]
        fn what_8x8_does_not_list_is_never_sent_twice(behaviours in proptest::collection::vec(behaviour(), 1..6)) {
            let mut world =
                World { now: START, behaviours: behaviours.into_iter(), commits: Vec::new(), lost_probes: 0, probes: 0 };
            let mut previous = None;
            for _ in 0..5 {
                match world.call(OnUnknown::Report, previous) {
                    Outcome::Unknown(_, interval) => previous = Some(interval),
                    Outcome::Answered(response, _) if response.status.is_success() => break,
                    Outcome::Answered(..) | Outcome::Failed(_) => {}
                    Outcome::Reconciled(_) => prop_assert!(false, "there is nothing to find"),
                }
            }
            prop_assert!(world.commits.len() <= 1);
            prop_assert_eq!(world.probes, 0);
        }
    }

    #[test]
    fn a_probe_is_the_last_thing_before_the_deadline() {
        let hangs = Behaviour { reply: Reply::Dropped, latency: 0, commit: Some(25_000), listing: 0 };
        let behaviours = vec![hangs].into_iter();
        let mut world = World { now: START, behaviours, commits: Vec::new(), lost_probes: 0, probes: 0 };
        assert!(matches!(world.call(OnUnknown::Reconcile, None), Outcome::Reconciled(_)));
        assert!(world.probes <= 10, "{}", world.probes);
    }

    #[test]
    fn retry_after_of_8x8_is_honoured() {
        let mut attempt = Attempt::new(OnUnknown::Reconcile, None, START, START + TIMEOUT);
        assert!(matches!(attempt.next(START), Step::Send));
        attempt.sent(START, START, Err(SendError::NoResponse("x")));
        let ten = Duration::from_secs(10);
        attempt.probed(START, START, Probe::Unclear { retry_after: Some(ten) });
        assert!(matches!(attempt.next(START), Step::Wait(time) if time == ten));
    }
}
