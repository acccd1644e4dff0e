//! Low-priority threads: an event loop gets the processor before them.
//!
//! An event loop sleeps most of the time, and is late if threads that copy, hash and write have every processor when it
//! wakes. Those threads therefore have a lower priority than the rest of the process. They must never hold the GIL: the
//! event loop would wait for them (priority inversion). So a function that Python calls gives such work to a low-priority
//! thread and waits for it.

use std::sync::OnceLock;
use std::thread;

use rustix::process::{getpid, getpriority_process, setpriority_process};

use super::both;

/// The number that is added to their nice value: each thread then gets a tenth of the processor time of a thread of normal priority. Many
/// of them work at the same time, and an event loop that has used more than its share would get the processor late.
const STEPS: i32 = 10;

/// The highest nice value.
const NICEST: i32 = 19;

/// The fewest bytes of work for which a thread of its own is worthwhile.
pub(crate) const WORTH: u64 = 1 << 20;

/// Lower the priority of this thread permanently, and of the threads that it starts.
pub(crate) fn lower_priority() {
    // The thread that started this one may have a low priority already, so the process's own priority counts.
    static NICE: OnceLock<Option<i32>> = OnceLock::new();
    let nice = *NICE.get_or_init(|| Some(getpriority_process(Some(getpid())).ok()? + STEPS));
    if let Some(nice) = nice {
        // If the system refuses, the thread keeps its priority.
        setpriority_process(None, nice.min(NICEST)).ok();
    }
}

/// Do the work on a low-priority thread and wait for it; on this thread if the system refuses a new one.
pub(crate) fn low_priority<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let caller = thread::current().id();
    let life = move || {
        if thread::current().id() != caller {
            lower_priority();
        }
        work()
    };
    both("steelyard-work", life, || ()).0
}
