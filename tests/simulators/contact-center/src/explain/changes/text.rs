//! Changes of a body as text: its beginning and end, its line ends, and the encodings of a whole body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Change;

const BOM: &[u8] = "\u{feff}".as_bytes();

pub(super) const CHANGES: &[Change] = &[
    Change { what: "a newline (LF) was added at the end", undo: |body| without_end(body, b"\n") },
    Change { what: "a newline (CRLF) was added at the end", undo: |body| without_end(body, b"\r\n") },
    Change { what: "the newline (LF) at the end was removed", undo: |body| Some([body, b"\n"].concat()) },
    Change { what: "the newline (CRLF) at the end was removed", undo: |body| Some([body, b"\r\n"].concat()) },
    Change { what: "white space was added at the ends", undo: |body| Some(body.trim_ascii().to_vec()) },
    Change { what: "LF was replaced by CRLF", undo: |body| replaced(body, "\r\n", "\n") },
    Change { what: "CRLF was replaced by LF", undo: |body| replaced(&replaced(body, "\r\n", "\n")?, "\n", "\r\n") },
    Change { what: "a byte order mark was added", undo: |body| Some(body.strip_prefix(BOM)?.to_vec()) },
    Change { what: "the byte order mark was removed", undo: |body| Some([BOM, body].concat()) },
    Change {
        what: "the body was encoded with Base64",
        undo: |body| {
            STANDARD.decode(body.iter().filter(|b| !b.is_ascii_whitespace()).copied().collect::<Vec<_>>()).ok()
        },
    },
    Change { what: "the body was decoded from Base64", undo: |body| Some(STANDARD.encode(body).into()) },
    Change { what: "the body was percent-encoded", undo: percent_decoded },
    Change {
        what: "the body was form-encoded",
        undo: |body| {
            let spaces: Vec<_> = body.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
            Some(percent_decoded(&spaces).unwrap_or(spaces))
        },
    },
    Change { what: "the body was percent-decoded", undo: |body| Some(percent_encoded(body, b"-_.!~*'()")) },
    Change {
        what: "the body was form-decoded",
        undo: |body| {
            let encoded = percent_encoded(body, b"-_.* ");
            Some(encoded.iter().map(|byte| if *byte == b' ' { b'+' } else { *byte }).collect())
        },
    },
    Change { what: "plus signs were replaced by spaces", undo: |body| replaced(body, " ", "+") },
    Change {
        what: "the body was read as a form, whose only field has the body as its name",
        undo: |body| without_end(body, b"="),
    },
];

fn without_end(body: &[u8], end: &[u8]) -> Option<Vec<u8>> {
    Some(body.strip_suffix(end)?.to_vec())
}

fn replaced(body: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    Some(std::str::from_utf8(body).ok()?.replace(from, to).into())
}

/// `None` if nothing in the body is percent-encoded.
fn percent_decoded(body: &[u8]) -> Option<Vec<u8>> {
    let mut parts = body.split(|byte| *byte == b'%');
    let mut decoded = parts.next()?.to_vec();
    for part in parts {
        let (digits, rest) = part.split_first_chunk::<2>()?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend(rest);
    }
    Some(decoded)
}

fn percent_encoded(body: &[u8], kept: &[u8]) -> Vec<u8> {
    let encode = |byte: &u8| match *byte {
        byte if byte.is_ascii_alphanumeric() || kept.contains(&byte) => vec![byte],
        byte => format!("%{byte:02X}").into_bytes(),
    };
    body.iter().flat_map(encode).collect()
}
