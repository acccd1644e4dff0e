//! A `Sys` that fails on purpose.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::{Around, Call, Layer, Op, Sys};

/// Which calls fail, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call of that ordinal fails with the errno, once. Ordinals count from 1.
    Once(u64, i32),
    /// The call of that ordinal and all later ones fail with the errno.
    From(u64, i32),
    /// The first call of that kind fails with the errno, once.
    First(Op, i32),
    /// The second call of that kind fails with the errno, once.
    Second(Op, i32),
    /// Every call of that kind fails with the errno.
    Every(Op, i32),
}

/// A `Sys` around another one that counts its calls and makes chosen ones fail.
///
/// The release of a lock never fails, as in the kernel.
pub type Faulty = Layer<Faults>;

/// The plan and the count of a [`Faulty`].
#[derive(Default)]
pub struct Faults {
    calls: AtomicU64,
    hits: AtomicU64,
    short: AtomicI32,
    fault: Mutex<Option<Fault>>,
}

impl Faulty {
    /// Return a `Sys` in which no call fails until a fault is set.
    pub fn over(inner: Arc<dyn Sys>) -> Arc<Self> {
        Arc::new(Self::new(inner, Faults::default()))
    }

    /// Set what will fail, and count calls from 0 again.
    pub fn set(&self, fault: Option<Fault>) {
        *self.around.plan() = fault;
        self.around.calls.store(0, Ordering::SeqCst);
        self.around.hits.store(0, Ordering::SeqCst);
    }

    /// Limit each write to `most` bytes; 0 means no limit.
    pub fn set_short_writes(&self, most: i32) {
        self.around.short.store(most, Ordering::SeqCst);
    }

    /// Return the calls made since the plan was set.
    pub fn calls(&self) -> u64 {
        self.around.calls.load(Ordering::SeqCst)
    }

    /// Return the calls that were made to fail since the plan was set.
    pub fn hits(&self) -> u64 {
        self.around.hits.load(Ordering::SeqCst)
    }
}

impl Faults {
    fn plan(&self) -> std::sync::MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn errno(&self, op: Op) -> Option<i32> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let mut plan = self.plan();
        match *plan {
            Some(Fault::Once(at, errno)) if call == at => Some(errno),
            Some(Fault::From(at, errno)) if call >= at => Some(errno),
            Some(Fault::Every(which, errno)) if which == op => Some(errno),
            Some(Fault::First(which, errno)) if which == op => {
                *plan = None;
                Some(errno)
            }
            Some(Fault::Second(which, errno)) if which == op => {
                *plan = Some(Fault::First(which, errno));
                None
            }
            _ => None,
        }
    }
}

impl Around for Faults {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        if let Some(errno) = self.errno(call.op) {
            self.hits.fetch_add(1, Ordering::SeqCst);
            return Err(io::Error::from_raw_os_error(errno));
        }
        run()
    }

    fn write_limit(&self, size: usize) -> usize {
        match usize::try_from(self.short.load(Ordering::SeqCst)) {
            Ok(0) | Err(_) => size,
            Ok(most) => size.min(most),
        }
    }
}
