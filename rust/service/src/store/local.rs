//! The local store: the blocking core, called directly.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use steelyard_core::digest::Digest;
use steelyard_core::error::Error;
use steelyard_core::filter::Filter;
use steelyard_core::model::{Image, Info, Labels, Lease, Resources, Status, Target};
use steelyard_core::store::Store as Core;
use steelyard_core::store::ingest::{Ingest as CoreIngest, Notify, Pushed};
use steelyard_core::volume::Volume;
use steelyard_core::volume::blob::Blob as CoreBlob;
use steelyard_core::volume::events::{Item, Subscription};
use steelyard_core::volume::images::{Change, Taken};
use steelyard_core::volume::walk::Walk as CoreWalk;

use super::recent::{Purpose, Recent};
use super::{Blob, Events, Ingest, Opening, Result, Store, Walk};
use crate::refusal::Refusal;

/// The most blobs of one step of a listing.
const PAGE: usize = 1000;

/// The most events that wait for one subscriber.
const MOST_EVENTS: usize = 4096;

/// The most events that are taken at a time.
const TAKEN: usize = 256;

/// A local store.
pub struct LocalStore {
    /// `None` after the end of the service: a store closes when its last reference is dropped.
    core: RwLock<Option<Arc<Core>>>,
    recent: Recent,
}

impl LocalStore {
    /// Serve an open store.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core: RwLock::new(Some(core)), recent: Recent::default() }
    }

    fn core(&self) -> Result<Arc<Core>> {
        let core = self.core.read().unwrap_or_else(PoisonError::into_inner).clone();
        let closed = || Error::StoreClosed { message: "the service has ended".to_owned() };
        Ok(core.ok_or_else(closed)?)
    }

    fn volume(&self) -> Result<Arc<Volume>> {
        Ok(Arc::clone(self.core()?.volume()))
    }
}

impl Store for LocalStore {
    fn info(&self, digest: &Digest) -> Result<Info> {
        let volume = self.volume()?;
        let changes = volume.label_changes();
        let mut open = self.recent.any(digest);
        if open.is_none() && self.recent.has_room() {
            open = volume.inspect(digest).ok().map(Arc::new);
            if let Some(blob) = &open {
                self.recent.add_blob(blob, Purpose::Look);
            }
        }
        let info = volume.info(digest)?;
        if let Some(blob) = open {
            self.recent.add_info(&blob, &info, changes);
        }
        Ok(info)
    }

    fn update(&self, digest: &Digest, labels: Labels, paths: &[String]) -> Result<Info> {
        Ok(self.volume()?.update(digest, &labels, label_keys(paths)?.as_deref())?)
    }

    fn walk(&self, filters: &[String]) -> Result<Box<dyn Walk>> {
        Ok(Box::new(self.volume()?.walk(&Filter::compile(filters)?, None)?))
    }

    fn delete(&self, lease: Option<&str>, digest: &Digest) -> Result<()> {
        let mut outcomes = self.volume()?.delete_many(lease, &[*digest])?;
        Ok(outcomes.remove(0)?)
    }

    fn blob(&self, digest: &Digest) -> Result<Arc<dyn Blob>> {
        let blob = Arc::new(self.volume()?.blob(digest)?);
        self.recent.add_blob(&blob, Purpose::Use);
        Ok(blob)
    }

    fn ingest(&self, lease: Option<&str>, opening: &Opening) -> Result<Arc<dyn Ingest>> {
        let Opening { name, total, expected, algorithm } = opening;
        Ok(self.core()?.ingests().open_under(lease, name, *total, expected.as_ref(), *algorithm)?)
    }

    fn status(&self, name: &str) -> Result<Status> {
        Ok(self.core()?.ingests().status(name)?)
    }

    fn statuses(&self, filters: &[String]) -> Result<Vec<Status>> {
        let filter = Filter::compile(filters)?;
        let mut statuses = self.core()?.ingests().statuses()?;
        statuses.retain(|status| filter.matches(status));
        Ok(statuses)
    }

    fn abort(&self, lease: Option<&str>, name: &str) -> Result<()> {
        Ok(self.core()?.ingests().abort_under(lease, name)?)
    }

    fn image(&self, name: &str) -> Result<Image> {
        Ok(self.volume()?.image(name)?)
    }

    fn images(&self, filters: &[String]) -> Result<Vec<Image>> {
        Ok(self.volume()?.images(&Filter::compile(filters)?)?)
    }

    fn create_image(&self, name: &str, target: Target, labels: Labels) -> Result<Image> {
        let mut images = self.volume()?.assign_images(&[(name.to_owned(), target)], Some(&labels), Taken::Refuse)?;
        Ok(images.remove(0))
    }

    fn update_image(
        &self,
        name: &str,
        target: Target,
        labels: Labels,
        paths: &[String],
        expected: Option<&Digest>,
    ) -> Result<Image> {
        let change = image_change(target, labels, paths)?;
        let expected = expected.map(ToString::to_string);
        Ok(self.volume()?.update_image(name, &change, expected.as_deref())?)
    }

    fn delete_image(&self, name: &str, expected: Option<&Digest>) -> Result<()> {
        let expected = expected.map(ToString::to_string);
        Ok(self.volume()?.delete_image(name, expected.as_deref())?)
    }

    fn create_lease(&self, id: Option<&str>, labels: Labels, expires: Duration) -> Result<Lease> {
        let new;
        let id = if let Some(id) = id {
            id
        } else {
            new = new_lease()?;
            &new
        };
        let expires_ns = i64::try_from(expires.as_nanos()).unwrap_or(i64::MAX);
        Ok(self.volume()?.create_lease(id, &labels, expires_ns)?)
    }

    fn leases(&self, filters: &[String]) -> Result<Vec<Lease>> {
        Ok(self.volume()?.leases(&Filter::compile(filters)?)?)
    }

    fn add_to_lease(&self, id: &str, resources: &Resources) -> Result<()> {
        Ok(self.volume()?.add_to_lease(id, resources)?)
    }

    fn remove_from_lease(&self, id: &str, resources: &Resources) -> Result<()> {
        Ok(self.volume()?.remove_from_lease(id, resources)?)
    }

    fn lease_resources(&self, id: &str) -> Result<Resources> {
        Ok(self.volume()?.lease_resources(id)?)
    }

    fn delete_lease(&self, id: &str) -> Result<()> {
        Ok(self.volume()?.delete_lease(id)?)
    }

    fn events(&self, types: &[&str]) -> Result<Box<dyn Events>> {
        if self.volume()?.read_only() {
            return Err(Refusal::unsupported("the store", "events of a store that is open read-only"));
        }
        let filter = Filter::compile(types)?;
        Ok(Box::new(self.volume()?.events().subscribe(filter, MOST_EVENTS)))
    }

    fn info_now(&self, digest: &Digest) -> Option<Info> {
        self.recent.info(digest, self.volume().ok()?.label_changes())
    }

    fn blob_now(&self, digest: &Digest) -> Option<Arc<dyn Blob>> {
        if let Some(blob) = self.recent.blob(digest) {
            return Some(blob);
        }
        // `blob` reports an error again.
        let blob = Arc::new(self.volume().ok()?.blob_cached(digest).ok()??);
        self.recent.add_blob(&blob, Purpose::Use);
        Some(blob)
    }

    fn close_expired(&self) -> Option<Duration> {
        self.recent.close_expired()
    }

    fn end(&self) {
        self.recent.clear();
        *self.core.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Blob for CoreBlob {
    fn size(&self) -> u64 {
        CoreBlob::size(self)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        Ok(self.read_exact_at(buffer, offset)?)
    }

    fn read_now(&self, buffer: &mut [u8], offset: u64) -> bool {
        self.read_cached(buffer, offset).unwrap_or(false)
    }

    fn closes_at_once(&self) -> bool {
        CoreBlob::closes_at_once(self)
    }
}

impl Ingest for CoreIngest {
    fn status(&self) -> Result<Status> {
        Ok(CoreIngest::status(self)?)
    }

    fn digest(&self) -> Result<Digest> {
        Ok(CoreIngest::digest(self)?)
    }

    fn write(&self, data: &[u8]) -> Result<()> {
        Ok(CoreIngest::write(self, data)?)
    }

    fn push(&self, data: &[u8]) -> Result<Pushed> {
        Ok(CoreIngest::push(self, data)?)
    }

    fn when_room(&self, size: usize, notify: Notify) -> bool {
        CoreIngest::when_room(self, size, notify)
    }

    fn flush(&self) {
        self.flush_here();
    }

    fn sync(&self) -> Result<()> {
        Ok(CoreIngest::sync(self)?)
    }

    fn truncate(&self, size: u64) -> Result<()> {
        Ok(CoreIngest::truncate(self, size)?)
    }

    fn commit(&self, size: Option<u64>, expected: Option<&Digest>, labels: Option<Labels>) -> Result<Info> {
        let result = (|| {
            if let Some(digest) = expected
                && digest.algorithm() != self.algorithm()
            {
                self.set_algorithm(digest.algorithm())?;
            }
            CoreIngest::commit(self, size, expected, labels.as_ref())
        })();
        Ingest::close(self);
        Ok(result?)
    }

    fn close(&self) {
        // After a failure, the bytes after the last checkpoint may be lost; the next stream is told the offset at which it continues.
        CoreIngest::close(self).ok();
    }
}

impl Walk for CoreWalk {
    fn next(&mut self) -> Result<Vec<Info>> {
        Ok(CoreWalk::next(self, PAGE)?)
    }
}

impl Events for Subscription {
    fn take(&self) -> Result<Option<Vec<Item>>> {
        Ok(Subscription::take(self, TAKEN))
    }

    fn when_ready(&self, notify: Notify) -> bool {
        Subscription::when_ready(self, notify);
        true
    }
}

/// The keys of the labels in the field paths of an update; `None` for all labels.
fn label_keys(paths: &[String]) -> Result<Option<Vec<String>>> {
    let mut keys = Vec::new();
    let mut all = paths.is_empty();
    for path in paths {
        match path.strip_prefix("labels") {
            Some("") => all = true,
            Some(key) if key.len() > 1 && key.starts_with('.') => keys.push(key[1..].to_owned()),
            _ => return Err(fixed(path, "'labels' and 'labels.<key>'")),
        }
    }
    Ok((!all).then_some(keys))
}

/// The change that the field paths of an update describe: the target, all labels, or single labels.
fn image_change(target: Target, labels: Labels, paths: &[String]) -> Result<Change> {
    let mut keys = Vec::new();
    for path in paths {
        match path.strip_prefix("labels.") {
            Some(key) if !key.is_empty() => keys.push(key.to_owned()),
            _ if path == "target" || path == "labels" => {}
            _ => return Err(fixed(path, "'target', 'labels' and 'labels.<key>'")),
        }
    }
    let named = |part: &str| paths.is_empty() || paths.iter().any(|path| path == part);
    let labels = match (named("labels"), keys.is_empty()) {
        (true, _) => Some((labels, None)),
        (false, false) => Some((labels, Some(keys))),
        (false, true) => None,
    };
    Ok(Change { target: named("target").then_some(target), labels })
}

fn fixed(path: &str, can_change: &str) -> Refusal {
    Refusal::invalid(&format!("field path {path:?}: only {can_change} can be updated"))
}

/// Generate the ID of a lease.
fn new_lease() -> Result<String> {
    let mut random = [0; 16];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|error| Error::io(&error.into(), "", "getrandom"))?;
    Ok(format!("steelyard-{:032x}", u128::from_be_bytes(random)))
}
