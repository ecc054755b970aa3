//! The report of check-integration as a table for the terminal.

use serde_json::Value;

/// The width of the table in columns.
const WIDTH: usize = 100;

/// The width of a status and of a check's name in columns: `unknown`, `contact-center-secret`.
const STATUS: usize = 7;
const NAME: usize = 21;

/// The table of a report, with one or more lines for each check.
pub fn table(report: &Value) -> String {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    for row in report["checks"].as_array().into_iter().flatten() {
        let start = format!("{:<STATUS$}  {:<NAME$}  ", text(row, "status"), text(row, "check"));
        let indent = " ".repeat(start.len());
        lines.extend(wrapped(&text(row, "found"), &start, &indent));
        if row.get("do").is_some() {
            lines.extend(wrapped(&text(row, "do"), &format!("{indent}→ "), &format!("{indent}  ")));
        }
    }
    lines.join("\n")
}

/// Whether the report has no problem.
pub fn is_well(report: &Value) -> bool {
    report["status"] == "ok"
}

/// Breaks a text between words. A word that is longer than a line is not broken, so that it can be copied.
fn wrapped(text: &str, first: &str, others: &str) -> Vec<String> {
    let mut lines = vec![first.to_owned()];
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a first one");
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("{others}{word}"));
        } else {
            *line = if is_empty { format!("{line}{word}") } else { format!("{line} {word}") };
        }
        is_empty = false;
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_every_check_with_what_to_do_and_is_100_columns_wide() {
        let long = "a sentence ".repeat(30);
        let report = json!({ "status": "failed", "checks": [
            { "check": "bot-secret", "status": "ok", "found": "it holds all that is needed" },
            { "check": "webhook", "status": "failed", "found": long, "do": long },
        ] });
        let table = table(&report);
        assert!(
            table.starts_with("ok       bot-secret             it holds all that is needed\nfailed   webhook  "),
            "{table}"
        );
        assert!(table.lines().all(|line| line.chars().count() <= WIDTH), "{table}");
        assert_eq!(table.matches("a sentence").count() + table.matches("a\n").count(), 60, "{table}");
        assert_eq!(table.matches('→').count(), 1);
        assert!(!is_well(&report));
    }
}
