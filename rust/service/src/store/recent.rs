//! Blobs that were asked about or read a moment before: a containerd asks for the info of a blob, and opens it, for each 32 KiB that it reads.
//!
//! An entry counts for a short time, and only as long as its file has its name and is unchanged: each use looks at the file.

use std::collections::HashMap;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use steelyard_core::digest::Digest;
use steelyard_core::model::Info;
use steelyard_core::volume::blob::Blob;

/// How long an entry counts. Labels that another program changes meanwhile are seen after it.
const LIFE: Duration = Duration::from_millis(200);

/// The most open files.
const MOST: usize = 64;

/// The most of them before none is opened for an info: a client may ask for very many, one after the other.
const MOST_FOR_INFOS: usize = MOST / 2;

/// The purpose for which a blob was opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be read: its use is recorded.
    Use,
    /// To see whether an info still counts.
    Look,
}

struct Entry {
    blob: Arc<Blob>,
    purpose: Purpose,
    /// With how often labels had been changed by this process before.
    info: Option<(u64, Info)>,
    since: Instant,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Digest, Entry>,
    /// Those that no longer count, until they are closed: that may take long.
    ended: Vec<Arc<Blob>>,
}

impl Kept {
    fn len(&self) -> usize {
        self.entries.len() + self.ended.len()
    }

    fn end(&mut self, digest: &Digest) {
        self.ended.extend(self.entries.remove(digest).map(|entry| entry.blob));
    }
}

/// Blobs that were asked about or read a moment before.
#[derive(Default)]
pub(super) struct Recent(Mutex<Kept>);

impl Recent {
    /// The open blob, if its file still has its name.
    pub(super) fn blob(&self, digest: &Digest) -> Option<Arc<Blob>> {
        self.current(digest, |entry| (entry.purpose == Purpose::Use).then(|| Arc::clone(&entry.blob)))
    }

    /// The info of the blob, under the same condition, unless this process has changed labels since.
    pub(super) fn info(&self, digest: &Digest, changes: u64) -> Option<Info> {
        self.current(digest, |entry| {
            let (before, info) = entry.info.as_ref()?;
            (*before == changes).then(|| info.clone())
        })
    }

    /// Whether there is room for one more that is opened for its info.
    pub(super) fn has_room(&self) -> bool {
        self.kept().len() < MOST_FOR_INFOS
    }

    fn current<T>(&self, digest: &Digest, take: impl FnOnce(&Entry) -> Option<T>) -> Option<T> {
        let mut kept = self.kept();
        let entry = kept.entries.get(digest)?;
        if entry.since.elapsed() > LIFE || !entry.blob.is_unchanged() {
            kept.end(digest);
            return None;
        }
        take(entry)
    }

    /// Remember a blob that was opened.
    pub(super) fn add_blob(&self, blob: &Arc<Blob>, purpose: Purpose) {
        let entry = Entry { blob: Arc::clone(blob), purpose, info: None, since: Instant::now() };
        let mut kept = self.kept();
        kept.end(blob.digest());
        if kept.len() < MOST {
            kept.entries.insert(*blob.digest(), entry);
        }
    }

    /// The open blob of an entry that counts, whatever it was opened for.
    pub(super) fn any(&self, digest: &Digest) -> Option<Arc<Blob>> {
        self.current(digest, |entry| Some(Arc::clone(&entry.blob)))
    }

    /// Remember the info of a blob, if that file, which was open before the info was read, is still the one that is kept.
    pub(super) fn add_info(&self, blob: &Arc<Blob>, info: &Info, changes: u64) {
        if let Some(entry) = self.kept().entries.get_mut(&info.digest)
            && Arc::ptr_eq(&entry.blob, blob)
            && blob.is_unchanged()
        {
            entry.info = Some((changes, info.clone()));
        }
    }

    /// Close what no longer counts. Returns when to do so again; None: nothing is left.
    pub(super) fn close_expired(&self) -> Option<Duration> {
        let mut kept = self.kept();
        let mut ended = take(&mut kept.ended);
        let expired = kept.entries.extract_if(|_, entry| entry.since.elapsed() > LIFE);
        ended.extend(expired.map(|(_, entry)| entry.blob));
        // By then all of these have expired. One that comes meanwhile is open for twice as long at most.
        let again = (!kept.entries.is_empty()).then_some(LIFE);
        drop(kept);
        drop(ended);
        again
    }

    /// Close all.
    pub(super) fn clear(&self) {
        drop(take(&mut *self.kept()));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
