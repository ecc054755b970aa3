//! `contact-center sign` and `contact-center explain` as programs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

fn contact_center(arguments: &[&str], input: &[u8]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_contact-center"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that rejects its arguments does not read its input.
    let _ = process.stdin.take().unwrap().write_all(input);
    process.wait_with_output().unwrap()
}

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn documented(name: &str) -> String {
    format!("{}/../../../docs/signature/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_sign_prints_is_genuine_to_explain() {
    let jwk = temporary("sign.jwk.json");
    let jwk = jwk.to_str().unwrap();
    let body = "{\"text\":\"Grüezi\"}\r\n\r\n";
    let signed = contact_center(&["sign", "-", "--jwk", jwk, "--tenant-id", "acme01", "--retry", "3"], body.as_bytes());
    assert!(signed.status.success() && signed.stdout.ends_with(body.as_bytes()), "{signed:?}");
    let judged = contact_center(&["explain", "-", "--jwk", jwk, "--tenant-id", "acme01"], &signed.stdout);
    assert_eq!(judged.status.code(), Some(0), "{judged:?}");
    let changed = [signed.stdout.as_slice(), b"\n"].concat();
    let judged = contact_center(&["explain", "-", "--jwk", jwk], &changed);
    assert_eq!(judged.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&judged.stdout).contains("a newline (LF) was added"), "{judged:?}");
}

#[test]
fn a_key_from_a_file_has_always_the_same_id_and_signs_the_same_way() {
    let (key, jwk) = (temporary("key.pem"), temporary("key.jwk.json"));
    let der = KeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    std::fs::write(&key, pem).unwrap();
    let (key, jwk) = (key.to_str().unwrap(), jwk.to_str().unwrap());
    let sign = |arguments: &[&str]| {
        let fixed = ["sign", "-", "--key", key, "--transmission-time", "1785312000250", "--event-id", "e"];
        contact_center(&[&fixed, arguments].concat(), b"{}").stdout
    };
    let signed = sign(&["--jwk", jwk]);
    assert_eq!(sign(&[]), signed);
    let judged = contact_center(&["explain", "-", "--jwk", jwk, "--at", "1785312000250"], &signed);
    assert_eq!(judged.status.code(), Some(0), "{judged:?}");
}

#[test]
fn the_documented_event_is_genuine_at_its_time_and_too_old_now() {
    let (vector, key) = (documented("vector.json"), documented("key.pem"));
    let arguments = ["explain", &vector, "--jwk", &key, "--tenant-id", "acme01"];
    let judged = contact_center(&[&arguments[..], &["--at", "1785312000250"]].concat(), b"");
    assert_eq!(judged.status.code(), Some(0), "{judged:?}");
    let judged = contact_center(&arguments, b"");
    let report = String::from_utf8_lossy(&judged.stdout);
    assert_eq!(judged.status.code(), Some(1));
    assert!(report.contains("2026-07-29T08:00:00.250Z") && report.contains("give --at 1785312000250"), "{report}");
    assert!(report.contains("the signature is right, only the age is not"), "{report}");
}

#[test]
fn without_a_key_or_a_readable_file_the_exit_code_is_2() {
    let vector = documented("vector.json");
    let undecided = contact_center(&["explain", &vector, "--at", "1785312000250"], b"");
    assert_eq!(undecided.status.code(), Some(2));
    let report = String::from_utf8_lossy(&undecided.stdout);
    assert!(report.contains("https://api.8x8.com/chat-gateway/v1/jwk/example-1/public"), "{report}");
    assert!(report.contains("https://api.8x8.com/vcc/us/chat/v2/jwk/example-1/public"), "{report}");
    for arguments in [
        &["explain", "no-such-file"][..],
        &["explain", &vector, "--jwk", &vector],
        &["explain", &vector, "--at", "yesterday"],
        &["sign", "-"],
        &["sign", "-", "--key", &vector],
    ] {
        let output = contact_center(arguments, b"{}");
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), true), "{output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
