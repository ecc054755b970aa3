//! A user's own bot at the sandbox: its configuration, and the wait for it.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::http::Uri;
use tokio::net::TcpStream;

use crate::caller::Login;
use crate::{CONVERSATIONS, Sandbox, TOKEN};

/// The time between two probes of the bot.
const INTERVAL: Duration = Duration::from_millis(200);

/// The addresses and credentials of a bot, as the environment variables that the examples read.
pub fn environment(sandbox: &Sandbox) -> [(&'static str, String); 5] {
    let Login { app_token, username, password } = sandbox.caller_login();
    [
        ("TOKEN_URL", sandbox.api_url(TOKEN)),
        ("CONVERSATIONS_URL", sandbox.api_url(CONVERSATIONS)),
        ("CALLER_APP_TOKEN", app_token),
        ("CALLER_USERNAME", username),
        ("CALLER_PASSWORD", password),
    ]
}

/// Writes [`environment`] to a file that a shell can read.
///
/// # Errors
/// Fails if the file cannot be written.
pub fn write_environment(sandbox: &Sandbox, file: &Path) -> io::Result<()> {
    let lines = environment(sandbox).map(|(name, value)| format!("export {name}='{value}'\n"));
    std::fs::write(file, lines.concat())
}

/// Waits until a server accepts connections at `endpoint`, without a limit: a person starts it.
///
/// # Errors
/// Fails if `endpoint` is not a URL with a host.
pub async fn wait_for(endpoint: &str) -> Result<(), String> {
    let uri: Uri = endpoint.parse().map_err(|_| format!("{endpoint} is not a URL"))?;
    let host = uri.host().ok_or_else(|| format!("{endpoint} has no host"))?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    while TcpStream::connect((host, port)).await.is_err() {
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(())
}
