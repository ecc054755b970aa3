//! Invoked by an operator: lists the dead letters, sends chosen ones to the bot platform again, or discards them.
//!
//! | request | response |
//! |---|---|
//! | `{"operation":"list"}` | `[{"event_id","conversation_id","event_type","age_s","status","reason"}]`; never a text. `age_s` is the time since 8x8 sent the event. A letter that SQS moved itself has the reason `undelivered`; a message that is not one of ours has null in place of ids, type and status |
//! | `{"operation":"redrive"}` with a choice: `"conversation_id":"…"`, `"event_ids":[…]`, `"status":404`, `"reason":"…"`, of which all must match, or `"all":true` | `{"redriven":[…],"kept":27,"unseen":0}` |
//! | `{"operation":"discard"}` with a choice | `{"discarded":[…],"kept":27,"unseen":0}` |
//!
//! `choice.rs` says how letters are chosen, `walk.rs` which letters a run sees and what two runs at once do. A letter is
//! copied to the event queue before it is deleted: a run that is killed in between leaves it in both, and loses nothing.

mod choice;
mod letter;
mod queues;
mod walk;

use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use shared::aws::{self, Transport};
use shared::clock::UnixTime;
use shared::environment::{ConfigError, Environment};
use shared::queue::{dead_letter_queue_url, event_queue_url};
use shared::url::VerbatimUrl;

use crate::choice::{InvalidRequest, Operation};
use crate::letter::{Letter, Summary};
use crate::queues::{QueueError, Queues};
use crate::walk::Walk;

/// The most bytes of letters in a response: Lambda returns at most 6 MB, and this leaves room for the rest of it.
const MAX_RESPONSE: usize = 5 * 1024 * 1024;

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    queue_url: VerbatimUrl,
    dead_letter_queue_url: VerbatimUrl,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            queue_url: event_queue_url(environment)?,
            dead_letter_queue_url: dead_letter_queue_url(environment)?,
        })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct ManageDeadLetters {
    queues: Queues,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("stopped after {done} letters, all others are still there: {error}; repeat the command")]
    Stopped { done: usize, error: QueueError },
    #[error(
        "stopped after {done} letters: one more was sent to the event queue and is still a dead letter ({error}); repeat the command: the bot drops the repeat by its x-8x8-event-id"
    )]
    CopiedOnly { done: usize, error: QueueError },
}

/// What a run did.
#[derive(Debug, Default)]
struct Outcome {
    /// The letters that were listed, redriven or discarded.
    chosen: Vec<Summary>,
    /// How many were seen and not chosen.
    kept: usize,
    /// About how many were not seen.
    unseen: u64,
}

impl ManageDeadLetters {
    /// Prepares the client.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let sdk = aws::sdk_config(&Transport::new()?).await;
        Ok(Self { queues: Queues::new(&sdk, &config.queue_url, &config.dead_letter_queue_url) })
    }

    /// Carries out an operation and responds with the letters that it chose.
    ///
    /// # Errors
    /// An invalid request, and a queue that does not do its part; the message says how many letters were done before.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let deadline = UnixTime::from_millis(event.context.deadline);
        // On the heap: in place, the futures of six calls of the SDK within one another are too deep for the compiler.
        Box::pin(self.operate(&event.payload, deadline)).await.map_err(|error| Diagnostic {
            error_type: "DeadLettersFailed".to_owned(),
            error_message: error.to_string(),
        })
    }

    async fn operate(&self, request: &Value, deadline: UnixTime) -> Result<Value, Error> {
        let operation = Operation::parse(request)?;
        let mut walk = Walk::begin(&self.queues, deadline).await?;
        let outcome = self.visit(&operation, &mut walk).await;
        // Whatever happened, what is left is shown to others at once.
        walk.release().await;
        let Outcome { chosen, kept, unseen } = outcome?;
        tracing::info!(operation = operation.name(), chosen = chosen.len(), kept, unseen, "done");
        Ok(match operation {
            Operation::List => json!(chosen),
            Operation::Redrive(_) => json!({ "redriven": chosen, "kept": kept, "unseen": unseen }),
            Operation::Discard(_) => json!({ "discarded": chosen, "kept": kept, "unseen": unseen }),
        })
    }

    /// Does with each chosen letter what the operation says, in the order of its conversation.
    async fn visit(&self, operation: &Operation, walk: &mut Walk<'_>) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        let mut response_size = 0;
        while response_size < MAX_RESPONSE
            && let Some(letter) = walk.next().await.map_err(|error| stopped(&outcome, error))?
        {
            if !operation.chooses(&letter.summary) {
                outcome.kept += 1;
                continue;
            }
            match operation {
                Operation::List => {}
                Operation::Redrive(_) => self.redrive(&letter, walk, &outcome).await?,
                Operation::Discard(_) => walk.delete(&letter).await.map_err(|error| stopped(&outcome, error))?,
            }
            response_size += letter.summary.size();
            outcome.chosen.push(letter.summary);
        }
        outcome.unseen = walk.unseen();
        Ok(outcome)
    }

    async fn redrive(&self, letter: &Letter, walk: &mut Walk<'_>, outcome: &Outcome) -> Result<(), Error> {
        self.queues.copy_to_events(letter).await.map_err(|error| stopped(outcome, error))?;
        let Summary { event_id, conversation_id, .. } = &letter.summary;
        tracing::info!(event_id, conversation_id, message_id = letter.id, "redriven");
        walk.delete(letter).await.map_err(|error| Error::CopiedOnly { done: outcome.chosen.len(), error })
    }
}

fn stopped(outcome: &Outcome, error: QueueError) -> Error {
    Error::Stopped { done: outcome.chosen.len(), error }
}
