//! SHA-256 in hexadecimal: as an id, where an id that the other side would refuse, or none, has to be replaced by one; and
//! in AWS's signatures.

use aws_lc_rs::digest::{SHA256, digest};

/// The SHA-256 of `bytes` as 64 lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Two lower-case hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    let mut digits = String::with_capacity(2 * bytes.len());
    digits.extend(halves.filter_map(|half| char::from_digit(half.into(), 16)));
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_hexadecimal_sha_256() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
