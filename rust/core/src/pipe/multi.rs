//! Several algorithms in one pass over the bytes.

use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{HASHING, Job, Pipeline};
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::hash::{Hasher, state};
use crate::sys::{Sys, read_full_at, write_all_at};
use crate::threads::{join, start_in};

/// From this size on, algorithms are shared among threads.
const SHARED: usize = 256 << 10;

/// The number of bytes that each algorithm hashes in turn: the second algorithm finds them in the processor's cache.
const CHUNK: usize = 64 << 10;

/// Computes the digests of one sequence of bytes by several algorithms.
#[derive(Clone, Debug)]
pub struct MultiHasher {
    /// At least one hasher; the algorithms differ, the offsets are the same.
    hashers: Vec<Hasher>,
}

impl MultiHasher {
    /// Make a hasher for these algorithms: at least one, none twice.
    pub fn new(algorithms: &[Algorithm]) -> Result<Self> {
        Self::checked(algorithms.iter().copied().map(Hasher::new).collect())
    }

    fn checked(hashers: Vec<Hasher>) -> Result<Self> {
        let wrong = |message: String| Err(Error::InvalidArgument { message });
        if hashers.is_empty() {
            return wrong("a hasher needs at least one algorithm".to_owned());
        }
        for (index, hasher) in hashers.iter().enumerate() {
            if hashers[..index].iter().any(|other| other.algorithm() == hasher.algorithm()) {
                return wrong(format!("a hasher takes {} once", hasher.algorithm()));
            }
        }
        Ok(Self { hashers })
    }

    /// The algorithms, in the order they were given.
    pub fn algorithms(&self) -> impl ExactSizeIterator<Item = Algorithm> {
        self.hashers.iter().map(Hasher::algorithm)
    }

    /// The bytes seen so far.
    pub fn offset(&self) -> u64 {
        self.hashers[0].offset()
    }

    /// Hash further bytes. If there are many, several algorithms run on as many threads as processors are free.
    pub fn update(&mut self, data: &[u8]) {
        if let [only] = self.hashers.as_mut_slice() {
            return only.update(data);
        }
        if data.len() >= SHARED {
            return self.update_at_once(data);
        }
        for piece in data.chunks(CHUNK) {
            for hasher in &mut self.hashers {
                hasher.update(piece);
            }
        }
    }

    /// Run each algorithm on its own thread while threads are available, the slowest first, and the others on this thread.
    fn update_at_once(&mut self, data: &[u8]) {
        let _user = HASHING.enter();
        let mut slowest: Vec<&mut Hasher> = self.hashers.iter_mut().collect();
        slowest.sort_by_key(|hasher| hasher.algorithm().slowness());
        // Each hasher has its own slot, where it remains if its thread could not be started.
        let waiting: Vec<_> = slowest.into_iter().map(Mutex::new).collect();
        thread::scope(|scope| {
            let (mut here, mut threads) = (&waiting[..], Vec::new());
            while let [rest @ .., hasher] = here
                && !rest.is_empty()
                && let Some(lent) = HASHING.lend()
            {
                let started = start_in(scope, "steelyard-hash", move || {
                    let _lent = lent;
                    hasher.lock().unwrap_or_else(PoisonError::into_inner).update(data);
                });
                let Ok(thread) = started else { break };
                threads.push(thread);
                here = rest;
            }
            let mut here: Vec<_> =
                here.iter().map(|hasher| hasher.lock().unwrap_or_else(PoisonError::into_inner)).collect();
            for piece in data.chunks(CHUNK) {
                for hasher in &mut here {
                    hasher.update(piece);
                }
            }
            drop(here);
            threads.into_iter().for_each(join);
        });
    }

    /// Hash at most `most` bytes of a file from `offset` on. Returns their number: fewer if the file ends or the job is cancelled.
    ///
    /// The file is read in parallel with hashing. After an error (`Source`), the bytes before it have been hashed.
    pub fn update_from(
        &mut self,
        sys: &dyn Sys,
        file: BorrowedFd<'_>,
        offset: u64,
        most: u64,
        job: &Job,
    ) -> Result<u64> {
        self.take_from(sys, (file, offset), most, job, |_, _| Ok(()))
    }

    /// Copy at most `most` bytes from a file and offset to another, and hash exactly the written bytes. Returns their number: fewer
    /// if the source ends or the job is cancelled.
    ///
    /// Reading, writing and hashing run in parallel, and the disk starts writing meanwhile; nothing is made durable. After an error
    /// (`Source` if the source cannot be read) an unknown part is written.
    pub fn copy_from(
        &mut self,
        sys: &dyn Sys,
        source: (BorrowedFd<'_>, u64),
        (target, target_start): (BorrowedFd<'_>, u64),
        most: u64,
        job: &Job,
    ) -> Result<u64> {
        self.take_from(sys, source, most, job, |bytes, done| {
            write_all_at(sys, target, bytes, target_start + done).at("write", || "copy")?;
            // A hint: without it, the later sync only takes longer.
            let _ = sys.start_writeback(target, target_start + done, bytes.len() as u64);
            Ok(())
        })
    }

    /// Hash bytes of a file. Each buffer is also passed to `use_bytes`, with the number of bytes before it.
    fn take_from(
        &mut self,
        sys: &dyn Sys,
        (source, start): (BorrowedFd<'_>, u64),
        most: u64,
        job: &Job,
        mut use_bytes: impl FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<u64> {
        let _user = HASHING.enter();
        sys.expect_sequential(source);
        self.update_by(most, |room, done| {
            if job.is_cancelled() {
                return Ok(0);
            }
            let read = read_full_at(sys, source, room, start + done);
            let read = read.map_err(|error| Error::Source { errno: error.raw_os_error().unwrap_or(libc::EIO) })?;
            use_bytes(&room[..read], done)?;
            job.add(read as u64);
            Ok(read)
        })
    }

    /// Hash the bytes that `read` puts into buffers, until it does not fill one.
    pub(crate) fn update_by(&mut self, most: u64, read: impl FnMut(&mut [u8], u64) -> Result<usize>) -> Result<u64> {
        let before = self.offset();
        let pipeline = Pipeline::many(self.hashers.clone());
        let done = pipeline.fill(most, read);
        self.set_hashers(pipeline.finish());
        let done = done?;
        assert_eq!(before + done, self.offset(), "a hash has panicked");
        Ok(done)
    }

    /// The hasher of each algorithm, in their order.
    pub(crate) fn hashers(&self) -> &[Hasher] {
        &self.hashers
    }

    /// Set hashers that `hashers` returned and that have hashed the same further bytes since.
    pub(crate) fn set_hashers(&mut self, hashers: Vec<Hasher>) {
        debug_assert!(hashers.iter().map(Hasher::algorithm).eq(self.algorithms()));
        self.hashers = hashers;
    }

    /// The digests of the bytes seen so far, in the algorithms' order.
    pub fn digests(&self) -> Vec<Digest> {
        self.hashers.iter().map(Hasher::digest).collect()
    }

    /// Save the state at exactly the present offset: a byte with the number of algorithms, then a frame for each.
    ///
    /// Fails with `FailedPrecondition` when an algorithm cannot be saved there; see [`Hasher::save`].
    pub fn save(&self) -> Result<Vec<u8>> {
        // Without the count, a state that is cut between two frames would look like a state of fewer algorithms.
        let mut bytes = vec![self.count()];
        for hasher in &self.hashers {
            let saved = hasher.save();
            if saved.offset != hasher.offset() {
                return Err(Error::FailedPrecondition {
                    message: format!(
                        "the state of {} can be taken at offset 0 and at multiples of 1 MiB from 2 MiB on, not at {}",
                        hasher.algorithm(),
                        hasher.offset()
                    ),
                });
            }
            bytes.extend_from_slice(&saved.bytes);
        }
        Ok(bytes)
    }

    /// Make a hasher from a state that [`MultiHasher::save`] gave; `InvalidArgument` for anything else.
    pub fn restore(bytes: &[u8]) -> Result<Self> {
        let mut hashers: Vec<Hasher> = Vec::new();
        let Some((count, mut rest)) = bytes.split_first() else {
            return Err(state::garbage("too short"));
        };
        loop {
            let (frame, after) = state::decode(rest)?;
            if hashers.first().is_some_and(|first| first.offset() != frame.offset) {
                return Err(state::garbage("its parts are of different offsets"));
            }
            hashers.push(Hasher::from_frame(&frame)?);
            rest = after;
            if rest.is_empty() {
                let hasher = Self::checked(hashers)?;
                return if hasher.count() == *count { Ok(hasher) } else { Err(state::garbage("a part is missing")) };
            }
        }
    }

    fn count(&self) -> u8 {
        u8::try_from(self.hashers.len()).expect("there are four algorithms, and none comes twice")
    }
}
