//! Reading a large part of a blob in one call: into memory, through hashes, or both.

use std::os::fd::AsFd;
use std::sync::mpsc::channel;

use super::Blob;
use crate::error::{At, Result};
use crate::pipe::MultiHasher;
use crate::pipe::{HASHING, Job, PIECE};
use crate::sys::{read_full_at, read_full_once_at};
use crate::threads::both;

/// Reads from this size on are shared with another thread, if a processor is free for it.
const SHARED: usize = 4 << 20;

/// Fewer bytes are hashed faster than a pipeline is set up.
const PIPELINE_ABOVE: u64 = 256 << 10;

/// The pages that a pass over a blob leaves in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// The pages that were read: they will be needed again.
    Keep,
    /// The pages that were there before, where the system supports that: the caller did not request the blob itself.
    Spare,
}

impl Blob {
    /// Fill the buffer from `offset` on, as `read_exact_at` does. If the job is cancelled, only a part is filled.
    pub fn read_bulk(&self, buffer: &mut [u8], offset: u64, job: &Job) -> Result<()> {
        let _user = HASHING.enter();
        self.check_range(offset, buffer.len())?;
        let lent = if buffer.len() >= SHARED { HASHING.lend() } else { None };
        if lent.is_none() {
            return self.read_pieces(buffer, offset, job);
        }
        let (first, second) = buffer.split_at_mut((buffer.len() / 2).next_multiple_of(PIECE));
        let middle = offset + first.len() as u64;
        let there = || self.read_pieces(second, middle, job);
        let (other, result) = both("steelyard-read", there, || self.read_pieces(first, offset, job));
        result.and(other)
    }

    /// Fill the buffer from `offset`, and hash exactly the same bytes.
    pub fn read_and_hash(&self, hasher: &mut MultiHasher, buffer: &mut [u8], offset: u64, job: &Job) -> Result<()> {
        let _user = HASHING.enter();
        self.check_range(offset, buffer.len())?;
        let lent = if buffer.len() as u64 > PIPELINE_ABOVE { HASHING.lend() } else { None };
        if lent.is_none() {
            for (index, piece) in buffer.chunks_mut(PIECE).enumerate() {
                self.read_pieces(piece, offset + (index * PIECE) as u64, job)?;
                hasher.update(piece);
            }
            return Ok(());
        }
        let (give, take) = channel::<&[u8]>();
        // The channel has room for all pieces, so that both sides can also run one after the other.
        let hash = move || take.iter().for_each(|piece| hasher.update(piece));
        let pieces = buffer.chunks_mut(PIECE).enumerate();
        let read = move || {
            for (index, piece) in pieces {
                self.read_pieces(piece, offset + (index * PIECE) as u64, job)?;
                if job.is_cancelled() || give.send(piece).is_err() {
                    break;
                }
            }
            Ok(())
        };
        both("steelyard-hash", hash, read).1
    }

    /// Hash at most `most` bytes from `offset` on. Returns their number: fewer at the end of the blob, or if the job is cancelled.
    pub fn hash_at(&self, hasher: &mut MultiHasher, offset: u64, most: u64, job: &Job, cache: Cache) -> Result<u64> {
        let size = self.size().saturating_sub(offset).min(most);
        if size <= PIPELINE_ABOVE {
            let mut buffer = vec![0; usize::try_from(size).unwrap_or_default()];
            self.read_some(&mut buffer, offset, cache)?;
            hasher.update(&buffer);
            job.add(size);
            return Ok(size);
        }
        let _user = HASHING.enter();
        self.sys.expect_sequential(self.file.as_fd());
        hasher.update_by(size, |room, done| {
            if job.is_cancelled() {
                return Ok(0);
            }
            self.read_some(room, offset + done, cache)?;
            job.add(room.len() as u64);
            Ok(room.len())
        })
    }

    fn read_pieces(&self, buffer: &mut [u8], offset: u64, job: &Job) -> Result<()> {
        for (index, piece) in buffer.chunks_mut(PIECE).enumerate() {
            if job.is_cancelled() {
                break;
            }
            self.read_some(piece, offset + (index * PIECE) as u64, Cache::Keep)?;
            job.add(piece.len() as u64);
        }
        Ok(())
    }

    /// Fill the buffer with bytes within the size of the blob.
    pub(super) fn read_some(&self, buffer: &mut [u8], offset: u64, cache: Cache) -> Result<()> {
        let read = match cache {
            Cache::Keep => read_full_at(self.sys.as_ref(), self.file.as_fd(), buffer, offset),
            Cache::Spare => read_full_once_at(self.sys.as_ref(), self.file.as_fd(), buffer, offset),
        };
        let read = read.at("read", || &self.path)?;
        if read < buffer.len() { Err(self.cut_short(offset + read as u64)) } else { Ok(()) }
    }
}
