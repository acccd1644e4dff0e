//! The reason why a blob is kept, or the time since when it is garbage.

use std::collections::HashMap;
use std::sync::Arc;

use super::collection::Collection;
use super::mark::RootName;
use super::values::Options;
use crate::digest::Digest;
use crate::error::Result;
use crate::store::Store;
use crate::store::ingest::Ingests;
use crate::volume::Volume;

/// The reason why a blob is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The blob.
    pub digest: Digest,
    /// The first root that keeps it; None for garbage.
    pub root: Option<RootName>,
    /// The blobs from the one that the root names to this one.
    pub chain: Vec<Digest>,
    /// The time at which a collection first found that no root keeps it.
    pub since_ns: Option<i64>,
}

/// The most passes for one query.
const MOST_PASSES: usize = 4;

/// Finds out why blobs are kept, in steps. It changes nothing, and collections do not wait for it.
///
/// A pass misses a blob that moves from a root that is still to be read to one that has been read. So a blob is garbage only if a pass found
/// no root and the metadata did not change meanwhile, or if several passes found none.
pub struct Why {
    volume: Arc<Volume>,
    ingests: Arc<Ingests>,
    collection: Collection,
    /// The state of the metadata when the pass began.
    version: i64,
    passes: usize,
    digests: Vec<Digest>,
    /// The blobs whose reason has not been found in this pass.
    unknown: Vec<Digest>,
    /// The reasons of the blobs that a root has reached in one of the passes.
    kept: HashMap<Digest, (Option<RootName>, Vec<Digest>)>,
}

impl Store {
    /// Begin to find out why blobs are kept.
    pub fn why(&self, digests: Vec<Digest>) -> Result<Why> {
        self.volume.check_open()?;
        self.volume.meta.check_labels_readable()?;
        let (volume, ingests) = (Arc::clone(&self.volume), Arc::clone(&self.ingests));
        let collection = marking(&volume, &ingests);
        let version = volume.meta.version()?;
        let unknown = digests.clone();
        Ok(Why { volume, ingests, collection, version, passes: 1, digests, unknown, kept: HashMap::new() })
    }
}

/// Return a collection that only marks, and keeps the names of the roots.
fn marking(volume: &Arc<Volume>, ingests: &Arc<Ingests>) -> Collection {
    let options = Options { dry_run: true, ..Options::default() };
    let mut collection = Collection::new(Arc::clone(volume), Arc::clone(ingests), options, None, 0);
    collection.sweep.marking.roots = Some(Vec::new());
    collection
}

impl Why {
    /// Work for about 5 ms. Returns whether the query is complete: as soon as a root has reached each of the blobs. The whole store is
    /// searched only if one of the blobs is garbage.
    pub fn step(&mut self) -> Result<bool> {
        // Files that no root has reached are looked at too: one of them may have a kept blob as its subject.
        if !self.collection.is_marked() && !self.collection.step()? && self.waits()? {
            return Ok(false);
        }
        self.keep();
        let version = self.volume.meta.version()?;
        if self.passes == MOST_PASSES || version == self.version || !self.waits()? {
            return Ok(true);
        }
        self.collection = marking(&self.volume, &self.ingests);
        (self.version, self.passes) = (version, self.passes + 1);
        Ok(false)
    }

    /// Whether there is a blob in the query that no root has reached yet.
    fn waits(&mut self) -> Result<bool> {
        while let Some(digest) = self.unknown.last() {
            if self.number(digest).is_none() && self.volume.stat_blob(digest)?.is_some() {
                return Ok(true);
            }
            self.unknown.pop();
        }
        Ok(false)
    }

    /// Keep the reasons that this pass has found.
    fn keep(&mut self) {
        let marking = &self.collection.sweep.marking;
        for digest in &self.digests {
            let Some(number) = self.number(digest).filter(|_| !self.kept.contains_key(digest)) else { continue };
            let (root, chain) = marking.marks.chain(number);
            let chain = chain.into_iter().map(|number| marking.marks.digest(number)).collect();
            let root = root.and_then(|root| marking.roots.as_ref()?.get(root as usize).cloned());
            self.kept.insert(*digest, (root, chain));
        }
        let kept = &self.kept;
        self.unknown.retain(|digest| !kept.contains_key(digest));
    }

    /// The number of a blob that a root has reached. Its first reason is final, except for a flat lease, which counts only if there is no other
    /// reason.
    fn number(&self, digest: &Digest) -> Option<usize> {
        let marks = &self.collection.sweep.marking.marks;
        let is_final = |number| marks.keep_of_named(number).is_some() || self.collection.is_marked();
        marks.listed_number(digest).filter(|number| !marks.is_garbage(*number) && is_final(*number))
    }

    /// Return the reasons of those blobs that are stored.
    pub fn reasons(&self) -> Result<Vec<Reason>> {
        let known = self.volume.meta.known(&self.digests, true, usize::MAX)?;
        let mut reasons = Vec::new();
        for (digest, known) in self.digests.iter().zip(known) {
            let Some(stat) = self.volume.stat_blob(digest)? else { continue };
            let (root, chain) = self.kept.get(digest).cloned().unwrap_or_default();
            let since = known.note.filter(|note| root.is_none() && super::look::is_of(note, &stat));
            let since_ns = since.map(|note| note.wall_ns);
            reasons.push(Reason { digest: *digest, root, chain, since_ns });
        }
        Ok(reasons)
    }
}
