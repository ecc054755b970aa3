//! The members of a JSON object, read as leniently as RFC 8259 allows: each stays raw until it is needed, so that a malformed
//! member that is not needed does no harm.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The members of an object by name. If a name is repeated, the last one counts, as in JavaScript.
#[derive(Default)]
pub(crate) struct Members<'e>(BTreeMap<Text<'e>, &'e RawValue>);

impl<'e> Members<'e> {
    /// The members of a JSON object, however deep it is; `None` if `json` is not an object.
    pub(crate) fn parse(json: &'e str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    /// A string, or the JSON of any other value; `None` for a value that is missing, `null` or an empty string.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'e, str>> {
        let value = self.value(name)?;
        let Text(text) = Text::from(value);
        (value.get() != "null" && !text.is_empty()).then_some(text)
    }

    /// The members of a nested object; empty if it is missing or not an object.
    pub(crate) fn object(&self, name: &str) -> Self {
        self.value(name).and_then(|value| Self::parse(value.get())).unwrap_or_default()
    }

    fn value(&self, name: &str) -> Option<&'e RawValue> {
        self.0.get(&Text(Cow::Borrowed(name))).copied()
    }
}

/// A member, or its name, as text: a string as it is, anything else as JSON.
///
/// A string may hold half of a surrogate pair (`\ud83d`: RFC 8259 §8.2). Such a string is not Unicode text, and is returned as
/// JSON too.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text<'e>(Cow<'e, str>);

impl<'e> From<&'e RawValue> for Text<'e> {
    fn from(value: &'e RawValue) -> Self {
        let json = value.get();
        let without_escapes = serde_json::from_str(json).map(Cow::Borrowed);
        let text = without_escapes.or_else(|_| serde_json::from_str(json).map(Cow::Owned));
        Self(text.unwrap_or(Cow::Borrowed(json)))
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Self::from)
    }
}
