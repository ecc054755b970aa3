//! Asking 8x8 until there is an answer: again where that is harmless, after a look at 8x8 where it is not, and never
//! where neither helps.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use shared::clock::UnixTime;
use shared::contact_center::client::{Answer, ContactCenter, ContactCenterError, Outgoing};
use shared::http::retry_after;
use shared::telemetry;
use tokio::time::{Instant, sleep, timeout};

use crate::answer::Refusal;
use crate::memory::{Memory, Window};
use crate::operation::{Call, InDoubt};
use crate::read_back::{Evidence, Found, look};

/// No attempt begins later than this after the first: it may take six seconds, and looking what became of it six more,
/// and API Gateway gives up after thirty.
const LAST_BEGINNING: Duration = Duration::from_secs(15);

/// Attempts; more only help against an outage, and the caller has time for that.
const ATTEMPTS: u32 = 3;

/// Before another attempt where 8x8 does not say how long to wait.
const PAUSE: Duration = Duration::from_millis(200);

/// When to look for what an attempt has left, each so long after the one before: what 8x8 has accepted it may show a moment
/// later. Nothing found at the last of them is taken as nothing done.
const LOOKS: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(350), Duration::from_millis(1000)];

/// For all looks after an attempt together.
const LOOKING: Duration = Duration::from_secs(6);

/// An answer of 8x8.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) answer: Answer,
    /// When the attempt began that was answered.
    pub(crate) at: UnixTime,
}

/// An attempt of which we do not know whether 8x8 carried it out.
struct Doubt {
    window: Window,
    reason: String,
    /// 8x8's own answer, if it was one: an error that does not say that nothing has been done.
    answer: Option<Answer>,
}

/// Sends `outgoing` until it is answered. `former`: when an attempt before this invocation may have been carried out.
///
/// # Errors
/// No answer, or none that can be passed on; in particular [`Refusal::Unknown`] if it cannot be settled whether 8x8
/// carried it out.
pub(crate) async fn carry_out(
    contact_center: &ContactCenter,
    memory: &Memory,
    call: &Call<'_>,
    outgoing: &Outgoing,
    evidence: &Evidence,
    former: Option<Window>,
) -> Result<Sent, Refusal> {
    let name = call.operation.name();
    let begun = Instant::now();
    let mut doubt = former.map(|window| Doubt { window, reason: "a former request".to_owned(), answer: None });
    let mut attempts = 0;
    loop {
        if let Some(doubt) = doubt.take() {
            telemetry::outcome_in_doubt();
            if let Some(answer) = settle(contact_center, memory, call, evidence, &doubt).await? {
                return Ok(Sent { answer, at: doubt.window.from });
            }
            if attempts == ATTEMPTS || begun.elapsed() > LAST_BEGINNING {
                let at = doubt.window.from;
                return ending(call, doubt).map(|answer| Sent { answer, at });
            }
        }
        attempts += 1;
        let is_last = |pause: Duration| attempts == ATTEMPTS || begun.elapsed() + pause > LAST_BEGINNING;
        let window = Window { from: UnixTime::now(), until: None };
        match contact_center.exchange(name, outgoing).await {
            Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                let pause = retry_after(&answer.headers, UnixTime::now()).unwrap_or(PAUSE);
                if is_last(pause) {
                    return Ok(Sent { answer, at: window.from });
                }
                sleep(pause).await;
            }
            Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => {
                return Err(Refusal::Credentials(answer.problem()));
            }
            Ok(answer) if answer.status.is_redirection() || answer.status.is_informational() => {
                return Err(Refusal::Unusable("it is a redirection"));
            }
            Ok(answer) if answer.status.is_server_error() => {
                // Not in 8x8's words, which may quote what was sent: this goes into the log too.
                let reason = format!("it answered with status {}", answer.status.as_u16());
                doubt = Some(Doubt { window, reason, answer: Some(answer) });
            }
            Ok(answer) => return Ok(Sent { answer, at: window.from }),
            Err(ContactCenterError::NoAnswer { sent: false, .. }) if !is_last(PAUSE) => sleep(PAUSE).await,
            Err(ContactCenterError::NoAnswer { sent: true, reason, .. }) => {
                doubt = Some(Doubt { window, reason: reason.to_owned(), answer: None });
            }
            // It was carried out; what it left may tell what the answer would have been.
            Err(ContactCenterError::Unusable { reason, .. }) if call.operation.in_doubt() == InDoubt::ReadBack => {
                doubt = Some(Doubt { window, reason: reason.to_owned(), answer: None });
            }
            Err(error) => return Err(Refusal::of(error)),
        }
    }
}

/// `Some`: it was carried out, and this is the answer. `None`: it was not, or may be sent again.
async fn settle(
    contact_center: &ContactCenter,
    memory: &Memory,
    call: &Call<'_>,
    evidence: &Evidence,
    doubt: &Doubt,
) -> Result<Option<Answer>, Refusal> {
    let unknown = || {
        telemetry::outcome_unknown();
        Refusal::Unknown(doubt.reason.clone())
    };
    match (call.operation.in_doubt(), evidence) {
        (InDoubt::SendAgain, _) => {
            sleep(PAUSE).await;
            return Ok(None);
        }
        (InDoubt::GiveUp, _) | (InDoubt::ReadBack, Evidence::None) => return Err(unknown()),
        (InDoubt::ReadBack, Evidence::Line(_) | Evidence::Creation(_)) => {}
    }
    let begun = Instant::now();
    let mut looks = LOOKS.into_iter();
    let mut pause = looks.next();
    while let Some(wait) = pause {
        sleep(wait).await;
        let left = LOOKING.saturating_sub(begun.elapsed());
        let looked = timeout(left, look(contact_center, memory, call, evidence, doubt.window)).await;
        match looked.ok().flatten() {
            Some(Some(found)) => {
                tracing::info!(
                    operation = call.operation.name(),
                    reason = doubt.reason,
                    "8x8 has done it all the same"
                );
                return Ok(Some(answer_of(found, doubt.window.from)));
            }
            Some(None) => pause = looks.next(),
            None if begun.elapsed() >= LOOKING => return Err(unknown()),
            None => pause = Some(PAUSE),
        }
    }
    tracing::info!(operation = call.operation.name(), reason = doubt.reason, "8x8 has not done it");
    Ok(None)
}

/// After the last attempt, of which nothing was found.
fn ending(call: &Call<'_>, doubt: Doubt) -> Result<Answer, Refusal> {
    match (doubt.answer, call.operation.in_doubt()) {
        (Some(answer), _) => Ok(answer),
        (None, InDoubt::SendAgain) => Err(Refusal::NoAnswer(doubt.reason)),
        (None, InDoubt::ReadBack | InDoubt::GiveUp) => {
            telemetry::outcome_unknown();
            Err(Refusal::Unknown(doubt.reason))
        }
    }
}

/// What 8x8 would have answered: 202, and for a conversation its id. When it was created 8x8 does not show; it was within
/// the seconds after `from`.
fn answer_of(found: Found, from: UnixTime) -> Answer {
    let (headers, body) = match found {
        Found::Line => (HeaderMap::new(), Bytes::new()),
        Found::Conversation(id) => {
            let body = json!({ "conversationId": id, "createdAt": from.to_iso8601() });
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/hal+json"))]);
            (headers, body.to_string().into())
        }
    };
    Answer { status: StatusCode::ACCEPTED, headers, body }
}
