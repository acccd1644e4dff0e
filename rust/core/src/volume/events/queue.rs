//! The events of a subscriber, until they are taken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::filter::Filter;
use crate::model::Event;
use crate::sys::Process;

/// Called once, from any thread, without a lock.
pub type Notify = Box<dyn FnOnce() + Send>;

/// An event for a subscriber, or the number of events that it missed.
#[derive(Clone, Debug)]
pub enum Item {
    /// An event.
    Event(Arc<Event>),
    /// The number of events that were dropped here because there was no room.
    Missed(u64),
}

/// The events that wait for one subscriber.
pub(super) struct Queue {
    process: Process,
    filter: Filter,
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    notify: Option<Notify>,
    ended: bool,
}

impl Queue {
    pub fn new(filter: Filter, most: usize) -> Self {
        Self { process: Process::current(), filter, most, state: Mutex::default() }
    }

    /// Add an event. Returns the function that notifies the subscriber. Regular expressions are matched later, on the subscriber's
    /// thread: one may take milliseconds, and a writer must not wait for that.
    pub fn add(&self, event: &Arc<Event>) -> Option<Notify> {
        // Its thread and its event loop belong to the process that subscribed.
        let is_here = self.process.is_current();
        if !is_here || !(self.has_expressions() || self.filter.matches(event.as_ref())) {
            return None;
        }
        let mut state = self.state();
        if state.ended {
            return None;
        }
        if state.items.len() < self.most {
            state.items.push_back(Item::Event(Arc::clone(event)));
        } else if let Some(Item::Missed(count)) = state.items.back_mut() {
            *count += 1;
        } else {
            state.items.push_back(Item::Missed(1));
        }
        state.notify.take()
    }

    /// Take at most `most` of the waiting items; `None` if the queue has ended and all items were taken.
    pub fn take(&self, most: usize) -> Option<Vec<Item>> {
        let mut items: Vec<Item> = {
            let mut state = self.state();
            if state.items.is_empty() && state.ended {
                return None;
            }
            let count = most.min(state.items.len());
            state.items.drain(..count).collect()
        };
        if self.has_expressions() {
            items.retain(|item| match item {
                Item::Event(event) => self.filter.matches(event.as_ref()),
                Item::Missed(_) => true,
            });
        }
        Some(items)
    }

    pub fn has_expressions(&self) -> bool {
        self.filter.has_expressions()
    }

    /// Call `notify` when there is an item, and at `wake` and `end`; possibly before this returns.
    pub fn when_ready(&self, notify: Notify) {
        let ready = {
            let mut state = self.state();
            if state.items.is_empty() && !state.ended { state.notify.replace(notify) } else { Some(notify) }
        };
        if let Some(notify) = ready {
            notify();
        }
    }

    /// Notify the subscriber, if it waits.
    pub fn wake(&self) {
        let notify = self.state().notify.take();
        if let Some(notify) = notify {
            notify();
        }
    }

    /// Add no more items; the waiting ones can still be taken.
    pub fn end(&self) {
        self.state().ended = true;
        self.wake();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
