//! The events: what waits, what is dead, what came last. Queues say how many there are, and the functions' logs the rest: no
//! message is received, since that would hide it from deliver-message and count as a try.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::clock::UnixTime;
use shared::queue::QueueDepth;
use shared::trace;
use shared::url::VerbatimUrl;

use super::Deadline;
use super::logs::{Line, LogError, search};
use crate::CheckIntegration;

/// AWS responds in milliseconds, and gives up after 7 s.
const QUEUE_LIMIT: Duration = Duration::from_secs(7);

/// A day of the log of a busy set has some pages.
const LOG_LIMIT: Duration = Duration::from_secs(10);

/// How far back the last event is looked for: from a little to as much as can be read in time. A log is read from its older
/// end, so that the last line of a busy one is found sooner in a short piece of it.
const WINDOWS: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(3600), DAY];

const DAY: Duration = Duration::from_secs(24 * 3600);

/// deliver-message tries a waiting event again after 75 s at most, and a try lasts up to 20 s.
const RETRY_WINDOW: Duration = Duration::from_secs(120);

/// How much later than announced a try may be over: a delivery of 20 s, a start, and the delay of the log.
const RETRY_LEEWAY: Duration = Duration::from_secs(45);

/// A message that can be received is received within a second. So long it is left to a consumer.
const CONSUMER_PATIENCE: Duration = Duration::from_secs(3);

/// Lines of receive-message: about an event that it stored, and about one that it did not accept.
const RECEIVED: [(&str, &str); 3] = [
    ("step", trace::QUEUED),
    ("message", "the callback was rejected"),
    ("message", "the callback cannot be accepted now, 8x8 has to send it again"),
];

/// What deliver-message logs of an event that has to wait.
const WAITING: (&str, &str) = ("message", "not delivered, to be tried again");

/// What deliver-message logs of one that the bot platform will never accept.
const DEAD: (&str, &str) = ("message", "moved to the dead-letter queue");

/// How many messages a queue holds; `None` if there is no such queue.
pub(crate) type Depth = Result<Option<QueueDepth>, String>;

#[derive(Debug)]
pub(crate) struct EventEvidence {
    pub(crate) queue: Depth,
    /// Whether messages can be received and are not.
    pub(crate) is_left_alone: bool,
    /// The events that wait for the bot platform, as far as the log says so.
    pub(crate) waiting: Result<Vec<Waiting>, LogError>,
    pub(crate) dead_letters: Depth,
    /// Why events were moved there within a day, and how many.
    pub(crate) reasons: Result<BTreeMap<String, usize>, LogError>,
    pub(crate) received: Result<Received, LogError>,
}

/// An event that the bot platform has not accepted yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) age: Duration,
    pub(crate) reason: String,
}

/// What 8x8 has sent within a day.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// When the last event was accepted.
    pub(crate) last: Option<UnixTime>,
    /// The tenant of the accepted events: the last one that a line names. A process of receive-message that accepts only one
    /// tenant names it once.
    accepted_tenant: Option<String>,
    /// Those that were refused after it: why, and their tenant where it is another one.
    pub(crate) refused: Vec<(String, Option<String>)>,
}

impl EventEvidence {
    pub(super) async fn gather(function: &CheckIntegration, now: UnixTime, deadline: Deadline) -> Self {
        let (deliver_log, receive_log) =
            (&function.config.deliver_message_log_group, &function.config.receive_message_log_group);
        let logged = async |group: &str, values: &[(&str, &str)], from| {
            let lines = search(&function.client, &function.sdk, group, values, from);
            let no_response = || Err(LogError::new(group, "no response in time"));
            deadline.within(LOG_LIMIT, lines).await.unwrap_or_else(no_response)
        };
        let queue = async {
            let (queue, is_left_alone) = event_queue(function, deadline).await;
            let waiting = match &queue {
                Ok(Some(depth)) if depth.total() > 0 => {
                    logged(deliver_log, &[WAITING], now - RETRY_WINDOW).await.map(|lines| waiting(lines, now))
                }
                Ok(_) | Err(_) => Ok(Vec::new()),
            };
            (queue, is_left_alone, waiting)
        };
        let dead_letters = async {
            let dead_letters = depth(function, &function.config.dead_letter_queue_url, deadline).await;
            let reasons = match &dead_letters {
                Ok(Some(depth)) if depth.total() > 0 => logged(deliver_log, &[DEAD], now - DAY).await.map(counted),
                Ok(_) | Err(_) => Ok(BTreeMap::new()),
            };
            (dead_letters, reasons)
        };
        let received = async {
            let mut received = Received::default();
            for window in WINDOWS {
                match logged(receive_log, &RECEIVED, now - window).await.map(Received::of) {
                    Ok(found) => received = found,
                    // The last event is known; only its tenant may stand in an older line.
                    Err(_) if received.last.is_some() => break,
                    Err(error) => return Err(error),
                }
                if received.last.is_some() && received.tenant().is_some() {
                    break;
                }
            }
            Ok(received)
        };
        let ((queue, is_left_alone, waiting), (dead_letters, reasons), received) =
            tokio::join!(queue, dead_letters, received);
        Self { queue, is_left_alone, waiting, dead_letters, reasons, received }
    }
}

/// The depth of the event queue, and whether its messages are left alone.
async fn event_queue(function: &CheckIntegration, deadline: Deadline) -> (Depth, bool) {
    let ask = async || depth(function, &function.config.queue_url, deadline).await;
    let is_idle = |depth: &Depth| matches!(depth, Ok(Some(depth)) if depth.visible > 0 && depth.in_flight == 0);
    let first = ask().await;
    if !is_idle(&first) {
        return (first, false);
    }
    tokio::time::sleep(CONSUMER_PATIENCE).await;
    let second = ask().await;
    let is_left_alone = is_idle(&second);
    (second, is_left_alone)
}

async fn depth(function: &CheckIntegration, url: &VerbatimUrl, deadline: Deadline) -> Depth {
    match deadline.within(QUEUE_LIMIT, QueueDepth::read(&function.sdk, url)).await {
        Some(depth) => depth.map_err(|error| error.to_string()),
        None => Err("SQS gave no response in time".to_owned()),
    }
}

/// The events whose latest line says that they are to be tried again, and whose next try cannot be over yet.
fn waiting(lines: Vec<(UnixTime, Line)>, now: UnixTime) -> Vec<Waiting> {
    let latest: BTreeMap<Option<String>, (UnixTime, Line)> =
        lines.into_iter().map(|(time, line)| (line.event_id.clone(), (time, line))).collect();
    let still = latest.into_values().filter(|(time, line)| {
        let wait = Duration::from_secs(line.wait_s.unwrap_or(0));
        *time + wait + RETRY_LEEWAY >= now
    });
    still
        .map(|(time, line)| Waiting {
            age: Duration::from_secs(line.age_s.unwrap_or(0)) + now.since(time),
            reason: line.reason.unwrap_or_default(),
        })
        .collect()
}

fn counted(lines: Vec<(UnixTime, Line)>) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for (_, line) in lines {
        *reasons.entry(line.reason.unwrap_or_default()).or_default() += 1;
    }
    reasons
}

impl Received {
    fn of(lines: Vec<(UnixTime, Line)>) -> Self {
        let mut received = Self::default();
        for (time, line) in lines {
            if line.step.as_deref() == Some(trace::QUEUED) {
                let accepted_tenant = line.tenant_id.or(received.accepted_tenant);
                received = Self { last: Some(time), accepted_tenant, refused: Vec::new() };
            } else {
                received.refused.push((line.reason.unwrap_or_default(), line.tenant_id));
            }
        }
        received
    }

    /// The tenant that 8x8's events are of: that of the last one, or of one that was refused for it.
    pub(crate) fn tenant(&self) -> Option<&str> {
        let foreign = self.refused.iter().rev().find_map(|(_, tenant)| tenant.as_deref());
        foreign.or(self.accepted_tenant.as_deref())
    }
}
