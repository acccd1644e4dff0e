//! Reads without waiting for a disk or for another thread: from the page cache.
//!
//! For callers that must not wait, such as the thread of an event loop. If a read would wait or fails, the caller uses a call that
//! may wait, which also reports errors.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::Blob;
use crate::digest::Digest;
use crate::error::Result;
use crate::sys::{FileKind, Stat};
use crate::volume::Volume;

impl Volume {
    /// Open a blob as `blob` does, if that is possible without waiting. To record a use, once an hour, may wait.
    pub fn blob_cached(&self, digest: &Digest) -> Result<Option<Blob>> {
        self.check_open()?;
        let Some(dir) = self.root.known_blob_dir(digest.algorithm()) else {
            return Ok(None);
        };
        let open = || -> io::Result<_> {
            let file = self.sys.open_cached(dir.fd(), &digest.encoded())?;
            let stat = self.sys.stat(file.as_fd())?;
            Ok((file, stat))
        };
        let Ok((file, stat)) = open() else {
            return Ok(None);
        };
        if stat.kind != FileKind::File || self.is_use_due(&stat) {
            return Ok(None);
        }
        let (sys, digest, path) = (Arc::clone(&self.sys), *digest, self.root.blob_path(digest));
        Ok(Some(Blob { sys, file, digest, path, stat, _user: self.user.clone() }))
    }
}

impl Blob {
    /// Fill the buffer from `offset` on as `read_exact_at` does, if that is possible without waiting. If this returns false, a part may be
    /// filled.
    pub fn read_cached(&self, buffer: &mut [u8], offset: u64) -> Result<bool> {
        self.check_range(offset, buffer.len())?;
        let mut done = 0;
        while done < buffer.len() {
            match self.sys.read_cached_at(self.file.as_fd(), &mut buffer[done..], offset + done as u64) {
                Ok(0) | Err(_) => return Ok(false),
                Ok(read) => done += read,
            }
        }
        Ok(true)
    }

    /// Whether the file still has its name and nothing about it has changed since it was opened. It does not wait.
    pub fn is_unchanged(&self) -> bool {
        let is_same = |stat: Stat| stat.nlink > 0 && stat.ctime_ns == self.stat.ctime_ns && stat.size == self.stat.size;
        self.sys.stat(self.file.as_fd()).is_ok_and(is_same)
    }

    /// Whether closing the file frees nothing on the disk, because it still has a name.
    pub fn closes_at_once(&self) -> bool {
        self.sys.stat(self.file.as_fd()).is_ok_and(|stat| stat.nlink > 0)
    }
}
