//! Many small blobs in one call: hashed in parallel, written, and flushed together.

mod load;
mod share;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::Store;
use super::group_commit::{Answer, Entry};
use super::put::{Put, check_digest};
use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::hash::lanes::digest_many;
use crate::model::{Labels, check_labels};
use crate::threads::low_priority::low_priority;
use crate::threads::start_in;
use crate::waiting::Patience;
use load::Loaded;
pub use load::Source;
use share::Share;

/// The fewest items that are worth another thread.
const FEWEST: usize = 64;

/// The most bytes of files that one part of a batch has in memory at a time, not counting its last item.
const MOST_READ: usize = 8 << 20;

/// The most bytes that one part of a batch flushes at a time, not counting its last item.
const MOST_BYTES: usize = 32 << 20;

/// One blob of a batch.
#[derive(Clone, Debug)]
pub struct BatchItem<'a> {
    /// Its bytes.
    pub source: Source<'a>,
    /// The algorithm of its digest.
    pub algorithm: Algorithm,
    /// The digest that it must have.
    pub expected: Option<Digest>,
    /// The size that it must have.
    pub size: Option<u64>,
    /// For a new blob only.
    pub labels: Option<&'a Labels>,
}

/// The outcome of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored(Put),
    /// Nothing was done: the file is above its limit, or is not a regular file. The caller stores it by an ingest.
    TooLarge,
}

impl Outcome {
    /// Correct the result of an item that was submitted again: a first result that was an error or a new blob is kept.
    fn repeat(first: &Result<Self>, result: &mut Result<Self>) {
        match (first, &mut *result) {
            (Err(error), _) => *result = Err(error.clone()),
            (Ok(Self::Stored(first)), Ok(Self::Stored(put))) => put.new |= first.new,
            _ => {}
        }
    }
}

/// A batch in progress.
struct Batch<'a> {
    store: &'a Store,
    /// The lease under which the blobs are stored.
    lease: Option<&'a str>,
    items: &'a [BatchItem<'a>],
    /// The number of items that one thread takes at a time.
    step: usize,
    next: AtomicUsize,
    /// For each digest the item that stores it: the first item with that digest.
    owners: Mutex<HashMap<Digest, usize>>,
    answers: Mutex<Vec<Option<Given>>>,
}

/// The result of one item.
#[derive(Clone, Debug)]
enum Given {
    /// Its own.
    Result(Result<Outcome>),
    /// That of another item, which has the same bytes.
    As(usize, Put),
}

impl Store {
    /// Store many blobs. Each succeeds or fails by itself; on return the successful ones survive a power loss.
    ///
    /// If a flush fails, all its items fail. Of several items with the same bytes one is stored, with its labels; the others get
    /// its result, and are not new.
    pub fn put_batch(&self, items: &[BatchItem<'_>]) -> Vec<Result<Outcome>> {
        self.put_batch_under(None, items)
    }

    /// Like `put_batch`, under a lease. Each part adds its blobs to the lease in one transaction, before it looks for them.
    pub fn put_batch_under(&self, lease: Option<&str>, items: &[BatchItem<'_>]) -> Vec<Result<Outcome>> {
        if let [BatchItem { source: Source::Bytes(data), algorithm, expected, size: None, labels }] = items {
            // The short path, for which no thread is started.
            return vec![self.put_under(lease, data, *algorithm, expected.as_ref(), *labels).map(Outcome::Stored)];
        }
        if let Err(error) = self.volume.check_writable() {
            return vec![Err(error); items.len()];
        }
        let mut first: Option<Vec<Result<Outcome>>> = None;
        let put_all = || {
            let mut results = self.put_all(lease, items);
            first.iter().flatten().zip(&mut results).for_each(|(first, result)| Outcome::repeat(first, result));
            first = Some(results.clone());
            Ok(results)
        };
        self.volume.in_time(lease, put_all).unwrap_or_else(|error| vec![Err(error); items.len()])
    }

    fn put_all(&self, lease: Option<&str>, items: &[BatchItem<'_>]) -> Vec<Result<Outcome>> {
        // While one thread waits for the disk, another reads, hashes and writes. Only one at a time gives files their names.
        let threads = thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4));
        let step = items.len().div_ceil(threads).max(FEWEST).min(share::most_files());
        let batch = Batch {
            store: self,
            lease,
            items,
            step,
            next: AtomicUsize::new(0),
            owners: Mutex::default(),
            answers: Mutex::new(vec![None; items.len()]),
        };
        let work = || {
            thread::scope(|scope| {
                for _ in 1..items.len().div_ceil(step).min(threads) {
                    // If no more threads can be started, the caller's thread does all the work.
                    start_in(scope, "steelyard-work", || batch.work()).ok();
                }
                batch.work();
            });
        };
        match items.len() {
            ..FEWEST => work(),
            FEWEST.. => low_priority(work),
        }
        batch.finish()
    }
}

impl Batch<'_> {
    fn work(&self) {
        loop {
            let start = self.next.fetch_add(self.step, Ordering::Relaxed);
            let end = self.items.len().min(start.saturating_add(self.step));
            if start >= end {
                return;
            }
            let mut rest = start..end;
            let mut share = Share::take(end - start).ok();
            if share.is_none() {
                (start..end).for_each(|index| self.give(index, Given::Result(Err(Error::Cancelled))));
                continue;
            }
            while !rest.is_empty() {
                for (_, loaded) in self.load(&mut rest) {
                    self.store(loaded, &mut share);
                }
            }
        }
    }

    /// Hash items of one algorithm, and store those that have the expected size and digest.
    fn store(&self, loaded: Vec<Loaded<'_>>, share: &mut Option<Share>) {
        let Some(first) = loaded.first() else {
            return;
        };
        let algorithm = self.items[first.index].algorithm;
        let digests = digest_many(algorithm, &loaded.iter().map(|item| item.data.as_ref()).collect::<Vec<_>>());
        let created_ns = self.store.volume.sys.now_ns();
        let (mut entry, mut submitted) = (Entry::new(algorithm), Vec::new());
        for (Loaded { index, data }, digest) in self.protected(loaded, digests, share) {
            let put = Put { digest, size: data.len() as u64, new: false };
            if let Some(owner) = self.owner(digest, index) {
                self.give(index, Given::As(owner, put));
                continue;
            }
            let labels = self.items[index].labels;
            let mut staged = self.store.stage(&mut entry, digest, &data, labels, created_ns, true);
            if !entry.is_empty() && staged.as_ref().is_err_and(out_of_descriptors) {
                // Other parts of the program need descriptors too. Publishing the files so far frees some.
                self.submit(mem::replace(&mut entry, Entry::new(algorithm)), &mut submitted, share);
                staged = self.store.stage(&mut entry, digest, &data, labels, created_ns, true);
            }
            match staged {
                Ok(true) => submitted.push((index, put)),
                Ok(false) => self.give(index, Given::Result(Ok(Outcome::Stored(put)))),
                Err(error) => self.give(index, Given::Result(Err(error))),
            }
        }
        self.submit(entry, &mut submitted, share);
    }

    /// Refuse the items that do not have their expected digest, protect the others in one transaction, and return those.
    ///
    /// During a wait for another process the share is given back, so that other stores can continue.
    fn protected<'b>(
        &self,
        loaded: Vec<Loaded<'b>>,
        digests: Vec<Digest>,
        share: &mut Option<Share>,
    ) -> Vec<(Loaded<'b>, Digest)> {
        let mut right = Vec::with_capacity(loaded.len());
        for (item, digest) in loaded.into_iter().zip(digests) {
            match check_digest(&item.data, &digest, self.items[item.index].expected.as_ref()) {
                Ok(()) => right.push((item, digest)),
                Err(error) => self.give(item.index, Given::Result(Err(error))),
            }
        }
        let digests: Vec<Digest> = right.iter().map(|(_, digest)| *digest).collect();
        let protected = Patience::until(|| {
            let protected = self.store.volume.try_protect(self.lease, &digests)?;
            if protected.is_none() {
                *share = None;
            }
            Ok(protected)
        });
        if let Err(error) = protected {
            right.drain(..).for_each(|(item, _)| self.give(item.index, Given::Result(Err(error.clone()))));
        }
        right
    }

    /// Publish the files of an entry, which belong to the items in `submitted`, and keep their results.
    ///
    /// During a wait for another process the share is given back, so that other stores can continue.
    fn submit(&self, entry: Entry, submitted: &mut Vec<(usize, Put)>, share: &mut Option<Share>) {
        let answer: Answer = self.store.group_commit.submit(&self.store.volume, entry, || *share = None);
        for ((index, put), published) in submitted.drain(..).zip(answer) {
            let result = published.map(|published| Outcome::Stored(put.published(published)));
            self.give(index, Given::Result(result));
        }
    }

    /// Return the item that stores the same bytes, if it is another one.
    fn owner(&self, digest: Digest, index: usize) -> Option<usize> {
        match self.owners.lock().unwrap_or_else(PoisonError::into_inner).entry(digest) {
            hash_map::Entry::Occupied(owner) => Some(*owner.get()),
            hash_map::Entry::Vacant(free) => {
                free.insert(index);
                None
            }
        }
    }

    fn give(&self, index: usize, given: Given) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(given);
    }

    /// Return the results, in the order of the items.
    fn finish(self) -> Vec<Result<Outcome>> {
        let given = self.answers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let lost =
            || Err(Error::Io { errno: libc::EIO, path: Some(self.store.volume.path().to_owned()), operation: "put" });
        let result = |one: &Option<Given>| match one {
            Some(Given::Result(result)) => result.clone(),
            Some(Given::As(owner, put)) => match &given[*owner] {
                Some(Given::Result(Err(error))) => Err(error.clone()),
                Some(Given::Result(Ok(_))) => Ok(Outcome::Stored(*put)),
                Some(Given::As(..)) | None => lost(),
            },
            None => lost(),
        };
        given.iter().map(result).collect()
    }

    /// Load the next items, as many as fit into memory, grouped by algorithm.
    fn load(&self, rest: &mut Range<usize>) -> HashMap<Algorithm, Vec<Loaded<'_>>> {
        let mut loaded: HashMap<_, Vec<_>> = HashMap::new();
        let (mut bytes, mut read) = (0, 0);
        while bytes < MOST_BYTES
            && read < MOST_READ
            && let Some(index) = rest.next()
        {
            match self.load_one(index) {
                Ok(Some(item)) => {
                    bytes += item.data.len();
                    read += if matches!(item.data, Cow::Owned(_)) { item.data.len() } else { 0 };
                    loaded.entry(self.items[index].algorithm).or_default().push(item);
                }
                Ok(None) => self.give(index, Given::Result(Ok(Outcome::TooLarge))),
                Err(error) => self.give(index, Given::Result(Err(error))),
            }
        }
        loaded
    }

    fn load_one(&self, index: usize) -> Result<Option<Loaded<'_>>> {
        let item = &self.items[index];
        item.labels.map_or(Ok(()), check_labels)?;
        let Some(data) = load::bytes(self.store.volume.sys.as_ref(), &item.source)? else {
            return Ok(None);
        };
        let actual = data.len() as u64;
        match item.size {
            Some(expected) if expected != actual => Err(Error::UnexpectedSize { expected, actual, name: None }),
            _ => Ok(Some(Loaded { index, data })),
        }
    }
}

fn out_of_descriptors(error: &Error) -> bool {
    matches!(error, Error::Io { errno: libc::EMFILE | libc::ENFILE, .. })
}
