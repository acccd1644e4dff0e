//! Decides which caller leads a group, which callers wait for it, and which answer each of them gets.
//!
//! It does not know about files: a caller submits an entry and gets an answer. `model.rs` compiles this file a second time, with
//! the locks of a model checker in place of the standard library's.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, PoisonError};

use super::sync::{Condvar, Mutex, MutexGuard};

/// Groups of entries `E`, each of which gets an answer `A`.
pub(super) struct Schedule<E, A> {
    most: usize,
    state: Mutex<State<E, A>>,
}

struct State<E, A> {
    running: usize,
    waiting: VecDeque<(E, Arc<Ticket<E, A>>)>,
}

/// The ticket of a waiting caller.
struct Ticket<E, A> {
    notice: Mutex<Notice<E, A>>,
    changed: Condvar,
}

/// The notification of a caller.
enum Notice<E, A> {
    Waiting,
    /// It leads the next group, with its own entry.
    Lead(E),
    /// The group of its entry is done.
    Answered(A),
    /// The result of the entry is unknown: the leader's thread has died.
    Lost,
}

impl<E, A> Schedule<E, A> {
    /// Return a schedule with at most `most` groups at a time.
    pub fn new(most: usize) -> Self {
        Self { most, state: Mutex::new(State { running: 0, waiting: VecDeque::new() }) }
    }

    /// Submit an entry to the next group, which starts at once unless `most` groups are in progress.
    ///
    /// If this caller leads, `run` is called with all entries, its own first. It returns an answer for each, and may keep the entries.
    /// Returns `None` if the leader has died.
    pub fn submit(&self, entry: E, run: impl FnOnce(&mut Vec<E>) -> Vec<A>) -> Option<A> {
        let mut state = self.state();
        if state.running < self.most {
            state.running += 1;
            return self.lead(entry, state, run);
        }
        let ticket = Arc::new(Ticket { notice: Mutex::new(Notice::Waiting), changed: Condvar::new() });
        state.waiting.push_back((entry, Arc::clone(&ticket)));
        drop(state);
        match ticket.wait() {
            Notice::Lead(entry) => self.lead(entry, self.state(), run),
            Notice::Answered(answer) => Some(answer),
            Notice::Waiting | Notice::Lost => None,
        }
    }

    /// Lead a group of all waiting entries.
    fn lead(
        &self,
        own: E,
        mut state: MutexGuard<'_, State<E, A>>,
        run: impl FnOnce(&mut Vec<E>) -> Vec<A>,
    ) -> Option<A> {
        let (others, tickets): (Vec<_>, Vec<_>) = mem::take(&mut state.waiting).into_iter().unzip();
        drop(state);
        let mut group = Group { schedule: self, tickets };
        let mut entries = vec![own];
        entries.extend(others);
        let mut answers = run(&mut entries).into_iter();
        let own = answers.next();
        let tickets = mem::take(&mut group.tickets);
        // The next group starts before the entries of this one are dropped, which takes time: it closes files.
        drop(group);
        for ticket in tickets {
            ticket.notify(answers.next().map_or(Notice::Lost, Notice::Answered));
        }
        own
    }

    fn state(&self) -> MutexGuard<'_, State<E, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E, A> Ticket<E, A> {
    fn notify(&self, notice: Notice<E, A>) {
        *self.notice.lock().unwrap_or_else(PoisonError::into_inner) = notice;
        self.changed.notify_one();
    }

    fn wait(&self) -> Notice<E, A> {
        let mut notice = self.notice.lock().unwrap_or_else(PoisonError::into_inner);
        while matches!(*notice, Notice::Waiting) {
            notice = self.changed.wait(notice).unwrap_or_else(PoisonError::into_inner);
        }
        mem::replace(&mut *notice, Notice::Waiting)
    }
}

/// A group in progress. When it ends, for whatever reason, the next group may start.
struct Group<'a, E, A> {
    schedule: &'a Schedule<E, A>,
    tickets: Vec<Arc<Ticket<E, A>>>,
}

impl<E, A> Drop for Group<'_, E, A> {
    fn drop(&mut self) {
        for ticket in self.tickets.drain(..) {
            ticket.notify(Notice::Lost);
        }
        let mut state = self.schedule.state();
        match state.waiting.pop_front() {
            Some((entry, ticket)) => ticket.notify(Notice::Lead(entry)),
            None => state.running -= 1,
        }
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "each of the two that test it uses a part")]
impl<E, A> Schedule<E, A> {
    /// For tests: pretend that the most groups are in progress.
    pub fn hold(&self) {
        self.state().running = self.most;
    }

    /// For tests: end one of these groups.
    pub fn end_one(&self) {
        drop(Group { schedule: self, tickets: Vec::new() });
    }

    /// The number of waiting entries, and the number of groups in progress.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.waiting.len(), state.running)
    }
}
