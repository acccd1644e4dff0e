//! A server: accepts connections, serves their calls, and shuts down.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener as StdListener;
use std::pin::pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::server::{Builder as ConnectionBuilder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method as HttpMethod, Request, Response, StatusCode};
use steelyard_core::store::ingest::Notify;
use steelyard_core::threads;
use tokio::net::UnixListener;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::call::Call;
use crate::grpc::code::Code;
use crate::grpc::send::{Sender as Responses, is_grpc};
use crate::log::Note;
use crate::memory::give_back;
use crate::method::Method;
use crate::metrics::Snapshot;
use crate::refusal::Refusal;
use crate::services::serve as serve_call;
use crate::settings::Settings;
use crate::shared::{Phase, Shared};
use crate::socket::{LARGE, Marked, Socket};
use crate::store::Store;

/// The most connections at a time. Further ones are closed at once, because the process has a limited number of descriptors.
const CONNECTIONS: usize = 1024;

/// How long a new client has for the HTTP/2 handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The pause before the next accept when the system has refused a connection, for example for lack of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How long there must be no connection before memory is returned to the system.
const QUIET: Duration = Duration::from_secs(1);

/// The flow-control windows of a call and of a connection: bytes that a client may send before they are taken.
const CALL_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// The most bytes that a connection buffers for a slow client.
#[derive(Clone, Copy)]
struct Buffers {
    /// For each call.
    call: usize,
    /// For the socket of the connection.
    gathered: usize,
}

/// The buffers of the first connections, and of further ones. Large buffers wake a reading client less often, but with the largest number
/// of connections they would take most of the memory.
const ROOMY: Buffers = Buffers { call: 224 << 10, gathered: LARGE };
const NARROW: Buffers = Buffers { call: 80 << 10, gathered: LARGE / 2 };

/// How many connections have large buffers.
const ROOMY_CONNECTIONS: usize = 8;

/// The budget of a connection for small DATA frames that its calls have not taken: each frame below 256 bytes uses the missing bytes. A
/// small frame may keep the 16 KiB of memory into which it was received.
const SMALL_FRAMES: usize = 512 << 10;

/// The most bytes of the headers of a call. Refs and labels are sent in messages, not in headers.
const HEADERS: u32 = 16 << 10;

/// The most calls of one connection that wait to be refused, beside the served calls. Each one costs memory, and time whenever the client
/// changes the window of its calls.
const REFUSED_CALLS: usize = 256;

/// The most calls that a client may cancel before the server has accepted them. With more, the connection is ended.
const CANCELLED_CALLS: usize = 256;

/// A server.
pub struct Server {
    shared: Arc<Shared>,
    /// Tells the thread to shut down, and how long open calls may take until then.
    grace: Mutex<Option<oneshot::Sender<Duration>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Serve a store on a listening socket. The server uses a duplicate of the descriptor.
    pub fn start(store: Arc<dyn Store>, listener: &impl AsFd, settings: Settings) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(store, settings));
        shared.threads.start()?;
        let listener = StdListener::from(listener.as_fd().try_clone_to_owned()?);
        listener.set_nonblocking(true)?;
        let (grace, ending) = oneshot::channel();
        let (ready, is_ready) = channel();
        let served = Arc::clone(&shared);
        let thread = threads::start("steelyard-serve-io", move || live(listener, &served, ending, &ready))?;
        is_ready.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Self { shared, grace: Mutex::new(Some(grace)), thread: Mutex::new(Some(thread)) })
    }

    /// Accept no further calls, and let open calls finish.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Shut down: give open calls `grace` to finish, then cancel them, and wait until their work on the store has ended.
    pub fn finish(&self, grace: Duration) {
        self.drain();
        let ending = self.grace.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ending) = ending {
            // Fails if the thread has ended by itself.
            ending.send(grace).unwrap_or_default();
        }
        // The lock makes a second caller wait for the first.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            drop(thread.join());
            self.shared.threads.close();
            self.shared.store.end();
            self.shared.notes.end();
        }
    }

    /// Take the notes for the owner so far; `None` if there are no more and will be none.
    pub fn take_notes(&self) -> Option<Vec<Note>> {
        self.shared.notes.take()
    }

    /// Call `notify` when there is a note to take or when there will be no more, possibly before this returns.
    pub fn when_noted(&self, notify: Notify) {
        self.shared.notes.when_ready(notify);
    }

    /// Log the end of every call, or only of those that an operator should see.
    pub fn log_all(&self, all: bool) {
        self.shared.notes.all.store(all, std::sync::atomic::Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn metrics(&self) -> Snapshot {
        self.shared.metrics.snapshot()
    }
}

/// Run the thread of a server, which reads and writes all its connections.
///
/// There is only one: a runtime with several threads wakes a second thread for each small call, which takes longer than the call on a
/// machine with few processors. The work on the store is done on other threads.
fn live(
    listener: StdListener,
    shared: &Arc<Shared>,
    ending: oneshot::Receiver<Duration>,
    ready: &Sender<io::Result<()>>,
) {
    let runtime = match Builder::new_current_thread().enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return ready.send(Err(error)).unwrap_or_default(),
    };
    runtime.block_on(async {
        let listener = match UnixListener::from_std(listener) {
            Ok(listener) => Marked::new(listener),
            Err(error) => return ready.send(Err(error)).unwrap_or_default(),
        };
        ready.send(Ok(())).unwrap_or_default();
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, Arc::clone(shared), tasks.clone()));
        tasks.spawn(close_expired(Arc::clone(shared)));
        // Fails if the server was dropped: there is no grace time then.
        let grace = ending.await.unwrap_or_default();
        shared.drain();
        tasks.close();
        drop(timeout(grace, tasks.wait()).await);
        shared.phase.send_replace(Phase::Ended);
        tasks.wait().await;
    });
}

/// Accept connections until the server drains.
async fn accept(listener: Marked<UnixListener>, shared: Arc<Shared>, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tasks.spawn(give_memory_back(Arc::clone(&shared), Arc::clone(&places)));
    loop {
        let accepted = tokio::select! {
            accepted = listener.get().accept() => accepted,
            () = shared.until(Phase::Draining) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                // If there is no place, the stream is dropped, and so closed.
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    let shared = Arc::clone(&shared);
                    let is_roomy = CONNECTIONS - places.available_permits() <= ROOMY_CONNECTIONS;
                    let buffers = if is_roomy { ROOMY } else { NARROW };
                    tasks.spawn(async move {
                        serve(Socket::new(stream, buffers.gathered), buffers, &shared).await;
                        drop(place);
                        shared.left.notify_one();
                    });
                }
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Return memory to the system once there has been no connection for `QUIET`.
async fn give_memory_back(shared: Arc<Shared>, places: Arc<Semaphore>) {
    loop {
        let given = async {
            shared.left.notified().await;
            sleep(QUIET).await;
            if places.available_permits() == CONNECTIONS {
                shared.threads.run_always(give_back);
            }
        };
        tokio::select! {
            () = given => {}
            () = shared.until(Phase::Draining) => return,
        }
    }
}

/// Close blobs that were kept open for a next read, once they have expired.
async fn close_expired(shared: Arc<Shared>) {
    loop {
        let closed = async {
            shared.opened.notified().await;
            let close = || {
                let store = Arc::clone(&shared.store);
                shared.threads.run(move || Ok(store.close_expired()))
            };
            while let Ok(Some(wait)) = close().await {
                sleep(wait).await;
            }
        };
        tokio::select! {
            () = closed => {}
            () = shared.until(Phase::Draining) => return,
        }
    }
}

/// Serve the calls of a connection, all in one task: a small call then wakes no other task, and the frames of all calls are sent together.
async fn serve(socket: Socket, buffers: Buffers, shared: &Arc<Shared>) {
    let outgoing = socket.outgoing();
    let mut served = pin!(serve_calls(socket, buffers, shared));
    poll_fn(|context| {
        outgoing.begin_receiving();
        let served = served.as_mut().poll(context);
        // The next read or write reports a failure again.
        drop(outgoing.poll_send(context));
        served
    })
    .await;
    drop(timeout(PAUSE, poll_fn(|context| outgoing.poll_send(context))).await);
}

async fn serve_calls(socket: Socket, buffers: Buffers, shared: &Arc<Shared>) {
    // The shutdown does not wait for a client that has not finished its handshake.
    let mut connection = tokio::select! {
        connection = begin(socket, buffers, shared) => connection,
        () = shared.until(Phase::Draining) => return,
    };
    let mut calls = FuturesUnordered::new();
    let mut draining = pin!(shared.until(Phase::Draining));
    let mut ended = pin!(shared.until(Phase::Ended));
    let mut is_draining = false;
    while connection.is_some() || !calls.is_empty() {
        tokio::select! {
            biased;
            Some(()) = calls.next() => {}
            accepted = next_call(&mut connection), if connection.is_some() => match accepted {
                Some((request, response)) => calls.extend(call_of(request, response, shared)),
                // Dropping the connection ends its calls: h2 does not report every error to them.
                None => connection = None,
            },
            () = &mut draining, if !is_draining => {
                if let Some(connection) = &mut connection {
                    connection.graceful_shutdown();
                }
                is_draining = true;
            }
            () = &mut ended, if connection.is_some() => {
                // Calls wait for the same phase, so all of them end now.
                while calls.next().await.is_some() {}
                if let Some(connection) = connection {
                    end(connection).await;
                }
                return;
            }
        }
    }
}

/// Do the handshake of a connection; `None` if it fails or takes too long.
async fn begin(socket: Socket, buffers: Buffers, shared: &Shared) -> Option<Connection<Socket, Bytes>> {
    let calls = shared.settings.calls.saturating_mul(2).saturating_add(REFUSED_CALLS);
    let begun = ConnectionBuilder::new()
        .initial_window_size(CALL_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(buffers.call)
        .data_frame_budget(SMALL_FRAMES)
        .max_header_list_size(HEADERS)
        .max_concurrent_streams(u32::try_from(calls).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(calls)
        .max_pending_accept_reset_streams(CANCELLED_CALLS)
        .handshake(socket);
    timeout(HANDSHAKE, begun).await.ok()?.ok()
}

/// Accept the next call of a connection; `None` once the connection has ended, with or without an error.
async fn next_call(
    connection: &mut Option<Connection<Socket, Bytes>>,
) -> Option<(Request<RecvStream>, SendResponse<Bytes>)> {
    connection.as_mut()?.accept().await?.ok()
}

/// End a connection whose calls were cancelled, after sending their last frames.
async fn end(mut connection: Connection<Socket, Bytes>) {
    connection.abrupt_shutdown(Reason::NO_ERROR);
    drop(timeout(PAUSE, poll_fn(|context| connection.poll_closed(context))).await);
}

/// Start the call of a request, unless it is refused at once.
fn call_of(
    request: Request<RecvStream>,
    mut response: SendResponse<Bytes>,
    shared: &Arc<Shared>,
) -> Option<impl Future<Output = ()> + use<>> {
    let is_grpc = request.headers().get("content-type").is_some_and(is_grpc);
    if request.method() != HttpMethod::POST || !is_grpc {
        let mut refused = Response::new(());
        *refused.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        drop(response.send_response(refused, true));
        return None;
    }
    let method = Method::of(request.uri().path()).filter(|method| method.is_served(&shared.settings));
    let Some(method) = method else {
        let refused = Refusal::new(Code::Unimplemented, &format!("{}: no such method is served", request.uri().path()));
        Responses::new(response, shared.settings.idle).end(Some(&refused));
        return None;
    };
    Some(serve_call(Call::new(Arc::clone(shared), method, request, response)))
}
