//! A file that will be published.

use std::io;
use std::os::fd::BorrowedFd;

use crate::error::Result;
use crate::sys::Sys;

/// A file that will be published. The caller of the publication syncs its bytes.
#[derive(Clone, Copy)]
pub(crate) enum Staged<'a> {
    /// A file without a name.
    Unnamed(BorrowedFd<'a>),
    /// A file with a provisional name, which publication removes.
    Named { dir: BorrowedFd<'a>, name: &'a str, fd: BorrowedFd<'a> },
    /// A file with a name that other processes know, open for reading only. Publication removes the name, if `check` confirms that the
    /// file still belongs to the caller.
    Owned { dir: BorrowedFd<'a>, name: &'a str, fd: BorrowedFd<'a>, check: &'a dyn Fn() -> Result<()> },
}

impl<'a> Staged<'a> {
    /// The file.
    pub(crate) fn fd(self) -> BorrowedFd<'a> {
        match self {
            Self::Unnamed(fd) | Self::Named { fd, .. } | Self::Owned { fd, .. } => fd,
        }
    }

    /// Give the file its final name. A name that exists is refused. The name is durable when the caller has synced `to`.
    pub(crate) fn place(self, sys: &dyn Sys, to: BorrowedFd<'_>, new: &str) -> io::Result<()> {
        match self {
            Self::Unnamed(fd) => sys.link_unnamed(fd, to, new),
            // DURABILITY: the callers sync `to`; an earlier power cut leaves one of the two names.
            Self::Named { dir, name, .. } | Self::Owned { dir, name, .. } => sys.rename(dir, name, to, new, false),
        }
    }
}
