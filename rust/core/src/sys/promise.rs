//! Guarantees of file systems beyond those of the system calls.
#![allow(clippy::disallowed_methods, reason = "a part of the module that makes the calls")]

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use rustix::fs::{fstat, fstatfs, major, minor};

const EXT: u32 = 0xef53; // ext2, ext3, ext4
const XFS: u32 = 0x5846_5342;
const BTRFS: u32 = 0x9123_683e;
const F2FS: u32 = 0xf2f5_2010;
const BCACHEFS: u32 = 0xca45_1a4e;
const TMPFS: u32 = 0x0102_1994; // where nothing survives anyway

/// Whether `syncfs` on the file system of this file writes all data, waits for it, flushes the disk's cache, and reports every
/// failure. Some file systems report failures to no process (FUSE), or do not learn of failures below them (overlayfs).
pub(super) fn whole(fd: BorrowedFd<'_>) -> io::Result<bool> {
    static REPORTS: OnceLock<bool> = OnceLock::new();
    let reports = REPORTS.get_or_init(|| reports(&rustix::system::uname().release().to_string_lossy()));
    Ok(*reports && matches!(kind(fd)?, EXT | XFS | BTRFS | F2FS | BCACHEFS | TMPFS))
}

/// The syncs, in this order, after which a file with synced bytes survives a power cut under a new name, with its mode, its times,
/// and no other name. Used for blobs, exports and image layouts.
///
/// | File system | The directory's sync writes | Needed |
/// | --- | --- | --- |
/// | ext4, XFS, F2FS, bcachefs, tmpfs | all changes so far, in one transaction | the directory |
/// | btrfs | the name; of the file what was logged last, which may be an older mode, time and second name | the file, the directory |
/// | ext4 without a journal, others | the name only; a file that got its name by a link has no links, and the check removes it | the file, the directory, the old directory |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// The directory that has the new name.
    Directory,
    /// The file, then the directory.
    File,
    /// The file, then the directory, then the directory of the old name.
    Everything,
}

/// Return the syncs that are needed after a file was given a name in this directory.
pub(super) fn naming(dir: BorrowedFd<'_>) -> io::Result<Naming> {
    Ok(match (kind(dir)?, is_transactional(dir)?) {
        (BTRFS, _) => Naming::File,
        (_, true) => Naming::Directory,
        (_, false) => Naming::Everything,
    })
}

fn is_transactional(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(match kind(fd)? {
        XFS | BTRFS | F2FS | BCACHEFS | TMPFS => true,
        EXT => has_journal(fd),
        _ => false,
    })
}

/// Whether this file system reuses the blocks of a removed file only after the removal of its name is durable. Otherwise a power cut
/// may restore the name with bytes of another file.
pub(super) fn removes_before_reuse(fd: BorrowedFd<'_>) -> io::Result<bool> {
    is_transactional(fd)
}

/// Whether this file system overwrites bytes in place. Others may need new blocks for a change.
pub(super) fn overwrites(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(matches!(kind(fd)?, EXT | XFS | TMPFS))
}

fn kind(fd: BorrowedFd<'_>) -> io::Result<u32> {
    // The type of this field differs between machines; all values fit.
    Ok(u32::try_from(fstatfs(fd)?.f_type).unwrap_or_default())
}

/// Whether an ext4 has a journal; false if that is unknown.
fn has_journal(fd: BorrowedFd<'_>) -> bool {
    let task = || {
        let device = fstat(fd).ok()?.st_dev;
        let about = fs::read_to_string(format!("/sys/dev/block/{}:{}/uevent", major(device), minor(device))).ok()?;
        let name = about.lines().find_map(|line| line.strip_prefix("DEVNAME="))?;
        fs::read_to_string(format!("/sys/fs/ext4/{name}/journal_task")).ok()
    };
    // The file has the process ID of the journal's thread, or "<none>".
    task().is_some_and(|task| task.trim().parse::<u32>().is_ok())
}

/// Whether `syncfs` reports failed writes in a kernel of this release: 5.8 and later.
fn reports(release: &str) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_5_8_do_not_report_failed_writes() {
        for silent in ["4.19.0", "5.7.19-generic", "", "unknown", "5"] {
            assert!(!reports(silent), "{silent}");
        }
        for speaking in ["5.8.0", "5.10.0-28-amd64", "6.1", "10.0-rc1"] {
            assert!(reports(speaking), "{speaking}");
        }
    }
}
