//! Which blobs a collection has reached: a byte for each stored blob, and little more.

use std::collections::HashMap;
use std::mem;

use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::volume::{Lister, Names, Root};

/// Why a blob stays.
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

/// The part of a byte that says why the blob stays.
const KEEP: u8 = 7;
/// It stays, but what it names does not because of it.
const FLAT: u8 = 8;
/// Its note is as old as the grace time.
const OLD: u8 = 16;
/// It is no longer there.
const GONE: u8 = 32;

/// The blobs, by numbers: first those that were listed, in order, then others that were reached.
#[derive(Default)]
pub(super) struct Marks {
    tables: Vec<(usize, Names)>,
    listed: usize,
    bytes: Vec<u8>,
    others: HashMap<Digest, usize>,
    unlisted: Vec<Digest>,
    /// The blobs that are still to be followed, and whether each has to be a document.
    queue: Vec<(usize, bool)>,
    /// The origin of each, if that is asked for.
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

/// The listing of a root, under way.
#[derive(Default)]
pub(super) struct Lists {
    tables: Vec<(usize, Names)>,
    listed: usize,
    lister: Option<Lister>,
}

impl Lists {
    /// Do the next part, and return the blobs, all of them unmarked, after the last one.
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
    /// How many blobs were listed: the numbers below are theirs.
    pub fn listed(&self) -> usize {
        self.listed
    }

    /// The number of a blob that was listed.
    pub fn listed_number(&self, digest: &Digest) -> Option<usize> {
        self.tables.iter().find_map(|(first, names)| names.place_of(digest).map(|place| first + place))
    }

    /// The number of a blob that is listed, or was reached although it is not.
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

    /// The blob of a number.
    pub fn digest(&self, number: usize) -> Digest {
        if let Some(digest) = number.checked_sub(self.listed).map(|place| self.unlisted[place]) {
            return digest;
        }
        let table = self.tables.iter().rev().find(|(first, names)| *first <= number && names.count() > 0);
        let digest = table.and_then(|(first, names)| names.at(number - first));
        digest.unwrap_or_else(|| unreachable!("each number below the count of the listed blobs has a name"))
    }

    /// Why a blob stays; None if no root has reached it, and nothing spares it.
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

    /// Whether it is kept, and with it what it names.
    pub fn is_followed(&self, number: usize) -> bool {
        self.bytes[number] & KEEP != 0 && self.bytes[number] & FLAT == 0
    }

    /// Whether no root keeps it.
    pub fn is_garbage(&self, number: usize) -> bool {
        matches!(self.keep(number), None | Some(Keep::Spared))
    }

    /// Whether it may be condemned now.
    pub fn may_go(&self, number: usize) -> bool {
        self.bytes[number] & (KEEP | OLD | GONE) == OLD
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

    /// Keep a blob and, with `follow`, what it names. The first reason counts, but any root counts more than [`Keep::Spared`].
    pub fn reach(&mut self, digest: &Digest, why: Keep, from: Origin, is_document: bool, follow: bool) {
        let number = self.number_of(digest);
        let before = self.keep(number);
        let is_new = match before {
            None => true,
            Some(Keep::Spared) => why != Keep::Spared,
            Some(_) => false,
        };
        let mark = &mut self.bytes[number];
        if is_new {
            *mark = *mark & !KEEP | why as u8;
            if let Some(origins) = &mut self.origins {
                origins[number] = from;
            }
        }
        if follow && (is_new || *mark & FLAT != 0) {
            *mark &= !FLAT;
            self.queue.push((number, is_document));
        } else if is_new {
            *mark |= FLAT;
        }
    }

    /// Take at most `most` blobs that are still to be followed, and whether each has to be a document.
    pub fn take(&mut self, most: usize) -> Vec<(usize, bool)> {
        self.queue.split_off(self.queue.len().saturating_sub(most))
    }

    /// Have blobs that were taken followed later.
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
        // Each was reached after its parent, so the chain ends.
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
