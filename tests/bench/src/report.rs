//! The results as Markdown, as JSON and as pictures.

use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::callgrind::Instructions;
use crate::cold::Cold;
use crate::detour::Way;
use crate::operations::Operation;
use crate::peers::Peer;
use crate::plot::{Series, bars, lines};
use crate::pure::Time;
use crate::recovery::Recovery;
use crate::stuck::Stuck;
use crate::whole_path::{Phase, WholePath};
use crate::{cost, targets};

/// All that was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Results {
    /// Processor and number of cores.
    pub machine: String,
    /// Of the pure paths.
    pub times: Vec<Time>,
    /// Of the pure paths, and of functions for an event; empty without valgrind.
    pub instructions: Vec<Instructions>,
    /// Starts and warm invocations.
    pub cold: Vec<Cold>,
    /// The same of receive-message's job in other languages.
    pub peers: Vec<Peer>,
    /// The whole path.
    pub path: Option<WholePath>,
    /// What one conversation that is stuck does to the others.
    pub stuck: Option<Stuck>,
    /// The end of an outage of the bot platform.
    pub recovery: Option<Recovery>,
    /// A bot's message, directly to 8x8 and through the bridge.
    pub detour: Vec<Way>,
}

/// Processor and number of cores.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{}, {cores} cores, {}",
        model.map_or("a processor without a name", |(_, name)| name),
        std::env::consts::ARCH
    )
}

/// Writes `results.json`, `results.md` and the plots.
pub fn write(results: &Results, folder: &Path) {
    let write = |name: &str, text: String| {
        std::fs::write(folder.join(name), text).unwrap_or_else(|error| panic!("{name} cannot be written: {error}"));
    };
    write("results.json", serde_json::to_string_pretty(results).expect("numbers and names are JSON") + "\n");
    write("results.md", markdown(results));
    if !results.cold.is_empty() {
        write("init.svg", init(&results.cold));
    }
    if let Some(path) = &results.path {
        write("load.svg", load(&path.rising));
        write("memory.svg", memory(path));
        let places: Vec<String> = path.conversations.iter().map(|phase| phase.conversations.to_string()).collect();
        write(
            "conversations.svg",
            latencies("Latency by the number of conversations, 100 events a second", &places, &path.conversations),
        );
    }
}

/// The tables.
pub fn markdown(results: &Results) -> String {
    let mut text = format!("Measured on: {}\n", results.machine);
    let mut table = |name: &str, head: &[&str], rows: Vec<Vec<String>>| {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        let rule: Vec<String> =
            head.iter().enumerate().map(|(place, _)| if place == 0 { "---" } else { "--:" }.to_owned()).collect();
        let _ = write!(text, "\n### {name}\n\n{}{}", line(&head), line(&rule).replace(' ', ""));
        for row in rows {
            text.push_str(&line(&row));
        }
    };
    let rows = targets::all(results).into_iter().map(|target| {
        let verdict = if target.is_reached() { "yes" } else { "**no**" };
        vec![
            target.name.clone(),
            format!("{} {}", target.limit, target.unit),
            format!("{:.2} {}", target.measured, target.unit),
            verdict.to_owned(),
        ]
    });
    table("Targets", &["", "at most", "measured", "reached"], rows.collect());

    let instructions = |name: &str| {
        let found = results.instructions.iter().find(|one| one.name == name);
        found.map_or("not counted: no valgrind".to_owned(), |one| thousands(one.instructions))
    };
    let operations = Operation::all().into_iter().map(Operation::name);
    let mut rows: Vec<_> = operations
        .map(|name| {
            let micros = |nanos: f64| format!("{:.2}", nanos / 1000.0);
            let time = results.times.iter().find(|time| time.name == name);
            let median = time.map(|time| micros(time.median)).unwrap_or_default();
            let interval = time.map(|time| time.interval.map(micros).join(" – ")).unwrap_or_default();
            let instructions = instructions(&name);
            vec![name, median, interval, instructions]
        })
        .collect();
    let functions = results.instructions.iter().filter(|one| rows.iter().all(|row| row.first() != Some(&one.name)));
    let functions = functions.map(|one| {
        vec![format!("{}, a whole invocation", one.name), String::new(), String::new(), thousands(one.instructions)]
    });
    rows.extend(functions.collect::<Vec<_>>());
    table("Pure paths", &["", "µs, median", "95 % confidence", "instructions"], rows);

    let number = |value: f64| format!("{value:.2}");
    let row = |cold: &Cold| {
        vec![
            cold.name.clone(),
            number(cold.init),
            number(cold.first),
            number(cold.warm),
            number(cold.ours),
            number(cold.peak_memory),
            cold.zip.map(number).unwrap_or_default(),
        ]
    };
    let peers = results.peers.iter().map(|peer| match &peer.measured {
        Ok(cold) => row(cold),
        Err(reason) => {
            let mut cells = vec![String::new(); 7];
            cells[0] = peer.name.clone();
            // In a cell, a line or a column of the reason would end the row.
            cells[1] = format!("not measured: {}", reason.replace(['|', '\n'], " "));
            cells
        }
    });
    let rows = results.cold.iter().map(row).chain(peers);
    table(
        "Cold and warm, under AWS's emulator",
        &[
            "",
            "init, ms",
            "first invoke, ms",
            "warm invoke, ms",
            "of that the function's processor time, ms",
            "peak memory, MiB",
            "zip, MiB",
        ],
        rows.collect(),
    );

    let names: std::collections::BTreeSet<&String> = results.cold.iter().flat_map(|cold| cold.spans.keys()).collect();
    let head: Vec<&str> = std::iter::once("ms").chain(names.iter().map(|name| name.as_str())).collect();
    let rows = results.cold.iter().filter(|cold| !cold.spans.is_empty()).map(|cold| {
        let span = |name: &&String| cold.spans.get(*name).map_or(String::new(), |time| format!("{time:.3}"));
        std::iter::once(cold.name.clone()).chain(names.iter().map(span)).collect()
    });
    table("What our part of an init is made of", &head, rows.collect());

    if let Some(stuck) = &results.stuck {
        let rows =
            [("with one stuck, to without", &stuck.ratio), ("without, to without in another set", &stuck.by_chance)];
        let rows = rows.map(|(name, ratio)| {
            let [low, high] = ratio.interval.map(number);
            vec![name.to_owned(), number(ratio.value), format!("{low} – {high}")]
        });
        let head = ["p99 of the other conversations", "ratio", "95 % confidence"];
        table("One conversation stuck", &head, rows.to_vec());
    }
    let rows = results.detour.iter().map(|way| {
        let [p50, p99] = way.latency.map(number);
        vec![way.name.clone(), p50, p99]
    });
    if !results.detour.is_empty() {
        table("A bot's message, in the sandbox", &["", "p50, ms", "p99, ms"], rows.collect());
    }
    if let Some(path) = &results.path {
        let phases = path.conversations.iter().chain(&path.rising).chain(&path.bots).chain([&path.long_run]);
        let rows = phases.map(|phase| {
            let [p50, p99, p999] = phase.latency.map(number);
            vec![
                phase.name.clone(),
                phase.conversations.to_string(),
                format!("{:.0}", phase.offered),
                format!("{:.0}", phase.delivered),
                p50,
                p99,
                p999,
            ]
        });
        table(
            "The whole path, in the sandbox",
            &["", "conversations", "events/s offered", "delivered", "p50, ms", "p99, ms", "p99.9, ms"],
            rows.collect(),
        );
        let rows = cost::of_a_million(&results.cold, path)
            .into_iter()
            .map(|item| vec![item.service, item.formula, format!("${:.2}", item.dollars)]);
        table("A million events on AWS, us-east-1, arm64", &["", "formula", "US dollars"], rows.collect());
        let _ = write!(
            text,
            "\nEach 10 ms that a function waits longer for the network than here cost ${:.3} more.\n",
            cost::of_ten_milliseconds()
        );
    }
    text
}

fn thousands(value: f64) -> String {
    format!("{:.1} k", value / 1000.0)
}

fn init(cold: &[Cold]) -> String {
    let names: Vec<String> = cold.iter().map(|cold| cold.name.clone()).collect();
    let series = [
        Series { name: "init, ms".to_owned(), values: cold.iter().map(|cold| cold.init).collect() },
        Series { name: "peak memory, MiB".to_owned(), values: cold.iter().map(|cold| cold.peak_memory).collect() },
    ];
    bars("Start of each function, under AWS's emulator", "ms, MiB", &names, &series)
}

fn load(rising: &[Phase]) -> String {
    let line = |name: &str, place: usize| Series {
        name: name.to_owned(),
        values: rising.iter().map(|phase| (phase.offered, phase.latency[place])).collect(),
    };
    let series = [line("p50", 0), line("p99", 1), line("p99.9", 2)];
    lines("8x8's post to the bot's receipt, at rising load", "ms", "events a second that 8x8 has", &series, true)
}

fn latencies(title: &str, places: &[String], phases: &[Phase]) -> String {
    let row = |name: &str, place: usize| Series {
        name: name.to_owned(),
        values: phases.iter().map(|phase| phase.latency[place]).collect(),
    };
    bars(title, "ms", places, &[row("p50", 0), row("p99", 1), row("p99.9", 2)])
}

fn memory(path: &WholePath) -> String {
    let names: std::collections::BTreeSet<&String> =
        path.memory.iter().flat_map(|sample| sample.largest.keys()).collect();
    let line = |name: &String| Series {
        name: name.clone(),
        values: path
            .memory
            .iter()
            .filter_map(|sample| Some((sample.events as f64, *sample.largest.get(name)?)))
            .collect(),
    };
    let series: Vec<_> = names.into_iter().map(line).collect();
    lines("Memory of the largest process of each function", "MiB", "events delivered", &series, false)
}
