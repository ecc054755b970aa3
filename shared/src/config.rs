//! The environment of the functions, read once at a cold start. Each variable is named and explained here and nowhere
//! else; a function asks for the groups that it uses.

use std::collections::HashMap;
use std::fmt;

use url::{Host, Url};

/// A variable that is missing or malformed. Its text names the variable and what belongs there, never the value.
#[derive(thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The variable is not set, or empty.
    #[error("environment variable {name} is missing")]
    Missing {
        /// The variable's name.
        name: &'static str,
    },
    /// The variable is set to something that cannot be used.
    #[error("environment variable {name} is malformed: it must be {expected}")]
    Malformed {
        /// The variable's name.
        name: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
}

/// `main` prints an error by its `Debug`: show the sentence there too.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The variables that a function was started with.
#[derive(Clone)]
pub struct Environment(HashMap<String, String>);

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 are left out: none of ours can be.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn optional(&self, name: &'static str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &'static str) -> Result<&str, ConfigError> {
        self.optional(name).ok_or(ConfigError::Missing { name })
    }

    fn endpoint(&self, name: &'static str) -> Result<Endpoint, ConfigError> {
        Endpoint::parse(self.required(name)?).ok_or(ConfigError::Malformed { name, expected: Endpoint::EXPECTED })
    }

    fn exact_url(&self, name: &'static str) -> Result<ExactUrl, ConfigError> {
        ExactUrl::parse(self.required(name)?).ok_or(ConfigError::Malformed { name, expected: Endpoint::EXPECTED })
    }

    fn secret_id(&self, name: &'static str) -> Result<String, ConfigError> {
        self.required(name).map(str::to_owned)
    }

    /// `INTEGRATION_NAME`: letters, digits, hyphens; at most 200, since 8x8's names may have 255 and ours get a prefix.
    pub fn integration_name(&self) -> Result<String, ConfigError> {
        let name = "INTEGRATION_NAME";
        let value = self.required(name)?;
        let valid = value.len() <= 200 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if valid {
            Ok(value.to_owned())
        } else {
            Err(ConfigError::Malformed { name, expected: "at most 200 letters, digits and hyphens" })
        }
    }

    /// Where the contact center is and which API it speaks there: `CONTACT_CENTER_ENDPOINT`, `CONTACT_CENTER_API`,
    /// `CONTACT_CENTER_TENANT_ID`.
    pub fn contact_center(&self) -> Result<ContactCenterConfig, ConfigError> {
        let name = "CONTACT_CENTER_ENDPOINT";
        let endpoint = self.endpoint(name)?;
        let api = match self.optional("CONTACT_CENTER_API") {
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
            // The older API's keys lie above the tenant: https://…/chat/v2/tenant/acme/ → https://…/chat/v2/
            ContactCenterApi::ChatApiV2 => endpoint.above_tenant().ok_or(ConfigError::Malformed {
                name,
                expected: "a chat-api-v2 URL that ends in /tenant/<tenant id>/",
            })?,
        };
        let tenant_id = self.optional("CONTACT_CENTER_TENANT_ID").map(str::to_owned);
        Ok(ContactCenterConfig { endpoint, key_endpoint, api, tenant_id })
    }

    /// How we log in at the contact center: `CONTACT_CENTER_AUTHENTICATION`, and what that way needs of
    /// `CONTACT_CENTER_SECRET_ID`, `CONTACT_CENTER_ACCESS_TOKEN_URL` and `CONTACT_CENTER_TOKEN_SECRET_ID`.
    pub fn contact_center_authentication(&self) -> Result<ContactCenterAuthentication, ConfigError> {
        let name = "CONTACT_CENTER_AUTHENTICATION";
        let grant = match self.optional(name) {
            None | Some("api-key") => return Ok(ContactCenterAuthentication::ApiKey),
            Some("client-credentials") => ContactCenterGrant::ClientCredentials,
            Some("password") => ContactCenterGrant::Password,
            Some(_) => {
                return Err(ConfigError::Malformed { name, expected: "api-key, client-credentials or password" });
            }
        };
        Ok(ContactCenterAuthentication::Token(ContactCenterTokenConfig {
            grant,
            access_token_url: self.endpoint("CONTACT_CENTER_ACCESS_TOKEN_URL")?,
            secret_id: self.secret_id("CONTACT_CENTER_TOKEN_SECRET_ID")?,
        }))
    }

    /// `CONTACT_CENTER_SECRET_ID`: the secret `{"api_key","api_secret","username","password"}`, those that the
    /// authentication needs.
    pub fn contact_center_secret_id(&self) -> Result<String, ConfigError> {
        self.secret_id("CONTACT_CENTER_SECRET_ID")
    }

    /// The bot platform: `BOT_ENDPOINT`, `BOT_SECRET_ID`, `BOT_TOKEN_SECRET_ID`.
    pub fn bot_platform(&self) -> Result<BotPlatformConfig, ConfigError> {
        Ok(BotPlatformConfig {
            endpoint: self.endpoint("BOT_ENDPOINT")?,
            secret_id: self.secret_id("BOT_SECRET_ID")?,
            token_secret_id: self.secret_id("BOT_TOKEN_SECRET_ID")?,
        })
    }

    /// `CALLBACK_AUTHENTICATION`: how 8x8's events prove that they are genuine. By their signature, so far.
    pub fn callback_authentication(&self) -> Result<CallbackAuthentication, ConfigError> {
        let name = "CALLBACK_AUTHENTICATION";
        match self.optional(name) {
            None | Some("signature") => Ok(CallbackAuthentication::Signature),
            Some(_) => Err(ConfigError::Malformed { name, expected: "signature" }),
        }
    }

    /// `EVENT_QUEUE_URL`: the SQS FIFO queue between receive-message and deliver-message.
    pub fn event_queue_url(&self) -> Result<ExactUrl, ConfigError> {
        self.exact_url("EVENT_QUEUE_URL")
    }

    /// `DEAD_LETTER_QUEUE_URL`: the SQS FIFO queue for what the bot platform will never take.
    pub fn dead_letter_queue_url(&self) -> Result<ExactUrl, ConfigError> {
        self.exact_url("DEAD_LETTER_QUEUE_URL")
    }

    /// `CALLBACK_URL`: the public URL of our `receiveMessage` route.
    pub fn callback_url(&self) -> Result<ExactUrl, ConfigError> {
        self.exact_url("CALLBACK_URL")
    }

    /// `CHANNEL_SECRET_ID`: the secret that remembers webhook and channel.
    pub fn channel_secret_id(&self) -> Result<String, ConfigError> {
        self.secret_id("CHANNEL_SECRET_ID")
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Which of 8x8's two chat APIs an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactCenterApi {
    /// Chat Gateway v1, the current one.
    ChatGatewayV1,
    /// Chat API v2, the older one, which some installations still speak.
    ChatApiV2,
}

/// Where the contact center is.
#[derive(Debug, Clone)]
pub struct ContactCenterConfig {
    /// Base URL of the chat API.
    pub endpoint: Endpoint,
    /// What `jwk/{kid}/public` hangs on.
    pub key_endpoint: Endpoint,
    /// The dialect of `endpoint`.
    pub api: ContactCenterApi,
    /// 8x8's tenant: sent as `X-8x8-Tenant`, and every event must be of it.
    pub tenant_id: Option<String>,
}

/// How we log in at the contact center.
#[derive(Debug, Clone)]
pub enum ContactCenterAuthentication {
    /// `x-api-key` on each call.
    ApiKey,
    /// A bearer token that expires.
    Token(ContactCenterTokenConfig),
}

/// How the contact center's access token is got and kept.
#[derive(Debug, Clone)]
pub struct ContactCenterTokenConfig {
    /// How it is asked for.
    pub grant: ContactCenterGrant,
    /// Where it is asked for, e.g. `https://api.8x8.com/oauth/v2/token`.
    pub access_token_url: Endpoint,
    /// The secret that keeps it.
    pub secret_id: String,
}

/// The two OAuth grants of 8x8's token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactCenterGrant {
    /// HTTP Basic with API key and API secret.
    ClientCredentials,
    /// User name and password, with `x-api-key`; later calls carry the key beside the bearer.
    Password,
}

/// How an event proves that it is 8x8's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallbackAuthentication {
    /// 8x8's own signature.
    Signature,
}

/// Where the bot platform is and what we are known by there.
#[derive(Debug, Clone)]
pub struct BotPlatformConfig {
    /// Base URL; the API paths hang on it.
    pub endpoint: Endpoint,
    /// The secret `{"app_token","username","password"}`.
    pub secret_id: String,
    /// The secret that keeps our access token.
    pub token_secret_id: String,
}

/// A base URL to call: https, or http on a loopback host; without query, fragment or credentials in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    const EXPECTED: &'static str = "an absolute https URL (http only for a loopback host)";

    /// `None` if `text` is not such a URL. A trailing slash may be there or not.
    pub fn parse(text: &str) -> Option<Self> {
        let url = secure_url(text)?;
        (url.query().is_none() && url.fragment().is_none()).then_some(Self(url))
    }

    /// The URL itself, as it was given.
    pub fn url(&self) -> Url {
        self.0.clone()
    }

    /// The URL of a path below this base. Each segment is percent-encoded, so that none can climb out of its place.
    pub fn join<'s>(&self, segments: impl IntoIterator<Item = &'s str>) -> Url {
        let mut url = self.0.clone();
        // An https or http URL always can be a base, so that this branch is always taken.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn above_tenant(&self) -> Option<Self> {
        let mut segments: Vec<&str> = self.0.path_segments()?.collect();
        segments.pop_if(|last| last.is_empty());
        let tenant_id = segments.pop()?;
        (segments.pop() == Some("tenant") && !tenant_id.is_empty()).then(|| {
            let mut url = self.0.clone();
            url.set_path(&segments.join("/"));
            Self(url)
        })
    }
}

/// A URL whose text stays as it was given: SQS compares queue URLs, and 8x8 saves the callback URL, character by character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactUrl {
    text: String,
    url: Url,
}

impl ExactUrl {
    /// `None` if `text` is no absolute https URL (http for a loopback host).
    pub fn parse(text: &str) -> Option<Self> {
        secure_url(text).map(|url| Self { text: text.to_owned(), url })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// To call it.
    pub fn url(&self) -> Url {
        self.url.clone()
    }
}

fn secure_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let loopback = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let secure = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    (secure && url.username().is_empty() && url.password().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Environment {
        variables.into_iter().collect()
    }

    #[test]
    fn names_the_variable_that_is_missing() {
        let error = environment([("BOT_ENDPOINT", "  ")]).bot_platform().unwrap_err();
        assert_eq!(error.to_string(), "environment variable BOT_ENDPOINT is missing");
        assert_eq!(format!("{error:?}"), error.to_string());
    }

    #[test]
    fn never_shows_a_malformed_value() {
        let error = environment([("BOT_ENDPOINT", "https://user:hunter2@bot.example")]).bot_platform().unwrap_err();
        assert!(error.to_string().contains("BOT_ENDPOINT"));
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn an_endpoint_is_https_or_on_loopback() {
        for good in [
            "https://api.8x8.com/chat-gateway/v1/",
            "https://a.example",
            "http://localhost:1/x",
            "http://127.0.0.1:8080",
            "http://[::1]:9/",
        ] {
            assert!(Endpoint::parse(good).is_some(), "{good}");
        }
        for bad in [
            "http://api.8x8.com/",
            "http://localhost.example/",
            "ftp://localhost/",
            "api.8x8.com",
            "",
            "https://a.example/?q",
            "https://a.example/#f",
            "https://u@a.example/",
        ] {
            assert!(Endpoint::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn paths_hang_on_an_endpoint_with_and_without_trailing_slash() {
        for base in ["https://bot.example/base", "https://bot.example/base/"] {
            let url = Endpoint::parse(base).unwrap().join(["v1", "liveAgent", "receiveMessage"]);
            assert_eq!(url.as_str(), "https://bot.example/base/v1/liveAgent/receiveMessage");
        }
        let url = Endpoint::parse("https://8x8.example").unwrap().join(["webhooks", "../a/b?c"]);
        assert_eq!(url.as_str(), "https://8x8.example/webhooks/..%2Fa%2Fb%3Fc");
    }

    #[test]
    fn the_older_apis_keys_lie_above_the_tenant() {
        let config = environment([
            ("CONTACT_CENTER_ENDPOINT", "https://api.8x8.com/vcc/us/chat/v2/tenant/acme/"),
            ("CONTACT_CENTER_API", "chat-api-v2"),
        ])
        .contact_center()
        .unwrap();
        assert_eq!(
            config.key_endpoint.join(["jwk", "k", "public"]).as_str(),
            "https://api.8x8.com/vcc/us/chat/v2/jwk/k/public"
        );

        let error = environment([
            ("CONTACT_CENTER_ENDPOINT", "https://api.8x8.com/vcc/us/chat/v2/"),
            ("CONTACT_CENTER_API", "chat-api-v2"),
        ])
        .contact_center()
        .unwrap_err();
        assert!(error.to_string().contains("/tenant/"), "{error}");
    }

    #[test]
    fn an_api_key_needs_no_token_and_the_grants_do() {
        assert!(matches!(environment([]).contact_center_authentication(), Ok(ContactCenterAuthentication::ApiKey)));
        for grant in ["client-credentials", "password"] {
            assert_eq!(
                environment([("CONTACT_CENTER_AUTHENTICATION", grant)]).contact_center_authentication().unwrap_err(),
                ConfigError::Missing { name: "CONTACT_CENTER_ACCESS_TOKEN_URL" }
            );
        }
        assert!(
            environment([("CONTACT_CENTER_AUTHENTICATION", "basic")])
                .contact_center_authentication()
                .unwrap_err()
                .to_string()
                .contains("client-credentials")
        );
    }

    #[test]
    fn an_integration_name_is_letters_digits_and_hyphens() {
        assert_eq!(environment([("INTEGRATION_NAME", "acme-8x8")]).integration_name().unwrap(), "acme-8x8");
        for bad in ["a b", "a/b", "ä", &"x".repeat(201)] {
            assert!(environment([("INTEGRATION_NAME", bad)]).integration_name().is_err());
        }
    }
}
