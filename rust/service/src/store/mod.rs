//! The interface through which calls use a store. Its methods may block, so they are called on `threads`.

mod local;
mod recent;

use std::sync::Arc;
use std::time::Duration;

use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::model::{Image, Info, Labels, Lease, Resources, Status, Target};
use steelyard_core::store::ingest::{Notify, Pushed};
use steelyard_core::volume::events::Item;

use crate::refusal::Refusal;

pub use local::LocalStore;

/// The result of a store's methods.
pub type Result<T> = std::result::Result<T, Refusal>;

/// The options of an ingest.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Its ref.
    pub name: String,
    /// The size of the blob, if it is known.
    pub total: Option<u64>,
    /// The digest of the blob, if it is known.
    pub expected: Option<Digest>,
    /// The algorithm of its digest, if there is no `expected`.
    pub algorithm: Option<Algorithm>,
}

/// A store. A lease that is passed to a method protects the blob that is stored or found in the store.
#[allow(missing_docs, reason = "the calls of the protocol; see the interfaces of `steelyard.content`")]
pub trait Store: Send + Sync + 'static {
    fn info(&self, digest: &Digest) -> Result<Info>;
    /// Set the labels in the field paths, or all labels if there are no paths.
    fn update(&self, digest: &Digest, labels: Labels, paths: &[String]) -> Result<Info>;
    fn walk(&self, filters: &[String]) -> Result<Box<dyn Walk>>;
    fn delete(&self, lease: Option<&str>, digest: &Digest) -> Result<()>;
    fn blob(&self, digest: &Digest) -> Result<Arc<dyn Blob>>;
    fn ingest(&self, lease: Option<&str>, opening: &Opening) -> Result<Arc<dyn Ingest>>;
    fn status(&self, name: &str) -> Result<Status>;
    fn statuses(&self, filters: &[String]) -> Result<Vec<Status>>;
    fn abort(&self, lease: Option<&str>, name: &str) -> Result<()>;

    fn image(&self, name: &str) -> Result<Image>;
    fn images(&self, filters: &[String]) -> Result<Vec<Image>>;
    fn create_image(&self, name: &str, target: Target, labels: Labels) -> Result<Image>;
    fn update_image(
        &self,
        name: &str,
        target: Target,
        labels: Labels,
        paths: &[String],
        expected: Option<&Digest>,
    ) -> Result<Image>;
    fn delete_image(&self, name: &str, expected: Option<&Digest>) -> Result<()>;

    fn create_lease(&self, id: Option<&str>, labels: Labels, expires: Duration) -> Result<Lease>;
    fn leases(&self, filters: &[String]) -> Result<Vec<Lease>>;
    fn add_to_lease(&self, id: &str, resources: &Resources) -> Result<()>;
    fn remove_from_lease(&self, id: &str, resources: &Resources) -> Result<()>;
    fn lease_resources(&self, id: &str) -> Result<Resources>;
    fn delete_lease(&self, id: &str) -> Result<()>;

    /// Subscribe to changes. `types` are filters; an event that matches one of them is delivered.
    fn events(&self, types: &[&str]) -> Result<Box<dyn Events>>;

    /// The info of a blob, if it is available without blocking because it was read a moment before.
    fn info_now(&self, _digest: &Digest) -> Option<Info> {
        None
    }

    /// Open a blob, if that is possible without blocking.
    fn blob_now(&self, _digest: &Digest) -> Option<Arc<dyn Blob>> {
        None
    }

    /// Close the blobs that were kept open for a next call and have expired. Returns the time until the next such call, or `None` if no
    /// blob is left. May block.
    fn close_expired(&self) -> Option<Duration> {
        None
    }

    /// Close everything that is kept open: there are no more calls.
    fn end(&self) {}
}

/// A blob that is open for reading.
pub trait Blob: Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> u64;
    /// Fill the buffer from `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;
    /// Fill the buffer from `offset` if that is possible without blocking. Returns whether it was done.
    fn read_now(&self, _buffer: &mut [u8], _offset: u64) -> bool {
        false
    }
    /// Whether closing it does not block. If its file has no name any more, closing may free the space of the file, which takes long.
    fn closes_at_once(&self) -> bool {
        true
    }
}

/// An open ingest. Only one call at a time uses it.
pub trait Ingest: Send + Sync {
    /// The status of the ingest. Fails if it was aborted.
    fn status(&self) -> Result<Status>;
    /// The digest of the bytes so far.
    fn digest(&self) -> Result<Digest>;
    /// Append bytes.
    fn write(&self, data: &[u8]) -> Result<()>;
    /// Accept bytes to be written later, if that is possible without blocking.
    fn push(&self, _data: &[u8]) -> Result<Pushed> {
        Ok(Pushed::Short)
    }
    /// Call `notify` when there is room for `size` further bytes. If this returns false, the caller must call `flush` on a thread that may
    /// block.
    fn when_room(&self, _size: usize, notify: Notify) -> bool {
        notify();
        true
    }
    /// Write the accepted bytes.
    fn flush(&self) {}
    /// Make all bytes so far durable.
    fn sync(&self) -> Result<()>;
    /// Cut the ingest to its first `size` bytes.
    fn truncate(&self, size: u64) -> Result<()>;
    /// Publish the ingest under its digest. Also closes it, in case of an error too.
    fn commit(&self, size: Option<u64>, expected: Option<&Digest>, labels: Option<Labels>) -> Result<Info>;
    /// Keep the bytes durably and free the ref. A second call has no effect.
    fn close(&self);
}

/// Blobs in the order of their digests.
pub trait Walk: Send {
    /// The next blobs; an empty list at the end.
    fn next(&mut self) -> Result<Vec<Info>>;
}

/// A subscription to changes.
pub trait Events: Send + Sync {
    /// Take the items so far; `None` when there will be no more.
    fn take(&self) -> Result<Option<Vec<Item>>>;
    /// Call `notify` when there are items to take, possibly before this returns. If this returns false, the subscription cannot notify: call
    /// `wait`.
    fn when_ready(&self, notify: Notify) -> bool;
    /// Block until there are items to take, at most for this duration.
    fn wait(&self, _most: Duration) {}
}
