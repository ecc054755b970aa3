//! Finds the change of the body or of a header that explains a signature that does not match.

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA256, digest};

use super::changes;
use super::claims::{CUSTOMER_ID, Claims, EVENT_ID, RETRY, TENANT_ID, TRANSMISSION_TIME, number};
use super::jws::{Jws, header_of_8x8};

/// 8x8's retries come one after the other. More retries than this would mean an outage of hours.
const RETRIES: u64 = 20;

/// A transmission time without milliseconds may have been rounded; the signed time is less than a second away.
const SECOND: u64 = 1000;

/// Two changes are tried on bodies up to this size. 8x8's events have some KiB; half a MiB would take ten seconds or more.
const TWO_CHANGES_LIMIT: usize = 64 * 1024;

/// The text that was signed; only its digest is known.
#[derive(Debug)]
pub(super) struct Search<'r> {
    pub(super) jws: &'r Jws,
    pub(super) claims: &'r Claims,
    pub(super) body: &'r [u8],
    /// The digest that the signature holds.
    pub(super) digest: [u8; 32],
    /// The id of the key that made the signature, where the key names it.
    pub(super) kid: Option<&'r str>,
}

impl Search<'_> {
    /// The change, as a sentence. `None` if none of the changes that are tried here explains the signature.
    pub(super) fn explanation(&self) -> Option<String> {
        let header = self.jws.header.as_str();
        let checksum = crc32fast::hash(self.body);
        let fits = |checksum| self.is_signed(header, self.claims, checksum);

        // One change of the body. Different changes often lead to the same body: each is tried once.
        let mut seen = HashSet::from([checksum]);
        let mut bodies = Vec::new();
        for change in changes::all() {
            if let Some(before) = change.undo(self.body).filter(|before| seen.insert(crc32fast::hash(before))) {
                if fits(crc32fast::hash(&before)) {
                    return Some(body_sentence(change.what));
                }
                bodies.push((change.what, before));
            }
        }

        // One header, or the protected header of the JWS.
        let headers = self.other_headers();
        if let Some((what, _)) = headers.iter().find(|(_, claims)| self.is_signed(header, claims, checksum)) {
            return Some(header_sentence(what));
        }
        let kids = [self.kid, self.jws.kid.as_deref()].into_iter().flatten();
        if kids.map(header_of_8x8).any(|header| self.is_signed(&header, self.claims, checksum)) {
            return Some(header_sentence("the JWS header in x-8x8-signature was another one when it was signed"));
        }

        // One header and one change of the body.
        for (changed_body, body) in &bodies {
            let checksum = crc32fast::hash(body);
            if let Some((what, _)) = headers.iter().find(|(_, claims)| self.is_signed(header, claims, checksum)) {
                return Some(format!("{} {}", header_sentence(what), body_sentence(changed_body)));
            }
        }

        if self.body.len() > TWO_CHANGES_LIMIT {
            return None;
        }
        // Two changes of the body. The fast ones are tried first: an object of eight members has 40,320 orders.
        for (later, body) in &bodies {
            for change in changes::all() {
                let before = change.undo(body).map(|before| crc32fast::hash(&before));
                if before.filter(|checksum| seen.insert(*checksum)).is_some_and(fits) {
                    return Some(body_sentence(&format!("{}, and then {later}", change.what)));
                }
            }
        }
        let reordered = |body: &[u8]| changes::orders(body).iter().any(|before| fits(crc32fast::hash(before)));
        if reordered(self.body) {
            return Some(body_sentence(REORDERED));
        }
        if let Some((later, _)) = bodies.iter().find(|(_, body)| reordered(body)) {
            return Some(body_sentence(&format!("{REORDERED}, and then {later}")));
        }
        None
    }

    fn is_signed(&self, header: &str, claims: &Claims, checksum: u32) -> bool {
        let input = claims.signing_input(header, checksum);
        input.is_some_and(|input| digest(&SHA256, input.as_bytes()).as_ref() == self.digest)
    }

    /// Headers that may have been signed in place of those that arrived, each with a description of the change.
    fn other_headers(&self) -> Vec<(String, Claims)> {
        let mut headers = Vec::new();
        let mut add = |name, arrived: &Option<String>, signed: String, set: fn(&mut Claims) -> &mut Option<String>| {
            if arrived.as_ref() != Some(&signed) {
                let mut claims = self.claims.clone();
                let arrived = arrived.as_ref().map_or("missing".to_owned(), |arrived| format!("{arrived:?}"));
                let what = format!("{name} was {signed:?} when it was signed, and is {arrived} now");
                *set(&mut claims) = Some(signed);
                headers.push((what, claims));
            }
        };
        let Claims { tenant_id, customer_id, event_id, retry, transmission_time } = self.claims;
        for signed in 0..=RETRIES {
            add(RETRY, retry, signed.to_string(), |claims| &mut claims.retry);
        }
        for signed in retry.iter().flat_map(|value| spellings(value)).filter(|value| number(value).is_some()) {
            add(RETRY, retry, signed, |claims| &mut claims.retry);
        }
        let times =
            transmission_time.iter().flat_map(|value| spellings(value)).filter_map(|value| value.parse::<u64>().ok());
        for time in times {
            let margin = if time.is_multiple_of(SECOND) { SECOND } else { 0 };
            let around = time.saturating_sub(margin)..=time.saturating_add(margin);
            for signed in [time.saturating_mul(1000), time / 1000].into_iter().chain(around) {
                add(TRANSMISSION_TIME, transmission_time, signed.to_string(), |claims| &mut claims.transmission_time);
            }
        }
        for signed in tenant_id.iter().flat_map(|value| spellings(value)).chain(customer_id.clone()) {
            add(TENANT_ID, tenant_id, signed, |claims| &mut claims.tenant_id);
        }
        for signed in customer_id.iter().flat_map(|value| spellings(value)).chain(tenant_id.clone()) {
            add(CUSTOMER_ID, customer_id, signed, |claims| &mut claims.customer_id);
        }
        for signed in event_id.iter().flat_map(|value| spellings(value)) {
            add(EVENT_ID, event_id, signed, |claims| &mut claims.event_id);
        }
        if tenant_id != customer_id {
            let swapped =
                Claims { tenant_id: customer_id.clone(), customer_id: tenant_id.clone(), ..self.claims.clone() };
            headers.push((format!("{TENANT_ID} and {CUSTOMER_ID} were exchanged"), swapped));
        }
        headers
    }
}

const REORDERED: &str =
    "the JSON was re-serialised with the members of its objects in another order, and perhaps other white space";

fn body_sentence(what: &str) -> String {
    format!(
        "Between 8x8 and this capture {what}. With that undone, the signature is right. The load balancer, proxy or framework \
         must pass the bytes of the body on unchanged, and they must be checked before they are parsed."
    )
}

fn header_sentence(what: &str) -> String {
    format!(
        "Between 8x8 and this capture a header was changed: {what}. With that undone, the signature is right. Headers that start with x-8x8- must be passed on unchanged."
    )
}

/// The value before a proxy, or a person who copied it, may have changed it: by a change of case, white space, quotation marks,
/// leading zeros, or a second header that was joined to the first (RFC 9110, section 5.3).
fn spellings(value: &str) -> Vec<String> {
    let once = match value.split_once(',') {
        Some((first, second)) if first.trim() == second.trim() => first,
        _ => value,
    };
    let bare = once.trim().trim_matches('"');
    let digits = match bare.trim_start_matches('+').trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    vec![once.to_owned(), bare.to_owned(), digits.to_owned(), bare.to_lowercase(), bare.to_uppercase()]
}
