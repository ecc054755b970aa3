//! The rules of 8x8's OpenAPI files for a body: required fields, types, lengths, enumerations. Fields that the files do not
//! mention are allowed, as OpenAPI allows them.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::problem::Problem;

/// A body that is an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Object<'b>(&'b Value);

impl<'b> Object<'b> {
    /// `value` as an object.
    pub(crate) fn of(value: &'b Value, name: &str) -> Result<Self, Problem> {
        value.is_object().then_some(Self(value)).ok_or_else(|| Problem::constraint(name, "Must be an object."))
    }

    /// A string of at most `length` characters that must be there.
    pub(crate) fn required(self, field: &str, length: usize) -> Result<&'b str, Problem> {
        self.optional(field, length)?.ok_or_else(|| Problem::missing(field))
    }

    /// A string of at most `length` characters that may be missing.
    pub(crate) fn optional(self, field: &str, length: usize) -> Result<Option<&'b str>, Problem> {
        match self.0.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Err(Problem::constraint(field, "May not be empty.")),
            Some(Value::String(text)) if text.chars().count() > length => {
                Err(Problem::constraint(field, &format!("Must have at most {length} characters.")))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::constraint(field, "Must be a string.")),
        }
    }

    /// A string that must be one of `values`.
    pub(crate) fn one_of(self, field: &str, values: &[&str]) -> Result<Option<&'b str>, Problem> {
        let value = self.optional(field, usize::MAX)?;
        match value {
            Some(value) if !values.contains(&value) => {
                Err(Problem::constraint(field, &format!("Must be one of {}.", values.join(", "))))
            }
            Some(_) | None => Ok(value),
        }
    }

    /// An absolute URI that must be there.
    pub(crate) fn uri(self, field: &str) -> Result<&'b str, Problem> {
        let uri = self.required(field, usize::MAX)?;
        url::Url::parse(uri).map_err(|_| Problem::constraint(field, "Must be an absolute URI."))?;
        Ok(uri)
    }

    /// An object that must be there.
    pub(crate) fn object(self, field: &str) -> Result<Self, Problem> {
        let value = self.0.get(field).ok_or_else(|| Problem::constraint(field, "May not be empty."))?;
        Self::of(value, field)
    }

    /// An object that may be missing.
    pub(crate) fn optional_object(self, field: &str) -> Result<Option<Self>, Problem> {
        self.0.get(field).map(|value| Self::of(value, field)).transpose()
    }

    /// A string that must be there and be one of `values`.
    pub(crate) fn required_one_of(self, field: &str, values: &[&str]) -> Result<&'b str, Problem> {
        self.one_of(field, values)?.ok_or_else(|| Problem::missing(field))
    }

    /// An array of at most `items` items that may be missing.
    pub(crate) fn optional_array(self, field: &str, items: usize) -> Result<Option<&'b [Value]>, Problem> {
        match self.0.get(field) {
            None => Ok(None),
            Some(Value::Array(array)) if array.len() <= items => Ok(Some(array)),
            Some(Value::Array(_)) => Err(Problem::constraint(field, &format!("Must have at most {items} items."))),
            Some(_) => Err(Problem::constraint(field, "Must be an array.")),
        }
    }

    /// An array of at most `items` items that must be there.
    pub(crate) fn array(self, field: &str, items: usize) -> Result<&'b [Value], Problem> {
        self.optional_array(field, items)?.ok_or_else(|| Problem::missing(field))
    }

    /// An integer within `range` that may be missing.
    pub(crate) fn integer(self, field: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Problem> {
        let Some(value) = self.0.get(field) else { return Ok(None) };
        let integer = value.as_i64().filter(|integer| range.contains(integer));
        integer
            .map(Some)
            .ok_or_else(|| Problem::constraint(field, &format!("Must be from {} to {}.", range.start(), range.end())))
    }
}
