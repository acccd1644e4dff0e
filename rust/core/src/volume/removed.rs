//! Files whose names are removed one after another.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::{Fd, Naming, Sys, missing};

/// The most files that are kept open.
const MOST: usize = 64;

/// Files of one directory whose removal is not synced, kept open where the file system needs that: while they are, their inodes are
/// not free for others. Otherwise a power cut could bring a name back with another file or directory behind it, and the check of the
/// file system could take that directory from its own name.
pub(crate) struct Removed {
    held: Vec<Fd>,
    /// The number of files whose removal is synced. Until these are forgotten, no file is added.
    synced: usize,
    holds: bool,
}

impl Removed {
    /// No file of a file system that needs these syncs.
    pub fn new(naming: Naming) -> Self {
        Self { held: Vec::new(), synced: 0, holds: naming == Naming::Everything }
    }

    /// Remove a name, if it is there; return whether it was.
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

    /// Whether the most files are held.
    pub fn is_full(&self) -> bool {
        self.held.len() >= MOST
    }

    /// Make the removals durable, where the file system needs that, before the last ones are forgotten.
    pub fn settle(&mut self, sys: &dyn Sys, dir: BorrowedFd<'_>) -> io::Result<()> {
        self.sync(sys, dir)?;
        self.held.clear();
        self.synced = 0;
        Ok(())
    }

    /// Make the removals durable as `settle` does, but forget none of the files yet.
    pub fn sync(&mut self, sys: &dyn Sys, dir: BorrowedFd<'_>) -> io::Result<()> {
        if self.synced < self.held.len() {
            // DURABILITY: a power cut before brings names back, each with its own file.
            sys.sync_dir(dir)?;
            self.synced = self.held.len();
        }
        Ok(())
    }

    /// Whether there are files whose removal is durable.
    pub fn has_synced(&self) -> bool {
        self.synced > 0
    }

    /// Forget one of the files whose removal is durable; false if there is none. Each takes its time: its blocks are free then, and a
    /// file system without a journal may wait until the disk has discarded them.
    pub fn forget(&mut self) -> bool {
        let is_synced = self.synced > 0;
        if is_synced {
            self.held.pop();
            self.synced -= 1;
        }
        is_synced
    }
}
