//! What an RSA signature shows without the text that was signed.
//!
//! A verification returns only yes or no. Decrypted with the public key, the signature shows the SHA-256 of the text that was
//! signed: then it was made with this key, and the text was changed afterwards. If the result is not a digest, the signature
//! was made with another key, or was itself changed.

/// The bytes before a SHA-256 digest in an RSASSA-PKCS1-v1_5 signature (RFC 8017, section 9.2, note 1).
const SHA256_PREFIX: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// The digest that was signed. `None` if the signature was not made with the key.
pub(super) fn signed_digest(modulus: &[u8], exponent: &[u8], signature: &[u8]) -> Option<[u8; 32]> {
    let n = limbs(modulus);
    let mut message = limbs(signature);
    message.resize(n.len(), 0);
    if signature.len() != modulus.len() || !is_less(&message, &n) {
        return None;
    }
    let encoded = power(&message, exponent, &n).iter().rev().flat_map(|limb| limb.to_be_bytes()).collect::<Vec<_>>();
    let encoded = &encoded[encoded.len() - modulus.len()..];
    let (padded, digest) = encoded.split_last_chunk::<32>()?;
    let padding = padded.strip_suffix(&SHA256_PREFIX)?.strip_prefix(&[0, 1])?.strip_suffix(&[0])?;
    (padding.len() >= 8 && padding.iter().all(|byte| *byte == 0xff)).then_some(*digest)
}

/// The number in limbs of 32 bits, the least significant first.
fn limbs(big_endian: &[u8]) -> Vec<u32> {
    let limb = |bytes: &[u8]| bytes.iter().fold(0, |limb, byte| limb << 8 | u32::from(*byte));
    big_endian.rchunks(4).map(limb).collect()
}

fn power(base: &[u32], exponent: &[u8], n: &[u32]) -> Vec<u32> {
    let mut result = vec![0; n.len()];
    result[0] = 1;
    for bit in exponent.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).skip_while(|bit| *bit == 0)
    {
        result = product(&result, &result, n);
        if bit == 1 {
            result = product(&result, base, n);
        }
    }
    result
}

/// `a * b mod n`, bit by bit. The numbers are public, and there are few of them.
fn product(a: &[u32], b: &[u32], n: &[u32]) -> Vec<u32> {
    let mut result = vec![0; n.len()];
    for bit in b.iter().rev().flat_map(|limb| (0..32).rev().map(move |bit| limb >> bit & 1)) {
        let double = result.clone();
        add(&mut result, &double, n);
        if bit == 1 {
            add(&mut result, a, n);
        }
    }
    result
}

/// Adds a number below `n` to one below `n`, modulo `n`.
fn add(sum: &mut [u32], other: &[u32], n: &[u32]) {
    let mut carry = 0;
    for (limb, other) in sum.iter_mut().zip(other) {
        carry += u64::from(*limb) + u64::from(*other);
        *limb = carry as u32;
        carry >>= 32;
    }
    if carry == 1 || !is_less(sum, n) {
        let mut borrows = false;
        for (limb, n) in sum.iter_mut().zip(n) {
            let (difference, first) = limb.overflowing_sub(*n);
            let (difference, second) = difference.overflowing_sub(u32::from(borrows));
            (*limb, borrows) = (difference, first || second);
        }
    }
}

fn is_less(a: &[u32], b: &[u32]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}
