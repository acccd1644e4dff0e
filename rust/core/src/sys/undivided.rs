//! Short steps that a fork must not divide.
//!
//! The child of a fork has one thread. The work of other threads of the parent is never finished there, and a lock that one of
//! them held stays locked. The store's own objects do not need their locks in a child (`fork.rs`). But some locks belong to the
//! whole process: those inside SQLite, and the lock of `PyO3`'s list of objects to be freed. Each is held within a step that does
//! not wait, and no such step begins while a fork is in progress. The fork waits for the steps that have begun, for at most
//! `PATIENCE`, and takes no lock itself.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait of a fork for steps. A step takes microseconds, or more if its thread has lost the processor. After this time
/// the fork proceeds, at the risk that it divides a step.
const PATIENCE: Duration = Duration::from_millis(500);

const NAP: Duration = Duration::from_micros(50);

/// The number of forks in progress.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The number of threads within a step.
static STEPS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The depth of nested steps of this thread.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Do a step that no fork divides. It must not wait for anything except other such steps.
pub fn undivided<T>(step: impl FnOnce() -> T) -> T {
    /// Ends the step, even if `step` panics.
    struct Step;

    impl Drop for Step {
        fn drop(&mut self) {
            end();
        }
    }

    begin();
    let _step = Step;
    step()
}

/// Begin a step; the same thread ends it.
pub(crate) fn begin() {
    let depth = DEPTH.get();
    DEPTH.set(depth + 1);
    if depth > 0 {
        return;
    }
    loop {
        // A step and a fork each count themselves before they look for the other, so that at least one of them sees the other.
        STEPS.fetch_add(1, Ordering::SeqCst);
        if FORKS.load(Ordering::SeqCst) == 0 {
            return;
        }
        STEPS.fetch_sub(1, Ordering::SeqCst);
        while FORKS.load(Ordering::SeqCst) > 0 {
            thread::sleep(NAP);
        }
    }
}

/// End a step.
pub(crate) fn end() {
    let depth = DEPTH.get() - 1;
    DEPTH.set(depth);
    if depth == 0 {
        STEPS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Before a fork: let no step begin, and wait for the steps that have begun, except a step of this thread.
pub(super) fn before_fork() {
    FORKS.fetch_add(1, Ordering::SeqCst);
    let own = u32::from(DEPTH.get() > 0);
    let begun = Instant::now();
    while STEPS.load(Ordering::SeqCst) > own && begun.elapsed() < PATIENCE {
        thread::sleep(NAP);
    }
}

/// After a fork, in the parent.
pub(super) fn in_parent() {
    FORKS.fetch_sub(1, Ordering::SeqCst);
}

/// After a fork, in the child, which does not have the other threads.
pub(super) fn in_child() {
    STEPS.store(u32::from(DEPTH.get() > 0), Ordering::SeqCst);
    FORKS.store(0, Ordering::SeqCst);
}
