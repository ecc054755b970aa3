//! The time of the pure paths: runs `benches/pure.rs` and reads what criterion has written down.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::operations::Operation;

/// The time of one pure path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Time {
    /// What was done.
    pub name: String,
    /// Nanoseconds, the median.
    pub median: f64,
    /// The interval that holds the true median with 95 % confidence.
    pub interval: [f64; 2],
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// Measures all of them; `target` is cargo's folder.
pub fn measure(target: &Path) -> Vec<Time> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["bench", "--quiet", "--locked", "--package", "bench", "--bench", "pure"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "the pure paths cannot be measured");
    let time = |operation: Operation| {
        let name = operation.name();
        let file = target.join("criterion").join(&name).join("new/estimates.json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let Estimates { median } = serde_json::from_str(&text).expect("criterion writes its estimates");
        let Interval { lower_bound, upper_bound } = median.confidence_interval;
        Time { name, median: median.point_estimate, interval: [lower_bound, upper_bound] }
    };
    Operation::all().into_iter().map(time).collect()
}
