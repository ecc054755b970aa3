//! A value of an outside system that is cached in memory: a secret, the callers, a public key of 8x8.
//!
//! | the cache has | `get` returns |
//! |---|---|
//! | a value younger than its TTL | that value |
//! | an older value | the refreshed value if the refresh ends within [`PATIENCE`], else the old value |
//! | an older value, and the last refresh began less than [`RETRY_INTERVAL`] ago | the old value |
//! | an absence ("there is no such key") younger than its TTL | that absence |
//! | nothing | the result of the fetch; all callers meanwhile share one fetch |
//!
//! An old value therefore stays in use while its source fails, hangs or is slow. One event a minute waits for the refresh.
//!
//! Why a caller waits for a refresh at all: Lambda freezes the process between invocations, and an invocation of a few
//! milliseconds is shorter than a refresh. Without the wait, the refresh would be frozen halfway, the peer would close its
//! connection, and a function with little traffic would use the old value for ever. A normal refresh ends within [`PATIENCE`].
//!
//! Why a refresh is a task of its own: it continues beside the invocation after [`PATIENCE`], and a caller that gives up does
//! not cancel it. A frozen task continues at the next invocation, or finds its connection closed, which is a failure like any
//! other. Its result is as old as its request, and never replaces the result of a later request.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tracing::Instrument;

use crate::clock::UnixTime;

/// How long an event waits for a refresh of a value that is still usable. A new connection with TLS and one request are four
/// round trips: 400 ms between continents.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// The shortest time between two refreshes of an old value. If the source hangs, one event in a minute waits for [`PATIENCE`].
/// When the source works again, the value is refreshed within a minute.
pub const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// A fetch that began longer ago is begun again instead of waited for: it was frozen with the process. Every fetch ends within
/// the time-out of its calls, the longest of which is 7 s.
const FETCH_LIMIT: Duration = Duration::from_secs(10);

/// How long a value is used.
#[derive(Debug)]
pub struct Policy<E> {
    /// What is cached, for the log: `secret`.
    pub what: &'static str,
    /// How long a value is used without a refresh.
    pub ttl: Duration,
    /// The shortest time between two refreshes for something that the value does not contain ([`Cached::find`]).
    pub min_refresh_interval: Duration,
    /// How an absence of the value at its source is handled.
    pub absence: Absence<E>,
}

/// How an absence of the value at its source is handled.
#[derive(Debug)]
pub struct Absence<E> {
    /// Whether an error means that the source has no value, and not that the fetch failed.
    pub is: fn(&E) -> bool,
    /// How long the absence is returned without another fetch.
    pub ttl: Duration,
    /// How long the source must repeat the absence before a value that it had is dropped.
    pub grace: Duration,
}

/// A value that is fetched when it is needed, and used for a while.
#[derive(Debug)]
pub struct Cached<T, E: 'static> {
    policy: &'static Policy<E>,
    state: Arc<Mutex<State<T, E>>>,
}

type Outcome<T, E> = Result<Arc<T>, E>;

/// A fetch that any number of callers can wait for.
type Fetch<T, E> = Shared<BoxFuture<'static, Outcome<T, E>>>;

#[derive(Debug)]
struct State<T, E> {
    value: Option<Value<T>>,
    absent: Option<Absent<E>>,
    /// The last fetch, finished or not, and when it began.
    fetch: Option<(Fetch<T, E>, UnixTime)>,
    /// When [`Cached::find`] last caused a refresh.
    refreshed_to_find_at: Option<UnixTime>,
    /// Counts fetches and invalidations: only the result of the last one is cached.
    generation: u64,
}

#[derive(Debug)]
struct Value<T> {
    value: Arc<T>,
    requested_at: UnixTime,
}

#[derive(Debug)]
struct Absent<E> {
    error: E,
    /// When the first request was sent whose response was the absence.
    since: UnixTime,
    requested_at: UnixTime,
}

impl<T, E> Cached<T, E>
where
    T: Send + Sync + 'static,
    E: Clone + Display + Send + Sync + 'static,
{
    /// An empty cache.
    pub fn new(policy: &'static Policy<E>) -> Self {
        let state = State { value: None, absent: None, fetch: None, refreshed_to_find_at: None, generation: 0 };
        Self { policy, state: Arc::new(Mutex::new(state)) }
    }

    /// Whether there is a value, however old.
    pub fn has_value(&self) -> bool {
        lock(&self.state).value.is_some()
    }

    /// The value, by the rules of the table above.
    ///
    /// # Errors
    /// There is no value, and the fetch failed.
    pub async fn get<F>(&self, now: UnixTime, fetch: impl FnOnce() -> F) -> Outcome<T, E>
    where
        F: Future<Output = Outcome<T, E>> + Send + 'static,
    {
        let (pending, old) = {
            let mut state = lock(&self.state);
            match &state.value {
                Some(cached) if state.may_use(cached, now, self.policy) => return Ok(Arc::clone(&cached.value)),
                Some(cached) => {
                    let old = Arc::clone(&cached.value);
                    (self.start(&mut state, now, fetch()), Some(old))
                }
                None => {
                    if let Some(error) = state.absent(now, self.policy) {
                        return Err(error);
                    }
                    let pending = state.pending(now);
                    (pending.unwrap_or_else(|| self.start(&mut state, now, fetch())), None)
                }
            }
        };
        let outcome = match old {
            None => pending.await,
            Some(old) => match tokio::time::timeout(PATIENCE, pending).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let within_ms = PATIENCE.as_millis() as u64;
                    tracing::warn!(
                        what = self.policy.what,
                        within_ms,
                        "not refreshed in time; the cached value is used"
                    );
                    return Ok(old);
                }
            },
        };
        // After a failure the old value is still there, unless it was dropped.
        outcome.or_else(|error| lock(&self.state).value.as_ref().map(|cached| Arc::clone(&cached.value)).ok_or(error))
    }

    /// Fetches the value from the source. If that fails, the cached value stays.
    ///
    /// # Errors
    /// The fetch failed.
    pub async fn refresh<F>(&self, now: UnixTime, fetch: impl FnOnce() -> F) -> Outcome<T, E>
    where
        F: Future<Output = Outcome<T, E>> + Send + 'static,
    {
        let pending = self.start(&mut lock(&self.state), now, fetch());
        pending.await
    }

    /// What `search` finds in the cached value, or else in the value as the source has it now: a sender may present something
    /// newer than the cache. Anyone can present something unknown, so it causes at most one refresh in
    /// [`Policy::min_refresh_interval`].
    ///
    /// # Errors
    /// A fetch failed.
    pub async fn find<R, F>(
        &self,
        now: UnixTime,
        fetch: impl Fn() -> F,
        search: impl Fn(&T) -> Option<R>,
    ) -> Result<Option<R>, E>
    where
        F: Future<Output = Outcome<T, E>> + Send + 'static,
    {
        if let Some(found) = search(&*self.get(now, &fetch).await?) {
            return Ok(Some(found));
        }
        {
            let mut state = lock(&self.state);
            let is_current = state.value.as_ref().is_some_and(|cached| cached.requested_at >= now);
            let is_too_soon =
                state.refreshed_to_find_at.is_some_and(|at| now.since(at) < self.policy.min_refresh_interval);
            if is_current || is_too_soon {
                return Ok(None);
            }
            state.refreshed_to_find_at = Some(now);
        }
        Ok(search(&*self.refresh(now, fetch).await?))
    }

    /// Drops the cached value.
    pub fn invalidate(&self) {
        let mut state = lock(&self.state);
        state.generation += 1;
        (state.value, state.absent, state.fetch) = (None, None, None);
    }

    /// Starts a fetch. `fetching` must not use this cache.
    fn start<F>(&self, state: &mut State<T, E>, now: UnixTime, fetching: F) -> Fetch<T, E>
    where
        F: Future<Output = Outcome<T, E>> + Send + 'static,
    {
        state.generation += 1;
        let (generation, policy, shared) = (state.generation, self.policy, Arc::clone(&self.state));
        let fetching = Box::pin(fetching);
        let pending = async move {
            let outcome = fetching.await;
            let mut state = lock(&shared);
            if state.generation == generation {
                state.update(&outcome, now, policy);
            }
            outcome
        };
        let pending = pending.in_current_span().boxed().shared();
        state.fetch = Some((pending.clone(), now));
        tokio::spawn(pending.clone());
        pending
    }
}

impl<T, E: Clone + Display> State<T, E> {
    fn may_use(&self, cached: &Value<T>, now: UnixTime, policy: &Policy<E>) -> bool {
        // The source may have withdrawn the value: it is asked again before the TTL ends.
        let is_fresh = self.absent.is_none() && now.since(cached.requested_at) < policy.ttl;
        is_fresh || self.fetch.as_ref().is_some_and(|(_, began_at)| now.since(*began_at) < RETRY_INTERVAL)
    }

    fn absent(&self, now: UnixTime, policy: &Policy<E>) -> Option<E> {
        let absent = self.absent.as_ref().filter(|absent| now.since(absent.requested_at) < policy.absence.ttl);
        absent.map(|absent| absent.error.clone())
    }

    /// The fetch that is in progress.
    fn pending(&self, now: UnixTime) -> Option<Fetch<T, E>> {
        let (pending, began_at) = self.fetch.as_ref()?;
        (pending.peek().is_none() && now.since(*began_at) < FETCH_LIMIT).then(|| pending.clone())
    }

    fn update(&mut self, outcome: &Outcome<T, E>, requested_at: UnixTime, policy: &Policy<E>) {
        let error = match outcome {
            Ok(value) => {
                self.value = Some(Value { value: Arc::clone(value), requested_at });
                self.absent = None;
                return;
            }
            Err(error) => error,
        };
        if (policy.absence.is)(error) {
            let since = self.absent.as_ref().map_or(requested_at, |absent| absent.since);
            self.absent = Some(Absent { error: error.clone(), since, requested_at });
            if requested_at.since(since) >= policy.absence.grace {
                self.value = None;
            }
        }
        if self.value.is_some() {
            tracing::warn!(what = policy.what, %error, "not refreshed; the cached value stays in use");
        }
    }
}

fn lock<S>(state: &Mutex<S>) -> MutexGuard<'_, S> {
    // Every change of the state is complete on its own.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const TTL: Duration = Duration::from_secs(300);
    const NONE: &str = "there is none";

    static POLICY: Policy<&str> = Policy {
        what: "number",
        ttl: TTL,
        min_refresh_interval: Duration::from_secs(5),
        absence: Absence { is: |error| *error == NONE, ttl: Duration::from_secs(5), grace: TTL },
    };

    fn cached() -> Cached<u32, &'static str> {
        Cached::new(&POLICY)
    }

    async fn get(
        cached: &Cached<u32, &'static str>,
        now: UnixTime,
        fetched: Result<u32, &'static str>,
    ) -> Result<u32, &'static str> {
        cached.get(now, || ready(fetched.map(Arc::new))).await.map(|value| *value)
    }

    #[tokio::test]
    async fn a_value_is_refreshed_after_its_ttl() {
        let cached = cached();
        assert_eq!(get(&cached, NOW, Ok(1)).await, Ok(1));
        assert_eq!(get(&cached, NOW + TTL - SECOND, Ok(2)).await, Ok(1));
        assert_eq!(get(&cached, NOW + TTL, Ok(2)).await, Ok(2));
    }

    #[tokio::test]
    async fn a_failure_is_not_cached_and_drops_no_value() {
        let cached = cached();
        assert_eq!(get(&cached, NOW, Err("down")).await, Err("down"));
        assert_eq!(get(&cached, NOW, Ok(1)).await, Ok(1));
        assert_eq!(get(&cached, NOW + TTL, Err("down")).await, Ok(1));
        assert_eq!(
            get(&cached, NOW + TTL + RETRY_INTERVAL - SECOND, Ok(2)).await,
            Ok(1),
            "no other try within a minute"
        );
        assert_eq!(get(&cached, NOW + TTL + RETRY_INTERVAL, Ok(2)).await, Ok(2));
        assert_eq!(cached.refresh(NOW + TTL * 2, || ready(Err("down"))).await, Err("down"));
        assert_eq!(get(&cached, NOW + TTL * 2, Ok(3)).await, Ok(2));
        cached.invalidate();
        assert_eq!(get(&cached, NOW, Err("down")).await, Err("down"));
    }

    #[tokio::test]
    async fn all_who_need_a_value_share_one_fetch() {
        let (cached, fetches) = (cached(), AtomicUsize::new(0));
        let (sender, receiver) = oneshot::channel();
        let receiver = std::sync::Mutex::new(Some(receiver));
        let get = || {
            cached.get(NOW, || {
                fetches.fetch_add(1, Ordering::Relaxed);
                let receiver = receiver.lock().unwrap().take().unwrap();
                async move { Ok(Arc::new(receiver.await.unwrap())) }
            })
        };
        let answered = async { sender.send(1).unwrap() };
        let (one, other, ()) = tokio::join!(get(), get(), answered);
        assert_eq!((*one.unwrap(), *other.unwrap(), fetches.into_inner()), (1, 1, 1));
    }

    #[tokio::test]
    async fn one_waits_for_a_refresh_that_hangs_and_not_for_long() {
        let cached = cached();
        assert_eq!(get(&cached, NOW, Ok(1)).await, Ok(1));
        let hanging = || cached.get(NOW + TTL, pending);
        let begun = std::time::Instant::now();
        assert_eq!(*hanging().await.unwrap(), 1);
        assert!(begun.elapsed() >= PATIENCE);
        for _ in 0..1000 {
            assert_eq!(futures_util::FutureExt::now_or_never(hanging()).unwrap().map(|value| *value), Ok(1));
        }
    }

    #[tokio::test]
    async fn a_refresh_that_ends_later_is_used_then_and_counts_from_its_request() {
        let cached = cached();
        assert_eq!(get(&cached, NOW, Ok(1)).await, Ok(1));
        let (sender, receiver) = oneshot::channel();
        assert_eq!(*cached.get(NOW + TTL, || async { receiver.await.unwrap() }).await.unwrap(), 1);
        sender.send(Ok(Arc::new(2))).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(get(&cached, NOW + TTL + SECOND, Ok(3)).await, Ok(2));
        assert_eq!(get(&cached, NOW + TTL * 2, Ok(3)).await, Ok(3));
    }

    #[tokio::test]
    async fn a_late_response_replaces_nothing_that_was_requested_later() {
        let cached = cached();
        assert_eq!(get(&cached, NOW, Ok(1)).await, Ok(1));
        let (sender, receiver) = oneshot::channel();
        assert_eq!(*cached.get(NOW + TTL, || async { receiver.await.unwrap() }).await.unwrap(), 1);
        assert_eq!(*cached.refresh(NOW + TTL, || ready(Ok(Arc::new(3)))).await.unwrap(), 3);
        sender.send(Ok(Arc::new(2))).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(get(&cached, NOW + TTL, Ok(4)).await, Ok(3));
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_does_not_cancel_the_fetch_of_the_others() {
        let cached = cached();
        let (sender, receiver) = oneshot::channel();
        let first = cached.get(NOW, || async { receiver.await.unwrap() });
        assert!(tokio::time::timeout(Duration::ZERO, first).await.is_err());
        sender.send(Ok(Arc::new(1))).unwrap();
        assert_eq!(get(&cached, NOW, Err("a second fetch")).await, Ok(1));
    }

    #[tokio::test]
    async fn a_fetch_that_was_frozen_is_begun_again() {
        let cached = cached();
        assert!(tokio::time::timeout(Duration::ZERO, cached.get(NOW, pending)).await.is_err());
        assert!(tokio::time::timeout(Duration::ZERO, cached.get(NOW + FETCH_LIMIT - SECOND, pending)).await.is_err());
        assert_eq!(get(&cached, NOW + FETCH_LIMIT, Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn an_absence_is_cached_for_its_own_ttl() {
        let cached = cached();
        assert_eq!(get(&cached, NOW, Err(NONE)).await, Err(NONE));
        assert_eq!(get(&cached, NOW + SECOND * 4, Ok(1)).await, Err(NONE));
        assert_eq!(get(&cached, NOW + SECOND * 5, Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_value_is_dropped_when_the_source_has_said_for_a_while_that_there_is_none() {
        let cached = cached();
        assert_eq!(get(&cached, NOW, Ok(1)).await, Ok(1));
        let gone = NOW + TTL;
        assert_eq!(get(&cached, gone, Err(NONE)).await, Ok(1));
        assert_eq!(get(&cached, gone + RETRY_INTERVAL, Err("down")).await, Ok(1));
        assert_eq!(get(&cached, gone + RETRY_INTERVAL * 2, Err(NONE)).await, Ok(1));
        assert_eq!(get(&cached, gone + TTL, Err(NONE)).await, Err(NONE));
        assert_eq!(get(&cached, gone + TTL + SECOND, Ok(1)).await, Err(NONE));
    }

    #[tokio::test]
    async fn what_a_value_does_not_have_causes_a_refresh_once_in_a_while() {
        let cached = cached();
        let find = async |now: UnixTime, fetched: u32, looked_for: u32| {
            cached
                .find(now, || ready(Ok(Arc::new(fetched))), |value| (*value == looked_for).then_some(()))
                .await
                .unwrap()
        };
        assert_eq!(find(NOW, 1, 2).await, None, "it was fetched for this very search");
        assert_eq!(find(NOW + SECOND, 2, 2).await, Some(()));
        assert_eq!(find(NOW + SECOND * 5, 3, 3).await, None, "too soon");
        assert_eq!(find(NOW + SECOND * 6, 3, 3).await, Some(()));
    }
}
