//! The headers with which 8x8 serves a file. 8x8 does not document which of the forms below it uses: it passes on the headers
//! that the software of an agent or customer has sent, so that a client must expect all forms.

use axum::http::{HeaderMap, HeaderValue};

/// The headers of an attachment's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeaders {
    /// How `Content-Disposition` writes the file's name.
    pub name: NameEncoding,
    /// The bytes of `Content-Type`; `None` omits the header.
    pub content_type: Option<Vec<u8>>,
}

/// How `Content-Disposition` writes the name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameEncoding {
    /// `filename="…"` in UTF-8, which most clients read and no standard allows.
    #[default]
    Utf8,
    /// `filename="…"` in Latin-1, as older software writes it. A character that is not in Latin-1 becomes `?`.
    Latin1,
    /// Only `filename*=UTF-8''…` (RFC 8187, formerly RFC 5987).
    Extended,
    /// Both: `filename="…"`, in ASCII with `?` for other characters, and `filename*=UTF-8''…` (RFC 6266, appendix D).
    Both,
    /// No name.
    Missing,
}

impl Default for FileHeaders {
    /// `application/octet-stream`, as 8x8's OpenAPI file says.
    fn default() -> Self {
        Self { name: NameEncoding::default(), content_type: Some(b"application/octet-stream".to_vec()) }
    }
}

impl FileHeaders {
    /// The headers of a file of that name.
    pub(crate) fn of(&self, name: &str) -> HeaderMap {
        let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).ok();
        let content_type = self.content_type.as_deref().and_then(value);
        let disposition = value(&self.name.disposition(name));
        let headers = [("content-type", content_type), ("content-disposition", disposition)];
        headers.into_iter().filter_map(|(name, value)| Some((name.parse().ok()?, value?))).collect()
    }
}

impl NameEncoding {
    /// Every encoding, with its name in the control API.
    pub(crate) const ALL: [(&str, Self); 5] = [
        ("utf-8", Self::Utf8),
        ("latin-1", Self::Latin1),
        ("extended", Self::Extended),
        ("both", Self::Both),
        ("missing", Self::Missing),
    ];

    fn disposition(self, name: &str) -> Vec<u8> {
        let mut disposition = b"attachment".to_vec();
        let plain = match self {
            Self::Utf8 => Some(name.as_bytes().to_vec()),
            Self::Latin1 => Some(up_to('\u{ff}', name)),
            Self::Both => Some(up_to('\u{7f}', name)),
            Self::Extended | Self::Missing => None,
        };
        if let Some(plain) = plain {
            disposition.extend(b"; filename=\"");
            disposition.extend(quoted(&plain));
            disposition.push(b'"');
        }
        if matches!(self, Self::Extended | Self::Both) {
            disposition.extend(b"; filename*=UTF-8''");
            disposition.extend(percent_encoded(name).into_bytes());
        }
        disposition
    }
}

/// One byte for each character; `?` for a character after `last`.
fn up_to(last: char, name: &str) -> Vec<u8> {
    name.chars().map(|character| if character <= last { character as u8 } else { b'?' }).collect()
}

/// Inside quotation marks, a quotation mark and a backslash are preceded by a backslash (RFC 9110, section 5.6.4). A control
/// character, which no header can have, becomes `_`.
fn quoted(name: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'"' | b'\\' => quoted.extend([b'\\', *byte]),
            0..0x20 | 0x7f => quoted.push(b'_'),
            byte => quoted.push(*byte),
        }
    }
    quoted
}

/// Percent-encoded except for letters, digits and `*-._`. RFC 8187 allows all of these except `*`.
fn percent_encoded(name: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    encoded.replace('+', "%20").replace('*', "%2A")
}
