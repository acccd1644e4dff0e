//! The number and size of the blobs, ingests and quarantined copies of a store.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use super::Store;
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Result};
use crate::format::names::QUARANTINE;
use crate::sys::FileKind;
use crate::sys::found;

/// Sizes of a store at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blobs stored.
    pub blobs: u64,
    /// Bytes of all blobs.
    pub blob_bytes: u64,
    /// Unfinished ingests.
    pub ingests: u64,
    /// Bytes that they hold.
    pub ingest_bytes: u64,
    /// Damaged copies that were moved aside.
    pub quarantined: u64,
    /// Bytes of these copies.
    pub quarantined_bytes: u64,
}

impl Store {
    /// Count blobs, ingests and quarantined copies. This looks at every file, and keeps no names in memory.
    pub fn stats(&self) -> Result<Stats> {
        self.volume.check_open()?;
        let mut stats = Stats::default();
        for algorithm in Algorithm::ALL {
            if let Some(dir) = self.volume.root.blob_dir(algorithm)? {
                let is_blob = |name: &str| Digest::parse(&format!("{algorithm}:{name}")).is_ok();
                let path = || dir.path().to_owned();
                let (count, bytes) = self.count(dir.fd(), path, is_blob)?;
                stats.blobs += count;
                stats.blob_bytes += bytes;
            }
            if let Some(dir) = self.volume.root.quarantine(algorithm)? {
                let path = || self.volume.root.path().join(QUARANTINE).join(algorithm.name());
                let (count, bytes) = self.count(dir.as_fd(), path, |_| true)?;
                stats.quarantined += count;
                stats.quarantined_bytes += bytes;
            }
        }
        for status in self.ingests.statuses()? {
            stats.ingests += 1;
            stats.ingest_bytes += status.offset;
        }
        Ok(stats)
    }

    /// Count the files of a directory whose names `counted` accepts, and their bytes.
    fn count(
        &self,
        dir: BorrowedFd<'_>,
        path: impl Fn() -> PathBuf,
        counted: impl Fn(&str) -> bool,
    ) -> Result<(u64, u64)> {
        let (mut count, mut bytes, mut failed) = (0, 0, None);
        let visited = self.volume.sys.visit(dir, &mut |name, kind| {
            if failed.is_some() || kind != FileKind::File || !counted(name) {
                return;
            }
            match found(self.volume.sys.stat_at(dir, name)) {
                Ok(Some(stat)) => {
                    count += 1;
                    bytes += stat.size;
                }
                // It was deleted meanwhile.
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        });
        visited.and(failed.map_or(Ok(()), Err)).at("list", path)?;
        Ok((count, bytes))
    }
}
