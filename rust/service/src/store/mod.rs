//! The interface of a store for the calls. Its methods may wait; they are called on `threads`.

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
    /// The size that it will have, if that is known.
    pub total: Option<u64>,
    /// The digest that it will have, if that is known.
    pub expected: Option<Digest>,
    /// The algorithm of its digest, where `expected` does not say.
    pub algorithm: Option<Algorithm>,
}

/// A store. The lease of a method protects what is stored, or what is found to be stored.
#[allow(missing_docs, reason = "the calls of the protocol; see the interfaces of `steelyard.content`")]
pub trait Store: Send + Sync + 'static {
    fn info(&self, digest: &Digest) -> Result<Info>;
    /// Set labels: those that the field paths name, or all.
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

    /// Subscribe to the changes of these types, in the language of filters.
    fn events(&self, types: &[&str]) -> Result<Box<dyn Events>>;

    /// The info of a blob, if that needs no waiting: it was read a moment before.
    fn info_now(&self, _digest: &Digest) -> Option<Info> {
        None
    }

    /// Open a blob, if that needs no waiting.
    fn blob_now(&self, _digest: &Digest) -> Option<Arc<dyn Blob>> {
        None
    }

    /// Close the blobs that were kept open for a next call which did not come in time. Returns when to do so again; None: none is
    /// left. It may wait.
    fn close_expired(&self) -> Option<Duration> {
        None
    }

    /// Close all that is kept open: there are no more calls.
    fn end(&self) {}
}

/// A blob that is open for reading.
pub trait Blob: Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> u64;
    /// Fill the buffer from `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;
    /// Do the same if that needs no waiting; false: it was not done.
    fn read_now(&self, _buffer: &mut [u8], _offset: u64) -> bool {
        false
    }
    /// Whether its end needs no waiting. The last use of a file without a name frees its space, which takes long.
    fn closes_at_once(&self) -> bool {
        true
    }
}

/// An open ingest. One call at a time uses it.
pub trait Ingest: Send + Sync {
    /// The status of it. An error if it was aborted.
    fn status(&self) -> Result<Status>;
    /// The digest of the bytes so far.
    fn digest(&self) -> Result<Digest>;
    /// Append bytes.
    fn write(&self, data: &[u8]) -> Result<()>;
    /// Accept bytes to be written later, if that needs no waiting.
    fn push(&self, _data: &[u8]) -> Result<Pushed> {
        Ok(Pushed::Short)
    }
    /// Notify when there is room for so many bytes more. False: the caller calls `flush` on a thread that may wait.
    fn when_room(&self, _size: usize, notify: Notify) -> bool {
        notify();
        true
    }
    /// Write the bytes that were accepted.
    fn flush(&self) {}
    /// Cut it to its first bytes.
    fn truncate(&self, size: u64) -> Result<()>;
    /// Publish it under its digest, and close it whatever happens.
    fn commit(&self, size: Option<u64>, expected: Option<&Digest>, labels: Option<Labels>) -> Result<Info>;
    /// Keep what it holds, durably, and free the ref. A second call does nothing.
    fn close(&self);
}

/// Blobs in the order of their digests.
pub trait Walk: Send {
    /// The next of them; none at the end.
    fn next(&mut self) -> Result<Vec<Info>>;
}

/// A subscription.
pub trait Events: Send + Sync {
    /// The items that are there; None when there will be no more.
    fn take(&self) -> Result<Option<Vec<Item>>>;
    /// Notify when there is something to take, perhaps before this returns. False: it cannot; call `wait`.
    fn when_ready(&self, notify: Notify) -> bool;
    /// Wait so long for something to take.
    fn wait(&self, _most: Duration) {}
}
