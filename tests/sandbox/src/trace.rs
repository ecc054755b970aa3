//! The log lines of each event and each call of the bot, and whether they are complete.

use std::collections::{BTreeMap, BTreeSet};

use aws::lambda::LogLine;
use contact_center::LoggedEvent;
use serde_json::Value;

use crate::deployment::{CONVERSE, DELIVER_MESSAGE};

/// The steps with which an event can end.
const ENDS: [&str; 3] = ["delivered", "skipped", "dead-lettered"];

/// The log lines by which conversations are followed.
#[derive(Debug)]
pub struct Trace {
    lines: Vec<(&'static str, Value)>,
    /// How often each event has each step.
    steps: BTreeMap<(String, String), usize>,
}

impl Trace {
    /// Reads log lines. Metrics are left out, and so are lines that are not JSON.
    pub fn of(logs: &[LogLine]) -> Self {
        let lines = logs.iter().filter_map(|line| Some((line.function, serde_json::from_str(&line.text).ok()?)));
        let lines: Vec<(&'static str, Value)> =
            lines.filter(|(_, line): &(_, Value)| line.get("_aws").is_none()).collect();
        let mut steps = BTreeMap::new();
        for (_, line) in &lines {
            if let (Some(step), Some(id)) = (line["step"].as_str(), line["event_id"].as_str()) {
                *steps.entry((id.to_owned(), step.to_owned())).or_default() += 1;
            }
        }
        Self { lines, steps }
    }

    /// How often an event has the step `step`.
    pub fn count(&self, event_id: &str, step: &str) -> usize {
        self.steps.get(&(event_id.to_owned(), step.to_owned())).copied().unwrap_or(0)
    }

    /// How often an event has ended.
    pub fn ends(&self, event_id: &str) -> usize {
        ENDS.iter().map(|step| self.count(event_id, step)).sum()
    }

    /// The lines of a conversation that have a step, in the order in which they were written.
    pub fn of_conversation(&self, conversation_id: &str) -> Vec<&Value> {
        let lines = self.lines.iter().map(|(_, line)| line);
        lines.filter(|line| line["conversation_id"] == conversation_id && line["step"].is_string()).collect()
    }

    /// The events that were skipped.
    pub fn skipped(&self) -> BTreeSet<&str> {
        self.steps.keys().filter(|(_, step)| step == "skipped").map(|(id, _)| id.as_str()).collect()
    }

    /// The lines about an event or a call that do not name it.
    pub fn nameless(&self) -> Vec<String> {
        let is_named = |(function, line): &&(&str, Value)| {
            let has = |name: &str| line[name].as_str().is_some_and(|value| !value.is_empty());
            let names_event = ["conversation_id", "event_id", "event_type"].into_iter().all(has);
            let is_step = line.get("step").is_some();
            match *function {
                // Every invocation is a call or an event.
                CONVERSE => has("operation"),
                DELIVER_MESSAGE => names_event,
                _ => !is_step || names_event,
            }
        };
        self.lines.iter().filter(|line| !is_named(line)).map(|(function, line)| format!("{function}: {line}")).collect()
    }

    /// What is wrong with the log lines of 8x8's events. Each event must have the step `queued` once for each 2xx that 8x8 got,
    /// and one end. An event may have one more only if completed work was done again: see [`Surplus`].
    pub fn failures(&self, events: &[LoggedEvent], possible: Surplus) -> Vec<String> {
        let mut failures = self.nameless();
        let mut surplus = Surplus { queued: 0, ends: 0 };
        for event in events {
            let accepted =
                event.attempts.iter().filter(|attempt| attempt.status.is_some_and(|status| status.is_success()));
            let (accepted, queued, ends) = (accepted.count(), self.count(&event.id, "queued"), self.ends(&event.id));
            if accepted == 0 {
                continue;
            }
            if queued < accepted || ends == 0 {
                failures.push(format!("{}: accepted {accepted} times, queued {queued} times, {ends} ends", event.id));
            }
            surplus.queued += queued.saturating_sub(accepted) as u64;
            surplus.ends += ends.saturating_sub(1) as u64;
        }
        if surplus.queued > possible.queued || surplus.ends > possible.ends {
            failures.push(format!("{surplus:?} lines too many, where {possible:?} are possible"));
        }
        failures
    }
}

/// The numbers of lines that events have in addition to the expected ones.
#[derive(Debug, Clone, Copy)]
pub struct Surplus {
    /// If a process of receive-message is killed after its line and before its response, 8x8 sends the event again.
    pub queued: u64,
    /// If SQS does not learn within the visibility timeout that deliver-message has settled a message, the message comes again:
    /// the process is killed after its line, or is too slow.
    pub ends: u64,
}
