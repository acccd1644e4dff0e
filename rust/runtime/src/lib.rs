//! The threads that wait for sockets: one tokio runtime for all clients and servers of the process.
//!
//! They start with the first user and end with the last. A child of a fork has none of them.

use std::io;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use steelyard_core::sys::{Process, ProcessBound, undivided};
use steelyard_core::threads::check_room;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that wait for sockets. Of their work, the signatures of requests and the copies of messages take processor time.
const WORKERS: usize = 2;

/// Threads that look up the addresses of servers, read files and hash bodies.
const BLOCKING: usize = 4;

/// Threads that start at once. One is for names and files: without it, a request that needs one would wait for as long as the system
/// refuses a thread.
const STEADY: usize = WORKERS + 1;

/// How long a thread without work stays: longer than any process.
const KEEP: Duration = Duration::from_secs(1 << 32);

/// The longest wait for the threads to end.
const END: Duration = Duration::from_secs(2);

/// The threads of the process.
pub struct Threads {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

type Shared = (Process, Weak<ProcessBound<Threads>>);

static CURRENT: Mutex<Option<Shared>> = Mutex::new(None);

/// The threads of this process; they are started if there are none.
pub fn threads() -> io::Result<Arc<ProcessBound<Threads>>> {
    // No fork may come in between: the child would find the mutex locked.
    undivided(|| {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((process, threads)) = &*current
            && process.is_current()
            && let Some(threads) = threads.upgrade()
        {
            return Ok(threads);
        }
        let threads = Arc::new(ProcessBound::new(Threads::start()?));
        *current = Some((Process::current(), Arc::downgrade(&threads)));
        Ok(threads)
    })
}

impl Threads {
    fn start() -> io::Result<Self> {
        check_room(STEADY)?;
        // tokio panics where the system refuses a thread: others may have taken the room in the meantime.
        let runtime = catch_unwind(build).unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// The runtime, to start tasks on it.
    pub fn handle(&self) -> &Handle {
        self.runtime.as_ref().unwrap_or_else(|| unreachable!("it is there until it is dropped")).handle()
    }
}

/// A runtime whose steady threads have started.
fn build() -> io::Result<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_keep_alive(KEEP)
        .thread_name("steelyard-net")
        .enable_all()
        .build()?;
    drop(runtime.spawn_blocking(|| ()));
    Ok(runtime)
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Tasks end at their next wait, so this waits for a file that is being read, bytes that are being hashed, or a name that is
            // being looked up.
            runtime.shutdown_timeout(END);
        }
    }
}
