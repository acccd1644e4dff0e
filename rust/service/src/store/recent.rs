//! Blobs whose info or data was requested a moment before. For each 32 KiB that a containerd reads, it requests the info of the blob and
//! opens the blob again.
//!
//! An entry is valid for a short time, and only as long as its file has its name and is unchanged: each use checks the file.

use std::collections::HashMap;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use steelyard_core::digest::Digest;
use steelyard_core::model::Info;
use steelyard_core::volume::blob::Blob;

/// How long an entry is valid. Labels that another program has changed are seen after this time at the latest.
const LIFE: Duration = Duration::from_millis(200);

/// The most open files.
const MOST: usize = 64;

/// From this number of open files on, none is opened for an info: a client may request the infos of very many blobs.
const MOST_FOR_INFOS: usize = MOST / 2;

/// The purpose for which a blob was opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For reading: the time of use is recorded.
    Use,
    /// To check whether an info is still valid.
    Look,
}

struct Entry {
    blob: Arc<Blob>,
    purpose: Purpose,
    /// The info, with the number of label changes by this process before it was read.
    info: Option<(u64, Info)>,
    since: Instant,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Digest, Entry>,
    /// Blobs of entries that are no longer valid. They are closed later, on a thread, because that may take long.
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

/// Blobs whose info or data was requested a moment before.
#[derive(Default)]
pub(super) struct Recent(Mutex<Kept>);

impl Recent {
    /// The blob, if it is open for reading and the entry is still valid.
    pub(super) fn blob(&self, digest: &Digest) -> Option<Arc<Blob>> {
        self.current(digest, |entry| (entry.purpose == Purpose::Use).then(|| Arc::clone(&entry.blob)))
    }

    /// The info of the blob, if the entry is still valid and this process has not changed labels since.
    pub(super) fn info(&self, digest: &Digest, changes: u64) -> Option<Info> {
        self.current(digest, |entry| {
            let (before, info) = entry.info.as_ref()?;
            (*before == changes).then(|| info.clone())
        })
    }

    /// Whether there is room for another blob that is opened for its info.
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

    /// Keep a blob that was opened.
    pub(super) fn add_blob(&self, blob: &Arc<Blob>, purpose: Purpose) {
        let entry = Entry { blob: Arc::clone(blob), purpose, info: None, since: Instant::now() };
        let mut kept = self.kept();
        kept.end(blob.digest());
        if kept.len() < MOST {
            kept.entries.insert(*blob.digest(), entry);
        }
    }

    /// The blob of a valid entry, whatever it was opened for.
    pub(super) fn any(&self, digest: &Digest) -> Option<Arc<Blob>> {
        self.current(digest, |entry| Some(Arc::clone(&entry.blob)))
    }

    /// Keep the info of a blob. `blob` must have been opened before the info was read; the info is dropped unless `blob` is the kept one.
    pub(super) fn add_info(&self, blob: &Arc<Blob>, info: &Info, changes: u64) {
        if let Some(entry) = self.kept().entries.get_mut(&info.digest)
            && Arc::ptr_eq(&entry.blob, blob)
            && blob.is_unchanged()
        {
            entry.info = Some((changes, info.clone()));
        }
    }

    /// Close expired blobs. Returns the time until the next call, or `None` if no entry is left.
    pub(super) fn close_expired(&self) -> Option<Duration> {
        let mut kept = self.kept();
        let mut ended = take(&mut kept.ended);
        let expired = kept.entries.extract_if(|_, entry| entry.since.elapsed() > LIFE);
        ended.extend(expired.map(|(_, entry)| entry.blob));
        // By then all present entries have expired. An entry that is added meanwhile stays open for at most twice `LIFE`.
        let again = (!kept.entries.is_empty()).then_some(LIFE);
        drop(kept);
        drop(ended);
        again
    }

    /// Close all blobs.
    pub(super) fn clear(&self) {
        drop(take(&mut *self.kept()));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
