//! The state of the hand-over that an event belongs to: recorded beside the delivery, which does not depend on it.

use std::time::Duration;

use shared::clock::UnixTime;
use shared::handover::fact::facts_of;
use shared::handover::table::HandoverTable;
use shared::queue::QueuedEvent;
use shared::telemetry;
use tokio::time::timeout;

/// Two of the SDK's attempts of 2 s. DynamoDB responds in some milliseconds, and after a cold start with a TLS handshake in some
/// hundred. While the table does not respond, an event whose delivery is done keeps the next one of its conversation waiting for
/// no longer than this.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Records a life-cycle event; of any other nothing is written. Once the table is back, the next event of the conversation says
/// where its hand-over is.
pub(crate) async fn record(handovers: &HandoverTable, event: &QueuedEvent) {
    let Some((conversation, facts)) = facts_of(&event.body, event.transmitted_at()) else { return };
    let reason = match timeout(TIMEOUT, handovers.record(&conversation, &facts, UnixTime::now())).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the table does not respond".to_owned(),
    };
    telemetry::handover_not_recorded();
    tracing::warn!(event_id = event.id(), reason, "the state of the hand-over is not recorded; the event is delivered");
}
