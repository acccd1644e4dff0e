//! The notes for the owner of a server: entries for its log, and refs that have become free.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steelyard_core::store::ingest::Notify;

/// The most notes that wait for the owner. Further notes are dropped, so that no call waits for a log.
const MOST: usize = 10_000;

/// The most bytes of their texts: a ref may have a mebibyte, and so may a name that is refused.
const MOST_BYTES: usize = 16 << 20;

/// The level of a log entry.
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
    /// Its level.
    pub level: Level,
    /// The message for people.
    pub message: String,
    /// The full name of the method.
    pub method: &'static str,
    /// The ref, digest or name that the call concerns.
    pub subject: String,
    /// The name of the code.
    pub code: &'static str,
    /// For a call that has ended: its duration, the bytes received and the bytes sent.
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

impl Note {
    /// The bytes of its texts.
    fn len(&self) -> usize {
        match self {
            Self::Log(record) => record.message.len() + record.subject.len(),
            Self::Released(name) => name.len(),
        }
    }
}

/// The notes that the owner has not taken yet.
#[derive(Default)]
pub(crate) struct Notes {
    state: Mutex<State>,
    /// Whether the end of every call is logged.
    pub(crate) all: AtomicBool,
}

#[derive(Default)]
struct State {
    notes: VecDeque<Note>,
    bytes: usize,
    notify: Option<Notify>,
    ended: bool,
}

impl Notes {
    pub(crate) fn add(&self, note: Note) {
        let notify = {
            let mut state = self.state();
            if state.ended || state.notes.len() >= MOST || state.bytes >= MOST_BYTES {
                return;
            }
            state.bytes += note.len();
            state.notes.push_back(note);
            state.notify.take()
        };
        if let Some(notify) = notify {
            notify();
        }
    }

    /// Take the notes so far; `None` if there are no more and will be none.
    pub(crate) fn take(&self) -> Option<Vec<Note>> {
        let mut state = self.state();
        state.bytes = 0;
        if state.ended && state.notes.is_empty() { None } else { Some(state.notes.drain(..).collect()) }
    }

    /// Call `notify` when there is a note to take or when there will be no more, possibly before this returns.
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

    /// Declare that there will be no more notes.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_are_not_taken_have_a_bound() {
        let notes = Notes::default();
        for size in [1 << 20, 0] {
            (0..2 * MOST).for_each(|_| notes.add(Note::Released("r".repeat(size))));
            let taken = notes.take().unwrap();
            assert_eq!(if size == 0 { MOST } else { 16 }, taken.len());
        }
    }
}
