//! 8x8 and the bot platform alone, for a function set that is deployed elsewhere. Each has its control API below `/_control/`.

use std::sync::Arc;

use bot_platform::{BotPlatform, BotPlatformSettings};
use contact_center::{ContactCenter, ContactCenterSettings};
use serde::Serialize;
use simulation::faults::Faults;
use simulation::journal::Journal;
use simulation::server::Server;

/// The running simulators.
#[derive(Debug)]
pub struct Peers {
    /// Their addresses.
    pub addresses: Addresses,
    _servers: [Server; 2],
}

/// Their addresses, all as URLs.
#[derive(Debug, Serialize)]
pub struct Addresses {
    /// The stack parameter `Endpoint`.
    pub contact_center_endpoint: String,
    /// The stack parameter `AccessTokenUrl`.
    pub access_token_url: String,
    /// The stack parameter `BotEndpoint`.
    pub bot_endpoint: String,
    /// The control API of 8x8.
    pub contact_center_control: String,
    /// The control API of the bot platform.
    pub bot_control: String,
}

impl Peers {
    /// Starts 8x8 and the bot platform on free loopback ports.
    pub async fn start(contact_center: ContactCenterSettings, bot: BotPlatformSettings) -> Self {
        let journal = Arc::new(Journal::new(false));
        let (contact_center, contact_center_server) =
            ContactCenter::start(contact_center, Arc::new(Faults::default()), Arc::clone(&journal)).await;
        let (_, bot_server) = BotPlatform::start(bot, Arc::new(Faults::default()), journal).await;
        let (contact_center_url, bot_url) = (contact_center_server.url(), bot_server.url());
        let addresses = Addresses {
            contact_center_endpoint: ContactCenter::endpoint(contact_center.settings(), &contact_center_url),
            access_token_url: format!("{contact_center_url}/oauth/v2/token"),
            contact_center_control: format!("{contact_center_url}/_control"),
            bot_control: format!("{bot_url}/_control"),
            bot_endpoint: bot_url,
        };
        Self { addresses, _servers: [contact_center_server, bot_server] }
    }
}
