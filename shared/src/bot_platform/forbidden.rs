//! Decides what caused a 403: the token or the event. A firewall in front of the bot platform may forbid one text with the same
//! status that the bot platform uses for a token without permission.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::oauth::Token;

/// An event is rejected after it was forbidden this many times, each time with a token that was accepted for other events since
/// the time before. deliver-message waits 2, 4, 8, 16 and 32 s in between: the event is forbidden for at least a minute.
const CONFIRMATIONS: u32 = 5;

/// The number of events that are remembered: far more than conversations wait at the same time, and only a few kilobytes.
const LIMIT: usize = 100;

/// The number of tokens that are remembered for an event: the token of the first try and the token of the second.
const TOKENS: usize = 2;

/// What a 403 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The token may be the reason: no other event has been accepted with it since this one was forbidden.
    Token,
    /// The token is good: another event has been accepted with it meanwhile.
    Event,
    /// The token is good, and the event has been forbidden for so long that it is rejected.
    Rejection,
}

/// The events that are forbidden at present.
#[derive(Debug, Default)]
pub(super) struct ForbiddenEvents(Mutex<Vec<ForbiddenEvent>>);

#[derive(Debug)]
struct ForbiddenEvent {
    id: String,
    /// The tokens with which the event was forbidden, the latest first.
    tokens: Vec<Arc<Token>>,
    /// The token of these with which another event was accepted afterwards.
    accepted: Option<Arc<Token>>,
    confirmations: u32,
}

impl ForbiddenEvents {
    /// The event was forbidden with that token.
    pub(super) fn forbidden(&self, id: &str, token: &Arc<Token>) -> Cause {
        let mut events = self.events();
        let Some(index) = events.iter().position(|event| event.id == id) else {
            if events.len() == LIMIT {
                events.remove(0);
            }
            let tokens = vec![Arc::clone(token)];
            events.push(ForbiddenEvent { id: id.to_owned(), tokens, accepted: None, confirmations: 0 });
            return Cause::Token;
        };
        let Some(event) = events.get_mut(index) else { return Cause::Token };
        if event.accepted.take_if(|accepted| accepted.is_same(token)).is_none() {
            if !event.tokens.iter().any(|known| known.is_same(token)) {
                event.tokens.truncate(TOKENS - 1);
                event.tokens.insert(0, Arc::clone(token));
            }
            return Cause::Token;
        }
        event.confirmations += 1;
        if event.confirmations < CONFIRMATIONS {
            return Cause::Event;
        }
        events.remove(index);
        Cause::Rejection
    }

    /// The event was accepted with that token.
    pub(super) fn accepted(&self, id: &str, token: &Arc<Token>) {
        let mut events = self.events();
        events.retain(|event| event.id != id);
        for event in events.iter_mut() {
            if event.tokens.iter().any(|known| known.is_same(token)) {
                event.accepted = Some(Arc::clone(token));
            }
        }
    }

    fn events(&self) -> MutexGuard<'_, Vec<ForbiddenEvent>> {
        // Every change of the list is complete on its own.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixTime;

    fn token(access_token: &str) -> Arc<Token> {
        let body = format!(r#"{{"access_token":"{access_token}"}}"#);
        Arc::new(Token::parse(body.as_bytes(), UnixTime::from_secs(0)).unwrap())
    }

    #[test]
    fn an_event_that_stays_forbidden_while_others_are_accepted_with_the_same_token_is_rejected() {
        let (events, stored, new) = (ForbiddenEvents::default(), token("stored"), token("new"));
        assert_eq!(events.forbidden("one", &stored), Cause::Token);
        assert_eq!(events.forbidden("one", &new), Cause::Token);
        for confirmations in 1..=CONFIRMATIONS {
            events.accepted("other", &stored);
            let cause = if confirmations < CONFIRMATIONS { Cause::Event } else { Cause::Rejection };
            assert_eq!(events.forbidden("one", &stored), cause);
        }
        assert_eq!(events.forbidden("one", &stored), Cause::Token, "after a redrive it begins again");
    }

    #[test]
    fn without_another_events_success_in_between_the_token_may_be_the_reason() {
        let (events, old, new) = (ForbiddenEvents::default(), token("old"), token("new"));
        events.accepted("other", &old);
        for _ in 0..100 {
            assert_eq!(events.forbidden("one", &old), Cause::Token);
        }
        events.accepted("other", &new);
        assert_eq!(events.forbidden("one", &old), Cause::Token, "another token was accepted");
        events.accepted("other", &old);
        assert_eq!(events.forbidden("one", &new), Cause::Token, "another token is forbidden");
    }

    #[test]
    fn an_event_that_is_accepted_is_forgotten_and_the_list_does_not_grow() {
        let (events, token) = (ForbiddenEvents::default(), token("a"));
        for id in 0..10 * LIMIT {
            events.forbidden(&id.to_string(), &token);
        }
        assert_eq!(events.events().len(), LIMIT);
        for id in 0..10 * LIMIT {
            events.accepted(&id.to_string(), &token);
        }
        assert_eq!(events.events().len(), 0);
    }
}
