//! The notes for the owner of a server: entries for its log, and refs that have become free.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steelyard_core::store::ingest::Notify;

/// The most notes that wait for the owner. Later ones are dropped: no call waits for a log.
const MOST: usize = 10_000;

/// How serious an entry of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A call has ended.
    Debug,
    /// An operator should see it.
    Warning,
    /// A fault of the service.
    Error,
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// How serious it is.
    pub level: Level,
    /// For people.
    pub message: String,
    /// The full name of the call.
    pub method: &'static str,
    /// The ref, digest or name that it is about.
    pub subject: String,
    /// The name of its code.
    pub code: &'static str,
    /// How long it took, and its bytes in and out, once it has ended.
    pub ended: Option<(Duration, u64, u64)>,
}

/// A note for the owner.
#[derive(Clone, Debug)]
pub enum Note {
    /// An entry of the log.
    Log(Record),
    /// The ref of an ingest is free again.
    Released(String),
}

/// The notes that the owner has not taken yet.
#[derive(Default)]
pub(crate) struct Notes {
    state: Mutex<State>,
    /// Whether each call that ends is logged.
    pub(crate) all: AtomicBool,
}

#[derive(Default)]
struct State {
    notes: VecDeque<Note>,
    notify: Option<Notify>,
    ended: bool,
}

impl Notes {
    pub(crate) fn add(&self, note: Note) {
        let notify = {
            let mut state = self.state();
            if state.ended || state.notes.len() >= MOST {
                return;
            }
            state.notes.push_back(note);
            state.notify.take()
        };
        if let Some(notify) = notify {
            notify();
        }
    }

    /// The notes so far; None when there will be no more.
    pub(crate) fn take(&self) -> Option<Vec<Note>> {
        let mut state = self.state();
        if state.ended && state.notes.is_empty() { None } else { Some(state.notes.drain(..).collect()) }
    }

    /// Notify when there is a note to take, perhaps at once, or when there will be no more.
    pub(crate) fn when_ready(&self, notify: Notify) {
        {
            let mut state = self.state();
            if state.notes.is_empty() && !state.ended {
                state.notify = Some(notify);
                return;
            }
        }
        notify();
    }

    /// There will be no more.
    pub(crate) fn end(&self) {
        let notify = {
            let mut state = self.state();
            state.ended = true;
            state.notify.take()
        };
        if let Some(notify) = notify {
            notify();
        }
    }

    pub(crate) fn logs_all(&self) -> bool {
        self.all.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
