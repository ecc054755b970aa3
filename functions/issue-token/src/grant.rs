//! A token request: a form (RFC 6749 §4.3.2, §6), or JSON with the same fields, since Aisera's page shows one.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::form_urlencoded;

use crate::response::Error;

/// What a request says.
#[derive(Debug)]
pub(crate) struct TokenRequest {
    fields: BTreeMap<String, SecretString>,
    /// The client of an `Authorization: Basic` header (RFC 6749 §2.3.1), which OAuth libraries like to send.
    basic: Option<SecretString>,
}

/// What a client presents to get tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Grant<'r> {
    Password { username: &'r str, password: &'r str },
    RefreshToken(&'r str),
}

impl TokenRequest {
    pub(crate) fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, Error> {
        let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let fields = match media_type.as_str() {
            "application/x-www-form-urlencoded" => form(body)?,
            "application/json" => json(body)?,
            _ => return Err(Error::InvalidRequest("the body must be a form or JSON")),
        };
        Ok(Self { fields, basic: basic(headers)? })
    }

    /// The caller's app token, as `clientid` (Aisera's name), `client_id` (OAuth's) or the user of HTTP Basic.
    pub(crate) fn client_id(&self) -> Result<&str, Error> {
        let in_body = self.field("clientid").or_else(|| self.field("client_id"));
        let in_header = self.basic.as_ref().map(ExposeSecret::expose_secret);
        in_body.or(in_header).ok_or(Error::InvalidClient)
    }

    pub(crate) fn grant(&self) -> Result<Grant<'_>, Error> {
        let needed = |name, missing| self.field(name).ok_or(Error::InvalidRequest(missing));
        match needed("grant_type", "grant_type is missing")? {
            "password" => Ok(Grant::Password {
                username: needed("username", "username is missing")?,
                password: needed("password", "password is missing")?,
            }),
            "refresh_token" => Ok(Grant::RefreshToken(needed("refresh_token", "refresh_token is missing")?)),
            _ => Err(Error::UnsupportedGrantType),
        }
    }

    /// A field that is empty counts as missing (RFC 6749 §3.2).
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(ExposeSecret::expose_secret).filter(|text| !text.is_empty())
    }
}

/// A repeated field is an error (RFC 6749 §3.2).
fn form(body: &[u8]) -> Result<BTreeMap<String, SecretString>, Error> {
    let mut fields = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(body) {
        if fields.insert(name.into_owned(), SecretString::from(value.into_owned())).is_some() {
            return Err(Error::InvalidRequest("a field comes twice"));
        }
    }
    Ok(fields)
}

/// Parameters are texts; a member of another type cannot be one of them, and unknown parameters are ignored (RFC 6749 §3.2).
fn json(body: &[u8]) -> Result<BTreeMap<String, SecretString>, Error> {
    let members: BTreeMap<String, Value> =
        serde_json::from_slice(body).map_err(|_| Error::InvalidRequest("the body must be a JSON object"))?;
    let texts = members.into_iter().filter_map(|(name, value)| match value {
        Value::String(text) => Some((name, SecretString::from(text))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    });
    Ok(texts.collect())
}

/// There are no client secrets: a caller is identified by its app token, and the password of HTTP Basic must be empty.
fn basic(headers: &HeaderMap) -> Result<Option<SecretString>, Error> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let (scheme, credentials) = header.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Error::InvalidClient);
    }
    let decoded = STANDARD.decode(credentials.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once(':')) {
        // Both were form-encoded first (RFC 6749 §2.3.1).
        Some((client_id, "")) => {
            let decoded = form_urlencoded::parse(client_id.as_bytes()).next().map(|(name, _)| name.into_owned());
            Ok(decoded.map(SecretString::from))
        }
        Some(_) | None => Err(Error::InvalidClient),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, authorization: Option<&str>, body: &str) -> Result<TokenRequest, Error> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        }
        TokenRequest::read(&headers, body.as_bytes())
    }

    const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

    #[test]
    fn a_client_is_named_in_three_ways() {
        for body in ["clientid=a%2Bb", "client_id=a%2Bb"] {
            assert_eq!(read(FORM, None, body).unwrap().client_id().unwrap(), "a+b");
        }
        // a%2Bb:
        assert_eq!(read(FORM, Some("Basic YSUyQmI6"), "").unwrap().client_id().unwrap(), "a+b");
        assert_eq!(read("application/json", None, r#"{"clientid":"a"}"#).unwrap().client_id().unwrap(), "a");
        assert!(matches!(read(FORM, None, "clientid=").unwrap().client_id(), Err(Error::InvalidClient)));
        // a:b
        assert!(matches!(read(FORM, Some("Basic YTpi"), ""), Err(Error::InvalidClient)));
        assert!(matches!(read(FORM, Some("Bearer x"), ""), Err(Error::InvalidClient)));
    }

    #[test]
    fn a_bad_request_says_what_is_wrong_with_it() {
        for (content_type, body) in [
            ("text/plain", ""),
            ("", ""),
            (FORM, "grant_type=password&grant_type=password"),
            ("application/json", "[]"),
            ("application/json", r#"{"grant_type":"password""#),
        ] {
            assert!(matches!(read(content_type, None, body), Err(Error::InvalidRequest(_))), "{body}");
        }
        for body in ["", "grant_type=", "grant_type=password&username=u", "grant_type=refresh_token"] {
            assert!(matches!(read(FORM, None, body).unwrap().grant(), Err(Error::InvalidRequest(_))), "{body}");
        }
        let grant = read("application/json", None, r#"{"grant_type":1}"#).unwrap();
        assert!(matches!(grant.grant(), Err(Error::InvalidRequest("grant_type is missing"))));
        let grant = read(FORM, None, "grant_type=client_credentials").unwrap();
        assert!(matches!(grant.grant(), Err(Error::UnsupportedGrantType)));
    }
}
