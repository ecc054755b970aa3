//! A `multipart/form-data` body (RFC 7578), as a strict server reads it.

use axum::http::HeaderMap;

use crate::problem::Problem;

/// The parts of a form: name, file name, content.
#[derive(Debug)]
pub(crate) struct Form<'b>(Vec<(String, Option<String>, &'b [u8])>);

impl<'b> Form<'b> {
    pub(crate) fn parse(headers: &HeaderMap, body: &'b [u8]) -> Result<Self, Problem> {
        let kind = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = kind.strip_prefix("multipart/form-data").and_then(|rest| rest.split("boundary=").nth(1));
        let boundary = boundary.map(|boundary| boundary.split(';').next().unwrap_or_default().trim().trim_matches('"'));
        let wrong = || Problem::bad_request("invalid_content_type", "Content-Type must be multipart/form-data.");
        let delimiter = format!("--{}", boundary.filter(|boundary| !boundary.is_empty()).ok_or_else(wrong)?);
        let malformed = || Problem::bad_request("invalid_form", "The form cannot be read.");
        let mut parts = Vec::new();
        let mut rest = body.strip_prefix(delimiter.as_bytes()).ok_or_else(malformed)?;
        while let Some(part) = rest.strip_prefix(b"\r\n") {
            let next = find(part, format!("\r\n{delimiter}").as_bytes()).ok_or_else(malformed)?;
            let (content, after) = part.split_at(next);
            let head = find(content, b"\r\n\r\n").ok_or_else(malformed)?;
            let (head, content) = (String::from_utf8_lossy(&content[..head]).into_owned(), &content[head + 4..]);
            parts.push((parameter(&head, "name").ok_or_else(malformed)?, parameter(&head, "filename"), content));
            rest = &after[delimiter.len() + 2..];
        }
        if rest.starts_with(b"--") { Ok(Self(parts)) } else { Err(malformed()) }
    }

    /// A file's name and content.
    pub(crate) fn file(&self, name: &str) -> Result<(&str, &'b [u8]), Problem> {
        let file = self.0.iter().find_map(|(part, filename, content)| {
            (part == name).then_some(()).and(filename.as_deref().map(|filename| (filename, *content)))
        });
        file.ok_or_else(|| Problem::missing(name))
    }

    /// A field that may be missing, and must be one of `values`.
    pub(crate) fn one_of(&self, name: &str, values: &[&str]) -> Result<(), Problem> {
        let field = self.0.iter().find(|(part, _, _)| part == name);
        match field {
            Some((_, _, value)) if !values.iter().any(|allowed| allowed.as_bytes() == *value) => {
                Err(Problem::constraint(name, &format!("Must be one of {}.", values.join(", "))))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A parameter of the part's `Content-Disposition`.
fn parameter(head: &str, name: &str) -> Option<String> {
    let disposition = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let value = disposition.split(';').find_map(|item| item.trim().strip_prefix(&format!("{name}=")))?;
    Some(value.trim_matches('"').to_owned())
}
