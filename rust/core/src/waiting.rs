//! Waits for another process, which may take forever: the process can be suspended while it holds a lock.
//!
//! No system call of the store blocks on a lock, and SQLite never waits for one. A thread that finds a lock of another process
//! releases everything for which other threads of this process could wait, pauses, and tries again ([`Patience`]). Between two
//! attempts it checks whether its caller still wants the result, and notifies the caller that the thread is idle, so that a pool
//! can start another thread in its place.
//!
//! The caller is known by thread, because most calls never need to know it. A thread that is started for a call inherits it
//! (`threads.rs`).

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Result};

/// The first pause: most locks are held for less than a millisecond.
const FIRST: Duration = Duration::from_micros(100);

/// The longest pause while the other process is probably running. A collector takes a lock again and again; with longer pauses, a
/// waiter could miss the moments between for hundreds of milliseconds.
const SHORT: Duration = Duration::from_millis(1);

/// After this time the other process is probably suspended, and the pauses grow.
const AT_WORK: Duration = Duration::from_millis(100);

/// The longest pause, after which a cancellation is noticed at the latest.
const LONGEST: Duration = Duration::from_millis(20);

/// After this time the caller is notified.
const NOTIFIED_AFTER: Duration = Duration::from_millis(3);

/// The most attempts where a wait must be short: of a write that only saves time while other processes write, and of a read while another
/// process makes or removes a file. They take about 40 ms.
pub(crate) const SPARE_TRIES: usize = 43;

/// The interface of the threads that work for a call to its caller.
pub trait Caller: Send + Sync {
    /// Whether the result is no longer wanted.
    fn is_cancelled(&self) -> bool;
    /// Report that a thread that works for the call begins to wait, or has finished waiting.
    fn waits(&self, begins: bool);
}

/// A sign to other processes that a thread waits.
pub(crate) trait Sign: Send + Sync {
    /// Take the sign back: the thread no longer waits, whether it was successful or not.
    fn take_back(&self);
}

thread_local! {
    static CALLER: RefCell<Option<Arc<dyn Caller>>> = const { RefCell::new(None) };
    /// The sign of this thread while it waits.
    static SIGN: RefCell<Option<Weak<dyn Sign>>> = const { RefCell::new(None) };
}

/// Register a sign that is taken back when this thread no longer waits: when its [`Patience`] is dropped.
pub(crate) fn show(sign: Weak<dyn Sign>) {
    SIGN.set(Some(sign));
}

/// Take back the sign of this thread, which no longer waits.
fn take_back() {
    if let Some(sign) = SIGN.take().and_then(|sign| sign.upgrade()) {
        sign.take_back();
    }
}

/// Restores the previous caller.
struct Restore(Option<Arc<dyn Caller>>);

impl Drop for Restore {
    fn drop(&mut self) {
        let before = self.0.take();
        CALLER.with_borrow_mut(|caller| *caller = before);
    }
}

/// Do work for a caller, on this thread.
pub fn for_caller<T>(caller: Option<Arc<dyn Caller>>, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(CALLER.replace(caller));
    work()
}

/// The caller for which this thread works.
pub(crate) fn caller() -> Option<Arc<dyn Caller>> {
    CALLER.with_borrow(Clone::clone)
}

/// Whether the result of this thread's work is no longer wanted.
pub(crate) fn is_cancelled() -> bool {
    CALLER.with_borrow(|caller| caller.as_ref().is_some_and(|caller| caller.is_cancelled()))
}

/// Wait by other means than [`Patience`], and report the wait to the caller.
pub(crate) fn away<T>(wait: impl FnOnce() -> T) -> T {
    let _patience = Patience { pause: LONGEST, waited: AT_WORK, is_notified: true, notified: notified() };
    wait()
}

/// Notify the caller that this thread begins to wait.
fn notified() -> Option<Arc<dyn Caller>> {
    caller().inspect(|caller| caller.waits(true))
}

/// Another process holds the lock: the caller waits with [`Patience`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// Pauses between attempts. It costs nothing before the first pause.
pub(crate) struct Patience {
    pause: Duration,
    waited: Duration,
    is_notified: bool,
    notified: Option<Arc<dyn Caller>>,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { pause: FIRST, waited: Duration::ZERO, is_notified: false, notified: None }
    }

    /// Pause for a moment. Fails with `Cancelled` if the result is no longer wanted. The caller must not hold anything for which other
    /// threads wait.
    pub(crate) fn pause(&mut self) -> Result<()> {
        let pause = self.next()?;
        thread::sleep(pause);
        Ok(())
    }

    /// The length of the next wait, for a thread that waits by other means than `pause`.
    pub(crate) fn next(&mut self) -> Result<Duration> {
        if is_cancelled() {
            take_back();
            return Err(Error::Cancelled);
        }
        let pause = self.pause;
        if self.is_to_be_notified() {
            (self.notified, self.is_notified) = (notified(), true);
        }
        self.waited += pause;
        let longest = if self.waited < AT_WORK { SHORT } else { LONGEST };
        self.pause = longest.min(2 * pause);
        Ok(pause)
    }

    /// Whether `next` will notify the caller.
    pub(crate) fn is_to_be_notified(&self) -> bool {
        self.waited >= NOTIFIED_AFTER && !self.is_notified
    }

    /// Repeat an attempt until it succeeds. Fails with `Cancelled` if the result is no longer wanted.
    pub(crate) fn until<T>(mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let mut patience = Self::new();
        loop {
            if let Some(done) = attempt()? {
                return Ok(done);
            }
            patience.pause()?;
        }
    }

    /// Repeat an attempt as `until` does, but not for long. Returns `None` if it did not succeed.
    pub(crate) fn briefly<T>(mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        let mut patience = Self::new();
        for _ in 0..SPARE_TRIES {
            match attempt()? {
                None => patience.pause()?,
                done => return Ok(done),
            }
        }
        Ok(None)
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if !self.waited.is_zero() {
            take_back();
        }
        if let Some(caller) = &self.notified {
            caller.waits(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting {
        asked: AtomicUsize,
        cancelled_from: usize,
        waiting: AtomicUsize,
    }

    impl Caller for Counting {
        fn is_cancelled(&self) -> bool {
            self.asked.fetch_add(1, Ordering::Relaxed) + 1 >= self.cancelled_from
        }

        fn waits(&self, begins: bool) {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            assert_eq!(begins, self.waiting.load(Ordering::Relaxed) % 2 == 1);
        }
    }

    #[test]
    fn a_cancelled_caller_stops_waiting_and_a_helper_inherits_that() {
        let caller = Arc::new(Counting { cancelled_from: 10, ..Counting::default() });
        let result = for_caller(Some(Arc::clone(&caller) as _), || {
            let there = || Patience::until(|| Ok(None::<()>));
            crate::threads::both("test", there, || ()).0
        });
        assert_eq!(Err(Error::Cancelled), result);
        assert_eq!(10, caller.asked.load(Ordering::Relaxed));
        assert_eq!(2, caller.waiting.load(Ordering::Relaxed));
        assert!(super::caller().is_none());
    }

    #[test]
    fn a_wait_that_is_over_asks_no_caller() {
        let caller = Arc::new(Counting { cancelled_from: 1, ..Counting::default() });
        let result = for_caller(Some(Arc::clone(&caller) as _), || Patience::until(|| Ok(Some(5))));
        assert_eq!(Ok(5), result);
        assert_eq!(0, caller.asked.load(Ordering::Relaxed));
    }

    #[test]
    fn pauses_stay_short_while_the_other_process_is_probably_at_work() {
        let mut patience = Patience::new();
        let pauses: Vec<_> = (0..120).map(|_| patience.next().unwrap()).collect();

        assert_eq!([100, 200, 400, 800, 1000, 1000].map(Duration::from_micros), pauses[..6]);
        let (short, long) = pauses.split_at(pauses.iter().position(|pause| *pause > SHORT).unwrap());
        let waited: Duration = short.iter().sum();
        assert!((AT_WORK..AT_WORK + SHORT).contains(&waited), "{waited:?}");
        assert_eq!([2, 4, 8, 16, 20, 20].map(Duration::from_millis), long[..6]);
    }
}
