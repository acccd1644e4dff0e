//! Verified copies of small blobs, as files in a directory outside of the store.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use super::Cache;
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::hash::Hasher;
use crate::sys::write_all_at;
use crate::threads::low_priority::low_priority;
use crate::volume::Volume;

/// A requested copy.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The blob.
    pub digest: Digest,
    /// The size of the blob according to a document.
    pub size: u64,
    /// The index of its directory among those of the call.
    pub folder: usize,
    /// The name of the file.
    pub name: String,
    /// The permissions of the file. Those in the process's umask are removed.
    pub mode: u32,
    /// Its modification time, or None for now.
    pub mtime_ns: Option<i64>,
}

impl Volume {
    /// Write copies of blobs into directories; each succeeds or fails by itself. The result is false, and nothing was done, if the name
    /// is taken or the file system has no unnamed files.
    ///
    /// A copy gets its name when it is complete and verified. Each blob is read into memory as a whole. Nothing is synced.
    ///
    /// # Panics
    ///
    /// If a copy refers to a directory that was not passed.
    pub fn write_copies(&self, folders: &[BorrowedFd<'_>], wanted: &[Wanted]) -> Vec<Result<bool>> {
        let mut buffer = Vec::new();
        low_priority(|| wanted.iter().map(|each| self.write_copy(folders[each.folder], each, &mut buffer)).collect())
    }

    fn write_copy(&self, dir: BorrowedFd<'_>, wanted: &Wanted, buffer: &mut Vec<u8>) -> Result<bool> {
        let path = || PathBuf::from(&wanted.name);
        let blob = self.blob(&wanted.digest)?;
        if blob.size() != wanted.size {
            let (expected, actual) = (format!("{} bytes", wanted.size), format!("{} bytes", blob.size()));
            return Err(Error::DataCorrupt { name: wanted.digest.to_string(), expected, actual });
        }
        buffer.resize(usize::try_from(blob.size()).unwrap_or(usize::MAX), 0);
        blob.read_some(buffer, 0, Cache::Keep)?;
        let mut hasher = Hasher::new(wanted.digest.algorithm());
        hasher.update(buffer);
        let actual = hasher.digest();
        if actual != wanted.digest {
            let (name, expected) = (wanted.digest.to_string(), wanted.digest.to_string());
            return Err(Error::DataCorrupt { name, expected, actual: actual.to_string() });
        }
        let sys = self.sys.as_ref();
        let file = match sys.create_unnamed(dir, wanted.mode) {
            Err(error) if has_no_unnamed(&error) => return Ok(false),
            other => other.at("create", path)?,
        };
        write_all_at(sys, file.as_fd(), buffer, 0).at("write", path)?;
        if let Some(mtime_ns) = wanted.mtime_ns {
            sys.set_mtime(file.as_fd(), mtime_ns).at("utimes", path)?;
        }
        // DURABILITY: not synced. After a power cut the file may be empty or missing; its durability was never acknowledged.
        match sys.link_unnamed(file.as_fd(), dir, &wanted.name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.map(|()| true).at("link", path),
        }
    }
}

fn has_no_unnamed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL))
}
