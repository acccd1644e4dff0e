//! Listing blobs, ordered by digest.
//!
//! The names come from the directories, because only the files say that a blob exists; all other facts come from the rows, because
//! a look at every file costs ten times as much. A blob without a row is inspected, and its row is written for the next walk.
//! With a filter on labels, the names come from the label index instead, and their files are then checked.
//! The names of a directory are kept for as long as it does not change (`kept.rs`), and the next blobs are
//! prepared while the caller uses the last ones (`walk/ahead.rs`).

mod ahead;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::filter::Filter;
use crate::model::Info;
use crate::volume::Volume;
use crate::volume::labels::plain;
use crate::volume::listing::Names;
use crate::volume::meta::{MOST_PAIRS, Row};

pub use ahead::Ahead;

/// The most blobs that one step looks at.
const BATCH: usize = 1024;

/// The most blobs of one step if a match may take milliseconds, because a step cannot be cancelled.
const SLOW_BATCH: usize = 16;

/// A walk in progress. Blobs that are added or removed meanwhile may be seen or not; all others are seen once.
pub struct Walk {
    volume: Arc<Volume>,
    filter: Filter,
    unverified_before: Option<i64>,
    source: Source,
    found: VecDeque<Info>,
    /// Set when no caller waits for the next blobs any more.
    given_up: Arc<AtomicBool>,
}

/// The source of the next blobs.
enum Source {
    /// The label index, after this digest.
    Labels(Vec<(String, String)>, Option<Digest>),
    /// The directories: the remaining names of one, and the algorithms whose directories follow.
    Names(Names, Vec<Algorithm>),
}

impl Volume {
    /// Begin a walk over the blobs that match the filter and, with `unverified_before`, have not been verified since that time.
    pub fn walk(self: &Arc<Self>, filter: &Filter, unverified_before: Option<i64>) -> Result<Walk> {
        self.check_open()?;
        let pairs = filter.indexed_label().filter(|pairs| (1..=MOST_PAIRS).contains(&pairs.len()));
        let source = match pairs {
            Some(pairs) => Source::Labels(pairs, None),
            None => Source::Names(Names::default(), Algorithm::ALL.into_iter().rev().collect()),
        };
        let (volume, filter) = (Arc::clone(self), filter.clone());
        let (found, given_up) = (VecDeque::new(), Arc::default());
        Ok(Walk { volume, filter, unverified_before, source, found, given_up })
    }
}

impl Walk {
    /// Return the next matching blobs, at least one and at most `most`, which counts as at least 1. An empty list at the end.
    pub fn next(&mut self, most: usize) -> Result<Vec<Info>> {
        self.volume.check_open()?;
        while self.found.is_empty() && !self.given_up.load(Ordering::Relaxed) {
            let most = if self.filter.is_slow() { SLOW_BATCH } else { most.clamp(64, BATCH) };
            let rows = self.step(most)?;
            if self.filter.asks_for_labels() {
                // The check is repeated, because the damage may have been found just now: a filter must not treat a lost label as absent.
                self.volume.meta.check_labels_readable()?;
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

    /// Return the rows of the next candidates, possibly an empty list; `None` at the end.
    fn step(&mut self, most: usize) -> Result<Option<Vec<Row>>> {
        match &mut self.source {
            Source::Labels(pairs, after) => {
                let mut rows = self.volume.meta.labelled(pairs, after.as_ref(), most)?;
                let Some(last) = rows.last() else {
                    return Ok(None);
                };
                *after = Some(last.digest);
                keep_stored(&self.volume, &mut rows)?;
                Ok(Some(rows))
            }
            Source::Names(names, rest) => loop {
                let digests = names.take(most);
                if !digests.is_empty() {
                    return rows_of(&self.volume, &digests).map(Some);
                }
                let Some(algorithm) = rest.pop() else {
                    return Ok(None);
                };
                *names = Names::list(&self.volume.root, algorithm)?;
            },
        }
    }
}

/// Keep the rows whose blobs have a file. The check uses a kept listing of the directory if it is valid, and otherwise each file.
fn keep_stored(volume: &Volume, rows: &mut Vec<Row>) -> Result<()> {
    let mut listed: Option<(Algorithm, Option<Names>)> = None;
    let mut failure = None;
    rows.retain_mut(|row| {
        let algorithm = row.digest.algorithm();
        let stored = match &mut listed {
            Some((of, names)) if *of == algorithm => Ok(names),
            other => Names::kept(&volume.root, algorithm).map(|names| &mut other.insert((algorithm, names)).1),
        };
        let stored = stored.and_then(|names| match names {
            Some(names) => Ok(names.contains(&row.digest)),
            None => Ok(volume.stat_blob(&row.digest)?.map(|stat| row.size = stat.size).is_some()),
        });
        stored.unwrap_or_else(|error| {
            failure.get_or_insert(error);
            false
        })
    });
    failure.map_or(Ok(()), Err)
}

/// Return the rows of listed blobs, in their order. Blobs that have been removed since may be missing.
fn rows_of(volume: &Volume, digests: &[Digest]) -> Result<Vec<Row>> {
    let (Some(first), Some(last)) = (digests.first(), digests.last()) else {
        return Ok(Vec::new());
    };
    let mut known = volume.meta.range(first, last)?.into_iter().peekable();
    let mut rows = Vec::with_capacity(digests.len());
    let mut missing = Vec::new();
    for digest in digests {
        // Rows between the names belong to removed blobs.
        while known.next_if(|row| row.digest < *digest).is_some() {}
        if let Some(row) = known.next_if(|row| row.digest == *digest) {
            rows.push(row);
        } else if let Some(stat) = volume.stat_blob(digest)? {
            missing.push(plain(digest, &stat));
            rows.push(plain(digest, &stat));
        }
    }
    volume.meta.remember(&missing);
    Ok(rows)
}
