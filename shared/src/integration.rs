//! The name of an integration, which is also the name of this deployment.

use crate::environment::{ConfigError, Environment};

/// `INTEGRATION_NAME`: letters, digits, hyphens; at most 200, since 8x8's names may have 255 and ours get a prefix.
///
/// # Errors
/// The variable is missing or malformed.
pub fn integration_name(environment: &Environment<'_>) -> Result<String, ConfigError> {
    let name = "INTEGRATION_NAME";
    let value = environment.required(name)?;
    let valid = value.len() <= 200 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if valid {
        Ok(value)
    } else {
        Err(ConfigError::Malformed { name, expected: "at most 200 letters, digits and hyphens" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integration_name_is_letters_digits_and_hyphens() {
        let name = |value: &str| integration_name(&Environment::new(&|_| Some(value.to_owned())));
        assert_eq!(name("acme-8x8").unwrap(), "acme-8x8");
        for bad in ["a b", "a/b", "ä", &"x".repeat(201)] {
            assert!(name(bad).is_err());
        }
    }
}
