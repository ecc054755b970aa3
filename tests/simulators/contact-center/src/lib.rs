//! 8x8's signature of a webhook request: making one, and explaining why one does not verify.

pub mod captured;
pub mod explain;
pub mod signer;
