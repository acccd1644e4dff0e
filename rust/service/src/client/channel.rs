//! A channel: one thread that reads and writes for all calls to a server. It starts with the first call and ends with the channel.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use steelyard_core::threads;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::client::call::Call;
use crate::client::exchange::exchange;
use crate::client::link::Links;
use crate::client::messages::Method;

/// A channel to a server.
pub struct Channel {
    path: PathBuf,
    thread: Mutex<Option<Thread>>,
}

/// The thread of a channel. It ends when `calls` is dropped.
struct Thread {
    calls: UnboundedSender<Arc<Call>>,
    handle: JoinHandle<()>,
}

impl Channel {
    /// Return a channel to the server at a Unix socket. It does not connect before the first call.
    pub fn new(path: PathBuf) -> Self {
        Self { path, thread: Mutex::default() }
    }

    /// Start a call; the caller then sends its requests. Fails if the system refuses a thread or descriptors.
    pub fn call(&self, method: Method, headers: HeaderMap, timeout: Option<Duration>) -> io::Result<Arc<Call>> {
        let call = Arc::new(Call::new(method, headers, timeout));
        let mut thread = self.thread();
        let running = match &mut *thread {
            Some(running) => running,
            none => none.insert(Thread::start(&self.path)?),
        };
        if running.calls.send(Arc::clone(&call)).is_err() {
            // The thread has panicked; the panic hook has printed the message.
            *thread = None;
            return Err(io::ErrorKind::Other.into());
        }
        Ok(call)
    }

    /// End all calls and the connection, and wait until the thread has ended. A later call connects again.
    pub fn close(&self) {
        let thread = self.thread().take();
        if let Some(Thread { calls, handle }) = thread {
            drop(calls);
            drop(handle.join());
        }
    }

    fn thread(&self) -> MutexGuard<'_, Option<Thread>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    fn start(path: &Path) -> io::Result<Self> {
        let (calls, received) = unbounded_channel();
        let (ready, is_ready) = sync_channel(1);
        let path = path.to_owned();
        let handle = threads::start("steelyard-remote-io", move || live(path, received, &ready))?;
        is_ready.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Self { calls, handle })
    }
}

/// Run the thread of a channel. A runtime with several threads would wake a second thread for each small call.
fn live(path: PathBuf, mut calls: UnboundedReceiver<Arc<Call>>, ready: &SyncSender<io::Result<()>>) {
    let runtime = match Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return ready.send(Err(error)).unwrap_or_default(),
    };
    ready.send(Ok(())).unwrap_or_default();
    let links = Arc::new(Links::new(path));
    // When the runtime ends, it drops the tasks, and so ends their calls.
    runtime.block_on(async {
        while let Some(call) = calls.recv().await {
            tokio::spawn(exchange(Arc::clone(&links), call));
        }
    });
}

/// Build the headers of a call; those that every call has are added later.
pub fn headers(pairs: Vec<(String, String)>) -> Result<HeaderMap, String> {
    let header = |(name, value): (String, String)| {
        let pair = HeaderName::try_from(&name).ok().zip(HeaderValue::try_from(value).ok());
        pair.ok_or_else(|| format!("header {name}: the name or the value is invalid"))
    };
    pairs.into_iter().map(header).collect()
}
