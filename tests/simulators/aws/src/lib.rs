//! AWS around functions that run on this machine as their real binaries, without an account, a container or a network.
//!
//! | module | simulates |
//! |---|---|
//! | [`lambda`] | Lambda: processes and their runtime API |
//! | [`http_api`] | API Gateway's HTTP API |
//! | [`event_source`], [`scheduler`] | what invokes functions: an SQS queue, a schedule |
//! | [`cloud`] | Secrets Manager, SQS, DynamoDB and CloudWatch Logs |
//! | [`cloud_formation`] | CloudFormation's protocol for a custom resource |
//!
//! This crate is a library only: without functions to run, a program would have nothing to do. The caller sets which functions
//! there are, their names and their variables.

pub mod cloud;
pub mod cloud_formation;
pub mod event_source;
pub mod http_api;
pub mod lambda;
pub mod scheduler;

/// The faults of AWS. The names of the command line come from the caller, as those of the functions do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Secrets Manager responds with 500.
    SecretsDown,
    /// Secrets Manager does not respond.
    SecretsHang,
    /// SQS responds with 500.
    QueueDown,
    /// DynamoDB responds with 500.
    TableDown,
    /// DynamoDB does not respond.
    TableHangs,
    /// The process of the function with this name is killed in the middle of an invocation.
    Kill(&'static str),
}
