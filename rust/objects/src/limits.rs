//! The limits of all requests of the process together.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use steelyard_core::sys::{Process, undivided};
use tokio::sync::Semaphore;

/// Requests at once in the process. More wait for one of them to end.
const REQUESTS: usize = 128;

/// Bodies that are received at once in the process, so that readers, however slow, leave most places to other requests.
const BODIES: usize = 32;

/// Bytes of all requests at once in the process, in units of `UNIT`.
const BYTES: usize = 256 << 20;

/// The slowest rate at which a transfer may still succeed, in bytes per second.
pub(crate) const SLOWEST: u64 = 64 << 10;

/// The unit in which bytes are counted.
const UNIT: usize = 64 << 10;

/// The limits of all requests of the process together.
pub(crate) struct Limits {
    pub(crate) requests: Semaphore,
    pub(crate) bytes: Semaphore,
    pub(crate) bodies: Semaphore,
}

static CURRENT: Mutex<Option<(Process, Weak<Limits>)>> = Mutex::new(None);

/// The limits of this process. They last as long as one of its clients: a child of a fork has limits of its own.
pub(crate) fn limits() -> Arc<Limits> {
    // No fork may come in between: the child would find the mutex locked.
    undivided(|| {
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((process, limits)) = &*current
            && process.is_current()
            && let Some(limits) = limits.upgrade()
        {
            return limits;
        }
        let limits = Arc::new(Limits::new());
        *current = Some((Process::current(), Arc::downgrade(&limits)));
        limits
    })
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
