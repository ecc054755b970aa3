//! The environment of the functions, read once at a cold start. Each variable is named and explained here and nowhere
//! else; a function asks for the groups that it uses.

use std::fmt;
use std::time::Duration;

use url::{Host, Url};

/// A variable that is missing or malformed. Its text names the variable and what belongs there, never the value.
#[derive(Clone, thiserror::Error, PartialEq, Eq)]
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

/// The variables that a function is started with, by a look-up function.
pub struct Environment<'l>(&'l dyn Fn(&str) -> Option<String>);

impl<'l> Environment<'l> {
    /// The environment of this process. A variable that is not UTF-8 reads as missing: none of ours can be one.
    pub fn of_process() -> Environment<'static> {
        Environment(&|name| std::env::var(name).ok())
    }

    /// Variables that `look_up` knows.
    pub fn new(look_up: &'l dyn Fn(&str) -> Option<String>) -> Self {
        Self(look_up)
    }

    fn optional(&self, name: &'static str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        self.optional(name).ok_or(ConfigError::Missing { name })
    }

    fn endpoint(&self, name: &'static str) -> Result<Endpoint, ConfigError> {
        Endpoint::parse(&self.required(name)?).ok_or(ConfigError::Malformed { name, expected: Endpoint::EXPECTED })
    }

    fn exact_url(&self, name: &'static str) -> Result<ExactUrl, ConfigError> {
        ExactUrl::parse(&self.required(name)?).ok_or(ConfigError::Malformed { name, expected: Endpoint::EXPECTED })
    }

    fn secret_id(&self, name: &'static str) -> Result<String, ConfigError> {
        self.required(name)
    }

    /// `INTEGRATION_NAME`: letters, digits, hyphens; at most 200, since 8x8's names may have 255 and ours get a prefix.
    pub fn integration_name(&self) -> Result<String, ConfigError> {
        let name = "INTEGRATION_NAME";
        let value = self.required(name)?;
        let valid = value.len() <= 200 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if valid {
            Ok(value)
        } else {
            Err(ConfigError::Malformed { name, expected: "at most 200 letters, digits and hyphens" })
        }
    }

    /// Where the contact center is and which API it speaks there: `CONTACT_CENTER_ENDPOINT`, `CONTACT_CENTER_API`,
    /// `CONTACT_CENTER_TENANT_ID`.
    pub fn contact_center(&self) -> Result<ContactCenterConfig, ConfigError> {
        let name = "CONTACT_CENTER_ENDPOINT";
        let endpoint = self.endpoint(name)?;
        let api = match self.optional("CONTACT_CENTER_API").as_deref() {
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
        let tenant_id = self.optional("CONTACT_CENTER_TENANT_ID");
        Ok(ContactCenterConfig { endpoint, key_endpoint, api, tenant_id })
    }

    /// How we log in at the contact center: `CONTACT_CENTER_AUTHENTICATION`, and what that way needs of
    /// `CONTACT_CENTER_SECRET_ID`, `CONTACT_CENTER_ACCESS_TOKEN_URL` and `CONTACT_CENTER_TOKEN_SECRET_ID`.
    pub fn contact_center_authentication(&self) -> Result<ContactCenterAuthentication, ConfigError> {
        let name = "CONTACT_CENTER_AUTHENTICATION";
        let grant = match self.optional(name).as_deref() {
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

    /// `CALLBACK_AUTHENTICATION`: how 8x8's events prove that they are genuine; and those who may call us, where they do.
    pub fn callback_authentication(&self) -> Result<CallbackAuthentication, ConfigError> {
        let name = "CALLBACK_AUTHENTICATION";
        match self.optional(name).as_deref() {
            None | Some("signature") => Ok(CallbackAuthentication::Signature),
            Some("headers") => self.callers().map(CallbackAuthentication::Headers),
            Some("either") => self.callers().map(CallbackAuthentication::Either),
            Some("both") => self.callers().map(CallbackAuthentication::Both),
            Some(_) => Err(ConfigError::Malformed { name, expected: "signature, headers, either or both" }),
        }
    }

    /// Those who may call us: `INTEGRATION_NAME`, `CALLER_SECRET_ID`.
    pub fn callers(&self) -> Result<CallersConfig, ConfigError> {
        Ok(CallersConfig { integration_name: self.integration_name()?, secret_id: self.caller_secret_id()? })
    }

    /// `CALLER_SECRET_ID`: the secret `{"app_token","username","password","signing_key"}` by which callers are known.
    pub fn caller_secret_id(&self) -> Result<String, ConfigError> {
        self.secret_id("CALLER_SECRET_ID")
    }

    /// `REFRESH_TOKEN_DAYS`: how long the refresh tokens live that we issue; 30 days unless it is set.
    pub fn refresh_token_life(&self) -> Result<Duration, ConfigError> {
        let name = "REFRESH_TOKEN_DAYS";
        let days = match self.optional(name) {
            None => Some(30),
            // Signing keys are kept that long; a year is as many as anyone should keep.
            Some(text) => text.parse().ok().filter(|days| (1..=365).contains(days)),
        };
        let days = days.ok_or(ConfigError::Malformed { name, expected: "a number of days from 1 to 365" })?;
        Ok(Duration::from_secs(days * 24 * 3600))
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

    /// `IDEMPOTENCY_TABLE`: the DynamoDB table that remembers answers by their `Idempotency-Key`.
    pub fn idempotency_table(&self) -> Result<String, ConfigError> {
        self.required("IDEMPOTENCY_TABLE")
    }

    /// `RECEIVE_MESSAGE_LOG_GROUP`: where receive-message writes its log.
    pub fn receive_message_log_group(&self) -> Result<String, ConfigError> {
        self.required("RECEIVE_MESSAGE_LOG_GROUP")
    }

    /// `DELIVER_MESSAGE_LOG_GROUP`: where deliver-message writes its log.
    pub fn deliver_message_log_group(&self) -> Result<String, ConfigError> {
        self.required("DELIVER_MESSAGE_LOG_GROUP")
    }

    /// `CHANNEL_SECRET_ID`: the secret that remembers webhook and channel.
    pub fn channel_secret_id(&self) -> Result<String, ConfigError> {
        self.secret_id("CHANNEL_SECRET_ID")
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackAuthentication {
    /// By 8x8's own signature.
    Signature,
    /// By the two headers that a load balancer of 8x8's adds.
    Headers(CallersConfig),
    /// By one of them.
    Either(CallersConfig),
    /// By both.
    Both(CallersConfig),
}

/// Those who may call us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallersConfig {
    /// The integration that their tokens are of.
    pub integration_name: String,
    /// The secret by which they are known.
    pub secret_id: String,
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

    /// The base without the last segments of its path, which must be `tail`; `None` if they are not.
    pub fn above(&self, tail: &[&str]) -> Option<Self> {
        let mut segments: Vec<&str> = self.0.path_segments()?.collect();
        segments.pop_if(|last| last.is_empty());
        let above = segments.strip_suffix(tail)?.join("/");
        let mut url = self.0.clone();
        url.set_path(&above);
        Some(Self(url))
    }

    fn above_tenant(&self) -> Option<Self> {
        let mut segments = self.0.path_segments()?.rev().skip_while(|segment| segment.is_empty());
        self.above(&["tenant", segments.next()?])
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

    fn with<T>(variables: &[(&str, &str)], read: impl FnOnce(&Environment<'_>) -> T) -> T {
        let look_up =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
        read(&Environment::new(&look_up))
    }

    #[test]
    fn names_the_variable_that_is_missing() {
        let error = with(&[("BOT_ENDPOINT", "  ")], |environment| environment.bot_platform()).unwrap_err();
        assert_eq!(error.to_string(), "environment variable BOT_ENDPOINT is missing");
        assert_eq!(format!("{error:?}"), error.to_string());
    }

    #[test]
    fn never_shows_a_malformed_value() {
        let variables = [("BOT_ENDPOINT", "https://user:hunter2@bot.example")];
        let error = with(&variables, |environment| environment.bot_platform()).unwrap_err().to_string();
        assert!(error.contains("BOT_ENDPOINT") && !error.contains("hunter2"), "{error}");
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
        let contact_center = |endpoint| {
            let variables = [("CONTACT_CENTER_ENDPOINT", endpoint), ("CONTACT_CENTER_API", "chat-api-v2")];
            with(&variables, |environment| environment.contact_center())
        };
        let config = contact_center("https://api.8x8.com/vcc/us/chat/v2/tenant/acme/").unwrap();
        let key = config.key_endpoint.join(["jwk", "k", "public"]);
        assert_eq!(key.as_str(), "https://api.8x8.com/vcc/us/chat/v2/jwk/k/public");

        let error = contact_center("https://api.8x8.com/vcc/us/chat/v2/").unwrap_err();
        assert!(error.to_string().contains("/tenant/"), "{error}");
    }

    #[test]
    fn an_api_key_needs_no_token_and_the_grants_do() {
        let authentication = |name: &str| {
            with(&[("CONTACT_CENTER_AUTHENTICATION", name)], |environment| environment.contact_center_authentication())
        };
        assert!(matches!(authentication(""), Ok(ContactCenterAuthentication::ApiKey)));
        for grant in ["client-credentials", "password"] {
            let error = authentication(grant).unwrap_err();
            assert_eq!(error, ConfigError::Missing { name: "CONTACT_CENTER_ACCESS_TOKEN_URL" });
        }
        assert!(authentication("basic").unwrap_err().to_string().contains("client-credentials"));
    }

    #[test]
    fn an_integration_name_is_letters_digits_and_hyphens() {
        let name = |name: &str| with(&[("INTEGRATION_NAME", name)], |environment| environment.integration_name());
        assert_eq!(name("acme-8x8").unwrap(), "acme-8x8");
        for bad in ["a b", "a/b", "ä", &"x".repeat(201)] {
            assert!(name(bad).is_err());
        }
    }
}
