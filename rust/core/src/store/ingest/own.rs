//! Checks whether the data of an ingest belongs only to its writer.
//!
//! The lock of the ref guarantees this, as long as the file `lock` stays in its place and every process uses it. If the file is removed,
//! another process can take the same ref with the same data, and overwrite bytes that the first one publishes. So at each flush a
//! writer checks that its data still has its name and that its lock is still valid. Publication checks, under the digest's lock, that
//! no process has the file open for writing: it takes a lease on the file and holds it until the file has its new name. A process
//! that opened the data before is found by the lease; one that comes later finds no data.
//!
//! A data file that another process has open for writing is never renamed: its bytes are published as a verified copy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::error::{At, Error, Result};
use crate::sys::{Fd, FileId, Sys, found};
use crate::volume::Volume;

/// The identity of an ingest's data, to check that the data still belongs to its writer.
#[derive(Clone)]
pub(crate) struct Own {
    ref_: Arc<str>,
    dir: Arc<Fd>,
    name: &'static str,
    data: FileId,
}

impl Own {
    /// The identity for an ingest of a ref whose data is the open file, under this name in `dir`.
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

    /// Check that the data has its name and no other, and that the ref's lock still excludes other processes.
    pub(crate) fn check(&self, volume: &Volume) -> Result<()> {
        let path = || volume.root.ingests_path();
        let there = found(volume.sys.stat_at(self.dir(), self.name)).at("stat", path)?;
        if there.is_none_or(|stat| stat.id != self.data || stat.nlink != 1) {
            return Err(self.lost());
        }
        volume.locks.check_file(volume.root.dir())
    }

    /// Open the data again, for reading only.
    pub(crate) fn reopen(&self, volume: &Volume) -> Result<Fd> {
        let path = || volume.root.ingests_path();
        let file = found(volume.sys.open(self.dir(), self.name, false)).at("open", path)?;
        let file = file.ok_or_else(|| self.lost())?;
        let stat = volume.sys.stat(file.as_fd()).at("stat", path)?;
        if stat.id == self.data { Ok(file) } else { Err(self.lost()) }
    }

    fn lost(&self) -> Error {
        Error::Aborted { name: self.ref_.to_string() }
    }
}
