//! What a check found, and the report of all of them.

use serde::Serialize;

/// How a check ended; the last one is the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It does not apply here, or what it needs is missing, which another check reports.
    Skipped,
    /// All is well.
    Ok,
    /// It works, and something should be done.
    Warning,
    /// It could not be found out.
    Unknown,
    /// It does not work.
    Failed,
}

/// What a check found, and what to do about it. Neither has a secret, a token or the text of a message in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    status: Status,
    found: String,
    /// One action of an administrator. `None` if there is nothing to do.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    action: Option<String>,
}

impl Finding {
    pub(crate) fn ok(found: impl Into<String>) -> Self {
        Self { status: Status::Ok, found: found.into(), action: None }
    }

    pub(crate) fn skipped(found: impl Into<String>) -> Self {
        Self { status: Status::Skipped, found: found.into(), action: None }
    }

    /// Not checked as long as `check` fails.
    pub(crate) fn after(check: &str) -> Self {
        Self::skipped(format!("not checked: see {check}"))
    }

    pub(crate) fn warning(found: impl Into<String>, action: impl Into<String>) -> Self {
        Self { status: Status::Warning, found: found.into(), action: Some(action.into()) }
    }

    pub(crate) fn unknown(found: impl Into<String>, action: impl Into<String>) -> Self {
        Self { status: Status::Unknown, found: found.into(), action: Some(action.into()) }
    }

    pub(crate) fn failed(found: impl Into<String>, action: impl Into<String>) -> Self {
        Self { status: Status::Failed, found: found.into(), action: Some(action.into()) }
    }
}

/// What all checks found: `{"status","checks":[{"check","status","found","do"?}]}`.
#[derive(Debug, Serialize)]
pub struct Report {
    status: Status,
    checks: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    check: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

impl Report {
    /// The status is the worst of all, and `ok` if there is no worse one.
    pub(crate) fn new(findings: impl Iterator<Item = (&'static str, Finding)>) -> Self {
        let checks: Vec<Row> = findings.map(|(check, finding)| Row { check, finding }).collect();
        let worst = checks.iter().map(|row| row.finding.status).max().unwrap_or(Status::Ok);
        Self { status: worst.max(Status::Ok), checks }
    }

    pub(crate) fn status(&self) -> &'static str {
        match self.status {
            Status::Skipped => "skipped",
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Unknown => "unknown",
            Status::Failed => "failed",
        }
    }
}
