//! Quarantine: files that had the name of a blob but other bytes. They are kept for inspection.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{At, Result};
use crate::format::names::quarantine_name;
use crate::sys::Fd;
use crate::volume::Volume;
use crate::volume::blob_dir::BlobDir;

impl Volume {
    /// Put a copy of a damaged blob into quarantine, and keep its name; durable on return.
    pub(crate) fn keep_copy(&self, dir: &BlobDir, digest: &Digest) -> Result<()> {
        let (quarantine, path) = self.root.make_quarantine(digest.algorithm())?;
        let encoded = digest.encoded();
        let linked = free_name(digest, |name| {
            // DURABILITY: synced below; an earlier power cut leaves the damaged blob where it was.
            self.sys.link(dir.fd(), &encoded, quarantine.as_fd(), name)
        });
        match linked {
            Ok(_) => {
                // DURABILITY: the copy is durable before the damaged name is given to other bytes.
                self.sys.sync_dir(quarantine.as_fd()).at("fsync", || &path)
            }
            // The file system has no hard links, or none for a file of another user. The name is then free for a moment.
            Err(error) if no_links(&error) => self.rename_aside(dir, digest, &quarantine, &path).map(drop),
            Err(error) => Err(error).at("link", || path.join(&encoded)),
        }
    }

    /// Move the file under a blob's name into quarantine, and return its path there; durable on return.
    pub(crate) fn move_aside(&self, dir: &BlobDir, digest: &Digest) -> Result<PathBuf> {
        let (quarantine, path) = self.root.make_quarantine(digest.algorithm())?;
        self.rename_aside(dir, digest, &quarantine, &path)
    }

    fn rename_aside(&self, dir: &BlobDir, digest: &Digest, quarantine: &Fd, path: &Path) -> Result<PathBuf> {
        let encoded = digest.encoded();
        let name = free_name(digest, |name| {
            // DURABILITY: synced below, the new name first; an earlier power cut leaves one of the two names.
            self.sys.rename(dir.fd(), &encoded, quarantine.as_fd(), name, false)
        });
        let name = name.at("rename", || self.root.blob_path(digest))?;
        // DURABILITY: a power cut between the two leaves the file in quarantine, and at worst under its old name too.
        self.sys.sync_dir(quarantine.as_fd()).at("fsync", || path)?;
        dir.sync(self.sys.as_ref())?;
        Ok(path.join(name))
    }
}

/// Try `<encoded>.1`, `<encoded>.2` and so on, until a name is free.
fn free_name(digest: &Digest, mut take: impl FnMut(&str) -> io::Result<()>) -> io::Result<String> {
    let mut number: u64 = 1;
    loop {
        let name = quarantine_name(digest, number);
        match take(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            other => return other.map(|()| name),
        }
    }
}

fn no_links(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP | libc::EMLINK | libc::ENOSYS))
}
