//! A value that is kept in memory for a while.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::clock::UnixTime;

/// How long a secret is used without looking again. Long enough that reading costs next to nothing ($0.05 for 10,000
/// reads), short enough that what an administrator changes is in use after a coffee; what is refused is looked up again
/// at once.
pub const KEPT_FOR: Duration = Duration::from_secs(300);

/// A value and when it was fetched. Whoever comes while it is being fetched waits for that.
#[derive(Debug)]
pub struct Kept<T>(Mutex<Option<(Arc<T>, UnixTime)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Kept<T> {
    /// The value as it was at most [`KEPT_FOR`] ago. If it cannot be fetched again, it stays in use as it was fetched last:
    /// an outage there must not stop what works without it.
    pub async fn get<E: Display>(
        &self,
        now: UnixTime,
        fetch: impl Future<Output = Result<Arc<T>, E>>,
    ) -> Result<Arc<T>, E> {
        let mut kept = self.0.lock().await;
        if let Some((value, _)) = kept.as_ref().filter(|(_, fetched_at)| now.since(*fetched_at) < KEPT_FOR) {
            return Ok(Arc::clone(value));
        }
        match (fetch.await, kept.as_ref()) {
            (Ok(value), _) => {
                *kept = Some((Arc::clone(&value), now));
                Ok(value)
            }
            (Err(error), Some((value, _))) => {
                tracing::warn!(%error, "using the secret as it was read last");
                Ok(Arc::clone(value))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// The value as it is now, past what is kept.
    pub async fn renew<E>(&self, now: UnixTime, fetch: impl Future<Output = Result<Arc<T>, E>>) -> Result<Arc<T>, E> {
        let value = fetch.await?;
        *self.0.lock().await = Some((Arc::clone(&value), now));
        Ok(value)
    }

    /// Forgets what is kept.
    pub async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    async fn fetched(value: Result<u32, &'static str>) -> Result<Arc<u32>, &'static str> {
        value.map(Arc::new)
    }

    #[tokio::test]
    async fn is_fetched_again_after_five_minutes_and_survives_a_failure() {
        let kept = Kept::default();
        assert_eq!(kept.get(NOW, fetched(Err("down"))).await, Err("down"));
        assert_eq!(*kept.get(NOW, fetched(Ok(1))).await.unwrap(), 1);
        assert_eq!(*kept.get(NOW + KEPT_FOR - Duration::from_secs(1), fetched(Ok(2))).await.unwrap(), 1);
        assert_eq!(*kept.get(NOW + KEPT_FOR, fetched(Err("down"))).await.unwrap(), 1);
        assert_eq!(*kept.get(NOW + KEPT_FOR, fetched(Ok(2))).await.unwrap(), 2);
        assert_eq!(*kept.renew(NOW + KEPT_FOR, fetched(Ok(3))).await.unwrap(), 3);
        kept.forget().await;
        assert_eq!(kept.get(NOW, fetched(Err("down"))).await, Err("down"));
    }
}
