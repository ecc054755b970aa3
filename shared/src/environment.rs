//! Reads the environment variables of a function, once at its cold start. It knows no variable by name: each is read, and
//! explained, beside what it configures.

use std::fmt;

use crate::url::{BaseUrl, SECURE_URL, VerbatimUrl};

/// A variable that is missing or malformed. Its text names the variable and what belongs there, never the value.
#[derive(Clone, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The variable is not set, or empty.
    #[error("environment variable {name} is missing")]
    Missing {
        /// The variable's name.
        name: &'static str,
    },
    /// The variable is set to something that cannot be used.
    #[error("environment variable {name} is malformed: it must be {expected}")]
    Malformed {
        /// The variable's name.
        name: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
}

/// `main` prints an error by its `Debug`: show the sentence there too.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The variables that a function is started with, by a look-up function.
pub struct Environment<'l>(&'l dyn Fn(&str) -> Option<String>);

impl<'l> Environment<'l> {
    /// The environment of this process. A variable that is not UTF-8 reads as missing: no variable of ours can be one.
    pub fn of_process() -> Environment<'static> {
        Environment(&|name| std::env::var(name).ok())
    }

    /// Variables that `look_up` knows.
    pub fn new(look_up: &'l dyn Fn(&str) -> Option<String>) -> Self {
        Self(look_up)
    }

    /// The variable's value without the white space around it; `None` if it is not set or empty.
    pub fn optional(&self, name: &'static str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The variable's value without the white space around it.
    ///
    /// # Errors
    /// It is not set or empty.
    pub fn required(&self, name: &'static str) -> Result<String, ConfigError> {
        self.optional(name).ok_or(ConfigError::Missing { name })
    }

    /// The variable as a base URL.
    ///
    /// # Errors
    /// It is missing, or not an absolute https URL (http for a loopback host) without query, fragment and credentials.
    pub fn base_url(&self, name: &'static str) -> Result<BaseUrl, ConfigError> {
        BaseUrl::parse(&self.required(name)?).ok_or(ConfigError::Malformed { name, expected: SECURE_URL })
    }

    /// The variable as a URL whose text stays as it is.
    ///
    /// # Errors
    /// It is missing, or not an absolute https URL (http for a loopback host) without credentials.
    pub fn verbatim_url(&self, name: &'static str) -> Result<VerbatimUrl, ConfigError> {
        VerbatimUrl::parse(&self.required(name)?).ok_or(ConfigError::Malformed { name, expected: SECURE_URL })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base_url(value: &str) -> Result<BaseUrl, ConfigError> {
        Environment::new(&|name| (name == "BASE").then(|| value.to_owned())).base_url("BASE")
    }

    #[test]
    fn names_the_variable_that_is_missing() {
        for blank in ["", "  "] {
            let error = base_url(blank).unwrap_err();
            assert_eq!(error.to_string(), "environment variable BASE is missing");
            assert_eq!(format!("{error:?}"), error.to_string());
        }
    }

    #[test]
    fn never_shows_a_malformed_value() {
        let error = base_url("https://user:hunter2@bot.example").unwrap_err().to_string();
        assert!(error.contains("BASE") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn white_space_around_a_value_is_ignored() {
        assert_eq!(base_url(" https://bot.example\n"), base_url("https://bot.example"));
    }
}
