//! The hash workers: threads that take tasks from one queue. Each takes as many as it can hash in parallel.
//!
//! One large blob keeps one worker busy. When there are many blobs, a worker takes the next bytes of several and hashes
//! them in the lanes of one processor (`hash/lanes`), twice as fast as one after the other.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pool::{HASHING, PerProcess, processors};
use super::stream::{Done, Work};
use crate::digest::Algorithm;

/// The most streams that are hashed side by side: the widest registers have as many lanes.
const WIDTH: usize = 16;

/// The interface of a pipeline to the workers.
pub(super) trait Steps: Send + Sync {
    /// Take the next step of a stream; `None` if there is none.
    fn begin(&self, stream: usize) -> Option<Work>;

    /// Take back a finished step. Returns whether the stream has another one.
    fn end(&self, stream: usize, done: Done) -> bool;
}

/// The next step of a stream.
pub(super) struct Task {
    pub(super) pipeline: Arc<dyn Steps>,
    pub(super) stream: usize,
    pub(super) algorithm: Algorithm,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// The number of running workers.
    threads: usize,
}

static QUEUE: PerProcess<Mutex<Queue>> = PerProcess::new();

/// Add tasks to the queue, and start workers for them.
pub(super) fn add(tasks: Vec<Task>) {
    let mut queue = queue();
    let mut more = tasks.len();
    queue.tasks.extend(tasks);
    while more > 0 && queue.threads < processors() {
        more -= 1;
        queue.threads += 1;
        drop(queue);
        let started = HASHING.hire().try_run(work);
        queue = self::queue();
        if !started {
            queue.threads -= 1;
            if queue.threads == 0 && !queue.tasks.is_empty() {
                // There is no worker. The caller does the work, because it would wait forever otherwise; it is never an event loop.
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

/// A worker: run tasks until none is left.
fn work() {
    loop {
        let batch = {
            let mut queue = queue();
            if queue.tasks.is_empty() {
                queue.threads -= 1;
                return;
            }
            queue.next()
        };
        let taken = batch.into_iter().filter_map(|task| task.pipeline.begin(task.stream).map(|work| (task, work)));
        let (tasks, works): (Vec<_>, Vec<_>) = taken.unzip();
        let done = Work::run_all(works);
        let going_on = tasks.into_iter().zip(done).filter_map(|(task, done)| {
            let goes_on = task.pipeline.end(task.stream, done);
            goes_on.then_some(task)
        });
        again(going_on.collect());
    }
}

/// Put back the tasks of streams that have another step.
fn again(tasks: Vec<Task>) {
    if tasks.len() > 1 {
        return add(tasks);
    }
    for task in tasks {
        let mut queue = queue();
        if queue.tasks.iter().all(|other| Arc::ptr_eq(&other.pipeline, &task.pipeline)) {
            // With several hashes of the same bytes, the worker of the slowest hash continues with it.
            queue.tasks.push_front(task);
        } else {
            queue.tasks.push_back(task);
        }
    }
}

impl Queue {
    /// Take the task that has waited longest, and the tasks that can be hashed side by side with it.
    fn next(&mut self) -> Vec<Task> {
        let Some(first) = self.tasks.pop_front() else { return Vec::new() };
        let kind = kind(first.algorithm);
        let alike = 1 + self.tasks.iter().filter(|task| self::kind(task.algorithm) == kind).count();
        // Few tasks are divided among the workers: few lanes are no faster than the same number of processors.
        let most = match kind {
            Kind::Tree => 1,
            Kind::Words(_) if alike >= WIDTH => WIDTH,
            Kind::Words(_) => alike.div_ceil(processors()),
        };
        let mut batch = vec![first];
        for task in mem::take(&mut self.tasks) {
            if batch.len() < most && self::kind(task.algorithm) == kind {
                batch.push(task);
            } else {
                self.tasks.push_back(task);
            }
        }
        batch
    }
}

/// Hashes that can be computed side by side.
#[derive(PartialEq, Eq)]
enum Kind {
    /// Hashes with words of this many bits.
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
