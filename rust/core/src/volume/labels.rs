//! Information on single blobs: sizes and times, labels, when they were verified.
//!
//! Whether a blob exists is always asked of its file, before its row is read: labels become durable before the file gets
//! its name, so that a reader that sees the file sees them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::{Algorithm, Digest};
use crate::error::{At, Error, Result};
use crate::format::metadata::VERIFY_STARTED;
use crate::model::{Event, EventKind, Info, Labels, check_labels};
use crate::sys::{FileKind, Stat, found};
use crate::volume::Volume;
use crate::volume::events::done;
use crate::volume::listing::Names;
use crate::volume::meta::Row;
use crate::waiting::Patience;

/// The resolution of the times that Python shows, in ns.
const STEP_NS: i64 = 1_000;

impl Volume {
    /// Return the info of a blob.
    pub fn info(&self, digest: &Digest) -> Result<Info> {
        self.check_open()?;
        let stat = self.stat_blob(digest)?.ok_or_else(|| Error::no_blob(digest))?;
        Ok(join(digest, &stat, self.meta.get(digest)?))
    }

    /// Return the path of a stored blob's file. The file may be deleted or moved to quarantine at any time after the call.
    pub fn path_of(&self, digest: &Digest) -> Result<PathBuf> {
        self.check_open()?;
        self.stat_blob(digest)?.ok_or_else(|| Error::no_blob(digest))?;
        Ok(self.root.blob_path(digest))
    }

    /// Return the infos of those of the digests that are stored, in their order.
    pub fn infos(&self, digests: &[Digest]) -> Result<Vec<Info>> {
        self.check_open()?;
        let mut stored = Vec::with_capacity(digests.len());
        let mut stats = Vec::with_capacity(digests.len());
        for digest in digests {
            if let Some(stat) = self.stat_blob(digest)? {
                stored.push(*digest);
                stats.push(stat);
            }
        }
        let rows = self.meta.get_many(&stored)?;
        let both = stored.iter().zip(&stats).zip(rows);
        Ok(both.map(|((digest, stat), row)| join(digest, stat, row)).collect())
    }

    /// Set a blob's labels and return its new info; on return that survives a power loss.
    ///
    /// Without `keys` all labels are replaced. With them only those change: each gets its value in `labels`, or is
    /// removed if it has none there.
    pub fn update(&self, digest: &Digest, labels: &Labels, keys: Option<&[String]>) -> Result<Info> {
        self.check_writable()?;
        if keys.is_none() {
            check_labels(labels)?;
        }
        Patience::until(|| self.try_update(digest, labels, keys))
    }

    /// Update as `update` does; return None, and change no label, while another process holds the digest or writes labels.
    fn try_update(&self, digest: &Digest, labels: &Labels, keys: Option<&[String]>) -> Result<Option<Info>> {
        let Some(_lock) = self.locks.try_digest(digest)? else { return Ok(None) };
        let stat = self.stat_blob(digest)?.ok_or_else(|| Error::no_blob(digest))?;
        let mut row = self.meta.get(digest)?.unwrap_or_else(|| plain(digest, &stat));
        match keys {
            None => row.labels = Arc::new(labels.clone()),
            Some(keys) => {
                let changed = Arc::make_mut(&mut row.labels);
                for key in keys {
                    match labels.get(key) {
                        Some(value) => changed.insert(key.clone(), value.clone()),
                        None => changed.remove(key),
                    };
                }
                check_labels(&row.labels)?;
            }
        }
        self.settle(digest, &stat)?;
        row.size = stat.size;
        // Forward, even where the clock stands or was set back.
        row.updated_ns = self.sys.now_ns().max(row.updated_ns.saturating_add(STEP_NS));
        let (labels, size, at_ns) = (Arc::clone(&row.labels), Some(stat.size), row.updated_ns);
        let report = self.events().begin(|| Event {
            digest: Some(*digest),
            size,
            labels,
            ..Event::new(EventKind::Labelled, at_ns)
        });
        let written = self.meta.try_put(&row)?;
        done(report.filter(|_| written.is_some()));
        Ok(written.map(|()| row.into_info(stat.size)))
    }

    /// Whether a blob of that size may be stored: a hint that saves hashing a file before it is written. False for a
    /// large blob that came into the root by other ways than this store's, until it is first listed.
    pub fn has_size(&self, size: u64) -> Result<bool> {
        self.check_open()?;
        self.meta.has_size(size)
    }

    /// Remember when blobs were last found whole, so that a verification that is resumed can pass them over.
    ///
    /// It saves time only: where it cannot be written (read-only, damaged metadata, a full disk) nothing is remembered.
    pub fn mark_verified(&self, digests: &[Digest], at_ns: i64) -> Result<()> {
        self.check_open()?;
        let mut rows = Vec::with_capacity(digests.len());
        for digest in digests {
            if let Some(stat) = self.stat_blob(digest)? {
                rows.push(plain(digest, &stat));
            }
        }
        self.meta.set_verified(&rows, at_ns).ok();
        Ok(())
    }

    /// Return when the verification of all blobs that is under way was begun, in ns since the epoch.
    pub fn verify_started(&self) -> Result<Option<i64>> {
        self.check_open()?;
        Ok(self.meta.setting(VERIFY_STARTED)?.and_then(|text| text.parse().ok()))
    }

    /// Remember when a verification of all blobs was begun, or with None that it has ended. As with
    /// [`Volume::mark_verified`], where that cannot be written, or not soon beside another process, it is forgotten.
    pub fn set_verify_started(&self, at_ns: Option<i64>) -> Result<()> {
        self.check_open()?;
        let text = at_ns.map(|at_ns| at_ns.to_string());
        self.meta.set_setting(VERIFY_STARTED, text.as_deref()).ok();
        Ok(())
    }

    /// Rebuild `meta.db` from its readable part and from the blobs; return what was kept and lost, in lines.
    ///
    /// No other store object may have the root open for writing (`Unavailable`). The old file is kept aside.
    pub fn rebuild(&self) -> Result<Vec<String>> {
        self.check_writable()?;
        let _alone = self.locks.exclusive_store()?;
        self.meta.rebuild(|take| {
            for algorithm in Algorithm::ALL {
                for digest in Names::list(&self.root, algorithm)?.all() {
                    if let Some(stat) = self.stat_blob(&digest)? {
                        take(plain(&digest, &stat))?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Make a blob's name durable, which may have been given a moment ago: what is acknowledged about it must not survive it.
    fn settle(&self, digest: &Digest, stat: &Stat) -> Result<()> {
        match self.root.blob_dir(digest.algorithm())? {
            Some(dir) if !dir.covers(stat) => dir.sync(self.sys.as_ref()),
            _ => Ok(()),
        }
    }

    /// Look at a blob's file; None if there is no file, or not a blob.
    pub(crate) fn stat_blob(&self, digest: &Digest) -> Result<Option<Stat>> {
        let Some(dir) = self.root.blob_dir(digest.algorithm())? else {
            return Ok(None);
        };
        let stat = found(self.sys.stat_at(dir.fd(), &digest.encoded()));
        let stat = stat.at("stat", || self.root.blob_path(digest))?;
        Ok(stat.filter(|stat| stat.kind == FileKind::File))
    }
}

/// The row of a blob of which nothing is known but its file.
pub(crate) fn plain(digest: &Digest, stat: &Stat) -> Row {
    Row::plain(*digest, stat.size, stat.mtime_ns)
}

fn join(digest: &Digest, stat: &Stat, row: Option<Row>) -> Info {
    row.unwrap_or_else(|| plain(digest, stat)).into_info(stat.size)
}
