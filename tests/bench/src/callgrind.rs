//! Instructions, counted by valgrind's callgrind: the figure that does not depend on the machine. What comes before the
//! work (a start, a key, a token) is paid twice and falls out in the difference of a short and a long run.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aws::lambda::{Function, FunctionSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::operations::Operation;

/// Each run long enough that what differs from run to run (the seeds of hash maps) is below a thousandth.
const TIMES: [u64; 2] = [200, 1200];

/// The same for a function: an event costs more than a pure path.
const EVENTS: [u64; 2] = [100, 500];

/// Instructions of one thing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Instructions {
    /// What was done.
    pub name: String,
    /// How many instructions it takes, in user space.
    pub instructions: f64,
}

/// Whether valgrind is on this machine.
pub fn is_present() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Every pure path; `binary` is that of `operation`.
pub fn operations(binary: &Path, folder: &Path) -> Vec<Instructions> {
    let count = |place: usize, times: u64| {
        let out = folder.join("operation.callgrind");
        let status = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(binary)
            .args([place.to_string(), times.to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "callgrind fails on {}", binary.display());
        total(&out)
    };
    let operations = Operation::all().into_iter().enumerate();
    operations
        .map(|(place, operation)| {
            let [short, long] = TIMES.map(|times| count(place, times));
            Instructions { name: operation.name(), instructions: per_unit(short, long, TIMES) }
        })
        .collect()
}

/// A function's whole way through one event, from the runtime API's response to its own; `event` makes the events.
pub async fn function(settings: &FunctionSettings, folder: &Path, event: impl AsyncFn() -> Value) -> Instructions {
    let mut totals = [0; 2];
    for (total_of_run, events) in totals.iter_mut().zip(EVENTS) {
        let out = folder.join(format!("{}.callgrind", settings.name));
        let _ = std::fs::remove_file(&out);
        let (logs, _lines) = mpsc::unbounded_channel();
        let binary = under_callgrind(&settings.binary, &out, folder);
        // Valgrind takes fifty times as long.
        let settings = FunctionSettings { binary, timeout: settings.timeout * 50, ..settings.clone() };
        let function = Function::new(settings, Arc::default(), logs);
        for _ in 0..events {
            function.invoke(&event().await).await.expect("the function answers");
        }
        for process in function.processes() {
            // Callgrind writes what it has counted when the process is asked to end.
            Command::new("kill").arg(process.to_string()).status().expect("the process can be ended");
        }
        *total_of_run = loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if std::fs::read_to_string(&out).is_ok_and(|text| text.contains("\ntotals:")) {
                break total(&out);
            }
        };
    }
    Instructions { name: settings.name.to_owned(), instructions: per_unit(totals[0], totals[1], EVENTS) }
}

/// A script that starts `binary` under callgrind, in place of the binary.
fn under_callgrind(binary: &Path, out: &Path, folder: &Path) -> PathBuf {
    let script = folder.join("under-callgrind");
    let (out, binary) = (out.display(), binary.display());
    let text = format!("#!/bin/sh\nexec valgrind --tool=callgrind --quiet --callgrind-out-file='{out}' '{binary}'\n");
    std::fs::write(&script, text).expect("the script can be written");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it can be made executable");
    script
}

fn total(out: &Path) -> u64 {
    let text = std::fs::read_to_string(out).expect("callgrind has written its counts");
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).expect("callgrind writes the total")
}

fn per_unit(short: u64, long: u64, [few, many]: [u64; 2]) -> f64 {
    long.saturating_sub(short) as f64 / (many - few) as f64
}
