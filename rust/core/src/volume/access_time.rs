//! The time of the last use of a blob: the access time of its file, or the time of its commit if that is later.
//!
//! A use is recorded if the last record is an hour old. A record changes the ctime of the file, by which a store decides whether a sync of the
//! directory covers the file's name (`BlobDir::covers`). So a record has a mark, its nanoseconds, if the name was given at least
//! an hour before it. Then the name counts as given an hour before the record, never earlier than it was: a store that syncs
//! once an hour syncs no more because of records, whichever process made them.
//!
//! A marked record is up to 1.1 s ahead of the clock. A file system that updates access times only if they are before the ctime
//! (`relatime`, the default) then leaves it as it is.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::Stat;

const SECOND: i64 = 1_000_000_000;

/// A use is recorded this long after the last one at the earliest.
pub(super) const INTERVAL_NS: i64 = 3_600 * SECOND;

/// The nanoseconds of a record whose file had its name for an hour. Not 0, which file systems without nanoseconds have.
const MARK_NS: i64 = 419_430_100;

/// The least time by which a record is ahead of the clock.
const AHEAD_NS: i64 = SECOND / 10;

/// The most time from the ctime of a file to a record that set it.
const WINDOW_NS: i64 = 2 * SECOND;

/// When a blob was last used, as far as that is recorded. A time in the future counts as now.
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

/// The most files that are remembered one by one.
const MOST_FILES: usize = 1024;

/// The files whose times this process cannot set.
#[derive(Default)]
pub(super) struct Unrecordable(Mutex<Refused>);

#[derive(Default)]
struct Refused {
    /// The owner whose files are refused, as last met.
    owner: Option<u32>,
    /// Files that are refused for themselves, by their numbers.
    files: HashSet<u64>,
}

impl Unrecordable {
    /// Remember a refusal. The user's own file is refused for itself, because it is immutable; one of another owner, because of the owner;
    /// and one of a read-only file system as all others are, whose owner it most likely has.
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

    /// Whether such a file was refused before.
    pub fn has(&self, stat: &Stat) -> bool {
        let refused = self.refused();
        refused.owner == Some(stat.owner) || refused.files.contains(&stat.id.inode)
    }

    fn refused(&self) -> MutexGuard<'_, Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
