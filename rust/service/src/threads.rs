//! The threads on which a store is called: its methods block on disks, locks and other processes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use steelyard_core::error::Error;
use steelyard_core::threads;
use steelyard_core::threads::calls::{Done, Pool, Work};
use steelyard_core::waiting::{Caller, for_caller};
use tokio::sync::oneshot;

use crate::grpc::code::Code;
use crate::refusal::Refusal;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_millis(700);

/// Linux's error number for too many threads or processes.
const EAGAIN: i32 = 11;

/// The work of the pool: calls of a store.
pub(crate) struct Calls;

/// A call. It receives `Ok` if it is to run, or the error because of which it cannot.
pub(crate) type Job = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The threads of a server.
#[derive(Clone)]
pub(crate) struct Threads(Arc<Pool<Calls>>);

impl Work for Calls {
    type Job = Job;
    type Notified = ();

    fn start(&self, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
        threads::start("steelyard-serve", life).map(drop)
    }

    fn attached(&self, serve: &mut dyn FnMut()) -> bool {
        serve();
        true
    }

    fn detached(&self, wait: &mut (dyn FnMut() + Send)) {
        wait();
    }

    fn run(&self, job: Job) -> Done<Self> {
        // The panic hook has printed a panic. The waiting call then gets an error in place of a result.
        drop(catch_unwind(AssertUnwindSafe(|| job(Ok(())))));
        Done { notified: Vec::new(), rest: None }
    }

    fn refuse(&self, job: Job, error: &io::Error) -> Vec<()> {
        let errno = error.raw_os_error().unwrap_or(EAGAIN);
        job(Err(Error::Io { errno, path: None, operation: "start a thread" }));
        Vec::new()
    }

    fn notify(&self, (): ()) {}
}

impl Threads {
    pub(crate) fn new(most: usize) -> Self {
        Self(Pool::new(Calls, most, IDLE))
    }

    /// Start the first thread. Fails if the system refuses it. If the system refuses further threads later, calls wait for a thread that runs.
    pub(crate) fn start(&self) -> io::Result<()> {
        let (send, receive) = std::sync::mpsc::channel();
        self.0.submit(Box::new(move |started| send.send(started).unwrap_or_default()));
        match receive.recv() {
            Ok(Err(Error::Io { errno, .. })) => Err(io::Error::from_raw_os_error(errno)),
            _ => Ok(()),
        }
    }

    /// Run a call and wait for its result.
    ///
    /// CANCEL: if this future is dropped while the call waits for another process, the call ends without an effect.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (send, receive) = oneshot::channel();
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let caller = Arc::new(Waiting { pool: Arc::clone(&self.0), wanted: Arc::clone(&wanted.0) });
        self.0.submit(Box::new(move |started| {
            let result = started.map_err(Refusal::from).and_then(|()| for_caller(Some(caller), call));
            // Fails if the future was dropped meanwhile.
            drop(send.send(result));
        }));
        let failed = || Refusal::new(Code::Internal, "the store failed; the service's log says more");
        receive.await.unwrap_or_else(|_| Err(failed()))
    }

    /// Run a function in any case, even if no thread can be started. It frees what a call has held.
    pub(crate) fn run_always(&self, call: impl FnOnce() + Send + 'static) {
        // If no thread can be started, the function runs on the caller's thread.
        self.0.submit(Box::new(move |_| call()));
    }

    /// Finish all submitted calls, and end all threads.
    pub(crate) fn close(&self) {
        self.0.close();
    }
}

/// Marks a result as wanted until this is dropped.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The caller of a call: the core asks it, while it waits for another process, whether the result is still wanted.
struct Waiting {
    pool: Arc<Pool<Calls>>,
    wanted: Arc<AtomicBool>,
}

impl Caller for Waiting {
    fn is_cancelled(&self) -> bool {
        !self.wanted.load(Ordering::Acquire) || self.pool.is_closing()
    }

    fn waits(&self, begins: bool) {
        self.pool.waits(begins);
    }
}
