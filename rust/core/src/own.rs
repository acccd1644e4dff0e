//! Whether the data of an ingest is its writer's alone.
//!
//! The lock of the ref says so, as long as the file `lock` stays where it is and everybody uses it. If it is removed, the
//! next process takes the same ref, with the same data: what one of them publishes, the other one would overwrite. So a
//! writer checks, at each flush, that its data still has its name and that its lock still counts. Publication makes
//! sure, under the digest's lock, that the file is open for writing nowhere, by a lease that it holds until the file has
//! its new name: a process that opened the data before is found, and one that comes later finds no data.
//!
//! A data file that another process has open for writing is never renamed: its bytes are published as a verified copy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::error::{At, Error, Result};
use crate::layout::found;
use crate::store::Store;
use crate::sys::{Fd, FileId, Sys};

/// Waits before a file counts as shared: a process that is being started, or that has just been killed, still has the
/// descriptors of its writer for a moment.
const PATIENCE: [Duration; 3] = [Duration::from_millis(1), Duration::from_millis(5), Duration::from_millis(25)];

/// What tells whether an ingest is still its writer's.
#[derive(Clone)]
pub(crate) struct Own {
    ref_: Arc<str>,
    dir: Arc<Fd>,
    name: &'static str,
    data: FileId,
}

/// A file that is open for writing nowhere until this is dropped, where the file system has leases.
pub(crate) struct Lease<'a> {
    sys: &'a dyn Sys,
    fd: BorrowedFd<'a>,
}

impl Own {
    /// The ingest of a ref whose data is that open file, under that name in `dir`.
    pub(crate) fn new(
        sys: &dyn Sys,
        ref_: &str,
        dir: &Arc<Fd>,
        name: &'static str,
        data: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let data = sys.stat(data)?.id;
        Ok(Self { ref_: Arc::from(ref_), dir: Arc::clone(dir), name, data })
    }

    /// The data.
    pub(crate) fn data(&self) -> FileId {
        self.data
    }

    /// The directory that has the data.
    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Make sure that the data has its name, and no other one, and that the ref's lock still keeps others out.
    pub(crate) fn check(&self, store: &Store) -> Result<()> {
        let path = || store.root.ingests_path();
        let there = found(store.sys.stat_at(self.dir(), self.name)).at("stat", path)?;
        if there.is_none_or(|stat| stat.id != self.data || stat.nlink != 1) {
            return Err(self.lost());
        }
        store.locks.check_file(store.root.dir())
    }

    /// Open the data again, for reading only.
    pub(crate) fn reopen(&self, store: &Store) -> Result<Fd> {
        let path = || store.root.ingests_path();
        let file = found(store.sys.open(self.dir(), self.name, false)).at("open", path)?;
        let file = file.ok_or_else(|| self.lost())?;
        let stat = store.sys.stat(file.as_fd()).at("stat", path)?;
        if stat.id == self.data { Ok(file) } else { Err(self.lost()) }
    }

    /// Take the data for publication: it is still this ingest's, and it is open for writing nowhere.
    ///
    /// `ETXTBSY` says that it is.
    pub(crate) fn claim<'a>(&self, store: &'a Store, data: BorrowedFd<'a>) -> Result<Lease<'a>> {
        let path = || store.root.ingests_path();
        let lease = Lease::take(store.sys.as_ref(), data).at("lease", path)?;
        let lease = lease.ok_or_else(|| io::Error::from_raw_os_error(libc::ETXTBSY)).at("rename", path)?;
        self.check(store)?;
        Ok(lease)
    }

    fn lost(&self) -> Error {
        Error::Aborted { name: self.ref_.to_string() }
    }
}

impl<'a> Lease<'a> {
    /// Take a file that is open for reading only; None if it is open for writing somewhere.
    pub(crate) fn take(sys: &'a dyn Sys, fd: BorrowedFd<'a>) -> io::Result<Option<Self>> {
        let mut waits = PATIENCE.iter();
        loop {
            match sys.lease(fd) {
                Ok(true) => return Ok(Some(Self { sys, fd })),
                Ok(false) => match waits.next() {
                    Some(wait) => thread::sleep(*wait),
                    None => return Ok(None),
                },
                // Some network file systems have no leases, and only the file's owner may take one.
                Err(error) if unsupported(&error) => return Ok(Some(Self { sys, fd })),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.sys.unlease(self.fd);
    }
}

fn unsupported(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::EACCES | libc::EPERM))
}
