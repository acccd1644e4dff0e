//! Removing the files of condemned blobs, in the order of their directory.
//!
//! The names in one block of the directory are removed one after another. On a file system without a journal the directory is synced after
//! every 64 names ([`Removed`]), which writes each changed block: one or two in place of 64.

use std::os::fd::AsFd;
use std::sync::Arc;

use crate::error::{At, Result};
use crate::sys::{Fd, FileKind};
use crate::volume::Volume;
use crate::volume::removed::Removed;

/// The removal of the files in `condemned/`, in progress. No other collection adds files.
pub(super) struct Unlinking {
    volume: Arc<Volume>,
    /// The directories that are still to be processed, the next one last.
    dirs: Vec<Fd>,
    /// The descriptor from which the names of the last directory are read.
    entries: Option<Fd>,
    names: Vec<String>,
    /// Whether all names of the last directory have been read and removed.
    is_read: bool,
    removed: Removed,
}

impl Unlinking {
    pub fn begin(volume: Arc<Volume>, dirs: Vec<Fd>) -> Self {
        let removed = Removed::new(volume.root.naming());
        Self { volume, dirs, entries: None, names: Vec::new(), is_read: false, removed }
    }

    /// Remove the next file, or read the next names. Returns the number of removed files, or `None` at the end.
    pub fn step(&mut self) -> Result<Option<usize>> {
        let Some(dir) = self.dirs.last() else { return Ok(None) };
        let (sys, path) = (self.volume.sys.as_ref(), || self.volume.path().to_owned());
        if self.removed.forget() {
            return Ok(Some(0));
        }
        if self.removed.is_full() || self.is_read {
            self.removed.sync(sys, dir.as_fd()).at("fsync", path)?;
            if !self.removed.has_synced() {
                self.is_read = false;
                self.dirs.pop();
            }
            return Ok(Some(0));
        }
        if let Some(name) = self.names.pop() {
            // DURABILITY: not synced; the next collection removes files that a power cut restores.
            let is_removed = self.removed.unlink(sys, dir.as_fd(), &name).at("unlink", || path().join(&name))?;
            return Ok(Some(usize::from(is_removed)));
        }
        let entries = match &self.entries {
            Some(entries) => entries,
            None => self.entries.insert(sys.reopen_dir(dir.as_fd()).at("list", path)?),
        };
        let names = &mut self.names;
        let mut add = |name: &str, kind| {
            // We make no directory there.
            if kind != FileKind::Directory {
                names.push(name.to_owned());
            }
        };
        if !sys.visit_next(entries.as_fd(), &mut add).at("list", path)? {
            (self.entries, self.is_read) = (None, true);
        }
        Ok(Some(0))
    }
}

impl Drop for Unlinking {
    fn drop(&mut self) {
        if let Some(dir) = self.dirs.last() {
            // The collection ends early. A failure is ignored: nothing relies on this sync.
            self.removed.settle(self.volume.sys.as_ref(), dir.as_fd()).ok();
        }
    }
}
