//! `POST /tenant-users/oauth2/token`: the OAuth 2.0 token endpoint (RFC 6749) for callers, as an Aisera tenant has one.
//! Grants `password` and `refresh_token`.

mod grant;
mod response;

use std::time::Duration;

use lambda_http::{Body, Request, Response};
use shared::aws::{self, Transport};
use shared::caller::{CallerError, Callers, CallersConfig, IssuedTokens, refresh_token_lifetime};
use shared::clock::UnixTime;
use shared::environment::{ConfigError, Environment};
use shared::secrets::SecretsManager;

use crate::grant::{Grant, TokenRequest};
use crate::response::{Error, into_response};

/// What the environment says.
#[derive(Debug)]
pub struct Config {
    callers: CallersConfig,
    refresh_token_lifetime: Duration,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable that is missing or malformed.
    #[tracing::instrument(level = "debug", name = "configuration", skip_all)]
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            callers: CallersConfig::from_environment(environment)?,
            refresh_token_lifetime: refresh_token_lifetime(environment)?,
        })
    }
}

/// What the function holds between invocations.
#[derive(Debug)]
pub struct IssueToken {
    callers: Callers,
    refresh_token_lifetime: Duration,
}

impl IssueToken {
    /// Reads the secret that the first request will need.
    ///
    /// # Errors
    /// An HTTP client that cannot be built.
    pub async fn start(config: Config) -> Result<Self, lambda_runtime::Error> {
        let secrets = SecretsManager::new(&aws::sdk_config(&Transport::new()?).await);
        let callers = Callers::new(config.callers, &secrets);
        callers.warm_up(UnixTime::now()).await;
        Ok(Self { callers, refresh_token_lifetime: config.refresh_token_lifetime })
    }

    /// Responds to one request.
    pub async fn handle(&self, request: Request) -> Response<Body> {
        into_response(self.issue(&request, UnixTime::now()).await)
    }

    async fn issue(&self, request: &Request, now: UnixTime) -> Result<IssuedTokens, Error> {
        let request = TokenRequest::read(request.headers(), request.body())?;
        let (grant, client_id) = (request.grant()?, request.client_id()?);
        self.callers.check_client(client_id, now).await.map_err(|error| Error::of(error, Error::InvalidClient))?;
        let issued = match grant {
            Grant::Password { username, password } => {
                self.callers.issue_for_password(client_id, username, password, self.refresh_token_lifetime, now).await
            }
            Grant::RefreshToken(refresh_token) => {
                self.callers.issue_for_refresh_token(client_id, refresh_token, self.refresh_token_lifetime, now).await
            }
        };
        let issued = issued.map_err(|error: CallerError| Error::of(error, Error::InvalidGrant))?;
        tracing::info!("issued tokens");
        Ok(issued)
    }
}
