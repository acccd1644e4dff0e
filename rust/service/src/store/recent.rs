//! Blobs that were read a moment before: a containerd asks for the info of a blob, and opens it, for each 32 KiB that it reads.
//!
//! An entry counts for a short time, and only as long as its file has its name and is unchanged: each use looks at the file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use steelyard_core::digest::Digest;
use steelyard_core::model::Info;
use steelyard_core::volume::blob::Blob;

/// How long an entry counts. Labels that another program changes meanwhile are seen after it.
const LIFE: Duration = Duration::from_millis(200);

/// The most entries.
const MOST: usize = 64;

struct Entry {
    blob: Arc<Blob>,
    /// With how often labels had been changed by this process before.
    info: Option<(u64, Info)>,
    since: Instant,
}

/// Blobs that were read a moment before.
#[derive(Default)]
pub(super) struct Recent(Mutex<HashMap<Digest, Entry>>);

impl Recent {
    /// The open blob, if its file still has its name.
    pub(super) fn blob(&self, digest: &Digest) -> Option<Arc<Blob>> {
        self.current(digest, |entry| Some(Arc::clone(&entry.blob)))
    }

    /// The info of the blob, under the same condition, unless this process has changed labels since.
    pub(super) fn info(&self, digest: &Digest, changes: u64) -> Option<Info> {
        self.current(digest, |entry| {
            let (before, info) = entry.info.as_ref()?;
            (*before == changes).then(|| info.clone())
        })
    }

    fn current<T>(&self, digest: &Digest, take: impl FnOnce(&Entry) -> Option<T>) -> Option<T> {
        let mut entries = self.entries();
        let entry = entries.get(digest)?;
        if entry.since.elapsed() > LIFE || !entry.blob.is_unchanged() {
            entries.remove(digest);
            return None;
        }
        take(entry)
    }

    /// Remember a blob that was opened to be read.
    pub(super) fn add_blob(&self, blob: &Arc<Blob>) {
        let entry = Entry { blob: Arc::clone(blob), info: None, since: Instant::now() };
        let mut entries = self.entries();
        if entries.len() >= MOST {
            entries.retain(|_, entry| entry.since.elapsed() <= LIFE);
        }
        if entries.len() < MOST {
            entries.insert(*blob.digest(), entry);
        }
    }

    /// Remember the info of a blob that is there.
    pub(super) fn add_info(&self, info: &Info, changes: u64) {
        if let Some(entry) = self.entries().get_mut(&info.digest) {
            entry.info = Some((changes, info.clone()));
        }
    }

    /// Close what no longer counts. Returns when to do so again; None: nothing is left.
    pub(super) fn close_expired(&self) -> Option<Duration> {
        let mut entries = self.entries();
        entries.retain(|_, entry| entry.since.elapsed() <= LIFE);
        // By then all of these have expired. One that comes meanwhile is open for twice as long at most.
        if entries.is_empty() { None } else { Some(LIFE) }
    }

    /// Close all.
    pub(super) fn clear(&self) {
        self.entries().clear();
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Digest, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
