//! The pool under a model checker: each test runs once for every interleaving of its threads, up to two preemptions,
//! one in the longest (more with `LOOM_MAX_PREEMPTIONS`).
//!
//! A wake that is lost, a job that never runs and a result without a notification all end in a deadlock, which the
//! checker reports.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loom::sync::{Condvar, Mutex};
use loom::thread;

use super::{Done, Inbox, Pool, Work};

/// A value that threads wait for.
struct Gate<T>(Mutex<T>, Condvar);

impl<T> Gate<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value), Condvar::new())
    }

    fn change(&self, by: impl FnOnce(&mut T)) {
        by(&mut self.0.lock().unwrap());
        self.1.notify_all();
    }

    /// Wait until `ready`, and then change it under the same hold.
    fn when(&self, ready: impl Fn(&T) -> bool, then: impl FnOnce(&mut T)) {
        let mut value = self.0.lock().unwrap();
        while !ready(&value) {
            value = self.1.wait(value).unwrap();
        }
        then(&mut value);
    }
}

/// The lock that all jobs run under, as Python's do.
struct Shared(Gate<bool>);

impl Shared {
    fn acquire(&self) {
        self.0.when(|held| !held, |held| *held = true);
    }

    fn release(&self) {
        self.0.change(|held| *held = false);
    }
}

enum Job {
    /// Ends at once.
    Short,
    /// Leaves another of itself behind.
    Twice,
    /// Gives the shared lock away until the gate has the value, after adding to it.
    Meets(Arc<Gate<usize>>, usize),
    /// Gives the shared lock away until a loop has observed so many results.
    AfterHeard(usize),
}

/// One loop: whether it was notified, and how many results it has observed.
struct Loop {
    inbox: Inbox<usize>,
    notified: Gate<bool>,
    observed: Gate<usize>,
}

struct Model {
    shared: Shared,
    ran: AtomicUsize,
    refused: AtomicUsize,
    starts: AtomicUsize,
    /// From this start on, no thread can be started.
    most_starts: usize,
}

impl Work for Model {
    type Job = (Job, Arc<Loop>);
    type Notified = Arc<Loop>;

    fn start(&self, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if self.starts.fetch_add(1, Ordering::Relaxed) >= self.most_starts {
            return Err(io::Error::from_raw_os_error(libc::EAGAIN));
        }
        thread::spawn(life);
        Ok(())
    }

    fn attached(&self, serve: &mut dyn FnMut()) -> bool {
        self.shared.acquire();
        serve();
        self.shared.release();
        true
    }

    fn detached(&self, wait: &mut (dyn FnMut() + Send)) {
        self.shared.release();
        wait();
        self.shared.acquire();
    }

    fn run(&self, (job, home): Self::Job) -> Done<Self> {
        let mut rest = None;
        match job {
            Job::Short => {}
            Job::Twice => rest = Some((Job::Short, Arc::clone(&home))),
            Job::Meets(gate, value) => {
                self.shared.release();
                gate.change(|reached| *reached += 1);
                gate.when(|reached| *reached >= value, |_| {});
                self.shared.acquire();
            }
            Job::AfterHeard(count) => {
                self.shared.release();
                home.observed.when(|observed| *observed >= count, |_| {});
                self.shared.acquire();
            }
        }
        let number = self.ran.fetch_add(1, Ordering::Relaxed);
        Done { notified: home.inbox.push(number).then_some(home).into_iter().collect(), rest }
    }

    fn refuse(&self, (_, home): Self::Job, _: &io::Error) -> Vec<Arc<Loop>> {
        let number = self.refused.fetch_add(1, Ordering::Relaxed);
        home.inbox.push(number).then_some(home).into_iter().collect()
    }

    fn notify(&self, notified: Arc<Loop>) {
        notified.notified.change(|notified| *notified = true);
    }
}

impl Loop {
    fn new() -> Arc<Self> {
        Arc::new(Self { inbox: Inbox::default(), notified: Gate::new(false), observed: Gate::new(0) })
    }

    /// Live until so many further results were observed.
    fn observe(&self, count: usize) {
        let mut observed = 0;
        while observed < count {
            self.notified.when(|notified| *notified, |notified| *notified = false);
            let further = self.inbox.take().len();
            observed += further;
            self.observed.change(|ever| *ever += further);
        }
    }
}

fn pool(most: usize, most_starts: usize) -> Arc<Pool<Model>> {
    let model = Model {
        shared: Shared(Gate::new(false)),
        ran: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
        starts: AtomicUsize::new(0),
        most_starts,
    };
    Pool::new(model, most, Duration::ZERO)
}

/// Submit as a loop does, attached.
fn submit(pool: &Arc<Pool<Model>>, home: &Arc<Loop>, jobs: Vec<Job>) {
    pool.work.shared.acquire();
    for job in jobs {
        pool.submit((job, Arc::clone(home)));
    }
    pool.work.shared.release();
}

/// A pool with two threads, idle or about to be.
fn two_threads() -> (Arc<Pool<Model>>, Arc<Loop>) {
    let (pool, home, gate) = (pool(2, 2), Loop::new(), Arc::new(Gate::new(0)));
    submit(&pool, &home, vec![Job::Meets(Arc::clone(&gate), 2), Job::Meets(gate, 2)]);
    home.observe(2);
    (pool, home)
}

fn check(test: impl Fn() + Sync + Send + 'static) {
    check_up_to(2, test);
}

fn check_up_to(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(test);
}

#[test]
fn every_job_is_run_and_its_owner_notified_and_the_close_waits_for_all() {
    check(|| {
        let (pool, home) = (pool(2, 9), Loop::new());
        submit(&pool, &home, vec![Job::Short, Job::Short, Job::Short]);
        home.observe(3);
        pool.close();

        assert_eq!(pool.work.ran.load(Ordering::Relaxed), 3);
        assert_eq!(pool.threads(), 0);
    });
}

#[test]
fn what_is_left_of_a_job_is_run_too() {
    check(|| {
        let (pool, home) = (pool(2, 9), Loop::new());
        submit(&pool, &home, vec![Job::Twice, Job::Short]);
        home.observe(3);
        pool.close();

        assert_eq!(pool.work.ran.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn a_close_under_way_finishes_what_was_submitted() {
    check(|| {
        let (pool, home) = (pool(2, 9), Loop::new());
        submit(&pool, &home, vec![Job::Short, Job::Short]);
        pool.close();

        assert_eq!(pool.work.ran.load(Ordering::Relaxed), 2);
        assert_eq!(home.inbox.take().len(), 2);
        assert_eq!(pool.threads(), 0);
    });
}

#[test]
fn jobs_that_wait_for_each_other_get_a_thread_each() {
    check(|| {
        let (pool, home, gate) = (pool(2, 9), Loop::new(), Arc::new(Gate::new(0)));
        submit(&pool, &home, vec![Job::Meets(Arc::clone(&gate), 2), Job::Meets(gate, 2)]);
        home.observe(2);
        pool.close();
    });
}

#[test]
fn a_job_that_blocks_holds_up_neither_a_later_job_nor_an_earlier_result() {
    check(|| {
        let (pool, home) = (pool(2, 9), Loop::new());
        submit(&pool, &home, vec![Job::Short, Job::AfterHeard(2), Job::Short]);
        home.observe(3);
        pool.close();
    });
}

#[test]
fn a_new_thread_notifies_for_one_that_blocks() {
    check(|| {
        let (pool, home) = (pool(2, 9), Loop::new());
        submit(&pool, &home, vec![Job::Short, Job::AfterHeard(1)]);
        home.observe(2);
        pool.close();
    });
}

#[test]
fn a_woken_thread_notifies_for_one_that_blocks() {
    check(|| {
        let (pool, home) = two_threads();
        submit(&pool, &home, vec![Job::Short, Job::AfterHeard(3)]);
        home.observe(2);
        pool.close();
    });
}

#[test]
fn the_only_thread_notifies_before_a_job_that_blocks() {
    check(|| {
        let (pool, home) = (pool(1, 9), Loop::new());
        submit(&pool, &home, vec![Job::Short, Job::AfterHeard(1)]);
        home.observe(2);
        pool.close();
    });
}

#[test]
fn two_loops_are_notified_of_their_own_results() {
    check(|| {
        let pool = pool(2, 9);
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let home = Loop::new();
                submit(&pool, &home, vec![Job::Short]);
                home.observe(1);
            })
        };
        let home = Loop::new();
        submit(&pool, &home, vec![Job::Short]);
        home.observe(1);
        other.join().unwrap();
        pool.close();
    });
}

#[test]
fn a_thread_whose_time_is_up_takes_what_comes_at_that_moment() {
    check(|| {
        let (pool, home) = (pool(1, 9), Loop::new());
        submit(&pool, &home, vec![Job::Short]);
        home.observe(1);
        pool.expire();
        submit(&pool, &home, vec![Job::Short]);
        home.observe(1);
        pool.close();
    });
}

#[test]
fn a_thread_that_ends_leaves_no_waiting_caller() {
    check_up_to(1, || {
        let (pool, home) = two_threads();
        let gate = Arc::new(Gate::new(0));
        submit(&pool, &home, vec![Job::Meets(Arc::clone(&gate), 2)]);
        gate.when(|reached| *reached == 1, |_| {});
        pool.expire();
        // The idle thread is called and ends, for the other takes the job.
        submit(&pool, &home, vec![Job::Short]);
        gate.change(|reached| *reached += 1);
        home.observe(2);
        submit(&pool, &home, vec![Job::Short]);
        home.observe(1);
        pool.close();
    });
}

#[test]
fn idle_threads_end_by_themselves() {
    check_up_to(1, || {
        let (pool, home) = (pool(2, 9), Loop::new());
        submit(&pool, &home, vec![Job::Short, Job::Short]);
        home.observe(2);
        while pool.threads() > 0 {
            pool.expire();
            thread::yield_now();
        }
        submit(&pool, &home, vec![Job::Short]);
        home.observe(1);
        pool.close();
    });
}

#[test]
fn without_threads_every_job_is_refused_and_its_loop_notified() {
    check(|| {
        let (pool, home) = (pool(2, 0), Loop::new());
        submit(&pool, &home, vec![Job::Short, Job::Short]);
        home.observe(1);
        pool.close();

        assert_eq!(pool.work.refused.load(Ordering::Relaxed), 2);
        assert_eq!(pool.work.ran.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn the_only_thread_that_could_be_started_serves_all_callers() {
    check(|| {
        let (pool, home, gate) = (pool(2, 1), Loop::new(), Arc::new(Gate::new(0)));
        pool.submit((Job::Meets(Arc::clone(&gate), 2), Arc::clone(&home)));
        gate.when(|reached| *reached == 1, |_| {});
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let home = Loop::new();
                // Not attached, as where Python has no lock: jobs may come between a call and its failure.
                pool.submit((Job::Short, Arc::clone(&home)));
                home.observe(1);
            })
        };
        gate.change(|reached| *reached += 1);
        pool.submit((Job::Short, Arc::clone(&home)));
        home.observe(2);
        other.join().unwrap();
        pool.close();
    });
}
