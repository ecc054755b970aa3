//! `make run` and `make soak`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aws::lambda::InvokeError;
use bot_platform::BotPlatformSettings;
use clap::{Parser, Subcommand};
use contact_center::{Authentication, ContactCenterApi, ContactCenterSettings, Credentials};
use sandbox::console::{self, Console, Replayed};
use sandbox::deployment::CallbackAuthentication;
use sandbox::faults::Fault;
use sandbox::peers::Peers;
use sandbox::soak::{self, Load};
use sandbox::verdict::Verdict;
use sandbox::{Sandbox, SandboxSettings, doctor, handover, own_bot};
use simulation::faults::{self, PlannedFault};

/// Runs the whole function set on this machine: the real binaries, with 8x8, a bot platform and AWS played around them.
///
/// Registers a channel, plays a hand-over to a person, shows every hop, and stays. No account and no network are needed.
#[derive(Debug, Parser)]
#[command(name = "make run ARGS=…")]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    /// Play one hand-over, check that the bot platform got each accepted event once and in order, and end with 0 or 1.
    #[arg(long)]
    once: bool,

    /// Call this contact center instead of the simulated one, e.g. https://api.8x8.com/chat-gateway/v1/. Its events come
    /// from there too: it must be able to reach --callback-url.
    #[arg(long, value_name = "URL", conflicts_with = "once")]
    contact_center_endpoint: Option<String>,

    /// Deliver to this bot platform instead of the simulated one. What a bot needs in order to call the bridge is written to
    /// target/sandbox.env; the set waits until the bot listens.
    #[arg(long, value_name = "URL")]
    bot_endpoint: Option<String>,

    /// The URL under which a contact center elsewhere reaches our receiveMessage, e.g. that of a tunnel.
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,

    /// Which of 8x8's APIs the contact center speaks.
    #[arg(long, value_enum, default_value_t)]
    contact_center_api: ContactCenterApi,

    /// How 8x8's events prove that they are genuine. With anything but signature, a load balancer that adds the caller's
    /// headers is played in front of us.
    #[arg(long, value_enum, default_value_t)]
    callback_authentication: CallbackAuthentication,

    /// How to log in at the contact center.
    #[arg(long, value_enum, default_value_t)]
    contact_center_authentication: Authentication,

    /// Where the contact center's access tokens come from, e.g. https://api.8x8.com/oauth/v2/token.
    #[arg(long, value_name = "URL")]
    contact_center_access_token_url: Option<String>,

    /// The contact center's tenant.
    #[arg(long, value_name = "ID", default_value = "sandboxtenant")]
    contact_center_tenant_id: String,

    /// The queue of the contact center that takes the conversations.
    #[arg(long, value_name = "ID", default_value = "101")]
    queue_id: String,

    /// Do not register a channel, but take over the one that the bot platform has registered, as an Aisera tenant does; give
    /// it back at the end, and check that it is as it was.
    #[arg(long, conflicts_with = "contact_center_endpoint")]
    adopt: bool,

    /// Check the integration at the end: what is wrong with it, and what to do. With --once it ends with 1 if anything is.
    #[arg(long)]
    doctor: bool,

    #[command(flatten)]
    secrets: Secrets,

    #[arg(long, value_name = "FAULT[=WHEN]", help = faults::help::<Fault>())]
    fault: Vec<PlannedFault<Fault>>,

    /// Write the functions' log lines to this file.
    #[arg(long, value_name = "FILE", default_value = "target/sandbox.log")]
    logs: PathBuf,

    /// Where the console page listens on 127.0.0.1; 0 is any free port. Without this, 8088, or any free port if 8088 is in
    /// use.
    #[arg(long, value_name = "PORT", conflicts_with = "once")]
    console_port: Option<u16>,

    /// Write every hop of the run to this file, with headers and bodies but without secrets, as JSON lines.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Instead of the scripted hand-over, play a recording again, in new conversations: the bot's calls, 8x8's events, signed
    /// again, and the faults that were switched on and off.
    #[arg(long, value_name = "FILE", conflicts_with = "contact_center_endpoint")]
    replay: Option<PathBuf>,
}

/// Secrets of systems that are not simulated. They are taken from the environment, where no list of processes shows them.
#[derive(Debug, clap::Args)]
struct Secrets {
    #[arg(long, env, hide = true, default_value = "sandbox-api-key")]
    contact_center_api_key: String,
    #[arg(long, env, hide = true, default_value = "sandbox-api-secret")]
    contact_center_api_secret: String,
    #[arg(long, env, hide = true, default_value = "sandbox-8x8-user")]
    contact_center_username: String,
    #[arg(long, env, hide = true, default_value = "sandbox-8x8-password")]
    contact_center_password: String,
    #[arg(long, env, hide = true, default_value = "sandbox-app-token")]
    bot_app_token: String,
    #[arg(long, env, hide = true, default_value = "sandbox-bot-user")]
    bot_username: String,
    #[arg(long, env, hide = true, default_value = "sandbox-bot-password")]
    bot_password: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play many conversations at once, with all faults or none, check every event, and end with 0 or 1.
    Soak {
        /// Conversations at a time.
        #[arg(long, default_value_t = 1000)]
        conversations: usize,
        /// Events of each.
        #[arg(long, default_value_t = 10)]
        events: usize,
        /// Let nothing go wrong, and measure.
        #[arg(long)]
        calm: bool,
        /// Events a second; without it all at once.
        #[arg(long)]
        rate: Option<u32>,
    },
    /// Start 8x8 and the bot platform alone, for functions that are deployed elsewhere. Prints one line of JSON with their
    /// URLs, and ends with its standard input.
    Peers,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match &options.command {
        Some(Command::Soak { conversations, events, calm, rate }) => {
            let patience = Duration::from_secs(1800);
            let load = Load { conversations: *conversations, events: *events, patience, rate: *rate };
            soak(load, *calm, options.logs.clone()).await
        }
        Some(Command::Peers) => peers(&options).await,
        None => run(options).await,
    }
}

async fn run(options: Options) -> ExitCode {
    println!("Building the functions and starting the set …\n");
    let plays_contact_center = options.contact_center_endpoint.is_none();
    let sandbox = Arc::new(Sandbox::start(settings(&options)).await);
    let _console = match observe(&sandbox, &options).await {
        Ok(console) => console,
        Err(error) => return failed("the console", &error),
    };
    for (name, address) in &sandbox.addresses {
        println!("  {name:<24} {address}");
    }
    println!("  {:<24} {}\n", "the functions' logs", options.logs.display());
    if let Some(endpoint) = &options.bot_endpoint
        && let Err(error) = wait_for_bot(&sandbox, endpoint).await
    {
        return failed("--bot-endpoint", &error);
    }
    let registered = match options.adopt {
        true => adopt(&sandbox).await,
        false => {
            sandbox.journal.say("register-channel finds or creates webhook and channel");
            sandbox.register(&options.queue_id).await
        }
    };
    let channel_id = match registered {
        Ok(channel_id) => channel_id,
        Err(error) => return failed("register-channel", &error.to_string()),
    };
    sandbox.journal.say("refresh-tokens logs in at the bot platform");
    if let Err(error) = sandbox.refresh_tokens().await {
        return failed("refresh-tokens", &error.to_string());
    }
    for planned in &options.fault {
        sandbox.fault(planned.fault, planned.when);
    }
    if plays_contact_center {
        let played = match &options.replay {
            None => handover::play(&sandbox).await,
            Some(file) => replay(&sandbox, &channel_id, file).await,
        };
        let verdict = match played {
            Ok(verdict) => verdict,
            Err(error) => return failed("the hand-over", &error),
        };
        println!("\n{verdict}");
        let is_well = match check(&sandbox, &options).await {
            Ok(is_well) => is_well,
            Err(error) => return failed("check-integration", &error.to_string()),
        };
        if options.once && !is_well {
            return ExitCode::FAILURE;
        }
        if options.once {
            let released = if options.adopt { release(&sandbox).await } else { Ok(()) };
            return match released {
                Ok(()) => exit_code(&verdict),
                Err(error) => failed("the release", &error),
            };
        }
    }
    println!("\nThe channel is {channel_id}. Everything stays up; Ctrl-C ends it.\n");
    let _ = tokio::signal::ctrl_c().await;
    match if options.adopt { release(&sandbox).await } else { Ok(()) } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed("the release", &error),
    }
}

/// The file that a user's own bot reads to get the bridge's addresses and its credentials.
const BOT_ENVIRONMENT: &str = "target/sandbox.env";

/// Writes the bot's configuration to a file, and waits for the bot.
async fn wait_for_bot(sandbox: &Sandbox, endpoint: &str) -> Result<(), String> {
    own_bot::write_environment(sandbox, Path::new(BOT_ENVIRONMENT))
        .map_err(|error| format!("{BOT_ENVIRONMENT} cannot be written: {error}"))?;
    println!("A bot that calls the bridge reads {BOT_ENVIRONMENT}. Waiting for the bot at {endpoint} …\n");
    own_bot::wait_for(endpoint).await
}

/// Prints the report of check-integration, if it was requested, and returns whether it has no problem.
async fn check(sandbox: &Sandbox, options: &Options) -> Result<bool, InvokeError> {
    if !options.doctor {
        return Ok(true);
    }
    let report = sandbox.check_integration().await?;
    println!("\n{}", doctor::table(&report));
    Ok(doctor::is_well(&report))
}

/// Opens the console page, unless the run ends by itself, and the recording.
async fn observe(sandbox: &Arc<Sandbox>, options: &Options) -> Result<Option<Console>, String> {
    if !options.once || options.record.is_some() {
        let observed = sandbox.journal.observe(options.record.as_deref());
        observed.map_err(|error| format!("the recording cannot be written: {error}"))?;
    }
    if options.once {
        return Ok(None);
    }
    let listener = console::listen(options.console_port).await;
    let listener = listener.map_err(|error| format!("--console-port cannot be used: {error}"))?;
    let console = Console::start(Arc::clone(sandbox), listener).map_err(|error| error.to_string())?;
    if options.console_port.is_none() && console.address().port() != console::DEFAULT_PORT {
        println!("Port {} is in use: the console listens on another one.", console::DEFAULT_PORT);
    }
    println!("  {:<24} {}", "the console", console.url());
    Ok(Some(console))
}

async fn replay(sandbox: &Sandbox, channel_id: &str, file: &Path) -> Result<Verdict, String> {
    sandbox.journal.say(&format!("{} is played again", file.display()));
    let Replayed { calls, events, faults, differences } = console::replay(sandbox, channel_id, file).await?;
    sandbox.settle(Duration::from_secs(600)).await;
    println!(
        "\n{calls} calls of the bot, {events} events of 8x8 and {faults} faults of {} were repeated.",
        file.display()
    );
    for difference in differences {
        println!("{difference}");
    }
    Ok(Verdict::on(sandbox).await)
}

async fn peers(options: &Options) -> ExitCode {
    let SandboxSettings { contact_center, bot, .. } = settings(options);
    let peers = Peers::start(contact_center, bot).await;
    println!("{}", serde_json::json!(peers.addresses));
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
    match ended {
        Ok(Ok(_)) => ExitCode::SUCCESS,
        Ok(Err(error)) => failed("standard input", &error.to_string()),
        Err(error) => failed("standard input", &error.to_string()),
    }
}

async fn adopt(sandbox: &Sandbox) -> Result<String, InvokeError> {
    sandbox.journal.say("the bot platform has registered a webhook and a channel of its own at 8x8");
    let channel_id = sandbox.register_by_bot_platform();
    sandbox.journal.say("register-channel takes the channel over: its webhook calls us now");
    sandbox.adopt(&channel_id).await?;
    Ok(channel_id)
}

/// Releases the adopted channel and checks that its webhook calls the bot platform again.
async fn release(sandbox: &Sandbox) -> Result<(), String> {
    sandbox.journal.say("register-channel gives the channel back");
    sandbox.release().await.map_err(|error| error.to_string())?;
    let (webhooks, _) = sandbox.contact_center.registered();
    let uris: Vec<_> = webhooks.iter().filter_map(|webhook| webhook["uri"].as_str()).collect();
    match uris.as_slice() {
        [uri] if *uri != sandbox.callback_url() => {
            println!("\nThe webhook calls {uri} again.");
            Ok(())
        }
        _ => Err(format!("the webhooks at 8x8 call {uris:?}")),
    }
}

async fn soak(load: Load, is_calm: bool, logs: PathBuf) -> ExitCode {
    let settings = SandboxSettings {
        concurrency: if is_calm { 4 } else { 16 },
        time_scale: 60,
        logs: Some(logs),
        ..SandboxSettings::default()
    };
    let sandbox = Sandbox::start(settings).await;
    let channel_id = match sandbox.register("101").await {
        Ok(channel_id) => channel_id,
        Err(error) => return failed("register-channel", &error.to_string()),
    };
    println!("{} events of {} conversations …", load.conversations * load.events, load.conversations);
    if !is_calm {
        soak::switch_on_all_faults(&sandbox);
    }
    let started = std::time::Instant::now();
    let verdict = soak::play(&sandbox, &channel_id, load).await;
    println!("{:.1} s\n\n{verdict}", started.elapsed().as_secs_f64());
    exit_code(&verdict)
}

fn settings(options: &Options) -> SandboxSettings {
    let secrets = &options.secrets;
    SandboxSettings {
        contact_center: ContactCenterSettings {
            api: options.contact_center_api,
            authentication: options.contact_center_authentication,
            tenant_id: options.contact_center_tenant_id.clone(),
            credentials: Credentials {
                api_key: secrets.contact_center_api_key.clone(),
                api_secret: secrets.contact_center_api_secret.clone(),
                username: secrets.contact_center_username.clone(),
                password: secrets.contact_center_password.clone(),
            },
            ..ContactCenterSettings::default()
        },
        bot: BotPlatformSettings {
            app_token: secrets.bot_app_token.clone(),
            username: secrets.bot_username.clone(),
            password: secrets.bot_password.clone(),
            ..BotPlatformSettings::default()
        },
        contact_center_endpoint: options.contact_center_endpoint.clone(),
        access_token_url: options.contact_center_access_token_url.clone(),
        bot_endpoint: options.bot_endpoint.clone(),
        callback_url: options.callback_url.clone(),
        callback_authentication: options.callback_authentication,
        is_shown: true,
        logs: Some(options.logs.clone()),
        ..SandboxSettings::default()
    }
}

fn failed(what: &str, why: &str) -> ExitCode {
    eprintln!("\n{what} failed: {why}");
    ExitCode::FAILURE
}

fn exit_code(verdict: &Verdict) -> ExitCode {
    if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
