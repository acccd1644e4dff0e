//! The file under a blob's name, and whether it has the named bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::digest::Digest;
use crate::error::{At, Result};
use crate::pipe::Job;
use crate::sys::{Fd, FileKind, Stat, Sys, read_exact_at, read_full_at};
use crate::sys::{found, missing};
use crate::volume::Volume;
use crate::volume::blob_dir::BlobDir;

/// The bytes that are read and compared at a time.
const COMPARED: usize = 256 * 1024;

/// Bytes with which a stored blob is compared.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// All bytes of a file that this store has written.
    File(BorrowedFd<'a>),
    /// All bytes of a source file. If the job is cancelled, they count as different.
    Source(BorrowedFd<'a>, &'a Job),
    /// Bytes in memory.
    Memory(&'a [u8]),
}

/// The file under a blob's name, compared with given bytes.
pub(crate) enum Existing {
    /// The name does not exist.
    Absent,
    /// A symbolic link, a directory or the like: not a blob.
    Stray,
    /// The same bytes.
    Same {
        /// The file, open for reading.
        file: Fd,
        /// Whether the file got its name before the directory's last sync, so that both survive a power loss.
        durable: bool,
    },
    /// Other bytes, or bytes that the disk can no longer read.
    Damaged {
        /// When the blob was created, by the time of its file.
        mtime_ns: i64,
    },
}

/// The kind of file under a name in a blob directory.
pub(crate) enum Named {
    /// Nothing.
    Absent,
    /// Something that is not a blob.
    Stray,
    /// A regular file, open for reading.
    File(Fd, Stat),
}

/// Open a name in a blob directory.
pub(crate) fn find(sys: &dyn Sys, dir: BorrowedFd<'_>, name: &str) -> io::Result<Named> {
    named(sys, sys.open(dir, name, false))
}

/// Open a name in a blob directory to check the file: reads do not change its access time.
pub(crate) fn find_unrecorded(sys: &dyn Sys, dir: BorrowedFd<'_>, name: &str) -> io::Result<Named> {
    named(sys, sys.open_unrecorded(dir, name))
}

fn named(sys: &dyn Sys, opened: io::Result<Fd>) -> io::Result<Named> {
    let file = match opened {
        Ok(file) => file,
        Err(error) if missing(&error) => return Ok(Named::Absent),
        // These are a symbolic link, and a socket or a device without a driver.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO | libc::ENODEV)) => {
            return Ok(Named::Stray);
        }
        Err(error) => return Err(error),
    };
    let stat = sys.stat(file.as_fd())?;
    if stat.kind == FileKind::File { Ok(Named::File(file, stat)) } else { Ok(Named::Stray) }
}

impl Volume {
    /// Compare the file that is stored under a digest with bytes that have this digest.
    pub(crate) fn existing(&self, dir: &BlobDir, digest: &Digest, content: Content<'_>, size: u64) -> Result<Existing> {
        let sys = self.sys.as_ref();
        let path = || self.root.blob_path(digest);
        let name = digest.encoded();
        // Usually there is no file, and this call costs less than a failed open.
        if found(sys.stat_at(dir.fd(), &name)).at("stat", path)?.is_none() {
            return Ok(Existing::Absent);
        }
        let (file, stat) = match find(sys, dir.fd(), &name).at("open", path)? {
            Named::Absent => return Ok(Existing::Absent),
            Named::Stray => return Ok(Existing::Stray),
            Named::File(file, stat) => (file, stat),
        };
        let same = stat.size == size && same(sys, file.as_fd(), content, size).at("read", path)?;
        if !same {
            let mtime_ns = stat.mtime_ns;
            return Ok(Existing::Damaged { mtime_ns });
        }
        self.record_use(file.as_fd(), &stat);
        Ok(Existing::Same { file, durable: dir.covers(&stat) })
    }
}

/// Whether a stored file of `size` bytes has this content.
fn same(sys: &dyn Sys, file: BorrowedFd<'_>, content: Content<'_>, size: u64) -> io::Result<bool> {
    let piece = usize::try_from(size).unwrap_or(COMPARED).min(COMPARED);
    let (mut stored, mut ours) = (vec![0; piece], Vec::new());
    let mut offset = 0;
    while offset < size {
        let take = usize::try_from(size - offset).unwrap_or(COMPARED).min(COMPARED);
        let stored = &mut stored[..take];
        match read_full_at(sys, file, stored, offset) {
            Ok(read) if read == take => {}
            Ok(_) => return Ok(false),
            // The disk has lost the bytes. Only the replacement of the stored file can help.
            Err(error) if lost(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        let expected = match content {
            Content::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                &bytes[start..start + take]
            }
            Content::Source(_, job) if job.is_cancelled() => return Ok(false),
            Content::File(fd) | Content::Source(fd, _) => {
                ours.resize(take, 0);
                read_exact_at(sys, fd, &mut ours, offset)?;
                &ours
            }
        };
        if stored != expected {
            return Ok(false);
        }
        offset += take as u64;
    }
    Ok(true)
}

fn lost(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EUCLEAN | libc::EBADMSG))
}
