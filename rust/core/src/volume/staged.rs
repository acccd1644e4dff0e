//! A file that will be published.

use std::io;
use std::os::fd::BorrowedFd;

use crate::error::Result;
use crate::sys::Sys;

/// A file that will be published, as publication sees it. The code that offers it syncs its bytes.
#[derive(Clone, Copy)]
pub(crate) enum Staged<'a> {
    /// A file without a name.
    Unnamed(BorrowedFd<'a>),
    /// A file with a provisional name, which it loses by publication.
    Named { dir: BorrowedFd<'a>, name: &'a str, fd: BorrowedFd<'a> },
    /// A file with a name that other processes know, open for reading only. Publication takes the name away, if
    /// `check` says that it is still the caller's.
    Owned { dir: BorrowedFd<'a>, name: &'a str, fd: BorrowedFd<'a>, check: &'a dyn Fn() -> Result<()> },
}

impl<'a> Staged<'a> {
    /// The file.
    pub(crate) fn fd(self) -> BorrowedFd<'a> {
        match self {
            Self::Unnamed(fd) | Self::Named { fd, .. } | Self::Owned { fd, .. } => fd,
        }
    }

    /// Give the file its final name; a name that exists is refused. Durable when the caller has synced `to`.
    pub(crate) fn place(self, sys: &dyn Sys, to: BorrowedFd<'_>, new: &str) -> io::Result<()> {
        match self {
            Self::Unnamed(fd) => sys.link_unnamed(fd, to, new),
            // DURABILITY: the callers sync `to`; a power cut before leaves one of the two names.
            Self::Named { dir, name, .. } | Self::Owned { dir, name, .. } => sys.rename(dir, name, to, new, false),
        }
    }
}
