//! Points in time. Functions of this crate take "now" as an argument, so that a test can choose it.

use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC: the unit of 8x8's `x-8x8-transmission-time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The system's clock. A clock before 1970 reads as 1970.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since the epoch, the unit of `expires_at`.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// From a date and time of ISO 8601 with its offset, as RFC 3339 profiles it: 8x8's `createdAt`.
    pub fn from_iso8601(text: &str) -> Option<Self> {
        let time = DateTime::from_str(text, Format::DateTimeWithOffset).ok()?;
        time.to_millis().ok()?.try_into().ok().map(Self)
    }

    /// As ISO 8601 in UTC, for times that the format has: those before the year 10000.
    pub fn to_iso8601(self) -> Option<String> {
        DateTime::from_millis(i64::try_from(self.0).ok()?).fmt(Format::DateTime).ok()
    }

    /// From the date of an HTTP header (RFC 9110 §5.6.7).
    pub fn from_http_date(text: &str) -> Option<Self> {
        httpdate::parse_http_date(text).ok().map(Self::from)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for UnixTime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_8x8s_times() {
        let time = UnixTime::from_millis(1_611_995_400_000);
        assert_eq!(UnixTime::from_iso8601("2021-01-30T08:30:00Z"), Some(time));
        assert_eq!(UnixTime::from_iso8601("2021-01-30T10:30:00.250+02:00"), Some(time + Duration::from_millis(250)));
        assert_eq!(time.to_iso8601().as_deref(), Some("2021-01-30T08:30:00Z"));
        assert_eq!(UnixTime::from_iso8601("yesterday"), None);
    }
}
