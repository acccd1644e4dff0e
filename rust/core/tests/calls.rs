//! The pool for calls with real threads and real time; `src/threads/calls/tests.rs` has every interleaving of a model.
#![allow(clippy::disallowed_methods, reason = "tests may panic where there is no thread")]

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use steelyard_core::threads::calls::{Done, Inbox, Pool, Work};

const HANG: Duration = Duration::from_secs(30);

/// Jobs that add to a sum, some of them after a while, under a lock that all share but while they wait.
struct Adding {
    lock: Mutex<()>,
    sum: AtomicUsize,
}

struct Home {
    inbox: Inbox<usize>,
    wake: Mutex<Sender<()>>,
}

impl Work for Adding {
    type Job = (usize, Arc<Home>);
    type Notified = Arc<Home>;

    fn start(&self, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
        thread::Builder::new().spawn(life).map(drop)
    }

    fn attached(&self, serve: &mut dyn FnMut()) -> bool {
        serve();
        true
    }

    fn detached(&self, wait: &mut (dyn FnMut() + Send)) {
        wait();
    }

    fn run(&self, (number, home): Self::Job) -> Done<Self> {
        if number.is_multiple_of(50) {
            thread::sleep(Duration::from_micros(200));
        }
        let held = self.lock.lock().unwrap();
        self.sum.fetch_add(number, Ordering::Relaxed);
        drop(held);
        Done { notified: home.inbox.push(number).then_some(home).into_iter().collect(), rest: None }
    }

    fn refuse(&self, _: Self::Job, error: &io::Error) -> Vec<Arc<Home>> {
        panic!("no thread: {error}");
    }

    fn notify(&self, home: Arc<Home>) {
        home.wake.lock().unwrap().send(()).unwrap();
    }
}

fn pool(most: usize, idle: Duration) -> Arc<Pool<Adding>> {
    Pool::new(Adding { lock: Mutex::new(()), sum: AtomicUsize::new(0) }, most, idle)
}

fn home() -> (Arc<Home>, Receiver<()>) {
    let (wake, woken) = channel();
    (Arc::new(Home { inbox: Inbox::default(), wake: Mutex::new(wake) }), woken)
}

/// Submit so many jobs in bursts, as a loop does, and observe all results; return the sum of them.
fn live(pool: &Arc<Pool<Adding>>, bursts: usize, each: usize) -> usize {
    let (home, woken) = home();
    let mut sum = 0;
    for _ in 0..bursts {
        for number in 0..each {
            pool.submit((number, Arc::clone(&home)));
        }
        let mut observed = 0;
        while observed < each {
            woken.recv_timeout(HANG).expect("a wake");
            let results = home.inbox.take();
            observed += results.len();
            sum += results.iter().sum::<usize>();
        }
    }
    sum
}

#[test]
fn loops_that_share_a_pool_are_notified_of_their_own_jobs_only() {
    let pool = pool(8, Duration::from_micros(50));
    let loops: Vec<_> = (0..4)
        .map(|_| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || live(&pool, 40, 101))
        })
        .collect();

    let sums: Vec<_> = loops.into_iter().map(|one| one.join().unwrap()).collect();
    pool.close();

    assert_eq!(sums, [40 * 5050; 4]);
    assert_eq!(pool.threads(), 0);
    let counts = pool.counts();
    assert_eq!(counts.jobs, 4 * 40 * 101);
    assert!(counts.notified < counts.jobs, "{counts:?}");
}

#[test]
fn idle_threads_end_and_come_back() {
    let pool = pool(4, Duration::from_millis(1));
    for _ in 0..20 {
        assert_eq!(live(&pool, 1, 10), 45);
        let begun = Instant::now();
        while pool.threads() > 0 {
            assert!(begun.elapsed() < HANG);
            thread::yield_now();
        }
    }
    assert!(pool.counts().started >= 20);
}
