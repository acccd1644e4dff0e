//! Publication: the one way by which bytes become a blob.
//!
//! | Step | A power cut or a failure after it leaves |
//! | --- | --- |
//! | the caller syncs the bytes | nothing that anybody sees |
//! | take the digest's lock, look for the name | likewise |
//! | the labels become durable | a row without a file, which means nothing |
//! | mode and time are set, then the name is given | nothing, or the whole blob, not acknowledged |
//! | the directory is synced | the blob |
//!
//! A name that is there already is compared with our bytes. If it differs, it is damaged: a copy is kept in quarantine,
//! and ours takes its place.

mod aside;
mod existing;

use std::io;
use std::os::fd::AsFd;

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::layout::BlobDir;
use crate::meta::Row;
use crate::model::Labels;
use crate::store::Store;
use crate::temp;

pub(crate) use crate::temp::Staged;
pub(crate) use existing::{Content, Existing, Named, find};

/// The permission bits of every blob.
pub(crate) const BLOB_MODE: u32 = 0o444;

/// How often a name may appear from nowhere between a look and a link before we give up.
const ATTEMPTS: usize = 8;

/// What publication found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// No blob of that name: it is stored now.
    New,
    /// The same bytes; ours were not needed.
    Existed,
    /// Other bytes: ours are stored now, the damaged copy is in quarantine, labels and time of creation are as they were.
    Healed,
}

impl Store {
    /// Publish a file whose `size` bytes have that digest and are synced. On return the blob survives a power loss.
    ///
    /// After an error the blob may be stored, whole and labelled, but it was not acknowledged.
    pub(crate) fn publish(
        &self,
        staged: Staged<'_>,
        digest: &Digest,
        size: u64,
        labels: Option<&Labels>,
        created_ns: i64,
    ) -> Result<Published> {
        self.check_open()?;
        let dir = self.root.make_blob_dir(digest.algorithm())?;
        let _lock = self.locks.digest(digest)?;
        let publication = Publication { store: self, staged, digest, size, name: digest.encoded(), dir: &dir };
        publication.run(labels, created_ns)
    }
}

/// One publication under way; its digest's lock is held.
struct Publication<'a> {
    store: &'a Store,
    staged: Staged<'a>,
    digest: &'a Digest,
    size: u64,
    name: String,
    dir: &'a BlobDir,
}

impl Publication<'_> {
    fn run(&self, labels: Option<&Labels>, created_ns: i64) -> Result<Published> {
        let content = Content::File(self.staged.fd());
        for _ in 0..ATTEMPTS {
            match self.store.existing(self.dir, self.digest, content, self.size)? {
                Existing::Same => return Ok(Published::Existed),
                Existing::Damaged { mtime_ns } => return self.heal(mtime_ns),
                Existing::Stray => {
                    self.store.move_aside(self.dir, self.digest)?;
                }
                Existing::Absent => {}
            }
            if self.place(labels, created_ns)? {
                return Ok(Published::New);
            }
        }
        let taken = io::Error::from_raw_os_error(libc::EEXIST);
        Err(taken).at("link", || self.store.root.blob_path(self.digest))
    }

    /// Give the file its name; false if somebody who takes no locks was quicker.
    fn place(&self, labels: Option<&Labels>, created_ns: i64) -> Result<bool> {
        let store = self.store;
        store.meta.before_publish(self.digest, self.size, labels, created_ns)?;
        self.seal(created_ns)?;
        // DURABILITY: before the sync below a power cut may take the name, but leaves nothing half-made under it.
        match self.staged.place(store.sys.as_ref(), self.dir.fd(), &self.name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // The labels are for our bytes, not for what has appeared.
                store.meta.forget(self.digest)?;
                return Ok(false);
            }
            other => other.at("link", || store.root.blob_path(self.digest))?,
        }
        self.dir.sync(store.sys.as_ref())?;
        Ok(true)
    }

    /// Replace a damaged blob by our bytes. At every moment one of the two has the name.
    fn heal(&self, created_ns: i64) -> Result<Published> {
        let store = self.store;
        let sys = store.sys.as_ref();
        self.seal(created_ns)?;
        store.keep_copy(self.dir, self.digest)?;
        let path = || store.root.blob_path(self.digest);
        match self.staged {
            // DURABILITY: the copy in quarantine is durable; a power cut leaves the damaged blob or the whole one.
            Staged::Named { dir, name, .. } => {
                sys.rename(dir, name, self.dir.fd(), &self.name, true).at("rename", path)?;
            }
            Staged::Unnamed(fd) => {
                // A link cannot replace, so the file takes a provisional name first; the lock keeps it from being swept.
                let (tmp, tmp_path) = store.root.make_tmp()?;
                temp::hold(sys, fd).at("lock", || &tmp_path)?;
                let name = temp::unique_name(sys);
                sys.link_unnamed(fd, tmp.as_fd(), &name).at("link", || tmp_path.join(&name))?;
                // DURABILITY: as above.
                let renamed = sys.rename(tmp.as_fd(), &name, self.dir.fd(), &self.name, true);
                if renamed.is_err() {
                    sys.unlink(tmp.as_fd(), &name).ok();
                }
                renamed.at("rename", path)?;
            }
        }
        self.dir.sync(sys)?;
        // A row may have been made from the damaged file; its size is for listings only, so a failure costs little.
        if let Ok(Some(row)) = store.meta.get(self.digest)
            && row.size != self.size
        {
            let size = self.size;
            store.meta.put(&Row { size, ..row }).ok();
        }
        Ok(Published::Healed)
    }

    /// Make the file what a blob is, before it has a name: read-only, and created at that moment.
    fn seal(&self, created_ns: i64) -> Result<()> {
        let sys = self.store.sys.as_ref();
        let fd = self.staged.fd();
        let path = || self.store.root.blob_path(self.digest);
        let stat = sys.stat(fd).at("stat", path)?;
        if stat.size != self.size {
            return Err(Error::DataCorrupt {
                name: self.digest.to_string(),
                expected: format!("{} bytes", self.size),
                actual: format!("{} bytes", stat.size),
            });
        }
        // DURABILITY: both change the inode only. They reach the disk with its new name, when the directory is synced.
        if stat.mode != BLOB_MODE {
            sys.set_mode(fd, BLOB_MODE).at("chmod", path)?;
        }
        if stat.mtime_ns != created_ns {
            sys.set_mtime(fd, created_ns).at("utimensat", path)?;
        }
        Ok(())
    }
}
