//! The members of a JSON object, read as leniently as RFC 8259 allows: each stays raw until it is needed, so that a member of no
//! interest cannot spoil the others.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The members of an object by name. Of repeated names the last counts, as in JavaScript.
#[derive(Default)]
pub(crate) struct Members<'e>(BTreeMap<Text<'e>, &'e RawValue>);

impl<'e> Members<'e> {
    /// The members of a JSON object, however deep it is; `None` if `json` is not an object.
    pub(crate) fn parse(json: &'e str) -> Option<Self> {
        serde_json::from_str(json).ok().map(Self)
    }

    /// A string, or the JSON of any other value; `None` of what is missing, `null` or an empty string.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'e, str>> {
        let value = self.value(name)?;
        let Text(text) = Text::from(value);
        (value.get() != "null" && !text.is_empty()).then_some(text)
    }

    /// The members of an object in this one; without any if it is missing or of another kind.
    pub(crate) fn object(&self, name: &str) -> Self {
        self.value(name).and_then(|value| Self::parse(value.get())).unwrap_or_default()
    }

    fn value(&self, name: &str) -> Option<&'e RawValue> {
        self.0.get(&Text(Cow::Borrowed(name))).copied()
    }
}

/// A member, or its name, as text: the string itself, or for anything else its JSON.
///
/// A string may hold half of a surrogate pair (`\ud83d`: RFC 8259 §8.2), and is no Unicode text then; its JSON is used too.
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
