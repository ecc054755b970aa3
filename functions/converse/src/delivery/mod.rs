//! A request to 8x8, sent so that it takes effect once, although 8x8 has no idempotency keys.
//!
//! ```text
//!              ┌─ 408, 425, 429, or it never left us: a pause ─┐
//!              ▼                                             │
//! new ──────▶ send ──────────────────────────────────────────┤
//!              ▲                                             ├── 2xx ───────────────────▶ answered
//!              │                                             ├── 4xx, 501, redirect ────▶ rejected
//!              │                                             └── no response, other 5xx
//!              │                                                     │
//!              │ not listed 30 s after the attempt ended             ▼
//!              └────────────────────────────────────────────────  unknown ◀────── an earlier request under the same
//!                                                                    │            Idempotency-Key had no outcome
//!                                       probe: 8x8 lists it ─────────┼──────────▶ reconciled (as answered)
//!                                       deadline ────────────────────┴──────────▶ 504 `unknown` with Retry-After
//! ```
//!
//! A missing entry proves nothing as long as it can still appear: 8x8 may carry out a request after its
//! connection was lost, or after it has responded with 500 or 504. Operations whose repetition is harmless are sent again
//! instead of being looked for; those that 8x8 does not list are reported as unknown (see [`crate::routes::OnUnknown`]).
//!
//! | file | has |
//! |---|---|
//! | [`attempt`] | the state machine of the diagram |
//! | [`reconcile`] | probing: what 8x8 lists |
//! | [`matching`] | whether one of the listed messages is the one that is looked for |
//! | [`fingerprint`] | what a message or a conversation is recognised by |
//! | [`sent_log`] | which messages are known to have been sent |

mod attempt;
mod fingerprint;
mod matching;
mod reconcile;
mod sent_log;

use http::StatusCode;
use shared::clock::UnixTime;
use shared::contact_center::client::Response;
use shared::telemetry;
use tokio::time::sleep;

pub(crate) use attempt::Interval;
use attempt::{Attempt, Outcome, Step};
pub(crate) use fingerprint::{Fingerprint, MessageFingerprint};
use reconcile::Reconciler;
pub(crate) use sent_log::{Entry, SentLog};

use crate::error::Error;
use crate::routes::OnUnknown;
use crate::table::Table;
use crate::upstream::{Request, Upstream};

/// Sends requests until a deadline.
#[derive(Debug)]
pub(crate) struct Delivery<'d> {
    pub(crate) upstream: &'d Upstream,
    pub(crate) table: &'d Table,
    /// When a response has to be there, in time for the caller to get it.
    pub(crate) deadline: UnixTime,
}

/// A request whose outcome is known.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// 8x8's response, or what it would have been.
    pub(crate) response: Response,
    /// Whether a repeat gets the same response: not where 8x8 asks for a repeat or has failed.
    pub(crate) is_final: bool,
    /// If it is a message: what changes in the log of its conversation.
    pub(crate) log_change: LogChange,
}

/// What changes in the log of a conversation when the outcome of a message is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LogChange {
    /// 8x8 accepted it in that time.
    Accepted(Interval),
    /// 8x8 rejected it.
    Removed,
    /// It was found, and is in the log.
    None,
}

/// A request without a response.
#[derive(Debug)]
pub(crate) struct NotDelivered {
    pub(crate) error: Error,
    /// When an attempt was made whose outcome is unknown.
    pub(crate) unknown: Option<Interval>,
}

impl Delivery<'_> {
    /// Sends `request` until its outcome is known. `owner` names it at 8x8 and in the log; `previous`: when an attempt was made
    /// in an earlier call whose outcome is unknown.
    ///
    /// # Errors
    /// There is no response, or none that can be passed on; [`NotDelivered::unknown`] if 8x8 may have carried it out.
    pub(crate) async fn deliver(
        &self,
        request: &Request<'_>,
        fingerprint: &Fingerprint,
        owner: &str,
        previous: Option<Interval>,
    ) -> Result<Delivered, NotDelivered> {
        let on_unknown = match (request.call.route.on_unknown, fingerprint) {
            (OnUnknown::Reconcile, Fingerprint::None) => OnUnknown::Report,
            (on_unknown, _) => on_unknown,
        };
        let log = SentLog::new(self.table);
        let reconciler = Reconciler { upstream: self.upstream, log, fingerprint, owner };
        let mut is_logged = previous.is_none();
        let mut attempt = Attempt::new(on_unknown, previous, UnixTime::now(), self.deadline);
        let mut is_counted = false;
        loop {
            match attempt.next(UnixTime::now()) {
                Step::Wait(time) => sleep(time).await,
                Step::Send => {
                    // The log has it from the first attempt, or no more.
                    if !std::mem::replace(&mut is_logged, true)
                        && let Some(entry) = fingerprint.entry(owner)
                    {
                        let sending = async { log.apply(log.sending(&entry, UnixTime::now())?).await };
                        sending.await.map_err(|error| NotDelivered { error: error.into(), unknown: previous })?;
                    }
                    let began = UnixTime::now();
                    let result = self.upstream.send(request, self.deadline).await;
                    attempt.sent(began, UnixTime::now(), result);
                }
                Step::Probe(interval) => {
                    if !std::mem::replace(&mut is_counted, true) {
                        telemetry::outcome_to_reconcile();
                    }
                    let began = UnixTime::now();
                    let probe = reconciler.probe(interval, began, self.deadline).await;
                    attempt.probed(began, UnixTime::now(), probe);
                }
                Step::Finish(outcome) => return finish(outcome),
            }
        }
    }
}

fn finish(outcome: Outcome) -> Result<Delivered, NotDelivered> {
    match outcome {
        Outcome::Answered(response, interval) => {
            // 403: an administrator may give the bridge's credentials the right that they lack.
            let may_change = response.status.is_server_error()
                || response.status == StatusCode::FORBIDDEN
                || attempt::asks_again(response.status);
            let log_change =
                if response.status.is_success() { LogChange::Accepted(interval) } else { LogChange::Removed };
            Ok(Delivered { response, is_final: !may_change, log_change })
        }
        Outcome::Reconciled(response) => {
            tracing::info!("8x8 has carried it out although it did not respond");
            Ok(Delivered { response, is_final: true, log_change: LogChange::None })
        }
        Outcome::Failed(error) => Err(NotDelivered { error, unknown: None }),
        Outcome::Unknown(error, interval) => {
            telemetry::outcome_unknown();
            Err(NotDelivered { error, unknown: Some(interval) })
        }
    }
}
