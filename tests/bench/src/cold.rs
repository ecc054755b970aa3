//! Starts and warm invocations under AWS's Runtime Interface Emulator, next to those of a function that does nothing, and of
//! receive-message's job in other languages.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use aws::lambda::FunctionSettings;
use sandbox::deployment;
use sandbox::{Sandbox, SandboxSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::emulator::{Emulator, Invocation};
use crate::events::Events;
use crate::peers::{PEERS, Peer};
use crate::process;
use crate::statistics::median;

/// Starts of each function, in turns, so that whatever else the machine does meanwhile strikes all alike.
const STARTS: usize = 15;

/// Starts in a row that may fail before one counts as a fault of the function.
const LOST_STARTS: usize = 5;

/// Starts whose parts are logged.
const TRACED_STARTS: usize = 7;

/// Invocations before the warm ones, for every function alike: a language that compiles while it runs has compiled then.
const WARM_UP: usize = 500;

/// Warm invocations: enough for a median, and for the memory to have settled.
const INVOCATIONS: usize = 500;

/// The function that everything is compared with.
pub const HELLO_WORLD: &str = "hello-world";

/// What a function costs when it starts, and then.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cold {
    /// The function.
    pub name: String,
    /// Milliseconds from the start of the process to its first request for work: the median.
    pub init: f64,
    /// Milliseconds of the first invocation: the median.
    pub first: f64,
    /// Milliseconds of a warm invocation: the median.
    pub warm: f64,
    /// Milliseconds on a processor for a warm invocation, of all threads of the function's process alone: what is ours of it.
    pub ours: f64,
    /// The most memory that it ever used, in MiB.
    pub peak_memory: f64,
    /// The binary, zipped, in MiB; `None` for a peer, whose libraries are in part in Lambda's own runtime.
    pub zip: Option<f64>,
    /// What the init is made of, by the function's own spans: milliseconds.
    pub spans: BTreeMap<String, f64>,
}

/// Measures [`HELLO_WORLD`], every function of the set, and the [`PEERS`], all in the same run.
pub async fn measure(binaries: &Path, folder: &Path) -> (Vec<Cold>, Vec<Peer>) {
    let sandbox = Sandbox::start(SandboxSettings::default()).await;
    sandbox.register("101").await.expect("the channel can be registered");
    sandbox.refresh_tokens().await.expect("the bot platform gives a token");
    let events = Events::new(&sandbox).await;
    let receive_message = sandbox.function(deployment::RECEIVE_MESSAGE).settings().clone();
    let hello_world = FunctionSettings {
        name: HELLO_WORLD,
        binary: binaries.join(HELLO_WORLD),
        variables: BTreeMap::new(),
        ..receive_message.clone()
    };
    let ours = std::iter::once(hello_world).chain(sandbox.functions.iter().map(|function| function.settings().clone()));
    let ours: Vec<_> = ours.map(|settings| (settings.name, settings)).collect();
    let peers = PEERS.map(|peer| (peer.name, peer.settings(&receive_message)));
    let installed = peers.iter().filter_map(|(name, settings)| Some((*name, settings.clone().ok()?)));
    let all: Vec<_> = ours.iter().cloned().chain(installed).collect();

    let mut starts = vec![(Vec::new(), Vec::new()); all.len()];
    for _ in 0..STARTS {
        for ((name, settings), (inits, firsts)) in all.iter().zip(&mut starts) {
            let (emulator, first) = start(name, settings, "INFO", &events).await;
            emulator.stop().await;
            inits.push(first.init.expect("the first invocation comes after an init"));
            firsts.push(first.duration);
        }
    }
    let mut measured = Vec::new();
    for ((name, settings), (inits, firsts)) in all.iter().zip(starts) {
        let is_ours = measured.len() < ours.len();
        let warm = Warm::measure(name, settings, &events).await;
        measured.push(Cold {
            name: (*name).to_owned(),
            init: median(inits),
            first: median(firsts),
            warm: warm.duration,
            ours: warm.ours,
            peak_memory: warm.peak_memory,
            zip: is_ours.then(|| zip(&settings.binary, folder)),
            spans: if is_ours { spans(name, settings, &events).await } else { BTreeMap::new() },
        });
    }
    let mut of_peers = measured.split_off(ours.len()).into_iter();
    let peers = peers.map(|(name, settings)| Peer {
        name: name.to_owned(),
        measured: settings.map(|_| of_peers.next().expect("every peer that is installed was measured")),
    });
    (measured, peers.into())
}

/// Starts a function by its first invocation.
async fn start(
    name: &str,
    settings: &FunctionSettings,
    log_level: &str,
    events: &Events<'_>,
) -> (Emulator, Invocation) {
    for _ in 0..LOST_STARTS {
        let mut emulator = Emulator::start(settings, log_level);
        let first = emulator.invoke(&events.next(settings.name)).await;
        if first.response["errorType"] != "Runtime.ExitError" {
            check(name, settings, &first);
            return (emulator, first);
        }
        // The emulator may start a function before it listens itself, and a quick function finds nothing there.
        emulator.stop().await;
    }
    panic!("{name} has ended during {LOST_STARTS} starts, one after the other");
}

/// Invokes a function. Those that do receive-message's job must have stored the event.
async fn invoke(emulator: &mut Emulator, name: &str, settings: &FunctionSettings, events: &Events<'_>) -> Invocation {
    let invocation = emulator.invoke(&events.next(settings.name)).await;
    check(name, settings, &invocation);
    invocation
}

fn check(name: &str, settings: &FunctionSettings, invocation: &Invocation) {
    if settings.name == deployment::RECEIVE_MESSAGE {
        let Invocation { response, lines, .. } = invocation;
        assert_eq!(response["statusCode"], 200, "{name} responds to a genuine event with {response}: {lines:#?}");
    }
}

struct Warm {
    duration: f64,
    ours: f64,
    peak_memory: f64,
}

impl Warm {
    async fn measure(name: &str, settings: &FunctionSettings, events: &Events<'_>) -> Self {
        let (mut emulator, _) = start(name, settings, "INFO", events).await;
        for _ in 1..WARM_UP {
            invoke(&mut emulator, name, settings, events).await;
        }
        let function = emulator.function();
        let before = process::processor_time(function).expect("it runs");
        let mut durations = Vec::new();
        for _ in 0..INVOCATIONS {
            durations.push(invoke(&mut emulator, name, settings, events).await.duration);
        }
        let after = process::processor_time(function).expect("it runs");
        let peak_memory = process::peak_memory(function).expect("it runs");
        emulator.stop().await;
        Self { duration: median(durations), ours: (after - before) / INVOCATIONS as f64, peak_memory }
    }
}

/// The medians of the spans that a start closes, and of the whole, which the functions log at `DEBUG`.
async fn spans(name: &str, settings: &FunctionSettings, events: &Events<'_>) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..TRACED_STARTS {
        let (emulator, traced) = start(name, settings, "DEBUG", events).await;
        emulator.stop().await;
        for line in traced.lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if let Some(took) = line["took_us"].as_f64() {
                all.entry("in all".to_owned()).or_default().push(took / 1000.0);
                // What follows belongs to the invocation.
                break;
            }
            if let (Some(name), Some(busy), Some(idle)) =
                (line["span"].as_str(), time(&line["time.busy"]), time(&line["time.idle"]))
            {
                all.entry(name.to_owned()).or_default().push(busy + idle);
            }
        }
    }
    all.into_iter().map(|(name, times)| (name, median(times))).collect()
}

/// `1.23ms` and the like, in milliseconds.
fn time(text: &Value) -> Option<f64> {
    let text = text.as_str()?;
    let unit = text.find(|char: char| char.is_alphabetic() || char == 'µ')?;
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "ns" => 1e-6,
        "µs" => 1e-3,
        "ms" => 1.0,
        _ => 1e3,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// The size of the binary as Lambda gets it, zipped by Python's own module.
fn zip(binary: &Path, folder: &Path) -> f64 {
    let file = folder.join("bootstrap.zip");
    let status = Command::new("python3").args(["-m", "zipfile", "-c"]).arg(&file).arg(binary).status();
    assert!(status.is_ok_and(|status| status.success()), "python3 zips {}", binary.display());
    std::fs::metadata(&file).expect("it was written").len() as f64 / 1024.0 / 1024.0
}
