//! The place of the file, and the signs that it has changed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::format::names::{META, META_SHM, META_WAL};
use crate::sys::{Stat, Sys};

/// The longest path of a root that is passed to SQLite unchanged, in bytes: SQLite accepts 512, including the names of its files.
const LONGEST: usize = 400;

/// The place of the file.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub sys: &'a dyn Sys,
    pub dir: BorrowedFd<'a>,
    /// The absolute path of [`META`] in `dir`, for messages.
    pub path: &'a Path,
}

/// The identity and state of the file. If it changes, a reader without locks knows that the file may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    file: Option<(u64, i64)>,
    wal: Option<(u64, i64)>,
    shm: bool,
}

impl Print {
    /// Whether the file has a log that is not empty.
    pub fn has_log(&self) -> bool {
        self.wal.is_some()
    }

    /// Whether SQLite itself follows changes of the file: by the log's index, which all users share.
    fn is_followed(&self) -> bool {
        self.wal.is_some() && self.shm
    }
}

impl Place<'_> {
    /// Return the status of a name in the root; None if it does not exist.
    pub fn stat(&self, name: &str) -> Result<Option<Stat>> {
        match self.sys.stat_at(self.dir, name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&error, self.path, "stat metadata")),
        }
    }

    /// Whether the file is there at all.
    pub fn exists(&self) -> Result<bool> {
        Ok(self.stat(META)?.is_some())
    }

    /// The path by which SQLite finds a name in `dir`. SQLite does not accept descriptors, but it accepts paths that lead through one.
    pub fn sqlite_path(&self, name: &str) -> PathBuf {
        if self.path.as_os_str().len() <= LONGEST {
            return self.path.with_file_name(name);
        }
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.dir.as_raw_fd()))
    }

    /// Return the current print of the file.
    pub fn print(&self) -> Result<Print> {
        let print_of = |stat: Stat| (stat.size, stat.mtime_ns);
        let wal = self.stat(META_WAL)?.filter(|stat| stat.size > 0).map(print_of);
        let shm = self.stat(META_SHM)?.is_some();
        let mut print = Print { file: self.stat(META)?.map(print_of), wal, shm };
        if print.is_followed() {
            print.file = print.file.map(|_| (0, 0));
            print.wal = Some((0, 0));
        }
        Ok(print)
    }
}
