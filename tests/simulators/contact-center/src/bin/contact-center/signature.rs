//! `contact-center sign` and `contact-center explain`: 8x8's signature of a webhook request, made and checked.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use contact_center::captured::CapturedRequest;
use contact_center::explain::{PublicKey, Verdict, explain};
use contact_center::signer::{Claims, Signer};

/// Signs a body as 8x8 does, and prints the whole request as HTTP/1.1.
#[derive(Debug, Args)]
pub(super) struct Sign {
    /// The body; - reads it from standard input.
    file: PathBuf,

    /// The RSA private key, as a PEM file. Without it a new key is made.
    #[arg(long, value_name = "KEY.pem")]
    key: Option<PathBuf>,

    /// Write the public key here, as 8x8's key endpoint returns it.
    #[arg(long, value_name = "OUT", required_unless_present = "key")]
    jwk: Option<PathBuf>,

    /// x-8x8-tenant-id
    #[arg(long, value_name = "ID", default_value = "tenant")]
    tenant_id: String,

    /// x-8x8-customer-id
    #[arg(long, value_name = "ID", default_value = "customer")]
    customer_id: String,

    /// x-8x8-event-id [default: a new one]
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,

    /// x-8x8-retry
    #[arg(long, value_name = "N", default_value_t = 0)]
    retry: u64,

    /// x-8x8-transmission-time, in milliseconds since 1970, or now
    #[arg(long, value_name = "MS", default_value = "now", value_parser = time)]
    transmission_time: u64,
}

/// Says whether a captured request is genuine, and if not, why.
///
/// The exit code is 0 if it is genuine, 1 if it is not, and 2 if that cannot be decided: no key, or a file that cannot be
/// read.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The request: HTTP/1.1 as it was sent, or JSON with headers, body and isBase64Encoded as API Gateway's events have
    /// them; - reads it from standard input.
    file: PathBuf,

    /// 8x8's public key, a JWK or a PEM file. Without it, the command that fetches the key is printed.
    #[arg(long, value_name = "FILE")]
    jwk: Option<PathBuf>,

    /// The tenant that the request must be of.
    #[arg(long, value_name = "ID")]
    tenant_id: Option<String>,

    /// Judge the age as if the request had arrived at this time, in milliseconds since 1970, or now
    #[arg(long, value_name = "MS", default_value = "now", value_parser = time)]
    at: u64,
}

pub(super) fn sign(options: Sign) -> Result<(), String> {
    let body = read(&options.file)?;
    let signer = match &options.key {
        None => Signer::new(),
        Some(file) => Signer::from_pem(&String::from_utf8_lossy(&read(file)?))
            .ok_or_else(|| format!("{} is not an RSA private key in PEM", file.display()))?,
    };
    if let Some(file) = &options.jwk {
        std::fs::write(file, format!("{}\n", signer.jwk())).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    let claims = Claims {
        tenant_id: options.tenant_id,
        customer_id: options.customer_id,
        event_id: options.event_id.map_or_else(new_event_id, Ok)?,
        retry: options.retry,
        transmission_time: options.transmission_time.into(),
    };
    let request = CapturedRequest::new(signer.headers(&body, &claims), &body);
    std::io::stdout().write_all(&request.to_http()).map_err(|error| error.to_string())
}

pub(super) fn explain_file(options: &Explain) -> Result<ExitCode, String> {
    let in_file = |file: &Path, error: String| format!("{}: {error}", file.display());
    let request = CapturedRequest::parse(&read(&options.file)?).map_err(|error| in_file(&options.file, error))?;
    let key = match &options.jwk {
        None => None,
        Some(file) => Some(PublicKey::parse(&read(file)?).map_err(|error| in_file(file, error))?),
    };
    let report = explain(&request, key.as_ref(), options.tenant_id.as_deref(), options.at);
    print!("{report}");
    Ok(ExitCode::from(match report.verdict() {
        Verdict::Genuine => 0,
        Verdict::NotGenuine => 1,
        Verdict::Undecided => 2,
    }))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let content = if file == Path::new("-") {
        let mut content = Vec::new();
        std::io::stdin().read_to_end(&mut content).map(|_| content)
    } else {
        std::fs::read(file)
    };
    content.map_err(|error| format!("{}: {error}", file.display()))
}

fn time(text: &str) -> Result<u64, String> {
    let now = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis()).ok();
    if text == "now" { now() } else { text.parse().ok() }
        .ok_or_else(|| "expected milliseconds since 1970, or now".to_owned())
}

/// 22 characters, as 8x8's event ids have.
fn new_event_id() -> Result<String, String> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id).map_err(|_| "no random numbers")?;
    Ok(URL_SAFE_NO_PAD.encode(id))
}
