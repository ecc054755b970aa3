//! The figures: who waits now, and what has happened since the last run.
//!
//! What has happened is counted **at most once**: first the item says that it is counted, then the metric is written. A process
//! that is killed in between loses up to [`BATCH`] of them; a figure that is too high never occurs.

use std::time::Duration;

use futures_util::future::join_all;
use shared::clock::UnixTime;
use shared::handover::state::State;
use shared::handover::table::HandoverTable;
use shared::telemetry;

use crate::Watched;

/// So many are counted at a time: a metric has at most a hundred values in a line
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>), and as
/// many writes to the table run side by side.
const BATCH: usize = 50;

/// Writes how many customers wait and how long the first of them has waited. A customer who has left is not counted.
pub(crate) fn waiting(watched: &[Watched], now: UnixTime) -> (usize, Duration) {
    let waiting = watched
        .iter()
        .filter(|watched| watched.handover.state.is_waiting() && watched.handover.times.customer_left.is_none());
    let waits: Vec<_> = waiting
        .map(|watched| watched.handover.waiting_since.map_or(Duration::ZERO, |since| now.since(since)))
        .collect();
    let oldest = waits.iter().max().copied().unwrap_or_default();
    telemetry::handovers_waiting(waits.len(), oldest);
    telemetry::flush();
    (waits.len(), oldest)
}

/// Counts what is not counted yet, and gives those that have not ended.
pub(crate) async fn count(table: &HandoverTable, watched: Vec<Watched>) -> Vec<Watched> {
    let mut open = Vec::new();
    let mut watched = watched.into_iter().peekable();
    while watched.peek().is_some() {
        let batch: Vec<_> = watched.by_ref().take(BATCH).map(|watched| count_one(table, watched)).collect();
        open.extend(join_all(batch).await.into_iter().flatten());
        telemetry::flush();
    }
    open
}

/// Gives the hand-over back if it has not ended, and the item has not changed since it was read.
async fn count_one(table: &HandoverTable, mut watched: Watched) -> Option<Watched> {
    let Watched { record, handover } = &mut watched;
    let has_ended = handover.state == State::Ended;
    let before = record.notes;
    let notes = &mut record.notes;
    notes.is_joining_counted |= handover.times.joined.is_some();
    notes.is_leaving_counted |= handover.left_waiting;
    notes.is_end_counted |= has_ended;
    if *notes == before && !has_ended {
        return Some(watched);
    }
    match table.note(record, None, has_ended).await {
        Ok(true) => {}
        // An event has just arrived, or another run was faster: the next run sees it.
        Ok(false) => return None,
        Err(error) => {
            tracing::error!(%error, conversation_id = record.conversation_id, "a hand-over is not counted in this run");
            return None;
        }
    }
    if record.notes.is_joining_counted
        && !before.is_joining_counted
        && let Some(waited) = handover.time_to_agent()
    {
        telemetry::agent_joined(waited);
    }
    if record.notes.is_leaving_counted && !before.is_leaving_counted {
        telemetry::customer_left_waiting();
    }
    if let Some(reason) = handover.end_reason.filter(|_| !before.is_end_counted) {
        telemetry::handover_ended(reason.name());
    }
    // It has another revision now. What is due is due in the next run as well.
    None
}
