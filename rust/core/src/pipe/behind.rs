//! Work that steps back: whoever waits for an event gets the processor first.
//!
//! An event loop sleeps most of the time, and is late when it finds every processor taken, by one of dozens of threads
//! that copy, hash and write. So those threads are nicer than the rest of the process by a few steps. None of them ever
//! holds Python's lock, on which the loop would wait for them in turn: what Python calls hands such work over, and waits.

use std::sync::OnceLock;
use std::thread;

use rustix::process::{getpid, getpriority_process, setpriority_process};

use crate::threads::both;

/// By how much they are nicer: then they weigh a third of the others that want the same processor.
const STEPS: i32 = 5;

/// There is nothing nicer.
const NICEST: i32 = 19;

/// The least bytes of work that are worth a thread of their own.
pub(crate) const WORTH: u64 = 1 << 20;

/// Have this thread, and those that it starts, step back from now on. It cannot be undone.
pub(crate) fn step_back() {
    // A thread may have been started by one that has stepped back: so what counts is the process's first one.
    static NICE: OnceLock<Option<i32>> = OnceLock::new();
    let nice = *NICE.get_or_init(|| Some(getpriority_process(Some(getpid())).ok()? + STEPS));
    if let Some(nice) = nice {
        // Where that is refused, it works as it is.
        setpriority_process(None, nice.min(NICEST)).ok();
    }
}

/// Do the work on a thread that steps back, and wait for it; here, should the system refuse to make one.
pub(crate) fn behind<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let caller = thread::current().id();
    let life = move || {
        if thread::current().id() != caller {
            step_back();
        }
        work()
    };
    both("steelyard-work", life, || ()).0
}
