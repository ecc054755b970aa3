//! The events: the last one, those that are refused, those that wait, those that are dead.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{TENANT, in_words};
use crate::evidence::Evidence;
use crate::evidence::events::{Depth, Waiting};
use crate::report::Finding;

/// As the alarm WaitingEvents: within it, a bot platform that restarts is back.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What to do, by the reason of a rejection. What is not listed here is another check's, or goes away by itself.
const REFUSALS: [(&str, &str); 8] = [
    ("no-credentials", HEADERS),
    ("unknown-caller", HEADERS),
    ("stale", "let the load balancer forward events at once, and see the check clocks"),
    ("unknown-key", SIGNATURE),
    ("malformed-signature", SIGNATURE),
    ("forged", SIGNATURE),
    ("key-unavailable", "see receive-message's log: 8x8's keys cannot be fetched from GET {Endpoint}jwk/{kid}/public"),
    ("queue-unavailable", "see the check event-queue, and receive-message's log"),
];

const HEADERS: &str = "let the load balancer add both headers, x-app-token and Authorization, with what the secret of the \
                       stack output CallerSecretArn holds (docs/guides/load-balancer.md)";

const SIGNATURE: &str = "let nothing between 8x8 and us change headers or bodies; docs/signature/README.md explains why an \
                         event does not verify. If the sender is not 8x8, there is nothing to do";

/// What is to be said of a log that cannot be read.
pub(super) fn unreadable(error: &impl ToString) -> Finding {
    Finding::unknown(
        error.to_string(),
        "let check-integration's role use logs:FilterLogEvents on that log group; in a VPC, give it a way to CloudWatch Logs",
    )
}

pub(super) fn last(evidence: &Evidence<'_>) -> Finding {
    match &evidence.events.received {
        Err(error) => unreadable(error),
        Ok(received) => Finding::ok(match &received.last {
            Some(time) => format!("accepted {} ago", in_words(evidence.now.since(*time))),
            None => "none within the last day".to_owned(),
        }),
    }
}

pub(super) fn refused(evidence: &Evidence<'_>) -> Finding {
    let received = match &evidence.events.received {
        Ok(received) => received,
        Err(error) => return unreadable(error),
    };
    // Anyone on the internet can send a request without a signature. Behind a load balancer it is the load balancer's.
    let is_noise = |reason: &str| reason == "no-credentials" && !evidence.config.has_load_balancer;
    let is_listed = |reason: &str| REFUSALS.iter().any(|(listed, _)| *listed == reason);
    let mut reasons = BTreeMap::<&str, usize>::new();
    for (reason, _) in &received.refused {
        if is_listed(reason) && !is_noise(reason) {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let Some((reason, _)) = reasons.iter().max_by_key(|(_, count)| **count) else {
        let is_foreign = received.refused.iter().any(|(_, tenant)| tenant.is_some());
        return if is_foreign { Finding::after(TENANT) } else { Finding::ok("none since the last event") };
    };
    let action = REFUSALS.iter().find(|(listed, _)| listed == reason).map_or("", |(_, action)| action);
    let counted: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} × {reason}")).collect();
    Finding::failed(format!("refused since the last accepted event: {}", counted.join(", ")), action)
}

pub(super) fn queue(evidence: &Evidence<'_>) -> Finding {
    let depth = match existing(&evidence.events.queue, evidence.config.queue_url.as_str()) {
        Ok(depth) => depth,
        Err(finding) => return finding,
    };
    if evidence.events.is_left_alone {
        return Finding::failed(
            format!("{depth} events wait, and deliver-message receives none"),
            "see the alarms FunctionErrors and FunctionThrottles and deliver-message's log; its trigger by the event queue \
             must be enabled",
        );
    }
    let waiting = match &evidence.events.waiting {
        Ok(waiting) => waiting,
        Err(error) => return unreadable(error),
    };
    match waiting.iter().max_by_key(|waiting| waiting.age) {
        Some(Waiting { age, reason }) if *age > PATIENCE => Finding::failed(
            format!("{depth} wait, the oldest for {}: {reason}", in_words(*age)),
            "bring the bot platform back: what waits is delivered within 90 s of that, in order",
        ),
        Some(Waiting { age, .. }) => Finding::ok(format!("{depth} wait, the oldest for {}", in_words(*age))),
        None if depth == 0 => Finding::ok("nothing waits"),
        None => Finding::ok(format!("{depth} in delivery")),
    }
}

pub(super) fn dead_letters(evidence: &Evidence<'_>) -> Finding {
    let depth = match existing(&evidence.events.dead_letters, evidence.config.dead_letter_queue_url.as_str()) {
        Ok(0) => return Finding::ok("none"),
        Ok(depth) => depth,
        Err(finding) => return finding,
    };
    let reasons = match &evidence.events.reasons {
        Err(error) => format!("the reasons are not known: {error}"),
        Ok(reasons) if reasons.is_empty() => "moved there more than a day ago".to_owned(),
        Ok(reasons) => {
            let counted = reasons.iter().map(|(reason, count)| format!("{count} × {reason}"));
            format!("moved there within a day: {}", counted.collect::<Vec<_>>().join(", "))
        }
    };
    Finding::failed(
        format!("{depth} dead letters; {reasons}"),
        "make dead-letters STACK=… lists them; correct the reason at the bot platform, then redrive or discard them",
    )
}

/// How many messages the queue holds, or the finding for a queue whose depth is not known.
fn existing(depth: &Depth, url: &str) -> Result<u64, Finding> {
    match depth {
        Ok(Some(depth)) => Ok(depth.total()),
        Ok(None) => Err(Finding::failed(
            format!("the queue {url} does not exist"),
            format!("create the FIFO queue {url} again, as template.yaml describes it"),
        )),
        Err(error) => Err(Finding::unknown(
            error.clone(),
            "let check-integration's role use sqs:GetQueueAttributes on that queue; in a VPC, give it a way to SQS",
        )),
    }
}
