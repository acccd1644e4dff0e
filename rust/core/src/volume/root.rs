//! The root: its directories as descriptors.

pub(super) mod make;
mod marker;

pub(crate) use marker::Marker;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::format::containerd;
use crate::format::marker::COLLECTED;
use crate::format::names::{BLOBS, BLOBS_MODE, CONDEMNED, INGESTS, PRIVATE_DIR_MODE, QUARANTINE, TMP};
use crate::sys::{Fd, Naming, Sys, missing};
use crate::volume::blob_dir::BlobDir;
use crate::volume::meta::Origin;

/// An open root.
pub struct Root {
    sys: Arc<dyn Sys>,
    path: PathBuf,
    dir: Fd,
    /// None in a read-only store that has none.
    blobs: Option<Fd>,
    /// None in a read-only store that has none.
    ingests: Option<Fd>,
    /// See [`Sys::naming`].
    naming: Arc<OnceLock<Naming>>,
    /// The directories of the algorithms, opened when first needed, in the order of `Algorithm::ALL`.
    blob_dirs: Mutex<[Option<Arc<BlobDir>>; Algorithm::ALL.len()]>,
    new: bool,
    /// Whether there were blobs before this open found no marker.
    adopted: bool,
    /// Whether garbage may have been collected here.
    collected: AtomicBool,
}

impl Root {
    /// Open a root, and create or adopt it if necessary. With `read_only` nothing is created, changed or locked.
    pub fn open(sys: Arc<dyn Sys>, path: &Path, read_only: bool) -> Result<Self> {
        if path.as_os_str().is_empty() {
            let message = "the store's path is empty".to_owned();
            return Err(Error::InvalidArgument { message });
        }
        let path = std::path::absolute(path).at("find", || path)?;
        let dir = match sys.open_root(&path) {
            Err(error) if missing(&error) && !read_only => make::root(sys.as_ref(), &path)?,
            other => other.at("open", || &path)?,
        };
        let found = marker::check(sys.as_ref(), dir.as_fd(), &path)?;
        let marked = found.is_some();
        let collected = AtomicBool::new(found.is_some_and(|marker| marker.format >= COLLECTED));
        let (blob_dirs, new) = (Mutex::default(), !marked);
        let (blobs, ingests, naming) = (None, None, Arc::default());
        let mut root = Self { sys, path, dir, blobs, ingests, naming, blob_dirs, new, adopted: false, collected };
        if read_only {
            root.blobs = root.find_dir(root.dir(), BLOBS)?;
            root.ingests = root.find_dir(root.dir(), INGESTS)?;
        } else {
            root.complete(marked)?;
        }
        Ok(root)
    }

    /// Make the missing directories of a root that is open for writing.
    fn complete(&mut self, marked: bool) -> Result<()> {
        if !marked {
            self.refuse_containerd()?;
        }
        let (blobs, new_blobs) = self.make_dir(self.dir(), BLOBS, BLOBS_MODE)?;
        let (ingests, new_ingests) = self.make_dir(self.dir(), INGESTS, PRIVATE_DIR_MODE)?;
        self.refuse_other_mounts(&[(BLOBS, &blobs), (INGESTS, &ingests)])?;
        if !marked && !new_blobs {
            let entries = self.sys.list(blobs.as_fd()).at("list", || self.path.join(BLOBS))?;
            self.adopted = !entries.is_empty();
        }
        self.blobs = Some(blobs);
        self.ingests = Some(ingests);
        if marked && (new_blobs || new_ingests) {
            // DURABILITY: the directories had been removed, and a power cut before this sync would remove them again. In a root without
            // a marker they become durable together with it.
            self.sys.sync_dir(self.dir()).at("fsync", || &self.path)?;
        }
        Ok(())
    }

    /// Refuse directories into which no file of the root can be linked or renamed.
    fn refuse_other_mounts(&self, parts: &[(&str, &Fd)]) -> Result<()> {
        let mount = |dir| self.sys.mount(dir).at("statx", || &self.path);
        let root = mount(self.dir())?;
        for (name, dir) in parts {
            let found = mount(dir.as_fd())?;
            if found == root {
                continue;
            }
            let path = self.path.display();
            let place = if found.device == root.device { "in another mount" } else { "on another file system" };
            let message = format!(
                "{path}/{name}: {place} than {path}; a store needs all of its root on one file system and mount"
            );
            return Err(Error::FailedPrecondition { message });
        }
        Ok(())
    }

    /// Refuse to adopt the root of a containerd: each program would treat the other's ingests as its own, and a collection here
    /// would know none of the names that keep its blobs.
    fn refuse_containerd(&self) -> Result<()> {
        if self.path.file_name().is_some_and(|name| name == containerd::ROOT) {
            let path = self.path.display();
            let message = format!("{path}: is the content root of a containerd; open it read-only");
            return Err(Error::FailedPrecondition { message });
        }
        let Some(ingests) = self.find_dir(self.dir(), INGESTS)? else {
            return Ok(());
        };
        let path = self.path.join(INGESTS);
        for entry in self.sys.list(ingests.as_fd()).at("list", || &path)? {
            let Ok(Some(dir)) = self.find_dir(ingests.as_fd(), &entry.name) else {
                continue;
            };
            if self.sys.stat_at(dir.as_fd(), containerd::REF).is_ok() {
                let path = self.path.display();
                let message = format!("{path}: holds containerd's ingests; open it read-only");
                return Err(Error::FailedPrecondition { message });
            }
        }
        Ok(())
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root itself.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Whether this open found no marker: the root was made or adopted by it.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// The origin of the store.
    pub fn origin(&self) -> Origin {
        match (self.new, self.adopted) {
            (false, _) => Origin::Old,
            (true, false) => Origin::New,
            (true, true) => Origin::Adopted,
        }
    }

    /// Whether garbage may have been collected here, so that a writer must query notes. While a store is open, this becomes true only by a
    /// collection of the same store object: the first collection needs exclusive access to the root.
    pub(crate) fn is_collected(&self) -> bool {
        self.collected.load(Ordering::Acquire)
    }

    /// The present marker.
    pub(crate) fn marker(&self) -> Result<Option<Marker>> {
        marker::check(self.sys.as_ref(), self.dir(), &self.path)
    }

    /// Record that garbage may have been collected here.
    pub(crate) fn set_collected(&self) {
        self.collected.store(true, Ordering::Release);
    }

    /// The system calls for the root.
    pub(crate) fn sys(&self) -> &Arc<dyn Sys> {
        &self.sys
    }

    /// The directory of all ingests; None in a read-only store that has none.
    pub fn ingests(&self) -> Option<BorrowedFd<'_>> {
        self.ingests.as_ref().map(AsFd::as_fd)
    }

    /// The syncs that are needed after a name has changed; all of them if that is unknown.
    pub(crate) fn naming(&self) -> Naming {
        *self.naming.get_or_init(|| self.sys.naming(self.dir()).unwrap_or(Naming::Everything))
    }

    /// The path of the directory of all ingests.
    pub fn ingests_path(&self) -> PathBuf {
        self.path.join(INGESTS)
    }

    /// The path of a blob, for messages.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let algorithm = digest.algorithm().name();
        self.path.join(BLOBS).join(algorithm).join(digest.encoded())
    }

    /// The directory of an algorithm's blobs, if there is one.
    pub fn blob_dir(&self, algorithm: Algorithm) -> Result<Option<Arc<BlobDir>>> {
        self.open_blob_dir(algorithm, false)
    }

    /// The directory of an algorithm's blobs, if it is known and no thread is opening it.
    pub(crate) fn known_blob_dir(&self, algorithm: Algorithm) -> Option<Arc<BlobDir>> {
        let dirs = self.blob_dirs.try_lock().ok()?;
        dirs[Algorithm::ALL.iter().position(|known| *known == algorithm)?].clone()
    }

    /// The directory of an algorithm's blobs. It is made if necessary; its own name survives a power loss.
    pub(crate) fn make_blob_dir(&self, algorithm: Algorithm) -> Result<Arc<BlobDir>> {
        let dir = self.open_blob_dir(algorithm, true)?;
        dir.ok_or_else(|| Error::Io { errno: libc::ENOENT, path: Some(self.path.join(BLOBS)), operation: "open" })
    }

    fn open_blob_dir(&self, algorithm: Algorithm, make: bool) -> Result<Option<Arc<BlobDir>>> {
        let Some(blobs) = &self.blobs else {
            return Ok(None);
        };
        let index = Algorithm::ALL.iter().position(|known| *known == algorithm).unwrap_or_default();
        let mut dirs = self.blob_dirs.lock().unwrap_or_else(PoisonError::into_inner);
        if dirs[index].is_none() {
            let name = algorithm.name();
            let fd = if make {
                Some(self.make_dir(blobs.as_fd(), name, BLOBS_MODE)?.0)
            } else {
                match self.sys.open_dir(blobs.as_fd(), name) {
                    Ok(dir) => Some(dir),
                    // A stray file or link under the name of an algorithm holds no blobs.
                    Err(error) if missing(&error) || stray(&error) => None,
                    Err(error) => {
                        return Err(error).at("open", || self.path.join(BLOBS).join(name));
                    }
                }
            };
            let path = || self.path.join(BLOBS).join(name);
            dirs[index] = fd.map(|fd| Arc::new(BlobDir::new(fd, path(), Arc::clone(&self.naming))));
        }
        let Some(dir) = &dirs[index] else {
            return Ok(None);
        };
        if make && !dir.is_linked() {
            // DURABILITY: without this sync, a power cut removes the new directory with all its blobs. It is also needed if the directory
            // was not made here: the process that made it may have died before this step.
            let path = || self.path.join(BLOBS);
            self.sys.sync_dir(blobs.as_fd()).at("fsync", path)?;
            dir.set_linked();
        }
        Ok(Some(Arc::clone(dir)))
    }

    /// Make and open the directory for damaged copies of an algorithm. Its name survives a power loss.
    pub(crate) fn make_quarantine(&self, algorithm: Algorithm) -> Result<(Fd, PathBuf)> {
        let path = self.path.join(QUARANTINE);
        let (all, _) = self.make_dir(self.dir(), QUARANTINE, PRIVATE_DIR_MODE)?;
        let (dir, _) = self.make_dir(all.as_fd(), algorithm.name(), PRIVATE_DIR_MODE)?;
        // DURABILITY: both names are durable before a damaged file is moved there; an earlier power cut leaves the file where it was.
        self.sys.sync_dir(all.as_fd()).at("fsync", || &path)?;
        self.sys.sync_dir(self.dir()).at("fsync", || &self.path)?;
        Ok((dir, path.join(algorithm.name())))
    }

    /// The directory for damaged copies of an algorithm, if there is one.
    pub(crate) fn quarantine(&self, algorithm: Algorithm) -> Result<Option<Fd>> {
        match self.find_dir(self.dir(), QUARANTINE)? {
            Some(all) => self.find_dir(all.as_fd(), algorithm.name()),
            None => Ok(None),
        }
    }

    /// Make and open the directory for condemned blobs of an algorithm. Its name survives a power loss.
    pub(crate) fn make_condemned(&self, algorithm: Algorithm) -> Result<Fd> {
        let path = self.path.join(CONDEMNED);
        let (all, _) = self.make_dir(self.dir(), CONDEMNED, PRIVATE_DIR_MODE)?;
        let (dir, _) = self.make_dir(all.as_fd(), algorithm.name(), PRIVATE_DIR_MODE)?;
        // DURABILITY: both names are durable before a blob is moved there: a power cut must not leave a blob without a name while its
        // document is still stored.
        self.sys.sync_dir(all.as_fd()).at("fsync", || &path)?;
        self.sys.sync_dir(self.dir()).at("fsync", || &self.path)?;
        Ok(dir)
    }

    /// The directory for condemned blobs of an algorithm, if there is one.
    pub(crate) fn condemned(&self, algorithm: Algorithm) -> Result<Option<Fd>> {
        match self.find_dir(self.dir(), CONDEMNED)? {
            Some(all) => self.find_dir(all.as_fd(), algorithm.name()),
            None => Ok(None),
        }
    }

    /// Make and open the directory for temporary files, for file systems without unnamed files.
    pub(crate) fn make_tmp(&self) -> Result<(Fd, PathBuf)> {
        let (dir, _) = self.make_dir(self.dir(), TMP, PRIVATE_DIR_MODE)?;
        Ok((dir, self.path.join(TMP)))
    }

    /// The directory for temporary files, if there is one.
    pub(crate) fn tmp(&self) -> Result<Option<Fd>> {
        self.find_dir(self.dir(), TMP)
    }

    fn find_dir(&self, parent: BorrowedFd<'_>, name: &str) -> Result<Option<Fd>> {
        match self.sys.open_dir(parent, name) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if missing(&error) => Ok(None),
            Err(error) => Err(error).at("open", || self.path.join(name)),
        }
    }

    /// Open a directory, and make it if necessary. Also returns whether it was made.
    fn make_dir(&self, parent: BorrowedFd<'_>, name: &str, mode: u32) -> Result<(Fd, bool)> {
        make::dir(self.sys.as_ref(), parent, name, mode).at("mkdir", || self.path.join(name))
    }
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Root").field(&self.path).finish()
    }
}

/// Whether the error means that the name is not a directory.
fn stray(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP))
}
