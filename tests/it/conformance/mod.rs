//! What we rely on in Secrets Manager, SQS FIFO and DynamoDB, run against the sandbox's cloud and against moto's server, so that
//! neither drifts from the other.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use ::aws::cloud::Cloud;
use aws_config::SdkConfig;
use shared::aws;
use simulation::faults::Faults;
use simulation::journal::Journal;
use simulation::server::Server;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The SDK's configuration for a cloud at `url`, otherwise as the functions have it.
pub fn sdk_config(url: &str) -> SdkConfig {
    ::aws::cloud::sdk_config(url, aws::Transport::new().unwrap())
}

/// One of the two clouds.
pub enum Peer {
    Sandbox { _cloud: Arc<Cloud>, server: Server },
    Moto { _process: Child, url: String },
}

impl Peer {
    async fn sandbox() -> Self {
        let (cloud, server) = Cloud::start(Arc::new(Faults::default()), Arc::new(Journal::new(false))).await;
        Self::Sandbox { _cloud: cloud, server }
    }

    /// moto's server as `make test` installs it below `target/`.
    pub async fn moto() -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/moto/bin/moto_server");
        let mut process = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} does not start ({error}): `make python` installs it", program.display())
            });
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, url)) = line.split_once("Running on ") {
                let url = url.trim().to_owned();
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Self::Moto { _process: process, url };
            }
        }
        panic!("moto's server ended");
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sandbox { server, .. } => server.url(),
            Self::Moto { url, .. } => url.clone(),
        }
    }
}

/// Runs a test against both clouds.
macro_rules! on_both_clouds {
    ($($name:ident)*) => {
        mod sandbox_cloud {
            $(#[tokio::test] async fn $name() { let peer = super::Peer::sandbox().await; super::$name(&super::sdk_config(&peer.url())).await })*
        }
        mod moto {
            $(#[tokio::test] async fn $name() { let peer = super::Peer::moto().await; super::$name(&super::sdk_config(&peer.url())).await })*
        }
    };
}

pub mod dynamodb;
mod secrets;
mod sqs;

#[tokio::test]
async fn the_sandboxs_cloud_refuses_what_it_does_not_know() {
    let peer = Peer::sandbox().await;
    let config = sdk_config(&peer.url());
    let error = aws_sdk_secretsmanager::Client::new(&config).list_secrets().send().await.unwrap_err();
    assert_eq!(aws::failure(&error), "UnknownOperationException");
    let error = aws_sdk_sqs::Client::new(&config).list_queues().send().await.unwrap_err();
    assert_eq!(aws::failure(&error), "UnknownOperationException");
}
