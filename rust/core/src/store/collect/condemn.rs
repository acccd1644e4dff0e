//! Taking blobs out of `blobs/`, and removing their files.

use std::mem;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::garbage::{Garbage, Piece, is_needed};
use super::mark::Marking;
use super::marks::{Keep, Origin};
use super::pending::superseded;
use super::slice::Slice;
use super::unlinking::Unlinking;
use super::values::Found;
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result, is_limit};
use crate::format::names::condemned_name;
use crate::model::Removal;
use crate::sys::{Fd, FileKind};
use crate::volume::Volume;
use crate::volume::events::{Report, done};
use crate::volume::lock::DigestLock;
use crate::volume::meta::Checked;
use crate::volume::removed::Removed;
use crate::waiting::Patience;

/// The most blobs that are condemned in one transaction.
const BATCH: usize = 32;

/// The most attempts on a full disk before anything could be condemned.
const MOST_TRIES: usize = 3;

/// The garbage, and the state of its removal.
pub(super) struct Sweep {
    /// The number of the collection; 0 for a dry run.
    pub number: u64,
    pub marking: Marking,
    pub garbage: Garbage,
    /// The bytes to remove; None for all removable garbage.
    pub limit: Option<u64>,
    /// The bytes that were condemned.
    pub bytes: u64,
    /// The attempts in which nothing could be condemned on a full disk.
    tries: usize,
    /// The position up to which the log was read.
    seen: i64,
    /// The condemned blobs, as indexes into the garbage.
    places: Vec<usize>,
    dirs: [Option<Fd>; Algorithm::ALL.len()],
    unsynced: [bool; Algorithm::ALL.len()],
    /// The lowest level of a blob whose new name is not synced.
    lowest: Option<usize>,
    /// The reports to subscribers about blobs whose new names are not synced yet.
    reports: Vec<Arc<Report>>,
}

/// The fate of a blob.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Condemned,
    Spared,
    /// The time of the step ended before this blob was handled.
    Left,
}

impl Sweep {
    pub fn new(number: u64, marking: Marking) -> Self {
        let (garbage, dirs) = (Garbage::default(), Default::default());
        let (limit, lowest, places, unsynced, reports) = (None, None, Vec::new(), Default::default(), Vec::new());
        let (bytes, tries, seen) = (0, 0, 0);
        Self { number, marking, garbage, limit, bytes, tries, seen, places, dirs, unsynced, lowest, reports }
    }

    /// Condemn the next blobs, after all reached blobs have been followed. Returns false if no more may be removed, or if the disk is full
    /// and the condemned blobs must be removed first.
    pub fn condemn(&mut self, next: &mut usize) -> Result<bool> {
        match self.try_condemn(next) {
            Err(error) if self.marking.volume.use_reserve(&error) => Ok(true),
            Err(error) if error.is_full() && self.places.is_empty() && self.tries < MOST_TRIES => {
                self.tries += 1;
                // DURABILITY: nothing depends on this sync. btrfs frees the space of removed files only after it.
                self.marking.volume.sys.sync_fs(self.marking.volume.root.dir()).ok();
                Ok(true)
            }
            Err(error) if error.is_full() && !self.places.is_empty() => {
                self.marking.warn(|| format!("{error}: some garbage stays; collect again"));
                self.sync()?;
                Ok(false)
            }
            other => other,
        }
    }

    fn try_condemn(&mut self, next: &mut usize) -> Result<bool> {
        let pieces = &self.garbage.pieces;
        let marks = &self.marking.marks;
        let is_enough = self.limit.is_some_and(|excess| self.bytes >= excess);
        while pieces.get(*next).is_some_and(|piece| !marks.may_go(piece.number)) {
            *next += 1;
        }
        let Some(Piece { level, .. }) = pieces.get(*next).copied().filter(|_| !is_enough) else {
            self.sync()?;
            return Ok(false);
        };
        if self.lowest.is_some_and(|lowest| lowest < level) {
            // The removal of a document must be durable before a blob that it names is removed.
            self.sync()?;
            return Ok(true);
        }
        let is_next = |place: &usize| pieces.get(*place).is_some_and(|piece| piece.level == level);
        let (mut bytes, excess) = (self.bytes, self.limit.unwrap_or(u64::MAX));
        let batch: Vec<usize> = (*next..)
            .take_while(is_next)
            .filter(|place| marks.may_go(pieces[*place].number))
            .take_while(|place| is_needed(&mut bytes, excess, &pieces[*place]))
            .take(BATCH)
            .collect();
        if self.marking.yielding.must_pause(&self.marking.volume.meta) {
            Patience::new().pause()?;
            return Ok(true);
        }
        let (places, locks) = self.lock(&batch)?;
        let tried = self.try_batch(&places)?;
        drop(locks);
        match tried {
            None => Patience::new().pause()?,
            Some(Checked::Superseded) => return Err(superseded()),
            Some(Checked::Protected(digests, last)) => {
                self.seen = last;
                for digest in digests.iter().filter_map(|text| Digest::parse(text).ok()) {
                    self.marking.marks.reach(&digest, Keep::Spared, Origin::Nothing, false, true);
                }
            }
            Some(Checked::Done((fates, failure, reports))) => {
                self.reports.extend(reports);
                for (place, fate) in places.iter().zip(fates) {
                    self.settle_fate(*place, fate);
                }
                failure.map_or(Ok(()), Err)?;
            }
        }
        Ok(true)
    }

    /// Lock the digests of blobs, without waiting. A blob whose digest another writer has locked is spared: the writer is about to rely on it.
    fn lock(&mut self, batch: &[usize]) -> Result<(Vec<usize>, Vec<DigestLock>)> {
        let (mut places, mut locks) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for place in batch {
            let digest = self.marking.marks.digest(self.garbage.pieces[*place].number);
            match self.marking.volume.locks.try_free_digest(&digest)? {
                Some(lock) => {
                    places.push(*place);
                    locks.push(lock);
                }
                None => self.marking.marks.reach(&digest, Keep::Spared, Origin::Nothing, false, true),
            }
            let algorithm = index_of(digest.algorithm());
            if self.dirs[algorithm].is_none() {
                self.dirs[algorithm] = match self.marking.volume.root.make_condemned(digest.algorithm()) {
                    Err(error) if error.is_full() => None,
                    other => Some(other?),
                };
            }
        }
        Ok((places, locks))
    }

    /// Condemn blobs in one transaction; `None` if another process is writing.
    #[expect(clippy::type_complexity, reason = "the fates of the blobs, why the rest was left, and the events")]
    fn try_batch(&self, places: &[usize]) -> Result<Option<Checked<(Vec<Fate>, Option<Error>, Vec<Arc<Report>>)>>> {
        let volume = &self.marking.volume;
        let slice = Slice::batch(volume.sys.as_ref());
        let pieces: Vec<(Piece, Digest)> = places
            .iter()
            .map(|place| self.garbage.pieces[*place])
            .map(|piece| (piece, self.marking.marks.digest(piece.number)))
            .collect();
        volume.meta.try_condemn(self.number, self.seen, |condemning| {
            let (mut fates, mut failure, mut reports) = (Vec::with_capacity(pieces.len()), None, Vec::new());
            for (piece, digest) in &pieces {
                if failure.is_some() || (!fates.is_empty() && slice.is_over()) {
                    fates.push(Fate::Left);
                    continue;
                }
                let note = condemning.note_of(digest)?;
                let may_go = note.is_some_and(|note| note.inode == piece.inode && note.mtime_ns == piece.mtime_ns);
                let report = if may_go { volume.begin_removal(digest, Removal::Collected) } else { None };
                let moved = if may_go { self.take_out(volume, piece, digest) } else { Ok(false) };
                match moved {
                    Ok(true) => {
                        condemning.forget(digest)?;
                        reports.extend(report);
                        fates.push(Fate::Condemned);
                    }
                    Ok(false) => fates.push(Fate::Spared),
                    Err(error) => {
                        failure = Some(error);
                        fates.push(Fate::Left);
                    }
                }
            }
            Ok((fates, failure, reports))
        })
    }

    /// Move a blob to the condemned ones, if it is still the same file as at the look. The caller has locked its digest.
    fn take_out(&self, volume: &Volume, piece: &Piece, digest: &Digest) -> Result<bool> {
        let path = || volume.root.blob_path(digest);
        let Some(dir) = volume.root.blob_dir(digest.algorithm())? else { return Ok(false) };
        let stat = volume.stat_blob(digest)?;
        if stat.is_none_or(|stat| stat.id.inode != piece.inode || stat.mtime_ns != piece.mtime_ns) {
            return Ok(false);
        }
        if let Some(condemned) = &self.dirs[index_of(digest.algorithm())] {
            let name = condemned_name(digest, self.number);
            // DURABILITY: the rename is synced before a blob that this one names is condemned, and before the file is removed. A power cut
            // before the sync leaves the blob where it was, as garbage.
            match volume.sys.rename(dir.fd(), &digest.encoded(), condemned.as_fd(), &name, false) {
                Err(error) if error.raw_os_error().is_some_and(is_limit) => {}
                other => return other.map(|()| true).at("rename", path),
            }
        }
        // DURABILITY: the disk has no room for another name, so the blob is removed as in a deletion.
        volume.sys.unlink(dir.fd(), &digest.encoded()).map(|()| true).at("unlink", path)
    }

    fn settle_fate(&mut self, place: usize, fate: Fate) {
        let piece = self.garbage.pieces[place];
        let digest = self.marking.marks.digest(piece.number);
        match fate {
            Fate::Left => {}
            Fate::Spared => self.marking.marks.reach(&digest, Keep::Spared, Origin::Nothing, false, true),
            Fate::Condemned => {
                self.marking.marks.set_gone(piece.number);
                self.unsynced[index_of(digest.algorithm())] = true;
                let lowest = self.lowest.map_or(piece.level, |lowest| lowest.min(piece.level));
                self.lowest = Some(lowest);
                self.bytes += piece.size;
                self.places.push(place);
            }
        }
    }

    /// Make the removal of the blobs' names durable.
    fn sync(&mut self) -> Result<()> {
        let volume = &self.marking.volume;
        for (place, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            if !self.unsynced[place] {
                continue;
            }
            if let Some(condemned) = &self.dirs[place] {
                // DURABILITY: the new name is synced first. A power cut between the two syncs leaves the file under both names at worst, and
                // the removal of the condemned name then leaves the blob.
                volume.sys.sync_dir(condemned.as_fd()).at("fsync", || volume.path())?;
            }
            if let Some(dir) = volume.root.blob_dir(algorithm)? {
                dir.sync(volume.sys.as_ref())?;
            }
            self.unsynced[place] = false;
        }
        self.lowest = None;
        done(mem::take(&mut self.reports));
        Ok(())
    }

    /// Begin to remove the files of the condemned blobs.
    pub fn begin_unlinking(&mut self) -> Unlinking {
        Unlinking::begin(Arc::clone(&self.marking.volume), self.dirs.iter_mut().filter_map(mem::take).collect())
    }

    /// The condemned blob with number `next`, in the order in which they were condemned; `None` after the last one.
    pub fn found(&self, next: usize) -> Option<Found> {
        let piece = self.places.get(next).map(|place| self.garbage.pieces[*place])?;
        let digest = self.marking.marks.digest(piece.number);
        Some(Found { digest, size: piece.size, since_ns: piece.since_ns, goes: true })
    }
}

/// Remove the files that an earlier collection has condemned. Returns whether there may be more. They are never renamed back: a client that
/// has put such a blob since then has its own file.
pub(super) fn clean(volume: &Volume, slice: &Slice<'_>) -> Result<bool> {
    for algorithm in Algorithm::ALL {
        let Some(dir) = volume.root.condemned(algorithm)? else { continue };
        let mut names = Vec::new();
        let path = || volume.path().to_owned();
        let entries = volume.sys.reopen_dir(dir.as_fd()).at("list", path)?;
        while names.is_empty() {
            let mut add = |name: &str, kind| {
                // We make no directory there.
                if kind != FileKind::Directory {
                    names.push(name.to_owned());
                }
            };
            if !volume.sys.visit_next(entries.as_fd(), &mut add).at("list", path)? {
                break;
            }
        }
        if names.is_empty() {
            continue;
        }
        if let Some(blobs) = volume.root.blob_dir(algorithm)? {
            // DURABILITY: the collection that condemned the files may have died before this sync. A name must not come back for blocks that
            // other files use by then.
            volume.sys.sync_dir(dir.as_fd()).at("fsync", path)?;
            blobs.sync(volume.sys.as_ref())?;
        }
        let mut removed = Removed::new(volume.root.naming());
        for name in names {
            // DURABILITY: as in `Unlinking`.
            removed.unlink(volume.sys.as_ref(), dir.as_fd(), &name).at("unlink", || path().join(&name))?;
            if slice.is_over() {
                break;
            }
        }
        removed.settle(volume.sys.as_ref(), dir.as_fd()).at("fsync", path)?;
        return Ok(true);
    }
    Ok(false)
}

fn index_of(algorithm: Algorithm) -> usize {
    Algorithm::ALL.iter().position(|known| *known == algorithm).unwrap_or_default()
}
