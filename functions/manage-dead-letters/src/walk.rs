//! One run's way through the dead-letter queue. A FIFO queue shows its letters only to a receiver that hides them, so that a
//! run receives every letter, holds those that it does not choose, and releases them at its end.
//!
//! **Two runs at once** never have the same letter: what one has received is hidden from the other, together with all later
//! letters of that conversation. A letter that the other run holds counts as unseen.
//!
//! **What a run does not see** it counts: letters behind the tenth of a conversation, which SQS gives only when the first ten
//! are deleted; letters of another run; letters for which the time was too short. Letters that arrive during the run stay: an
//! event that the bot platform refuses again at once would otherwise be redriven again and again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::future::join_all;
use shared::clock::UnixTime;

use crate::letter::Letter;
use crate::queues::{BATCH_SIZE, QueueError, Queues};

/// What has to be left of the invocation when the last letter is visited: 14 s for its copy and its deletion, if SQS needs its
/// three attempts, and the time to release thousands.
const RESERVE: Duration = Duration::from_secs(30);

/// How long letters stay hidden after a run that was killed: it cannot be at work any more.
const MARGIN: Duration = Duration::from_secs(5);

/// How many letters are released at a time: 10,000 take five seconds at 10 ms a call.
const RELEASES_AT_ONCE: usize = 20;

#[derive(Debug)]
pub(crate) struct Walk<'q> {
    queues: &'q Queues,
    started: UnixTime,
    deadline: UnixTime,
    /// Received and not yet visited.
    batch: VecDeque<Letter>,
    /// Received and not deleted: message id → receipt handle.
    held: BTreeMap<String, String>,
    /// About how many letters there were at the start.
    total: u64,
    visited: u64,
}

impl<'q> Walk<'q> {
    /// Begins a run that ends before `deadline`, at which Lambda ends the function.
    pub(crate) async fn begin(queues: &'q Queues, deadline: UnixTime) -> Result<Self, QueueError> {
        let started = UnixTime::now();
        let total = queues.count().await?;
        Ok(Self { queues, started, deadline, batch: VecDeque::new(), held: BTreeMap::new(), total, visited: 0 })
    }

    /// The next letter, those of a conversation in their order; `None` when there is no more to see, or no more time.
    pub(crate) async fn next(&mut self) -> Result<Option<Letter>, QueueError> {
        loop {
            let now = UnixTime::now();
            if now + RESERVE >= self.deadline {
                return Ok(None);
            }
            match self.batch.pop_front() {
                Some(letter) if letter.stored_at <= self.started => {
                    self.visited += 1;
                    return Ok(Some(letter));
                }
                Some(_) => {}
                None => {
                    let letters = self.queues.receive((self.deadline + MARGIN).since(now)).await?;
                    if letters.is_empty() {
                        return Ok(None);
                    }
                    self.held.extend(letters.iter().map(|letter| (letter.id.clone(), letter.receipt_handle.clone())));
                    let (whole, cut) = split_cut_conversation(letters);
                    let put_back = cut.iter().filter_map(|letter| self.held.remove(&letter.id)).collect();
                    release(self.queues, put_back).await;
                    self.batch = whole.into();
                }
            }
        }
    }

    /// Deletes a letter for good.
    pub(crate) async fn delete(&mut self, letter: &Letter) -> Result<(), QueueError> {
        self.queues.delete(&letter.receipt_handle).await?;
        self.held.remove(&letter.id);
        Ok(())
    }

    /// About how many letters this run has not seen.
    pub(crate) fn unseen(&self) -> u64 {
        self.total.saturating_sub(self.visited)
    }

    /// Shows what is left of the letters to others again.
    pub(crate) async fn release(self) {
        release(self.queues, self.held.into_values().collect()).await;
    }
}

async fn release(queues: &Queues, receipt_handles: Vec<String>) {
    for handles in receipt_handles.chunks(RELEASES_AT_ONCE) {
        let released = join_all(handles.iter().map(|handle| Box::pin(queues.release(handle)))).await;
        if let Some(error) = released.into_iter().find_map(Result::err) {
            // They are shown again by themselves when the time for which they were hidden is over.
            tracing::warn!(%error, "dead letters stay hidden for the rest of this function's time");
        }
    }
}

/// The letters of a batch without its last conversation, and those of that one: a full batch of several conversations may
/// hold only the first letters of the last, whose others SQS does not give while these are hidden. Put back, they come again
/// with the others. A batch always keeps a conversation, so that this ends.
fn split_cut_conversation(letters: Vec<Letter>) -> (Vec<Letter>, Vec<Letter>) {
    let last = letters.last().map(|letter| letter.group.clone()).unwrap_or_default();
    let has_several = letters.iter().any(|letter| letter.group != last);
    if letters.len() < BATCH_SIZE || !has_several {
        return (letters, Vec::new());
    }
    letters.into_iter().partition(|letter| letter.group != last)
}
