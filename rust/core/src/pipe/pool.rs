//! Pools of threads that work beside their callers. Threads are started when they are first needed and end when idle.
//!
//! A caller that works on a blob is counted as a **user**. A caller that could do some work itself borrows a thread for it
//! only while users and lent threads together are fewer than the processors. The hash workers (`workers.rs`) count as
//! lent threads.
//!
//! The child of a fork has none of these threads. It finds that the count of forks has changed, and starts with new state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::buffers;
use crate::sys::Process;
use crate::threads::low_priority::lower_priority;
use crate::threads::start;

/// Threads that hash: as many as processors.
pub(crate) static HASHING: Pool = Pool::new("steelyard-hash", processors);

/// Threads that wait for the disk. They sleep, so their number does not depend on the processors.
pub(crate) static WAITING: Pool = Pool::new("steelyard-sync", || 4);

/// Threads that write buffered data of ingests. The caller limits how many there are.
pub(crate) static FLUSHING: Pool = Pool::new("steelyard-flush", processors);

/// A thread ends after it has been idle for this time.
const IDLE: Duration = Duration::from_millis(400);

/// A function to call, with the thread that was borrowed for it.
type Call = (Box<dyn FnOnce() + Send>, Lent);

/// Threads for one purpose.
pub(crate) struct Pool {
    name: &'static str,
    limit: fn() -> usize,
    states: PerProcess<State>,
}

/// The threads of one process.
#[derive(Default)]
struct State {
    /// Callers at work.
    users: AtomicUsize,
    /// Threads at work.
    lent: AtomicUsize,
    idle: Mutex<Vec<Idle>>,
}

/// A thread that waits for a call.
struct Idle {
    thread: thread::ThreadId,
    calls: Sender<Call>,
}

/// Counts a caller as at work until this is dropped.
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

    /// Borrow a thread; None if users and lent threads already take every processor.
    pub(crate) fn lend(&'static self) -> Option<Lent> {
        let (state, most) = (self.here(), (self.limit)().saturating_sub(self.users()));
        let admit = |lent| (lent < most).then_some(lent + 1);
        state.lent.fetch_update(Ordering::AcqRel, Ordering::Relaxed, admit).ok()?;
        Some(Lent { name: self.name, state })
    }

    /// Borrow a thread, regardless of the number of lent threads.
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

    /// Pass the call to an idle thread; return it if there is none.
    fn to_idle(&self, mut call: Call) -> Option<Call> {
        loop {
            let Some(idle) = self.idle().pop() else { return Some(call) };
            match idle.calls.send(call) {
                Ok(()) => return None,
                Err(refused) => call = refused.0,
            }
        }
    }

    /// Run calls until the thread has been idle for long enough.
    fn serve(&self, calls: &Sender<Call>, receiver: &Receiver<Call>) {
        let thread = thread::current().id();
        loop {
            match receiver.recv_timeout(IDLE) {
                Ok(call) => {
                    let lent = run(call);
                    self.idle().push(Idle { thread, calls: calls.clone() });
                    // The thread is returned only now: earlier, a caller would find no idle thread and start another one.
                    drop(lent);
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let mut idle = self.idle();
                    let before = idle.len();
                    idle.retain(|other| other.thread != thread);
                    if idle.len() < before {
                        if idle.is_empty() {
                            buffers::drop_all();
                        }
                        return;
                    }
                    // A caller has just taken this thread from the list and is about to send.
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

/// A borrowed thread. It is returned when this is dropped, or when its call has ended.
pub(crate) struct Lent {
    name: &'static str,
    state: &'static State,
}

impl Lent {
    /// Run a function on the thread, or on the caller's thread if the system refuses a new one: the caller may block. A panic only
    /// ends the function.
    pub(crate) fn run(self, call: impl FnOnce() + Send + 'static) {
        if let Err(call) = self.send(Box::new(call)) {
            run(call);
        }
    }

    /// Run a function on the thread without blocking. Returns false, without running it, if the system refuses a new thread.
    pub(crate) fn try_run(self, call: impl FnOnce() + Send + 'static) -> bool {
        self.send(Box::new(call)).is_ok()
    }

    fn send(self, call: Box<dyn FnOnce() + Send>) -> Result<(), Call> {
        let Self { name, state } = self;
        let Some(call) = state.to_idle((call, self)) else { return Ok(()) };
        let (calls, receiver) = channel();
        let own = calls.clone();
        let started = start(name, move || {
            lower_priority();
            state.serve(&own, &receiver);
        });
        match started {
            Ok(_) => calls.send(call).map_err(|refused| refused.0),
            Err(_) => Err(call),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.state.lent.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Run a call, and return the borrowed thread.
fn run((call, lent): Call) -> Lent {
    // The panic hook has reported the panic, and the thread that waits for the result finds that it is missing.
    catch_unwind(AssertUnwindSafe(call)).ok();
    lent
}

/// A value for each process. The child of a fork gets a new one: a thread that exists only in the parent may hold the old locks.
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

    /// The value of this process.
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

/// The number of threads that can run at once, as it was at the first call in this process.
pub(crate) fn processors() -> usize {
    static FOUND: OnceLock<usize> = OnceLock::new();
    *FOUND.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}
