//! How the simulated contact center is set up.

use std::time::Duration;

/// Which of 8x8's APIs is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ContactCenterApi {
    /// Chat Gateway v1.
    #[default]
    ChatGatewayV1,
    /// Chat API v2.
    ChatApiV2,
}

/// How callers have to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Authentication {
    /// `x-api-key`.
    #[default]
    ApiKey,
    /// A bearer token for API key and secret.
    ClientCredentials,
    /// A bearer token for user and password, and `x-api-key`.
    Password,
}

/// The settings of the simulated contact center.
#[derive(Debug, Clone)]
pub struct ContactCenterSettings {
    /// Its API.
    pub api: ContactCenterApi,
    /// Its authentication.
    pub authentication: Authentication,
    /// Its tenant.
    pub tenant_id: String,
    /// The credentials of the callers.
    pub credentials: Credentials,
    /// How long its access tokens live.
    pub token_life: Duration,
    /// How long the URL of an agent's file works.
    pub file_url_life: Duration,
    /// Whether messages that were sent through the API come back as echoes.
    pub echoes: bool,
    /// Who plays the agents.
    pub agents: Agents,
    /// The names of its clients in the journal.
    pub clients: Clients,
}

/// Who plays the agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Agents {
    /// A client of the control API.
    #[default]
    Manual,
    /// An agent who joins each conversation and answers each message.
    Auto,
}

/// The names of the clients in the journal.
#[derive(Debug, Clone, Copy)]
pub struct Clients {
    /// The client that receives events, and fetches the keys that they are signed with.
    pub webhook: &'static str,
    /// The client that calls the API about conversations.
    pub conversations: &'static str,
    /// The client that calls the API about webhooks and channels.
    pub registrar: &'static str,
}

/// The credentials of 8x8's callers.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The API key.
    pub api_key: String,
    /// The secret of the API key.
    pub api_secret: String,
    /// A user.
    pub username: String,
    /// The user's password.
    pub password: String,
}

impl Default for ContactCenterSettings {
    fn default() -> Self {
        Self {
            api: ContactCenterApi::default(),
            authentication: Authentication::default(),
            tenant_id: "sandboxtenant".to_owned(),
            credentials: Credentials {
                api_key: "sandbox-api-key".to_owned(),
                api_secret: "sandbox-api-secret".to_owned(),
                username: "sandbox-8x8-user".to_owned(),
                password: "sandbox-8x8-password".to_owned(),
            },
            token_life: Duration::from_secs(1799),
            // 8x8 does not document it; storage services commonly let a signed URL expire after some minutes.
            file_url_life: Duration::from_secs(300),
            echoes: true,
            agents: Agents::default(),
            clients: Clients { webhook: "webhook", conversations: "client", registrar: "client" },
        }
    }
}
