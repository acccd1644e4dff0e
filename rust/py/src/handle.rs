//! The open objects of a store: all of them end when the store is closed, even if Python still refers to them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use steelyard_core::error::{Error, Result};
use steelyard_core::store::Store;
use steelyard_core::sys::ProcessBound;
use steelyard_core::volume::blob;

/// Entries of dropped objects are removed only when there are at least this many entries.
const LEAST: usize = 64;

/// An object that can be ended from outside.
pub(crate) trait End: Send + Sync {
    /// Close the object. All later uses fail with this reason.
    fn end(&self, reason: &Error) -> Result<()>;
}

/// All open objects of one store.
#[derive(Default)]
pub(crate) struct Opened(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    list: Vec<Weak<dyn End>>,
    /// Set when the store is closed: the reason why nothing can be opened any more.
    reason: Option<Error>,
    /// Entries of dropped objects are removed when the list has this length.
    full: usize,
}

/// A value of the core, until it or its store is closed.
pub(crate) struct Handle<T>(ProcessBound<Arc<Slot<T>>>);

struct Slot<T>(Mutex<State<T>>);

enum State<T> {
    Open(Arc<T>),
    Ended(Error),
}

/// Called on a value when its store is closed, before the handle drops it.
pub(crate) trait Close: Send + Sync + 'static {
    fn close(&self) {}
}

impl Close for Store {}
impl Close for blob::Blob {}

impl Close for blob::Stream {
    fn close(&self) {
        blob::Stream::close(self);
    }
}

impl<T: Send + 'static> Close for steelyard_core::volume::walk::Ahead<T> {}

impl Opened {
    /// Register an object, which is then ended with the store. Fails if the store is closed; the caller then drops the object.
    pub(crate) fn add(&self, entry: Weak<dyn End>) -> Result<()> {
        let mut entries = self.entries();
        if let Some(reason) = &entries.reason {
            return Err(reason.clone());
        }
        if entries.list.len() >= entries.full {
            entries.list.retain(|entry| entry.strong_count() > 0);
            entries.full = LEAST.max(2 * entries.list.len());
        }
        entries.list.push(entry);
        Ok(())
    }

    /// End all objects. Returns the first error after all have ended.
    pub(crate) fn end(&self, reason: &Error) -> Result<()> {
        let list = {
            let mut entries = self.entries();
            entries.reason = Some(reason.clone());
            std::mem::take(&mut entries.list)
        };
        let mut result = Ok(());
        for entry in list.into_iter().filter_map(|entry| Weak::upgrade(&entry)) {
            result = result.and(entry.end(reason));
        }
        result
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Close> Handle<T> {
    /// A handle that ends with its store.
    pub(crate) fn new(opened: &Opened, value: Arc<T>) -> Result<Self> {
        let slot = Arc::new(Slot(Mutex::new(State::Open(value))));
        let entry: Weak<dyn End> = Arc::downgrade(&slot) as _;
        opened.add(entry)?;
        Ok(Self(ProcessBound::new(slot)))
    }

    /// The handle of the store itself.
    pub(crate) fn of_store(value: Arc<T>) -> Self {
        Self(ProcessBound::new(Arc::new(Slot(Mutex::new(State::Open(value))))))
    }

    /// The value, or the error that says why it cannot be used.
    pub(crate) fn get(&self, name: impl FnOnce() -> String) -> Result<Arc<T>> {
        match &*self.0.get(name)?.state() {
            State::Open(value) => Ok(Arc::clone(value)),
            State::Ended(reason) => Err(reason.clone()),
        }
    }

    /// Take the value out, if it is still open. In the child of a fork this always returns `None`.
    pub(crate) fn take(&self, reason: Error) -> Option<Arc<T>> {
        self.0.here()?.take(reason)
    }
}

impl<T> Slot<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, reason: Error) -> Option<Arc<T>> {
        let mut state = self.state();
        if matches!(*state, State::Ended(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Ended(reason)) {
            State::Open(value) => Some(value),
            State::Ended(_) => None,
        }
    }
}

impl<T: Close> End for Slot<T> {
    fn end(&self, reason: &Error) -> Result<()> {
        if let Some(value) = self.take(reason.clone()) {
            value.close();
        }
        Ok(())
    }
}
