//! The writers' part of garbage collection: remove the note of a blob, then look for the blob.
//!
//! A note is the only permission to remove a blob. A collection removes the note and takes the blob out of `blobs/` in one
//! transaction. So if a caller finds no note, or removes it, and finds the file after that, no collection removes the blob until
//! it has noted the blob again and the grace time has passed. `docs/lifecycle-protocol.md` has the whole protocol.
//!
//! A store without any collection so far has no notes, so they are not queried.

use std::os::fd::{AsFd, BorrowedFd};

use crate::archive::json::{DOCUMENT_LIMIT, References, may_be_document, references};
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::model::Resources;
use crate::sys::{found, read_exact_at};
use crate::volume::Volume;
use crate::volume::blob_dir::BlobDir;
use crate::volume::publish::Candidate;
use crate::waiting::Patience;

/// The first bytes of a blob, which show whether it may be a document.
const HEAD: u64 = 256;

/// The age from which a result is too old to be returned. The grace time of a collection should be at least twice as long.
const LATE_NS: i64 = 3600 * 1_000_000_000;

impl Volume {
    /// Protect blobs before the caller looks for them: by the caller's lease if it has one, otherwise for the grace time.
    pub fn protect(&self, lease: Option<&str>, digests: &[Digest]) -> Result<()> {
        self.check_writable()?;
        Patience::until(|| self.try_protect(lease, digests))
    }

    /// Make one attempt to protect blobs as `protect` does. Returns `None`, without a change, while another process is writing.
    pub(crate) fn try_protect(&self, lease: Option<&str>, digests: &[Digest]) -> Result<Option<()>> {
        if let Some(id) = lease {
            return self.try_enter(id, &Resources { digests: digests.to_vec(), refs: Vec::new() }, "");
        }
        if !self.root.is_collected() {
            return Ok(Some(()));
        }
        let noted = self.meta.noted(digests)?;
        self.meta.try_protect(&noted.digests, &[])
    }

    /// Do work whose result, which may be an error, says that blobs are stored, and return the result. If the work took very long, for
    /// example because the process was suspended, a collection may have noted and removed the blobs since they were protected; the work is
    /// then repeated. Under a lease there is no such limit.
    pub(crate) fn in_time<T>(&self, lease: Option<&str>, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        if lease.is_some() || !self.root.is_collected() {
            return work();
        }
        loop {
            let began_ns = self.sys.boot_ns();
            let done = work();
            let is_answer = matches!(done, Ok(_) | Err(Error::AlreadyExists { .. }));
            if !is_answer || self.sys.boot_ns().saturating_sub(began_ns) < LATE_NS {
                return done;
            }
        }
    }

    /// Protect a blob that was found. Returns whether its name still leads to the same file: only then may the caller report the blob as
    /// stored. The caller holds no lock.
    pub(crate) fn confirm(&self, dir: &BlobDir, digest: &Digest, file: BorrowedFd<'_>) -> Result<bool> {
        if !self.root.is_collected() {
            return Ok(true);
        }
        self.protect(None, &[*digest])?;
        if self.is_blind() {
            return Ok(false);
        }
        let path = || self.root.blob_path(digest);
        let named = found(self.sys.stat_at(dir.fd(), &digest.encoded())).at("stat", path)?;
        let ours = self.sys.stat(file.as_fd()).at("stat", path)?;
        Ok(named.is_some_and(|named| named.id == ours.id))
    }

    /// Whether notes of blobs can be neither read nor removed, because this process has found damage in `meta.db`, which a collection of
    /// another process may not have found. An existing blob is then stored again, because no note refers to the new file.
    pub(crate) fn is_blind(&self) -> bool {
        self.root.is_collected() && self.meta.damage().is_some()
    }

    /// Return the blobs that a file names, if it may be a document and names any. A collection in progress must know them before the file
    /// gets its name, because it may have read their other roots already.
    pub(crate) fn names_of(&self, candidate: &Candidate<'_>) -> Result<Option<References>> {
        let Candidate { staged, digest, size, .. } = candidate;
        if *size > DOCUMENT_LIMIT {
            return Ok(None);
        }
        let path = || self.root.blob_path(digest);
        let mut data = vec![0; usize::try_from((*size).min(HEAD)).unwrap_or_default()];
        read_exact_at(self.sys.as_ref(), staged.fd(), &mut data, 0).at("read", path)?;
        if !may_be_document(&data) {
            return Ok(None);
        }
        data.resize(usize::try_from(*size).unwrap_or_default(), 0);
        read_exact_at(self.sys.as_ref(), staged.fd(), &mut data, 0).at("read", path)?;
        Ok(references(&data).filter(|names| !names.blobs.is_empty()))
    }
}
