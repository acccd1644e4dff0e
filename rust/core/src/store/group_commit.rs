//! Group commit: many callers, one flush.
//!
//! A disk flushes a hundred small files as fast as one. So a caller that has written files submits an entry. The first caller
//! leads a group: it takes all entries that wait at that moment, flushes and publishes their files together, and notifies each
//! caller of its own results. Entries that are submitted meanwhile wait, and the first of their callers leads the next group. A
//! single caller does not wait. `group_commit/schedule.rs` decides which caller leads; a model checker tests every interleaving
//! of it.

#[cfg(test)]
mod model;
mod schedule;
mod sync;
#[cfg(test)]
mod tests;

use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::{Algorithm, Digest};
use crate::error::{Error, Result};
use crate::model::Labels;
use crate::sys::Fd;
use crate::volume::{Candidate, Placed, Published, Temp, Volume};
use crate::waiting::Patience;
use schedule::Schedule;

/// The most groups at a time: while one waits for the disk, another gives its files their names.
const MOST: usize = 2;

/// A larger entry is flushed by itself.
const LARGE: u64 = 4 << 20;

/// The results of the files of one caller, in their order.
pub(crate) type Answer = Vec<Result<Published>>;

/// The outcome of one caller's entry.
enum Went {
    /// All of the entry is done.
    Done(Answer),
    /// Not all of its files have names: another process holds a lock. The caller waits by itself and submits it again.
    Busy(Entry),
}

/// The files of one algorithm that one caller submits.
pub(crate) struct Entry {
    algorithm: Algorithm,
    files: Vec<File>,
    /// The position of its first file in the order of opening; taken after the file was opened and before it was written.
    order: u64,
    /// The bytes to be flushed.
    bytes: u64,
    /// The steps that were done for its files before it was submitted, if any.
    before: Option<Vec<Step>>,
}

/// A file that is to be made durable.
pub(crate) enum File {
    /// One to be published.
    New(New),
    /// A stored blob that equals what the caller wanted to store; it is not known whether it survives a power loss.
    Stored(Fd),
}

/// A file to be published.
pub(crate) struct New {
    /// The bytes.
    pub temp: Temp,
    /// Their digest.
    pub digest: Digest,
    /// Their size in bytes.
    pub size: u64,
    /// For a new blob only.
    pub labels: Option<Labels>,
    /// The earliest time of its creation, in ns since the epoch.
    pub created_ns: i64,
}

/// The steps that are done for a file.
#[derive(Clone)]
struct Step {
    flushed: Result<()>,
    /// The result of giving the file its name, once it is final.
    placed: Option<Result<Placed>>,
}

/// The steps that are done for each file when another process holds a lock.
struct Halfway(Vec<Step>);

/// The group commit of one store.
pub(crate) struct GroupCommit {
    schedule: Schedule<Entry, Went>,
    opened: AtomicU64,
}

impl Default for GroupCommit {
    fn default() -> Self {
        Self { schedule: Schedule::new(MOST), opened: AtomicU64::new(0) }
    }
}

impl Entry {
    /// Make an entry without files.
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, files: Vec::new(), order: 0, bytes: 0, before: None }
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether it has no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Record that a file was opened that will be added. Call it before anything is written to the file.
    pub fn opened(&mut self, group_commit: &GroupCommit) {
        if self.files.is_empty() {
            self.order = group_commit.opened.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Set the earliest creation time again for another attempt: a blob is created when it gets its name.
    fn submitted_again(&mut self, now_ns: i64) {
        for file in &mut self.files {
            if let File::New(new) = file {
                new.created_ns = new.created_ns.max(now_ns);
            }
        }
    }

    /// Add a file.
    pub fn add(&mut self, file: File) {
        if let File::New(new) = &file {
            self.bytes += new.size;
        }
        self.files.push(file);
    }
}

impl Step {
    fn flushed(flushed: Result<()>) -> Self {
        Self { flushed, placed: None }
    }
}

impl File {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::New(new) => new.temp.fd(),
            Self::Stored(file) => file.as_fd(),
        }
    }

    fn candidate(&self) -> Option<Candidate<'_>> {
        let Self::New(New { temp, digest, size, labels, created_ns }) = self else {
            return None;
        };
        let (staged, labels) = (temp.staged(), labels.as_ref());
        Some(Candidate { staged, digest: *digest, size: *size, labels, created_ns: *created_ns })
    }
}

impl GroupCommit {
    /// Publish the files of an entry, together with those of other entries. On return the published files survive a power loss.
    ///
    /// Fails with `Cancelled` if another process holds a lock and the caller no longer wants the result. `before_waiting` is called
    /// before each pause for such a process.
    pub fn submit(&self, volume: &Volume, mut entry: Entry, mut before_waiting: impl FnMut()) -> Answer {
        let count = entry.len();
        if count == 0 {
            return Vec::new();
        }
        if let Err(error) = flush_large(volume, &mut entry) {
            return vec![Err(error); count];
        }
        let mut patience = Patience::new();
        loop {
            match self.schedule.submit(entry, |entries| commit_group(volume, entries)) {
                Some(Went::Done(answer)) => return answer,
                Some(Went::Busy(back)) => entry = back,
                None => {
                    let path = Some(volume.path().to_owned());
                    return vec![Err(Error::Io { errno: libc::EIO, path, operation: "flush" }); count];
                }
            }
            before_waiting();
            if let Err(error) = patience.pause() {
                return vec![Err(error); count];
            }
            entry.submitted_again(volume.sys.now_ns());
        }
    }
}

fn commit_group(volume: &Volume, entries: &mut Vec<Entry>) -> Vec<Went> {
    let mut answers: Vec<Option<Answer>> = entries.iter().map(|_| None).collect();
    for algorithm in Algorithm::ALL {
        let group: Vec<usize> = (0..entries.len()).filter(|index| entries[*index].algorithm == algorithm).collect();
        let these: Vec<&Entry> = group.iter().map(|index| &entries[*index]).collect();
        match publish_entries(volume, algorithm, &these) {
            Ok(answered) => {
                let mut answered = answered.into_iter();
                for index in group {
                    answers[index] = Some(answered.by_ref().take(entries[index].len()).collect());
                }
            }
            Err(Halfway(steps)) => {
                let mut steps = steps.into_iter();
                for index in group {
                    entries[index].before = Some(steps.by_ref().take(entries[index].len()).collect());
                }
            }
        }
    }
    if answers.iter().all(Option::is_some) {
        // The entries are dropped later, which takes time.
        return answers.into_iter().flatten().map(Went::Done).collect();
    }
    let entries = mem::take(entries).into_iter().zip(answers);
    entries.map(|(entry, answer)| answer.map_or(Went::Busy(entry), Went::Done)).collect()
}

/// Flush files, give them their names, and make the names durable. An error says that another process holds a lock.
fn publish_entries(volume: &Volume, algorithm: Algorithm, entries: &[&Entry]) -> Result<Answer, Halfway> {
    let files: Vec<&File> = entries.iter().flat_map(|entry| &entry.files).collect();
    // The entry whose first file was opened first: it was opened before any of these files was written. Entries that have been
    // flushed already are not used, because a descriptor reports each failure only once.
    let first = entries.iter().min_by_key(|entry| (entry.before.is_some(), entry.order));
    let Some(oldest) = first.map(|entry| entry.files[0].fd()) else {
        return Ok(Vec::new());
    };
    let dir = match volume.check_open().and_then(|()| volume.root.make_blob_dir(algorithm)) {
        Ok(dir) => dir,
        Err(error) => return Ok(vec![Err(error); files.len()]),
    };
    let unflushed = entries.iter().filter(|entry| entry.before.is_none()).flat_map(|entry| &entry.files);
    let mut now = volume.flush(&dir, &unflushed.map(File::fd).collect::<Vec<_>>(), oldest).into_iter();
    let steps = entries.iter().flat_map(|entry| match &entry.before {
        Some(before) => before.clone(),
        None => now.by_ref().take(entry.len()).map(Step::flushed).collect(),
    });
    let mut steps: Vec<Step> = steps.collect();
    let ready = files.iter().zip(&mut steps).filter(|(_, step)| step.flushed.is_ok() && step.placed.is_none());
    let ready = ready.filter_map(|(file, step)| Some((file.candidate()?, &mut step.placed)));
    let (candidates, unsettled): (Vec<_>, Vec<_>) = ready.unzip();
    let mut is_busy = false;
    for (place, tried) in unsettled.into_iter().zip(volume.place_all(&dir, &candidates)) {
        *place = tried.ok();
        is_busy |= place.is_none();
    }
    if is_busy {
        return Err(Halfway(steps));
    }
    let existed = Placed::new(Published::Existed, false);
    let placed = files.iter().zip(steps).map(|(file, step)| match file {
        File::New(_) => step.flushed.and_then(|()| step.placed.expect("every candidate has its result")),
        File::Stored(_) => step.flushed.map(|()| existed.clone()),
    });
    let placed = placed.collect();
    let files: Vec<_> = files.iter().map(|file| file.fd()).collect();
    Ok(volume.acknowledge(&dir, placed, &files, Some(oldest)))
}

/// Make a large entry's bytes durable before it is submitted: the small entries of its group would wait for it.
fn flush_large(volume: &Volume, entry: &mut Entry) -> Result<()> {
    if entry.bytes > LARGE {
        let dir = volume.root.make_blob_dir(entry.algorithm)?;
        let fds: Vec<_> = entry.files.iter().map(File::fd).collect();
        entry.before = Some(volume.flush(&dir, &fds, fds[0]).into_iter().map(Step::flushed).collect());
    }
    Ok(())
}
