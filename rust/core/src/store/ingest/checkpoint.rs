//! Checkpoints: first the bytes are made durable, then a slot that counts them.
//!
//! A long write makes checkpoints while it continues: a thread waits for the disk while more is written and hashed. A call that
//! reads the slots, releases the ref or truncates to less than they count first waits for that thread.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, channel};

use super::control::{Control, Place};
use super::inner::{Away, Backing, Inner};
use crate::error::{At, Error, Result};
use crate::format::state::Slot;
use crate::hash::Hasher;
use crate::pipe::WAITING;
use crate::sys::Process;
use crate::volume::Volume;

impl Inner {
    /// Write all pending bytes and make everything durable, unless it already is.
    pub(super) fn settle(&mut self, volume: &Arc<Volume>) -> Result<()> {
        self.flush(volume)?;
        // The flush may have begun a checkpoint, which must end first.
        self.rejoin()?;
        if !self.dirty {
            return Ok(());
        }
        let result = self.checkpoint(volume);
        self.poisoning(result)
    }

    /// Make a checkpoint now, on this thread.
    fn checkpoint(&mut self, volume: &Volume) -> Result<()> {
        // The kernel reports a failed sync only once: a concurrent second sync could get the report that the checkpoint needs.
        self.rejoin()?;
        self.sync_written(volume)?;
        self.check_own(volume)?;
        let (slot, place) = (self.slot(), Place::of(volume)?);
        if let Some(control) = self.control_mut() {
            control.checkpoint(&place, slot)?;
        }
        self.durable = self.written;
        self.dirty = false;
        Ok(())
    }

    /// Begin a checkpoint of the bytes that are written now. Another thread completes it if one is available.
    pub(super) fn begin_checkpoint(&mut self, volume: &Arc<Volume>) -> Result<()> {
        // Only one checkpoint at a time: a disk that is too slow for that slows down the writer.
        self.rejoin()?;
        let Some(lent) = WAITING.lend() else {
            return self.checkpoint(volume);
        };
        let saved = self.hashing.pipeline.save();
        let mut slot = self.slot_with(&Hasher::new(self.hashing.algorithm()));
        let path = self.data_path(volume);
        let Some(Backing::Named(named)) = &mut self.backing else { return Ok(()) };
        let Some(mut control) = named.control.take() else { return Ok(()) };
        let (data, own, volume) = (Arc::clone(&named.data), named.own.clone(), Arc::clone(volume));
        let (give, back) = channel();
        named.away = Some(Away { back, offset: self.written, process: Process::current() });
        self.dirty = false;
        lent.run(move || {
            // DURABILITY: the bytes that the slot counts are durable before the slot is; bytes that are written meanwhile may be durable or not.
            let result = volume.sys.sync_data(data.as_fd()).at("fdatasync", || path).and_then(|()| {
                // Without a saved hash state the slot still counts the bytes; a resume then reads them again.
                if let Some(saved) = saved.wait() {
                    (slot.hash_offset, slot.hash_state) = (saved.offset, saved.bytes);
                }
                // The ingest may have a new writer, and the slot would count bytes that are not its own.
                own.check(&volume)?;
                control.checkpoint(&Place::of(&volume)?, slot)
            });
            // The data is closed before the result is sent: the waiting commit then checks whether the data is open for writing.
            drop(data);
            // This fails only if no thread waits any more, because a panic has dropped the ingest.
            give.send((control, result)).ok();
        });
        Ok(())
    }

    /// Wait for the checkpoint in progress, if there is one. Its failure poisons the ingest.
    pub(super) fn rejoin(&mut self) -> Result<()> {
        let Some(away) = self.away() else { return Ok(()) };
        let is_here = away.process.is_current();
        let (offset, came_back) = (away.offset, if is_here { away.back.recv().ok() } else { None });
        self.take_back(offset, came_back)
    }

    /// Like `rejoin`, but only if the checkpoint has ended; it does not wait.
    pub(super) fn rejoin_if_done(&mut self) -> Result<()> {
        let Some(away) = self.away() else { return Ok(()) };
        let (offset, came_back) = (away.offset, away.back.try_recv());
        match came_back {
            Err(TryRecvError::Empty) => Ok(()),
            other => self.take_back(offset, other.ok()),
        }
    }

    fn away(&self) -> Option<&Away> {
        match &self.backing {
            Some(Backing::Named(named)) => named.away.as_ref(),
            _ => None,
        }
    }

    fn take_back(&mut self, offset: u64, came_back: Option<(Control, Result<()>)>) -> Result<()> {
        let Some(Backing::Named(named)) = &mut self.backing else { return Ok(()) };
        named.away = None;
        let result = match came_back {
            Some((control, result)) => {
                named.control = Some(control);
                result
            }
            // A panic or a fork has lost it: the content of the disk is unknown.
            None => Err(Error::Io { errno: libc::EIO, path: Some(named.path.clone()), operation: "checkpoint" }),
        };
        if result.is_ok() {
            self.durable = self.durable.max(offset);
        }
        self.poisoning(result)
    }

    /// The bytes that the last checkpoint covers, or will cover if it is in progress.
    pub(super) fn covered(&self) -> u64 {
        self.away().map_or(self.durable, |away| away.offset)
    }

    /// DURABILITY: the bytes are durable before a slot counts them or a blob gets its name.
    ///
    /// No checkpoint may be in progress.
    pub(super) fn sync_written(&self, volume: &Volume) -> Result<()> {
        let synced = volume.sys.sync_data(self.data()?);
        synced.at("fdatasync", || self.data_path(volume))
    }

    /// The content of a checkpoint at this moment.
    pub(super) fn slot(&mut self) -> Slot {
        let hasher = self.hashing.with(|hasher| hasher.clone());
        self.slot_with(&hasher)
    }

    fn slot_with(&self, hasher: &Hasher) -> Slot {
        let saved = hasher.save();
        Slot {
            sequence: 0,
            offset: self.written,
            updated_ns: self.updated_ns,
            total: self.total,
            expected: self.expected,
            algorithm: hasher.algorithm(),
            hash_offset: saved.offset,
            hash_state: saved.bytes,
        }
    }
}
