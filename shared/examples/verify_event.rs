//! Says whether a captured request of 8x8 is genuine, and otherwise which check it fails, as receive-message finds it.
//!
//! ```console
//! $ cargo run --package shared --example verify_event -- request.json https://api.8x8.com/chat-gateway/v1/
//! ```
//!
//! The file is JSON with `headers`, `body` and `isBase64Encoded`, as API Gateway hands a request to a function. The URL is where
//! 8x8's public keys are: `<url>/jwk/<kid>/public`. A third argument is the time at which the age is judged, in milliseconds since
//! 1970; without it, that is now. Exit codes: 0 genuine, 1 not genuine, 2 it cannot be decided.
//!
//! `contact-center explain` finds out what was done to a request on its way, and needs nothing of this library.

use std::collections::BTreeMap;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use shared::clock::UnixTime;
use shared::contact_center::keys::PublicKeys;
use shared::contact_center::signature::{SignatureError, verify};
use shared::url::BaseUrl;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Captured {
    headers: BTreeMap<String, String>,
    body: String,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match verdict(&arguments).await {
        Ok(Ok(())) => {
            println!("Genuine: 8x8 has signed this request.");
            ExitCode::SUCCESS
        }
        Ok(Err(error @ SignatureError::KeyUnavailable(_))) => undecided(&error.to_string()),
        Ok(Err(error)) => {
            println!("Not genuine: {error}.");
            ExitCode::FAILURE
        }
        Err(problem) => undecided(&problem),
    }
}

fn undecided(problem: &str) -> ExitCode {
    eprintln!("It cannot be decided: {problem}.");
    ExitCode::from(2)
}

/// Reads the request and verifies it; fails if it cannot be read.
async fn verdict(arguments: &[String]) -> Result<Result<(), SignatureError>, String> {
    let (file, url, time) = match arguments {
        [file, url] => (file, url, UnixTime::now()),
        [file, url, time] => {
            let millis = time.parse().map_err(|_| format!("{time} is not a time in milliseconds"))?;
            (file, url, UnixTime::from_millis(millis))
        }
        _ => return Err("the arguments are a file, the URL of the keys, and perhaps a time".to_owned()),
    };
    let text = std::fs::read(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
    let captured: Captured = serde_json::from_slice(&text)
        .map_err(|error| format!("{file}, line {}, is not JSON with headers and a body", error.line()))?;
    let headers = captured.headers.iter().map(|(name, value)| {
        let name: HeaderName = name.parse().map_err(|_| format!("{file} has a header without a proper name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("{name} in {file} is not a header"))?;
        Ok((name, value))
    });
    let headers = headers.collect::<Result<HeaderMap, String>>()?;
    let body = if captured.is_base64_encoded {
        STANDARD.decode(&captured.body).map_err(|_| format!("the body in {file} is not in base64"))?
    } else {
        captured.body.into_bytes()
    };
    let endpoint = BaseUrl::parse(url).ok_or_else(|| format!("{url} is not a https URL"))?;
    let keys = PublicKeys::new(shared::http::client().map_err(|error| error.to_string())?, endpoint);
    Ok(verify(&keys, &headers, &body, time).await)
}
