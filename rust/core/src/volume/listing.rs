//! The names in one directory of blobs.
//!
//! Listing a large directory takes most of the time of a walk. Each added or removed name changes the time of the directory, so
//! a listing can be used again until that time changes. The files still decide which blobs exist.

use std::cmp::Ordering;
use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::blob_dir::{BlobDir, before};
use super::kept::Listing;
use super::root::Root;
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Result};
use crate::sorting::Sorting;
use crate::sys::{Fd, FileKind, Sys};

/// The most bytes of names that a store keeps for a directory: enough for half a million blobs with digests of 32 bytes.
const MOST_KEPT: usize = 16 << 20;

/// After this many tries a search assumes that the hashes are not evenly spread.
const TRIES: usize = 8;

/// The blobs' names in one directory, in order. Only their hashes are kept, so a walk holds nothing else of the store in memory.
#[derive(Default)]
pub(crate) struct Names {
    algorithm: Option<Algorithm>,
    hashes: Arc<Vec<u8>>,
    next: usize,
}

impl Names {
    /// List the blobs of an algorithm. Other names in the directory are skipped.
    pub(crate) fn list(root: &Root, algorithm: Algorithm) -> Result<Self> {
        let mut lister = Lister::begin(root, algorithm)?;
        loop {
            if let Some(names) = lister.step(root.sys().as_ref())? {
                return Ok(names);
            }
        }
    }

    /// Return the blobs of an algorithm, if they were listed before and nothing has changed since.
    pub(crate) fn kept(root: &Root, algorithm: Algorithm) -> Result<Option<Self>> {
        let Some(dir) = root.blob_dir(algorithm)? else {
            return Ok(Some(Self::default()));
        };
        let hashes = dir.names().get(changed(root.sys().as_ref(), &dir)?);
        Ok(hashes.map(|hashes| Self::of(algorithm, hashes)))
    }

    fn of(algorithm: Algorithm, hashes: Arc<Vec<u8>>) -> Self {
        Self { algorithm: Some(algorithm), hashes, next: 0 }
    }

    /// Whether there is a blob of that name.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.place_of(digest).is_some()
    }

    /// The index of a name.
    pub(crate) fn place_of(&self, digest: &Digest) -> Option<usize> {
        let hash = digest.as_bytes();
        if self.algorithm != Some(digest.algorithm()) {
            return None;
        }
        match hash.len() {
            32 => search::<32>(&self.hashes, hash),
            48 => search::<48>(&self.hashes, hash),
            _ => search::<64>(&self.hashes, hash),
        }
    }

    /// The name at an index.
    pub(crate) fn at(&self, place: usize) -> Option<Digest> {
        let size = self.algorithm?.digest_size();
        let hash = self.hashes.get(place * size..(place + 1) * size)?;
        Some(Digest::new(self.algorithm?, hash))
    }

    /// The number of names.
    pub(crate) fn count(&self) -> usize {
        self.algorithm.map_or(0, |algorithm| self.hashes.len() / algorithm.digest_size())
    }

    /// Return the next names, at most `most`; an empty list at the end.
    pub(super) fn take(&mut self, most: usize) -> Vec<Digest> {
        let taken: Vec<_> = self.rest().take(most).collect();
        self.next += taken.len();
        taken
    }

    /// Return all names.
    pub(crate) fn all(&self) -> impl Iterator<Item = Digest> {
        self.rest()
    }

    fn rest(&self) -> impl Iterator<Item = Digest> {
        self.algorithm.into_iter().flat_map(|algorithm| {
            let hashes = self.hashes.chunks_exact(algorithm.digest_size()).skip(self.next);
            hashes.map(move |hash| Digest::new(algorithm, hash))
        })
    }
}

/// A listing in progress. Each part takes a fraction of a millisecond.
pub(crate) enum Lister {
    /// All names are known.
    Known(Names),
    /// The names are being read, and then sorted.
    Reading(Reading),
}

/// The names that were read so far.
pub(crate) struct Reading {
    algorithm: Algorithm,
    dir: Arc<BlobDir>,
    changed_ns: i64,
    /// Whether each later change of the directory has a later time.
    is_settled: bool,
    /// The directory, opened for this.
    entries: Fd,
    hashes: Vec<u8>,
    /// `None` while names are being read.
    sorting: Option<Sorting>,
}

impl Lister {
    /// Begin to list the blobs of an algorithm. A blob that is added or removed meanwhile may be listed or not; all others are listed.
    pub(crate) fn begin(root: &Root, algorithm: Algorithm) -> Result<Self> {
        let Some(dir) = root.blob_dir(algorithm)? else {
            return Ok(Self::Known(Names::default()));
        };
        // The time is read before the names, so that a change meanwhile is noticed.
        let sys = root.sys().as_ref();
        let changed_ns = changed(sys, &dir)?;
        if let Some(hashes) = dir.names().get(changed_ns) {
            return Ok(Self::Known(Names::of(algorithm, hashes)));
        }
        let is_settled = before(changed_ns, sys.now_ns());
        let entries = sys.reopen_dir(dir.fd()).at("list", || dir.path())?;
        let (hashes, sorting) = (Vec::new(), None);
        Ok(Self::Reading(Reading { algorithm, dir, changed_ns, is_settled, entries, hashes, sorting }))
    }

    /// Do the next part. After the last one, returns all names.
    pub(crate) fn step(&mut self, sys: &dyn Sys) -> Result<Option<Names>> {
        let reading = match self {
            Self::Known(names) => return Ok(Some(mem::take(names))),
            Self::Reading(reading) => reading,
        };
        let Some(sorting) = &mut reading.sorting else {
            if !reading.read(sys)? {
                reading.sorting = Some(Sorting::of(reading.hashes.len() / reading.algorithm.digest_size()));
            }
            return Ok(None);
        };
        if sort(sorting, &mut reading.hashes, reading.algorithm.digest_size()) {
            return Ok(None);
        }
        let (changed_ns, hashes) = (reading.changed_ns, Arc::new(mem::take(&mut reading.hashes)));
        let is_kept = reading.is_settled && hashes.len() <= MOST_KEPT;
        reading.dir.names().set(is_kept.then(|| Listing { changed_ns, hashes: hashes.clone() }));
        Ok(Some(Names::of(reading.algorithm, hashes)))
    }
}

impl Reading {
    /// Read the next names; false at the end.
    fn read(&mut self, sys: &dyn Sys) -> Result<bool> {
        let prefix = format!("{}:", self.algorithm);
        let mut text = String::new();
        let hashes = &mut self.hashes;
        let visited = sys.visit_next(self.entries.as_fd(), &mut |name, kind| {
            if kind != FileKind::File {
                return;
            }
            text.clone_from(&prefix);
            text.push_str(name);
            if let Ok(digest) = Digest::parse(&text) {
                hashes.extend_from_slice(digest.as_bytes());
            }
        });
        visited.at("list", || self.dir.path())
    }
}

/// Do the next part of the sort of consecutive hashes of `size` bytes. Returns false once they are sorted.
fn sort(sorting: &mut Sorting, hashes: &mut [u8], size: usize) -> bool {
    match size {
        32 => sorting.step(hashes.as_chunks_mut::<32>().0, Ord::cmp),
        48 => sorting.step(hashes.as_chunks_mut::<48>().0, Ord::cmp),
        _ => {
            debug_assert_eq!(size, 64, "the sizes of all algorithms are listed");
            sorting.step(hashes.as_chunks_mut::<64>().0, Ord::cmp)
        }
    }
}

fn changed(sys: &dyn Sys, dir: &BlobDir) -> Result<i64> {
    Ok(sys.stat(dir.fd()).at("stat", || dir.path())?.ctime_ns)
}

/// Find a hash among sorted hashes by interpolation search. Hashes are evenly spread, so each attempt looks at the expected position:
/// among a hundred thousand hashes, this reads three or four places in memory instead of seventeen.
fn search<const SIZE: usize>(hashes: &[u8], hash: &[u8]) -> Option<usize> {
    let hashes = hashes.as_chunks::<SIZE>().0;
    let (mut low, mut high) = (0, hashes.len());
    let (mut least, mut most) = (0, u64::MAX);
    let wanted = leading(hash);
    for _ in 0..TRIES {
        if low == high {
            return None;
        }
        let share = u128::from(wanted - least) * (high - low) as u128 / (u128::from(most - least) + 1);
        let at = low + usize::try_from(share).unwrap_or(0).min(high - low - 1);
        let known = &hashes[at];
        match known[..].cmp(hash) {
            Ordering::Equal => return Some(at),
            Ordering::Less => (low, least) = (at + 1, leading(known)),
            Ordering::Greater => (high, most) = (at, leading(known)),
        }
    }
    // The names are not evenly spread: they were chosen on purpose.
    hashes[low..high].binary_search_by(|known| known[..].cmp(hash)).ok().map(|at| low + at)
}

/// The first bytes of a hash as a number with the same order as the hashes.
fn leading(hash: &[u8]) -> u64 {
    hash.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Return hashes in order, the way a directory's are kept.
    fn kept(mut hashes: Vec<[u8; 32]>) -> Vec<u8> {
        hashes.sort_unstable();
        hashes.concat()
    }

    fn spread(count: u64) -> Vec<[u8; 32]> {
        // Any odd factor will do, because different numbers then give different products.
        (0..count)
            .map(|number| {
                std::array::from_fn(|at| {
                    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(u32::try_from(at).unwrap() * 8).to_be_bytes()
                        [0]
                })
            })
            .collect()
    }

    fn finds_each_and_no_other(hashes: &[[u8; 32]]) {
        let kept = kept(hashes.to_vec());
        for hash in hashes {
            assert_eq!(Some(&hash[..]), search::<32>(&kept, hash).and_then(|at| kept.chunks(32).nth(at)));
            for at in [0, 7, 8, 31] {
                let mut other = *hash;
                other[at] ^= 1;
                assert_eq!(hashes.contains(&other), search::<32>(&kept, &other).is_some());
            }
        }
        for edge in [[0; 32], [0xff; 32]] {
            assert_eq!(hashes.contains(&edge), search::<32>(&kept, &edge).is_some());
        }
    }

    #[test]
    fn a_search_finds_the_hashes_that_are_there() {
        for count in [0, 1, 2, 3, 500] {
            finds_each_and_no_other(&spread(count));
        }
    }

    #[test]
    fn a_search_finds_hashes_that_are_not_evenly_spread() {
        let mut close: Vec<[u8; 32]> = (0..200)
            .map(|last| {
                let mut hash = [7; 32];
                hash[31] = last;
                hash
            })
            .collect();
        close.extend([[0; 32], [0xff; 32]]);
        finds_each_and_no_other(&close);
    }
}
