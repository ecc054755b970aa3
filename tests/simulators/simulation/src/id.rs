//! Ids in the form of the simulated systems.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A UUID, version 4.
pub fn uuid() -> String {
    let random = fastrand::u128(..);
    let value = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{value:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// 22 characters, like 8x8's ids of keys, events and conversations.
pub fn base64() -> String {
    URL_SAFE_NO_PAD.encode(fastrand::u128(..).to_be_bytes())
}
