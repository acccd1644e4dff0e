//! Copies of whole files in one call: this thread reads and writes, others hash.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::Ingest;
use super::inner::Inner;
use crate::error::{Error, Result};
use crate::pipe::MultiHasher;
use crate::pipe::{HASHING, Job, PIECE, Piece, Pipeline};
use crate::sys::{Sys, read_full_at};
use crate::threads::low_priority::{WORTH, low_priority};
use crate::threads::{join, start_in};
use crate::volume::Volume;

/// Bytes after which the lock is released for other calls: `abort`, `status`, `close`.
const STEP: u64 = 8 << 20;

/// From this size on, another thread reads ahead. Fewer bytes are read by the thread that writes them.
const READ_AHEAD_FROM: u64 = 32 << 20;

/// The most pieces that are read ahead of the writes.
const READ_AHEAD_PIECES: usize = 2;

/// The part of a file that is read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// A file that can be read at any offset. Its own position does not change.
    pub file: BorrowedFd<'a>,
    /// The offset of the first byte to be read.
    pub from: u64,
    /// The most bytes to be read; fewer where the file ends.
    pub most: u64,
}

impl Ingest {
    /// Append bytes of a file. Returns their number: fewer than requested if the file ends or the job was cancelled.
    ///
    /// The hashed bytes are the written bytes, even if the source changes meanwhile. If the source cannot be read (`Source`), the
    /// ingest has the bytes before the failure; a failure of the store poisons the ingest, as in `write`.
    ///
    /// `also` gets the same bytes, for further digests. After an error it may have got any part of them.
    ///
    /// # Panics
    ///
    /// If a hash of `also` has panicked.
    pub fn copy_from(&self, source: Source<'_>, job: &Job, also: Option<&mut MultiHasher>) -> Result<u64> {
        let _copying = CopyGuard::enter(self)?;
        let _user = HASHING.enter();
        let copy = || match source.most {
            ..WORTH => self.copy_steps(source, job),
            WORTH.. => low_priority(|| self.copy_steps(source, job)),
        };
        let Some(also) = also else { return copy() };
        let others = also.hashers().to_vec();
        self.stream(|inner| {
            inner.hashing.pipeline.join(others);
            Ok(())
        })?;
        let before = also.offset();
        let result = copy();
        also.set_hashers(self.lock().hashing.pipeline.part());
        let done = result?;
        assert_eq!(before + done, also.offset(), "a hash has panicked");
        Ok(done)
    }

    fn copy_steps(&self, source: Source<'_>, job: &Job) -> Result<u64> {
        let pipeline = self.stream(|inner| Ok(inner.hashing.pipeline.clone()))?;
        let mut reading =
            Reading { sys: &*self.volume().sys, pipeline: &pipeline, source, job, done: 0, is_over: false };
        let lent = if source.most >= READ_AHEAD_FROM { HASHING.lend() } else { None };
        if lent.is_none() {
            return self.write_steps(job, &mut || reading.next());
        }
        // Reading and writing take longer than BLAKE3, so each has its own thread.
        let (is_stopped, reading) = (AtomicBool::new(false), Mutex::new(reading));
        let next = || reading.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::scope(|scope| {
            let (give, take) = sync_channel(READ_AHEAD_PIECES);
            let (is_stopped, next) = (&is_stopped, &next);
            let started = start_in(scope, "steelyard-read", move || {
                while !is_stopped.load(Ordering::Acquire)
                    && let Some(next) = next().transpose()
                    && give.send(next).is_ok()
                {}
            });
            let Ok(thread) = started else {
                return self.write_steps(job, &mut || next());
            };
            let result = self.write_steps(job, &mut || take.recv().ok().transpose());
            is_stopped.store(true, Ordering::Release);
            // An unused buffer goes back to the pipeline.
            take.iter().flatten().for_each(|piece| pipeline.give_back(piece));
            join(thread);
            result
        })
    }

    /// Append pieces until there are no more, and release the lock after each step.
    fn write_steps(&self, job: &Job, next: &mut dyn FnMut() -> Result<Option<Piece>>) -> Result<u64> {
        let before = job.done();
        while self.stream(|inner| inner.write_step(self.volume(), job, next))? {}
        Ok(job.done() - before)
    }
}

/// The pieces of a source, in their order.
struct Reading<'a> {
    sys: &'a dyn Sys,
    pipeline: &'a Pipeline,
    source: Source<'a>,
    job: &'a Job,
    done: u64,
    is_over: bool,
}

impl Reading<'_> {
    /// The next piece; none at the end, after a failure, or once the job is cancelled.
    fn next(&mut self) -> Result<Option<Piece>> {
        let left = self.source.most - self.done;
        if self.is_over || left == 0 || self.job.is_cancelled() {
            return Ok(None);
        }
        let mut piece = self.pipeline.buffer();
        let size = usize::try_from(left).unwrap_or(PIECE).min(self.pipeline.stride());
        let read = read_full_at(self.sys, self.source.file, &mut piece.room()[..size], self.source.from + self.done);
        piece.size = *read.as_ref().unwrap_or(&0);
        self.done += piece.size as u64;
        self.is_over = piece.size < size;
        if piece.size == 0 {
            self.pipeline.give_back(piece);
            let failed = |error: io::Error| Error::Source { errno: error.raw_os_error().unwrap_or(libc::EIO) };
            return read.map(|_| None).map_err(failed);
        }
        Ok(Some(piece))
    }
}

impl Inner {
    /// Append some pieces. Returns whether there may be more.
    fn write_step(
        &mut self,
        volume: &Arc<Volume>,
        job: &Job,
        next: &mut dyn FnMut() -> Result<Option<Piece>>,
    ) -> Result<bool> {
        self.flush(volume)?;
        self.check_own(volume)?;
        self.approach(volume);
        let end = self.written + STEP;
        while self.written < end && !job.is_cancelled() {
            let Some(piece) = next()? else {
                self.hashing.pipeline.shed();
                return Ok(false);
            };
            let size = piece.size as u64;
            self.touch(volume);
            let result = self.append_piece(volume, piece);
            self.poisoning(result)?;
            job.add(size);
        }
        self.hashing.pipeline.shed();
        Ok(!job.is_cancelled())
    }
}

/// Marks that a copy into an ingest is in progress, until it is dropped.
struct CopyGuard<'a>(&'a Ingest);

impl<'a> CopyGuard<'a> {
    fn enter(ingest: &'a Ingest) -> Result<Self> {
        if ingest.is_copying.swap(true, Ordering::AcqRel) {
            let message = format!("ingest {}: another copy into it is under way", ingest.name);
            return Err(Error::FailedPrecondition { message });
        }
        Ok(Self(ingest))
    }
}

impl Drop for CopyGuard<'_> {
    fn drop(&mut self) {
        self.0.is_copying.store(false, Ordering::Release);
    }
}
