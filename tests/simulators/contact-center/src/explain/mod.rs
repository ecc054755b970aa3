//! Whether a captured request is genuine, and if not, why.
//!
//! The checks are those of the bridge, in the same order, written independently of it. All checks are made even if one fails,
//! so that everything that is wrong is reported at once.

mod changes;
mod claims;
mod jws;
mod key;
mod rsa;
mod search;

use std::fmt;

use crate::captured::CapturedRequest;
use claims::Claims;
use jws::Jws;
pub use key::PublicKey;
use search::Search;

/// How old an event may be, in milliseconds. 8x8 documents no limit. These are the limits of the bridge, which accepts an event
/// for 300 s in all because SQS drops a repeated event id for that time.
const AGE: u64 = 240_000;

/// How far the sender's clock may be ahead, in milliseconds. See [`AGE`].
const AHEAD: u64 = 60_000;

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The request is as 8x8 sends it.
    Ok,
    /// A receiver must reject the request.
    Fails,
    /// Something is missing that the check needs.
    NotChecked,
}

/// One check: its result, what was found, and what to do.
#[derive(Debug, Clone)]
pub struct Check {
    /// The subject of the check: a header's name, or a property of the request.
    pub name: &'static str,
    /// The result.
    pub outcome: Outcome,
    /// What was found and, if the check fails, what was expected and what to do.
    pub text: String,
}

impl Check {
    fn ok(name: &'static str, text: String) -> Self {
        Self { name, outcome: Outcome::Ok, text }
    }

    fn fails(name: &'static str, text: String) -> Self {
        Self { name, outcome: Outcome::Fails, text }
    }

    fn not_checked(name: &'static str, text: String) -> Self {
        Self { name, outcome: Outcome::NotChecked, text }
    }
}

/// The conclusion from all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every check passes.
    Genuine,
    /// A check fails.
    NotGenuine,
    /// No check fails, but not all could be made.
    Undecided,
}

/// The checks of one request. Its [`fmt::Display`] is what `contact-center explain` prints.
#[derive(Debug)]
pub struct Report {
    /// In the order in which the bridge makes them.
    pub checks: Vec<Check>,
    /// Sentences about the cause of a failure and what to do.
    pub causes: Vec<String>,
}

impl Report {
    /// The conclusion.
    pub fn verdict(&self) -> Verdict {
        let any = |outcome| self.checks.iter().any(|check| check.outcome == outcome);
        match (any(Outcome::Fails), any(Outcome::NotChecked)) {
            (true, _) => Verdict::NotGenuine,
            (false, true) => Verdict::Undecided,
            (false, false) => Verdict::Genuine,
        }
    }

    /// The names of the checks with this result.
    pub fn names(&self, outcome: Outcome) -> Vec<&'static str> {
        self.checks.iter().filter(|check| check.outcome == outcome).map(|check| check.name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { name, outcome, text } in &self.checks {
            let outcome = match outcome {
                Outcome::Ok => "ok",
                Outcome::Fails => "FAILS",
                Outcome::NotChecked => "unknown",
            };
            writeln!(formatter, "{outcome:<8}{name:<25}{text}")?;
        }
        writeln!(formatter)?;
        for cause in &self.causes {
            writeln!(formatter, "{cause}\n")?;
        }
        match (self.verdict(), self.names(Outcome::Fails).as_slice()) {
            (Verdict::Genuine, _) => writeln!(formatter, "Genuine: every check passes."),
            (Verdict::Undecided, _) => {
                writeln!(formatter, "Cannot be decided: not checked: {}.", self.names(Outcome::NotChecked).join(", "))
            }
            (Verdict::NotGenuine, ["age"]) if self.names(Outcome::NotChecked).is_empty() => {
                writeln!(formatter, "Not accepted at this time: the signature is right, only the age is not.")
            }
            (Verdict::NotGenuine, fails) => writeln!(formatter, "Not genuine: fails: {}.", fails.join(", ")),
        }
    }
}

/// Checks a captured request with a key, for a tenant if there is one, as if it had arrived at the time `at`, in milliseconds.
pub fn explain(request: &CapturedRequest, key: Option<&PublicKey>, tenant_id: Option<&str>, at: u64) -> Report {
    let mut report = Report { checks: Vec::new(), causes: Vec::new() };
    let (signature, claims) = claims::read(request, &mut report.checks);
    report.checks.push(claims::check_age(&claims, at));
    let jws = signature.and_then(|signature| jws::read(&signature, &mut report.checks));
    check_signature(request, &claims, jws.as_ref(), key, &mut report);
    if let Some(expected) = tenant_id {
        report.checks.push(match &claims.tenant_id {
            Some(found) if found == expected => Check::ok("tenant", format!("is {expected:?}")),
            Some(found) => {
                Check::fails("tenant", format!("is {found:?}, expected {expected:?}: one key signs for all tenants"))
            }
            None => Check::not_checked("tenant", "the request names no tenant".to_owned()),
        });
    }
    report
}

fn check_signature(
    request: &CapturedRequest,
    claims: &Claims,
    jws: Option<&Jws>,
    key: Option<&PublicKey>,
    report: &mut Report,
) {
    const KEY: &str = "key";
    const SIGNATURE: &str = "signature";
    let kid = jws.and_then(|jws| jws.kid.as_deref());
    let (is_other_key, check) = match (key.map(|key| key.kid.as_deref()), kid) {
        (None, Some(kid)) => {
            report.causes.push(how_to_fetch(kid));
            (false, Check::not_checked(KEY, "not given; fetch it as shown below and give it with --jwk".to_owned()))
        }
        (None, None) => (false, Check::not_checked(KEY, "not given, and the request names none".to_owned())),
        (Some(Some(own)), Some(kid)) if own != kid => {
            report.causes.push(how_to_fetch(kid));
            (true, Check::not_checked(KEY, format!("the file holds the key {own:?}, the request names {kid:?}")))
        }
        (Some(Some(own)), _) => (false, Check::ok(KEY, format!("is {own:?}"))),
        (Some(None), _) => (false, Check::ok(KEY, "names no kid: it is taken to be the right one".to_owned())),
    };
    report.checks.push(check);

    let checksum = crc32fast::hash(request.body());
    let (Some(jws), Some(key)) = (jws, key) else {
        let missing = if jws.is_none() { "a signature" } else { "the key" };
        report
            .checks
            .push(Check::not_checked(SIGNATURE, format!("needs {missing}; the body's checksum is {checksum}")));
        return;
    };
    let input = claims.signing_input(&jws.header, checksum);
    if input.is_some_and(|input| key.verifies(input.as_bytes(), &jws.signature)) {
        report.checks.push(Check::ok(SIGNATURE, format!("fits the headers and the body's checksum {checksum}")));
        return;
    }
    let Some(digest) = key.signed_digest(&jws.signature) else {
        report.checks.push(if is_other_key {
            Check::not_checked(SIGNATURE, "was not made with this key; give the one that the request names".to_owned())
        } else {
            let text = "was not made with this key: it is from another key with this kid (another region or installation of \
                        8x8's), it was changed on the way, or it is forged";
            Check::fails(SIGNATURE, text.to_owned())
        });
        return;
    };
    let text =
        format!("was made with this key, but for another body (this one's checksum is {checksum}) or other headers");
    report.checks.push(Check::fails(SIGNATURE, text));
    let search = Search { jws, claims, body: request.body(), digest, kid: key.kid.as_deref() };
    report.causes.push(search.explanation().unwrap_or_else(|| {
        "No change of the body or of a header that is tried here makes the signature right: the capture is incomplete, or \
         something was changed in a way of its own."
            .to_owned()
    }));
    let length = request.values("content-length").next().map(String::from_utf8_lossy);
    if let Some(length) = length.filter(|length| *length != request.body().len().to_string()) {
        report.causes.push(format!(
            "content-length is {length}, and the captured body has {} bytes: it was cut, or changed after it arrived.",
            request.body().len()
        ));
    }
    if String::from_utf8_lossy(request.body()).contains('\u{fffd}') {
        let cause = "The body holds U+FFFD or bytes that are not UTF-8: if a program replaced characters that it could not \
                     read, what was signed is lost.";
        report.causes.push(cause.to_owned());
    }
}

/// The URLs at which 8x8 publishes a key. Neither needs credentials.
fn how_to_fetch(kid: &str) -> String {
    format!(
        "Fetch the key from 8x8, then give it with --jwk jwk.json:\n  \
         curl -fsS https://api.8x8.com/chat-gateway/v1/jwk/{kid}/public -o jwk.json\n\
         or, with the older Chat API, from your region (us, eu, ca or ap):\n  \
         curl -fsS https://api.8x8.com/vcc/us/chat/v2/jwk/{kid}/public -o jwk.json"
    )
}
