//! What was to be reached.

use crate::cold::HELLO_WORLD;
use crate::peers::PEERS;
use crate::report::Results;

/// The two functions that an event passes.
const ON_THE_PATH: [&str; 2] = ["receive-message", "deliver-message"];

/// A target and what was measured.
#[derive(Debug, Clone)]
pub struct Target {
    /// What is limited.
    pub name: String,
    /// At most this.
    pub limit: f64,
    /// What was measured.
    pub measured: f64,
    /// Of both.
    pub unit: &'static str,
}

impl Target {
    /// Whether it is reached.
    pub fn is_reached(&self) -> bool {
        self.measured <= self.limit
    }
}

/// All of them for which something was measured.
pub fn all(results: &Results) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |name: String, limit, measured, unit| targets.push(Target { name, limit, measured, unit });
    let instructions =
        |name: &str| results.instructions.iter().find(|one| one.name == name).map(|one| one.instructions);
    if let (Some(receive), Some(bare)) = (instructions("receive-message"), instructions("bare RSA-2048 verification")) {
        let name = "receive-message for an event, as a multiple of the bare RSA verification (instructions)";
        add(name.to_owned(), 3.6, receive / bare, "×");
    }
    if let Some(bearer) = results.times.iter().find(|time| time.name == "check a bearer") {
        add("check a bearer".to_owned(), 20.0, bearer.median / 1000.0, "µs");
    }
    if let Some(hello_world) = results.cold.iter().find(|function| function.name == HELLO_WORLD) {
        for function in results.cold.iter().filter(|function| function.name != HELLO_WORLD) {
            let is_on_the_path = ON_THE_PATH.contains(&&*function.name);
            let limit = if is_on_the_path { 1.7 } else { 3.0 };
            let name = format!("init of {}, as a multiple of hello-world's", function.name);
            add(name, limit, function.init / hello_world.init, "×");
            if is_on_the_path {
                add(format!("peak memory of {}", function.name), 24.0, function.peak_memory, "MiB");
                if let Some(zip) = function.zip {
                    add(format!("zip of {}", function.name), 3.5, zip, "MiB");
                }
            }
        }
    }
    if let Some(receive) = results.cold.iter().find(|function| function.name == "receive-message") {
        // A peer that was not measured reaches nothing and misses nothing: the table of starts has the reason.
        let peers = results
            .peers
            .iter()
            .filter_map(|peer| Some((PEERS.iter().find(|row| row.name == peer.name)?, peer.measured.as_ref().ok()?)));
        for (row, peer) in peers {
            let name = |what| format!("{what} of receive-message, as a percentage of {}", row.name);
            add(name("processor time for an event"), row.processor_time, 100.0 * receive.ours / peer.ours, "%");
            add(name("init"), row.init, 100.0 * receive.init / peer.init, "%");
        }
    }
    if let Some(path) = &results.path {
        if let (Some(one), Some(most)) = (path.conversations.first(), path.conversations.last()) {
            let name = format!("p50 at {} conversations, as a multiple of that at 1", most.conversations);
            add(name, 1.3, most.latency[0] / one.latency[0], "×");
        }
        add("log lines of an event".to_owned(), 600.0, path.log_bytes.values().sum(), "bytes");
        for name in ON_THE_PATH {
            let memory: Vec<f64> = path.memory.iter().filter_map(|sample| sample.largest.get(name).copied()).collect();
            // After the first tenth everything that is kept is there.
            if let (Some(early), Some(last)) = (memory.get(memory.len() / 10), memory.last()) {
                let name =
                    format!("memory of {name} after 100,000 events, as a multiple of that after the first tenth");
                add(name, 1.05, last / early, "×");
            }
        }
    }
    if let Some(recovery) = &results.recovery {
        let name = format!(
            "until all is delivered after an outage of the bot platform with {} conversations waiting",
            recovery.conversations
        );
        add(name, 90.0, recovery.seconds, "s");
    }
    if let [direct, ways @ ..] = &results.detour[..] {
        // Without an `Idempotency-Key`, and with one: two requests to the table come on top.
        for (way, limit) in ways.iter().zip([0.6, 1.0]) {
            let name = format!("p50 of a bot's message {}, over that to 8x8 directly", way.name);
            add(name, limit, way.latency[0] - direct.latency[0], "ms");
        }
    }
    if let Some(stuck) = &results.stuck {
        let name =
            "p99 of the others with one conversation stuck, as a multiple of that without (the most it may be: 95 %)";
        add(name.to_owned(), 1.1, stuck.ratio.interval[1], "×");
    }
    targets
}
