//! The last listing of a directory of blobs.

use std::sync::{Arc, Mutex, PoisonError};

/// The last listing of a directory.
#[derive(Default)]
pub(crate) struct KeptListing(Mutex<Option<Listing>>);

pub(super) struct Listing {
    /// The directory's time of change before it was listed.
    pub(super) changed_ns: i64,
    /// The blobs' hashes, in order.
    pub(super) hashes: Arc<Vec<u8>>,
}

impl KeptListing {
    /// The blobs' hashes, if the directory has not changed since that time.
    pub(super) fn get(&self, changed_ns: i64) -> Option<Arc<Vec<u8>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| kept.changed_ns == changed_ns).map(|kept| Arc::clone(&kept.hashes))
    }

    /// Keep this listing, or none.
    pub(super) fn set(&self, listing: Option<Listing>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = listing;
    }
}
