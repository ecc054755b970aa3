//! The headers that the signature covers.

use super::{AGE, AHEAD, Check};
use crate::captured::CapturedRequest;

pub(super) const SIGNATURE: &str = "x-8x8-signature";
pub(super) const TENANT_ID: &str = "x-8x8-tenant-id";
pub(super) const CUSTOMER_ID: &str = "x-8x8-customer-id";
pub(super) const EVENT_ID: &str = "x-8x8-event-id";
pub(super) const RETRY: &str = "x-8x8-retry";
pub(super) const TRANSMISSION_TIME: &str = "x-8x8-transmission-time";

/// The values of the headers, as text. `None` where the header is missing.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    pub(super) tenant_id: Option<String>,
    pub(super) customer_id: Option<String>,
    pub(super) event_id: Option<String>,
    pub(super) retry: Option<String>,
    pub(super) transmission_time: Option<String>,
}

impl Claims {
    /// The text that is signed. `None` if a header is missing.
    pub(super) fn signing_input(&self, jws_header: &str, checksum: u32) -> Option<String> {
        let text = |value: &Option<String>| Some(serde_json::Value::from(value.as_deref()?).to_string());
        Some(format!(
            r#"{jws_header}.{{"checksum":{checksum},"cid":{},"eid":{},"retry":{},"tid":{},"tt":{}}}"#,
            text(&self.customer_id)?,
            text(&self.event_id)?,
            self.retry.as_deref()?,
            text(&self.tenant_id)?,
            self.transmission_time.as_deref()?,
        ))
    }
}

/// Checks that each header occurs once and is well-formed. Returns the value for the next checks, even if a check failed.
pub(super) fn read(request: &CapturedRequest, checks: &mut Vec<Check>) -> (Option<String>, Claims) {
    let mut header = |name, is_number| {
        let (check, value) = check(request, name, is_number);
        checks.push(check);
        value
    };
    let signature = header(SIGNATURE, false);
    let claims = Claims {
        tenant_id: header(TENANT_ID, false),
        customer_id: header(CUSTOMER_ID, false),
        event_id: header(EVENT_ID, false),
        retry: header(RETRY, true),
        transmission_time: header(TRANSMISSION_TIME, true),
    };
    (signature, claims)
}

fn check(request: &CapturedRequest, name: &'static str, is_number: bool) -> (Check, Option<String>) {
    let values: Vec<_> = request.values(name).collect();
    let Some(first) = values.first().filter(|value| !value.is_empty()) else {
        let found = if values.is_empty() { "missing" } else { "empty" };
        let text = format!("{found}; 8x8 sends it with every event: let the proxy or load balancer pass it on");
        return (Check::fails(name, text), None);
    };
    let value = String::from_utf8_lossy(first).into_owned();
    let check = if values.len() > 1 {
        let same = if values.iter().all(|value| value == first) { "the same value" } else { "different values" };
        Check::fails(name, format!("occurs {} times, with {same}; expected once", values.len()))
    } else if !first.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\t') {
        Check::fails(name, format!("{value:?} has characters that are not ASCII"))
    } else if is_number && number(&value).is_none() {
        Check::fails(name, format!("{value:?} is not a number as JSON writes it: digits, no sign, no leading zero"))
    } else if name == SIGNATURE {
        Check::ok(name, format!("{} characters", value.len()))
    } else {
        Check::ok(name, format!("{value:?}"))
    };
    (check, Some(value))
}

/// A number in the only form that JSON allows for it.
pub(super) fn number(text: &str) -> Option<u64> {
    let number = text.parse::<u64>().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Whether the request was sent within the window in which the bridge accepts it.
pub(super) fn check_age(claims: &Claims, at: u64) -> Check {
    const NAME: &str = "age";
    let Some(sent) = claims.transmission_time.as_deref().and_then(number) else {
        return Check::not_checked(NAME, format!("there is no time in {TRANSMISSION_TIME}"));
    };
    let (then, now) = (utc(sent), utc(at));
    if at.saturating_sub(sent) > AGE {
        let age = (at - sent).div_ceil(1000);
        let text = format!(
            "was sent at {then}, too old at {now}: {age} s, accepted are {} s; give --at {sent} to judge it at the time it \
             was sent",
            AGE / 1000
        );
        return Check::fails(NAME, text);
    }
    if sent.saturating_sub(at) > AHEAD {
        let text = format!(
            "was sent at {then}, which is more than {} s after {now}; check the receiver's clock, or give --at {sent}",
            AHEAD / 1000
        );
        return Check::fails(NAME, text);
    }
    Check::ok(NAME, format!("was sent at {then}, judged at {now}"))
}

/// A time as RFC 3339 writes it. The date is calculated as in Howard Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn utc(millis: u64) -> String {
    let (days, rest) = (millis / 86_400_000 + 719_468, millis % 86_400_000);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(1_709_251_199_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(utc(1_785_312_000_250), "2026-07-29T08:00:00.250Z");
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(number("0"), Some(0));
        for text in ["", "01", "+1", "-1", " 1", "1.0", "1e3", "18446744073709551616"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
