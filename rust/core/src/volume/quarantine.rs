//! The damaged copies that were moved aside: their list, and their removal.

use std::os::fd::AsFd;
use std::path::PathBuf;

use crate::digest::{Algorithm, Digest};
use crate::error::{At, Result};
use crate::format::names::{QUARANTINE, quarantined_blob};
use crate::sys::{FileKind, found};
use crate::volume::Volume;

/// A damaged copy that was moved aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The digest of the blob that it was.
    pub digest: Digest,
    /// Its file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size: u64,
    /// The time at which it was moved aside, or at which its inode changed after that.
    pub moved_ns: i64,
}

impl Volume {
    /// Return the damaged copies that were moved aside, by digest.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>> {
        self.check_open()?;
        let mut all = Vec::new();
        for algorithm in Algorithm::ALL {
            let Some(dir) = self.root.quarantine(algorithm)? else { continue };
            let parent = self.path().join(QUARANTINE).join(algorithm.name());
            for entry in self.sys.list(dir.as_fd()).at("list", || &parent)? {
                let Some(digest) = quarantined_blob(algorithm, &entry.name) else { continue };
                let path = parent.join(&entry.name);
                let stat = found(self.sys.stat_at(dir.as_fd(), &entry.name)).at("stat", || &path)?;
                if let Some(stat) = stat.filter(|stat| stat.kind == FileKind::File) {
                    all.push(Quarantined { digest, path, size: stat.size, moved_ns: stat.ctime_ns });
                }
            }
        }
        all.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(all)
    }

    /// Remove the damaged copies that were moved aside, and return them.
    pub fn empty_quarantine(&self) -> Result<Vec<Quarantined>> {
        self.check_writable()?;
        let all = self.quarantined()?;
        for copy in &all {
            let (Some(dir), Some(name)) = (self.root.quarantine(copy.digest.algorithm())?, copy.path.file_name())
            else {
                continue;
            };
            // DURABILITY: not synced. A copy that a power cut restores is listed again.
            found(self.sys.unlink(dir.as_fd(), &name.to_string_lossy())).at("unlink", || &copy.path)?;
        }
        Ok(all)
    }
}
