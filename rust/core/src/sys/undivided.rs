//! Short steps that a fork must not divide.
//!
//! A child has one thread. The work of other threads of the parent is never finished there, and a lock that it
//! held stays locked. Our own objects do not need their locks in a child (`fork.rs`). But some locks belong to the whole
//! process: those inside SQLite, and that of `PyO3`'s list of objects to be freed. Each is held for a step without any wait,
//! and no such step begins while a fork is under way. The fork waits for the steps that have begun, for `PATIENCE` at most,
//! and takes no lock itself.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A step takes microseconds, more where its thread has lost the processor. A fork that waits longer than this takes the
/// risk that a step is divided.
const PATIENCE: Duration = Duration::from_millis(500);

const NAP: Duration = Duration::from_micros(50);

/// Forks under way.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Threads within a step.
static STEPS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// How many steps this thread is within: one may be part of another.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Do a step that no fork divides. It must not wait for anything but other such steps.
pub fn undivided<T>(step: impl FnOnce() -> T) -> T {
    /// Ends the step, however `step` ends.
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
        // Both before they look for each other, so that one of a step and a fork sees the other.
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

/// Before a fork: let no step begin, and wait for those that have begun, but not for one that this thread is within.
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

/// After a fork, in the child, which has none of the other threads.
pub(super) fn in_child() {
    STEPS.store(u32::from(DEPTH.get() > 0), Ordering::SeqCst);
    FORKS.store(0, Ordering::SeqCst);
}
