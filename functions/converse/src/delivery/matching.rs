//! Whether one of the messages that 8x8 lists is the one whose outcome is unknown.
//!
//! It is there if 8x8 lists one more of the same content, at about the time of the attempt, than can be explained by those that
//! are known to have been sent. It is not there only if everything that is listed for that time is explained. A message that
//! is being sent by another request may be at 8x8 or not: what it may explain is no proof.

use std::time::Duration;

use shared::clock::UnixTime;

use super::attempt::{COMMIT_WINDOW, Interval};
use super::sent_log::SentMessage;

/// 8x8's clock is read from a response's `Date`, which has whole seconds, and `createdAt` may have whole seconds too.
const SKEW: Duration = Duration::from_secs(2);

/// A request that is being sent has ended after the function's time-out, rounded up.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);

/// A message that 8x8 lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// 8x8's id, by which a message that is on two pages is known; the older API has none, and only one page.
    pub(super) id: Option<String>,
    pub(super) content: String,
    /// By our clock; `None` in the older API, which shows no times.
    pub(super) time: Option<UnixTime>,
}

/// What is known about a message that may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Found,
    Absent,
    Unclear,
}

/// Where the search has to begin so that every message that is known and may be listed for the time of the attempt is seen
/// with the others of its kind.
pub(super) fn begin_of_search(interval: Interval, known: &[&SentMessage]) -> UnixTime {
    let mut begin = interval.began - SKEW;
    let mut known: Vec<_> = known.iter().map(|message| possible(message)).collect();
    known.sort_unstable_by_key(|(began, _)| std::cmp::Reverse(*began));
    for (from, until) in known {
        if until >= begin && from < begin {
            begin = from;
        }
    }
    begin
}

/// When 8x8 may have created a message: it may take a while after it has accepted it.
fn possible(message: &SentMessage) -> (UnixTime, UnixTime) {
    let ended = message.accepted.unwrap_or(message.began + LONGEST_REQUEST);
    (message.began - SKEW, ended + COMMIT_WINDOW)
}

/// Compares the messages that are listed with those that are known, each with the time in which it was sent.
pub(super) fn by_time(
    listed: &[Listed],
    known: &[&SentMessage],
    content: &str,
    attempt: Interval,
    now: UnixTime,
) -> Verdict {
    let mut listed: Vec<(UnixTime, &str)> =
        listed.iter().filter_map(|listed| Some((listed.time?, listed.content.as_str()))).collect();
    listed.sort_unstable();
    let (mut accepted, mut sending): (Vec<_>, Vec<_>) =
        known.iter().copied().partition(|message| message.accepted.is_some());
    let is_same = |known: &SentMessage, content: &str| known.fingerprint.content == content;
    // First those of the same content, then any of that time: 8x8 may show a message in another form.
    let unexplained = explain(listed, &mut accepted, is_same);
    let (of_content, others): (Vec<_>, Vec<_>) = unexplained.into_iter().partition(|(_, listed)| *listed == content);
    let others = explain(others, &mut accepted, |_, _| true);
    let others = explain(others, &mut sending.clone(), |_, _| true);
    let (begin, end) = (attempt.began - SKEW, attempt.ended + COMMIT_WINDOW + SKEW);
    let is_in_time = |(time, _): &(UnixTime, &str)| (begin..=end).contains(time);
    let candidates: Vec<_> = of_content.into_iter().filter(is_in_time).collect();
    if !candidates.is_empty() {
        let is_certain = !explain(candidates, &mut sending, is_same).is_empty();
        return if is_certain { Verdict::Found } else { Verdict::Unclear };
    }
    // One of the same content that is not listed yet may have been taken for another: it is clear when it is listed.
    let is_pending = |message: &&SentMessage| {
        let (from, until) = possible(message);
        message.fingerprint.content == content && from <= end && until >= begin && now < until
    };
    let is_unclear = others.iter().any(is_in_time) || accepted.iter().any(is_pending);
    if is_unclear { Verdict::Unclear } else { Verdict::Absent }
}

/// What is listed and cannot be one of those that are known; these are removed. Each known one explains one of its time, the
/// one that ends first before the others, so that as many as possible are explained.
fn explain<'l>(
    listed: Vec<(UnixTime, &'l str)>,
    known: &mut Vec<&SentMessage>,
    is_same: impl Fn(&SentMessage, &str) -> bool,
) -> Vec<(UnixTime, &'l str)> {
    let mut unexplained = Vec::new();
    for (time, content) in listed {
        let candidates = known.iter().enumerate().filter(|(_, message)| {
            let (from, until) = possible(message);
            (from..=until).contains(&time) && is_same(message, content)
        });
        match candidates.min_by_key(|(_, message)| possible(message).1).map(|(index, _)| index) {
            Some(index) => drop(known.swap_remove(index)),
            None => unexplained.push((time, content)),
        }
    }
    unexplained
}

/// Counts, where 8x8 shows no times.
pub(super) fn by_count(listed: &[Listed], known: &[&SentMessage], content: &str) -> Verdict {
    let same_listed = listed.iter().filter(|listed| listed.content == content).count();
    let of_content = || known.iter().filter(|known| known.fingerprint.content == content);
    let same_accepted = of_content().filter(|known| known.accepted.is_some()).count();
    if same_listed > of_content().count() {
        Verdict::Found
    } else if same_listed != same_accepted || listed.len() > known.len() {
        // One that is known is not listed yet, it may be one that is being sent, or one is listed in another form.
        Verdict::Unclear
    } else {
        Verdict::Absent
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::MessageFingerprint;
    use super::*;

    fn at(millis: u64) -> UnixTime {
        UnixTime::from_millis(1_000_000 + millis)
    }

    fn interval(began: u64, ended: u64) -> Interval {
        Interval { began: at(began), ended: at(ended) }
    }

    fn known(content: &str, began: u64, accepted: impl Into<Option<u64>>) -> SentMessage {
        SentMessage {
            owner: "another request".to_owned(),
            fingerprint: MessageFingerprint { author: "user".to_owned(), content: content.to_owned() },
            began: at(began),
            accepted: accepted.into().map(at),
        }
    }

    /// An attempt from 100 to 101 s of a message `a`, judged long after.
    fn judge(listed: &[(&str, u64)], known: &[SentMessage]) -> Verdict {
        judge_at(500_000, listed, known)
    }

    fn judge_at(now: u64, listed: &[(&str, u64)], known: &[SentMessage]) -> Verdict {
        let listed: Vec<_> = listed
            .iter()
            .map(|(content, time)| Listed { id: None, content: (*content).to_owned(), time: Some(at(*time)) })
            .collect();
        let known: Vec<_> = known.iter().collect();
        by_time(&listed, &known, "a", interval(100_000, 101_000), at(now))
    }

    #[test]
    fn a_message_is_found_if_more_are_listed_than_are_known() {
        assert_eq!(judge(&[("a", 100_500)], &[]), Verdict::Found);
        assert_eq!(judge(&[], &[]), Verdict::Absent);
        // The same was said before, and again.
        assert_eq!(judge(&[("a", 99_000)], &[known("a", 98_500, 99_500)]), Verdict::Absent);
        assert_eq!(judge(&[("a", 99_000), ("a", 100_500)], &[known("a", 98_500, 99_500)]), Verdict::Found);
        // 8x8 accepted the one before and listed it seconds later.
        assert_eq!(judge(&[("a", 100_500)], &[known("a", 98_500, 99_500)]), Verdict::Absent);
        // Too early, too late.
        assert_eq!(judge(&[("a", 90_000), ("a", 140_000)], &[]), Verdict::Absent);
    }

    #[test]
    fn a_message_that_is_not_explained_may_be_it_in_another_form() {
        assert_eq!(judge(&[("b", 100_500)], &[]), Verdict::Unclear);
        assert_eq!(judge(&[("b", 100_500)], &[known("b", 100_000, 101_000)]), Verdict::Absent);
        // Another one that is known, shown in another form.
        assert_eq!(judge(&[("c", 100_500)], &[known("b", 100_000, 101_000)]), Verdict::Absent);
        assert_eq!(judge(&[("b", 90_000)], &[]), Verdict::Absent);
    }

    #[test]
    fn while_a_known_one_is_not_listed_it_is_not_clear() {
        let known = [known("a", 99_000, 99_500), known("a", 100_000, 101_000)];
        assert_eq!(judge_at(130_000, &[("a", 100_500)], &known), Verdict::Unclear);
        assert_eq!(judge_at(200_000, &[("a", 100_500)], &known), Verdict::Absent);
    }

    #[test]
    fn what_another_request_may_have_sent_is_no_proof() {
        let sending = [known("a", 99_000, None)];
        assert_eq!(judge(&[("a", 100_500)], &sending), Verdict::Unclear);
        assert_eq!(judge(&[("a", 100_400), ("a", 100_500)], &sending), Verdict::Found);
        assert_eq!(judge(&[], &sending), Verdict::Absent);
    }

    #[test]
    fn without_times_the_messages_are_counted() {
        let listed = |contents: &[&str]| -> Vec<Listed> {
            contents.iter().map(|content| Listed { id: None, content: (*content).to_owned(), time: None }).collect()
        };
        let (a, b, sending) = (known("a", 0, 1), known("b", 0, 1), known("a", 0, None));
        assert_eq!(by_count(&listed(&["a", "a"]), &[&a], "a"), Verdict::Found);
        assert_eq!(by_count(&listed(&["a", "a"]), &[&a, &sending], "a"), Verdict::Unclear);
        assert_eq!(by_count(&listed(&["a"]), &[&a], "a"), Verdict::Absent);
        assert_eq!(by_count(&listed(&["a", "b"]), &[&a, &b], "a"), Verdict::Absent);
        assert_eq!(by_count(&listed(&["a", "x"]), &[&a], "a"), Verdict::Unclear);
        assert_eq!(by_count(&listed(&[]), &[&a], "a"), Verdict::Unclear);
    }

    #[test]
    fn the_search_begins_before_what_may_be_taken_for_the_message() {
        let attempt = interval(100_000, 101_000);
        assert_eq!(begin_of_search(attempt, &[]), at(98_000));
        assert_eq!(begin_of_search(attempt, &[&known("a", 80_000, 81_000)]), at(78_000));
        assert_eq!(begin_of_search(attempt, &[&known("a", 10_000, 11_000)]), at(98_000));
        let chain = [known("a", 50_000, 51_000), known("a", 80_000, 81_000)];
        assert_eq!(begin_of_search(attempt, &[&chain[0], &chain[1]]), at(48_000));
    }
}
