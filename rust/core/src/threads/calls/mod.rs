//! Threads that serve one queue of jobs, and notifications of finished jobs.
//!
//! Two operations are expensive: waking a thread, and waking the event loop that waits for a result. If all
//! threads need one lock for their work (Python's GIL), waking many of them for a burst of short jobs makes it
//! worse, because they compete for the lock. So:
//!
//! * **At most one thread is being woken.** A submitter wakes or starts a thread only if no other thread is being woken.
//!   A thread that takes a job and finds more jobs wakes the next thread *before* it runs its own.
//!   So every blocking job gets a thread, one after the other, and two threads serve a thousand short jobs.
//! * **Notifications are batched until the queue is empty or the thread is about to block.** A thread that runs several
//!   jobs in a row notifies once, when the queue is empty. Its next job may block, so another thread must be able to
//!   notify: the thread that is being woken does so first. If no thread is being woken, the notification precedes the job.
//!
//! Threads start when there is work and no idle thread, and end after a while without work. `Work` runs the jobs.
//! `tests.rs` has a model checker try every interleaving.

mod inbox;
mod queue;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use sync::{Condvar, Mutex, MutexGuard};

pub use inbox::Inbox;
pub use queue::{Bounds, Queue};

/// How jobs are run.
pub trait Work: Send + Sync + Sized + 'static {
    /// A call, or other work.
    type Job: Send;
    /// The owner of a result, which is notified that it is there.
    type Notified: Send;

    /// Start a thread that runs `life`.
    fn start(&self, life: impl FnOnce() + Send + 'static) -> io::Result<()>;
    /// Call `serve` once this new thread has the lock (for Python, the GIL) that it needs to run jobs. Returns false if it never gets it.
    fn attached(&self, serve: &mut dyn FnMut()) -> bool;
    /// Call `wait` without that lock, because other threads need it.
    fn detached(&self, wait: &mut (dyn FnMut() + Send));
    /// Run a job.
    fn run(&self, job: Self::Job) -> Done<Self>;
    /// End a job that no thread could be started for; return the owners to notify.
    fn refuse(&self, job: Self::Job, error: &io::Error) -> Vec<Self::Notified>;
    /// Notify an owner.
    fn notify(&self, notified: Self::Notified);
}

/// The consequences of a job.
pub struct Done<W: Work> {
    /// The owners to notify.
    pub notified: Vec<W::Notified>,
    /// The rest of the job, which is queued behind the waiting jobs.
    pub rest: Option<W::Job>,
}

/// Counts of a pool since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that were submitted.
    pub jobs: u64,
    /// Threads that were started.
    pub started: u64,
    /// Idle threads that were woken.
    pub woken: u64,
    /// Notifications of owners.
    pub notified: u64,
}

/// Threads and the jobs that wait for one.
pub struct Pool<W: Work> {
    work: W,
    state: Mutex<State<W>>,
    called: Condvar,
    ended: Condvar,
    most: usize,
    idle: Duration,
}

struct State<W: Work> {
    jobs: VecDeque<W::Job>,
    /// The owners that the thread that is being woken must notify. Empty if no thread is being woken.
    owed: Vec<W::Notified>,
    /// Threads that will look at the queue again.
    serving: usize,
    /// These threads, and threads that have not released the lock for running jobs yet.
    threads: usize,
    idle: usize,
    /// Threads whose jobs wait for another process. The same number of further threads may be started.
    away: usize,
    /// A thread has been woken or started and has not begun yet.
    coming: bool,
    closing: bool,
    counts: Counts,
}

/// The most threads that are started in place of waiting ones.
const MOST_AWAY: usize = 1024;

/// The thread that is woken for a waiting job.
#[derive(Clone, Copy)]
enum Call {
    NoThread,
    Idle,
    New,
}

/// The next work of a thread that runs jobs: notify, then run.
struct Next<W: Work> {
    notify: Vec<W::Notified>,
    job: Option<W::Job>,
}

impl<W: Work> State<W> {
    fn call(&mut self, most: usize) -> Call {
        let most = most + self.away.min(MOST_AWAY);
        if self.coming || self.jobs.is_empty() {
            return Call::NoThread;
        }
        if self.idle > 0 {
            self.coming = true;
            self.counts.woken += 1;
            return Call::Idle;
        }
        if self.serving < most {
            self.coming = true;
            self.serving += 1;
            self.threads += 1;
            self.counts.started += 1;
            return Call::New;
        }
        Call::NoThread
    }

    fn take_owed(&mut self) -> Vec<W::Notified> {
        self.counts.notified += self.owed.len() as u64;
        mem::take(&mut self.owed)
    }
}

impl<W: Work> Pool<W> {
    /// Return a pool of at most `most` threads. Each ends after it has had no job for `idle`.
    pub fn new(work: W, most: usize, idle: Duration) -> Arc<Self> {
        let state = State {
            jobs: VecDeque::new(),
            owed: Vec::new(),
            serving: 0,
            threads: 0,
            idle: 0,
            away: 0,
            coming: false,
            closing: false,
            counts: Counts::default(),
        };
        let (state, called, ended) = (Mutex::new(state), Condvar::new(), Condvar::new());
        Arc::new(Self { work, state, called, ended, most, idle })
    }

    /// The number of threads at this moment.
    pub fn threads(&self) -> usize {
        self.state().threads
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Submit a job to be run by a thread. The caller is attached, in the sense of `Work`.
    pub fn submit(self: &Arc<Self>, job: W::Job) {
        // The mutex is only ever held for a few instructions, and never while waiting to be attached.
        let mut state = self.state();
        state.counts.jobs += 1;
        state.jobs.push_back(job);
        let call = state.call(self.most);
        drop(state);
        self.make(call);
    }

    /// Report that the job of a thread begins to wait for another process, or has finished waiting. Meanwhile another thread may be
    /// started in its place.
    pub fn waits(self: &Arc<Self>, begins: bool) {
        let mut state = self.state();
        let call = if begins {
            state.away += 1;
            state.call(self.most)
        } else {
            state.away -= 1;
            Call::NoThread
        };
        drop(state);
        self.make(call);
    }

    /// Whether the pool is ending: no caller waits for results any more.
    pub fn is_closing(&self) -> bool {
        self.state().closing
    }

    /// Wait until all submitted jobs are finished and all threads have ended.
    pub fn close(&self) {
        let mut state = self.state();
        state.closing = true;
        self.called.notify_all();
        while state.threads > 0 {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(self: &Arc<Self>, call: Call) {
        match call {
            Call::NoThread => {}
            Call::Idle => self.called.notify_one(),
            Call::New => {
                let pool = Arc::clone(self);
                if let Err(error) = self.work.start(move || pool.serve()) {
                    self.not_started(&error);
                }
            }
        }
    }

    /// Handle a called thread that could not be started: its work is done here, or left to the running threads.
    fn not_started(&self, error: &io::Error) {
        let mut state = self.state();
        state.coming = false;
        state.counts.started -= 1;
        state.serving -= 1;
        self.end(&mut state);
        let mut notified = state.take_owed();
        let mut refused = VecDeque::new();
        if state.serving == 0 {
            refused = mem::take(&mut state.jobs);
        } else if state.idle > 0 && !state.jobs.is_empty() {
            // A thread that has become idle since the call found no job at that time.
            state.coming = true;
            self.called.notify_one();
        }
        drop(state);
        notified.extend(refused.into_iter().flat_map(|job| self.work.refuse(job, error)));
        for notified in notified {
            self.work.notify(notified);
        }
    }

    fn end(&self, state: &mut State<W>) {
        state.threads -= 1;
        self.ended.notify_all();
    }

    /// The main function of a thread.
    fn serve(self: &Arc<Self>) {
        let served = self.work.attached(&mut || {
            let mut more = true;
            while more {
                self.work_attached();
                self.work.detached(&mut || more = self.wait());
            }
        });
        let mut state = self.state();
        if !served {
            state.coming = false;
            state.serving -= 1;
        }
        self.end(&mut state);
    }

    /// Run the jobs that wait, one after the other.
    fn work_attached(self: &Arc<Self>) {
        let mut next = self.begin();
        loop {
            for notified in next.notify {
                self.work.notify(notified);
            }
            let Some(job) = next.job else {
                return;
            };
            let done = self.work.run(job);
            next = self.next(done);
        }
    }

    /// Wait for a job. Returns false if there was none for the idle time; the thread is then no longer counted.
    ///
    /// A thread cannot know whether a wake-up was meant for it: a wake-up that arrives just as its time ends has no effect. So every
    /// thread that stops waiting assumes that it was the called one.
    fn wait(&self) -> bool {
        let mut state = self.state();
        let (mut called, mut late) = (false, false);
        loop {
            if !state.jobs.is_empty() || (called && !state.owed.is_empty()) {
                return true;
            }
            if called {
                state.coming = false;
            }
            if late || state.closing {
                // This is done without releasing the mutex after the decision, so that no job can be left to this thread.
                state.serving -= 1;
                return false;
            }
            state.idle += 1;
            let (woken, waited) = self.called.wait_timeout(state, self.idle).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            (called, late) = (true, waited.timed_out());
        }
    }

    /// The first step of a thread that was being woken and is attached now.
    fn begin(self: &Arc<Self>) -> Next<W> {
        let mut state = self.state();
        state.coming = false;
        let job = state.jobs.pop_front();
        let notify = state.take_owed();
        let call = state.call(self.most);
        drop(state);
        self.make(call);
        Next { notify, job }
    }

    /// A further step, after a job.
    fn next(self: &Arc<Self>, done: Done<W>) -> Next<W> {
        let mut state = self.state();
        state.owed.extend(done.notified);
        state.jobs.extend(done.rest);
        let job = state.jobs.pop_front();
        let call = state.call(self.most);
        let notify = if job.is_none() || !state.coming { state.take_owed() } else { Vec::new() };
        drop(state);
        self.make(call);
        Next { notify, job }
    }
}

#[cfg(test)]
impl<W: Work> Pool<W> {
    /// For tests: let the idle time of every idle thread pass.
    fn expire(&self) {
        let _state = self.state();
        self.called.expire();
    }
}
