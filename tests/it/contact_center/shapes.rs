//! The shape of a JSON value, as the fixtures write it.

use serde_json::{Map, Value};

/// Shapes that others refer to by `#name`.
#[derive(Default)]
pub struct Shapes {
    named: Map<String, Value>,
}

impl Shapes {
    pub fn named(named: &Value) -> Self {
        Self { named: named.as_object().expect("the shapes are an object").clone() }
    }

    /// Where `value` is not of `shape`.
    pub fn differences(&self, shape: &Value, value: &Value, place: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.compare(shape, value, place, &mut found);
        found
    }

    fn compare(&self, shape: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
        let is_right = match shape {
            Value::Null => value.is_null(),
            Value::String(kind) => match kind.as_str() {
                "string" => value.is_string(),
                "number" => value.is_number(),
                "boolean" => value.is_boolean(),
                "object" => value.is_object(),
                "any" => true,
                name => {
                    let name = name.strip_prefix('#').unwrap_or_else(|| panic!("{name} is no shape"));
                    return self.compare(&self.named[name], value, place, found);
                }
            },
            Value::Array(list) if list.first().is_some_and(Value::is_array) => match value.as_array() {
                Some(items) => {
                    items.iter().for_each(|item| self.compare(&list[0][0], item, &format!("{place}[]"), found));
                    true
                }
                None => false,
            },
            Value::Array(allowed) => allowed.contains(value),
            Value::Object(fields) => match value.as_object() {
                Some(value) => {
                    self.members(fields, value, place, found);
                    true
                }
                None => false,
            },
            Value::Bool(_) | Value::Number(_) => panic!("{shape} is no shape"),
        };
        if !is_right {
            found.push(format!("{place} is {value} instead of {shape}"));
        }
    }

    fn members(&self, fields: &Map<String, Value>, value: &Map<String, Value>, place: &str, found: &mut Vec<String>) {
        for (name, shape) in fields {
            match (value.get(name.trim_end_matches('?')), name.ends_with('?')) {
                (Some(member), _) => self.compare(shape, member, &format!("{place}.{name}"), found),
                (None, true) => {}
                (None, false) => found.push(format!("{place}.{name} is missing")),
            }
        }
        for name in value.keys().filter(|name| !fields.contains_key(*name) && !fields.contains_key(&format!("{name}?")))
        {
            found.push(format!("{place}.{name} is not documented"));
        }
    }
}
