//! What 8x8 is asked about conversations that are due, and their end by 8x8's own call, so that 8x8's own events inform bot and
//! agent.
//!
//! An end takes effect once, also when the process is killed at any point:
//! 1. 8x8 is asked whether the conversation has ended: whatever became of an earlier attempt is seen here.
//! 2. The item is claimed, with the reason, at the revision that was read: of two runs one goes on, and no run does if an event
//!    has arrived meanwhile, such as that an agent has joined.
//! 3. 8x8 is asked to remove the customer.
//! 4. The item gets the end, for a dialect that does not report it.
//!
//! After a claim no other run touches the conversation until its lease is over; then it begins at 1 again.

use futures_util::StreamExt;
use futures_util::stream;
use shared::clock::UnixTime;
use shared::contact_center::client::ContactCenterError;
use shared::handover::fact::{Fact, Kind};
use shared::handover::state::EndReason;
use shared::handover::table::{Closing, HandoverTableError, Notes, Record};
use std::time::Duration;

use crate::due::{CHECK_END_AFTER, Due};
use crate::{WatchHandovers, Watched};

/// So many conversations are worked on at the same time: few enough for 8x8, which documents no limit.
const CONCURRENCY: usize = 8;

/// What a conversation may take: two calls of 15 s to 8x8, and the table. None is begun with less time left.
const WORK: Duration = Duration::from_secs(40);

/// When a conversation is tried again that 8x8 did not let us end.
const RETRY: Duration = Duration::from_secs(10 * 60);

/// Tries of a note that meets an event of the same moment.
const TRIES: usize = 3;

/// Why a conversation was not dealt with.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    ContactCenter(#[from] ContactCenterError),
    #[error("{0}")]
    Table(#[from] HandoverTableError),
}

/// Deals with those that are due, those that have waited longest first, and gives how many were ended at 8x8.
pub(crate) async fn run(function: &WatchHandovers, watched: Vec<Watched>, now: UnixTime, deadline: UnixTime) -> usize {
    let due = |watched: Watched| {
        let due = function.limits.due(&watched.handover, &watched.record.notes, now)?;
        Some((due, watched))
    };
    let mut due: Vec<_> = watched.into_iter().filter_map(due).collect();
    due.sort_by_key(|(_, watched)| watched.handover.waiting_since.or(watched.handover.agent_since));
    let work = due.into_iter().map(async |(due, watched)| {
        if UnixTime::now() + WORK > deadline {
            return false;
        }
        let conversation_id = watched.record.conversation_id.clone();
        match function.deal_with(due, watched, now).await {
            Ok(is_closed) => is_closed,
            Err(error) => {
                tracing::error!(%error, conversation_id, "the conversation is checked again in a later run");
                false
            }
        }
    });
    let closed: Vec<bool> = stream::iter(work).buffer_unordered(CONCURRENCY).collect().await;
    closed.into_iter().filter(|is_closed| *is_closed).count()
}

impl WatchHandovers {
    /// Whether the conversation was ended at 8x8.
    async fn deal_with(&self, due: Due, watched: Watched, now: UnixTime) -> Result<bool, Error> {
        let Watched { mut record, handover } = watched;
        match due {
            Due::Close(reason) => self.close(record, reason, now).await,
            Due::CheckEnd => {
                if !self.contact_center.has_ended(&record.conversation_id).await? {
                    record.notes.closing = None;
                    record.notes.look_at = Some(self.limits.next_look(&handover, now));
                    self.table.note(&record, None, false).await?;
                } else {
                    self.end(record, now).await?;
                }
                Ok(false)
            }
            Due::CheckReply(since) => match self.reply_due(&record, since, now).await? {
                Some(look_at) => {
                    record.notes = Notes { closing: None, look_at: Some(look_at), ..record.notes };
                    self.table.note(&record, None, false).await?;
                    Ok(false)
                }
                None => self.close(record, EndReason::Idle, now).await,
            },
            Due::Forget => {
                record.notes.closing = None;
                self.table.note(&record, None, false).await?;
                Ok(false)
            }
        }
    }

    /// Until when the customer has time to reply; `None` if that is over. It begins with the agent's last message, as the time
    /// of 8x8's own `userTimeoutInMinutes` begins with the bot's. A customer who has spoken last waits for the agent.
    async fn reply_due(&self, record: &Record, since: UnixTime, now: UnixTime) -> Result<Option<UnixTime>, Error> {
        let limit = self.limits.customer_idle.unwrap_or(CHECK_END_AFTER);
        let last = self.contact_center.last_message(&record.conversation_id).await?;
        let due = match last {
            Some(last) if last.is_customers => now + limit,
            Some(last) => last.at.max(since) + limit,
            None => since + limit,
        };
        Ok((due > now).then_some(due))
    }

    async fn close(&self, mut record: Record, reason: EndReason, now: UnixTime) -> Result<bool, Error> {
        let id = record.conversation_id.clone();
        if self.contact_center.has_ended(&id).await? {
            self.end(record, now).await?;
            return Ok(false);
        }
        record.notes.closing = Some(Closing { reason, at: now });
        if !self.table.note(&record, None, false).await? {
            return Ok(false);
        }
        if let Err(error) = self.contact_center.remove_customer(&id).await {
            // What may have been carried out stays claimed, and is checked when the lease is over.
            if !error.is_ambiguous() {
                self.amend(&id, None, |notes| (notes.closing, notes.look_at) = (None, Some(now + RETRY))).await?;
            }
            return Err(error.into());
        }
        tracing::info!(conversation_id = id, reason = reason.name(), "the conversation was ended at 8x8");
        self.amend(&id, Some(Fact::new(now, Kind::Ended, "")), |_| {}).await?;
        Ok(true)
    }

    /// Records the end of a conversation that 8x8 has ended.
    async fn end(&self, record: Record, now: UnixTime) -> Result<(), Error> {
        self.table.note(&record, Some(Fact::new(now, Kind::Ended, "")), false).await?;
        Ok(())
    }

    /// Changes the notes of an item as it is now. If events keep arriving, they say what the note would have.
    async fn amend(&self, id: &str, fact: Option<Fact>, change: impl Fn(&mut Notes)) -> Result<(), Error> {
        for _ in 0..TRIES {
            let Some(mut record) = self.table.get(id).await? else { return Ok(()) };
            change(&mut record.notes);
            if self.table.note(&record, fact.clone(), false).await? {
                break;
            }
        }
        Ok(())
    }
}
