//! The rules of SQS FIFO and Lambda for batches: a message group is delivered in order; after a failed message no other of
//! its group is tried; the failed one **and** the rest of its group are returned to the queue.

use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsMessage};
use futures_util::future::join_all;

use crate::Outcome;

/// Delivers the groups of a batch side by side and each group's messages one after the other. A message that has to be
/// retried and the rest of its group are delayed for the same time and named in the response.
pub(crate) async fn process(
    messages: Vec<SqsMessage>,
    deliver: impl AsyncFn(&SqsMessage) -> Outcome,
    delay: impl AsyncFn(&SqsMessage, Duration),
) -> SqsBatchResponse {
    let process_group = async |group: Vec<SqsMessage>| {
        let mut untried = group.iter();
        while let Some(message) = untried.next() {
            if let Outcome::Delayed(wait) = deliver(message).await {
                let back: Vec<_> = std::iter::once(message).chain(untried).collect();
                join_all(back.iter().map(|message| delay(message, wait))).await;
                return back.into_iter().map(failure).collect();
            }
        }
        Vec::new()
    };
    let failures = join_all(groups(messages).into_iter().map(process_group)).await;
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.into_iter().flatten().collect();
    response
}

/// The message group; a queue that is not FIFO has none, and then all are one.
pub(crate) fn group_of(message: &SqsMessage) -> &str {
    message.attributes.get("MessageGroupId").map(String::as_str).unwrap_or_default()
}

/// The messages by group, in the order in which they came.
fn groups(messages: Vec<SqsMessage>) -> Vec<Vec<SqsMessage>> {
    let mut groups: Vec<Vec<SqsMessage>> = Vec::new();
    for message in messages {
        let group =
            groups.iter_mut().find(|group| group.first().is_some_and(|first| group_of(first) == group_of(&message)));
        match group {
            Some(group) => group.push(message),
            None => groups.push(vec![message]),
        }
    }
    groups
}

fn failure(message: &SqsMessage) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    // A missing id makes Lambda treat the whole batch as failed, so nothing is lost.
    failure.item_identifier = message.message_id.clone().unwrap_or_default();
    failure
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn message(id: usize, group: u8) -> SqsMessage {
        let mut message = SqsMessage::default();
        message.message_id = Some(id.to_string());
        message.attributes.insert("MessageGroupId".to_owned(), group.to_string());
        message
    }

    proptest! {
        /// The rule, whatever the batch and whichever of its messages fail.
        #[test]
        fn after_a_failure_nothing_of_its_group_is_tried_and_all_of_it_comes_back(
            batch in proptest::collection::vec((0..4_u8, proptest::bool::weighted(0.2)), 0..30)
        ) {
            let tried = RefCell::new(Vec::new());
            let delayed = RefCell::new(BTreeSet::new());
            let index = |message: &SqsMessage| message.message_id.as_deref().unwrap().parse::<usize>().unwrap();
            let messages = batch.iter().enumerate().map(|(id, (group, _))| message(id, *group)).collect();
            let deliver = async |message: &SqsMessage| {
                tokio::task::yield_now().await;
                tried.borrow_mut().push(index(message));
                if batch[index(message)].1 { Outcome::Delayed(Duration::from_secs(2)) } else { Outcome::Settled }
            };
            let delay = async |message: &SqsMessage, _| { delayed.borrow_mut().insert(index(message)); };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let response = runtime.block_on(process(messages, deliver, delay));
            let failed: BTreeSet<usize> = response.batch_item_failures.iter().map(|failure| failure.item_identifier.parse().unwrap()).collect();

            for group in 0..4 {
                let members: Vec<usize> = (0..batch.len()).filter(|id| batch[*id].0 == group).collect();
                let first_failure = members.iter().position(|id| batch[*id].1).unwrap_or(members.len());
                let expected_tried = &members[..members.len().min(first_failure + 1)];
                let tried: Vec<usize> = tried.borrow().iter().copied().filter(|id| batch[*id].0 == group).collect();
                prop_assert_eq!(tried, expected_tried);
                let came_back: Vec<usize> = failed.iter().copied().filter(|id| batch[*id].0 == group).collect();
                prop_assert_eq!(came_back, &members[first_failure..]);
            }
            prop_assert_eq!(&*delayed.borrow(), &failed);
        }
    }
}
