//! The hash of an ingest: computed in parallel with the writes if a processor is free, and later after a resume or a truncation.

use super::Ingest;
use super::inner::Inner;
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::hash::Hasher;
use crate::pipe::{HASHING, Pipeline};
use crate::sys::read_full_at;
use crate::volume::Volume;

impl Ingest {
    /// Hash at most `most` of the bytes that are not hashed yet. Returns how many remain.
    ///
    /// There are such bytes after a truncation, a resume or a change of algorithm. Calling this in pieces keeps each call
    /// short; `digest` and `commit` hash the rest at once.
    pub fn catch_up(&self, most: u64) -> Result<u64> {
        self.with(|inner| inner.catch_up(self.volume(), most))
    }

    /// Read at most `most` of the bytes in the file again, the first time from the beginning, and return how many remain.
    ///
    /// A commit then compares their digest with the digest that was computed as the bytes arrived, and with that of earlier
    /// writers. Calling this in pieces keeps each call short; `commit` reads the rest.
    pub fn recheck(&self, most: u64) -> Result<u64> {
        self.with(|inner| {
            inner.flush(self.volume())?;
            inner.rejoin()?;
            inner.recheck(self.volume(), most)
        })
    }

    /// Compute the digest by another algorithm from now on. No byte is hashed for it yet.
    pub fn set_algorithm(&self, algorithm: Algorithm) -> Result<()> {
        self.with(|inner| {
            if inner.hashing.algorithm() != algorithm {
                inner.hashing.set(Hasher::new(algorithm));
                inner.dirty = true;
            }
            Ok(())
        })
    }

    /// The digest of all bytes accepted so far. This does not wait for a checkpoint in progress: a caller that needs the digest
    /// after each write, such as a server, would wait for the disk.
    pub fn digest(&self) -> Result<Digest> {
        self.stream(|inner| {
            inner.catch_up(self.volume(), u64::MAX)?;
            let write_buffer = &inner.write_buffer;
            Ok(inner.hashing.with(|hasher| {
                let mut hasher = hasher.clone();
                write_buffer.peek(|pending| hasher.update(pending));
                hasher.digest()
            }))
        })
    }
}

impl Inner {
    /// Written bytes that have not been passed to the hash.
    pub(super) fn unhashed(&self) -> u64 {
        self.written - self.hashing.offset()
    }

    pub(super) fn catch_up(&mut self, volume: &Volume, most: u64) -> Result<u64> {
        let target = self.written.min(self.hashing.offset().saturating_add(most));
        if self.hashing.offset() < target {
            let hasher = self.hashing.with(|hasher| hasher.clone());
            let (hasher, result) = self.hash_to(volume, hasher, target);
            // The hasher is kept even after a failed read: another attempt continues at its offset.
            self.hashing.set(hasher);
            result?;
        }
        // Only after this wait is it known whether the hash was lost. If it was, all bytes count as unhashed again.
        self.hashing.with(|_| ());
        Ok(self.unhashed())
    }

    pub(super) fn recheck(&mut self, volume: &Volume, most: u64) -> Result<u64> {
        let algorithm = self.hashing.algorithm();
        let started = self.recheck.take().filter(|hasher| hasher.algorithm() == algorithm);
        let hasher = started.unwrap_or_else(|| Hasher::new(algorithm));
        let end = self.written.min(hasher.offset().saturating_add(most));
        let (hasher, result) = self.hash_to(volume, hasher, end);
        let left = self.written - hasher.offset();
        self.recheck = Some(hasher);
        result.map(|()| left)
    }

    /// If `recheck` was called before, check that the bytes in the file have this digest.
    pub(super) fn finish_recheck(&mut self, volume: &Volume, digest: &Digest) -> Result<()> {
        if self.recheck.is_none() {
            return Ok(());
        }
        self.recheck(volume, u64::MAX)?;
        match self.recheck.as_ref().map(Hasher::digest) {
            Some(actual) if actual != *digest => {
                let (name, expected) = (self.data_path(volume).display().to_string(), digest.to_string());
                Err(Error::DataCorrupt { name, expected, actual: actual.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Feed a hasher with the written bytes up to `end`.
    pub(super) fn hash_to(&self, volume: &Volume, hasher: Hasher, end: u64) -> (Hasher, Result<()>) {
        let _user = HASHING.enter();
        let (start, algorithm) = (hasher.offset(), hasher.algorithm());
        let pipeline = Pipeline::new(hasher);
        let result = pipeline.fill(end.saturating_sub(start), |room, done| {
            read_full_at(&*volume.sys, self.data()?, room, start + done).at("read", || self.data_path(volume))
        });
        let hasher = pipeline.finish().pop().unwrap_or_else(|| Hasher::new(algorithm));
        let result = result.and_then(|_| {
            if hasher.offset() >= end {
                return Ok(());
            }
            let (name, expected) = (self.data_path(volume).display().to_string(), format!("{end} bytes"));
            Err(Error::DataCorrupt { name, expected, actual: format!("{} bytes", hasher.offset()) })
        });
        (hasher, result)
    }
}
