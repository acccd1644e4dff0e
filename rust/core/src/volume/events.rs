//! Events: the changes of a root that were made in this process, for subscribers in it.
//!
//! An event is delivered when its change is durable, and the events of one blob, name or lease are delivered in the order of its
//! changes. These two promises conflict, because the locks that order changes are released before the last sync. So a caller that
//! makes a change begins a [`Report`] under the lock, and marks it as **done** when the change is durable. A report that is done
//! waits for earlier reports of the same subject. A report that is dropped before it is done produces no event.
//!
//! Without a subscriber, `begin` only reads one number. A subscriber delays no change: its events wait in a
//! [`Subscription`] of bounded size.

mod queue;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::filter::Filter;
use crate::model::Event;

use queue::Queue;
pub use queue::{Item, Notify};

/// The source of the events of one root.
#[derive(Default)]
pub struct Events {
    /// The number of subscribers.
    active: AtomicUsize,
    last: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queues: Vec<Arc<Queue>>,
    /// The reports that have begun, in order, for each subject.
    reports: HashMap<Key, VecDeque<(u64, Outcome)>>,
}

/// A subscription. It ends when this is dropped.
pub struct Subscription {
    events: Arc<Events>,
    queue: Arc<Queue>,
}

/// The subject of a change.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Blob(Digest),
    Name(String),
    Lease(String),
}

enum Outcome {
    Open,
    Done(Arc<Event>),
    Dropped,
}

/// The report of a change that has begun. It is dropped if the change fails.
pub struct Report {
    events: Arc<Events>,
    number: u64,
    key: Key,
    event: Mutex<Option<Event>>,
}

impl Events {
    /// Whether there is a subscriber.
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire) > 0
    }

    /// Begin the report of a change, while the lock that orders it is held and before it is visible. None if there is no subscriber.
    pub fn begin(self: &Arc<Self>, event: impl FnOnce() -> Event) -> Option<Arc<Report>> {
        if !self.is_active() {
            return None;
        }
        let event = event();
        let key = Key::of(&event);
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        self.state().reports.entry(key.clone()).or_default().push_back((number, Outcome::Open));
        Some(Arc::new(Report { events: Arc::clone(self), number, key, event: Mutex::new(Some(event)) }))
    }

    /// Subscribe to the matching events of changes that begin from now on. At most `most` events wait to be taken.
    pub fn subscribe(self: &Arc<Self>, filter: Filter, most: usize) -> Subscription {
        let queue = Arc::new(Queue::new(filter, most));
        self.state().queues.push(Arc::clone(&queue));
        self.active.fetch_add(1, Ordering::AcqRel);
        Subscription { events: Arc::clone(self), queue }
    }

    /// Forget a subscriber.
    fn leave(&self, queue: &Arc<Queue>) {
        let mut state = self.state();
        let before = state.queues.len();
        state.queues.retain(|each| !Arc::ptr_eq(each, queue));
        self.active.fetch_sub(before - state.queues.len(), Ordering::AcqRel);
    }

    /// Record the end of a report, and deliver the events that have waited for it.
    fn settle(&self, key: &Key, number: u64, outcome: Outcome) {
        let mut notify = Vec::new();
        {
            let mut state = self.state();
            let State { queues, reports } = &mut *state;
            let Some(begun) = reports.get_mut(key) else { return };
            if let Some(report) = begun.iter_mut().find(|report| report.0 == number) {
                report.1 = outcome;
            }
            while let Some((number, outcome)) = begun.pop_front() {
                match outcome {
                    Outcome::Open => {
                        begun.push_front((number, Outcome::Open));
                        break;
                    }
                    Outcome::Done(event) => notify.extend(queues.iter().filter_map(|queue| queue.add(&event))),
                    Outcome::Dropped => {}
                }
            }
            if begun.is_empty() {
                reports.remove(key);
            }
        }
        // The lock is released first: a notification takes another lock, and may start a thread.
        for notify in notify {
            notify();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Take at most `most` of the waiting items; `None` if the subscription has ended and all items were taken.
    pub fn take(&self, most: usize) -> Option<Vec<Item>> {
        self.queue.take(most)
    }

    /// Whether taking items may take milliseconds, because the filter has regular expressions.
    pub fn has_expressions(&self) -> bool {
        self.queue.has_expressions()
    }

    /// Call `notify` when there are items to take, and at `wake` and `end`; possibly before this returns.
    pub fn when_ready(&self, notify: Notify) {
        self.queue.when_ready(notify);
    }

    /// Notify the subscriber, if it waits.
    pub fn wake(&self) {
        self.queue.wake();
    }

    /// End the subscription: no more items are added, but the waiting ones can be taken.
    pub fn end(&self) {
        self.events.leave(&self.queue);
        self.queue.end();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.end();
    }
}

impl Report {
    /// Mark the change as durable, as far as the store promises. A second call does nothing.
    pub fn done(&self) {
        let event = self.event.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(event) = event {
            self.events.settle(&self.key, self.number, Outcome::Done(Arc::new(event)));
        }
    }
}

/// Mark changes as durable, if there are reports of them.
pub(crate) fn done(reports: impl IntoIterator<Item = Arc<Report>>) {
    for report in reports {
        report.done();
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.event.get_mut().unwrap_or_else(PoisonError::into_inner).is_some() {
            self.events.settle(&self.key, self.number, Outcome::Dropped);
        }
    }
}

impl PartialEq for Report {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Report {}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Report").field(&self.number).finish()
    }
}

impl Key {
    fn of(event: &Event) -> Self {
        match (&event.name, &event.lease, event.digest) {
            (Some(name), _, _) => Self::Name(name.clone()),
            (None, Some(lease), _) => Self::Lease(lease.clone()),
            (None, None, Some(digest)) => Self::Blob(digest),
            (None, None, None) => Self::Name(String::new()),
        }
    }
}
