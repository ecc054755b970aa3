//! What the kernel reports of a process.

use std::fs;

/// A running process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub id: u32,
    /// Its program's name.
    pub name: String,
}

/// The processes that `parent` has started.
pub fn children(parent: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("this is Linux");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| {
        // `id (name) state parent …`; a name may hold spaces and parentheses.
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (_, after) = stat.rsplit_once(") ")?;
        if after.split(' ').nth(1)?.parse() != Ok(parent) {
            return None;
        }
        let program = fs::read_link(format!("/proc/{id}/exe")).ok()?;
        Some(Process { id, name: program.file_name()?.to_str()?.to_owned() })
    })
    .collect()
}

/// Memory in use, in MiB.
pub fn memory(id: u32) -> Option<f64> {
    status(id, "VmRSS:")
}

/// The most memory that was ever in use, in MiB.
pub fn peak_memory(id: u32) -> Option<f64> {
    status(id, "VmHWM:")
}

/// Time on a processor, of all its threads, in milliseconds.
pub fn processor_time(id: u32) -> Option<f64> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).ok()?;
    let times = threads.filter_map(|thread| {
        let schedule = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        schedule.split(' ').next()?.parse::<f64>().ok()
    });
    Some(times.sum::<f64>() / 1e6)
}

fn status(id: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(kilobytes.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
}
