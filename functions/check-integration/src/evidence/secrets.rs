//! The secrets, read once.

use std::sync::Arc;

use shared::bot_platform::BotCredentials;
use shared::caller::CallerContent;
use shared::clock::UnixTime;
use shared::contact_center::authentication::ContactCenterCredentials;
use shared::contact_center::config::ContactCenterAuthentication;
use shared::contact_center::saved::SavedChannel;
use shared::oauth::TokenContent;
use shared::secrets::{Secret, SecretContent, SecretError, SecretsManager, Version};

use crate::CheckIntegration;

/// A secret as it is now. Secrets Manager has to respond within the time-out of an AWS operation, 7 s.
pub(crate) type Read<T> = Result<Arc<Version<T>>, SecretError>;

#[derive(Debug)]
pub(crate) struct Secrets {
    pub(crate) contact_center: Read<ContactCenterCredentials>,
    /// `None` where an API key needs no token.
    pub(crate) contact_center_token: Option<Read<TokenContent>>,
    pub(crate) bot: Read<BotCredentials>,
    pub(crate) bot_token: Read<TokenContent>,
    pub(crate) caller: Read<CallerContent>,
    pub(crate) channel: Read<SavedChannel>,
}

impl Secrets {
    pub(super) async fn read(function: &CheckIntegration, now: UnixTime) -> Self {
        let (config, secrets) = (&function.config, SecretsManager::new(&function.sdk));
        let token = async {
            match &config.authentication {
                ContactCenterAuthentication::ApiKey => None,
                ContactCenterAuthentication::Token(token) => Some(read(&secrets, &token.secret_id, now).await),
            }
        };
        let (contact_center, contact_center_token, bot, bot_token, caller, channel) = tokio::join!(
            read(&secrets, &config.credentials_id, now),
            token,
            read(&secrets, &config.bot.secret_id, now),
            read(&secrets, &config.bot.token_secret_id, now),
            read(&secrets, &config.caller_secret_id, now),
            read(&secrets, &config.channel_secret_id, now),
        );
        Self { contact_center, contact_center_token, bot, bot_token, caller, channel }
    }
}

async fn read<T: SecretContent>(secrets: &SecretsManager, id: &str, now: UnixTime) -> Read<T> {
    let secret: Secret<T> = secrets.secret(id.to_owned());
    Box::pin(secret.read(now)).await
}
