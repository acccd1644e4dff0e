//! The only module that starts threads.
//!
//! `threads/calls/` has the threads that serve calls, `threads/low_priority.rs` threads of low priority: an event loop gets
//! the processor before them.
//!
//! The system may refuse a thread at any time: a container's limit of processes, a user's limit, memory. `thread::spawn`
//! and `Scope::spawn` panic then, so clippy refuses them everywhere else (`rust/clippy.toml`). The functions here
//! return an error instead, and every caller has a fallback: fewer threads, its own thread if that may block, or an error.

pub mod calls;
pub(crate) mod low_priority;

use std::io;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder, JoinHandle, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, getpriority_process};
use rustix::thread::gettid;

use crate::waiting;

/// The longest wait until the system forgets a thread that has ended.
const FORGOTTEN: Duration = Duration::from_secs(1);

/// Start a thread that may outlive the caller.
pub fn start<T: Send + 'static>(name: &str, life: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    permit()?;
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    Builder::new().name(name.to_owned()).spawn(life)
}

/// Start a thread that ends within the scope. The caller joins it: a scope hides the message of a panic.
pub fn start_in<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    life: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    permit()?;
    // The new thread works for the same caller.
    let caller = waiting::caller();
    #[allow(clippy::disallowed_methods, reason = "the one place")]
    Builder::new().name(name.to_owned()).spawn_scoped(scope, move || waiting::for_caller(caller, life))
}

/// Run `there` on a thread of its own in parallel with `here`. If the system refuses a thread, run it after `here` on the caller's thread.
pub(crate) fn both<A: Send, B>(name: &str, there: impl FnOnce() -> A + Send, here: impl FnOnce() -> B) -> (A, B) {
    let (mut work, mut done) = (Some(there), None);
    let beside = thread::scope(|scope| {
        let (work, done) = (&mut work, &mut done);
        let thread = start_in(scope, name, move || *done = work.take().map(|work| work()));
        let beside = here();
        if let Ok(thread) = thread {
            join(thread);
        }
        beside
    });
    let there = done.or_else(|| work.map(|work| work()));
    (there.unwrap_or_else(|| unreachable!("it is done in one place or the other")), beside)
}

/// Wait for a thread, and resume its panic if it ended by one.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Return an error unless the system can start this number of threads now: the library that needs them would panic.
pub fn check_room(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let life = || {
            drop(gate.lock());
            gettid()
        };
        let started: Vec<_> = (0..count).map(|_| start_in(scope, "steelyard-room", life)).collect();
        drop(closed);
        let mut outcome = Ok(());
        for thread in started {
            match thread.map(join) {
                Ok(thread) => await_forgotten(thread),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    })
}

/// Wait until the system no longer counts a thread that has ended.
fn await_forgotten(thread: Pid) {
    let late = Instant::now() + FORGOTTEN;
    while getpriority_process(Some(thread)).is_ok() && Instant::now() < late {
        thread::sleep(Duration::from_micros(100));
    }
}

#[cfg(not(test))]
#[allow(clippy::unnecessary_wraps, reason = "as in the tests")]
fn permit() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use scarce::{permit, scarce};

/// Simulates, for tests, a system that refuses threads.
#[cfg(test)]
mod scarce {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Run `work`, during which this thread can start `left` threads and then no more.
    pub(crate) fn scarce<T>(left: usize, work: impl FnOnce() -> T) -> T {
        LEFT.set(Some(left));
        let result = work();
        LEFT.set(None);
        result
    }

    pub(crate) fn permit() -> io::Result<()> {
        match LEFT.get() {
            Some(0) => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            left => {
                LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
