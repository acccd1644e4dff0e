//! The threads for all requests of the process. They start with the first client and end with the last.

use std::io;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use steelyard_core::sys::{Process, ProcessBound, undivided};
use steelyard_core::threads::check_room;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

/// The threads that run requests. Most of their processor time is the hash in each signature.
const WORKERS: usize = 2;

/// The most threads that look up the addresses of servers, read files and hash bodies.
const BLOCKING: usize = 4;

/// The threads that start with the first client. One is for names and files. Without it, a request that needs such a thread would wait
/// as long as the system refuses one.
const STEADY: usize = WORKERS + 1;

/// How long an idle thread stays: longer than any process lives.
const KEEP: Duration = Duration::from_secs(1 << 32);

/// The most requests at once in the process. Further requests wait for a place.
const REQUESTS: usize = 128;

/// The most bodies that are received at once in the process, so that slow readers leave most places to other requests.
const BODIES: usize = 32;

/// The most bytes of all requests at once in the process.
const BYTES: usize = 256 << 20;

/// The longest wait for the threads to end.
const END: Duration = Duration::from_secs(2);

/// The slowest rate at which a transfer may still succeed, in bytes per second.
pub(crate) const SLOWEST: u64 = 64 << 10;

/// The unit in which bytes are counted.
const UNIT: usize = 64 << 10;

/// The runtime and the limits of the process.
pub(crate) struct Threads {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    pub(crate) limits: Arc<Limits>,
}

/// The limits of all requests of the process together.
pub(crate) struct Limits {
    pub(crate) requests: Semaphore,
    pub(crate) bytes: Semaphore,
    pub(crate) bodies: Semaphore,
}

type Shared = (Process, Weak<ProcessBound<Threads>>);

static CURRENT: Mutex<Option<Shared>> = Mutex::new(None);

/// The threads of this process; they are started if there are none.
pub(crate) fn threads() -> io::Result<Arc<ProcessBound<Threads>>> {
    // A fork must not happen in between: the child would find the mutex locked.
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
        // tokio panics if the system refuses a thread: other programs may have started threads since `check_room`.
        let runtime = catch_unwind(build).unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))?;
        Ok(Self { runtime: Some(runtime), limits: Arc::new(Limits::new()) })
    }

    pub(crate) fn handle(&self) -> &Handle {
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

impl Limits {
    pub(crate) fn new() -> Self {
        let [requests, bytes, bodies] = [REQUESTS, BYTES / UNIT, BODIES].map(Semaphore::new);
        Self { requests, bytes, bodies }
    }

    /// The number of permits of the semaphore `bytes` that `bytes` bytes need.
    pub(crate) fn units(bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).min(BYTES / UNIT)).unwrap_or(u32::MAX)
    }

    /// Whether the most bodies are being received.
    pub(crate) fn is_crowded(&self) -> bool {
        self.bodies.available_permits() == 0
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Requests end at their next wait, so this only waits for file reads, hashing and name lookups.
            runtime.shutdown_timeout(END);
        }
    }
}
