//! Whole files in, in one call: read and written here, hashed beside.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Ingest, Inner};
use crate::error::{Error, Result};
use crate::hash::MultiHasher;
use crate::pipe::{HASHING, Job, PIECE};
use crate::store::Store;
use crate::sys::read_full_at;

/// Bytes after which others get their turn: `abort`, `status`, `close`.
const STEP: u64 = 8 << 20;

/// What is read of a file.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// A file that can be read at any offset; its own position is left alone.
    pub file: BorrowedFd<'a>,
    /// The offset of the first byte to be read.
    pub from: u64,
    /// The most bytes to be read; fewer where the file ends.
    pub most: u64,
}

impl Ingest {
    /// Append bytes of a file; return how many: fewer than asked for where the file ends, or the job was cancelled.
    ///
    /// What is hashed is what was written, whatever else happens to the source. If that cannot be read (`Source`) the
    /// ingest holds the bytes before; a failure of the store poisons, as in `write`.
    ///
    /// `also` is given the same bytes, for further digests of them; after an error it may have seen any of them.
    ///
    /// # Panics
    ///
    /// If a hash of `also` has panicked.
    pub fn copy_from(&self, source: Source<'_>, job: &Job, also: Option<&mut MultiHasher>) -> Result<u64> {
        let _alone = Alone::enter(self)?;
        let _user = HASHING.enter();
        let Some(also) = also else { return self.copy_steps(source, job) };
        let others = also.hashers().to_vec();
        self.stream(|inner| {
            inner.hashing.flow.join(others);
            Ok(())
        })?;
        let before = also.offset();
        let result = self.copy_steps(source, job);
        also.set_hashers(self.lock().hashing.flow.part());
        let done = result?;
        assert_eq!(before + done, also.offset(), "a hash has panicked");
        Ok(done)
    }

    fn copy_steps(&self, source: Source<'_>, job: &Job) -> Result<u64> {
        let mut done = 0;
        while done < source.most && !job.is_cancelled() {
            let step = Source { from: source.from + done, most: STEP.min(source.most - done), ..source };
            let copied = self.stream(|inner| inner.copy_step(&self.store, step, job))?;
            done += copied;
            if copied < step.most {
                break;
            }
        }
        Ok(done)
    }
}

impl Inner {
    fn copy_step(&mut self, store: &Arc<Store>, source: Source<'_>, job: &Job) -> Result<u64> {
        self.flush(store)?;
        self.approach(store);
        let mut done = 0;
        while done < source.most && !job.is_cancelled() {
            let mut piece = self.hashing.flow.buffer();
            let size = usize::try_from(source.most - done).unwrap_or(PIECE).min(self.hashing.flow.stride());
            match read_full_at(&*store.sys, source.file, &mut piece.room()[..size], source.from + done) {
                Ok(read) => piece.size = read,
                Err(error) => {
                    self.hashing.flow.give_back(piece);
                    return Err(Error::Source { errno: error.raw_os_error().unwrap_or(libc::EIO) });
                }
            }
            let read = piece.size;
            if read > 0 {
                self.touch(store);
                let result = self.append_piece(store, piece);
                self.poisoning(result)?;
            } else {
                self.hashing.flow.give_back(piece);
            }
            done += read as u64;
            job.add(read as u64);
            if read < size {
                break;
            }
        }
        self.hashing.flow.shed();
        Ok(done)
    }
}

/// That one copy into an ingest is under way, until it is dropped.
struct Alone<'a>(&'a Ingest);

impl<'a> Alone<'a> {
    fn enter(ingest: &'a Ingest) -> Result<Self> {
        if ingest.is_copying.swap(true, Ordering::AcqRel) {
            let message = format!("ingest {}: another copy into it is under way", ingest.name);
            return Err(Error::FailedPrecondition { message });
        }
        Ok(Self(ingest))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.is_copying.store(false, Ordering::Release);
    }
}
