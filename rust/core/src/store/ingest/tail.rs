//! Bytes that no checkpoint covers yet, and that outlive a crash of the process: those that the kernel has.
//!
//! From time to time a writer records its offset and its hash state in a file `tail` beside `state`. This note is not
//! synced, so a power cut may keep the note and lose the bytes. A resume therefore counts them only if the machine
//! has not been booted since, if the data is the same file of the same mounted file system, and if the bytes read back have
//! the hash that was noted. Then it writes them again. After a write to the disk has failed, the kernel keeps the pages in
//! memory and takes them for written: they read back right, but no sync would write them.
//!
//! A note is never necessary: if anything is wrong with it, the checkpoint counts.

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
/// The fewest bytes, once `SLOW` has passed since the last note.
const NOTE_LEAST: u64 = 256 << 10;
/// The most time that a slow stream may lose, in ns.
const SLOW: i64 = 1_000_000_000;
/// The most bytes before the checkpoint that are read again to check the bytes after it.
const MOST_BEFORE: u64 = 64 << 20;

/// Makes the notes of one open ingest.
pub(super) struct Notes {
    sys: Arc<dyn Sys>,
    dir: Arc<Fd>,
    layout: Layout,
    data: FileId,
    /// None once no more notes are made.
    boot: Option<String>,
    file: Option<Fd>,
    /// A hash state on its way into a note.
    saving: Option<Saving>,
    /// Where the last note was begun, and when.
    offset: u64,
    at_ns: i64,
}

/// The bytes after the checkpoint, as a resume found them.
pub(super) struct Found {
    /// Stands at the end of the bytes.
    pub(super) hasher: Hasher,
    /// When they were written.
    pub(super) updated_ns: i64,
}

impl Notes {
    /// Those of an ingest that is opened where `slot` says.
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

    /// Go back with the ingest, which was truncated.
    pub(super) fn truncate(&mut self, size: u64) {
        self.saving = None;
        self.offset = self.offset.min(size);
    }

    /// Make no more notes, and remove the last one: a write or a sync has failed.
    pub(super) fn forget(&mut self) {
        (self.boot, self.saving, self.file) = (None, None, None);
        self.sys.unlink(self.dir.as_fd(), TAIL).ok();
    }

    /// Write the note that is on its way, if there is one, and wait for the hash.
    ///
    /// For a moment at which no more bytes have come: the next `advance` may be late, or never be.
    pub(super) fn complete(&mut self) {
        if let Some(saving) = self.saving.take() {
            self.note(saving.wait());
        }
    }

    /// Write the note that is on its way, if the hash has come so far.
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

/// Look for bytes after a checkpoint that may be counted, and write them again. None: the checkpoint counts.
///
/// `size` is that of the data, whose bytes up to the slot's offset are trusted.
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
        // Never both sides of the checkpoint at once: the bytes before it are not to be touched.
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
