//! Every check that fails alone is reported, and every change of a body or header is found.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use contact_center::captured::CapturedRequest;
use contact_center::explain::{Outcome, PublicKey, Report, Verdict, explain};
use contact_center::signer::{Claims, Signer};

const SENT: u64 = 1_785_312_000_250;
const BODY: &str = r#"{"eventType":"MESSAGE","conversationId":"c/1","timestamp":1785312000000,"data":{"isEcho":false,"text":"Grüezi 👋 & <b>100%</b>"}}"#;

/// Its member `user` alone has 5040 orders.
const UPDATE: &str = r#"{"eventType":"CONVERSATION_UPDATE","conversationId":"c","timestamp":1,"data":{"state":"created","assignment":{"type":"queue","id":"101"},"user":{"name":"Ada","userId":"u","email":"e","phone":"p","company":"c","caseId":"1","language":"en"},"msisdn":"1","channel":"2"}}"#;

type Headers = Vec<(&'static str, String)>;

fn claims() -> Claims {
    Claims {
        tenant_id: "acme01".to_owned(),
        customer_id: "Customer-9".to_owned(),
        event_id: "9wV1xF2bQkWm3dJb8Hn0aA".to_owned(),
        retry: 1,
        transmission_time: SENT.into(),
    }
}

fn key(signer: &Signer) -> PublicKey {
    PublicKey::parse(signer.jwk().to_string().as_bytes()).unwrap()
}

fn set(headers: &Headers, name: &str, value: &str) -> Headers {
    assert!(headers.iter().any(|(own, _)| *own == name), "{name}");
    let set =
        |(own, before): &(&'static str, String)| (*own, if *own == name { value.to_owned() } else { before.clone() });
    headers.iter().map(set).collect()
}

/// The report on a body that arrived in place of the signed body.
fn report_on(signer: &Signer, headers: &Headers, body: impl AsRef<[u8]>) -> Report {
    let request = CapturedRequest::new(headers.clone(), body.as_ref());
    explain(&request, Some(&key(signer)), Some("acme01"), SENT)
}

#[test]
fn what_was_signed_is_genuine() {
    let signer = Signer::new();
    for body in [BODY.as_bytes(), b"", &[0xff, 0, b'\n']] {
        let report = report_on(&signer, &signer.headers(body, &claims()), body);
        assert_eq!(report.verdict(), Verdict::Genuine, "{report}");
        assert!(report.causes.is_empty() && report.to_string().ends_with("Genuine: every check passes.\n"), "{report}");
    }
}

#[test]
fn every_change_of_a_body_is_found() {
    let signer = Signer::new();
    let python_indented = "{\n    \"eventType\": \"MESSAGE\",\n    \"data\": {\n        \"ids\": [\n            1,\n            2\n        ],\n        \"none\": []\n    }\n}";
    let compact = r#"{"eventType":"MESSAGE","data":{"ids":[1,2],"none":[]}}"#;
    let spaced = r#"{"eventType": "MESSAGE", "data": {"ids": [1, 2], "none": []}}"#;
    let latin_1 = |text: &str| text.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect::<Vec<_>>();
    let bytes = |text: &str| text.as_bytes().to_vec();
    let rows: Vec<(&str, Vec<u8>, Vec<u8>)> = vec![
        ("a newline (LF) was added", bytes(BODY), bytes(&format!("{BODY}\n"))),
        ("a newline (CRLF) was added", bytes(BODY), bytes(&format!("{BODY}\r\n"))),
        ("the newline (LF) at the end was removed", bytes(&format!("{BODY}\n")), bytes(BODY)),
        ("the newline (CRLF) at the end was removed", bytes(&format!("{BODY}\r\n")), bytes(BODY)),
        ("white space was added at the ends", bytes(BODY), bytes(&format!("\n {BODY} \n"))),
        ("LF was replaced by CRLF", bytes("{\n}\n"), bytes("{\r\n}\r\n")),
        ("CRLF was replaced by LF", bytes("{\r\n}\r\n"), bytes("{\n}\n")),
        ("a byte order mark was added", bytes(BODY), bytes(&format!("\u{feff}{BODY}"))),
        ("the byte order mark was removed", bytes(&format!("\u{feff}{BODY}")), bytes(BODY)),
        ("encoded with Base64", bytes(BODY), bytes(&STANDARD.encode(BODY))),
        ("decoded from Base64", bytes(&STANDARD.encode(BODY)), bytes(BODY)),
        ("percent-encoded", bytes(r#"{"a":"ü +"}"#), bytes("%7B%22a%22%3A%22%C3%BC%20%2B%22%7D")),
        ("form-encoded", bytes(r#"{"a":"ü +"}"#), bytes("%7B%22a%22%3A%22%C3%BC+%2B%22%7D")),
        ("percent-decoded", bytes("%7B%22a%22%3A%22%C3%BC%20%2B%22%7D"), bytes(r#"{"a":"ü +"}"#)),
        ("form-decoded", bytes("%7B%22a%22%3A%22%C3%BC+%2B%22%7D"), bytes(r#"{"a":"ü +"}"#)),
        ("plus signs were replaced by spaces", bytes(r#"{"a":"1+1"}"#), bytes(r#"{"a":"1 1"}"#)),
        ("read as a form", bytes(compact), bytes(&format!("{compact}="))),
        ("as Python's json.dumps does", bytes(compact), bytes(spaced)),
        ("with an indentation of four spaces", bytes(compact), bytes(python_indented)),
        ("with an indentation of two spaces", bytes(compact), bytes(&python_indented.replace("    ", "  "))),
        ("with an indentation of tabs", bytes(compact), bytes(&python_indented.replace("    ", "\t"))),
        ("with white space between its parts", bytes(compact), bytes(&compact.replace(':', " : "))),
        ("without the spaces after commas", bytes(spaced), bytes(compact)),
        ("without its indentation of four spaces", bytes(python_indented), bytes(compact)),
        ("without its indentation of two spaces", bytes(&python_indented.replace("    ", "  ")), bytes(compact)),
        ("without its indentation of tabs", bytes(&python_indented.replace("    ", "\t")), bytes(compact)),
        (r"were written as \u escapes", bytes(r#"{"a":"ü👋\\u"}"#), bytes(r#"{"a":"\u00fc\ud83d\udc4b\\u"}"#)),
        (r"\u escapes were written as characters", bytes(r#"{"a":"\u00fc\ud83d\udc4b"}"#), bytes(r#"{"a":"ü👋"}"#)),
        ("capital digits", bytes(r#"{"a":"\u00FC\uD83D\uDC4B"}"#), bytes(r#"{"a":"ü👋"}"#)),
        (r"/ was written as \/", bytes(BODY), bytes(&BODY.replace('/', r"\/"))),
        (r"\/ was written as /", bytes(&BODY.replace('/', r"\/")), bytes(BODY)),
        ("as Go's encoding/json does", bytes(r#"{"a":"<&>"}"#), bytes(r#"{"a":"\u003c\u0026\u003e"}"#)),
        (r"the \u escapes of <, > and &", bytes(r#"{"a":"\u003c\u0026\u003e"}"#), bytes(r#"{"a":"<&>"}"#)),
        (
            "with a fraction or an exponent",
            bytes(r#"{"t":1785312000000,"x":1.5}"#),
            bytes(r#"{"t":1.785312E12,"x":1.5}"#),
        ),
        ("as a string in JSON", bytes(compact), serde_json::to_vec(compact).unwrap()),
        ("replaced by what it held", serde_json::to_vec(compact).unwrap(), bytes(compact)),
        (
            "in another order",
            bytes(BODY),
            bytes(
                r#"{"conversationId":"c/1","data":{"isEcho":false,"text":"Grüezi 👋 & <b>100%</b>"},"eventType":"MESSAGE","timestamp":1785312000000}"#,
            ),
        ),
        (
            "in another order",
            bytes(UPDATE),
            serde_json::from_str::<serde_json::Value>(UPDATE).unwrap().to_string().into(),
        ),
        ("read as Latin-1 and written as UTF-8", bytes("Grüezi"), bytes("GrÃ¼ezi")),
        ("read as Windows-1252 and written as UTF-8", bytes("Grüezi 👋"), bytes("GrÃ¼ezi ðŸ‘‹")),
        ("read as UTF-8 and written as Latin-1", bytes("Grüezi"), latin_1("Grüezi")),
        ("read as UTF-8 and written as Windows-1252", bytes("5 €"), [b'5', b' ', 0x80].to_vec()),
        // Two of the changes.
        (
            r"were written as \u escapes, and then the JSON was re-serialised with spaces",
            bytes(r#"{"a":"ü","b":1}"#),
            bytes(r#"{"a": "\u00fc", "b": 1}"#),
        ),
        (
            "with spaces after commas and colons, as Python's json.dumps does, and then a newline (LF) was added",
            bytes(compact),
            bytes(&format!("{spaced}\n")),
        ),
        (
            "in another order, and perhaps other white space, and then characters that are not ASCII",
            bytes(r#"{"b":"ü","a":1}"#),
            bytes(r#"{"a":1,"b":"\u00fc"}"#),
        ),
        (
            "a newline (LF) was added at the end, and then the body was encoded",
            bytes(BODY),
            bytes(&STANDARD.encode(format!("{BODY}\n"))),
        ),
    ];
    for (expected, signed, arrived) in rows {
        let report = report_on(&signer, &signer.headers(&signed, &claims()), arrived);
        assert_eq!(report.names(Outcome::Fails), ["signature"], "{expected}: {report}");
        assert!(report.causes[0].contains(expected), "{expected}: {report}");
    }
}

#[test]
fn every_change_of_a_header_is_found() {
    let signer = Signer::new();
    let headers = signer.headers(BODY.as_bytes(), &claims());
    for (name, arrived) in [
        ("x-8x8-retry", "0"),
        ("x-8x8-retry", "20"),
        ("x-8x8-transmission-time", "1785312000000"),
        ("x-8x8-tenant-id", "ACME01"),
        ("x-8x8-tenant-id", "acme01, acme01"),
        ("x-8x8-tenant-id", "\"acme01\""),
        ("x-8x8-event-id", "9wV1xF2bQkWm3dJb8Hn0aA,9wV1xF2bQkWm3dJb8Hn0aA"),
    ] {
        let report = report_on(&signer, &set(&headers, name, arrived), BODY);
        assert!(report.names(Outcome::Fails).contains(&"signature"), "{name}: {report}");
        assert!(report.causes[0].contains(&format!("{name} was ")), "{name} {arrived}: {report}");
        // Also with a changed body.
        let report = report_on(&signer, &set(&headers, name, arrived), format!("{BODY}\n"));
        assert!(report.causes[0].contains(&format!("{name} was ")), "{name}: {report}");
        assert!(report.causes[0].contains("a newline (LF) was added"), "{name}: {report}");
    }
    let exchanged = set(&set(&headers, "x-8x8-tenant-id", "Customer-9"), "x-8x8-customer-id", "acme01");
    assert!(report_on(&signer, &exchanged, BODY).causes[0].contains("were exchanged"));
    let without_retry: Headers = headers.iter().filter(|(name, _)| *name != "x-8x8-retry").cloned().collect();
    let report = report_on(&signer, &without_retry, BODY);
    assert!(report.causes[0].contains(r#"x-8x8-retry was "1" when it was signed, and is missing now"#), "{report}");
}

#[test]
fn every_check_that_fails_alone_is_named() {
    let signer = Signer::new();
    let headers = signer.headers(BODY.as_bytes(), &claims());
    let kid = signer.key_id();
    let jws = |header: &str| set(&headers, "x-8x8-signature", &signer.sign(header, BODY.as_bytes(), &claims()));
    let with = |change: fn(&mut Claims)| {
        let mut claims = claims();
        change(&mut claims);
        signer.headers(BODY.as_bytes(), &claims)
    };
    let twice = |name: &str| {
        let again = headers.iter().filter(|(own, _)| *own == name).cloned();
        headers.iter().cloned().chain(again).collect::<Headers>()
    };
    let mut rows = vec![
        ("age", with(|claims| claims.transmission_time -= 240_001)),
        ("age", with(|claims| claims.transmission_time += 60_001)),
        ("tenant", with(|claims| claims.tenant_id = "another".to_owned())),
        ("x-8x8-customer-id", with(|claims| claims.customer_id = "Zürich".to_owned())),
        ("alg", jws(&format!(r#"{{"b64":false,"crit":["b64"],"kid":"{kid}","alg":"RS512"}}"#))),
        ("payload", jws(&format!(r#"{{"b64":true,"crit":["b64"],"kid":"{kid}","alg":"RS256"}}"#))),
        ("payload", jws(&format!(r#"{{"b64":false,"crit":["b64","x"],"kid":"{kid}","alg":"RS256"}}"#))),
        ("key source", jws(&format!(r#"{{"b64":false,"crit":["b64"],"kid":"{kid}","alg":"RS256","jku":"x"}}"#))),
        ("kid", jws(r#"{"b64":false,"crit":["b64"],"kid":"../k","alg":"RS256"}"#)),
        ("signature", signer.headers(b"another body", &claims())),
    ];
    for name in ["x-8x8-tenant-id", "x-8x8-customer-id", "x-8x8-event-id", "x-8x8-retry", "x-8x8-transmission-time"] {
        rows.push((name, twice(name)));
    }
    rows.push(("x-8x8-signature", twice("x-8x8-signature")));
    for (name, headers) in rows {
        let report = report_on(&signer, &headers, BODY);
        assert_eq!(report.names(Outcome::Fails), [name], "{report}");
        assert_eq!(report.verdict(), Verdict::NotGenuine);
    }
    for value in ["Bearer x", "a.b.c", "..", "W10..AA", "e30=..AA", "e30..%"] {
        let report = report_on(&signer, &set(&headers, "x-8x8-signature", value), BODY);
        assert_eq!(report.names(Outcome::Fails), ["JWS"], "{value}: {report}");
    }
    let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"RS256"}"#);
    assert_eq!(
        report_on(&signer, &set(&headers, "x-8x8-signature", &format!("{twice}..AA")), BODY).names(Outcome::Fails),
        ["JWS"]
    );
    let report = report_on(&signer, &Vec::new(), BODY);
    assert_eq!(report.names(Outcome::Fails).len(), 6, "{report}");
}

#[test]
fn a_signature_of_another_key_is_not_reported_as_a_change_of_the_body() {
    let (signer, other) = (Signer::new(), Signer::new());
    let header = format!(r#"{{"b64":false,"crit":["b64"],"kid":"{}","alg":"RS256"}}"#, signer.key_id());
    let forged = other.sign(&header, BODY.as_bytes(), &claims());
    let headers = set(&signer.headers(BODY.as_bytes(), &claims()), "x-8x8-signature", &forged);
    let report = report_on(&signer, &headers, BODY);
    assert_eq!(report.names(Outcome::Fails), ["signature"]);
    assert!(report.to_string().contains("was not made with this key") && report.causes.is_empty(), "{report}");
}

#[test]
fn with_the_wrong_key_or_none_nothing_is_decided_and_the_right_keys_address_is_shown() {
    let (signer, other) = (Signer::new(), Signer::new());
    let request = CapturedRequest::new(signer.headers(BODY.as_bytes(), &claims()), BODY.as_bytes());
    for key in [None, Some(key(&other))] {
        let report = explain(&request, key.as_ref(), None, SENT);
        assert_eq!(report.verdict(), Verdict::Undecided, "{report}");
        assert_eq!(report.names(Outcome::NotChecked), ["key", "signature"]);
        let address = format!("curl -fsS https://api.8x8.com/chat-gateway/v1/jwk/{}/public", signer.key_id());
        assert!(report.to_string().contains(&address), "{report}");
    }
}

#[test]
fn a_changed_jws_header_is_found() {
    let signer = Signer::new();
    let headers = signer.headers(BODY.as_bytes(), &claims());
    let (_, signature) = headers.last().unwrap().1.split_once("..").unwrap();
    let header = format!(r#"{{"alg":"RS256","b64":false,"crit":["b64"],"kid":"{}"}}"#, signer.key_id());
    let changed = format!("{}..{signature}", URL_SAFE_NO_PAD.encode(header));
    let report = report_on(&signer, &set(&headers, "x-8x8-signature", &changed), BODY);
    assert!(report.causes[0].contains("the JWS header"), "{report}");
}

#[test]
fn what_no_change_explains_is_reported_with_what_else_is_visible() {
    let signer = Signer::new();
    let mut headers = signer.headers(b"another body", &claims());
    headers.push(("content-length", "12".to_owned()));
    let report = report_on(&signer, &headers, "Gr\u{fffd}ezi");
    assert!(report.causes[0].starts_with("No change"), "{report}");
    assert!(report.causes[1].contains("content-length is 12") && report.causes[2].contains("U+FFFD"), "{report}");
}
