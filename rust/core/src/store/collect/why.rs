//! Why a blob is kept, or since when it is garbage.

use std::sync::Arc;

use super::collection::Collection;
use super::mark::RootName;
use super::values::Options;
use crate::digest::Digest;
use crate::error::Result;
use crate::store::Store;

/// Why a blob is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The blob.
    pub digest: Digest,
    /// The first root that keeps it; None for garbage.
    pub root: Option<RootName>,
    /// The blobs from the one that the root names to this one.
    pub chain: Vec<Digest>,
    /// When a collection first found that no root keeps it.
    pub since_ns: Option<i64>,
}

/// Finds out why blobs are kept, in steps. It changes nothing, and no collection has to wait for it.
pub struct Why {
    collection: Collection,
    digests: Vec<Digest>,
    /// Those of which nothing is known yet.
    unknown: Vec<Digest>,
}

impl Store {
    /// Begin to find out why blobs are kept.
    pub fn why(&self, digests: Vec<Digest>) -> Result<Why> {
        self.volume.check_open()?;
        self.volume.meta.check_labels_readable()?;
        let options = Options { dry_run: true, ..Options::default() };
        let mut collection = Collection::new(Arc::clone(&self.volume), Arc::clone(&self.ingests), options, None, 0);
        collection.sweep.marking.roots = Some(Vec::new());
        Ok(Why { collection, unknown: digests.clone(), digests })
    }
}

impl Why {
    /// Do work of about 5 ms; return whether all is known. That is so when a root has reached each of the blobs; the rest of the store is
    /// only looked at for a blob that is garbage.
    pub fn step(&mut self) -> Result<bool> {
        // The files that no root has reached are looked at, too: one of them may say something about a blob that is kept.
        if self.collection.is_marked() || self.collection.step()? {
            return Ok(true);
        }
        while let Some(digest) = self.unknown.last() {
            let marking = &self.collection.sweep.marking;
            if self.kept(digest).is_none() && marking.volume.stat_blob(digest)?.is_some() {
                return Ok(false);
            }
            self.unknown.pop();
        }
        Ok(true)
    }

    /// The number of a blob that a root has reached. Its first reason is final.
    fn kept(&self, digest: &Digest) -> Option<usize> {
        let marks = &self.collection.sweep.marking.marks;
        marks.listed_number(digest).filter(|number| !marks.is_garbage(*number))
    }

    /// Return the reasons of those blobs that are stored.
    pub fn reasons(&self) -> Result<Vec<Reason>> {
        let marking = &self.collection.sweep.marking;
        let known = marking.volume.meta.known(&self.digests, true, usize::MAX)?;
        let mut reasons = Vec::new();
        for (digest, known) in self.digests.iter().zip(known) {
            let Some(stat) = marking.volume.stat_blob(digest)? else { continue };
            let (root, chain) = self.kept(digest).map_or_else(Default::default, |number| marking.marks.chain(number));
            let chain: Vec<Digest> = chain.into_iter().map(|number| marking.marks.digest(number)).collect();
            let root = root.and_then(|root| marking.roots.as_ref()?.get(root as usize).cloned());
            let since = known.note.filter(|note| root.is_none() && super::look::is_of(note, &stat));
            let since_ns = since.map(|note| note.wall_ns);
            reasons.push(Reason { digest: *digest, root, chain, since_ns });
        }
        Ok(reasons)
    }
}
