//! Who leads a round, who rides on it, and what each of them hears.
//!
//! It knows nothing of files: a unit is what one caller brings, an answer what it takes away. `model.rs` compiles this file
//! once more, with the locks of a model checker in place of the standard library's.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, PoisonError};

use super::sync::{Condvar, Mutex, MutexGuard};

/// Rounds of units `U`, each of which gets an answer `A`.
pub(super) struct Schedule<U, A> {
    most: usize,
    state: Mutex<State<U, A>>,
}

struct State<U, A> {
    running: usize,
    waiting: VecDeque<(U, Arc<Ticket<U, A>>)>,
}

/// What one waits with.
struct Ticket<U, A> {
    turn: Mutex<Turn<U, A>>,
    changed: Condvar,
}

/// What one waits for.
enum Turn<U, A> {
    Waiting,
    /// To lead the next round, with one's own unit.
    Lead(U),
    /// To be told.
    Told(A),
    /// Nobody knows what became of the unit: the leader's thread has died.
    Lost,
}

impl<U, A> Schedule<U, A> {
    /// At most so many rounds at a time.
    pub fn new(most: usize) -> Self {
        Self { most, state: Mutex::new(State { running: 0, waiting: VecDeque::new() }) }
    }

    /// Have a unit go through a round: the next one, which begins at once unless others are under way.
    ///
    /// `run` is called if this caller leads, with its unit first, and answers each; it may keep the units. None if the leader
    /// has died.
    pub fn join(&self, unit: U, run: impl FnOnce(&mut Vec<U>) -> Vec<A>) -> Option<A> {
        let mut state = self.state();
        if state.running < self.most {
            state.running += 1;
            return self.lead(unit, state, run);
        }
        let ticket = Arc::new(Ticket { turn: Mutex::new(Turn::Waiting), changed: Condvar::new() });
        state.waiting.push_back((unit, Arc::clone(&ticket)));
        drop(state);
        match ticket.wait() {
            Turn::Lead(unit) => self.lead(unit, self.state(), run),
            Turn::Told(answer) => Some(answer),
            Turn::Waiting | Turn::Lost => None,
        }
    }

    /// Lead a round of all that are waiting.
    fn lead(
        &self,
        own: U,
        mut state: MutexGuard<'_, State<U, A>>,
        run: impl FnOnce(&mut Vec<U>) -> Vec<A>,
    ) -> Option<A> {
        let (others, tickets): (Vec<_>, Vec<_>) = mem::take(&mut state.waiting).into_iter().unzip();
        drop(state);
        let mut round = Round { schedule: self, tickets };
        let mut units = vec![own];
        units.extend(others);
        let mut answers = run(&mut units).into_iter();
        let own = answers.next();
        let tickets = mem::take(&mut round.tickets);
        // The next begins before this one's units are dropped, which takes time: it closes files.
        drop(round);
        for ticket in tickets {
            ticket.tell(answers.next().map_or(Turn::Lost, Turn::Told));
        }
        own
    }

    fn state(&self) -> MutexGuard<'_, State<U, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<U, A> Ticket<U, A> {
    fn tell(&self, turn: Turn<U, A>) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = turn;
        self.changed.notify_one();
    }

    fn wait(&self) -> Turn<U, A> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while matches!(*turn, Turn::Waiting) {
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        mem::replace(&mut *turn, Turn::Waiting)
    }
}

/// A round under way. When it ends, however it does, the next may begin.
struct Round<'a, U, A> {
    schedule: &'a Schedule<U, A>,
    tickets: Vec<Arc<Ticket<U, A>>>,
}

impl<U, A> Drop for Round<'_, U, A> {
    fn drop(&mut self) {
        for ticket in self.tickets.drain(..) {
            ticket.tell(Turn::Lost);
        }
        let mut state = self.schedule.state();
        match state.waiting.pop_front() {
            Some((unit, ticket)) => ticket.tell(Turn::Lead(unit)),
            None => state.running -= 1,
        }
    }
}

#[cfg(test)]
#[allow(dead_code, reason = "each of the two that test it uses a part")]
impl<U, A> Schedule<U, A> {
    /// As if all rounds that may be were under way.
    pub fn hold(&self) {
        self.state().running = self.most;
    }

    /// End one of those.
    pub fn end_one(&self) {
        drop(Round { schedule: self, tickets: Vec::new() });
    }

    /// How many wait, and how many rounds are under way.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.waiting.len(), state.running)
    }
}
