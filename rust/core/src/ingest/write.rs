//! Bytes in: pending, written, hashed, checkpointed; and back, by truncation.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::control::{Control, DATA};
use super::{Backing, Ingest, Inner};
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::hash::Hasher;
use crate::state::Slot;
use crate::store::Store;
use crate::sys::{read_full_at, write_all_at};

/// Bytes written, or read again, in one piece.
pub(super) const PIECE: u64 = 1 << 20;
/// Bytes after which the kernel is asked to begin writing, so that the sync at the end finds little to do.
const WRITEBACK_EVERY: u64 = 8 << 20;
/// Bytes after which a checkpoint is made: the most that a crash costs.
const CHECKPOINT_EVERY: u64 = 64 << 20;

impl Ingest {
    /// Accept bytes without any system call; return how many are now pending, for the caller to `flush` in time.
    pub fn push(&self, data: &[u8]) -> Result<usize> {
        self.with(|inner| {
            if !data.is_empty() {
                inner.pending.extend_from_slice(data);
                inner.touch(&self.store);
            }
            Ok(inner.pending.len())
        })
    }

    /// Write all pending bytes, and then these.
    pub fn write(&self, data: &[u8]) -> Result<()> {
        self.with(|inner| {
            inner.flush(&self.store)?;
            if !data.is_empty() {
                inner.touch(&self.store);
                inner.append(&self.store, data)?;
            }
            Ok(())
        })
    }

    /// Write all pending bytes.
    pub fn flush(&self) -> Result<()> {
        self.with(|inner| inner.flush(&self.store))
    }

    /// Hash at most `most` of the bytes that the hash is behind; return how many remain.
    ///
    /// It falls behind by a truncation, a resume or a change of algorithm. Calling this in pieces keeps each call short;
    /// `digest` and `commit` do what is left of it at once.
    pub fn catch_up(&self, most: u64) -> Result<u64> {
        self.with(|inner| inner.catch_up(&self.store, most))
    }

    /// Compute another digest from now on; the hash is then behind all bytes.
    pub fn set_algorithm(&self, algorithm: Algorithm) -> Result<()> {
        self.with(|inner| {
            if inner.hasher.algorithm() != algorithm {
                inner.hasher = Hasher::new(algorithm);
                inner.dirty = true;
            }
            Ok(())
        })
    }

    /// The digest of all bytes accepted so far.
    pub fn digest(&self) -> Result<Digest> {
        self.with(|inner| {
            inner.catch_up(&self.store, u64::MAX)?;
            if inner.pending.is_empty() {
                return Ok(inner.hasher.digest());
            }
            let mut hasher = inner.hasher.clone();
            hasher.update(&inner.pending);
            Ok(hasher.digest())
        })
    }

    /// Cut to the first `size` bytes; on return no crash brings the others back.
    pub fn truncate(&self, size: u64) -> Result<()> {
        self.with(|inner| {
            let offset = inner.offset();
            if size > offset {
                return Err(Error::OutOfRange { name: self.name.clone(), offset: size, size: offset });
            }
            if size < offset {
                inner.touch(&self.store);
                let result = inner.cut(&self.store, size);
                inner.poisoning(result)?;
            }
            Ok(())
        })
    }

    /// Make all bytes accepted so far survive a power loss, and a resume start after them.
    pub fn sync(&self) -> Result<()> {
        self.with(|inner| inner.settle(&self.store))
    }
}

impl Inner {
    fn touch(&mut self, store: &Store) {
        self.updated_ns = store.sys.now_ns();
        self.dirty = true;
    }

    pub(super) fn flush(&mut self, store: &Store) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.append(store, &pending)?;
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    /// Write bytes out after those written. Any failure poisons: how much of them is in the file is unknown.
    fn append(&mut self, store: &Store, data: &[u8]) -> Result<()> {
        if self.behind() <= PIECE {
            // It is cheaper now than later. A failure is nobody's yet: the hash stays behind, and who needs it will see.
            self.catch_up(store, PIECE).ok();
        }
        for piece in data.chunks(usize::try_from(PIECE).unwrap_or(usize::MAX)) {
            let result = self.append_piece(store, piece);
            self.poisoning(result)?;
        }
        Ok(())
    }

    fn append_piece(&mut self, store: &Store, piece: &[u8]) -> Result<()> {
        let sys = &*store.sys;
        write_all_at(sys, self.data()?, piece, self.written).at("write", || self.data_path(store))?;
        if self.behind() == 0 {
            self.hasher.update(piece);
        }
        self.written += piece.len() as u64;
        let ahead = self.written - self.written_back;
        if ahead >= WRITEBACK_EVERY {
            match sys.start_writeback(self.data()?, self.written_back, ahead) {
                // Advice that this file system does not take.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP)) => {}
                other => other.at("sync_file_range", || self.data_path(store))?,
            }
            self.written_back = self.written;
        }
        if self.control().is_some() && self.written - self.durable >= CHECKPOINT_EVERY {
            self.checkpoint(store)?;
        }
        Ok(())
    }

    /// Bytes written that the hash has not seen.
    fn behind(&self) -> u64 {
        self.written - self.hasher.offset()
    }

    pub(super) fn catch_up(&mut self, store: &Store, most: u64) -> Result<u64> {
        let target = self.written.min(self.hasher.offset().saturating_add(most));
        let mut hasher = std::mem::replace(&mut self.hasher, Hasher::new(Algorithm::Sha256));
        let result = self.hash_to(store, &mut hasher, target);
        // Also after a failed read: the hasher stands at what it has seen, and another try goes on there.
        self.hasher = hasher;
        result.map(|()| self.behind())
    }

    /// Feed a hasher with the written bytes up to `end`.
    pub(super) fn hash_to(&self, store: &Store, hasher: &mut Hasher, end: u64) -> Result<()> {
        let mut buffer = Vec::new();
        while hasher.offset() < end {
            let size = usize::try_from(PIECE.min(end - hasher.offset())).unwrap_or(usize::MAX);
            buffer.resize(size, 0);
            let read = read_full_at(&*store.sys, self.data()?, &mut buffer, hasher.offset());
            let read = read.at("read", || self.data_path(store))?;
            hasher.update(&buffer[..read]);
            if read < size {
                let (name, expected) = (self.data_path(store).display().to_string(), format!("{end} bytes"));
                return Err(Error::DataCorrupt { name, expected, actual: format!("{} bytes", hasher.offset()) });
            }
        }
        Ok(())
    }

    fn cut(&mut self, store: &Store, size: u64) -> Result<()> {
        if let Some(kept) = size.checked_sub(self.written) {
            self.pending.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            return Ok(());
        }
        self.pending.clear();
        if self.hasher.offset() > size {
            self.hasher = self.nearest_hasher(size);
        }
        self.written = size;
        if self.control().is_some_and(|control| control.claims_more_than(size)) {
            let slot = self.slot();
            let place = store.place()?;
            if let Some(control) = self.control_mut() {
                control.pin(&place, &slot)?;
            }
        }
        store.sys.truncate(self.data()?, size).at("truncate", || self.data_path(store))?;
        self.durable = self.durable.min(size);
        self.written_back = self.written_back.min(size);
        Ok(())
    }

    /// The hasher nearest to `size` that can be had without reading: that of a checkpoint, or a new one.
    fn nearest_hasher(&self, size: u64) -> Hasher {
        let algorithm = self.hasher.algorithm();
        let slots = self.control().into_iter().flat_map(Control::slots).flatten();
        let saved = slots.filter(|slot| slot.algorithm == algorithm && slot.hash_offset <= size);
        let nearest = saved.max_by_key(|slot| slot.hash_offset);
        nearest.map_or_else(|| Hasher::new(algorithm), |slot| slot.hasher(algorithm))
    }

    /// Write what is pending and make everything durable, unless it is already.
    pub(super) fn settle(&mut self, store: &Store) -> Result<()> {
        self.flush(store)?;
        if !self.dirty {
            return Ok(());
        }
        let result = self.checkpoint(store);
        self.poisoning(result)
    }

    fn checkpoint(&mut self, store: &Store) -> Result<()> {
        self.sync_written(store)?;
        let (slot, place) = (self.slot(), store.place()?);
        if let Some(control) = self.control_mut() {
            control.checkpoint(&place, slot)?;
        }
        self.durable = self.written;
        self.dirty = false;
        Ok(())
    }

    /// DURABILITY: before a slot or a blob's name says that these bytes are there, they are.
    pub(super) fn sync_written(&self, store: &Store) -> Result<()> {
        let synced = store.sys.sync_data(self.data()?);
        synced.at("fdatasync", || self.data_path(store))
    }

    /// What a checkpoint of this moment says.
    fn slot(&self) -> Slot {
        let saved = self.hasher.save();
        Slot {
            sequence: 0,
            offset: self.written,
            updated_ns: self.updated_ns,
            total: self.total,
            expected: self.expected,
            algorithm: self.hasher.algorithm(),
            hash_offset: saved.offset,
            hash_state: saved.bytes,
        }
    }

    /// What is open; only final phases have nothing, and nothing is done in them.
    pub(super) fn backing(&self) -> Result<&Backing> {
        self.backing.as_ref().ok_or_else(|| Error::Closed { name: String::new() })
    }

    fn data(&self) -> Result<BorrowedFd<'_>> {
        self.backing().map(Backing::data)
    }

    pub(super) fn control(&self) -> Option<&Control> {
        match &self.backing {
            Some(Backing::Named(named)) => Some(&named.control),
            Some(Backing::Unnamed(_)) | None => None,
        }
    }

    fn control_mut(&mut self) -> Option<&mut Control> {
        match &mut self.backing {
            Some(Backing::Named(named)) => Some(&mut named.control),
            Some(Backing::Unnamed(_)) | None => None,
        }
    }

    pub(super) fn data_path(&self, store: &Store) -> PathBuf {
        self.control().map_or_else(|| store.root.path().to_owned(), |control| control.path().join(DATA))
    }
}
