//! A captured request: the headers and the exact bytes of the body, read from a file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// One request as it was received.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CapturedRequest {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl CapturedRequest {
    /// The request with these headers and this body.
    pub fn new<N: Into<String>, V: Into<Vec<u8>>>(headers: impl IntoIterator<Item = (N, V)>, body: &[u8]) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { headers: headers.collect(), body: body.to_vec() }
    }

    /// Reads one of two forms:
    ///
    /// - HTTP/1.1 as it is sent: `POST /path HTTP/1.1`, a line per header, an empty line, the body.
    /// - JSON with `headers`, `body` and perhaps `isBase64Encoded`, as API Gateway hands an event to a function. Where
    ///   `multiValueHeaders` exist, they are read instead of `headers`, which hold only the last of several values.
    ///
    /// # Errors
    /// The file cannot be read; the text says what is wrong with it.
    pub fn parse(file: &[u8]) -> Result<Self, String> {
        if file.trim_ascii_start().starts_with(b"{") { Self::parse_json(file) } else { Self::parse_http(file) }
    }

    fn parse_json(file: &[u8]) -> Result<Self, String> {
        let event: Map<String, Value> =
            serde_json::from_slice(file).map_err(|error| format!("invalid JSON: {error}"))?;
        let several = event.get("multiValueHeaders").and_then(Value::as_object).filter(|headers| !headers.is_empty());
        let headers = several.or(event.get("headers").and_then(Value::as_object));
        let headers = headers.ok_or("the JSON has no `headers`: give the whole request, not the body alone")?;
        let mut request = Self::default();
        for (name, value) in headers {
            for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
                let value =
                    value.as_str().ok_or_else(|| format!("the value of the header `{name}` is not a string"))?;
                request.headers.push((name.clone(), value.trim().into()));
            }
        }
        let body = match event.get("body") {
            None | Some(Value::Null) => "",
            Some(Value::String(body)) => body,
            Some(_) => {
                return Err("`body` must be a string: a parsed body no longer shows the bytes that arrived".into());
            }
        };
        let is_base64 = event.get("isBase64Encoded") == Some(&Value::Bool(true));
        request.body = match STANDARD.decode(body) {
            Ok(bytes) if is_base64 => bytes,
            Err(error) if is_base64 => {
                return Err(format!("`isBase64Encoded` is true, and the body is not Base64: {error}"));
            }
            _ => body.into(),
        };
        Ok(request)
    }

    fn parse_http(file: &[u8]) -> Result<Self, String> {
        let mut rest = file;
        let request_line = next_line(&mut rest).ok_or("the file is empty")?;
        if !String::from_utf8_lossy(request_line).contains(" HTTP/") {
            return Err("neither JSON nor a request that starts with a line like `POST /path HTTP/1.1`".into());
        }
        let mut request = Self::default();
        loop {
            let line = next_line(&mut rest).ok_or("no empty line between the headers and the body")?;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = colon
                .and_then(|colon| line.split_at_checked(colon))
                .ok_or_else(|| format!("a line that is not a header: {:?}", String::from_utf8_lossy(line)))?;
            let name = String::from_utf8_lossy(name).trim().to_owned();
            request.headers.push((name, value[1..].trim_ascii().to_vec()));
        }
        if request.values("transfer-encoding").any(|value| value.eq_ignore_ascii_case(b"chunked")) {
            return Err("the body is captured in chunks: save it as the web server handed it over".into());
        }
        request.body = rest.to_vec();
        Ok(request)
    }

    /// The request as HTTP/1.1, which [`Self::parse`] reads.
    pub fn to_http(&self) -> Vec<u8> {
        let mut http =
            format!("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", self.body.len()).into_bytes();
        for (name, value) in &self.headers {
            http.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        http.extend(b"\r\n");
        http.extend(&self.body);
        http
    }

    /// The values of a header, one for each time it occurs.
    pub fn values<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r [u8]> {
        self.headers.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    /// The body's bytes.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// The next line, without its end.
fn next_line<'f>(rest: &mut &'f [u8]) -> Option<&'f [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = rest.split_at(end);
    *rest = &after[1..];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> CapturedRequest {
        CapturedRequest::new(
            [("x-8x8-retry", "0"), ("x-8x8-tenant-id", "acme01")],
            "{\"text\":\"Grüezi\"}\n".as_bytes(),
        )
    }

    #[test]
    fn every_form_of_a_file_is_the_same_request() {
        let json = r#"{"headers":{"x-8x8-retry":"0","x-8x8-tenant-id":"acme01"},"body":"{\"text\":\"Grüezi\"}\n"}"#;
        assert_eq!(CapturedRequest::parse(json.as_bytes()), Ok(request()));
        let event = format!(
            r#"{{"multiValueHeaders":{{"x-8x8-retry":["0"],"x-8x8-tenant-id":["acme01"]}},"body":"{}","isBase64Encoded":true}}"#,
            STANDARD.encode(request().body())
        );
        assert_eq!(CapturedRequest::parse(event.as_bytes()), Ok(request()));
        let http = "POST / HTTP/1.1\nx-8x8-retry:0\nx-8x8-tenant-id:  acme01 \n\n{\"text\":\"Grüezi\"}\n";
        assert_eq!(CapturedRequest::parse(http.as_bytes()), Ok(request()));
        let written = CapturedRequest::parse(&request().to_http()).unwrap();
        assert_eq!((written.body(), written.values("X-8x8-Retry").next()), (request().body(), Some(&b"0"[..])));
    }

    #[test]
    fn a_file_that_is_not_a_whole_request_is_rejected_with_the_reason() {
        for (file, reason) in [
            ("", "empty"),
            ("hello\n", "neither JSON"),
            ("{", "invalid JSON"),
            (r#"{"eventType":"MESSAGE"}"#, "not the body alone"),
            (r#"{"headers":{},"body":{}}"#, "must be a string"),
            (r#"{"headers":{"a":1},"body":""}"#, "not a string"),
            (r#"{"headers":{},"body":"%","isBase64Encoded":true}"#, "not Base64"),
            ("POST / HTTP/1.1\r\na: b\r\n", "no empty line"),
            ("POST / HTTP/1.1\r\nno header\r\n\r\n", "not a header"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", "in chunks"),
        ] {
            let error = CapturedRequest::parse(file.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{file}: {error}");
        }
    }
}
