//! `contact-center`: starts the simulated 8x8.

use std::sync::Arc;

use clap::Args;
use contact_center::{
    Agents, Authentication, ContactCenter, ContactCenterApi, ContactCenterSettings, DEFAULT_PORT, Fault, LATEST,
};
use simulation::faults::{self, Faults, PlannedFault};
use simulation::journal::Journal;
use simulation::server::Server;

/// How the simulated 8x8 is started.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where 8x8's API and the control API listen on 127.0.0.1; 0 is any free port.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,

    /// Which of 8x8's APIs it speaks.
    #[arg(long, value_enum, default_value_t)]
    api: ContactCenterApi,

    /// How callers log in.
    #[arg(long, value_enum, default_value_t)]
    authentication: Authentication,

    /// The tenant.
    #[arg(long, value_name = "ID", default_value = "sandboxtenant")]
    tenant_id: String,

    /// Who plays the agents: you, with the control API, or an automatic agent who joins each conversation and answers each
    /// message of the customer.
    #[arg(long, value_name = "WHO", value_enum, default_value_t)]
    agent: Agents,

    /// Register a webhook with this URL, and a channel, at the start. Without it, the client registers them over 8x8's API.
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,

    #[arg(long, value_name = "FAULT[=WHEN]", help = fault_help())]
    fault: Vec<PlannedFault<Fault>>,
}

fn fault_help() -> String {
    let seconds = LATEST.as_secs();
    format!("{} With 8x8-late and 8x8-shows-late, 8x8 is 0 to {seconds} seconds late.", faults::help::<Fault>())
}

/// Serves until Ctrl-C.
#[tokio::main]
pub(super) async fn serve(options: Serve) -> Result<(), String> {
    let listener = Server::listener_on(options.port).await?;
    let faults = Arc::new(Faults::default());
    for planned in &options.fault {
        faults.set(planned.fault, planned.when);
    }
    let settings = ContactCenterSettings {
        api: options.api,
        authentication: options.authentication,
        tenant_id: options.tenant_id,
        agents: options.agent,
        ..ContactCenterSettings::default()
    };
    let journal = Arc::new(Journal::new(true));
    let (contact_center, server) = ContactCenter::start_on(listener, settings, faults, journal);
    println!("{}", greeting(&server.url(), contact_center.settings()));
    if let Some(uri) = &options.webhook {
        let (webhook_id, channel_id) = contact_center.add_foreign("contact-center", uri);
        println!("Webhook {webhook_id} calls {uri}; it has the channel {channel_id}\n");
    }
    tokio::signal::ctrl_c().await.map_err(|error| error.to_string())
}

/// The address, the credentials, and how to act as an agent.
fn greeting(url: &str, settings: &ContactCenterSettings) -> String {
    let endpoint = ContactCenter::endpoint(settings, url);
    let known = &settings.credentials;
    let mut rows = vec![("base URL", endpoint), ("keys of signatures", ContactCenter::key_url(settings, url))];
    rows.push(("tenant", settings.tenant_id.clone()));
    rows.push(("API key", known.api_key.clone()));
    match settings.authentication {
        Authentication::ApiKey => {}
        Authentication::ClientCredentials => rows.push(("API secret", known.api_secret.clone())),
        Authentication::Password => {
            rows.extend([("user", known.username.clone()), ("password", known.password.clone())]);
        }
    }
    if settings.authentication != Authentication::ApiKey {
        rows.push(("access tokens", format!("{url}/oauth/v2/token")));
    }
    let rows: String = rows.iter().map(|(name, value)| format!("  {name:<20} {value}\n")).collect();
    format!(
        "8x8 Contact Center is simulated here:\n\n{rows}\nTo play an agent once a conversation is open:\n\n  \
         curl --request POST {url}/_control/agents/anna/join\n  \
         curl {url}/_control/agents/anna/messages --data '{{\"text\":\"Hello\"}}'\n  \
         curl --request POST {url}/_control/agents/anna/leave\n"
    )
}
