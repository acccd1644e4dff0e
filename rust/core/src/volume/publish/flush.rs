//! The sync of files before they have their names.

use std::os::fd::BorrowedFd;
use std::thread;

use crate::error::{At, Result};
use crate::threads::{join, start_in};
use crate::volume::Volume;
use crate::volume::blob_dir::BlobDir;

/// From this number of files on, one `syncfs` takes less time than single syncs, although it also writes the changes of others.
pub(super) const WHOLE_FROM: usize = 8;

/// The most threads that sync single files: they only wait, and the file system merges concurrent syncs.
const MOST_THREADS: usize = 16;

impl Volume {
    /// Make the bytes of files on the file system of `dir` durable. Returns the result for each file. If the whole file system is synced, a
    /// failure applies to all files.
    ///
    /// `oldest` was opened before any of the files was written. So it reports every failed write, even one that another descriptor has
    /// reported: a failure must never be reported to one group and hidden from another.
    pub(crate) fn flush(&self, dir: &BlobDir, files: &[BorrowedFd<'_>], oldest: BorrowedFd<'_>) -> Vec<Result<()>> {
        if !self.durable {
            return vec![Ok(()); files.len()];
        }
        // DURABILITY: the bytes are durable before any of the files has a name; an earlier power cut leaves nothing.
        if files.len() >= WHOLE_FROM
            && let Some(synced) = dir.sync_whole(self.sys.as_ref(), oldest)
        {
            return vec![synced; files.len()];
        }
        // DURABILITY: as above, file by file; a failure applies only to its own file.
        sync_each(files, |file| self.sys.sync_data(file).at("fdatasync", || dir.path()))
    }

    /// Make the inodes of files that have been given their names in `dir` durable.
    pub(super) fn sync_named(&self, dir: &BlobDir, files: &[BorrowedFd<'_>]) -> Vec<Result<()>> {
        // DURABILITY: an earlier power cut leaves names that lead to deleted files, or files with an older mode and time; none of them was
        // acknowledged.
        sync_each(files, |file| self.sys.sync_file(file).at("fsync", || dir.path()))
    }
}

/// Sync files, several at a time. Returns the result for each.
fn sync_each(files: &[BorrowedFd<'_>], sync: impl Fn(BorrowedFd<'_>) -> Result<()> + Sync) -> Vec<Result<()>> {
    let share = files.len().div_ceil(MOST_THREADS).max(1);
    let mut shares = files.chunks(share);
    let Some(first) = shares.next() else {
        return Vec::new();
    };
    let work = |share: &[BorrowedFd<'_>]| share.iter().map(|file| sync(*file)).collect::<Vec<_>>();
    thread::scope(|scope| {
        let start = |share| (share, start_in(scope, "steelyard-sync", move || work(share)));
        let others: Vec<_> = shares.map(start).collect();
        let mut results = work(first);
        for (share, started) in others {
            results.extend(match started {
                Ok(thread) => join(thread),
                // No more threads can be started.
                Err(_) => work(share),
            });
        }
        results
    })
}
