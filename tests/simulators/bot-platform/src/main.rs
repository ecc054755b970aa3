//! The program `bot-platform`: a simulated bot platform for a bridge that is under development.

use std::process::ExitCode;
use std::sync::Arc;

use bot_platform::{BotPlatform, BotPlatformSettings, DEFAULT_PORT, Fault};
use clap::Parser;
use simulation::faults::{self, Faults, PlannedFault};
use simulation::journal::Journal;
use simulation::server::Server;

/// Simulates a bot platform as an Aisera tenant: a token endpoint, and receiveMessage, which checks both tokens of an event and
/// drops repeats.
///
/// It listens on 127.0.0.1, prints a line for each request, and ends with Ctrl-C. Its README.md lists the requests of the control API.
#[derive(Debug, Parser)]
#[command(name = "bot-platform")]
struct Options {
    /// Where it listens on 127.0.0.1; 0 is any free port.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,

    #[arg(long, value_name = "FAULT[=WHEN]", help = faults::help::<Fault>())]
    fault: Vec<PlannedFault<Fault>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let listener = match Server::listener_on(options.port).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("bot-platform: {error}");
            return ExitCode::FAILURE;
        }
    };
    let faults = Arc::new(Faults::default());
    for planned in &options.fault {
        faults.set(planned.fault, planned.when);
    }
    let settings = BotPlatformSettings::default();
    let (bot, server) = BotPlatform::start_on(listener, settings, faults, Arc::new(Journal::new(true)));
    println!("{}", greeting(&server.url(), bot.settings()));
    let _ = tokio::signal::ctrl_c().await;
    ExitCode::SUCCESS
}

fn greeting(url: &str, settings: &BotPlatformSettings) -> String {
    let BotPlatformSettings { app_token, username, password, .. } = settings;
    format!(
        "The bot platform is at {url}\n\n  \
         app token  {app_token}\n  \
         user       {username}\n  \
         password   {password}\n\n\
         What it has received, and how it refuses a conversation's events:\n\n  \
         curl {url}/_control/receipts\n  \
         curl {url}/_control/refusals --data '{{\"conversation_id\":\"…\",\"status\":503}}'\n"
    )
}
