//! Information on single blobs: sizes and times, labels, when they were verified.
//!
//! The file always decides whether a blob exists, and it is checked before the row is read. Labels become durable before the file
//! gets its name, so a reader that sees the file also sees the labels.

use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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

    /// Return the infos of the stored digests, in their order.
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

    /// Return the size of each stored digest. It reads no labels.
    pub fn sizes(&self, digests: &[Digest]) -> Result<Vec<Option<u64>>> {
        self.check_open()?;
        digests.iter().map(|digest| Ok(self.stat_blob(digest)?.map(|stat| stat.size))).collect()
    }

    /// Set a blob's labels and return its new info; on return the change survives a power loss.
    ///
    /// Without `keys`, all labels are replaced. With `keys`, only these labels change: each gets its value in `labels`, or is removed
    /// if it has none there.
    pub fn update(&self, digest: &Digest, labels: &Labels, keys: Option<&[String]>) -> Result<Info> {
        self.update_many(slice::from_ref(digest), labels, keys)?.remove(0)
    }

    /// Set the labels of many blobs as `update` does, all in one transaction, and return the new info of each, or its error.
    ///
    /// An error of the call means that no label was changed.
    pub fn update_many(
        &self,
        digests: &[Digest],
        labels: &Labels,
        keys: Option<&[String]>,
    ) -> Result<Vec<Result<Info>>> {
        self.check_writable()?;
        if keys.is_none() {
            check_labels(labels)?;
        }
        if digests.is_empty() {
            return Ok(Vec::new());
        }
        Patience::until(|| self.try_update(digests, &mut Change { labels, keys, last: None }))
    }

    /// Update as `update_many` does; return None, and change no label, while another process holds a digest or writes labels.
    fn try_update(&self, digests: &[Digest], change: &mut Change<'_>) -> Result<Option<Vec<Result<Info>>>> {
        let Some(_lock) = self.locks.try_digests(digests)? else { return Ok(None) };
        let stats = digests.iter().map(|digest| self.stat_blob(digest)).collect::<Result<Vec<_>>>()?;
        self.settle(digests, &stats)?;
        let (mut rows, mut reports) = (Vec::with_capacity(digests.len()), Vec::new());
        let mut update = |digest: &Digest, stat: Option<Stat>, row: Option<Row>| -> Result<Info> {
            let stat = stat.ok_or_else(|| Error::no_blob(digest))?;
            let mut row = row.unwrap_or_else(|| plain(digest, &stat));
            row.labels = change.apply(row.labels)?;
            row.size = stat.size;
            // The time always increases, even if the clock stands still or was set back.
            row.updated_ns = self.sys.now_ns().max(row.updated_ns.saturating_add(STEP_NS));
            let (labels, size, at_ns) = (Arc::clone(&row.labels), Some(stat.size), row.updated_ns);
            reports.extend(self.events().begin(|| Event {
                digest: Some(*digest),
                size,
                labels,
                ..Event::new(EventKind::Labelled, at_ns)
            }));
            rows.push(row.clone());
            Ok(row.into_info(stat.size))
        };
        let known = self.meta.get_many(digests)?;
        let all = digests.iter().zip(stats).zip(known);
        let outcomes = all.map(|((digest, stat), row)| update(digest, stat, row)).collect();
        let written = self.meta.try_put_many(&rows)?;
        if written.is_some() {
            self.label_changes.fetch_add(1, Ordering::Release);
            done(reports);
        }
        Ok(written.map(|()| outcomes))
    }

    /// The number of label changes through this volume. If it has not changed since an info was read, the info is still correct, as far as
    /// this process knows.
    pub fn label_changes(&self) -> u64 {
        self.label_changes.load(Ordering::Acquire)
    }

    /// Whether a blob of that size may be stored: a hint that saves hashing a file before it is written. False for a
    /// large blob that another program put into the root, until it is first listed.
    pub fn has_size(&self, size: u64) -> Result<bool> {
        self.check_open()?;
        self.meta.has_size(size)
    }

    /// Record the time at which blobs were last found undamaged, so that a resumed verification can skip them.
    ///
    /// The record only saves time: if it cannot be written (read-only, damaged metadata, a full disk), nothing is recorded.
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

    /// Return the start of the current verification of all blobs, in ns since the epoch.
    pub fn verify_started(&self) -> Result<Option<i64>> {
        self.check_open()?;
        Ok(self.meta.setting(VERIFY_STARTED)?.and_then(|text| text.parse().ok()))
    }

    /// Record the start of a verification of all blobs, or, with `None`, its end. As with [`Volume::mark_verified`], nothing is recorded
    /// if the record cannot be written soon, for example because another process is writing.
    pub fn set_verify_started(&self, at_ns: Option<i64>) -> Result<()> {
        self.check_open()?;
        let text = at_ns.map(|at_ns| at_ns.to_string());
        self.meta.set_setting(VERIFY_STARTED, text.as_deref()).ok();
        Ok(())
    }

    /// Rebuild `meta.db` from its readable part and from the blobs; return lines that say what was kept and lost.
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

    /// Make the names of blobs durable, because they may be new: an acknowledged change of a blob must not survive without the blob.
    fn settle(&self, digests: &[Digest], stats: &[Option<Stat>]) -> Result<()> {
        for algorithm in Algorithm::ALL {
            let mut stats = digests.iter().zip(stats).filter(|(digest, _)| digest.algorithm() == algorithm).peekable();
            if stats.peek().is_none() {
                continue;
            }
            if let Some(dir) = self.root.blob_dir(algorithm)?
                && stats.any(|(_, stat)| stat.is_some_and(|stat| !dir.covers(&stat)))
            {
                dir.sync(self.sys.as_ref())?;
            }
        }
        Ok(())
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

/// A change of labels. Blobs that have the same labels before the change share one set of labels after it.
struct Change<'a> {
    labels: &'a Labels,
    keys: Option<&'a [String]>,
    /// The labels of the last blob before and after the change.
    last: Option<(Arc<Labels>, Arc<Labels>)>,
}

impl Change<'_> {
    /// Return the labels of a blob after the change.
    fn apply(&mut self, old: Arc<Labels>) -> Result<Arc<Labels>> {
        if let Some((before, after)) = &self.last
            && *before == old
        {
            return Ok(Arc::clone(after));
        }
        let Some(keys) = self.keys else { return Ok(self.remember(old, self.labels.clone())) };
        let mut new = Labels::clone(&old);
        for key in keys {
            match self.labels.get(key) {
                Some(value) => new.insert(key.clone(), value.clone()),
                None => new.remove(key),
            };
        }
        check_labels(&new)?;
        Ok(self.remember(old, new))
    }

    fn remember(&mut self, old: Arc<Labels>, new: Labels) -> Arc<Labels> {
        let new = Arc::new(new);
        self.last = Some((old, Arc::clone(&new)));
        new
    }
}

/// The row of a blob that has only a file.
pub(crate) fn plain(digest: &Digest, stat: &Stat) -> Row {
    Row::plain(*digest, stat.size, stat.mtime_ns)
}

fn join(digest: &Digest, stat: &Stat, row: Option<Row>) -> Info {
    row.unwrap_or_else(|| plain(digest, stat)).into_info(stat.size)
}
