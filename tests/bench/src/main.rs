//! `make bench`: measures, prints a table, and writes it below `target/bench/`.

use std::path::Path;

use bench::callgrind;
use bench::cold;
use bench::detour;
use bench::events::Events;
use bench::pure;
use bench::recovery;
use bench::report::{self, Results};
use bench::stuck;
use bench::whole_path;
use clap::{Parser, ValueEnum};
use sandbox::deployment;
use sandbox::{Sandbox, SandboxSettings};

/// Measures what the functions cost.
#[derive(Debug, Parser)]
#[command(name = "make bench ARGS=…")]
struct Options {
    /// Only these parts; the rest of the report is what was measured last.
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The time of the pure paths, by criterion.
    Pure,
    /// Instructions, by callgrind.
    Instructions,
    /// Starts and warm invocations under AWS's emulator, also of the peers in other languages.
    Cold,
    /// The whole path in the sandbox.
    Path,
    /// One conversation stuck, and what the others notice.
    Stuck,
    /// The end of an outage of the bot platform.
    Recovery,
    /// What the bridge adds to a bot's message.
    Detour,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let asked = |part| options.parts.is_empty() || options.parts.contains(&part);
    let (folder, binaries) = (Path::new("target/bench"), Path::new("target/release"));
    std::fs::create_dir_all(folder).expect("the folder for the results can be made");
    let folder = &folder.canonicalize().expect("it was just made");
    let binaries = &binaries.canonicalize().expect("`make bench` builds the binaries");
    sandbox::build::use_binaries(binaries);
    let before = std::fs::read_to_string(folder.join("results.json")).ok();
    let mut results: Results = before.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    results.machine = report::machine();

    if asked(Part::Pure) {
        eprintln!("Timing the pure paths …");
        results.times = pure::measure(Path::new("target"));
    }
    if asked(Part::Instructions) {
        if callgrind::is_present() {
            eprintln!("Counting instructions …");
            results.instructions = callgrind::operations(&binaries.join("operation"), folder);
            let sandbox = Sandbox::start(SandboxSettings::default()).await;
            sandbox.register("101").await.expect("the channel can be registered");
            sandbox.refresh_tokens().await.expect("the bot platform gives a token");
            let events = Events::new(&sandbox).await;
            for function in
                [&sandbox.function(deployment::RECEIVE_MESSAGE), &sandbox.function(deployment::DELIVER_MESSAGE)]
            {
                let settings = function.settings();
                let event = async || events.next(settings.name);
                results.instructions.push(callgrind::function(settings, folder, event).await);
            }
        } else {
            eprintln!("valgrind is not here: instructions are not counted.");
            results.instructions.clear();
        }
    }
    if asked(Part::Cold) {
        eprintln!("Starting each function under AWS's emulator …");
        (results.cold, results.peers) = cold::measure(binaries, folder).await;
    }
    if asked(Part::Path) {
        eprintln!("Playing the whole path …");
        results.path = Some(whole_path::measure().await);
    }
    if asked(Part::Stuck) {
        eprintln!("Letting one conversation hang …");
        results.stuck = Some(stuck::measure().await);
    }
    if asked(Part::Recovery) {
        eprintln!("Ending an outage of the bot platform …");
        results.recovery = Some(recovery::measure().await);
    }
    if asked(Part::Detour) {
        eprintln!("Sending messages with and without the bridge …");
        results.detour = detour::measure().await;
    }
    report::write(&results, folder);
    println!("{}", report::markdown(&results));
}
