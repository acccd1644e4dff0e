//! The state that all calls of a server share.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, watch};

use crate::log::{Note, Notes};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::store::Store;
use crate::threads::Threads;

/// The phases of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Serving,
    /// Open calls may finish; new ones are not accepted.
    Draining,
    /// Open calls are cancelled.
    Ended,
}

/// The state that all calls of a server share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) threads: Threads,
    pub(crate) notes: Notes,
    pub(crate) metrics: Metrics,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) limits: Limits,
    /// Notified when a blob was opened: it may be kept open for the next call.
    pub(crate) opened: Notify,
    /// Notified when a connection has ended.
    pub(crate) left: Notify,
}

/// The limits of concurrent calls, by kind.
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

    /// The most concurrent calls that watch the health, and the most that wait for events.
    pub(crate) fn watching(&self) -> usize {
        (self.settings.calls / 4).max(1)
    }

    /// Note for the owner that the ref of an ingest is free again.
    pub(crate) fn released(&self, name: String) {
        self.notes.add(Note::Released(name));
    }

    /// Accept no further calls, and let open calls finish.
    pub(crate) fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let is_serving = *phase == Phase::Serving;
            if is_serving {
                *phase = Phase::Draining;
            }
            is_serving
        });
    }

    /// Wait until the server is in this phase, or has ended.
    pub(crate) async fn until(&self, phase: Phase) {
        let mut changes = self.phase.subscribe();
        // Fails if the server was dropped, which also ends it.
        drop(changes.wait_for(|now| *now == phase || *now == Phase::Ended).await);
    }
}
