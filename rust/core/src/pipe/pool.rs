//! Threads that work beside their callers: few, started when they are first needed, ended when they have idled.
//!
//! A caller that works on a blob is counted as a **user**. A thread is lent only while users and lent threads together
//! are fewer than the processors: one large blob then has a second processor for its hash, and many blobs at once have one
//! each, which is all that there is. Nobody waits for a thread; who gets none does the work itself.
//!
//! After a fork the child has none of these threads. It notices by its process number and starts from nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread;
use std::time::Duration;

use super::spare;

/// For hashing: as many threads as processors, less those that callers keep busy.
pub(crate) static HASHING: Pool = Pool::new("steelyard-hash", processors);

/// For waiting until the disk has written: these threads sleep, so the processors do not limit them.
pub(crate) static WAITING: Pool = Pool::new("steelyard-sync", || 4);

/// A thread that has had nothing to do for so long ends.
const IDLE: Duration = Duration::from_millis(400);

/// How often the state is tried before it counts as held for ever: by a thread that did not survive a fork.
const TRIES: usize = 1000;

/// A task, and that a thread is lent for it.
type Task = (Box<dyn FnOnce() + Send>, Lent);

/// A few threads of one kind.
pub(crate) struct Pool {
    name: &'static str,
    limit: fn() -> usize,
    process: AtomicU32,
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
pub(crate) struct User {
    pool: &'static Pool,
    process: u32,
}

impl Pool {
    pub(super) const fn new(name: &'static str, limit: fn() -> usize) -> Self {
        Self {
            name,
            limit,
            process: AtomicU32::new(0),
            users: AtomicUsize::new(0),
            lent: AtomicUsize::new(0),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Count the caller as one that is at work.
    pub(crate) fn enter(&'static self) -> User {
        let process = self.here();
        self.users.fetch_add(1, Ordering::Relaxed);
        User { pool: self, process }
    }

    /// Whether a task would be taken now.
    pub(crate) fn has_room(&self) -> bool {
        self.here();
        self.at_work() < (self.limit)()
    }

    /// Whether there are more callers and threads at work than processors: then a thread should end its task early.
    pub(crate) fn is_crowded(&self) -> bool {
        self.at_work() > (self.limit)()
    }

    /// Borrow a thread; None if there is none to spare.
    pub(crate) fn lend(&'static self) -> Option<Lent> {
        let process = self.here();
        let limit = (self.limit)();
        let admit = |lent| (lent + self.users.load(Ordering::Relaxed) < limit).then_some(lent + 1);
        self.lent.fetch_update(Ordering::AcqRel, Ordering::Relaxed, admit).ok()?;
        Some(Lent { pool: self, process })
    }

    /// Hand the task to a thread that waits; give it back if there is none.
    fn to_idle(&self, mut task: Task) -> Option<Task> {
        while let Some(idle) = self.idle().and_then(|mut idle| idle.pop()) {
            match idle.tasks.send(task) {
                Ok(()) => return None,
                Err(refused) => task = refused.0,
            }
        }
        Some(task)
    }

    /// A thread's life.
    fn serve(&'static self, tasks: &Sender<Task>, receiver: &Receiver<Task>) {
        let thread = thread::current().id();
        loop {
            match receiver.recv_timeout(IDLE) {
                Ok(task) => {
                    let lent = run(task);
                    if let Some(mut idle) = self.idle() {
                        idle.push(Idle { thread, tasks: tasks.clone() });
                    }
                    // Only now, or another one would be started in the meantime.
                    drop(lent);
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let Some(mut idle) = self.idle() else { return };
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

    fn at_work(&self) -> usize {
        self.users.load(Ordering::Relaxed) + self.lent.load(Ordering::Relaxed)
    }

    /// The number of this process. In a child that was forked, forget the parent's threads first.
    fn here(&self) -> u32 {
        let process = std::process::id();
        let before = self.process.swap(process, Ordering::AcqRel);
        if before != process && before != 0 {
            self.users.store(0, Ordering::Relaxed);
            self.lent.store(0, Ordering::Relaxed);
            if let Some(mut idle) = self.idle() {
                idle.clear();
            }
        }
        process
    }

    /// The threads that wait; None if the list is locked by a thread that a fork has left behind.
    fn idle(&self) -> Option<MutexGuard<'_, Vec<Idle>>> {
        for _ in 0..TRIES {
            match self.idle.try_lock() {
                Ok(idle) => return Some(idle),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => thread::yield_now(),
            }
        }
        None
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.process == self.pool.here() {
            count_down(&self.pool.users);
        }
    }
}

/// A thread that is lent; given back when this is dropped, or when its task has ended.
pub(crate) struct Lent {
    pool: &'static Pool,
    process: u32,
}

impl Lent {
    /// Run a task on the thread, or, should the system refuse to make one, here. A panic ends the task and nothing else.
    pub(crate) fn run(self, task: impl FnOnce() + Send + 'static) {
        let pool = self.pool;
        let Some(task) = pool.to_idle((Box::new(task), self)) else { return };
        let (tasks, receiver) = channel();
        let own = tasks.clone();
        let thread = thread::Builder::new().name(pool.name.to_owned());
        let task = match thread.spawn(move || pool.serve(&own, &receiver)) {
            Ok(_) => match tasks.send(task) {
                Ok(()) => return,
                Err(refused) => refused.0,
            },
            Err(_) => task,
        };
        run(task);
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.process == self.pool.here() {
            count_down(&self.pool.lent);
        }
    }
}

/// Run a task, and hand back that a thread is lent for it.
fn run((task, lent): Task) -> Lent {
    // The hook has reported a panic by then, and whoever waits for the task notices that its result is missing.
    catch_unwind(AssertUnwindSafe(task)).ok();
    lent
}

/// Never below 0, should a child of a fork begin to count while another thread of it starts from nothing.
fn count_down(count: &AtomicUsize) {
    count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |count| count.checked_sub(1)).ok();
}

/// How many threads can run at once, as the process was allowed when it first asked.
pub(crate) fn processors() -> usize {
    static FOUND: OnceLock<usize> = OnceLock::new();
    *FOUND.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}
