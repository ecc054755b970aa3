//! A FIFO queue as SQS documents it: order within a group, an in-flight message blocks its group, five minutes of
//! de-duplication, visibility time-outs, receive counts and a dead-letter queue.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues.html>

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::Notify;

/// SQS remembers a deduplication id for five minutes, even after the message was deleted.
const DEDUPLICATION_INTERVAL: Duration = Duration::from_secs(300);

/// How a queue was created.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// How long a received message stays hidden by default.
    pub visibility_timeout: Duration,
    /// After how many receives a message is moved, and to which queue.
    pub redrive: Option<(u32, Arc<FifoQueue>)>,
    /// `DeduplicationScope: messageGroup` (high-throughput mode) instead of the whole queue.
    pub deduplicates_per_group: bool,
    /// How many times faster than at SQS a hidden message becomes visible again: an outage of hours takes minutes.
    pub time_scale: u32,
}

/// A message as a receiver sees it.
#[derive(Debug, Clone)]
pub struct Received {
    /// SQS's id of the message.
    pub message_id: String,
    /// Identifies this receive of the message.
    pub receipt_handle: String,
    /// The body that was sent.
    pub body: String,
    /// The attributes that were sent with it: `{"name":{"DataType","StringValue"}}`.
    pub message_attributes: Value,
    /// `MessageGroupId`.
    pub group: String,
    /// `MessageDeduplicationId`.
    pub deduplication_id: String,
    /// `SequenceNumber`.
    pub sequence: u64,
    /// `SentTimestamp` in milliseconds.
    pub sent_at: u128,
    /// `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// `ApproximateFirstReceiveTimestamp` in milliseconds.
    pub first_received_at: u128,
}

/// Why an operation on a received message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptError {
    /// No receive has this handle.
    Unknown,
    /// The message is visible again or was received again.
    Expired,
}

/// What SendMessage returns.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The id of the message, or of the message that this one repeats.
    pub message_id: String,
    /// Its position in the order.
    pub sequence: u64,
    /// Whether it was dropped because its deduplication id was seen before.
    pub is_repeat: bool,
}

#[derive(Debug)]
struct Message {
    id: String,
    body: String,
    attributes: Value,
    group: String,
    deduplication_id: String,
    sent_at: u128,
    receive_count: u32,
    first_received_at: u128,
    /// While in flight: until when it is hidden, and by which receive.
    hidden: Option<(Instant, u32)>,
    /// While in flight: whether its receiver has set when it becomes visible again.
    is_given_back: bool,
}

#[derive(Debug, Default)]
struct Group {
    /// Sequence numbers, oldest first.
    order: VecDeque<u64>,
    in_flight: usize,
    is_ready: bool,
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<u64, Message>,
    groups: HashMap<String, Group>,
    /// Groups with a message that can be received.
    ready: VecDeque<String>,
    /// When each receive of a message ends.
    expiries: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    seen: HashMap<(Option<String>, String), (Instant, Sent)>,
    next_sequence: u64,
    timeouts: u64,
}

/// A FIFO queue in memory.
#[derive(Debug)]
pub struct FifoQueue {
    settings: QueueSettings,
    state: Mutex<State>,
    changed: Notify,
}

impl FifoQueue {
    /// An empty queue.
    pub fn new(settings: QueueSettings) -> Arc<Self> {
        Arc::new(Self { settings, state: Mutex::default(), changed: Notify::new() })
    }

    /// The settings that it was created with.
    pub fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// SendMessage. An id that was seen within five minutes is confirmed, and the message is dropped.
    pub fn send(&self, body: String, attributes: Value, group: &str, deduplication_id: &str) -> Sent {
        let now = Instant::now();
        let mut state = self.state();
        let scope = self.settings.deduplicates_per_group.then(|| group.to_owned());
        let key = (scope, deduplication_id.to_owned());
        if let Some((seen_at, sent)) = state.seen.get(&key)
            && now.duration_since(*seen_at) < DEDUPLICATION_INTERVAL
        {
            return Sent { is_repeat: true, ..sent.clone() };
        }
        state.next_sequence += 1;
        // SQS writes it with twenty digits.
        let sequence = 18_000_000_000_000_000_000 + state.next_sequence;
        let sent = Sent { message_id: simulation::id::uuid(), sequence, is_repeat: false };
        state.seen.insert(key, (now, sent.clone()));
        let message = Message {
            id: sent.message_id.clone(),
            body,
            attributes,
            group: group.to_owned(),
            deduplication_id: deduplication_id.to_owned(),
            sent_at: unix_millis(),
            receive_count: 0,
            first_received_at: 0,
            hidden: None,
            is_given_back: false,
        };
        state.messages.insert(sequence, message);
        state.groups.entry(group.to_owned()).or_default().order.push_back(sequence);
        state.make_ready(group);
        drop(state);
        self.changed.notify_one();
        sent
    }

    /// ReceiveMessage without waiting: up to `most` messages, as many as possible of one group before the next.
    pub fn receive(&self, most: usize, visibility_timeout: Option<Duration>) -> Vec<Received> {
        let now = Instant::now();
        let hidden_for = self.hasty(visibility_timeout.unwrap_or(self.settings.visibility_timeout));
        let mut state = self.state();
        state.expire(now);
        let mut received = Vec::new();
        while received.len() < most {
            let Some(name) = state.ready.pop_front() else { break };
            let State { messages, groups, expiries, .. } = &mut *state;
            let group = groups.get_mut(&name).expect("a ready group exists");
            group.is_ready = false;
            let mut taken = 0;
            while received.len() < most
                && let Some(sequence) = group.order.get(taken).copied()
            {
                let message = messages.get_mut(&sequence).expect("an ordered message exists");
                message.receive_count += 1;
                if let Some((most, dead_letters)) = &self.settings.redrive
                    && message.receive_count > *most
                {
                    group.order.remove(taken);
                    let dead = messages.remove(&sequence).expect("it was there");
                    dead_letters.send(dead.body, dead.attributes, &dead.group, &dead.deduplication_id);
                    continue;
                }
                if message.receive_count == 1 {
                    message.first_received_at = unix_millis();
                }
                let until = now + hidden_for;
                message.hidden = Some((until, message.receive_count));
                message.is_given_back = false;
                expiries.push(Reverse((until, sequence, message.receive_count)));
                group.in_flight += 1;
                taken += 1;
                received.push(message.received(sequence));
            }
            if group.order.is_empty() {
                groups.remove(&name);
            }
        }
        received
    }

    /// ReceiveMessage that waits until there is a message.
    pub async fn next(&self, most: usize) -> Vec<Received> {
        loop {
            let changed = self.changed.notified();
            let received = self.receive(most, None);
            if !received.is_empty() {
                if !self.state().ready.is_empty() {
                    self.changed.notify_one();
                }
                return received;
            }
            let expiry = self.state().expiries.peek().map(|Reverse((at, ..))| *at);
            match expiry {
                Some(at) => {
                    let _ = tokio::time::timeout_at(at.into(), changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// DeleteMessage.
    pub fn delete(&self, receipt_handle: &str) -> Result<(), ReceiptError> {
        let mut state = self.state();
        let sequence = state.in_flight(receipt_handle)?;
        let message = state.messages.remove(&sequence).expect("it is in flight");
        let group = state.groups.get_mut(&message.group).expect("its group exists");
        group.order.retain(|other| *other != sequence);
        group.in_flight -= 1;
        if group.order.is_empty() {
            state.groups.remove(&message.group);
        } else {
            state.make_ready(&message.group);
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// ChangeMessageVisibility. Returns the message's deduplication id.
    pub fn hide(&self, receipt_handle: &str, timeout: Duration) -> Result<String, ReceiptError> {
        let mut state = self.state();
        let sequence = state.in_flight(receipt_handle)?;
        let until = Instant::now() + self.hasty(timeout);
        let message = state.messages.get_mut(&sequence).expect("it is in flight");
        message.hidden = Some((until, message.receive_count));
        message.is_given_back = true;
        let (receive, deduplication_id) = (message.receive_count, message.deduplication_id.clone());
        state.expiries.push(Reverse((until, sequence, receive)));
        drop(state);
        self.changed.notify_one();
        Ok(deduplication_id)
    }

    /// All messages that wait or are in flight, in order.
    pub fn contents(&self) -> Vec<Received> {
        self.state().messages.iter().map(|(sequence, message)| message.received(*sequence)).collect()
    }

    /// How many messages have been stored since the queue was created.
    pub fn sent(&self) -> u64 {
        self.state().next_sequence
    }

    /// How often a message became visible again because its receiver neither deleted it nor returned it in time.
    pub fn timeouts(&self) -> u64 {
        self.state().timeouts
    }

    /// How many messages wait or are in flight.
    pub fn len(&self) -> usize {
        self.state().messages.len()
    }

    /// How many messages wait, including those behind a message in flight, and how many are in flight.
    pub fn counts(&self) -> (usize, usize) {
        let mut state = self.state();
        state.expire(Instant::now());
        let in_flight = state.groups.values().map(|group| group.in_flight).sum();
        (state.messages.len() - in_flight, in_flight)
    }

    /// Whether no message waits and none is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hasty(&self, timeout: Duration) -> Duration {
        timeout / self.settings.time_scale
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    fn make_ready(&mut self, name: &str) {
        let group = self.groups.get_mut(name).expect("the group exists");
        if group.in_flight == 0 && !group.is_ready && !group.order.is_empty() {
            group.is_ready = true;
            self.ready.push_back(name.to_owned());
        }
    }

    /// Makes messages visible again whose visibility timeout is over.
    fn expire(&mut self, now: Instant) {
        while let Some(Reverse((at, sequence, receive))) = self.expiries.peek().copied()
            && at <= now
        {
            self.expiries.pop();
            let Some(message) = self.messages.get_mut(&sequence) else { continue };
            // A later receive, or a later change of visibility, has an expiry of its own.
            if message.hidden != Some((at, receive)) {
                continue;
            }
            message.hidden = None;
            self.timeouts += u64::from(!message.is_given_back);
            let name = message.group.clone();
            self.groups.get_mut(&name).expect("the group of a message exists").in_flight -= 1;
            self.make_ready(&name);
        }
    }

    fn in_flight(&mut self, receipt_handle: &str) -> Result<u64, ReceiptError> {
        self.expire(Instant::now());
        let (sequence, receive) = receipt_handle.split_once('-').ok_or(ReceiptError::Unknown)?;
        let sequence = sequence.parse().map_err(|_| ReceiptError::Unknown)?;
        let receive: u32 = receive.parse().map_err(|_| ReceiptError::Unknown)?;
        let message = self.messages.get(&sequence).ok_or(ReceiptError::Expired)?;
        match message.hidden {
            Some((_, current)) if current == receive => Ok(sequence),
            Some(_) | None => Err(ReceiptError::Expired),
        }
    }
}

impl Message {
    fn received(&self, sequence: u64) -> Received {
        Received {
            message_id: self.id.clone(),
            receipt_handle: format!("{sequence}-{}", self.receive_count),
            body: self.body.clone(),
            message_attributes: self.attributes.clone(),
            group: self.group.clone(),
            deduplication_id: self.deduplication_id.clone(),
            sequence,
            sent_at: self.sent_at,
            receive_count: self.receive_count,
            first_received_at: self.first_received_at,
        }
    }
}

fn unix_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis()
}
