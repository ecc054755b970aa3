//! The cold start of issue-token.

use issue_token::{Config, IssueToken};
use shared::environment::Environment;
use shared::{http_api, runtime};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::start(env!("CARGO_CRATE_NAME"));
    let function = IssueToken::start(Config::from_environment(&Environment::of_process())?).await?;
    http_api::run(|request| function.handle(request)).await
}
