//! Rounds: many callers, one flush.
//!
//! A disk takes as long to flush one small file as a hundred. So who has written a file and needs it durable joins a
//! round. The first to come leads: it takes all that are waiting at that moment, flushes and publishes their files
//! together, and tells each what became of its own. Meanwhile the next gather, and whoever is first of them leads when a
//! round ends. A caller who is alone waits for nobody. `group_commit/schedule.rs` decides that, and is tried in every interleaving.

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

/// The most rounds at a time: while one waits for the disk, the names of another's files are given.
const MOST: usize = 2;

/// Bytes above which a unit is flushed by itself.
const LARGE: u64 = 4 << 20;

/// What became of the files of one caller, in their order.
pub(crate) type Answer = Vec<Result<Published>>;

/// How a round went for one caller.
enum Went {
    /// It is done.
    Done(Answer),
    /// Not all of its files have names: another process holds a lock. The caller waits by itself and joins another round.
    Busy(Unit),
}

/// The files of one algorithm with which one caller joins.
pub(crate) struct Unit {
    algorithm: Algorithm,
    files: Vec<File>,
    /// The place of the first of its files among all that were opened; taken after that and before it was written.
    order: u64,
    /// How many bytes are to be flushed.
    bytes: u64,
    /// What became of its files before it joined, if anything.
    before: Option<Vec<Step>>,
}

/// A file that is to be made durable.
pub(crate) enum File {
    /// One to be published.
    New(New),
    /// A stored blob that equals what the caller wanted to store; nobody knows whether it survives a power loss.
    Stored(Fd),
}

/// A file to be published.
pub(crate) struct New {
    /// The bytes.
    pub temp: Temp,
    /// What they have.
    pub digest: Digest,
    /// How many they are.
    pub size: u64,
    /// For a new blob only.
    pub labels: Option<Labels>,
    /// When it was created at the earliest, in ns since the epoch.
    pub created_ns: i64,
}

/// How far a file has come.
#[derive(Clone)]
struct Step {
    flushed: Result<()>,
    /// What became of its name, once that is settled.
    placed: Option<Result<Placed>>,
}

/// How far each file has come when another process holds a lock.
struct Halfway(Vec<Step>);

/// The rounds of one store.
pub(crate) struct Rounds {
    schedule: Schedule<Unit, Went>,
    opened: AtomicU64,
}

impl Default for Rounds {
    fn default() -> Self {
        Self { schedule: Schedule::new(MOST), opened: AtomicU64::new(0) }
    }
}

impl Unit {
    /// Make one without files.
    pub fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, files: Vec::new(), order: 0, bytes: 0, before: None }
    }

    /// How many files it has.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether it has no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Say that a file was opened which will be added; before anything is written to it.
    pub fn opened(&mut self, rounds: &Rounds) {
        if self.files.is_empty() {
            self.order = rounds.opened.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A blob is created when it gets its name.
    fn came_again(&mut self, now_ns: i64) {
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

impl Rounds {
    /// Publish the files of a unit, together with others'. On return what was published survives a power loss.
    ///
    /// `Cancelled` if the caller no longer wants it while another process holds a lock. `before_waiting` is called before each
    /// pause for such a process.
    pub fn join(&self, volume: &Volume, mut unit: Unit, mut before_waiting: impl FnMut()) -> Answer {
        let count = unit.len();
        if count == 0 {
            return Vec::new();
        }
        if let Err(error) = flush_large(volume, &mut unit) {
            return vec![Err(error); count];
        }
        let mut patience = Patience::new();
        loop {
            match self.schedule.join(unit, |units| run_round(volume, units)) {
                Some(Went::Done(answer)) => return answer,
                Some(Went::Busy(back)) => unit = back,
                None => {
                    let path = Some(volume.path().to_owned());
                    return vec![Err(Error::Io { errno: libc::EIO, path, operation: "flush" }); count];
                }
            }
            before_waiting();
            if let Err(error) = patience.pause() {
                return vec![Err(error); count];
            }
            unit.came_again(volume.sys.now_ns());
        }
    }
}

fn run_round(volume: &Volume, units: &mut Vec<Unit>) -> Vec<Went> {
    let mut answers: Vec<Option<Answer>> = units.iter().map(|_| None).collect();
    for algorithm in Algorithm::ALL {
        let group: Vec<usize> = (0..units.len()).filter(|index| units[*index].algorithm == algorithm).collect();
        let these: Vec<&Unit> = group.iter().map(|index| &units[*index]).collect();
        match publish_units(volume, algorithm, &these) {
            Ok(told) => {
                let mut told = told.into_iter();
                for index in group {
                    answers[index] = Some(told.by_ref().take(units[index].len()).collect());
                }
            }
            Err(Halfway(steps)) => {
                let mut steps = steps.into_iter();
                for index in group {
                    units[index].before = Some(steps.by_ref().take(units[index].len()).collect());
                }
            }
        }
    }
    if answers.iter().all(Option::is_some) {
        // The units are dropped later, which takes time.
        return answers.into_iter().flatten().map(Went::Done).collect();
    }
    let units = mem::take(units).into_iter().zip(answers);
    units.map(|(unit, answer)| answer.map_or(Went::Busy(unit), Went::Done)).collect()
}

/// Flush files, give them their names, make those durable. An error says that another process holds a lock.
fn publish_units(volume: &Volume, algorithm: Algorithm, units: &[&Unit]) -> Result<Answer, Halfway> {
    let files: Vec<&File> = units.iter().flat_map(|unit| &unit.files).collect();
    // Whoever opened its first file first did so before any of these was written. Not one that has been flushed: its
    // descriptor was told then what it cannot tell again.
    let first = units.iter().min_by_key(|unit| (unit.before.is_some(), unit.order));
    let Some(oldest) = first.map(|unit| unit.files[0].fd()) else {
        return Ok(Vec::new());
    };
    let dir = match volume.check_open().and_then(|()| volume.root.make_blob_dir(algorithm)) {
        Ok(dir) => dir,
        Err(error) => return Ok(vec![Err(error); files.len()]),
    };
    let unflushed = units.iter().filter(|unit| unit.before.is_none()).flat_map(|unit| &unit.files);
    let mut now = volume.flush(&dir, &unflushed.map(File::fd).collect::<Vec<_>>(), oldest).into_iter();
    let steps = units.iter().flat_map(|unit| match &unit.before {
        Some(before) => before.clone(),
        None => now.by_ref().take(unit.len()).map(Step::flushed).collect(),
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
    let existed = Placed { published: Published::Existed, durable: false };
    let placed = files.iter().zip(steps).map(|(file, step)| match file {
        File::New(_) => step.flushed.and_then(|()| step.placed.expect("every candidate has its result")),
        File::Stored(_) => step.flushed.map(|()| existed),
    });
    let placed = placed.collect();
    let files: Vec<_> = files.iter().map(|file| file.fd()).collect();
    Ok(volume.acknowledge(&dir, placed, &files, Some(oldest)))
}

/// Make a large unit's bytes durable before it joins: else the small ones in its round would wait for it.
fn flush_large(volume: &Volume, unit: &mut Unit) -> Result<()> {
    if unit.bytes > LARGE {
        let dir = volume.root.make_blob_dir(unit.algorithm)?;
        let fds: Vec<_> = unit.files.iter().map(File::fd).collect();
        unit.before = Some(volume.flush(&dir, &fds, fds[0]).into_iter().map(Step::flushed).collect());
    }
    Ok(())
}
