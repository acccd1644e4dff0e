//! The name of SQLite's log on a file system that writes names, inodes and blocks in any order (ext4 without a journal).
//!
//! On such a file system a power cut may restore the name of a removed log, with an inode that another file has by then. It may also
//! leave the name of a new log with the inode of an older file. If either content is a log, of this store or another, SQLite would
//! accept it and apply it up to the first damaged frame.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, CWD, Mode, OFlags};

use super::super::promise;
use crate::format::names::WAL_SUFFIX;

/// Whether a path is the path of a log.
pub(super) fn is_log(path: &CStr) -> bool {
    path.to_bytes().ends_with(WAL_SUFFIX.as_bytes())
}

/// Make the inode of a new log durable.
pub(super) fn settle_new(file: BorrowedFd<'_>) -> io::Result<()> {
    if fs::fstat(file)?.st_size > 0 || promise::removes_before_reuse(file)? {
        return Ok(());
    }
    // DURABILITY: the inode must be durable before the name, which a sync of the directory by any other call may write.
    Ok(fs::fsync(file)?)
}

/// A log whose name is being removed. While it is open, no other file can get its inode and blocks.
pub(super) struct Removal {
    file: OwnedFd,
    dir: OwnedFd,
}

impl Removal {
    /// Open a log and its directory, if the file system needs that.
    pub fn begin(path: &CStr) -> io::Result<Option<Self>> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = fs::openat(CWD, path, flags, Mode::empty())?;
        if promise::removes_before_reuse(file.as_fd())? {
            return Ok(None);
        }
        let above = Path::new(OsStr::from_bytes(path.to_bytes())).parent().unwrap_or(Path::new("."));
        let dir = fs::openat(CWD, above, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Some(Self { file, dir }))
    }

    /// Make durable that the name is removed and that the inode contains no log, because the next file may get its number.
    pub fn finish(self) -> io::Result<()> {
        // DURABILITY: both must be durable before the file is closed.
        fs::ftruncate(&self.file, 0)?;
        fs::fsync(&self.file)?;
        Ok(fs::fsync(&self.dir)?)
    }
}
