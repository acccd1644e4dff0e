//! Appending bytes (pending, written, hashed, in a checkpoint), and truncation.

use std::mem;
use std::sync::Arc;

use super::budget::Segment;
use super::control::{Control, Place};
use super::inner::{Backing, Inner};
use super::{Ingest, Lasting, Pushed};
use crate::error::{At, Error, Result};
use crate::hash::Hasher;
use crate::pipe::{HASHING, PIECE, Piece};
use crate::sys::write_all_at;
use crate::volume::Volume;

/// From this size on, bytes are hashed on another thread. Fewer bytes are hashed faster than another thread starts.
const BESIDE: usize = 256 << 10;
/// Bytes after which the kernel is asked to start writing, so that little is left for the sync at the end.
const WRITEBACK_EVERY: u64 = 8 << 20;
/// The fewest such bytes of one ingest while others have bytes too: all make the same progress and are synced at about the same time.
const WRITEBACK_LEAST: u64 = 1 << 20;
/// Bytes after which a checkpoint is made: the most bytes that a power cut costs.
const CHECKPOINT_EVERY: u64 = 64 << 20;

impl Ingest {
    /// Accept all bytes or none, by copying them, without a system call or a wait.
    ///
    /// A flusher writes and hashes them later. If that fails, a later call on the ingest returns the error.
    pub fn push(&self, data: &[u8]) -> Result<Pushed> {
        let (pushed, call) = self.write_buffer.push(data, || self.volume().sys.now_ns())?;
        self.call_if(call);
        Ok(pushed)
    }

    /// Accept bytes as `push` does, but keep them by reference until they are written; a few are copied.
    pub fn hold(&self, data: Lasting) -> Result<Pushed> {
        let (pushed, call) = self.write_buffer.hold(data, || self.volume().sys.now_ns())?;
        self.call_if(call);
        Ok(pushed)
    }

    /// Write all pending bytes, and then these.
    pub fn write(&self, data: &[u8]) -> Result<()> {
        self.stream(|inner| {
            inner.flush(self.volume())?;
            if !data.is_empty() {
                inner.check_own(self.volume())?;
                inner.touch(self.volume());
                inner.append(self.volume(), data)?;
            }
            Ok(())
        })
    }

    /// Write all pending bytes.
    pub fn flush(&self) -> Result<()> {
        self.stream(|inner| inner.flush(self.volume()))
    }

    /// Truncate to the first `size` bytes; on return no crash can restore the others.
    pub fn truncate(&self, size: u64) -> Result<()> {
        self.with(|inner| {
            let offset = inner.offset();
            if size > offset {
                return Err(Error::OutOfRange { name: self.name.clone(), offset: size, size: offset });
            }
            if size < offset {
                inner.check_own(self.volume())?;
                inner.touch(self.volume());
                let result = inner.truncate(self.volume(), size);
                inner.poisoning(result)?;
            }
            Ok(())
        })
    }

    /// Make all bytes accepted so far survive a power loss. A resume then starts after them.
    pub fn sync(&self) -> Result<()> {
        self.with(|inner| inner.settle(self.volume()))
    }
}

impl Inner {
    pub(super) fn touch(&mut self, volume: &Volume) {
        self.updated_ns = volume.sys.now_ns();
        self.dirty = true;
    }

    pub(super) fn flush(&mut self, volume: &Arc<Volume>) -> Result<()> {
        let pending = self.write_buffer.take();
        self.updated_ns = self.updated_ns.max(self.write_buffer.updated_ns());
        self.append_all(volume, pending)
    }

    /// Append bytes in several segments.
    pub(super) fn append_all(&mut self, volume: &Arc<Volume>, segments: Vec<Segment>) -> Result<()> {
        let size: usize = segments.iter().map(|segment| segment.len()).sum();
        if size > 0 {
            self.check_own(volume)?;
        }
        let _user = (size >= BESIDE).then(|| HASHING.enter());
        self.approach(volume);
        if size < BESIDE || self.unhashed() > 0 {
            return segments.into_iter().try_for_each(|segment| self.append(volume, &segment));
        }
        let mut piece = self.hashing.pipeline.buffer();
        for segment in segments {
            let mut rest = &*segment;
            while !rest.is_empty() {
                if piece.is_full() {
                    let full = mem::replace(&mut piece, self.hashing.pipeline.buffer());
                    let result = self.append_piece(volume, full);
                    self.poisoning(result)?;
                }
                rest = piece.add(rest);
            }
        }
        let result = self.append_piece(volume, piece);
        self.hashing.pipeline.shed();
        self.poisoning(result)
    }

    /// Write bytes after the written ones. Any failure poisons the ingest, because it is unknown how many bytes are in the file.
    fn append(&mut self, volume: &Arc<Volume>, data: &[u8]) -> Result<()> {
        let _user = (data.len() >= BESIDE).then(|| HASHING.enter());
        self.approach(volume);
        for piece in data.chunks(PIECE) {
            let result = self.append_copy(volume, piece);
            self.poisoning(result)?;
        }
        self.hashing.pipeline.shed();
        Ok(())
    }

    /// Hash the remaining written bytes if there are few: that is cheaper now than later.
    pub(super) fn approach(&mut self, volume: &Volume) {
        if (1..=PIECE as u64).contains(&self.unhashed()) {
            // A failure is ignored: the call that needs the hash reads the bytes again.
            self.catch_up(volume, PIECE as u64).ok();
        }
    }

    /// Append bytes of the caller. They are copied, so that they can be hashed in parallel and after this call.
    fn append_copy(&mut self, volume: &Arc<Volume>, data: &[u8]) -> Result<()> {
        let pipeline = &self.hashing.pipeline;
        if self.unhashed() == 0 && data.len() >= BESIDE {
            let mut piece = pipeline.buffer();
            piece.fill(data);
            return self.append_piece(volume, piece);
        }
        self.write_out(volume, data)?;
        if self.unhashed() == data.len() as u64 {
            self.hashing.with(|hasher| hasher.update(data));
        }
        self.make_headway(volume)
    }

    /// Append a piece: hash and write exactly the same bytes in parallel.
    pub(super) fn append_piece(&mut self, volume: &Arc<Volume>, piece: Piece) -> Result<()> {
        let bytes = Arc::new(piece);
        if self.unhashed() == 0 {
            self.hashing.feed(&bytes);
        }
        let result = self.write_out(volume, &bytes);
        self.hashing.pipeline.release(bytes);
        result?;
        self.make_headway(volume)
    }

    pub(super) fn write_out(&mut self, volume: &Volume, data: &[u8]) -> Result<()> {
        write_all_at(&*volume.sys, self.data()?, data, self.written).at("write", || self.data_path(volume))?;
        self.written += data.len() as u64;
        self.dirty = true;
        Ok(())
    }

    /// Start writeback and make a checkpoint, each if it is due.
    pub(super) fn make_headway(&mut self, volume: &Arc<Volume>) -> Result<()> {
        let ahead = self.written - self.written_back;
        let in_use = self.write_buffer.buffers_in_use().max(1) as u64;
        if ahead >= (WRITEBACK_EVERY / in_use).max(WRITEBACK_LEAST) {
            match volume.sys.start_writeback(self.data()?, self.written_back, ahead) {
                // The file system does not support this hint.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP)) => {}
                other => other.at("sync_file_range", || self.data_path(volume))?,
            }
            self.written_back = self.written;
        }
        if self.is_checkpoint_due() {
            self.begin_checkpoint(volume)?;
        }
        if let Some(Backing::Named(named)) = &mut self.backing {
            named.notes.advance(self.written, self.updated_ns, &self.hashing.pipeline);
        }
        Ok(())
    }

    pub(super) fn is_checkpoint_due(&self) -> bool {
        self.is_named() && self.written - self.covered() >= CHECKPOINT_EVERY
    }

    fn truncate(&mut self, volume: &Volume, size: u64) -> Result<()> {
        if let Some(kept) = size.checked_sub(self.written) {
            self.write_buffer.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            return Ok(());
        }
        self.write_buffer.truncate(0);
        if self.hashing.offset() > size {
            let nearest = self.nearest_hasher(size);
            self.hashing.set(nearest);
        }
        self.written = size;
        self.recheck = None;
        if let Some(Backing::Named(named)) = &mut self.backing {
            named.notes.truncate(size);
        }
        if self.control().is_some_and(|control| control.claims_more_than(size)) {
            let slot = self.slot();
            let place = Place::of(volume)?;
            if let Some(control) = self.control_mut() {
                control.pin(&place, &slot)?;
            }
        }
        volume.sys.truncate(self.data()?, size).at("truncate", || self.data_path(volume))?;
        self.durable = self.durable.min(size);
        self.written_back = self.written_back.min(size);
        Ok(())
    }

    /// The hasher nearest to `size` that is available without reading bytes: that of a checkpoint, or a new one.
    fn nearest_hasher(&self, size: u64) -> Hasher {
        let algorithm = self.hashing.algorithm();
        let slots = self.control().into_iter().flat_map(Control::slots).flatten();
        let saved = slots.filter(|slot| slot.algorithm == algorithm && slot.hash_offset <= size);
        let nearest = saved.max_by_key(|slot| slot.hash_offset);
        nearest.map_or_else(|| Hasher::new(algorithm), |slot| slot.hasher(algorithm))
    }
}
