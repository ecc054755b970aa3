//! What the functions share. Each module owns one outside system, or one thing that all of them need.
//!
//! | module | owns |
//! |---|---|
//! | [`config`] | the environment of the functions |
//! | [`contact_center`] | 8x8: its signature, its events, its API and how one logs in there |
//! | [`bot_platform`] | the bot's side: its token endpoint and its `receiveMessage` |
//! | [`caller`] | those who call us with an app token and a bearer token of ours |
//! | [`oauth`] | access tokens: how they are requested, refreshed, stored and sent |
//! | [`secrets`] | AWS Secrets Manager |
//! | [`queue`] | Amazon SQS: the event queue and its dead-letter queue |
//! | [`aws`] | the AWS SDK's configuration and its HTTP client |
//! | [`http`] | the HTTP client for everything but AWS; TLS for all |
//! | [`http_api`] | API Gateway: its events as requests, and responses |
//! | [`telemetry`] | logs, metrics, and the start of a function |
//! | [`digest`], [`clock`] | ids from bytes, points in time |

pub mod aws;
pub mod bot_platform;
pub mod caller;
pub mod clock;
pub mod config;
pub mod contact_center;
pub mod digest;
pub mod http;
pub mod http_api;
pub mod oauth;
pub mod queue;
pub mod secrets;
pub mod telemetry;
