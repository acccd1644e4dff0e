//! An open blob: its bytes, as they are on the disk.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::publish::{Named, find};
use crate::store::Store;
use crate::sys::{Stat, Sys, read_full_at};

const PIECE: usize = 256 * 1024;

/// A blob that is open for reading; it stays readable when it is deleted meanwhile.
///
/// Nothing here is verified: only the digest of all bytes says whether they are right.
pub struct Blob {
    sys: Arc<dyn Sys>,
    file: OwnedFd,
    digest: Digest,
    path: PathBuf,
    stat: Stat,
}

impl Store {
    /// Open a blob.
    pub fn blob(&self, digest: &Digest) -> Result<Blob> {
        self.check_open()?;
        let path = self.root.blob_path(digest);
        let Some(dir) = self.root.blob_dir(digest.algorithm())? else {
            return Err(Error::no_blob(digest));
        };
        match find(self.sys.as_ref(), dir.fd(), &digest.encoded()).at("open", || &path)? {
            Named::File(file, stat) => {
                let (sys, digest) = (Arc::clone(&self.sys), *digest);
                Ok(Blob { sys, file, digest, path, stat })
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

    /// Its length in bytes, when it was opened.
    pub fn size(&self) -> u64 {
        self.stat.size
    }

    /// What the file system knew of it when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Fill the buffer from `offset`. Reading past the end is `OutOfRange`, a file that was cut `DataCorrupt`.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let size = self.size();
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > size) {
            let offset = if offset > size { offset } else { end.unwrap_or(u64::MAX) };
            let name = self.digest.to_string();
            return Err(Error::OutOfRange { name, offset, size });
        }
        let read = read_full_at(self.sys.as_ref(), self.file.as_fd(), buffer, offset);
        let read = read.at("read", || &self.path)?;
        if read < buffer.len() {
            return Err(Error::DataCorrupt {
                name: self.digest.to_string(),
                expected: format!("{size} bytes"),
                actual: format!("{} bytes", offset + read as u64),
            });
        }
        Ok(())
    }

    /// Give at most `most` bytes from `offset` to `each`, in pieces; return how many there were, none at the end.
    pub fn hash_at(&self, offset: u64, most: u64, mut each: impl FnMut(&[u8])) -> Result<u64> {
        let size = self.size().saturating_sub(offset).min(most);
        let mut buffer = vec![0; usize::try_from(size).unwrap_or(PIECE).min(PIECE)];
        let mut done = 0;
        while done < size {
            let take = usize::try_from(size - done).unwrap_or(PIECE).min(PIECE);
            self.read_exact_at(&mut buffer[..take], offset + done)?;
            each(&buffer[..take]);
            done += take as u64;
        }
        Ok(done)
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
