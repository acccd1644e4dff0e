//! An ingest's directory: how it is found, created, checkpointed and removed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{At, Error, Result};
use crate::format::names::{DATA, PRIVATE_DIR_MODE, PRIVATE_MODE, STATE, ingest_name};
use crate::format::state::{Header, Holder, Layout, SIZE_LIMIT, Slot, State};
use crate::sys::found;
use crate::sys::{Fd, FileKind, Naming, Stat, Sys, read_full_at, write_all_at};
use crate::volume::{FileLease, Volume};

/// The place of the ingests.
pub(super) struct Place<'a> {
    pub(super) sys: &'a dyn Sys,
    /// The directory `ingest`.
    pub(super) dir: BorrowedFd<'a>,
    pub(super) path: PathBuf,
    volume: &'a Volume,
}

/// The state under an ingest's name.
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// The remains of a crash, a finished commit or a damaged disk, which cannot be resumed. With the directory, if it is one.
    Garbage(Option<Fd>),
    /// An ingest.
    Whole(Box<Whole>),
}

/// The state of an ingest on the disk.
pub(super) struct Whole {
    pub(super) dir: Fd,
    pub(super) state: State,
    pub(super) data: Stat,
}

/// An ingest that was opened again.
pub(super) struct Resumed {
    pub(super) data: Fd,
    pub(super) control: Control,
    /// Whether another descriptor had the data open for writing, although the ref was free.
    pub(super) is_shared: bool,
}

/// The directory and the state file of an open ingest.
pub(super) struct Control {
    dir: Arc<Fd>,
    path: PathBuf,
    state: Fd,
    layout: Layout,
    slots: [Option<Slot>; 2],
    /// The slot that counts; the next checkpoint goes into the other one.
    current: usize,
    /// Whether the names of this directory and in it are durable.
    linked: bool,
}

impl<'a> Place<'a> {
    /// The place of a volume's ingests. Fails in a read-only volume that has none.
    pub(super) fn of(volume: &'a Volume) -> Result<Self> {
        Self::find_in(volume).ok_or_else(|| Error::Io {
            errno: libc::ENOENT,
            path: Some(volume.root.ingests_path()),
            operation: "open",
        })
    }

    /// Like `of`; `None` in a read-only volume that has none.
    pub(super) fn find_in(volume: &'a Volume) -> Option<Self> {
        let dir = volume.root.ingests()?;
        let (sys, path) = (volume.sys.as_ref(), volume.root.ingests_path());
        Some(Self { sys, dir, path, volume })
    }

    /// Look at an ingest without changing anything.
    pub(super) fn find(&self, name: &str) -> Result<Found> {
        let path = || self.path.join(name);
        let dir = match self.sys.open_dir(self.dir, name) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
                return Ok(Found::Garbage(None));
            }
            Err(error) => return Err(error).at("open", path),
        };
        let Some(data) = found(self.sys.stat_at(dir.as_fd(), DATA)).at("stat", || path().join(DATA))? else {
            return Ok(Found::Garbage(Some(dir)));
        };
        // A file with two names: a commit made it a blob, and a power cut restored this name. Further writes would change the blob.
        if data.kind != FileKind::File || data.nlink != 1 {
            return Ok(Found::Garbage(Some(dir)));
        }
        match self.read_state(&dir).at("read", || path().join(STATE))? {
            Some(state) if name == ingest_name(&state.header.ref_) => {
                Ok(Found::Whole(Box::new(Whole { dir, state, data })))
            }
            _ => Ok(Found::Garbage(Some(dir))),
        }
    }

    /// Whether an ingest has nothing useful: no bytes of its own, or no state. Bytes with a damaged state may be useful to a person.
    pub(super) fn is_remains(&self, name: &str) -> Result<bool> {
        let path = || self.path.join(name);
        let Found::Garbage(Some(dir)) = self.find(name)? else { return Ok(false) };
        let find = |file| found(self.sys.stat_at(dir.as_fd(), file)).at("stat", || path().join(file));
        let (data, state) = (find(DATA)?, find(STATE)?);
        Ok(state.is_none() || data.is_none_or(|data| data.size == 0 || data.nlink != 1))
    }

    fn read_state(&self, dir: &Fd) -> io::Result<Option<State>> {
        let Some(file) = found(self.sys.open(dir.as_fd(), STATE, false))? else {
            return Ok(None);
        };
        let stat = self.sys.stat(file.as_fd())?;
        let size = usize::try_from(stat.size).unwrap_or(usize::MAX);
        if stat.kind != FileKind::File || size > SIZE_LIMIT {
            return Ok(None);
        }
        let mut bytes = vec![0; size];
        let read = read_full_at(self.sys, file.as_fd(), &mut bytes, 0)?;
        Ok(State::decode(&bytes[..read]))
    }

    /// Create an ingest's directory with empty data and a first slot. None of it is durable yet.
    pub(super) fn create(&self, name: &str, header: &Header, holder: Holder, slot: Slot) -> Result<(Fd, Control)> {
        match self.sys.mkdir(self.dir, name, PRIVATE_DIR_MODE) {
            // The caller has removed earlier files, except for directories that this store has not made.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.at("mkdir", || self.path.join(name))?,
        }
        let made = self.fill(name, header, holder, slot);
        if made.is_err() {
            // If this fails too, the rest has no readable header, and the next writer treats it as garbage.
            self.remove(name).ok();
        }
        made
    }

    fn fill(&self, name: &str, header: &Header, holder: Holder, slot: Slot) -> Result<(Fd, Control)> {
        let path = self.path.join(name);
        let dir = self.sys.open_dir(self.dir, name).at("open", || &path)?;
        let data = self.sys.create(dir.as_fd(), DATA, PRIVATE_MODE).at("create", || path.join(DATA))?;
        let state = self.sys.create(dir.as_fd(), STATE, PRIVATE_MODE).at("create", || path.join(STATE))?;
        let (mut bytes, layout) = header.encode();
        bytes.extend(layout.encode_holder(holder));
        bytes.extend(layout.encode_slot(&slot));
        write_all_at(self.sys, state.as_fd(), &bytes, 0).at("write", || path.join(STATE))?;
        let slots = [Some(slot), None];
        let dir = Arc::new(dir);
        Ok((data, Control { dir, path, state, layout, slots, current: 0, linked: false }))
    }

    /// Open an ingest that was found, and record the new holder.
    pub(super) fn resume(&self, name: &str, whole: Whole, holder: Holder) -> Result<Resumed> {
        let path = self.path.join(name);
        let Whole { dir, state: State { layout, slots, .. }, data } = whole;
        let before = self.sys.open(dir.as_fd(), DATA, false).at("open", || path.join(DATA))?;
        if data.mode & 0o200 == 0 {
            // A commit that failed or was killed before the rename has already made the data read-only.
            self.sys.set_mode(before.as_fd(), PRIVATE_MODE).at("chmod", || path.join(DATA))?;
        }
        let is_shared = FileLease::take(self.sys, before.as_fd()).at("lease", || path.join(DATA))?.is_none();
        drop(before);
        let file = self.sys.open(dir.as_fd(), DATA, true).at("open", || path.join(DATA))?;
        let state = self.sys.open(dir.as_fd(), STATE, true).at("open", || path.join(STATE))?;
        let record = layout.encode_holder(holder);
        write_all_at(self.sys, state.as_fd(), &record, layout.holder_at()).at("write", || path.join(STATE))?;
        let dir = Arc::new(dir);
        let control = Control { dir, path, state, layout, slots, current: 1, linked: false };
        Ok(Resumed { data: file, control, is_shared })
    }

    /// Remove the files under an ingest's name, and their directory if it is empty then. The data is removed first: without it, the
    /// rest is garbage.
    ///
    /// A power cut may restore all or some of it, but never with other content.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        self.remove_and_sync(name, false)
    }

    /// Like `remove`; on return the removal survives a power loss.
    pub(super) fn remove_durably(&self, name: &str) -> Result<()> {
        self.remove_and_sync(name, true)
    }

    fn remove_and_sync(&self, name: &str, durably: bool) -> Result<()> {
        let path = || self.path.join(name);
        let reuses = self.volume.root.naming() == Naming::Everything;
        let sync = || if durably || reuses { self.sync() } else { Ok(()) };
        let dir = match self.sys.open_dir(self.dir, name) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return sync(),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
                self.sys.unlink(self.dir, name).at("unlink", path)?;
                return sync();
            }
            Err(error) => return Err(error).at("open", path),
        };
        found(self.sys.unlink(dir.as_fd(), DATA)).at("unlink", || path().join(DATA))?;
        let (others, ours): (Vec<_>, Vec<_>) = self
            .sys
            .list(dir.as_fd())
            .at("list", path)?
            .into_iter()
            .partition(|entry| entry.kind == FileKind::Directory);
        for entry in ours {
            found(self.sys.unlink(dir.as_fd(), &entry.name)).at("unlink", || path().join(&entry.name))?;
        }
        if !others.is_empty() {
            // The store makes no directory there. A check of the file system may have made one, and its content may not be garbage.
            return sync();
        }
        found(self.sys.rmdir(self.dir, name)).at("rmdir", path)?;
        if reuses {
            // DURABILITY: first the directory is synced, then its name, while the directory is open: until it is closed, no other file can
            // get its inode and block. Otherwise a power cut could restore it with the names of another directory. A failure loses nothing.
            self.sys.sync_dir(dir.as_fd()).ok();
        }
        sync()
    }

    /// Make the creation or removal of ingests durable.
    pub(super) fn sync(&self) -> Result<()> {
        // DURABILITY: a power cut before this may restore an aborted ingest, complete and unchanged.
        self.sys.sync_dir(self.dir).at("fsync", || &self.path)
    }
}

impl Control {
    pub(super) fn dir(&self) -> &Arc<Fd> {
        &self.dir
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn slots(&self) -> &[Option<Slot>; 2] {
        &self.slots
    }

    /// Set the slot from which the ingest resumes. By default there is none.
    pub(super) fn use_slot(&mut self, index: usize) {
        self.current = index;
    }

    /// Whether an intact slot claims more than `size` bytes.
    pub(super) fn claims_more_than(&self, size: u64) -> bool {
        self.slots.iter().flatten().any(|slot| slot.offset > size)
    }

    /// Write a checkpoint. The caller has made its bytes durable.
    pub(super) fn checkpoint(&mut self, place: &Place<'_>, mut slot: Slot) -> Result<()> {
        let target = 1 - self.current;
        let last = self.slots.iter().flatten().map(|slot| slot.sequence).max();
        slot.sequence = 1 + last.unwrap_or(0);
        let bytes = self.layout.encode_slot(&slot);
        let (state, path) = (self.state.as_fd(), || self.path.join(STATE));
        write_all_at(place.sys, state, &bytes, self.layout.slot_at(target)).at("write", path)?;
        // DURABILITY: a power cut before this leaves the slot old, new or torn; the other slot is still valid.
        place.sys.sync_data(state).at("fdatasync", path)?;
        self.slots[target] = Some(slot);
        self.current = target;
        if !self.linked {
            // DURABILITY: until both are synced, a power cut may remove the names of the files, and so the ingest.
            let synced = place.sys.sync_dir(self.dir.as_fd());
            synced.at("fsync", || &self.path)?;
            place.sync()?;
            self.linked = true;
        }
        Ok(())
    }

    /// Write the same content to both slots, so that no slot on the disk claims more bytes.
    ///
    /// DURABILITY: the slot that is not in use is overwritten first, and synced before the other one is changed.
    pub(super) fn pin(&mut self, place: &Place<'_>, slot: &Slot) -> Result<()> {
        self.checkpoint(place, slot.clone())?;
        self.checkpoint(place, slot.clone())
    }
}
