//! The changes that may have happened to a body between 8x8 and the receiver.
//!
//! Each change is a sentence and the function that undoes the change. The change whose undoing makes the signature right is
//! what happened.

mod charset;
mod json;
mod orders;
mod text;

pub(super) use orders::orders;

/// A change that proxies, frameworks or editors make to a body.
#[derive(Debug)]
pub(super) struct Change {
    /// The change, as the end of the sentence "between 8x8 and the capture, …".
    pub(super) what: &'static str,
    /// Undoes the change. `None` if it cannot have happened to this body.
    undo: fn(&[u8]) -> Option<Vec<u8>>,
}

impl Change {
    /// The body as it was before. `None` if the change cannot have happened, or changed nothing.
    pub(super) fn undo(&self, body: &[u8]) -> Option<Vec<u8>> {
        (self.undo)(body).filter(|before| before != body)
    }
}

/// Every change, the more specific ones before the more general ones: the first one that explains a body is reported.
pub(super) fn all() -> impl Iterator<Item = &'static Change> + Clone {
    text::CHANGES.iter().chain(json::CHANGES).chain(charset::CHANGES)
}
