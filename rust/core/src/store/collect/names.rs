//! The blobs that one blob names, a part at a time.

use std::vec;

use crate::archive::json::Reference;
use crate::digest::Digest;
use crate::error::Result;
use crate::volume::meta::Meta;

/// Once the blobs of a batch name this many blobs, the rest of the batch must wait. Up to this number is followed at once.
pub(super) const MOST_NAMED: usize = 512;

/// The blobs that a blob names.
pub(super) struct Names {
    /// The next blobs.
    pub next: vec::IntoIter<Reference>,
    /// The last blob that was read, if there may be more.
    last: Option<Reference>,
}

impl Names {
    pub fn new(first: Vec<Reference>, last: Option<Reference>) -> Self {
        Self { next: first.into_iter(), last }
    }

    /// Read the next blobs; false at the end.
    pub fn read_on(&mut self, meta: &Meta, document: &Digest) -> Result<bool> {
        let Some(last) = self.last.take() else { return Ok(false) };
        let found = meta.edges_after(document, &last, MOST_NAMED)?;
        self.last = found.last().filter(|_| found.len() == MOST_NAMED).copied();
        self.next = found.into_iter();
        Ok(true)
    }

    /// Read all blobs.
    pub fn all(mut self, meta: &Meta, document: &Digest) -> Result<Vec<Reference>> {
        let mut all: Vec<_> = self.next.by_ref().collect();
        while self.read_on(meta, document)? {
            all.extend(self.next.by_ref());
        }
        Ok(all)
    }
}
