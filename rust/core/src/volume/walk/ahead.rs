//! A walk with read-ahead of one step.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::Walk;
use crate::error::{Error, Result};
use crate::model::Info;
use crate::threads::start;
use crate::volume::Volume;

/// A walk whose next blobs are found, and converted to their form, while the caller uses the last ones.
///
/// One short-lived thread at a time does this. When the value is dropped, the thread ends by itself after its current step.
pub struct Ahead<T> {
    volume: Arc<Volume>,
    steps: Arc<Steps<T>>,
    coming: Mutex<Option<JoinHandle<Found<T>>>>,
}

/// Blobs in their form; `None` at the end.
type Found<T> = Result<Option<T>>;

struct Steps<T> {
    walk: Mutex<Walk>,
    most: usize,
    form: fn(&[Info]) -> T,
    given_up: Arc<AtomicBool>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Make a walk return at most `most` blobs at a time, converted by `form`.
    pub fn new(walk: Walk, most: usize, form: fn(&[Info]) -> T) -> Self {
        let (volume, given_up) = (Arc::clone(&walk.volume), Arc::clone(&walk.given_up));
        Self {
            volume,
            steps: Arc::new(Steps { walk: Mutex::new(walk), most, form, given_up }),
            coming: Mutex::default(),
        }
    }

    /// Return the next blobs; None at the end.
    pub fn next(&self) -> Found<T> {
        self.volume.check_open()?;
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match coming.take() {
            Some(thread) => self.join(thread),
            None => self.steps.take(),
        };
        *coming = self.go_on(&found);
        found
    }

    /// Return the next blobs if they are ready. This does not wait.
    pub fn ready(&self) -> Option<Found<T>> {
        let mut coming = self.coming.try_lock().ok()?;
        let thread = coming.take_if(|thread| thread.is_finished() && self.volume.check_open().is_ok())?;
        let found = self.join(thread);
        *coming = self.go_on(&found);
        Some(found)
    }

    fn join(&self, thread: JoinHandle<Found<T>>) -> Found<T> {
        thread.join().unwrap_or_else(|_| Err(lost(&self.volume)))
    }

    /// Start a thread that looks for the blobs after `found`. If no thread can be started, the next call looks for them.
    fn go_on(&self, found: &Found<T>) -> Option<JoinHandle<Found<T>>> {
        if !matches!(found, Ok(Some(_))) {
            return None;
        }
        let steps = Arc::clone(&self.steps);
        start("steelyard-walk", move || steps.take()).ok()
    }
}

impl<T> Steps<T> {
    fn take(&self) -> Found<T> {
        // A step that has panicked may have lost blobs, which must not count as absent.
        let mut walk = self.walk.lock().map_err(|dead| lost(&dead.into_inner().volume))?;
        let infos = walk.next(self.most)?;
        Ok((!infos.is_empty()).then(|| (self.form)(&infos)))
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.steps.given_up.store(true, Ordering::Relaxed);
    }
}

fn lost(volume: &Volume) -> Error {
    Error::Io { errno: libc::EIO, path: Some(volume.path().to_owned()), operation: "list" }
}
