//! The blobs that one blob names, a part at a time.

use std::vec;

use crate::archive::json::Reference;
use crate::digest::Digest;
use crate::error::Result;
use crate::volume::meta::Meta;

/// When the blobs of a batch name this number of blobs, the rest of the batch must wait. This number is followed at once.
pub(super) const MOST_NAMED: usize = 512;

/// The blobs that a blob names.
pub(super) struct Names {
    /// The next ones.
    pub next: vec::IntoIter<Reference>,
    /// The last one that was read, if there may be more.
    last: Option<Reference>,
}

impl Names {
    pub fn new(first: Vec<Reference>, last: Option<Reference>) -> Self {
        Self { next: first.into_iter(), last }
    }

    /// Read the next ones; false at the end.
    pub fn read_on(&mut self, meta: &Meta, document: &Digest) -> Result<bool> {
        let Some(last) = self.last.take() else { return Ok(false) };
        let found = meta.edges_after(document, &last, MOST_NAMED)?;
        self.last = found.last().filter(|_| found.len() == MOST_NAMED).copied();
        self.next = found.into_iter();
        Ok(true)
    }

    /// All of them.
    pub fn all(mut self, meta: &Meta, document: &Digest) -> Result<Vec<Reference>> {
        let mut all: Vec<_> = self.next.by_ref().collect();
        while self.read_on(meta, document)? {
            all.extend(self.next.by_ref());
        }
        Ok(all)
    }
}
