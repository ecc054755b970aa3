//! The public key that a request is checked with.

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::rsa::signed_digest;
use crate::signer::pem;

/// An RSA public key of 8x8's.
#[derive(Debug)]
pub struct PublicKey {
    pub(super) kid: Option<String>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Reads a JWK: an object, or a string that holds one. In 8x8's schema it is a string, in its example an object. A PEM file
    /// (`BEGIN PUBLIC KEY`) is read too; it has no `kid`.
    ///
    /// # Errors
    /// The text says why this is not an RSA key that can verify 8x8's signatures.
    pub fn parse(file: &[u8]) -> Result<Self, String> {
        if let Some(key) = std::str::from_utf8(file).ok().and_then(pem) {
            let key = rsa::PublicKey::from_der(&key).map_err(|_| "the PEM file holds no RSA public key")?;
            let modulus = key.modulus().big_endian_without_leading_zero().to_vec();
            return Self::new(None, modulus, key.exponent().big_endian_without_leading_zero().to_vec());
        }
        let value: Value = serde_json::from_slice(file).map_err(|error| format!("not a JWK: {error}"))?;
        let value = match value {
            Value::String(text) => serde_json::from_str(&text).map_err(|error| format!("not a JWK: {error}"))?,
            value => value,
        };
        let text = |name: &str| value[name].as_str().ok_or_else(|| format!("not a JWK: `{name}` is missing"));
        let number = |name: &str| {
            URL_SAFE_NO_PAD
                .decode(text(name)?)
                .map_err(|error| format!("`{name}` of the JWK is not base64url: {error}"))
        };
        if text("kty")? != "RSA" {
            return Err("the JWK is not an RSA key; 8x8 signs with RS256".to_owned());
        }
        Self::new(value["kid"].as_str().map(str::to_owned), number("n")?, number("e")?)
    }

    fn new(kid: Option<String>, modulus: Vec<u8>, exponent: Vec<u8>) -> Result<Self, String> {
        let components = RsaPublicKeyComponents { n: &modulus, e: &exponent };
        let parsed = components
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .ok()
            .filter(|_| (256..=1024).contains(&modulus.len()))
            .ok_or("not an RSA key of 2048 to 8192 bits")?;
        Ok(Self { kid, modulus, exponent, parsed })
    }

    pub(super) fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(text, signature).is_ok()
    }

    /// The SHA-256 that was signed. `None` if the signature was not made with this key.
    pub(super) fn signed_digest(&self, signature: &[u8]) -> Option<[u8; 32]> {
        signed_digest(&self.modulus, &self.exponent, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::{Claims, Signer};

    #[test]
    fn a_jwk_is_an_object_or_a_string_that_holds_one() {
        let jwk = Signer::new().jwk();
        assert!(PublicKey::parse(jwk.to_string().as_bytes()).is_ok());
        assert!(PublicKey::parse(Value::from(jwk.to_string()).to_string().as_bytes()).is_ok());
    }

    #[test]
    fn what_is_not_an_rsa_key_is_rejected_with_the_reason() {
        for (file, reason) in [
            ("", "not a JWK"),
            ("{}", "`kty` is missing"),
            (r#""x""#, "not a JWK"),
            (r#"{"kty":"EC","n":"AQAB","e":"AQAB"}"#, "RS256"),
            (r#"{"kty":"RSA","n":"%","e":"AQAB"}"#, "`n` of the JWK"),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, "2048"),
        ] {
            let error = PublicKey::parse(file.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{file}: {error}");
        }
    }

    #[test]
    fn a_signature_shows_its_digest_to_the_key_that_made_it_and_to_no_other() {
        let signer = Signer::new();
        let claims = Claims {
            tenant_id: "t".to_owned(),
            customer_id: "c".to_owned(),
            event_id: "e".to_owned(),
            retry: 0,
            transmission_time: 1,
        };
        let jws = signer.sign("{}", b"", &claims);
        let (header, signature) = jws.split_once("..").unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let text = format!(r#"{header}.{{"checksum":0,"cid":"c","eid":"e","retry":0,"tid":"t","tt":1}}"#);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let own = PublicKey::parse(signer.jwk().to_string().as_bytes()).unwrap();
        assert_eq!(own.signed_digest(&signature).as_ref().map(<[u8; 32]>::as_slice), Some(digest.as_ref()));
        let other = PublicKey::parse(Signer::new().jwk().to_string().as_bytes()).unwrap();
        assert_eq!(other.signed_digest(&signature), None);
        let changed: Vec<_> = signature.iter().map(|byte| byte ^ 1).collect();
        assert_eq!(own.signed_digest(&changed), None);
    }
}
