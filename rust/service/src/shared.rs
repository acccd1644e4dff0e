//! The things that all calls of a server share.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, watch};

use crate::log::{Note, Notes};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::store::Store;
use crate::threads::Threads;

/// How far the life of a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Calls that are under way may end; there are no new ones.
    Draining,
    /// Calls that are under way are cancelled.
    Ended,
}

/// The things that all calls of a server share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) threads: Threads,
    pub(crate) notes: Notes,
    pub(crate) metrics: Metrics,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) limits: Limits,
    /// Notified when a blob was opened, which may be kept open for the next call.
    pub(crate) opened: Notify,
    /// Notified when a connection has ended.
    pub(crate) left: Notify,
}

/// How many calls of a kind there may be at a time.
pub(crate) struct Limits {
    pub(crate) writes: Semaphore,
    pub(crate) calls: Semaphore,
    pub(crate) watchers: Semaphore,
    pub(crate) subscribers: Semaphore,
}

impl Shared {
    pub(crate) fn new(store: Arc<dyn Store>, settings: Settings) -> Self {
        let calls = settings.calls;
        let watching = (calls / 4).max(1);
        Self {
            store,
            threads: Threads::new(calls),
            notes: Notes::default(),
            metrics: Metrics::new(),
            phase: watch::Sender::new(Phase::Serving),
            limits: Limits {
                writes: Semaphore::new(calls),
                calls: Semaphore::new(calls),
                watchers: Semaphore::new(watching),
                subscribers: Semaphore::new(watching),
            },
            opened: Notify::new(),
            left: Notify::new(),
            settings,
        }
    }

    /// How many calls may watch for the health, and for events.
    pub(crate) fn watching(&self) -> usize {
        (self.settings.calls / 4).max(1)
    }

    /// Say that the ref of an ingest is free again.
    pub(crate) fn released(&self, name: String) {
        self.notes.add(Note::Released(name));
    }

    /// Accept no further calls, and let those under way end.
    pub(crate) fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let is_serving = *phase == Phase::Serving;
            if is_serving {
                *phase = Phase::Draining;
            }
            is_serving
        });
    }

    /// Wait until the server drains, or ends.
    pub(crate) async fn until(&self, phase: Phase) {
        let mut changes = self.phase.subscribe();
        // An error: the server is gone, which is its end.
        drop(changes.wait_for(|now| *now == phase || *now == Phase::Ended).await);
    }
}
