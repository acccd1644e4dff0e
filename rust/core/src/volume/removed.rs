//! Files whose names are removed one after the other.

use std::io;
use std::os::fd::BorrowedFd;

use crate::sys::{Fd, Naming, Sys, missing};

/// How many files are kept open at most.
const MOST: usize = 64;

/// Files of one directory whose removal is not synced, kept open where the file system needs that: while they are, their inodes are
/// not free for others. Otherwise a power cut could bring a name back with another file or directory behind it, and the check of the
/// file system could take that directory from its own name.
pub(crate) struct Removed {
    held: Vec<Fd>,
    holds: bool,
}

impl Removed {
    /// No file of a file system that needs these syncs.
    pub fn new(naming: Naming) -> Self {
        Self { held: Vec::new(), holds: naming == Naming::Everything }
    }

    /// Remove a name, if it is there; return whether it was.
    pub fn unlink(&mut self, sys: &dyn Sys, dir: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
        let file = self.holds.then(|| sys.open(dir, name, false).ok()).flatten();
        match sys.unlink(dir, name) {
            Err(error) if missing(&error) => return Ok(false),
            other => other?,
        }
        self.held.extend(file);
        if self.held.len() >= MOST {
            self.settle(sys, dir)?;
        }
        Ok(true)
    }

    /// Make the removals durable, where the file system needs that, before the last ones are forgotten.
    pub fn settle(&mut self, sys: &dyn Sys, dir: BorrowedFd<'_>) -> io::Result<()> {
        if !self.held.is_empty() {
            // DURABILITY: a power cut before brings names back, each with its own file.
            sys.sync_dir(dir)?;
            self.held.clear();
        }
        Ok(())
    }
}
