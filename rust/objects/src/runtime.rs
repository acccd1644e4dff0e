//! The threads of all requests of the process: they start with the first client and end with the last.

use std::io;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use steelyard_core::sys::{Process, ProcessBound, undivided};
use steelyard_core::threads::check_room;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

/// Threads that work for requests: what takes processor time is the hash in each signature.
const WORKERS: usize = 2;

/// Threads that look up the addresses of servers, read files and hash bodies.
const BLOCKING: usize = 4;

/// Threads that start with the first client. One is for names and files: without it, a request that needs one would wait for as long as
/// the system refuses a thread.
const STEADY: usize = WORKERS + 1;

/// How long a thread without work stays: longer than any process.
const KEEP: Duration = Duration::from_secs(1 << 32);

/// Requests at once in the process. More wait for one of them to end.
const REQUESTS: usize = 128;

/// Bodies that are received at once in the process, so that readers, however slow, leave most places to other requests.
const BODIES: usize = 32;

/// Bytes of all requests at once in the process, in units of `UNIT`.
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

    /// How many permits of `bytes` so many bytes need.
    pub(crate) fn units(bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).min(BYTES / UNIT)).unwrap_or(u32::MAX)
    }

    /// Whether as many bodies are received as may be.
    pub(crate) fn is_crowded(&self) -> bool {
        self.bodies.available_permits() == 0
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Requests end at their next wait, so this waits for a file that is being read, bytes that are being hashed, or a name that is being looked up.
            runtime.shutdown_timeout(END);
        }
    }
}
