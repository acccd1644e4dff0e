//! The threads that hash. What is to be hashed waits in one queue for them; each takes as much as it can do side by side.
//!
//! One large blob keeps one thread busy. When many come at once, a thread takes the next bytes of several and hashes
//! them in the lanes of one processor (`hash/lanes`), at twice the speed of one after the other.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::flow::Shared;
use super::line::Work;
use super::pool::{HASHING, PerProcess, processors};
use crate::digest::Algorithm;

/// Lines that are hashed side by side at most: the widest registers have as many lanes.
const WIDTH: usize = 16;

/// That the next step of a line can be made.
pub(super) struct Turn {
    pub(super) flow: Arc<Shared>,
    pub(super) line: usize,
    pub(super) algorithm: Algorithm,
}

#[derive(Default)]
struct Queue {
    turns: VecDeque<Turn>,
    /// The threads at work.
    threads: usize,
}

static QUEUE: PerProcess<Mutex<Queue>> = PerProcess::new();

/// Have steps made, as soon as a thread comes to them.
pub(super) fn add(turns: Vec<Turn>) {
    let mut queue = queue();
    let mut more = turns.len();
    queue.turns.extend(turns);
    while more > 0 && queue.threads < processors() {
        more -= 1;
        queue.threads += 1;
        drop(queue);
        let started = HASHING.hire().try_run(work);
        queue = self::queue();
        if !started {
            queue.threads -= 1;
            if queue.threads == 0 && !queue.turns.is_empty() {
                // No thread at all: then the caller does it, who would else wait for ever. None of them is an event loop.
                queue.threads += 1;
                drop(queue);
                work();
            }
            return;
        }
    }
}

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.here().lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a thread does: steps of lines, until none is left.
fn work() {
    loop {
        let batch = {
            let mut queue = queue();
            if queue.turns.is_empty() {
                queue.threads -= 1;
                return;
            }
            queue.next()
        };
        let taken = batch.into_iter().filter_map(|turn| turn.flow.begin(turn.line).map(|work| (turn, work)));
        let (turns, works): (Vec<_>, Vec<_>) = taken.unzip();
        let done = Work::run_all(works);
        let going_on = turns.into_iter().zip(done).filter_map(|(turn, done)| {
            let goes_on = turn.flow.end(turn.line, done);
            goes_on.then_some(turn)
        });
        again(going_on.collect());
    }
}

/// Put turns back whose lines have more to do.
fn again(turns: Vec<Turn>) {
    if turns.len() > 1 {
        return add(turns);
    }
    for turn in turns {
        let mut queue = queue();
        if queue.turns.iter().all(|other| Arc::ptr_eq(&other.flow, &turn.flow)) {
            // Several hashes of the same bytes: who computes the slowest goes on with that.
            queue.turns.push_front(turn);
        } else {
            queue.turns.push_back(turn);
        }
    }
}

impl Queue {
    /// The turn that has waited longest, and with it those that can be made side by side.
    fn next(&mut self) -> Vec<Turn> {
        let Some(first) = self.turns.pop_front() else { return Vec::new() };
        let kind = kind(first.algorithm);
        let alike = 1 + self.turns.iter().filter(|turn| self::kind(turn.algorithm) == kind).count();
        // A few are shared with the other threads, as few lanes at once are no gain over as many processors.
        let most = match kind {
            Kind::Tree => 1,
            Kind::Words(_) if alike >= WIDTH => WIDTH,
            Kind::Words(_) => alike.div_ceil(processors()),
        };
        let mut batch = vec![first];
        for turn in mem::take(&mut self.turns) {
            if batch.len() < most && self::kind(turn.algorithm) == kind {
                batch.push(turn);
            } else {
                self.turns.push_back(turn);
            }
        }
        batch
    }
}

/// What can lie side by side.
#[derive(PartialEq, Eq)]
enum Kind {
    /// Hashes of words of so many bits.
    Words(u8),
    /// BLAKE3, which fills the lanes with parts of one blob.
    Tree,
}

fn kind(algorithm: Algorithm) -> Kind {
    match algorithm {
        Algorithm::Sha256 => Kind::Words(32),
        Algorithm::Sha384 | Algorithm::Sha512 => Kind::Words(64),
        Algorithm::Blake3 => Kind::Tree,
    }
}
