//! Header values of 8x8 that are not ASCII: the name of an agent's file. A response of Lambda is JSON, and API Gateway passes
//! on only ASCII unharmed, so that such a name is re-encoded as RFC 8187 has it (`filename*=UTF-8''…`), beside an ASCII form for
//! old clients (RFC 6266 §4.3 and appendix D).

use http::HeaderValue;

/// A header value in ASCII. Its parameters `filename` and `name` keep their text; of other parts each character outside ASCII
/// becomes `_`.
pub(crate) fn in_ascii(value: &HeaderValue) -> HeaderValue {
    if value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte) || *byte == b'\t') {
        return value.clone();
    }
    let text = decoded(value.as_bytes());
    let parts = parameters(&text);
    let has_extended = parts.iter().any(|part| part.trim_start().to_ascii_lowercase().starts_with("filename*"));
    let mut ascii = String::with_capacity(text.len());
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            ascii.push(';');
        }
        ascii.extend(
            part.chars().map(|letter| if letter == '\t' || (' '..='~').contains(&letter) { letter } else { '_' }),
        );
        if let Some(name) = file_name(part)
            && !has_extended
        {
            ascii.push_str("; filename*=UTF-8''");
            ascii.push_str(&percent_encoded(&name));
        }
    }
    // Only visible ASCII, spaces and tabs are left.
    HeaderValue::from_str(&ascii).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// UTF-8 if it is that, else Latin-1, as HTTP once defined it (RFC 9110 §5.5).
fn decoded(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// The parts between the semicolons that no quotation marks enclose.
fn parameters(text: &str) -> Vec<&str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let is_end = |letter: char| {
        if is_escaped {
            is_escaped = false;
        } else if is_quoted && letter == '\\' {
            is_escaped = true;
        } else if letter == '"' {
            is_quoted = !is_quoted;
        }
        letter == ';' && !is_quoted
    };
    text.split(is_end).collect()
}

/// The text of a parameter `filename` that is not ASCII.
fn file_name(parameter: &str) -> Option<String> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("filename") || value.is_ascii() {
        return None;
    }
    let value = value.trim();
    let Some(quoted) = value.strip_prefix('"') else { return Some(value.to_owned()) };
    let quoted = quoted.strip_suffix('"').unwrap_or(quoted);
    let mut name = String::new();
    let mut letters = quoted.chars();
    while let Some(letter) = letters.next() {
        name.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    Some(name)
}

/// As RFC 8187 §3.2.1 has it: its `attr-char` as they are, every other byte of the UTF-8 as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> String {
        in_ascii(&HeaderValue::from_bytes(bytes).unwrap()).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_name_outside_ascii_is_re_encoded() {
        let expected = "attachment; filename=\"Gr__e.png\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe.png";
        assert_eq!(of(b"attachment; filename=\"Gr\xf6\xdfe.png\""), expected);
        assert_eq!(of("attachment; filename=\"Größe.png\"".as_bytes()), expected);
        assert_eq!(
            of(b"attachment; filename=\"\xf6 \\\"a;b\\\".txt\"; size=3"),
            "attachment; filename=\"_ \\\"a;b\\\".txt\"; filename*=UTF-8''%C3%B6%20%22a%3Bb%22.txt; size=3"
        );
        assert_eq!(
            of("attachment; filename=ö; filename*=UTF-8''%C3%B6".as_bytes()),
            "attachment; filename=_; filename*=UTF-8''%C3%B6"
        );
    }

    #[test]
    fn what_is_ascii_stays_as_it_is() {
        let value = "attachment; filename=\"a;b.txt\"; filename*=UTF-8''%C3%B6";
        assert_eq!(of(value.as_bytes()), value);
        assert_eq!(of(b"text/plain; name=\"\xf6\""), "text/plain; name=\"_\"");
    }
}
