//! Taking blobs out of the store.

use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::model::{Event, Removal, Resources};
use crate::sys::found;
use crate::sys::{FileKind, Naming};
use crate::volume::Volume;
use crate::volume::blob_dir::BlobDir;
use crate::volume::events::{Report, done};
use crate::volume::lock::DigestLock;
use crate::volume::meta::SPARE_TRIES;
use crate::waiting::Patience;

impl Volume {
    /// Delete a blob and its labels; on return that survives a power loss. It needs no space on the disk.
    ///
    /// `Cancelled` means that nothing was changed: once the blob is gone, there is no wait.
    pub fn delete(&self, digest: &Digest) -> Result<()> {
        self.delete_under(None, digest)
    }

    /// Do the same under a lease, which no longer protects that blob. Other leases keep their entries, as in containerd.
    pub fn delete_under(&self, lease: Option<&str>, digest: &Digest) -> Result<()> {
        self.check_writable()?;
        let (lock, dir) = self.leave(lease, digest)?;
        let path = || self.root.blob_path(digest);
        // Its blocks are not free for others before the sync: otherwise a power cut could bring the name back with their bytes.
        let needs_hold = dir.naming(self.sys.as_ref()) == Naming::Everything;
        let _held = needs_hold.then(|| self.sys.open(dir.fd(), &digest.encoded(), false).ok());
        let report = self.begin_removal(digest, Removal::Deleted);
        // DURABILITY: synced below; a power cut before leaves the blob, with or without its labels.
        self.sys.unlink(dir.fd(), &digest.encoded()).at("unlink", path)?;
        dir.sync(self.sys.as_ref())?;
        done(report);
        self.forget(digest, lock);
        Ok(())
    }

    /// Lock the digest of a stored blob, and take it out of a lease. While another process writes, the digest is free; an entry that cannot be
    /// removed soon stays, and protects nothing.
    ///
    /// The entry goes before the blob: a caller that enters it again from then on keeps that entry.
    fn leave(&self, lease: Option<&str>, digest: &Digest) -> Result<(DigestLock, Arc<BlobDir>)> {
        let resources = Resources { digests: vec![*digest], refs: Vec::new() };
        let mut patience = Patience::new();
        let mut tries = 0;
        loop {
            let lock = self.locks.digest(digest)?;
            let dir = self.stored_in(digest)?;
            tries += 1;
            if tries > SPARE_TRIES || lease.is_none_or(|id| self.meta.try_leave_lease(id, &resources)) {
                return Ok((lock, dir));
            }
            drop(lock);
            patience.pause()?;
        }
    }

    /// Begin the event of a blob that is removed, under its digest's lock; it is done when the removal is durable.
    pub(crate) fn begin_removal(&self, digest: &Digest, reason: Removal) -> Option<Arc<Report>> {
        self.events().begin(|| Event::deleted(digest, reason, self.sys.now_ns()))
    }

    /// Move a blob into quarantine and return its path there; on return that survives a power loss. Its labels go.
    pub fn quarantine(&self, digest: &Digest) -> Result<PathBuf> {
        self.check_writable()?;
        let lock = self.locks.digest(digest)?;
        let dir = self.stored_in(digest)?;
        let report = self.begin_removal(digest, Removal::Quarantined);
        let path = self.move_aside(&dir, digest)?;
        done(report);
        self.forget(digest, lock);
        Ok(path)
    }

    /// Return the directory that holds a blob; its digest's lock is held.
    fn stored_in(&self, digest: &Digest) -> Result<Arc<BlobDir>> {
        let dir = self.root.blob_dir(digest.algorithm())?;
        let dir = dir.ok_or_else(|| Error::no_blob(digest))?;
        let stat = found(self.sys.stat_at(dir.fd(), &digest.encoded()));
        match stat.at("stat", || self.root.blob_path(digest))? {
            Some(stat) if stat.kind == FileKind::File => Ok(dir),
            _ => Err(Error::no_blob(digest)),
        }
    }

    /// Remove a blob's row, after its file is durably gone.
    ///
    /// A row without a file means nothing, and the next blob of that digest replaces it. So a full disk, damaged metadata
    /// or a suspended process cannot prevent a deletion. While another process writes, the digest is free.
    fn forget(&self, digest: &Digest, lock: DigestLock) {
        let mut tried = self.meta.try_forget(digest);
        drop(lock);
        let mut patience = Patience::new();
        for _ in 0..SPARE_TRIES {
            if !matches!(tried, Ok(None)) || patience.pause().is_err() {
                return;
            }
            tried = self.try_forget_gone(digest);
        }
    }

    /// Remove the row of a blob that is gone, unless there is one again; None while another process has a lock.
    fn try_forget_gone(&self, digest: &Digest) -> Result<Option<()>> {
        let Some(_lock) = self.locks.try_digest(digest)? else { return Ok(None) };
        if self.stat_blob(digest)?.is_some() {
            return Ok(Some(()));
        }
        self.meta.try_forget(digest)
    }
}
