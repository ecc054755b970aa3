//! CloudWatch Logs: the lines of the functions, with a log group for each function, and filter patterns for fields of JSON
//! lines.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>

use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};

use super::AwsError;
use crate::lambda::LogLine;

/// The number of events on a page; AWS has ten thousand, or a megabyte.
const PAGE: usize = 100;

/// The log groups of an account.
#[derive(Debug, Default)]
pub struct Logs {
    lines: Mutex<Vec<LogLine>>,
}

/// The group that a function writes to, as Lambda names it.
pub fn log_group(function: &str) -> String {
    format!("/aws/lambda/{function}")
}

impl Logs {
    /// Adds a line that a function wrote.
    pub fn add(&self, line: LogLine) {
        self.lines().push(line);
    }

    /// Every line that a function wrote.
    pub fn all(&self) -> Vec<LogLine> {
        self.lines().clone()
    }

    /// Responds to one operation.
    pub(super) fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "FilterLogEvents" => self.filter_log_events(input),
            unknown => Err(AwsError::unknown_operation(unknown)),
        }
    }

    /// Oldest first, as AWS returns them. A page of AWS may hold fewer events than fit on it; here the first page is empty.
    fn filter_log_events(&self, input: &Value) -> Result<Value, AwsError> {
        let text = |field: &str| {
            let missing = || invalid(&format!("{field} is missing"));
            input.get(field).and_then(Value::as_str).ok_or_else(missing)
        };
        let function = text("logGroupName")?.strip_prefix(&log_group(""));
        let function = function
            .ok_or_else(|| AwsError::invalid("ResourceNotFoundException", "The specified log group does not exist."))?;
        let pattern = FilterPattern::parse(text("filterPattern")?);
        let pattern = pattern.ok_or_else(|| invalid("the pattern is not simulated"))?;
        let time = |field: &str| input.get(field).and_then(Value::as_u64);
        let (from, to) = (time("startTime").unwrap_or(0), time("endTime").unwrap_or(u64::MAX));
        let start = match input.get("nextToken").and_then(Value::as_str) {
            None => return Ok(json!({ "events": [], "nextToken": "0" })),
            Some(token) => token.parse::<usize>().map_err(|_| invalid("The specified nextToken is invalid."))?,
        };
        let lines = self.lines();
        let of_function = lines.iter().filter(|line| line.function == function);
        let mut matching = of_function.filter_map(|line| {
            let fields: Value = serde_json::from_str(&line.text).ok()?;
            let timestamp = timestamp(&fields).filter(|time| (from..=to).contains(time))?;
            pattern.matches(&fields).then(|| json!({ "timestamp": timestamp, "message": line.text }))
        });
        let events: Vec<Value> = matching.by_ref().skip(start).take(PAGE).collect();
        let mut response = json!({ "events": events });
        if matching.next().is_some() {
            response["nextToken"] = (start + PAGE).to_string().into();
        }
        Ok(response)
    }

    fn lines(&self) -> MutexGuard<'_, Vec<LogLine>> {
        self.lines.lock().expect("no holder panics")
    }
}

/// When a line was written, in milliseconds since the epoch.
fn timestamp(fields: &Value) -> Option<u64> {
    let format = aws_smithy_types::date_time::Format::DateTime;
    let time = aws_smithy_types::DateTime::from_str(fields["timestamp"].as_str()?, format).ok()?;
    u64::try_from(time.to_millis().ok()?).ok()
}

/// A filter pattern for lines that are JSON: conditions on their fields.
///
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>
#[derive(Debug)]
pub struct FilterPattern {
    /// Fields with the text that they must have; `None` means any value.
    conditions: Vec<(String, Option<String>)>,
    /// Whether all conditions must hold, or only one of them.
    needs_all: bool,
}

impl FilterPattern {
    /// Reads `{ $.field = "text" }`, and `{ ($.field = "text") || ($.field = *) }` with any number of alternatives, or with
    /// `&&` in place of `||`. `None` for any other pattern.
    pub fn parse(pattern: &str) -> Option<Self> {
        let conditions = pattern.strip_prefix("{ ")?.strip_suffix(" }")?;
        let condition = |condition: &str| {
            let (field, value) = condition.strip_prefix("$.")?.split_once(" = ")?;
            if value == "*" {
                return Some((field.to_owned(), None));
            }
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            (!value.contains(['"', '*', '%'])).then(|| (field.to_owned(), Some(value.to_owned())))
        };
        if let Some(only) = condition(conditions) {
            return Some(Self { conditions: vec![only], needs_all: true });
        }
        let needs_all = conditions.contains(" && ");
        let parts = conditions.split(if needs_all { " && " } else { " || " });
        let conditions: Option<_> = parts.map(|part| condition(part.strip_prefix('(')?.strip_suffix(')')?)).collect();
        Some(Self { conditions: conditions?, needs_all })
    }

    /// Whether the pattern matches a line with these fields.
    pub fn matches(&self, fields: &Value) -> bool {
        let holds = |(field, text): &(String, Option<String>)| match text {
            Some(text) => fields[field].as_str() == Some(text),
            None => fields.get(field).is_some(),
        };
        if self.needs_all { self.conditions.iter().all(holds) } else { self.conditions.iter().any(holds) }
    }
}

fn invalid(message: &str) -> AwsError {
    AwsError::invalid("InvalidParameterException", message)
}
