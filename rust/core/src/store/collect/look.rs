//! Looking at the files that no root has reached, and the notes of them.

use super::garbage::Garbage;
use super::mark::Marking;
use super::marks::{Keep, Origin};
use super::names::MOST_NAMED;
use crate::archive::json::{Reference, Role};
use crate::digest::Digest;
use crate::error::Result;
use crate::sys::{Stat, Sys};
use crate::volume::meta::{Known, Note};

/// The most files that are looked at before the time is checked.
const BATCH: usize = 32;

/// The most blobs among which these files are searched.
const SEARCHED: usize = 256;

/// The most notes that one query returns.
const PAGE: usize = 256;

impl Marking {
    /// Look at the next files that no root has reached, from number `next` on. Returns where to continue; `None` at the end.
    ///
    /// Each file gets a note, unless it has one. A file whose note is younger than `grace_ns` is spared, with all blobs that it names.
    pub fn look(&mut self, next: usize, grace_ns: i64, garbage: &mut Garbage) -> Result<Option<usize>> {
        let mut end = next;
        let mut digests = Vec::new();
        while end < self.marks.listed().min(next + SEARCHED) && digests.len() < BATCH {
            if self.marks.is_garbage(end) {
                digests.push((end, self.marks.digest(end)));
            }
            end += 1;
        }
        let names: Vec<Digest> = digests.iter().map(|(_, digest)| *digest).collect();
        let known = if names.is_empty() { Vec::new() } else { self.volume.meta.known(&names, true, MOST_NAMED)? };
        let mut known = known.into_iter();
        for (number, digest) in digests {
            let Some(known) = known.next().filter(|_| !self.has_many_pending()) else {
                end = number;
                break;
            };
            self.visited += 1;
            match self.volume.stat_blob(&digest)? {
                Some(stat) => self.look_at(number, &digest, &stat, known, grace_ns, garbage)?,
                None => self.marks.set_gone(number),
            }
        }
        Ok((end < self.marks.listed()).then_some(end))
    }

    fn look_at(
        &mut self,
        number: usize,
        digest: &Digest,
        stat: &Stat,
        mut known: Known,
        grace_ns: i64,
        garbage: &mut Garbage,
    ) -> Result<()> {
        let note = known.note.take().filter(|note| is_of(note, stat) && note.wall_ns <= self.volume.sys.now_ns());
        garbage.add(number, stat, note.as_ref().map(|note| note.wall_ns), self.volume.sys.now_ns());
        let names = self.names_of(digest, known, false, u64::MAX)?.map(|names| names.all(&self.volume.meta, digest));
        let names = names.transpose()?.unwrap_or_default();
        for Reference { digest: subject, .. } in names.iter().filter(|name| name.role == Role::Subject) {
            // A missing subject keeps it too. A subject that is kept only by itself does not.
            let subject_number = self.marks.known_number(subject);
            match subject_number.and_then(|number| Some((number, self.marks.keep_of_named(number)?))) {
                Some((number, why)) => self.marks.reach(digest, why, Origin::blob(number), true, true),
                None => self.referrers.entry(*subject).or_default().push(*digest),
            }
        }
        let mut blobs: Vec<usize> = names.iter().filter_map(|name| self.marks.listed_number(&name.digest)).collect();
        blobs.retain(|blob| *blob != number);
        if !blobs.is_empty() {
            garbage.documents.push((number, blobs));
        }
        let is_old =
            grace_ns == 0 || note.as_ref().is_some_and(|note| is_older(self.volume.sys.as_ref(), note, grace_ns));
        if note.is_none() {
            self.add_note(digest, stat);
        }
        if is_old {
            self.marks.set_old(number);
        } else {
            self.marks.reach(digest, Keep::Spared, Origin::Nothing, false, true);
        }
        Ok(())
    }

    /// Queue the note of a blob. On a full disk, only so many notes are written that the collection can continue; blobs without a note stay.
    fn add_note(&mut self, digest: &Digest, stat: &Stat) {
        let Some(pending) = &mut self.pending else { return };
        let note = || {
            let sys = &self.volume.sys;
            let (wall_ns, boot, boot_ns) = (sys.now_ns(), sys.boot_id(), sys.boot_ns());
            Note { inode: stat.id.inode, mtime_ns: stat.mtime_ns, wall_ns, boot, boot_ns }
        };
        if !pending.add_note(*digest, note, &self.volume) {
            self.warn(|| {
                "the disk is full: not all garbage could be noted, so some of it stays; collect again".to_owned()
            });
        }
    }

    /// Remove the next notes after `after` whose blobs are kept by roots or no longer stored. Returns false at the end.
    pub fn remove_notes(&mut self, after: &mut String) -> Result<bool> {
        let noted = self.volume.meta.notes_after(after, PAGE)?;
        let Some(last) = noted.last() else { return Ok(false) };
        *after = last.to_string();
        let marks = &self.marks;
        let is_void = |digest: &Digest| marks.listed_number(digest).is_none_or(|number| !marks.is_garbage(number));
        if let Some(pending) = &mut self.pending {
            pending.remove_notes(noted.into_iter().filter(is_void));
        }
        Ok(true)
    }
}

/// Whether `age_ns` has passed since a note, by both clocks; after a reboot, by the wall clock only.
pub(super) fn is_older(sys: &dyn Sys, note: &Note, age_ns: i64) -> bool {
    let is_this_boot = note.boot.is_some() && note.boot == sys.boot_id();
    sys.now_ns().saturating_sub(note.wall_ns) >= age_ns
        && (!is_this_boot || sys.boot_ns().saturating_sub(note.boot_ns) >= age_ns)
}

/// Whether a note belongs to this file.
pub(super) fn is_of(note: &Note, stat: &Stat) -> bool {
    note.inode == stat.id.inode && note.mtime_ns == stat.mtime_ns
}
