//! A system that does other work before one of its calls, as if its process were suspended there.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use steelyard_core::sys::{Around, Call};
use steelyard_core::waiting::Caller;

/// A system whose clocks are ahead by so many nanoseconds. Before the call of that number, counted while it is armed, it does the work.
#[derive(Default)]
pub struct Hooked {
    pub ahead: Arc<AtomicI64>,
    pub calls: AtomicU64,
    pub at: u64,
    pub is_armed: AtomicBool,
    pub work: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Around for Hooked {
    fn around<T>(&self, _: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        if self.is_armed.load(Ordering::SeqCst)
            && self.calls.fetch_add(1, Ordering::SeqCst) == self.at
            && let Some(work) = self.work.lock().unwrap().take()
        {
            work();
        }
        run()
    }

    fn clock_ns(&self, _: bool, ns: i64) -> i64 {
        ns + self.ahead.load(Ordering::SeqCst)
    }
}

/// A caller that does not wait for the locks of others.
#[allow(dead_code, reason = "only one of the two programs needs it")]
pub struct Impatient;

impl Caller for Impatient {
    fn is_cancelled(&self) -> bool {
        true
    }

    fn waits(&self, _: bool) {}
}
