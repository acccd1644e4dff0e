//! Files whose names are removed one after another.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::{Fd, Naming, Sys, missing};

/// The most files that are kept open.
const MOST: usize = 64;

/// Files of one directory whose removal is not synced. They are kept open if the file system needs that: while they are open, no other
/// file can get their inodes. Otherwise a power cut could restore a name that leads to another file or directory, and the check of the
/// file system could remove that directory's own name.
pub(crate) struct Removed {
    held: Vec<Fd>,
    /// The number of files whose removal is synced. Until these have been closed, no file is added.
    synced: usize,
    holds: bool,
}

impl Removed {
    /// An empty list, for a file system that needs these syncs after a change of names.
    pub fn new(naming: Naming) -> Self {
        Self { held: Vec::new(), synced: 0, holds: naming == Naming::Everything }
    }

    /// Remove a name, if it exists. Returns whether it existed.
    pub fn unlink(&mut self, sys: &dyn Sys, dir: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
        if self.is_full() || self.synced > 0 {
            self.settle(sys, dir)?;
        }
        let file = self.holds.then(|| sys.open(dir, name, false).ok()).flatten();
        match sys.unlink(dir, name) {
            Err(error) if missing(&error) => return Ok(false),
            other => other?,
        }
        self.held.extend(file);
        Ok(true)
    }

    /// Whether the limit of open files is reached.
    pub fn is_full(&self) -> bool {
        self.held.len() >= MOST
    }

    /// If the file system needs it, make the removals durable, and then close the files.
    pub fn settle(&mut self, sys: &dyn Sys, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.sync(sys, dir)?;
        self.held.clear();
        self.synced = 0;
        Ok(())
    }

    /// Make the removals durable as `settle` does, but close none of the files yet.
    pub fn sync(&mut self, sys: &dyn Sys, dir: BorrowedFd<'_>) -> io::Result<()> {
        if self.synced < self.held.len() {
            // DURABILITY: an earlier power cut restores names, each with its own file.
            sys.sync_dir(dir)?;
            self.synced = self.held.len();
        }
        Ok(())
    }

    /// Whether there are open files whose removal is durable.
    pub fn has_synced(&self) -> bool {
        self.synced > 0
    }

    /// Close one of the files whose removal is durable. Returns false if there is none. Each takes time, because it frees the blocks of the
    /// file, and a file system without a journal may wait until the disk has discarded them.
    pub fn forget(&mut self) -> bool {
        let is_synced = self.synced > 0;
        if is_synced {
            self.held.pop();
            self.synced -= 1;
        }
        is_synced
    }
}
