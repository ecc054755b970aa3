//! The code that the functions share. Each module owns one outside system, or one thing that all of them need.
//!
//! The modules are in layers: a module uses only modules of the rows below its own (`tests/it/layers.rs` checks it).
//!
//! | module | owns |
//! |---|---|
//! | [`bot_platform`] | the bot's side: its token endpoint and its `receiveMessage` |
//! | [`queue`] | Amazon SQS: the event queue and its dead-letter queue |
//! | [`handover`] | hand-overs: their states, and the DynamoDB table of them |
//! | [`contact_center`] | 8x8: its signature, its events, its API and the log-in there |
//! | [`caller`] | the callers, who send an app token and a bearer token of ours |
//! | [`oauth`] | access tokens: how they are requested, refreshed, stored and sent |
//! | [`secrets`] | AWS Secrets Manager |
//! | [`cache`] | how long secrets, callers and keys are used, and what happens while their source fails |
//! | [`aws`] | the AWS SDK's configuration and its HTTP client |
//! | [`http`] | the HTTP client for everything but AWS; TLS for all |
//! | [`http_api`] | API Gateway: its events as requests, and responses |
//! | [`runtime`] | the start of a function, and the loop that it runs in |
//! | [`telemetry`] | logs and metrics |
//! | [`log_line`] | the format of a log line |
//! | [`trace`] | the fields by which a conversation is followed through the log lines |
//! | [`integration`] | the name of an integration |
//! | [`environment`] | environment variables: how they are read, and the errors about them |
//! | [`url`] | URLs that are configured |
//! | [`digest`], [`clock`] | ids from bytes, points in time |

pub mod aws;
pub mod bot_platform;
pub mod cache;
pub mod caller;
pub mod clock;
pub mod contact_center;
pub mod digest;
pub mod environment;
pub mod handover;
pub mod http;
pub mod http_api;
pub mod integration;
pub mod log_line;
pub mod oauth;
pub mod queue;
pub mod runtime;
pub mod secrets;
pub mod telemetry;
pub mod trace;
pub mod url;
