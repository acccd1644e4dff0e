//! Deleting blobs, and moving them into quarantine.

use std::path::PathBuf;
use std::slice;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::model::{Event, Removal, Resources};
use crate::sys::{FileKind, Sys, found};
use crate::volume::Volume;
use crate::volume::blob_dir::BlobDir;
use crate::volume::events::{Report, done};
use crate::volume::lock::DigestLock;
use crate::volume::removed::Removed;
use crate::waiting::{Patience, SPARE_TRIES};

impl Volume {
    /// Delete a blob and its labels; on return the removal survives a power loss. This needs no space on the disk.
    ///
    /// `Cancelled` means that nothing was changed: once the blob has been removed, there is no further wait.
    pub fn delete(&self, digest: &Digest) -> Result<()> {
        self.delete_many(None, slice::from_ref(digest))?.remove(0)
    }

    /// Delete many blobs as `delete` does, with one sync for all. Returns the result for each.
    ///
    /// The caller's lease, if it has one, no longer protects them. Other leases keep their entries, as in containerd. After an error of the
    /// call, some of the blobs may have been removed, unless the error is `Cancelled`.
    pub fn delete_many(&self, lease: Option<&str>, digests: &[Digest]) -> Result<Vec<Result<()>>> {
        self.check_writable()?;
        if digests.is_empty() {
            return Ok(Vec::new());
        }
        let (lock, dirs) = self.leave(lease, digests)?;
        let mut removal = Unsynced::default();
        let both = digests.iter().zip(dirs);
        let results = both.map(|(digest, dir)| self.take_away(&mut removal, digest, dir?)).collect();
        // The lock of all digests must not be held during a sync. The lock of a single digest delays no other blob.
        let lock = (digests.len() == 1).then_some(lock);
        for (dir, _) in &removal.dirs {
            dir.sync(self.sys.as_ref())?;
        }
        done(removal.reports);
        self.forget(&removal.digests, lock);
        Ok(results)
    }

    /// Remove the name of a blob. Its digest is locked.
    fn take_away(&self, removal: &mut Unsynced, digest: &Digest, dir: Arc<BlobDir>) -> Result<()> {
        let path = || self.root.blob_path(digest);
        let report = self.begin_removal(digest, Removal::Deleted);
        let sys = self.sys.as_ref();
        let (dir, removed) = removal.of(sys, dir);
        // DURABILITY: synced by the caller; an earlier power cut leaves the blob, with or without its labels. No other file can get its blocks
        // before the sync: otherwise a power cut could restore the name with other bytes.
        if !removed.unlink(sys, dir.fd(), &digest.encoded()).at("unlink", path)? {
            return Err(Error::no_blob(digest));
        }
        removal.digests.push(*digest);
        removal.reports.extend(report);
        Ok(())
    }

    /// Lock the digests of blobs, find the directories of the stored ones, and remove these from a lease. While another process is writing,
    /// the digests are not locked. Entries that cannot be removed soon remain, and protect nothing.
    ///
    /// The entries are removed before the blobs: if a caller adds an entry again after that, the entry is kept.
    fn leave(&self, lease: Option<&str>, digests: &[Digest]) -> Result<(DigestLock, Vec<Result<Arc<BlobDir>>>)> {
        let mut patience = Patience::new();
        let mut tries = 0;
        loop {
            let lock = Patience::until(|| self.locks.try_digests(digests))?;
            let dirs: Vec<_> = digests.iter().map(|digest| self.stored_in(digest)).collect();
            tries += 1;
            if tries > SPARE_TRIES || self.try_leave(lease, digests, &dirs) {
                return Ok((lock, dirs));
            }
            drop(lock);
            patience.pause()?;
        }
    }

    /// Remove the stored blobs from a lease. Returns false, without a change, while another process is writing.
    fn try_leave(&self, lease: Option<&str>, digests: &[Digest], dirs: &[Result<Arc<BlobDir>>]) -> bool {
        let Some(id) = lease else { return true };
        let stored = digests.iter().zip(dirs).filter(|(_, dir)| dir.is_ok());
        let resources = Resources { digests: stored.map(|(digest, _)| *digest).collect(), refs: Vec::new() };
        resources.digests.is_empty() || self.meta.try_leave_lease(id, &resources)
    }

    /// Begin the event of the removal of a blob, under its digest's lock. The event is done when the removal is durable.
    pub(crate) fn begin_removal(&self, digest: &Digest, reason: Removal) -> Option<Arc<Report>> {
        self.events().begin(|| Event::deleted(digest, reason, self.sys.now_ns()))
    }

    /// Move a blob into quarantine, remove its labels, and return its path there; on return the move survives a power loss.
    pub fn quarantine(&self, digest: &Digest) -> Result<PathBuf> {
        self.check_writable()?;
        let lock = self.locks.digest(digest)?;
        let dir = self.stored_in(digest)?;
        let report = self.begin_removal(digest, Removal::Quarantined);
        let path = self.move_aside(&dir, digest)?;
        done(report);
        self.forget(slice::from_ref(digest), Some(lock));
        Ok(path)
    }

    /// Return the directory of a stored blob. Its digest's lock is held.
    fn stored_in(&self, digest: &Digest) -> Result<Arc<BlobDir>> {
        let dir = self.root.blob_dir(digest.algorithm())?;
        let dir = dir.ok_or_else(|| Error::no_blob(digest))?;
        let stat = found(self.sys.stat_at(dir.fd(), &digest.encoded()));
        match stat.at("stat", || self.root.blob_path(digest))? {
            Some(stat) if stat.kind == FileKind::File => Ok(dir),
            _ => Err(Error::no_blob(digest)),
        }
    }

    /// Remove the rows of blobs, after the removal of their files is durable. The digests may be locked.
    ///
    /// A row without a file has no effect, and the next blob of that digest replaces it. So a full disk, damaged metadata or a suspended
    /// process cannot prevent a deletion. While another process is writing, the digests are not locked.
    fn forget(&self, digests: &[Digest], lock: Option<DigestLock>) {
        let mut tried = match &lock {
            Some(_) => self.meta.try_forget(digests),
            None => self.try_forget_gone(digests),
        };
        drop(lock);
        let mut patience = Patience::new();
        for _ in 0..SPARE_TRIES {
            if !matches!(tried, Ok(None)) || patience.pause().is_err() {
                return;
            }
            tried = self.try_forget_gone(digests);
        }
    }

    /// Remove the rows of removed blobs, but not the row of a blob that has been stored again. Returns `None` while another process has a
    /// lock.
    fn try_forget_gone(&self, digests: &[Digest]) -> Result<Option<()>> {
        let Some(_lock) = self.locks.try_digests(digests)? else { return Ok(None) };
        let mut gone = Vec::with_capacity(digests.len());
        for digest in digests {
            if self.stat_blob(digest)?.is_none() {
                gone.push(*digest);
            }
        }
        self.meta.try_forget(&gone)
    }
}

/// The blobs whose names were removed, and the directories that must be synced.
#[derive(Default)]
struct Unsynced {
    digests: Vec<Digest>,
    reports: Vec<Arc<Report>>,
    dirs: Vec<(Arc<BlobDir>, Removed)>,
}

impl Unsynced {
    /// Return a directory with the files that were removed from it.
    fn of(&mut self, sys: &dyn Sys, dir: Arc<BlobDir>) -> (&BlobDir, &mut Removed) {
        let place = self.dirs.iter().position(|(known, _)| Arc::ptr_eq(known, &dir)).unwrap_or_else(|| {
            let removed = Removed::new(dir.naming(sys));
            self.dirs.push((dir, removed));
            self.dirs.len() - 1
        });
        let (dir, removed) = &mut self.dirs[place];
        (dir, removed)
    }
}
