//! Threads that work beside their callers: few, started when they are first needed, ended when they have idled.
//!
//! A caller that works on a blob is counted as a **user**. Who has work that it could also do itself borrows a thread only
//! while users and lent threads together are fewer than the processors. The hashes of flows have threads of their own, as
//! many as there are processors (`crew.rs`): they count as lent.
//!
//! After a fork the child has none of these threads. It notices by the count of forks and starts with a state of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::behind::step_back;
use super::spare;
use crate::sys::Process;
use crate::threads::start;

/// For hashing: as many threads as processors.
pub(crate) static HASHING: Pool = Pool::new("steelyard-hash", processors);

/// For waiting until the disk has written: these threads sleep, so the processors do not limit them.
pub(crate) static WAITING: Pool = Pool::new("steelyard-sync", || 4);

/// For writing what was gathered, behind those who bring it. Who calls one limits how many.
pub(crate) static DRAINING: Pool = Pool::new("steelyard-drain", processors);

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_millis(400);

/// A task, and that a thread is lent for it.
type Task = (Box<dyn FnOnce() + Send>, Lent);

/// A few threads of one kind.
pub(crate) struct Pool {
    name: &'static str,
    limit: fn() -> usize,
    states: PerProcess<State>,
}

/// The threads that one process has.
#[derive(Default)]
struct State {
    /// Callers at work.
    users: AtomicUsize,
    /// Threads at work.
    lent: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
}

/// A thread that waits for a task.
struct Idle {
    thread: thread::ThreadId,
    tasks: Sender<Task>,
}

/// A caller at work, until it is dropped.
pub(crate) struct User(&'static State);

impl Pool {
    pub(super) const fn new(name: &'static str, limit: fn() -> usize) -> Self {
        Self { name, limit, states: PerProcess::new() }
    }

    /// Count the caller as one that is at work.
    pub(crate) fn enter(&'static self) -> User {
        let state = self.here();
        state.users.fetch_add(1, Ordering::Relaxed);
        User(state)
    }

    /// The callers that are at work.
    pub(super) fn users(&'static self) -> usize {
        self.here().users.load(Ordering::Relaxed)
    }

    /// Borrow a thread; None if there is none to spare beside the callers.
    pub(crate) fn lend(&'static self) -> Option<Lent> {
        let (state, most) = (self.here(), (self.limit)().saturating_sub(self.users()));
        let admit = |lent| (lent < most).then_some(lent + 1);
        state.lent.fetch_update(Ordering::AcqRel, Ordering::Relaxed, admit).ok()?;
        Some(Lent { name: self.name, state })
    }

    /// Borrow a thread whether there is one to spare or not.
    pub(crate) fn hire(&'static self) -> Lent {
        let state = self.here();
        state.lent.fetch_add(1, Ordering::AcqRel);
        Lent { name: self.name, state }
    }

    fn here(&'static self) -> &'static State {
        self.states.here()
    }
}

impl State {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hand the task to a thread that waits; give it back if there is none.
    fn to_idle(&self, mut task: Task) -> Option<Task> {
        loop {
            let Some(idle) = self.idle().pop() else { return Some(task) };
            match idle.tasks.send(task) {
                Ok(()) => return None,
                Err(refused) => task = refused.0,
            }
        }
    }

    /// A thread's life.
    fn serve(&self, tasks: &Sender<Task>, receiver: &Receiver<Task>) {
        let thread = thread::current().id();
        loop {
            match receiver.recv_timeout(IDLE) {
                Ok(task) => {
                    let lent = run(task);
                    self.idle().push(Idle { thread, tasks: tasks.clone() });
                    // Only now, or another one would be started in the meantime.
                    drop(lent);
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let mut idle = self.idle();
                    let before = idle.len();
                    idle.retain(|other| other.thread != thread);
                    if idle.len() < before {
                        if idle.is_empty() {
                            spare::drop_all();
                        }
                        return;
                    }
                    // Somebody has just taken it from the list and is about to send.
                }
            }
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A thread that is lent; given back when this is dropped, or when its task has ended.
pub(crate) struct Lent {
    name: &'static str,
    state: &'static State,
}

impl Lent {
    /// Run a task on the thread, or, should the system refuse to make one, here: the caller may block. A panic ends the
    /// task and nothing else.
    pub(crate) fn run(self, task: impl FnOnce() + Send + 'static) {
        if let Err(task) = self.send(Box::new(task)) {
            run(task);
        }
    }

    /// Run a task on the thread; false, and nothing is done, should the system refuse to make one. It never blocks.
    pub(crate) fn try_run(self, task: impl FnOnce() + Send + 'static) -> bool {
        self.send(Box::new(task)).is_ok()
    }

    fn send(self, task: Box<dyn FnOnce() + Send>) -> Result<(), Task> {
        let Self { name, state } = self;
        let Some(task) = state.to_idle((task, self)) else { return Ok(()) };
        let (tasks, receiver) = channel();
        let own = tasks.clone();
        let started = start(name, move || {
            step_back();
            state.serve(&own, &receiver);
        });
        match started {
            Ok(_) => tasks.send(task).map_err(|refused| refused.0),
            Err(_) => Err(task),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.state.lent.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Run a task, and hand back that a thread is lent for it.
fn run((task, lent): Task) -> Lent {
    // The hook has reported a panic by then, and whoever waits for the task notices that its result is missing.
    catch_unwind(AssertUnwindSafe(task)).ok();
    lent
}

/// A value for each process: that of a child begins anew, as a thread which it has not got may hold the parent's locks.
pub(super) struct PerProcess<T: 'static> {
    first: OnceLock<Box<Own<T>>>,
}

struct Own<T> {
    process: Process,
    value: T,
    next: OnceLock<Box<Self>>,
}

impl<T: Default> PerProcess<T> {
    pub(super) const fn new() -> Self {
        Self { first: OnceLock::new() }
    }

    /// That of this process.
    pub(super) fn here(&self) -> &T {
        let process = Process::current();
        let mut place = &self.first;
        loop {
            let own = place.get_or_init(|| Box::new(Own { process, value: T::default(), next: OnceLock::new() }));
            if own.process == process {
                return &own.value;
            }
            place = &own.next;
        }
    }
}

/// How many threads can run at once, as the process was allowed when it first asked.
pub(crate) fn processors() -> usize {
    static FOUND: OnceLock<usize> = OnceLock::new();
    *FOUND.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}
