//! An open blob: its unverified bytes on the disk.
//!
//! `blob/bulk.rs` reads and hashes many of them in one call, `blob/stream.rs` all of them in order, ahead of its caller;
//! `blob/many.rs` hashes many blobs at once, `blob/copies.rs` copies them into files, and `blob/cached.rs` reads bytes
//! that are available without waiting.

mod bulk;
mod cached;
mod copies;
mod many;
mod stream;

pub use bulk::Cache;
pub use copies::Wanted;
pub use many::Hashed;
pub use stream::Stream;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::sys::{Fd, Stat, Sys, read_full_at};
use crate::volume::Volume;
use crate::volume::publish::{Named, find, find_unrecorded};
use crate::volume::users::User;

/// A blob that is open for reading. It stays readable if it is deleted meanwhile.
///
/// Nothing here is verified: only the digest of all bytes shows whether they are correct.
pub struct Blob {
    sys: Arc<dyn Sys>,
    file: Fd,
    digest: Digest,
    path: PathBuf,
    stat: Stat,
    _user: User,
}

/// How a name in a blob directory is opened.
type Finder = fn(&dyn Sys, BorrowedFd<'_>, &str) -> io::Result<Named>;

impl Volume {
    /// Open a blob to use it.
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        let blob = self.open_by(find, digest)?;
        self.record_use(blob.file.as_fd(), &blob.stat);
        Ok(blob)
    }

    /// Open a blob to check it, which does not count as a use.
    pub fn inspect(&self, digest: &Digest) -> Result<Blob> {
        self.open_by(find_unrecorded, digest)
    }

    fn open_by(&self, find: Finder, digest: &Digest) -> Result<Blob> {
        self.check_open()?;
        let path = self.root.blob_path(digest);
        let Some(dir) = self.root.blob_dir(digest.algorithm())? else {
            return Err(Error::no_blob(digest));
        };
        match find(self.sys.as_ref(), dir.fd(), &digest.encoded()).at("open", || &path)? {
            Named::File(file, stat) => {
                let (sys, digest) = (Arc::clone(&self.sys), *digest);
                Ok(Blob { sys, file, digest, path, stat, _user: self.user.clone() })
            }
            Named::Absent | Named::Stray => Err(Error::no_blob(digest)),
        }
    }
}

impl Blob {
    /// Its name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its length in bytes at the time when it was opened.
    pub fn size(&self) -> u64 {
        self.stat.size
    }

    /// The file's status when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Fill the buffer from `offset`. Reading past the end is `OutOfRange`, a file that was truncated `DataCorrupt`.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.check_range(offset, buffer.len())?;
        let read = read_full_at(self.sys.as_ref(), self.file.as_fd(), buffer, offset);
        let read = read.at("read", || &self.path)?;
        if read < buffer.len() { Err(self.cut_short(offset + read as u64)) } else { Ok(()) }
    }

    fn check_range(&self, offset: u64, length: usize) -> Result<()> {
        let size = self.size();
        match offset.checked_add(length as u64) {
            Some(end) if end <= size => Ok(()),
            end => {
                let offset = if offset > size { offset } else { end.unwrap_or(u64::MAX) };
                Err(Error::OutOfRange { name: self.digest.to_string(), offset, size })
            }
        }
    }

    /// The error for a file that ends at `actual`, before its size.
    fn cut_short(&self, actual: u64) -> Error {
        let (expected, actual) = (format!("{} bytes", self.size()), format!("{actual} bytes"));
        Error::DataCorrupt { name: self.digest.to_string(), expected, actual }
    }
}

impl AsFd for Blob {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Blob {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
