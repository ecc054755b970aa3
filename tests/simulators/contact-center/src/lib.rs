//! 8x8's signature of a webhook request.

pub mod signer;
