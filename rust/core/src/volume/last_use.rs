//! Recording that a blob is used. `access_time.rs` has the meaning of a record.

use std::os::fd::BorrowedFd;

use super::Volume;
use super::access_time::{INTERVAL_NS, next_record, used_ns};
use crate::sys::Stat;

impl Volume {
    /// Record a use of an open blob, at most once an hour. A failure is not an error: the last record then stays valid.
    pub(crate) fn record_use(&self, file: BorrowedFd<'_>, stat: &Stat) {
        if !self.is_use_due(stat) {
            return;
        }
        // DURABILITY: this changes only the inode, and is never synced. A power cut loses this record, and nothing else.
        let recorded = self.sys.set_atime(file, next_record(stat, self.sys.now_ns()));
        let errno = recorded.err().and_then(|error| error.raw_os_error());
        if let Some(errno @ (libc::EPERM | libc::EACCES | libc::EROFS)) = errno {
            self.unrecordable.add(stat, errno, self.sys.user());
        }
    }

    /// Whether a use of this blob must be recorded, and its record has not been refused before.
    pub(super) fn is_use_due(&self, stat: &Stat) -> bool {
        let now_ns = self.sys.now_ns();
        !self.read_only && used_ns(stat, now_ns) <= now_ns.saturating_sub(INTERVAL_NS) && !self.unrecordable.has(stat)
    }
}
