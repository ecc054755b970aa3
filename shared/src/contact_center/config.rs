//! The configuration of 8x8: its address, the API that is used there, and how the bridge logs in.

use crate::environment::{ConfigError, Environment};
use crate::url::BaseUrl;

/// Which of 8x8's two chat APIs an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactCenterApi {
    /// Chat Gateway v1, the current API.
    ChatGatewayV1,
    /// Chat API v2, the older API, which some installations still use.
    ChatApiV2,
}

/// The address of the contact center and its API.
#[derive(Debug, Clone)]
pub struct ContactCenterConfig {
    /// Base URL of the chat API.
    pub endpoint: BaseUrl,
    /// The URL to which `jwk/{kid}/public` is appended.
    pub key_endpoint: BaseUrl,
    /// The API at `endpoint`.
    pub api: ContactCenterApi,
    /// 8x8's tenant: sent as `X-8x8-Tenant`; an event must belong to this tenant.
    pub tenant_id: Option<String>,
}

impl ContactCenterConfig {
    /// Reads `CONTACT_CENTER_ENDPOINT`, `CONTACT_CENTER_API` (`chat-gateway-v1` unless it is set) and
    /// `CONTACT_CENTER_TENANT_ID`.
    ///
    /// # Errors
    /// A variable is missing or malformed.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let name = "CONTACT_CENTER_ENDPOINT";
        let endpoint = environment.base_url(name)?;
        let api = match environment.optional("CONTACT_CENTER_API").as_deref() {
            None | Some("chat-gateway-v1") => ContactCenterApi::ChatGatewayV1,
            Some("chat-api-v2") => ContactCenterApi::ChatApiV2,
            Some(_) => {
                return Err(ConfigError::Malformed {
                    name: "CONTACT_CENTER_API",
                    expected: "chat-gateway-v1 or chat-api-v2",
                });
            }
        };
        let key_endpoint = match api {
            ContactCenterApi::ChatGatewayV1 => endpoint.clone(),
            // The keys of the older API are above the tenant: https://…/chat/v2/tenant/acme/ → https://…/chat/v2/
            ContactCenterApi::ChatApiV2 => above_tenant(&endpoint).ok_or(ConfigError::Malformed {
                name,
                expected: "a chat-api-v2 URL that ends in /tenant/<tenant id>/",
            })?,
        };
        let tenant_id = environment.optional("CONTACT_CENTER_TENANT_ID");
        Ok(Self { endpoint, key_endpoint, api, tenant_id })
    }
}

fn above_tenant(endpoint: &BaseUrl) -> Option<BaseUrl> {
    let segments = endpoint.segments();
    endpoint.above(&["tenant", segments.last()?])
}

/// How the bridge logs in at the contact center.
#[derive(Debug, Clone)]
pub enum ContactCenterAuthentication {
    /// `x-api-key` on each call.
    ApiKey,
    /// A bearer token that expires.
    Token(ContactCenterTokenConfig),
}

impl ContactCenterAuthentication {
    /// Reads `CONTACT_CENTER_AUTHENTICATION` (`api-key` unless it is set), and for the two grants
    /// `CONTACT_CENTER_ACCESS_TOKEN_URL` and `CONTACT_CENTER_TOKEN_SECRET_ID`.
    ///
    /// # Errors
    /// A variable is missing or malformed.
    pub fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let name = "CONTACT_CENTER_AUTHENTICATION";
        let grant = match environment.optional(name).as_deref() {
            None | Some("api-key") => return Ok(Self::ApiKey),
            Some("client-credentials") => ContactCenterGrant::ClientCredentials,
            Some("password") => ContactCenterGrant::Password,
            Some(_) => {
                return Err(ConfigError::Malformed { name, expected: "api-key, client-credentials or password" });
            }
        };
        Ok(Self::Token(ContactCenterTokenConfig {
            grant,
            access_token_url: environment.base_url("CONTACT_CENTER_ACCESS_TOKEN_URL")?,
            secret_id: environment.required("CONTACT_CENTER_TOKEN_SECRET_ID")?,
        }))
    }
}

/// How the contact center's access token is requested and stored.
#[derive(Debug, Clone)]
pub struct ContactCenterTokenConfig {
    /// The grant with which it is requested.
    pub grant: ContactCenterGrant,
    /// The endpoint at which it is requested, e.g. `https://api.8x8.com/oauth/v2/token`.
    pub access_token_url: BaseUrl,
    /// The secret in which it is stored.
    pub secret_id: String,
}

/// The two OAuth grants of 8x8's token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactCenterGrant {
    /// HTTP Basic with API key and API secret.
    ClientCredentials,
    /// User name and password, with `x-api-key`; later calls send the API key and the bearer token.
    Password,
}

/// `CONTACT_CENTER_SECRET_ID`: the secret `{"api_key","api_secret","username","password"}`, with the members that the
/// authentication needs.
///
/// # Errors
/// The variable is missing.
pub fn credentials_secret_id(environment: &Environment<'_>) -> Result<String, ConfigError> {
    environment.required("CONTACT_CENTER_SECRET_ID")
}

/// `CHANNEL_SECRET_ID`: the secret that stores which webhook and channel are registered.
///
/// # Errors
/// The variable is missing.
pub fn channel_secret_id(environment: &Environment<'_>) -> Result<String, ConfigError> {
    environment.required("CHANNEL_SECRET_ID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_apis_keys_lie_above_the_tenant() {
        let contact_center = |endpoint: &str| {
            ContactCenterConfig::from_environment(&Environment::new(&|name| match name {
                "CONTACT_CENTER_ENDPOINT" => Some(endpoint.to_owned()),
                "CONTACT_CENTER_API" => Some("chat-api-v2".to_owned()),
                _ => None,
            }))
        };
        for endpoint in
            ["https://api.8x8.com/vcc/us/chat/v2/tenant/acme/", "https://api.8x8.com/vcc/us/chat/v2/tenant/acme"]
        {
            let config = contact_center(endpoint).unwrap();
            let key = config.key_endpoint.join(["jwk", "k", "public"]);
            assert_eq!(key.as_str(), "https://api.8x8.com/vcc/us/chat/v2/jwk/k/public");
        }
        for endpoint in ["https://api.8x8.com/vcc/us/chat/v2/", "https://api.8x8.com/tenant/", "https://api.8x8.com"] {
            let error = contact_center(endpoint).unwrap_err();
            assert!(error.to_string().contains("/tenant/"), "{error}");
        }
    }

    #[test]
    fn an_api_key_needs_no_token_and_the_grants_do() {
        let authentication = |way: &str| {
            ContactCenterAuthentication::from_environment(&Environment::new(&|name| {
                (name == "CONTACT_CENTER_AUTHENTICATION").then(|| way.to_owned())
            }))
        };
        assert!(matches!(authentication(""), Ok(ContactCenterAuthentication::ApiKey)));
        for grant in ["client-credentials", "password"] {
            let error = authentication(grant).unwrap_err();
            assert_eq!(error, ConfigError::Missing { name: "CONTACT_CENTER_ACCESS_TOKEN_URL" });
        }
        assert!(authentication("basic").unwrap_err().to_string().contains("client-credentials"));
    }
}
