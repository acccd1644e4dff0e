//! Listing blobs, ordered by digest.
//!
//! The names come from the directories, because the files are the truth; all else comes from the rows, because a look at
//! every file costs ten times as much. A blob without a row is looked at, and its row is remembered for the next walk.
//! A filter that asks for labels takes the names from the label index instead, and looks whether their files are there.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::digest::{Algorithm, Digest};
use crate::error::{At, Result};
use crate::filter::Filter;
use crate::labels::plain;
use crate::meta::{MOST_PAIRS, Row};
use crate::model::Info;
use crate::store::Store;
use crate::sys::FileKind;

/// The most blobs that one step looks at.
const BATCH: usize = 1024;

/// A walk under way. Blobs that come or go meanwhile may be seen or not; all others are seen once.
pub struct Walk {
    store: Arc<Store>,
    filter: Filter,
    unverified_before: Option<i64>,
    source: Source,
    found: VecDeque<Info>,
}

/// Where the next blobs come from.
enum Source {
    /// The label index, after that digest.
    Labels(Vec<(String, String)>, Option<Digest>),
    /// The directories: what is left of one, and those that come after it.
    Names(Names, Vec<Algorithm>),
}

impl Store {
    /// Begin a walk over the blobs that match the filter and, with `unverified_before`, were not verified since then.
    pub fn walk(self: &Arc<Self>, filter: &Filter, unverified_before: Option<i64>) -> Result<Walk> {
        self.check_open()?;
        let pairs = filter.indexed_label().filter(|pairs| (1..=MOST_PAIRS).contains(&pairs.len()));
        let source = match pairs {
            Some(pairs) => Source::Labels(pairs, None),
            None => Source::Names(Names::default(), Algorithm::ALL.into_iter().rev().collect()),
        };
        Ok(Walk { store: Arc::clone(self), filter: filter.clone(), unverified_before, source, found: VecDeque::new() })
    }
}

impl Walk {
    /// Return the next matching blobs, at least one and at most `most` (but at least 1); none at the end.
    pub fn next(&mut self, most: usize) -> Result<Vec<Info>> {
        self.store.check_open()?;
        while self.found.is_empty() {
            let rows = self.step(most.clamp(64, BATCH))?;
            if self.filter.asks_for_labels() {
                // Also when the damage was met just now: a filter must not take a lost label for an absent one.
                self.store.meta.check_labels_readable()?;
            }
            let Some(rows) = rows else {
                break;
            };
            let fresh = |row: &Row| match (self.unverified_before, row.verified_ns) {
                (Some(before), Some(verified)) => verified < before,
                _ => true,
            };
            let infos = rows.into_iter().filter(fresh).map(|row| {
                let size = row.size;
                row.into_info(size)
            });
            self.found.extend(infos.filter(|info| self.filter.matches(info)));
        }
        let count = self.found.len().min(most.max(1));
        Ok(self.found.drain(..count).collect())
    }

    /// Return the rows of the next candidates, perhaps none; None at the end.
    fn step(&mut self, most: usize) -> Result<Option<Vec<Row>>> {
        match &mut self.source {
            Source::Labels(pairs, after) => {
                let mut rows = self.store.meta.labelled(pairs, after.as_ref(), most)?;
                let Some(last) = rows.last() else {
                    return Ok(None);
                };
                *after = Some(last.digest);
                let mut kept = Vec::with_capacity(rows.len());
                for mut row in rows.drain(..) {
                    if let Some(stat) = self.store.stat_blob(&row.digest)? {
                        row.size = stat.size;
                        kept.push(row);
                    }
                }
                Ok(Some(kept))
            }
            Source::Names(names, rest) => loop {
                let digests = names.take(most);
                if !digests.is_empty() {
                    return rows_of(&self.store, &digests).map(Some);
                }
                let Some(algorithm) = rest.pop() else {
                    return Ok(None);
                };
                *names = Names::list(&self.store, algorithm)?;
            },
        }
    }
}

/// Return the rows of blobs that were listed, in their order; those that have vanished since may be left out.
fn rows_of(store: &Store, digests: &[Digest]) -> Result<Vec<Row>> {
    let (Some(first), Some(last)) = (digests.first(), digests.last()) else {
        return Ok(Vec::new());
    };
    let mut known = store.meta.range(first, last)?.into_iter().peekable();
    let mut rows = Vec::with_capacity(digests.len());
    let mut missing = Vec::new();
    for digest in digests {
        // Rows between the names belong to blobs that are gone.
        while known.next_if(|row| row.digest < *digest).is_some() {}
        if let Some(row) = known.next_if(|row| row.digest == *digest) {
            rows.push(row);
        } else if let Some(stat) = store.stat_blob(digest)? {
            missing.push(plain(digest, &stat));
            rows.push(plain(digest, &stat));
        }
    }
    store.meta.remember(&missing);
    Ok(rows)
}

/// The blobs' names in one directory, in order: their hashes only, which is all that a walk holds of a store.
#[derive(Default)]
pub(crate) struct Names {
    algorithm: Option<Algorithm>,
    hashes: Vec<u8>,
    next: usize,
}

impl Names {
    /// List the blobs of an algorithm. Whatever else is in the directory is passed over.
    pub(crate) fn list(store: &Store, algorithm: Algorithm) -> Result<Self> {
        let mut hashes = Vec::new();
        if let Some(dir) = store.root.blob_dir(algorithm)? {
            let prefix = format!("{algorithm}:");
            let mut text = String::new();
            let visited = store.sys.visit(dir.fd(), &mut |name, kind| {
                if kind != FileKind::File {
                    return;
                }
                text.clone_from(&prefix);
                text.push_str(name);
                if let Ok(digest) = Digest::parse(&text) {
                    hashes.extend_from_slice(digest.as_bytes());
                }
            });
            visited.at("list", || dir.path())?;
        }
        sort(&mut hashes, algorithm.digest_size());
        Ok(Self { algorithm: Some(algorithm), hashes, next: 0 })
    }

    /// Return the next names, at most `most`; none at the end.
    fn take(&mut self, most: usize) -> Vec<Digest> {
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

/// Sort hashes of that size, which stand one after the other.
fn sort(hashes: &mut [u8], size: usize) {
    match size {
        32 => hashes.as_chunks_mut::<32>().0.sort_unstable(),
        48 => hashes.as_chunks_mut::<48>().0.sort_unstable(),
        _ => {
            debug_assert_eq!(size, 64, "the sizes of all algorithms are listed");
            hashes.as_chunks_mut::<64>().0.sort_unstable();
        }
    }
}
