//! Bytes that no checkpoint covers yet, but that survive a crash of the process because the kernel has them.
//!
//! From time to time a writer records its offset and its hash state in a file `tail` beside `state`. This note is not
//! synced, so a power cut may keep the note and lose the bytes. A resume therefore accepts the bytes only if the machine
//! has not been booted since, if the data is the same file of the same mounted file system, and if the bytes that it reads
//! have the recorded hash. Then it writes them again. The reason is that after a failed write to the disk, the kernel keeps
//! the pages in memory and considers them written: they can be read correctly, but no sync would write them.
//!
//! A note is never necessary: if anything is wrong with it, the checkpoint is used.

use std::os::fd::AsFd;
use std::sync::Arc;

use super::control::{Control, Place};
use crate::format::names::{PRIVATE_MODE, TAIL};
use crate::format::state::{BLOCK, Layout, Slot, Tail};
use crate::hash::{Hasher, SavedState};
use crate::pipe::{PIECE, Pipeline, Saving};
use crate::sys::found;
use crate::sys::{Fd, FileId, Sys, read_full_at, write_all_at};

/// Bytes after which a note is made.
const NOTE_EVERY: u64 = 4 << 20;
/// The fewest bytes for a note, once `SLOW` has passed since the last one.
const NOTE_LEAST: u64 = 256 << 10;
/// The most time of a slow stream that a crash may cost, in ns.
const SLOW: i64 = 1_000_000_000;
/// The most bytes before the checkpoint that are read again to check the bytes after it.
const MOST_BEFORE: u64 = 64 << 20;

/// Makes the notes of one open ingest.
pub(super) struct Notes {
    sys: Arc<dyn Sys>,
    dir: Arc<Fd>,
    layout: Layout,
    data: FileId,
    /// The ID of the boot; `None` once no more notes are made.
    boot: Option<String>,
    file: Option<Fd>,
    /// A hash state that is being saved for a note.
    saving: Option<Saving>,
    /// The offset and the time at which the last note was begun.
    offset: u64,
    at_ns: i64,
}

/// The bytes after the checkpoint that a resume has found.
pub(super) struct Found {
    /// A hasher at the end of the bytes.
    pub(super) hasher: Hasher,
    /// The time at which they were written.
    pub(super) updated_ns: i64,
}

impl Notes {
    /// The notes of an ingest that is opened at the offset in `slot`.
    pub(super) fn new(sys: Arc<dyn Sys>, dir: &Arc<Fd>, layout: Layout, data: FileId, slot: &Slot) -> Self {
        let (boot, offset, at_ns) = (sys.boot_id(), slot.offset, slot.updated_ns);
        Self { sys, dir: Arc::clone(dir), layout, data, boot, file: None, saving: None, offset, at_ns }
    }

    /// Make a note if one is due, or if the hash has reached the offset of one that was due.
    pub(super) fn advance(&mut self, written: u64, updated_ns: i64, pipeline: &Pipeline) {
        if self.boot.is_none() {
            return;
        }
        self.finish();
        let (bytes, ns) = (written.saturating_sub(self.offset), updated_ns.saturating_sub(self.at_ns));
        if self.saving.is_none() && (bytes >= NOTE_EVERY || bytes >= NOTE_LEAST && ns >= SLOW) {
            (self.offset, self.at_ns) = (written, updated_ns);
            self.saving = Some(pipeline.save());
            self.finish();
        }
    }

    /// Adapt to a truncation of the ingest.
    pub(super) fn truncate(&mut self, size: u64) {
        self.saving = None;
        self.offset = self.offset.min(size);
    }

    /// Make no more notes, and remove the last one: a write or a sync has failed.
    pub(super) fn forget(&mut self) {
        (self.boot, self.saving, self.file) = (None, None, None);
        self.sys.unlink(self.dir.as_fd(), TAIL).ok();
    }

    /// If a note has been begun, wait for its hash and write it.
    ///
    /// This is called when no further bytes have arrived: the next `advance` may come late or never.
    pub(super) fn complete(&mut self) {
        if let Some(saving) = self.saving.take() {
            self.note(saving.wait());
        }
    }

    /// Write a note that has been begun, if its hash is ready.
    fn finish(&mut self) {
        match self.saving.take().map(Saving::poll) {
            None => {}
            Some(Err(saving)) => self.saving = Some(saving),
            Some(Ok(saved)) => self.note(saved),
        }
    }

    fn note(&mut self, saved: Option<SavedState>) {
        let (Some(saved), Some(boot)) = (saved, &self.boot) else { return };
        let tail = Tail {
            boot: boot.clone(),
            device: self.data.device,
            inode: self.data.inode,
            offset: saved.offset,
            updated_ns: self.at_ns,
            hash_state: saved.bytes,
        };
        let block = self.layout.encode_tail(&tail);
        if self.write(&block).is_err() {
            // A full disk, for example: then only the checkpoints count.
            self.boot = None;
        }
    }

    fn write(&mut self, block: &[u8]) -> std::io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => match found(self.sys.open(self.dir.as_fd(), TAIL, true))? {
                Some(file) => file,
                None => self.sys.create(self.dir.as_fd(), TAIL, PRIVATE_MODE)?,
            },
        };
        write_all_at(self.sys.as_ref(), file.as_fd(), block, 0)?;
        self.file = Some(file);
        Ok(())
    }
}

/// Look for valid bytes after a checkpoint, and write them again. `None` if there are none: the checkpoint is used.
///
/// `size` is the size of the data. Its bytes up to the slot's offset are trusted.
pub(super) fn recover(place: &Place<'_>, control: &Control, data: &Fd, slot: &Slot, size: u64) -> Option<Found> {
    let tail = read(place.sys, control)?;
    let id = place.sys.stat(data.as_fd()).ok()?.id;
    let is_ours = place.sys.boot_id() == Some(tail.boot) && (tail.device, tail.inode) == (id.device, id.inode);
    if !is_ours || !(slot.offset + 1..=size).contains(&tail.offset) {
        return None;
    }
    let mut hasher = slot.hasher(slot.algorithm);
    if slot.offset - hasher.offset() > MOST_BEFORE {
        return None;
    }
    let mut buffer = vec![0; PIECE];
    while hasher.offset() < tail.offset {
        let at = hasher.offset();
        // A piece never spans the checkpoint: the bytes before it must not be written again.
        let end = if at < slot.offset { slot.offset } else { tail.offset };
        let take = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let piece = &mut buffer[..take];
        if read_full_at(place.sys, data.as_fd(), piece, at).ok()? < take {
            return None;
        }
        hasher.update(piece);
        if at >= slot.offset {
            write_all_at(place.sys, data.as_fd(), piece, at).ok()?;
        }
    }
    let saved = hasher.save();
    let is_right = (saved.offset, saved.bytes) == (tail.offset, tail.hash_state);
    is_right.then_some(Found { hasher, updated_ns: tail.updated_ns })
}

fn read(sys: &dyn Sys, control: &Control) -> Option<Tail> {
    let file = sys.open(control.dir().as_fd(), TAIL, false).ok()?;
    let mut block = [0; BLOCK];
    let read = read_full_at(sys, file.as_fd(), &mut block, 0).ok()?;
    control.layout().decode_tail(&block[..read])
}
