//! JSON as text. What the bridge does not have to change in a body stays as the caller wrote it, byte for byte: numbers of
//! any size, escapes of half a surrogate pair (RFC 8259 §8.2 leaves them open), the order of members and the space between
//! them.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object whose members' values are text.
#[derive(Debug, Clone)]
pub(crate) struct Object<'t> {
    text: &'t str,
    members: Vec<(Name, &'t str)>,
}

/// A member's name, unescaped. Half a surrogate pair in it makes it no valid UTF-8.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name(Vec<u8>);

impl<'t> Object<'t> {
    /// Reads an object; `None` if `text` is not JSON, or not an object.
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        struct Members<'t>(Vec<(Name, &'t str)>);

        impl<'de> Deserialize<'de> for Members<'de> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct MembersVisitor;

                impl<'de> Visitor<'de> for MembersVisitor {
                    type Value = Members<'de>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                        let mut members = Vec::new();
                        while let Some(name) = map.next_key()? {
                            members.push((name, map.next_value::<&RawValue>()?.get()));
                        }
                        Ok(Members(members))
                    }
                }

                deserializer.deserialize_map(MembersVisitor)
            }
        }

        serde_json::from_str::<Members<'t>>(text).ok().map(|Members(members)| Self { text, members })
    }

    /// The value of a member. Of several with the same name the last one counts, as most parsers do it.
    pub(crate) fn get(&self, name: &str) -> Option<&'t str> {
        self.members.iter().rev().find(|(found, _)| found.0 == name.as_bytes()).map(|(_, value)| *value)
    }

    /// As [`Self::get`]; `None` also if the value is `null`.
    pub(crate) fn given(&self, name: &str) -> Option<&'t str> {
        self.get(name).filter(|value| *value != "null")
    }

    /// The whole text.
    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// The members in their order: name and value. A name that is not valid Unicode is shown with replacement characters.
    pub(crate) fn members(&self) -> impl Iterator<Item = (Cow<'_, str>, &'t str)> {
        self.members.iter().map(|(name, value)| (String::from_utf8_lossy(&name.0), *value))
    }

    /// The text with another value for a member, which is added in front if it was not there.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        match self.get(name) {
            Some(former) => {
                // Both are parts of the same text.
                let start = former.as_ptr() as usize - self.text.as_ptr() as usize;
                format!("{}{value}{}", &self.text[..start], &self.text[start + former.len()..])
            }
            None => {
                let (before, rest) = self.text.split_at(self.text.find('{').map_or(0, |brace| brace + 1));
                let comma = if self.members.is_empty() { "" } else { "," };
                format!("{before}{}:{value}{comma}{rest}", string(name))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Name, E> {
                Ok(Name(name.to_vec()))
            }
        }

        // As bytes, a string may have half a surrogate pair.
        deserializer.deserialize_bytes(NameVisitor)
    }
}

/// The items of an array as text; `None` if `text` is not an array.
pub(crate) fn items(text: &str) -> Option<Vec<&str>> {
    let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

/// The text of an array with one more item at its end; `None` if `text` is not an array.
pub(crate) fn push(text: &str, item: &str) -> Option<String> {
    let is_empty = items(text)?.is_empty();
    let inside = text.trim_end().strip_suffix(']')?;
    Some(format!("{inside}{}{item}]", if is_empty { "" } else { "," }))
}

/// An object of these members, each a name and a value as JSON text.
pub(crate) fn object<'m>(members: impl IntoIterator<Item = (&'m str, &'m str)>) -> String {
    let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// A string as JSON text.
pub(crate) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A JSON body as text, without the byte order mark that a parser may ignore (RFC 8259 §8.1); `None` if it is not UTF-8.
pub(crate) fn text_of(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    Some(text.strip_prefix('\u{feff}').unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_replaced_and_nothing_else_changes() {
        let text = r#" { "a" : 12345678901234567890123 , "b":"x \ud83d", "a":null,"c":1e400 } "#;
        let object = Object::parse(text).unwrap();
        assert_eq!((object.get("a"), object.given("a"), object.get("b")), (Some("null"), None, Some(r#""x \ud83d""#)));
        assert_eq!(object.with("a", "[]"), r#" { "a" : 12345678901234567890123 , "b":"x \ud83d", "a":[],"c":1e400 } "#);
        assert_eq!(Object::parse("{}").unwrap().with("a", "1"), r#"{"a":1}"#);
        assert_eq!(Object::parse(r#"{"b":2}"#).unwrap().with("a\"", "1"), r#"{"a\"":1,"b":2}"#);
    }

    #[test]
    fn a_name_may_have_half_a_surrogate_pair() {
        let object = Object::parse(r#"{"\ud83d":1,"a":2}"#).unwrap();
        assert_eq!(object.get("a"), Some("2"));
        assert_eq!(object.members().count(), 2);
    }

    #[test]
    fn what_is_no_object_is_none() {
        for text in ["", "[]", "1", "{", "{}x", r#"{"a"}"#, r#"{"a":nope}"#] {
            assert!(Object::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn an_item_is_added_at_the_end() {
        assert_eq!(push("[ ]", "1").as_deref(), Some("[ 1]"));
        assert_eq!(push("[1e400, 2 ]\n", "3").as_deref(), Some("[1e400, 2 ,3]"));
        assert_eq!(push("{}", "1"), None);
    }

    #[test]
    fn a_byte_order_mark_is_no_content() {
        assert_eq!(text_of("\u{feff}{}".as_bytes()), Some("{}"));
        assert_eq!(text_of(b"\xff"), None);
    }
}
