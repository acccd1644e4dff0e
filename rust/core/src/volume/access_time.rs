//! The time of the last use of a blob: the access time of its file, or the time of its commit if that is later.
//!
//! A use is recorded if the last record is at least an hour old. A record changes the ctime of the file, from which a store decides
//! whether a sync of the directory covers the file's name (`BlobDir::covers`). So if the name was given at least an hour before the
//! record, the nanoseconds of the record are a mark. The name of a marked file then counts as given an hour before the record, which is
//! never earlier than it was. So a store that syncs once an hour makes no further syncs because of records, whichever process made them.
//!
//! A marked record is up to 1.1 s ahead of the clock. A file system that updates access times only if they are before the ctime
//! (`relatime`, the default) then does not change it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::Stat;

const SECOND: i64 = 1_000_000_000;

/// The shortest time between two records of a use.
pub(super) const INTERVAL_NS: i64 = 3_600 * SECOND;

/// The nanoseconds of a record for a file that has had its name for an hour. Not 0, which file systems without nanoseconds have.
const MARK_NS: i64 = 419_430_100;

/// The least time by which a record is ahead of the clock.
const AHEAD_NS: i64 = SECOND / 10;

/// The most time from the ctime of a file to a record that set it.
const WINDOW_NS: i64 = 2 * SECOND;

/// The last recorded use of a blob. A time in the future counts as now.
pub(crate) fn used_ns(stat: &Stat, now_ns: i64) -> i64 {
    stat.atime_ns.max(stat.mtime_ns).min(now_ns)
}

/// A time at which a file certainly had its name.
pub(super) fn named_by_ns(stat: &Stat) -> i64 {
    let before_ns = stat.atime_ns.saturating_sub(INTERVAL_NS);
    let is_marked = stat.atime_ns.rem_euclid(SECOND) == MARK_NS;
    // The record is the last change of the file, and the commit is no later than an hour before.
    let is_last = (0..=WINDOW_NS).contains(&stat.atime_ns.saturating_sub(stat.ctime_ns));
    if is_marked && is_last && stat.mtime_ns <= before_ns { before_ns } else { stat.ctime_ns }
}

/// The access time that records a use.
pub(super) fn next_record(stat: &Stat, now_ns: i64) -> i64 {
    let after_ns = now_ns.saturating_add(AHEAD_NS).saturating_sub(MARK_NS);
    let marked_ns = (after_ns.div_euclid(SECOND) + 1) * SECOND + MARK_NS;
    if named_by_ns(stat) <= marked_ns.saturating_sub(INTERVAL_NS) {
        return marked_ns;
    }
    // Some file systems keep no finer times than these 100 ns.
    if now_ns.rem_euclid(SECOND) / 100 == MARK_NS / 100 { now_ns + 100 } else { now_ns }
}

/// The most files that are remembered individually.
const MOST_FILES: usize = 1024;

/// The files whose times this process cannot set.
#[derive(Default)]
pub(super) struct Unrecordable(Mutex<Refused>);

#[derive(Default)]
struct Refused {
    /// The owner whose file was refused last.
    owner: Option<u32>,
    /// The inode numbers of files that are refused individually.
    files: HashSet<u64>,
}

impl Unrecordable {
    /// Remember a refusal. A file of the user itself is refused individually, because it is immutable. A file of another owner is refused
    /// because of the owner. On a read-only file system all files are refused; most likely they have the same owner.
    pub fn add(&self, stat: &Stat, errno: i32, user: u32) {
        let mut refused = self.refused();
        if errno == libc::EROFS || stat.owner != user {
            refused.owner = Some(stat.owner);
            return;
        }
        if refused.files.len() == MOST_FILES {
            refused.files.clear();
        }
        refused.files.insert(stat.id.inode);
    }

    /// Whether a file like this was refused before.
    pub fn has(&self, stat: &Stat) -> bool {
        let refused = self.refused();
        refused.owner == Some(stat.owner) || refused.files.contains(&stat.id.inode)
    }

    fn refused(&self) -> MutexGuard<'_, Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
