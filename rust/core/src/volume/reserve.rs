//! Space on the disk that is reserved for collections, and for the removal of names and leases: on a full disk these must write
//! before they can free space.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::format::names::{PRIVATE_MODE, RESERVE};
use crate::volume::Volume;

/// The sizes of the reserve, the largest first; the first one that fits is used. A collection of some hundred blobs needs 100 to 500 KiB.
const BYTES: [u64; 4] = [1 << 20, 3 << 18, 1 << 19, 1 << 18];

impl Volume {
    /// Reserve space for later collections, in a file of size 0. If the file system cannot do that, or has no space, nothing is reserved.
    pub(crate) fn keep_reserve(&self) {
        if self.is_reserve_used.swap(false, Ordering::Relaxed) {
            // DURABILITY: nothing depends on it; see below.
            self.sys.sync_fs(self.root.dir()).ok();
        }
        let (sys, root) = (&self.sys, self.root.dir());
        let file = match sys.create(root, RESERVE, PRIVATE_MODE) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => sys.open(root, RESERVE, true),
            other => other,
        };
        if file.is_ok_and(|file| !BYTES.iter().any(|size| sys.preallocate(file.as_fd(), *size).is_ok())) {
            // DURABILITY: not synced. A power cut leaves at worst an empty file, which has no effect.
            sys.unlink(root, RESERVE).ok();
        }
    }

    /// Free this space if an error means that the disk is full. Returns whether to try again.
    pub(crate) fn use_reserve(&self, error: &Error) -> bool {
        // DURABILITY: nothing depends on it. A full btrfs refuses to truncate a file, but can remove it.
        if !error.is_full() || self.sys.unlink(self.root.dir(), RESERVE).is_err() {
            return false;
        }
        self.is_reserve_used.store(true, Ordering::Relaxed);
        // DURABILITY: nothing depends on it. btrfs and XFS reuse freed blocks only after the removal is on the disk.
        self.sys.sync_fs(self.root.dir()).ok();
        true
    }

    /// Run a removal of names or leases. On a full disk it may use the reserved space; the rest remains for the collection that follows.
    pub(crate) fn with_reserve<T>(&self, mut remove: impl FnMut() -> Result<T>) -> Result<T> {
        match remove() {
            Err(error) if self.use_reserve(&error) => {
                let removed = remove();
                self.keep_reserve();
                removed
            }
            other => other,
        }
    }

    /// Whether the disk was full and the reserve has been used.
    pub(crate) fn is_reserve_used(&self) -> bool {
        self.is_reserve_used.load(Ordering::Relaxed)
    }
}
