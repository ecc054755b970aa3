//! 8x8's error responses. Their bodies have six forms: `errors` as objects, as strings, or as one object; `message` and `code`;
//! `{"ErrorCode","Error"}` from the token endpoint; `{"fault":{"faultstring","detail":{"errorcode"}}}` from the gateway in
//! front of them. One lenient parser reads all of them.

use std::fmt;

use serde_json::Value;

/// 8x8's description of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// The most specific message in the body, if the body has one.
    pub message: Option<String>,
    /// 8x8's name of the error, e.g. `invalid_queue`, if the body has one that consists of a name only.
    pub code: Option<String>,
    /// The id that 8x8's support asks for.
    pub reference_id: Option<String>,
}

impl Problem {
    /// Reads the body of a response with `status`.
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        // The single error says more than the heading above it.
        let message = [
            "/errors/0/message",
            "/errors/0",
            "/errors/message",
            "/Error",
            "/fault/faultstring",
            "/message",
            "/errors/0/code",
            "/errors/code",
        ];
        let code = ["/errors/0/code", "/errors/code", "/ErrorCode", "/fault/detail/errorcode", "/code"];
        Self {
            status,
            message: message.iter().find_map(|pointer| text(pointer)),
            code: code.iter().find_map(|pointer| text(pointer)).filter(|code| is_name(code)),
            reference_id: text("/referenceId"),
        }
    }
}

fn is_name(code: &str) -> bool {
    code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if let Some(reference_id) = &self.reference_id {
            write!(f, " (8x8's reference: {reference_id})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_five_shapes() {
        for (body, expected) in [
            (
                r#"{"message":"Internal error.","errors":[{"code":"invalid_queue","message":"Queue ID 112 is invalid."}]}"#,
                "status 400: Queue ID 112 is invalid.",
            ),
            (
                r#"{"message":"Constraint Violation","errors":["name: May not be empty."]}"#,
                "status 400: name: May not be empty.",
            ),
            (
                r#"{"message":"x","errors":{"code":"invalid_json_object","message":"Invalid authorType"},"referenceId":"98e9"}"#,
                "status 400: Invalid authorType (8x8's reference: 98e9)",
            ),
            (
                r#"{"ErrorCode":"invalid_request","Error":"Unsupported grant type : something"}"#,
                "status 400: Unsupported grant type : something",
            ),
            (
                r#"{"fault":{"faultstring":"Invalid Access Token","detail":{"errorcode":"x"}}}"#,
                "status 400: Invalid Access Token",
            ),
            (r#"{"message":"Access Denied"}"#, "status 400: Access Denied"),
            (r#"{"errors":[]}"#, "status 400"),
            ("<html>", "status 400"),
            ("", "status 400"),
        ] {
            assert_eq!(Problem::parse(400, body.as_bytes()).to_string(), expected);
        }
    }
}
