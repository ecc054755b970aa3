//! What may have changed a body between 8x8 and the receiver.
//!
//! Each change is a sentence and the function that undoes it. The one that makes the signature right is what happened.

mod charset;
mod json;
mod orders;
mod text;

pub(super) use orders::orders;

/// Something that proxies, frameworks and editors do to a body.
#[derive(Debug)]
pub(super) struct Change {
    /// What was done, as the end of the sentence "between 8x8 and the capture, …".
    pub(super) what: &'static str,
    /// Undoes it. `None` if it cannot have happened to this body.
    undo: fn(&[u8]) -> Option<Vec<u8>>,
}

impl Change {
    /// The body as it was before. `None` if the change cannot have happened, or changed nothing.
    pub(super) fn undo(&self, body: &[u8]) -> Option<Vec<u8>> {
        (self.undo)(body).filter(|before| before != body)
    }
}

/// Every change, the more specific before the more general: the first that explains a body is reported.
pub(super) fn all() -> impl Iterator<Item = &'static Change> + Clone {
    text::CHANGES.iter().chain(json::CHANGES).chain(charset::CHANGES)
}
