//! Signature verification: what 8x8 signed is accepted, and any change of any signed part is refused.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use contact_center::captured::CapturedRequest;
use contact_center::explain::{PublicKey, Verdict, explain};
use contact_center::signer::{Claims, Signer};
use contact_center::{ContactCenter, ContactCenterSettings};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::clock::UnixTime;
use shared::contact_center::keys::PublicKeys;
use shared::contact_center::signature::{SignatureError, verify};
use shared::url::BaseUrl;
use simulation::faults::Faults;
use simulation::journal::Journal;
use simulation::server::Server;
use tokio::runtime::Runtime;

use crate::support::{Headers, Stack, message, now_millis};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// 8x8 with its key endpoint, and us with the keys that we fetch from it.
struct Peers {
    runtime: Runtime,
    contact_center: Arc<ContactCenter>,
    keys: PublicKeys,
    _server: Server,
}

impl Peers {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let settings = ContactCenterSettings::default();
        let journal = Arc::new(Journal::new(false));
        let start = ContactCenter::start(settings.clone(), Arc::new(Faults::default()), journal);
        let (contact_center, server) = runtime.block_on(start);
        let endpoint = BaseUrl::parse(&ContactCenter::endpoint(&settings, &server.url())).unwrap();
        let keys = PublicKeys::new(shared::http::client().unwrap(), endpoint);
        Self { runtime, contact_center, keys, _server: server }
    }

    fn signer(&self) -> &Signer {
        self.contact_center.signer()
    }

    fn verdict(&self, headers: &[(&'static str, String)], body: &[u8]) -> Result<(), SignatureError> {
        let header = |(name, value): &(&'static str, String)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let headers: HeaderMap = headers.iter().map(header).collect();
        self.runtime.block_on(verify(&self.keys, &headers, body, NOW))
    }
}

fn claims() -> impl Strategy<Value = Claims> {
    let text = "[!-~]{1,40}";
    (text, text, text, 0..1000_u64, 0..300_000_u64).prop_map(|(tenant_id, customer_id, event_id, retry, age)| Claims {
        tenant_id,
        customer_id,
        event_id,
        retry,
        // From 60 s ahead to 240 s ago.
        transmission_time: u128::from(NOW.millis() + 60_000 - age),
    })
}

#[test]
fn what_8x8_signed_is_accepted() {
    let peers = Peers::start();
    proptest!(|(claims in claims(), body: Vec<u8>)| {
        prop_assert_eq!(peers.verdict(&peers.signer().headers(&body, &claims), &body), Ok(()));
    });
}

#[test]
fn any_change_of_any_signed_header_is_refused() {
    let peers = Peers::start();
    let change = (0..6_usize, any::<prop::sample::Index>(), 33..127_u8, any::<bool>());
    proptest!(ProptestConfig::with_cases(2000), |(claims in claims(), (header, at, with, inserts) in change)| {
        let body = b"{}";
        let mut headers = peers.signer().headers(body, &claims);
        // The first one is the content type, which is not signed.
        let value = &mut headers[header + 1].1;
        let before = value.clone();
        let at = at.index(value.len());
        if inserts {
            value.insert(at, char::from(with));
        } else {
            value.replace_range(at..=at, &char::from(with).to_string());
        }
        prop_assume!(*value != before);
        prop_assert!(peers.verdict(&headers, body).is_err(), "{} → {}", before, headers[header + 1].1);
    });
}

#[test]
fn a_missing_or_doubled_header_is_refused() {
    let peers = Peers::start();
    proptest!(|(claims in claims(), header in 1..7_usize, doubles: bool)| {
        let mut headers = peers.signer().headers(b"{}", &claims);
        if doubles {
            headers.push(headers[header].clone());
        } else {
            headers.remove(header);
        }
        let header_map: HeaderMap = {
            let mut map = HeaderMap::new();
            for (name, value) in &headers {
                map.append(*name, value.parse().unwrap());
            }
            map
        };
        let verdict = peers.runtime.block_on(verify(&peers.keys, &header_map, b"{}", NOW));
        prop_assert!(verdict.is_err());
    });
}

/// A change of the body that keeps its CRC32 is the limit of what 8x8's signature can show; any other is refused.
#[test]
fn any_change_of_the_body_that_changes_its_checksum_is_refused() {
    let peers = Peers::start();
    proptest!(|(claims in claims(), body in prop::collection::vec(any::<u8>(), 1..200), at: prop::sample::Index, with: u8)| {
        let headers = peers.signer().headers(&body, &claims);
        let mut changed = body.clone();
        changed[at.index(body.len())] = with;
        prop_assume!(crc32fast::hash(&changed) != crc32fast::hash(&body));
        prop_assert_eq!(peers.verdict(&headers, &changed), Err(SignatureError::Forged));
    });
}

#[test]
fn an_event_is_accepted_from_60_s_before_its_time_to_240_s_after_it() {
    let peers = Peers::start();
    for (age, expected) in [
        (-60_001, Err(SignatureError::Early)),
        (-60_000, Ok(())),
        (0, Ok(())),
        (240_000, Ok(())),
        (240_001, Err(SignatureError::Stale)),
        (i64::MAX / 2, Err(SignatureError::Stale)),
    ] {
        let transmission_time = u128::from(NOW.millis().saturating_sub_signed(age));
        let claims = Claims {
            tenant_id: "t".to_owned(),
            customer_id: "c".to_owned(),
            event_id: "e".to_owned(),
            retry: 0,
            transmission_time,
        };
        assert_eq!(peers.verdict(&peers.signer().headers(b"{}", &claims), b"{}"), expected, "{age} ms");
    }
    // SQS drops a repeat for five minutes: as long as a replay can be accepted.
    assert_eq!(
        shared::contact_center::signature::AGE + shared::contact_center::signature::AHEAD,
        Duration::from_secs(300)
    );
}

/// A key endpoint that answers every request with `key`.
fn key_endpoint(key: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/chat-gateway/v1/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let response =
                format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{key}", key.len());
            let _ = stream.write_all(response.as_bytes());
        }
    });
    url
}

#[tokio::test]
async fn the_documented_signature_is_good_for_its_body_and_no_other() {
    let vector: Value = serde_json::from_str(include_str!("../../docs/signature/vector.json")).unwrap();
    let headers: HeaderMap = vector["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.as_str().unwrap().parse().unwrap()))
        .collect();
    let body = vector["body"].as_str().unwrap().as_bytes();
    assert_eq!(vector["checksum"], crc32fast::hash(body));
    let endpoint = BaseUrl::parse(&key_endpoint(vector["key"].to_string())).unwrap();
    let keys = PublicKeys::new(shared::http::client().unwrap(), endpoint);
    let now = UnixTime::from_millis(vector["headers"]["x-8x8-transmission-time"].as_str().unwrap().parse().unwrap());
    assert_eq!(verify(&keys, &headers, body, now).await, Ok(()));
    let changed = [body, b"\n"].concat();
    assert_eq!(verify(&keys, &headers, &changed, now).await, Err(SignatureError::Forged));
}

/// What the example prints of a captured request, and its exit code.
fn example(arguments: &[&str]) -> (String, Option<i32>) {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // With the sandbox beside it the example gets the features that everything else here has: nothing is built twice.
    let build = "build --quiet --locked --package sandbox --package shared --example verify_event";
    let built = Command::new(cargo).args(build.split(' ')).current_dir(root).status();
    assert!(built.is_ok_and(|status| status.success()), "the example is built");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../debug/examples/verify_event");
    let output = Command::new(program).args(arguments).current_dir(root).output().unwrap();
    (String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(), output.status.code())
}

#[test]
fn the_example_says_why_a_captured_request_is_not_genuine() {
    let vector = "docs/signature/vector.json";
    let read: Value = serde_json::from_str(include_str!("../../docs/signature/vector.json")).unwrap();
    let url = key_endpoint(read["key"].to_string());
    let at = read["headers"]["x-8x8-transmission-time"].as_str().unwrap();
    let says = |arguments: &[&str], code: i32, text: &str| {
        let (printed, found) = example(arguments);
        assert!(printed.contains(text) && found == Some(code), "{arguments:?}: {found:?} {printed}");
    };
    says(&[vector, &url, at], 0, "Genuine");
    says(&[vector, &url], 1, "Not genuine: the event is too old");
    let other_key = json!({ "kty": "RSA", "kid": "another", "n": "AQAB", "e": "AQAB" });
    says(&[vector, &key_endpoint(other_key.to_string()), at], 2, "It cannot be decided: 8x8's key is unavailable");
    says(&["Cargo.toml", &url], 2, "Cargo.toml, line 1, is not JSON with headers and a body");
    let changed = json!({ "headers": read["headers"], "body": "e30=", "isBase64Encoded": true });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("changed-{}.json", std::process::id()));
    std::fs::write(&file, changed.to_string()).unwrap();
    says(&[file.to_str().unwrap(), &url, at], 1, "Not genuine: the signature does not match");
    std::fs::remove_file(&file).unwrap();
}

/// One half is the bridge as it runs; the other knows 8x8's wire from its documentation, and shares no code with the bridge.
#[tokio::test]
async fn the_bridge_and_an_independent_verification_agree_on_every_request() {
    let stack = Stack::start().await;
    let signer = stack.contact_center.signer();
    let body = message("c");
    let signed = |change: &dyn Fn(&mut Claims)| {
        let mut claims = stack.claims();
        change(&mut claims);
        signer.headers(body.as_bytes(), &claims)
    };
    let genuine = signed(&|_| {});
    let with = |name: &'static str, value: &str| -> Headers {
        let replace = |(own, before): &(&'static str, String)| {
            (*own, if *own == name { value.to_owned() } else { before.clone() })
        };
        genuine.iter().map(replace).collect()
    };
    let jws = |header: &str| {
        let claims = stack.claims();
        let mut headers = signer.headers(body.as_bytes(), &claims);
        headers.last_mut().expect("the signature is the last header").1 = signer.sign(header, body.as_bytes(), &claims);
        headers
    };
    let kid = signer.key_id();
    let header = |members: &str| jws(&format!(r#"{{"kid":"{kid}",{members}}}"#));
    let now = now_millis();

    let mut accepted: Vec<(&str, Headers, String)> = vec![
        ("genuine", genuine.clone(), body.clone()),
        ("a retry", signed(&|claims| claims.retry = 7), body.clone()),
        ("200 s old", signed(&|claims| claims.transmission_time = now - 200_000), body.clone()),
        ("30 s ahead", signed(&|claims| claims.transmission_time = now + 30_000), body.clone()),
        ("a quotation mark in a header", signed(&|claims| claims.customer_id = r#"a"b\c"#.to_owned()), body.clone()),
        (
            "members of the JWS header in another order",
            header(r#""alg":"RS256","crit":["b64"],"b64":false"#),
            body.clone(),
        ),
        (
            "an unknown member of the JWS header",
            header(r#""alg":"RS256","crit":["b64"],"b64":false,"typ":"x""#),
            body.clone(),
        ),
    ];
    let spaced = body.replace(':', ": ");
    accepted.push(("white space", stack.signed(spaced.as_bytes()), spaced));

    let mut rejected: Vec<(&str, Headers, String)> = vec![
        ("a newline at the end", genuine.clone(), format!("{body}\n")),
        ("another order", genuine.clone(), message("c").replacen('{', "{ ", 1)),
        ("an empty body", genuine.clone(), String::new()),
        ("250 s old", signed(&|claims| claims.transmission_time = now - 250_000), body.clone()),
        ("90 s ahead", signed(&|claims| claims.transmission_time = now + 90_000), body.clone()),
        ("another tenant", signed(&|claims| claims.tenant_id = "another".to_owned()), body.clone()),
        ("a header that is not ASCII", signed(&|claims| claims.customer_id = "Zürich".to_owned()), body.clone()),
    ];
    for name in ["tenant-id", "customer-id", "event-id", "retry", "transmission-time", "signature"] {
        let index =
            genuine.iter().position(|(own, _)| own.strip_prefix("x-8x8-") == Some(name)).expect("a signed header");
        let (name, value) = genuine[index].clone();
        let mut missing = genuine.clone();
        missing.remove(index);
        let twice = [genuine.clone(), vec![(name, value.clone())]].concat();
        for headers in
            [missing, twice, with(name, ""), with(name, &format!("0{value}")), with(name, &format!("{value}1"))]
        {
            rejected.push((name, headers, body.clone()));
        }
    }
    for retry in ["1", "+0", "00", "-0", "0.0", "0x0", "a"] {
        rejected.push(("x-8x8-retry", with("x-8x8-retry", retry), body.clone()));
    }
    for jose in [
        r#""alg":"RS512","b64":false,"crit":["b64"]"#,
        r#""alg":"none","b64":false,"crit":["b64"]"#,
        r#""alg":"rs256","b64":false,"crit":["b64"]"#,
        r#""b64":false,"crit":["b64"]"#,
        r#""alg":"RS256","b64":true,"crit":["b64"]"#,
        r#""alg":"RS256","b64":"false","crit":["b64"]"#,
        r#""alg":"RS256","crit":["b64"]"#,
        r#""alg":"RS256","b64":false"#,
        r#""alg":"RS256","b64":false,"crit":[]"#,
        r#""alg":"RS256","b64":false,"crit":["b64","b64"]"#,
        r#""alg":"RS256","b64":false,"crit":["b64"],"jku":"http://127.0.0.1:1""#,
        r#""alg":"RS256","b64":false,"crit":["b64"],"x5u":"http://127.0.0.1:1""#,
        r#""alg":"RS256","b64":false,"crit":["b64"],"jwk":{}"#,
        r#""alg":"RS256","b64":false,"crit":["b64"],"x5c":[]"#,
        r#""alg":"none","alg":"RS256","b64":false,"crit":["b64"]"#,
    ] {
        rejected.push((jose, header(jose), body.clone()));
    }
    rejected.push((
        "a kid that is a path",
        jws(r#"{"kid":"../k","alg":"RS256","b64":false,"crit":["b64"]}"#),
        body.clone(),
    ));
    rejected.push(("not an object", jws("[]"), body.clone()));
    let values = format!(r#"["RS256","{kid}",false,["b64"],null,null,null,null]"#);
    rejected.push(("an array of the values", jws(&values), body.clone()));
    for signature in ["..", "a..b", "a.b.c", "Bearer x"] {
        rejected.push((signature, with("x-8x8-signature", signature), body.clone()));
    }

    let key = PublicKey::parse(signer.jwk().to_string().as_bytes()).expect("8x8's key");
    let tenant_id = stack.contact_center.settings().tenant_id.clone();
    let rows = accepted.into_iter().map(|row| (row, StatusCode::OK, Verdict::Genuine));
    let rows = rows.chain(rejected.into_iter().map(|row| (row, StatusCode::UNAUTHORIZED, Verdict::NotGenuine)));
    for ((what, headers, body), status, verdict) in rows {
        let request =
            CapturedRequest::new(headers.iter().map(|(name, value)| (*name, value.as_str())), body.as_bytes());
        let report = explain(&request, Some(&key), Some(&tenant_id), u64::try_from(now_millis()).expect("a time"));
        assert_eq!(report.verdict(), verdict, "{what}: {report}");
        assert_eq!(stack.post(&headers, body).await.status(), status, "{what}: {report}");
    }
    stack.finish().await;
}
