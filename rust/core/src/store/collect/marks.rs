//! The marks of a collection on the blobs that it has reached: little more than a byte for each stored blob.

use std::collections::HashMap;
use std::mem;

use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::volume::{Lister, Names, Root};

/// The reason why a blob stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// An image name keeps it.
    Image = 1,
    /// A label `gc.root` keeps it.
    Label = 2,
    /// A lease keeps it.
    Lease = 3,
    /// An ingest expects it.
    Ingest = 4,
    /// No root keeps it, but this collection does not remove it.
    Spared = 5,
}

/// The bits of a mark that say why the blob stays.
const KEEP: u8 = 7;
/// A flat lease keeps it: the blob stays, but does not keep the blobs that it names.
const FLAT: u8 = 8;
/// Its note is as old as the grace time.
const OLD: u8 = 16;
/// It is no longer stored.
const GONE: u8 = 32;
/// A flat lease keeps it, and the blobs that it names are spared.
const SPARES: u8 = 64;
/// A root kept it in an earlier pass of a dry run.
const WAS_KEPT: u8 = 128;

/// The number of blobs that are compared at once.
const COMPARED: usize = 2048;

/// The blobs by their numbers: first the listed ones in order, then others that were reached.
#[derive(Default)]
pub(super) struct Marks {
    tables: Vec<(usize, Names)>,
    listed: usize,
    bytes: Vec<u8>,
    others: HashMap<Digest, usize>,
    unlisted: Vec<Digest>,
    /// The blobs that are still to be followed, and whether each must be a document.
    queue: Vec<(usize, bool)>,
    /// The origin of each blob, if origins are needed.
    origins: Option<Vec<Origin>>,
}

/// The root or blob from which a blob was reached, by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Origin {
    #[default]
    Nothing,
    Root(u32),
    Blob(u32),
}

/// The listing of a root, in progress.
#[derive(Default)]
pub(super) struct Lists {
    tables: Vec<(usize, Names)>,
    listed: usize,
    lister: Option<Lister>,
}

impl Lists {
    /// Do the next part. After the last one, returns the blobs, all unmarked.
    pub fn step(&mut self, root: &Root, with_origins: bool) -> Result<Option<Marks>> {
        let Some(algorithm) = Algorithm::ALL.get(self.tables.len()) else {
            let (tables, listed) = (mem::take(&mut self.tables), self.listed);
            let origins = with_origins.then(|| vec![Origin::Nothing; listed]);
            return Ok(Some(Marks { tables, listed, bytes: vec![0; listed], origins, ..Marks::default() }));
        };
        let lister = match &mut self.lister {
            Some(lister) => lister,
            None => self.lister.insert(Lister::begin(root, *algorithm)?),
        };
        if let Some(names) = lister.step(root.sys().as_ref())? {
            let count = names.count();
            self.tables.push((self.listed, names));
            self.listed += count;
            self.lister = None;
        }
        Ok(None)
    }
}

impl Marks {
    /// The number of listed blobs: they have the numbers below this.
    pub fn listed(&self) -> usize {
        self.listed
    }

    /// The number of a listed blob.
    pub fn listed_number(&self, digest: &Digest) -> Option<usize> {
        self.tables.iter().find_map(|(first, names)| names.place_of(digest).map(|place| first + place))
    }

    /// The number of a blob that was listed, or that was reached without being listed.
    pub fn known_number(&self, digest: &Digest) -> Option<usize> {
        self.listed_number(digest).or_else(|| self.others.get(digest).copied())
    }

    /// The number of a blob, listed or not.
    fn number_of(&mut self, digest: &Digest) -> usize {
        if let Some(number) = self.listed_number(digest) {
            return number;
        }
        let next = self.bytes.len();
        *self.others.entry(*digest).or_insert_with(|| {
            self.bytes.push(0);
            if let Some(origins) = &mut self.origins {
                origins.push(Origin::Nothing);
            }
            self.unlisted.push(*digest);
            next
        })
    }

    /// The digest of the blob with a number.
    pub fn digest(&self, number: usize) -> Digest {
        if let Some(digest) = number.checked_sub(self.listed).map(|place| self.unlisted[place]) {
            return digest;
        }
        let table = self.tables.iter().rev().find(|(first, names)| *first <= number && names.count() > 0);
        let digest = table.and_then(|(first, names)| names.at(number - first));
        digest.unwrap_or_else(|| unreachable!("each number below the count of the listed blobs has a name"))
    }

    /// The reason why a blob stays; `None` if no root has reached it and nothing spares it.
    pub fn keep(&self, number: usize) -> Option<Keep> {
        match self.bytes[number] & KEEP {
            1 => Some(Keep::Image),
            2 => Some(Keep::Label),
            3 => Some(Keep::Lease),
            4 => Some(Keep::Ingest),
            5 => Some(Keep::Spared),
            _ => None,
        }
    }

    /// The reason why this blob keeps the blobs that it names; `None` if it does not keep them, as under a flat lease.
    pub fn keep_of_named(&self, number: usize) -> Option<Keep> {
        match self.bytes[number] & (FLAT | SPARES) {
            0 => self.keep(number),
            FLAT => None,
            _ => Some(Keep::Spared),
        }
    }

    /// Whether no root keeps it.
    pub fn is_garbage(&self, number: usize) -> bool {
        matches!(self.keep(number), None | Some(Keep::Spared))
    }

    /// Whether it may be condemned now.
    pub fn may_go(&self, number: usize) -> bool {
        self.bytes[number] & (KEEP | OLD | GONE) == OLD
    }

    /// Whether a dry run reports that it would be removed.
    pub fn would_go(&self, number: usize) -> bool {
        self.may_go(number) && self.bytes[number] & WAS_KEPT == 0
    }

    /// Mark those of the next blobs, from number `next` on, that a root kept in the earlier pass. Returns where to continue; `None` at the end.
    pub fn compare(&mut self, earlier: &Self, next: usize) -> Option<usize> {
        let end = self.listed.min(next + COMPARED);
        for number in next..end {
            let before = earlier.listed_number(&self.digest(number));
            if before.is_some_and(|before| !earlier.is_garbage(before) || earlier.bytes[before] & WAS_KEPT != 0) {
                self.bytes[number] |= WAS_KEPT;
            }
        }
        (end < self.listed).then_some(end)
    }

    pub fn set_old(&mut self, number: usize) {
        self.bytes[number] |= OLD;
    }

    pub fn set_gone(&mut self, number: usize) {
        self.bytes[number] |= GONE;
    }

    pub fn is_gone(&self, number: usize) -> bool {
        self.bytes[number] & GONE != 0
    }

    /// Keep a blob and, with `follow`, the blobs that it names. The first reason counts, with two exceptions: a root replaces
    /// [`Keep::Spared`], and a root that is followed replaces one that is not, because the named blobs would otherwise be reported as kept
    /// by a flat lease.
    pub fn reach(&mut self, digest: &Digest, why: Keep, from: Origin, is_document: bool, follow: bool) {
        let number = self.number_of(digest);
        let before = self.bytes[number];
        let is_better = match self.keep(number) {
            None => true,
            Some(Keep::Spared) => why != Keep::Spared,
            Some(_) => before & FLAT != 0 && follow && why != Keep::Spared,
        };
        let is_followed = if is_better {
            let flat = if follow { 0 } else { FLAT };
            self.bytes[number] = before & !(KEEP | FLAT | SPARES) | why as u8 | flat;
            if let Some(origins) = &mut self.origins {
                origins[number] = from;
            }
            follow
        } else {
            // The blob stays because of the lease. The blobs that it names are garbage, and stay for now.
            let is_followed = follow && before & (FLAT | SPARES) == FLAT;
            if is_followed {
                self.bytes[number] |= SPARES;
            }
            is_followed
        };
        if is_followed {
            self.queue.push((number, is_document));
        }
    }

    /// Take at most `most` blobs that are still to be followed, and whether each must be a document.
    pub fn take(&mut self, most: usize) -> Vec<(usize, bool)> {
        self.queue.split_off(self.queue.len().saturating_sub(most))
    }

    /// Put back blobs that were taken, to be followed later.
    pub fn put_back(&mut self, left: Vec<(usize, bool)>) {
        self.queue.extend(left);
    }

    /// Whether there is nothing to be followed.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty()
    }

    /// The chain from the blob that a root names to this one, and the number of that root.
    pub fn chain(&self, number: usize) -> (Option<u32>, Vec<usize>) {
        let mut chain = vec![number];
        let origins = self.origins.as_deref().unwrap_or_default();
        // Each blob was reached after its parent, so the chain ends.
        loop {
            match origins.get(chain[chain.len() - 1]) {
                Some(Origin::Blob(parent)) => chain.push(*parent as usize),
                Some(Origin::Root(root)) => {
                    chain.reverse();
                    return (Some(*root), chain);
                }
                _ => return (None, Vec::new()),
            }
        }
    }
}

impl Origin {
    pub fn root(number: usize) -> Self {
        u32::try_from(number).map_or(Self::Nothing, Self::Root)
    }

    pub fn blob(number: usize) -> Self {
        u32::try_from(number).map_or(Self::Nothing, Self::Blob)
    }
}
