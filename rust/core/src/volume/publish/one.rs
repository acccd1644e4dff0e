//! One file, from its last checks to its name in `blobs/<algorithm>/`.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::candidate::{Candidate, Placed, Published, Tried};
use super::existing::{Content, Existing};
use crate::error::{At, Error, Result};
use crate::format::names::BLOB_MODE;
use crate::model::Labels;
use crate::sys::found;
use crate::sys::{FileKind, Naming};
use crate::volume::Volume;
use crate::volume::blob_dir::BlobDir;
use crate::volume::file_lease::FileLease;
use crate::volume::meta::Row;
use crate::volume::staged::Staged;
use crate::volume::temp;
use crate::waiting::Busy;

/// The most attempts if other processes take or free the name between a check and a link.
const ATTEMPTS: usize = 8;

/// One publication in progress.
pub(super) struct Publication<'a> {
    volume: &'a Volume,
    dir: &'a BlobDir,
    pub candidate: &'a Candidate<'a>,
    name: String,
    created_ns: i64,
    has_row: bool,
    pub fate: Fate,
}

/// The next step for it.
#[derive(PartialEq, Eq)]
pub(super) enum Fate {
    /// Write its row, then give the name.
    Row,
    /// Give the name; the link itself shows whether the name is free.
    Link,
    /// Compare with the file that has the name.
    Compare,
    /// Nothing: the result is known.
    Known(Result<Placed>),
}

impl<'a> Publication<'a> {
    /// Make the file read-only and set its time, before it has a name.
    pub fn seal(volume: &'a Volume, dir: &'a BlobDir, candidate: &'a Candidate<'a>) -> Self {
        let name = candidate.digest.encoded();
        let created_ns = candidate.created_ns;
        let mut this = Self { volume, dir, candidate, name, created_ns, has_row: false, fate: Fate::Link };
        if let Err(error) = this.set_mode_and_time() {
            this.fate = Fate::Known(Err(error));
        }
        this
    }

    fn set_mode_and_time(&mut self) -> Result<()> {
        let Candidate { staged, digest, size, created_ns, .. } = self.candidate;
        let sys = self.volume.sys.as_ref();
        let path = || self.volume.root.blob_path(digest);
        let stat = sys.stat(staged.fd()).at("stat", path)?;
        if stat.size != *size {
            return Err(Error::DataCorrupt {
                name: digest.to_string(),
                expected: format!("{size} bytes"),
                actual: format!("{} bytes", stat.size),
            });
        }
        // DURABILITY: both changes only affect the inode. They reach the disk with the new name, when that is synced.
        if stat.mode != BLOB_MODE {
            sys.set_mode(staged.fd(), BLOB_MODE).at("chmod", path)?;
        }
        if stat.mtime_ns < *created_ns {
            sys.set_mtime(staged.fd(), *created_ns).at("utimensat", path)?;
        }
        self.created_ns = stat.mtime_ns.max(*created_ns);
        Ok(())
    }

    /// Decide the next step. The digest's lock is held from here on.
    ///
    /// A row is written only if the name is free: the row of a stored blob must not change.
    pub fn decide(&mut self, has_row: bool) {
        self.has_row = has_row;
        if self.fate != Fate::Link || !(has_row || self.has_labels()) {
            return;
        }
        let stat = found(self.volume.sys.stat_at(self.dir.fd(), &self.name));
        self.fate = match stat.at("stat", || self.volume.root.blob_path(&self.candidate.digest)) {
            Ok(Some(stat)) if stat.kind == FileKind::File => Fate::Compare,
            // A file that is not a blob has no row either. It is moved aside when the new file gets the name.
            Ok(_) => Fate::Row,
            Err(error) => Fate::Known(Err(error)),
        };
    }

    /// Mark this publication as second to another one of the same bytes, which sets the name and the labels first.
    pub fn come_second(&mut self) {
        if matches!(self.fate, Fate::Row | Fate::Link) {
            self.fate = Fate::Compare;
        }
    }

    fn has_labels(&self) -> bool {
        self.candidate.labels.is_some_and(|labels| !labels.is_empty())
    }

    /// The row of a new blob.
    pub fn row(&self) -> Row {
        let mut row = Row::plain(self.candidate.digest, self.candidate.size, self.created_ns);
        row.labels = Arc::new(self.candidate.labels.map_or_else(Labels::new, Clone::clone));
        row
    }

    /// Give the file its name, or compare with the file that has it. Returns `Busy`, without a name or a row, while another process writes
    /// labels: there is no wait here, because the digest's lock is held.
    pub fn finish(mut self) -> Tried {
        let with_row = self.fate == Fate::Row;
        let placed = match std::mem::replace(&mut self.fate, Fate::Compare) {
            Fate::Known(result) => return Ok(result),
            Fate::Row | Fate::Link => match self.give_name() {
                Ok(true) => return Ok(Ok(self.new_blob())),
                Ok(false) => self.compare(with_row),
                Err(error) => Err(error),
            },
            Fate::Compare => self.compare(false),
        };
        placed.transpose().ok_or(Busy)
    }

    fn new_blob(&self) -> Placed {
        let created_ns = self.created_ns;
        Placed::new(Published::New { created_ns }, false)
    }

    /// Take the file lease of an owned file, so that no other process can change it before or after it gets its name. Fails with
    /// `ETXTBSY` if the file is open for writing.
    fn claim(&self) -> Result<Option<FileLease<'a>>> {
        match self.candidate.staged {
            Staged::Owned { fd, check, .. } => {
                let path = || self.volume.root.ingests_path();
                let lease = FileLease::take(self.volume.sys.as_ref(), fd).at("lease", path)?;
                let lease = lease.ok_or_else(|| io::Error::from_raw_os_error(libc::ETXTBSY)).at("rename", path)?;
                check()?;
                Ok(Some(lease))
            }
            Staged::Named { .. } | Staged::Unnamed(_) => Ok(None),
        }
    }

    /// Give the file its name. Returns false if the name exists.
    fn give_name(&self) -> Result<bool> {
        let Self { volume, candidate, .. } = self;
        let _claim = self.claim()?;
        // DURABILITY: before the directory's sync, a power cut may remove the name, but never leaves an incomplete file under it.
        match candidate.staged.place(volume.sys.as_ref(), self.dir.fd(), &self.name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other.at("link", || volume.root.blob_path(&candidate.digest)).map(|()| true),
        }
    }

    /// Compare with the file that has the name, and take the name if that file is not a blob, or is damaged. Returns `None`, without a name
    /// or a row, while another process writes labels.
    ///
    /// `with_row`: this publication has already written its row. The name was free then, and another process has taken it since. The row is
    /// correct for that file, which has or gets the same bytes, so no wait is needed to remove the row.
    fn compare(&self, mut with_row: bool) -> Result<Option<Placed>> {
        let Self { volume, candidate, dir, .. } = self;
        let content = Content::File(candidate.staged.fd());
        for _ in 0..ATTEMPTS {
            match volume.existing(dir, &candidate.digest, content, candidate.size)? {
                Existing::Same { file, .. } if volume.is_blind() => {
                    let stat = volume.sys.stat(file.as_fd());
                    let created_ns = stat.at("stat", || volume.root.blob_path(&candidate.digest))?.mtime_ns;
                    return self.replace(created_ns).map(Some);
                }
                Existing::Same { file, durable } => {
                    if !durable {
                        // DURABILITY: the process that stored the file may have died before it was durable. The caller relies on it
                        // from now on; a power cut before the directory's sync only removes a blob that was not acknowledged.
                        let path = || volume.root.blob_path(&candidate.digest);
                        if dir.naming(volume.sys.as_ref()) == Naming::Directory {
                            volume.sys.sync_data(file.as_fd()).at("fdatasync", path)?;
                        } else {
                            volume.sys.sync_file(file.as_fd()).at("fsync", path)?;
                        }
                    }
                    let is_ours = with_row && self.has_our_row()?;
                    let published = if is_ours { self.new_blob().published } else { Published::Existed };
                    return Ok(Some(Placed::new(published, durable)));
                }
                Existing::Damaged { .. } if with_row && self.has_our_row()? => {
                    let healed = self.heal(self.created_ns)?;
                    return Ok(Some(Placed { published: self.new_blob().published, ..healed }));
                }
                Existing::Damaged { mtime_ns } => return self.heal(mtime_ns).map(Some),
                Existing::Stray => {
                    volume.move_aside(dir, &candidate.digest)?;
                }
                Existing::Absent => {}
            }
            if !with_row && (self.has_row || self.has_labels()) {
                if volume.meta.try_before_publish(&[self.row()])?.is_none() {
                    return Ok(None);
                }
                with_row = true;
            }
            if self.give_name()? {
                return Ok(Some(self.new_blob()));
            }
        }
        let taken = io::Error::from_raw_os_error(libc::EEXIST);
        Err(taken).at("link", || volume.root.blob_path(&candidate.digest))
    }

    /// Whether the row is the one that this publication has written, and not the row of the process that has given the name.
    fn has_our_row(&self) -> Result<bool> {
        Ok(self.volume.meta.get(&self.candidate.digest)?.is_some_and(|row| row == self.row()))
    }

    /// Replace a damaged blob by the new file, and keep the damaged copy.
    fn heal(&self, created_ns: i64) -> Result<Placed> {
        self.volume.keep_copy(self.dir, &self.candidate.digest)?;
        self.replace(created_ns)
    }

    /// Give the name of a stored blob to the new file. At every moment one of the two files has it.
    fn replace(&self, created_ns: i64) -> Result<Placed> {
        let Self { volume, candidate, dir, .. } = self;
        let Candidate { staged, digest, size, .. } = candidate;
        let sys = volume.sys.as_ref();
        let path = || volume.root.blob_path(digest);
        // DURABILITY: this changes only the inode, as when it was sealed.
        sys.set_mtime(staged.fd(), created_ns).at("utimensat", path)?;
        let _claim = self.claim()?;
        match *staged {
            // DURABILITY: the copy of a damaged blob is durable; a power cut leaves the old file or the new one.
            Staged::Named { dir: from, name, .. } | Staged::Owned { dir: from, name, .. } => {
                sys.rename(from, name, dir.fd(), &self.name, true).at("rename", path)?;
            }
            Staged::Unnamed(fd) => {
                // A link cannot replace a name, so the file gets a provisional name first. Its lock protects it from the sweep.
                let (tmp, tmp_path) = volume.root.make_tmp()?;
                temp::hold(sys, fd).at("lock", || &tmp_path)?;
                let name = temp::unique_name(sys);
                sys.link_unnamed(fd, tmp.as_fd(), &name).at("link", || tmp_path.join(&name))?;
                // DURABILITY: as above.
                let renamed = sys.rename(tmp.as_fd(), &name, dir.fd(), &self.name, true);
                if renamed.is_err() {
                    sys.unlink(tmp.as_fd(), &name).ok();
                }
                renamed.at("rename", path)?;
            }
        }
        if dir.naming(sys) != Naming::Directory {
            // DURABILITY: as in `acknowledge`.
            sys.sync_file(staged.fd()).at("fsync", path)?;
        }
        dir.sync(sys)?;
        volume.settle_old_name(dir, *staged)?;
        // A row may have been made from the damaged file. Its size is used only for listings, so a failure costs little.
        if let Ok(Some(row)) = volume.meta.get(digest)
            && row.size != *size
        {
            volume.meta.correct(&Row { size: *size, ..row });
        }
        Ok(Placed::new(Published::Healed, true))
    }
}
