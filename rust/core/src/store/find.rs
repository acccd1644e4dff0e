//! Files whose bytes are already stored: reading the file is cheaper than writing a blob of its size.

use std::os::fd::{AsFd, BorrowedFd};

use super::Store;
use super::group_commit::{Entry, File};
use crate::digest::{Algorithm, Digest};
use crate::error::Result;
use crate::pipe::Job;
use crate::pipe::MultiHasher;
use crate::sys::read_full_at;
use crate::volume::meta::LARGE;
use crate::volume::{Content, Existing};

/// The most blobs of one size that a file is compared with: the comparison must cost next to nothing.
const LOOKALIKES: usize = 16;

/// Bytes that are compared at a time.
const SAMPLE: usize = 4096;

impl Store {
    /// Return the digest of a file if a blob with the same `size` bytes is stored; `None` otherwise, or if the job was cancelled.
    ///
    /// A large file is hashed only if some of its bytes equal those of a blob of the same size, so that many new files of one size
    /// are not read twice. A blob that is found survives a power loss. Some blobs are not found: those of a size that many blobs
    /// have, and those that other programs have put into the root.
    pub fn find(&self, file: BorrowedFd<'_>, size: u64, algorithm: Algorithm, job: &Job) -> Result<Option<Digest>> {
        self.find_under(None, file, size, algorithm, job)
    }

    /// Like `find`, under a lease. The digest is added to the lease before its blob is looked for.
    pub fn find_under(
        &self,
        lease: Option<&str>,
        file: BorrowedFd<'_>,
        size: u64,
        algorithm: Algorithm,
        job: &Job,
    ) -> Result<Option<Digest>> {
        self.volume.check_writable()?;
        if size >= LARGE {
            let candidates = self.volume.meta.of_size(size, LOOKALIKES)?;
            if !candidates.iter().any(|digest| self.is_alike(file, size, digest)) {
                return Ok(None);
            }
        }
        let mut hasher = MultiHasher::new(&[algorithm])?;
        if hasher.update_from(self.volume.sys.as_ref(), file, 0, size, job)? < size {
            return Ok(None);
        }
        let digest = hasher.digests()[0];
        self.volume.enter(lease, &[digest], "")?;
        self.volume.in_time(lease, || self.find_blob(lease, &digest, file, size, job))
    }

    /// Return the digest if its blob is stored and has exactly the bytes of the file.
    fn find_blob(
        &self,
        lease: Option<&str>,
        digest: &Digest,
        file: BorrowedFd<'_>,
        size: u64,
        job: &Job,
    ) -> Result<Option<Digest>> {
        let dir = self.volume.root.make_blob_dir(digest.algorithm())?;
        // A damaged blob does not count: publication repairs it.
        match self.volume.existing(&dir, digest, Content::Source(file, job), size)? {
            Existing::Same { file, .. } if lease.is_none() && !self.volume.confirm(&dir, digest, file.as_fd())? => {
                Ok(None)
            }
            Existing::Same { durable: true, .. } => Ok(Some(*digest)),
            Existing::Same { file, .. } => {
                // The process that stored it may have died before it was durable, and the caller will rely on it.
                let mut entry = Entry::new(digest.algorithm());
                entry.opened(&self.group_commit);
                entry.add(File::Stored(file));
                self.group_commit.submit(&self.volume, entry, || ()).remove(0)?;
                Ok(Some(*digest))
            }
            Existing::Absent | Existing::Stray | Existing::Damaged { .. } => Ok(None),
        }
    }

    /// Whether the file and the blob have the same bytes at some places. Bytes that cannot be read count as different.
    fn is_alike(&self, file: BorrowedFd<'_>, size: u64, digest: &Digest) -> bool {
        let Ok(blob) = self.volume.inspect(digest) else { return false };
        let last = size.saturating_sub(SAMPLE as u64);
        // The middle is compared first, because files of one kind often have the same beginning.
        blob.size() == size
            && [size / 2, last, 0].into_iter().all(|offset| {
                let (mut ours, mut theirs) = ([0; SAMPLE], [0; SAMPLE]);
                let sys = self.volume.sys.as_ref();
                let ours_read = read_full_at(sys, file, &mut ours, offset);
                let theirs_read = read_full_at(sys, blob.as_fd(), &mut theirs, offset);
                matches!((ours_read, theirs_read), (Ok(one), Ok(other)) if one == other && ours == theirs)
            })
    }
}
