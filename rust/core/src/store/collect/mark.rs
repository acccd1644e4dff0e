//! Marking: the blobs that roots keep, and the blobs that these name.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use super::documents::{self, Content};
use super::marks::{Keep, Marks, Origin};
use super::names::{MOST_NAMED, Names};
use super::pending::{Pending, Yielding};
use super::slice::Slice;
use crate::archive::json::{Reference, Role};
use crate::digest::Digest;
use crate::error::Result;
use crate::format::metadata::{GC_EXPIRE, GC_FLAT, GC_ROOT};
use crate::model::Labels;
use crate::rfc3339;
use crate::store::ingest::Ingests;
use crate::volume::Volume;
use crate::volume::boot_clock::BootClock;
use crate::volume::meta::{Known, LeaseRow};

/// The most rows that one query returns.
const PAGE: usize = 256;

/// The most blobs that are looked up in one query.
const BATCH: usize = 32;

/// A larger document is only read at the beginning of a step: a document of some hundred KiB takes 3 ms.
const SMALL_DOCUMENT: u64 = 64 << 10;

/// The most warnings that are kept.
const MOST_WARNINGS: usize = 100;

/// A root: a cause that keeps a blob by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootName {
    /// Its kind.
    pub kind: Keep,
    /// The image name, the digest of the labelled blob, the ID of the lease, or the ref of the ingest.
    pub name: String,
    /// The time at which it ends by itself.
    pub until_ns: Option<i64>,
}

/// The source of the next roots.
#[derive(Debug)]
pub(super) enum Roots {
    /// Image names after this one.
    Images(String),
    /// Labels `gc.root` after this value and digest.
    Labels((String, String)),
    /// The leases that are still to be read, and the last blob that was read of the last of them. Flat leases are read later.
    Leases(Vec<LeaseRow>, String),
    /// The ingests, and the flat leases that are read after them.
    Ingests(Vec<LeaseRow>),
    /// Flat leases, in the same form as other leases. They count only for blobs that nothing else keeps.
    FlatLeases(Vec<LeaseRow>, String),
}

/// A blob whose names are being followed.
pub(super) struct Following {
    number: usize,
    why: Keep,
    names: Names,
}

/// The marks, and the state of marking.
pub(super) struct Marking {
    pub volume: Arc<Volume>,
    pub ingests: Arc<Ingests>,
    pub marks: Marks,
    /// For each subject, the documents that refer to it and that no root had reached when they were read.
    pub referrers: HashMap<Digest, Vec<Digest>>,
    /// The roots by their numbers, if they are needed.
    pub roots: Option<Vec<RootName>>,
    pub warnings: Vec<String>,
    /// The refs of ingests that are discarded.
    pub abandoned: HashSet<String>,
    /// The number of blobs that were followed or looked at.
    pub visited: u64,
    /// The clock against which the wall clock is checked.
    pub clock: Option<BootClock>,
    /// The rows to write; `None` if nothing may be written.
    pub pending: Option<Pending>,
    pub yielding: Yielding,
    /// A blob that names more blobs than are followed at once.
    pub following: Option<Following>,
    /// A reached blob that is a large document, and whether it must be one. The next step reads it first.
    pub large: Option<(usize, bool)>,
}

impl Marking {
    pub fn new(volume: Arc<Volume>, ingests: Arc<Ingests>, pending: Option<Pending>) -> Self {
        Self {
            volume,
            ingests,
            marks: Marks::default(),
            referrers: HashMap::new(),
            roots: None,
            warnings: Vec::new(),
            abandoned: HashSet::new(),
            visited: 0,
            clock: None,
            pending,
            yielding: Yielding::default(),
            following: None,
            large: None,
        }
    }

    /// Return the state for another pass over the same store, for a dry run.
    pub fn again(&mut self) -> Self {
        let mut again = Self::new(Arc::clone(&self.volume), Arc::clone(&self.ingests), None);
        (again.warnings, again.visited) = (mem::take(&mut self.warnings), self.visited);
        again
    }

    /// Reach the blobs of the next roots, which are followed later. Returns whether there may be more roots.
    pub fn reach_roots(&mut self, roots: &mut Roots) -> Result<bool> {
        match roots {
            Roots::Images(after) => {
                let images = self.volume.meta.images_after(after, PAGE)?;
                let Some(last) = images.last() else {
                    *roots = Roots::Labels(Default::default());
                    return Ok(true);
                };
                after.clone_from(&last.name);
                for image in images {
                    let until_ns = self.expiry(&image.labels, || format!("image name {}", image.name));
                    if !self.has_passed(until_ns) {
                        let is_document =
                            image.target.media_type.as_deref().is_some_and(crate::archive::json::is_document);
                        let root = RootName { kind: Keep::Image, name: image.name, until_ns };
                        self.reach_root(&[image.target.digest], root, is_document, true);
                    }
                }
            }
            Roots::Labels(after) => {
                let found = self.volume.meta.roots_after(after, PAGE)?;
                let Some((value, digest, _)) = found.last() else {
                    *roots = Roots::Leases(self.live_leases()?, String::new());
                    return Ok(true);
                };
                *after = (value.clone(), digest.to_string());
                for (value, digest, labels) in found {
                    if value.is_empty() || !labels.contains_key(GC_ROOT) {
                        continue;
                    }
                    let until_ns = self.expiry(&labels, || format!("blob {digest}"));
                    if !self.has_passed(until_ns) {
                        let root = RootName { kind: Keep::Label, name: digest.to_string(), until_ns };
                        self.reach_root(&[digest], root, false, true);
                    }
                }
            }
            Roots::Leases(live, after) => {
                if !self.reach_leased(live, after, false)? {
                    *roots = Roots::Ingests(mem::take(live));
                }
            }
            Roots::Ingests(flat) => {
                for status in self.ingests.statuses()? {
                    if let Some(digest) = status.expected.filter(|_| !self.abandoned.contains(&status.ref_)) {
                        let root = RootName { kind: Keep::Ingest, name: status.ref_, until_ns: None };
                        self.reach_root(&[digest], root, false, true);
                    }
                }
                *roots = Roots::FlatLeases(mem::take(flat), String::new());
            }
            Roots::FlatLeases(live, after) => return self.reach_leased(live, after, true),
        }
        Ok(true)
    }

    /// Reach the next blobs of the last lease in the list. Returns false if the list has no more leases of the kind `is_flat`.
    fn reach_leased(&mut self, live: &mut Vec<LeaseRow>, after: &mut String, is_flat: bool) -> Result<bool> {
        let Some(LeaseRow { lease, .. }) = live.last().filter(|row| self::is_flat(row) == is_flat) else {
            return Ok(false);
        };
        let found = self.volume.meta.leased_after(&lease.id, after, PAGE)?;
        let (name, until_ns) = (lease.id.clone(), lease.expires_ns);
        if let Some(last) = found.last() {
            *after = last.to_string();
        } else {
            live.pop();
            after.clear();
        }
        self.reach_root(&found, RootName { kind: Keep::Lease, name, until_ns }, false, !is_flat);
        Ok(true)
    }

    /// The leases that have not ended. Flat leases come first in the list and so are read last: a blob that another root reaches is
    /// then not counted as kept by a flat lease alone.
    pub(super) fn live_leases(&self) -> Result<Vec<LeaseRow>> {
        let mut live = Vec::new();
        for row in self.volume.meta.leases()? {
            if self.volume.end_of(&row)?.is_none() {
                live.push(row);
            }
        }
        live.sort_by_key(|row| !is_flat(row));
        Ok(live)
    }

    fn reach_root(&mut self, digests: &[Digest], root: RootName, is_document: bool, follow: bool) {
        let kind = root.kind;
        let from = self.roots.as_mut().map_or(Origin::Nothing, |roots| {
            roots.push(root);
            Origin::root(roots.len() - 1)
        });
        for digest in digests {
            self.marks.reach(digest, kind, from, is_document, follow);
        }
    }

    /// The time in a label `gc.expire`. A text that is not a time never expires.
    fn expiry(&mut self, labels: &Labels, what: impl FnOnce() -> String) -> Option<i64> {
        let text = labels.get(GC_EXPIRE)?;
        let time = rfc3339::parse(text);
        if time.is_none() {
            self.warn(|| format!("{}: label {GC_EXPIRE}: not a time, so it does not expire: {text:?}", what()));
        }
        time.map(|ns| i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Whether a time has passed by the wall clock and, as far as it is known, by the clock since the boot.
    fn has_passed(&self, time_ns: Option<i64>) -> bool {
        let sys = self.volume.sys.as_ref();
        let now_ns = || self.clock.as_ref().map_or_else(|| sys.now_ns(), |clock| clock.time_at_least(sys));
        time_ns.is_some_and(|time_ns| time_ns <= now_ns())
    }

    /// Whether all blobs that were reached have been followed.
    pub fn is_settled(&self) -> bool {
        self.following.is_none() && self.large.is_none() && self.marks.is_settled()
    }

    /// Follow the next reached blobs. Returns false if the next one takes long to read, and must wait for the next step.
    pub fn settle(&mut self, slice: &Slice<'_>) -> Result<bool> {
        if self.following.is_some() {
            return self.follow_on().map(|()| true);
        }
        let (taken, most) = match self.large.take_if(|_| !slice.has_begun()) {
            Some(large) => (vec![large], u64::MAX),
            None if self.large.is_some() => return Ok(false),
            None => (self.marks.take(BATCH), SMALL_DOCUMENT),
        };
        let digests: Vec<Digest> = taken.iter().map(|(number, _)| self.marks.digest(*number)).collect();
        let known = self.volume.meta.known(&digests, false, MOST_NAMED)?;
        // Put back the blobs that are not followed now.
        let mut left = taken[known.len()..].to_vec();
        for (((number, is_document), digest), known) in taken.into_iter().zip(digests).zip(known) {
            if self.large.is_some() || self.following.is_some() || self.has_many_pending() {
                left.push((number, is_document));
                continue;
            }
            let Some(names) = self.names_of(&digest, known, is_document, most)? else {
                self.large = Some((number, is_document));
                continue;
            };
            self.visited += 1;
            let why = self.marks.keep_of_named(number).unwrap_or(Keep::Spared);
            self.following = Some(Following { number, why, names });
            self.follow_on()?;
            for referrer in self.referrers.remove(&digest).unwrap_or_default() {
                self.marks.reach(&referrer, why, Origin::blob(number), true, true);
            }
        }
        self.marks.put_back(left);
        Ok(self.large.is_none())
    }

    /// Reach the next blobs that the blob in `following` names.
    fn follow_on(&mut self) -> Result<()> {
        let Some(Following { number, why, names }) = &mut self.following else { return Ok(()) };
        for Reference { digest, role } in names.next.by_ref().take(MOST_NAMED) {
            self.marks.reach(&digest, *why, Origin::blob(*number), role != Role::Part, true);
        }
        if names.next.len() > 0 {
            return Ok(());
        }
        let document = self.marks.digest(*number);
        if !names.read_on(&self.volume.meta, &document)? {
            self.following = None;
        }
        Ok(())
    }

    /// The blobs that a blob names, by its labels and as a document. `None` for a document of more than `most` bytes that must still
    /// be read.
    pub fn names_of(&mut self, digest: &Digest, known: Known, is_document: bool, most: u64) -> Result<Option<Names>> {
        let mut names = Vec::new();
        let is_cut = known.is_cut;
        for (key, text) in known.labels {
            match Digest::parse(&text) {
                Ok(digest) => names.push(Reference { digest, role: Role::Part }),
                Err(_) => {
                    self.warn(|| format!("blob {digest}: label {key}: not a digest, so it keeps nothing: {text:?}"));
                }
            }
        }
        match known.document {
            Some(Some(references)) => names.extend(references),
            Some(None) if !is_document => {}
            Some(None) => self.warn(|| malformed(digest)),
            None => match self.read(digest, is_document, most)? {
                Some(references) => names.extend(references),
                None => return Ok(None),
            },
        }
        // The blobs that a document names come last.
        let last = names.last().filter(|_| is_cut).copied();
        Ok(Some(Names::new(names, last)))
    }

    /// Read a blob as a document, and queue its references to be stored. `None` if it has more than `most` bytes.
    fn read(&mut self, digest: &Digest, is_document: bool, most: u64) -> Result<Option<Vec<Reference>>> {
        let references = match documents::read(&self.volume, digest, is_document, most)? {
            Content::Later => return Ok(None),
            // A missing document is not recorded, because it may be stored later.
            Content::Absent | Content::Leaf => return Ok(Some(Vec::new())),
            Content::Malformed if is_document => {
                self.warn(|| malformed(digest));
                None
            }
            Content::Malformed => None,
            Content::Document(references) => Some(references),
        };
        let invalid = references.as_ref().map_or(0, |references| references.invalid);
        if invalid > 0 {
            self.warn(|| format!("blob {digest}: invalid digests that keep nothing: {invalid}"));
        }
        let blobs = references.as_ref().map_or_else(Vec::new, |references| references.blobs.clone());
        if let Some(pending) = &mut self.pending {
            pending.add_document(*digest, references);
        }
        Ok(Some(blobs))
    }

    pub fn warn(&mut self, text: impl FnOnce() -> String) {
        if self.warnings.len() < MOST_WARNINGS {
            let text = text();
            if !self.warnings.contains(&text) {
                self.warnings.push(text);
            }
        }
    }

    /// Whether enough rows wait to be written.
    pub fn has_many_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(Pending::are_many)
    }

    /// Whether all rows have been written.
    pub fn is_recorded(&self) -> bool {
        self.pending.as_ref().is_none_or(Pending::is_empty)
    }

    /// Write the next waiting rows. Returns false, without writing, while another process writes or waits to write.
    pub fn record(&mut self) -> Result<bool> {
        let Some(pending) = &mut self.pending else { return Ok(true) };
        Ok(!self.yielding.must_pause(&self.volume.meta) && pending.write(&self.volume)?)
    }
}

/// Whether a lease keeps only its blobs, but not the blobs that they name.
fn is_flat(row: &LeaseRow) -> bool {
    row.lease.labels.contains_key(GC_FLAT)
}

fn malformed(digest: &Digest) -> String {
    format!("blob {digest}: should be a document, and is not JSON; it names nothing")
}
