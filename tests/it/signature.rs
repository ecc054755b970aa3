//! Signature verification: what 8x8 signed is accepted, and any change of any signed part is refused.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use contact_center::signer::{Claims, Signer};
use contact_center::{ContactCenter, ContactCenterSettings};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::Value;
use shared::clock::UnixTime;
use shared::config::Endpoint;
use shared::contact_center::keys::PublicKeys;
use shared::contact_center::signature::{SignatureError, verify};
use simulation::faults::Faults;
use simulation::journal::Journal;
use simulation::server::Server;
use tokio::runtime::Runtime;

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
        let endpoint = Endpoint::parse(&ContactCenter::endpoint(&settings, &server.url())).unwrap();
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
            let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{key}", key.len());
            let _ = stream.write_all(answer.as_bytes());
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
    let endpoint = Endpoint::parse(&key_endpoint(vector["key"].to_string())).unwrap();
    let keys = PublicKeys::new(shared::http::client().unwrap(), endpoint);
    let now = UnixTime::from_millis(vector["headers"]["x-8x8-transmission-time"].as_str().unwrap().parse().unwrap());
    assert_eq!(verify(&keys, &headers, body, now).await, Ok(()));
    let changed = [body, b"\n"].concat();
    assert_eq!(verify(&keys, &headers, &changed, now).await, Err(SignatureError::Forged));
}
