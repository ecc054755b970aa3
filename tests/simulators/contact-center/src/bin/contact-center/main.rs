//! The program `contact-center`: a simulated 8x8 Contact Center for a bot or bridge that is under development, and its signature.

mod serve;
mod signature;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serve::Serve;
use signature::{Explain, Sign};

/// Simulates 8x8 Contact Center: its API, its signed events, and agents that anyone with curl can play.
///
/// It listens on 127.0.0.1, prints a line for each event and request, and ends with Ctrl-C. Its README.md shows a session, and
/// lists the requests of the control API.
#[derive(Debug, Parser)]
#[command(name = "contact-center", args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    Sign(Sign),
    Explain(Explain),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.command {
        None => serve::serve(options.serve).map(|()| ExitCode::SUCCESS),
        Some(Command::Sign(options)) => signature::sign(options).map(|()| ExitCode::SUCCESS),
        Some(Command::Explain(options)) => signature::explain_file(&options),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}
