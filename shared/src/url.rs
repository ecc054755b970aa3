//! URLs in the configuration: https, or http on a loopback host, without credentials.

use ::url::{Host, Url};

/// The text of an error about a URL that is refused.
pub(crate) const SECURE_URL: &str = "an absolute https URL (http only for a loopback host)";

/// A base URL to call: https, or http on a loopback host; without query, fragment or credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// `None` if `text` is not such a URL. A trailing slash is optional.
    pub fn parse(text: &str) -> Option<Self> {
        let url = secure_url(text)?;
        (url.query().is_none() && url.fragment().is_none()).then_some(Self(url))
    }

    /// The URL as it was given.
    pub fn url(&self) -> Url {
        self.0.clone()
    }

    /// The URL of a path below this base. Each segment is percent-encoded, so that a segment cannot change the structure of the
    /// path.
    pub fn join<'s>(&self, segments: impl IntoIterator<Item = &'s str>) -> Url {
        let mut url = self.0.clone();
        // An https or http URL always can be a base, so that this branch is always taken.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// The segments of the base's path; a trailing slash adds no segment.
    pub fn segments(&self) -> Vec<&str> {
        let mut segments: Vec<&str> = self.0.path_segments().into_iter().flatten().collect();
        segments.pop_if(|last| last.is_empty());
        segments
    }

    /// The base without the last segments of its path, which must be `tail`; `None` if they are different.
    pub fn above(&self, tail: &[&str]) -> Option<Self> {
        let above = self.segments().strip_suffix(tail)?.join("/");
        let mut url = self.0.clone();
        url.set_path(&above);
        Some(Self(url))
    }
}

/// A URL whose text is kept unchanged: SQS compares queue URLs, and 8x8 saves the callback URL, character by character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerbatimUrl {
    text: String,
    url: Url,
}

impl VerbatimUrl {
    /// `None` if `text` is not an absolute https URL (http for a loopback host).
    pub fn parse(text: &str) -> Option<Self> {
        secure_url(text).map(|url| Self { text: text.to_owned(), url })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL for a call.
    pub fn url(&self) -> Url {
        self.url.clone()
    }
}

fn secure_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let loopback = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let secure = url.scheme() == "https" || (url.scheme() == "http" && loopback);
    (secure && url.username().is_empty() && url.password().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_https_or_on_loopback() {
        for good in [
            "https://api.8x8.com/chat-gateway/v1/",
            "https://a.example",
            "http://localhost:1/x",
            "http://127.0.0.1:8080",
            "http://[::1]:9/",
        ] {
            assert!(BaseUrl::parse(good).is_some(), "{good}");
        }
        for bad in [
            "http://api.8x8.com/",
            "http://localhost.example/",
            "ftp://localhost/",
            "api.8x8.com",
            "",
            "https://a.example/?q",
            "https://a.example/#f",
            "https://u@a.example/",
        ] {
            assert!(BaseUrl::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn paths_hang_on_a_base_url_with_and_without_trailing_slash() {
        for base in ["https://bot.example/base", "https://bot.example/base/"] {
            let url = BaseUrl::parse(base).unwrap().join(["v1", "liveAgent", "receiveMessage"]);
            assert_eq!(url.as_str(), "https://bot.example/base/v1/liveAgent/receiveMessage");
        }
        let url = BaseUrl::parse("https://8x8.example").unwrap().join(["webhooks", "../a/b?c"]);
        assert_eq!(url.as_str(), "https://8x8.example/webhooks/..%2Fa%2Fb%3Fc");
    }
}
