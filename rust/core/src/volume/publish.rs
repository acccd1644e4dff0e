//! Publication: the only way in which bytes become a blob.
//!
//! | Step | A power cut or a failure after it leaves |
//! | --- | --- |
//! | the bytes are synced (`flush.rs`) | nothing visible |
//! | mode and time are set | nothing visible |
//! | the digests are locked; notes of garbage are removed (`protect.rs`); the labels become durable | rows without a file, which have no effect |
//! | the files get their names | nothing, or complete blobs without an acknowledgement |
//! | the locks are released, the files (where `sys/promise.rs` says so) and the directory are synced | the blobs |
//!
//! Several blobs can be published together. Each step is then made once for all of them, and the failure of a shared step
//! applies to all of them.
//!
//! If the name exists, its file is compared with the new bytes. If it differs, it is damaged: a copy is kept in quarantine, and
//! the new file replaces it.
//!
//! The locks do not cover the sync of the directory, which takes longest. A process that finds a name before the sync does not
//! rely on it: a put and an update sync the directory themselves. A delete may remove a blob that was not acknowledged yet, as
//! if the delete had come a moment later.

mod aside;
mod candidate;
mod existing;
mod flush;
mod one;

use std::collections::HashSet;
use std::os::fd::BorrowedFd;
use std::slice;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{At, Result};
use crate::model::{Event, EventKind};
use crate::sys::Naming;
use crate::volume::Volume;
use crate::volume::blob_dir::BlobDir;
use crate::volume::events::done;
use crate::volume::meta::{LARGE, Noted, Row};
use crate::volume::staged::Staged;
use crate::waiting::{Busy, Patience};

use candidate::Tried;
pub(crate) use candidate::{Candidate, Placed, Published};
pub(crate) use existing::{Content, Existing, Named, find, find_unrecorded};
use one::{Fate, Publication};

impl Volume {
    /// Publish a file. On return the blob survives a power loss.
    ///
    /// After an error, the complete blob may be stored with its labels, but it was not acknowledged.
    pub(crate) fn publish(&self, candidate: &Candidate<'_>) -> Result<Published> {
        let (mut candidate, mut patience) = (*candidate, Patience::new());
        let (dir, placed) = loop {
            self.check_open()?;
            let dir = self.root.make_blob_dir(candidate.digest.algorithm())?;
            match self.place_all(&dir, slice::from_ref(&candidate)).remove(0) {
                Ok(placed) => break (dir, vec![placed]),
                Err(Busy) => patience.pause()?,
            }
            candidate.created_ns = self.sys.now_ns();
        };
        let published = self.acknowledge(&dir, placed, &[candidate.staged.fd()], None).remove(0)?;
        if matches!(published, Published::New { .. }) {
            self.settle_old_name(&dir, candidate.staged)?;
        }
        Ok(published)
    }

    /// Make the removal of an owned file's old name durable, if the sync of its new name does not.
    fn settle_old_name(&self, dir: &BlobDir, staged: Staged<'_>) -> Result<()> {
        match staged {
            Staged::Owned { dir: old, .. } if dir.naming(self.sys.as_ref()) == Naming::Everything => {
                // DURABILITY: synced after the new name; an earlier power cut leaves a blob that has its old name too, and so an
                // ingest that is garbage.
                self.sys.sync_dir(old).at("fsync", || self.root.ingests_path())
            }
            // Remaining names in `tmp/` are swept.
            Staged::Owned { .. } | Staged::Named { .. } | Staged::Unnamed(_) => Ok(()),
        }
    }

    /// Give files of one algorithm their names, in `dir`. Nothing may be acknowledged before `dir` is synced.
    ///
    /// The result for a file is `Busy`, and nothing was done for it, while another process holds a lock that its name or its labels need.
    /// The caller then waits without any lock, and calls this again with the busy files.
    pub(crate) fn place_all(&self, dir: &BlobDir, candidates: &[Candidate<'_>]) -> Vec<Tried> {
        if candidates.is_empty() {
            return Vec::new();
        }
        let mut publications: Vec<_> =
            candidates.iter().map(|candidate| Publication::seal(self, dir, candidate)).collect();
        let digests: Vec<Digest> = candidates.iter().map(|candidate| candidate.digest).collect();
        let all = |tried: Tried| vec![tried; candidates.len()];
        let lock = match self.locks.try_digests(&digests) {
            Ok(Some(lock)) => lock,
            Ok(None) => return all(Err(Busy)),
            Err(error) => return all(Ok(Err(error))),
        };
        let known = if self.root.is_collected() {
            self.meta.have_rows_and_notes(&digests)
        } else {
            self.meta.have_rows(&digests).map(|have_rows| (have_rows, Noted::default()))
        };
        let (have_rows, noted) = match known {
            Ok(known) => known,
            Err(error) => return all(Ok(Err(error))),
        };
        let Ok(()) = self.protect_all(&mut publications, &noted) else { return all(Err(Busy)) };
        for (publication, has_row) in publications.iter_mut().zip(have_rows) {
            publication.decide(has_row);
        }
        let mut seen = HashSet::new();
        for publication in publications.iter_mut().filter(|publication| !seen.insert(publication.candidate.digest)) {
            publication.come_second();
        }
        let Ok(large) = self.write_rows(&mut publications) else { return all(Err(Busy)) };
        // From here on, the only waits are for the disk.
        let tried = publications.into_iter().map(|publication| self.finish(publication)).collect();
        drop(lock);
        self.meta.remember(&large);
        tried
    }

    /// Give the file its name, and begin the event of a new blob. The digest's lock is held.
    fn finish(&self, publication: Publication<'_>) -> Tried {
        let Candidate { digest, size, labels, .. } = *publication.candidate;
        let mut tried = publication.finish();
        if let Ok(Ok(placed)) = &mut tried
            && let Published::New { created_ns } = placed.published
        {
            placed.report = self.events().begin(|| {
                let labels = Arc::new(labels.cloned().unwrap_or_default());
                Event { digest: Some(digest), size: Some(size), labels, ..Event::new(EventKind::Created, created_ns) }
            });
        }
        tried
    }

    /// Remove the notes of blobs, before any look at the files that have their names, and log documents for a collection in progress. The
    /// digests are locked: a collection that has not begun by now waits for these locks before it marks.
    fn protect_all(&self, publications: &mut [Publication<'_>], noted: &Noted) -> Result<(), Busy> {
        let mut documents = Vec::new();
        for publication in publications.iter_mut().filter(|one| noted.is_under_way && one.fate == Fate::Link) {
            match self.names_of(publication.candidate) {
                Ok(Some(names)) => documents.push((publication.candidate.digest, names)),
                Ok(None) => {}
                Err(error) => publication.fate = Fate::Known(Err(error)),
            }
        }
        match self.meta.try_protect(&noted.digests, &documents) {
            Ok(Some(())) => {}
            Ok(None) => return Err(Busy),
            Err(error) => {
                let digests: HashSet<_> = documents.iter().map(|(digest, _)| digest).chain(&noted.digests).collect();
                let refused = publications.iter_mut().filter(|one| digests.contains(&one.candidate.digest));
                refused.for_each(|publication| publication.fate = Fate::Known(Err(error.clone())));
            }
        }
        Ok(())
    }

    /// Write the rows of the files that need one durably, all at once, and then the missing rows of large files. Returns the missing rows
    /// that must be written later because another process is writing.
    fn write_rows(&self, publications: &mut [Publication<'_>]) -> Result<Vec<Row>, Busy> {
        let needed = publications.iter().filter(|publication| publication.fate == Fate::Row);
        let rows: Vec<Row> = needed.map(Publication::row).collect();
        match self.meta.try_before_publish(&rows) {
            Ok(Some(())) => {}
            Ok(None) => return Err(Busy),
            Err(error) => {
                let refused = publications.iter_mut().filter(|publication| publication.fate == Fate::Row);
                refused.for_each(|publication| publication.fate = Fate::Known(Err(error.clone())));
            }
        }
        let large = publications.iter().filter(|one| one.fate == Fate::Link && one.candidate.size >= LARGE);
        let mut large: Vec<Row> = large.map(Publication::row).collect();
        if self.meta.try_remember(&large) {
            large.clear();
        }
        Ok(large)
    }

    /// Sync the names that need it, all at once, so that these blobs survive a power loss. A failure is reported to every caller that
    /// needed the sync.
    ///
    /// `files` are the files that were placed. `oldest` is as in `flush`, if there may be many files.
    pub(crate) fn acknowledge(
        &self,
        dir: &BlobDir,
        mut placed: Vec<Result<Placed>>,
        files: &[BorrowedFd<'_>],
        oldest: Option<BorrowedFd<'_>>,
    ) -> Vec<Result<Published>> {
        let unsynced = placed.iter().filter(|placed| placed.as_ref().is_ok_and(|placed| !placed.durable)).count();
        let sys = self.sys.as_ref();
        let whole = || oldest.filter(|_| unsynced >= flush::WHOLE_FROM).and_then(|oldest| dir.sync_whole(sys, oldest));
        let synced = match unsynced {
            0 => Ok(()),
            _ => whole().unwrap_or_else(|| {
                self.settle_files(dir, &mut placed, files);
                dir.sync(sys)
            }),
        };
        let acknowledge = |placed: Result<Placed>| {
            let placed = placed?;
            if !placed.durable {
                synced.clone()?;
            }
            done(placed.report);
            Ok(placed.published)
        };
        placed.into_iter().map(acknowledge).collect()
    }

    /// Make the modes, times and links of files durable, if the directory's sync does not.
    fn settle_files(&self, dir: &BlobDir, placed: &mut [Result<Placed>], files: &[BorrowedFd<'_>]) {
        if !self.durable || dir.naming(self.sys.as_ref()) == Naming::Directory {
            return;
        }
        let new = placed.iter_mut().zip(files).filter_map(|(placed, file)| match placed {
            Ok(Placed { durable: false, .. }) => Some((placed, *file)),
            _ => None,
        });
        let (placed, files): (Vec<_>, Vec<_>) = new.unzip();
        for (placed, synced) in placed.into_iter().zip(self.sync_named(dir, &files)) {
            if let Err(error) = synced {
                *placed = Err(error);
            }
        }
    }
}
