//! Sends events: signed, in order, and again until they get a 2xx. Also the log of the events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::mpsc;

use crate::events::now_millis;
use crate::signer::{Claims, Signer};
use crate::{ContactCenter, Fault};

/// The "brief delay" before an event is sent again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// How old the signature of a late event is, in milliseconds: receivers commonly allow less.
const LATE: u128 = 300_000;

/// An event that waits to be sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Its position in the log.
    number: usize,
    event_id: String,
    event_type: String,
    webhook: String,
    body: String,
}

/// An event in the log.
#[derive(Debug, Clone)]
pub struct LoggedEvent {
    /// `x-8x8-event-id`.
    pub id: String,
    /// Its type.
    pub event_type: String,
    /// Its conversation.
    pub conversation_id: String,
    /// The URL to which it is sent.
    pub webhook: String,
    /// The bytes that are signed and sent.
    pub body: String,
    /// The headers of the last attempt.
    pub headers: Vec<(&'static str, String)>,
    /// How often it was sent, and the responses.
    pub attempts: Vec<Attempt>,
}

/// One attempt to send an event.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// When the response arrived or the wait for it ended, in milliseconds since 1970.
    pub time: u128,
    /// The status of the response; `None` if there was no response.
    pub status: Option<StatusCode>,
}

/// How an event that was sent before is sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Like a retry of 8x8.
    Again,
    /// With a signature that is five minutes old.
    Late,
    /// Signed with a key that is not 8x8's.
    Forged,
}

impl ContactCenter {
    /// Every event so far, including those that were never accepted, oldest first.
    pub fn events(&self) -> Vec<LoggedEvent> {
        self.state().events.clone()
    }

    /// Sends an event of the log once more, and returns the status of the response; `None` if the log does not have the event.
    pub async fn resend(&self, event_id: &str, how: Resend) -> Option<Option<StatusCode>> {
        let (number, event) = {
            let state = self.state();
            let number = state.events.iter().position(|event| event.id == event_id)?;
            (number, state.events[number].clone())
        };
        let age = if how == Resend::Late { LATE } else { 0 };
        let retry = event.attempts.len() as u64;
        let claims = self.claims(event_id, retry, now_millis() - age);
        let body = event.body.as_bytes();
        let (from, target, headers) = match how {
            Resend::Again | Resend::Late => ("8x8", event.webhook.as_str(), self.signer.headers(body, &claims)),
            Resend::Forged => ("a forger", self.forged_target(&event.webhook), Signer::new().headers(body, &claims)),
        };
        let status = self.post(target, &headers, &event.body).await;
        let outcome = match how {
            Resend::Again => format!("again: {}", shown(status)),
            Resend::Late => format!("late: {}", shown(status)),
            Resend::Forged => format!("forged: {}", shown(status)),
        };
        self.journal.event_hop(event_id, from, self.settings.clients.webhook, &outcome);
        if how == Resend::Forged {
            self.check_forged(&event.event_type, status);
        } else {
            self.log_attempt(number, headers, status);
        }
        Some(status)
    }

    /// Puts an event behind those of the same conversation that wait to be sent.
    pub(crate) fn enqueue(
        self: &Arc<Self>,
        event_id: &str,
        conversation_id: &str,
        webhook: String,
        event_type: &str,
        body: String,
    ) {
        let (event_id, event_type) = (event_id.to_owned(), event_type.to_owned());
        let mut state = self.state();
        let number = state.events.len();
        state.events.push(LoggedEvent {
            id: event_id.clone(),
            event_type: event_type.clone(),
            conversation_id: conversation_id.to_owned(),
            webhook: webhook.clone(),
            body: body.clone(),
            headers: Vec::new(),
            attempts: Vec::new(),
        });
        let outgoing = Outgoing { number, event_id, event_type, webhook, body };
        state.unanswered += 1;
        let outbox = state.outboxes.entry(conversation_id.to_owned()).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            let contact_center = Arc::clone(self);
            tokio::spawn(contact_center.deliver(conversation_id.to_owned(), receiver));
            sender
        });
        outbox.send(outgoing).expect("the conversation's task lives as long as the contact center");
    }

    /// Sends the events of one conversation in order, each until it gets a 2xx.
    async fn deliver(self: Arc<Self>, conversation_id: String, mut outbox: mpsc::UnboundedReceiver<Outgoing>) {
        while let Some(event) = outbox.recv().await {
            let follower = if self.faults.strikes(Fault::Reorder) { outbox.try_recv().ok() } else { None };
            if let Some(follower) = follower {
                self.send_until_accepted(&conversation_id, &follower).await;
            }
            self.send_until_accepted(&conversation_id, &event).await;
        }
    }

    async fn send_until_accepted(&self, conversation_id: &str, event: &Outgoing) {
        let webhook = event.webhook.as_str();
        if self.faults.strikes(Fault::Forged) {
            self.send_forged(conversation_id, webhook, event).await;
        }
        let receiver = self.settings.clients.webhook;
        let mut is_late = self.faults.strikes(Fault::Late);
        for retry in 0.. {
            let age = if is_late { LATE } else { 0 };
            is_late = false;
            let claims = self.claims(&event.event_id, retry, now_millis() - age);
            self.journal.event_sent(&event.event_id, &event.event_type, conversation_id);
            let headers = self.signer.headers(event.body.as_bytes(), &claims);
            let started = Instant::now();
            let status = self.post(webhook, &headers, &event.body).await;
            self.journal.event_answered(&event.event_id, receiver, "8x8", &shown(status), started.elapsed());
            self.log_attempt(event.number, headers.clone(), status);
            if status.is_some_and(|status| status.is_success()) {
                self.accept(conversation_id, &event.event_id);
                if self.faults.strikes(Fault::Duplicate) {
                    let again = self.post(webhook, &headers, &event.body).await;
                    let outcome = format!("{}, a repeat", shown(again));
                    self.journal.event_answered(&event.event_id, receiver, "8x8", &outcome, started.elapsed());
                    self.log_attempt(event.number, headers, again);
                }
                return;
            }
            self.state().retries += 1;
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    fn accept(&self, conversation_id: &str, event_id: &str) {
        let mut state = self.state();
        state.accepted.entry(conversation_id.to_owned()).or_default().push(event_id.to_owned());
        state.unanswered -= 1;
    }

    /// A forger who has seen a genuine request sends it with another body; a forger who has seen none signs with their own key.
    async fn send_forged(&self, conversation_id: &str, webhook: &str, event: &Outgoing) {
        let body = event.body.replacen('}', " }", 1);
        let claims = self.claims(&event.event_id, 0, now_millis());
        let changed = self.signer.headers(event.body.as_bytes(), &claims);
        let foreign = Signer::new().headers(body.as_bytes(), &claims);
        for headers in [changed, foreign] {
            let status = self.post(self.forged_target(webhook), &headers, &body).await;
            let receiver = self.settings.clients.webhook;
            // Not recorded as a hop of the event, because 8x8 has not sent the event yet.
            self.journal.exchange("a forger", receiver, &event.event_type, &shown(status), None, || {
                (conversation_id.to_owned(), None)
            });
            self.check_forged(&event.event_type, status);
        }
    }

    fn check_forged(&self, event_type: &str, status: Option<StatusCode>) {
        if status.is_some_and(|status| status.is_success()) {
            self.state().violations.push(format!("a forged {event_type} was accepted"));
        }
    }

    /// Where forged events go: not through a load balancer, which would add the headers of a trusted caller to them.
    fn forged_target<'t>(&'t self, webhook: &'t str) -> &'t str {
        self.forged_target.get().map_or(webhook, String::as_str)
    }

    fn log_attempt(&self, number: usize, headers: Vec<(&'static str, String)>, status: Option<StatusCode>) {
        if let Some(event) = self.state().events.get_mut(number) {
            event.headers = headers;
            event.attempts.push(Attempt { time: now_millis(), status });
        }
    }

    /// The claims that are signed with the body of an event.
    pub(crate) fn claims(&self, event_id: &str, retry: u64, transmission_time: u128) -> Claims {
        Claims {
            tenant_id: self.settings.tenant_id.clone(),
            customer_id: "sandbox-customer".to_owned(),
            event_id: event_id.to_owned(),
            retry,
            transmission_time,
        }
    }

    async fn post(&self, webhook: &str, headers: &[(&'static str, String)], body: &str) -> Option<StatusCode> {
        let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
        self.client.post(webhook, headers, body.to_owned()).await
    }
}

fn shown(status: Option<StatusCode>) -> String {
    status.map_or("no response".to_owned(), |status| status.as_u16().to_string())
}
