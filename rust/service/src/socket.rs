//! The socket of a connection: the layer between the kernel and h2.
//!
//! * Every child of a fork closes it: otherwise a client would not notice the end of this process.
//! * The `:authority` of received calls is changed, see `authority.rs`.
//! * Sent bytes are gathered until the task of the connection has nothing more to do. h2 by itself sends each frame of 16 KiB separately,
//!   and each one wakes the client.
//! * A connection to a client receives a limited number of frames per turn of its task; then other connections have a turn. h2 by itself
//!   continues as long as there are frames, and small frames cost their sender nothing.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::BytesMut;
use steelyard_core::sys::{mark, unmark};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::task::yield_now;

use crate::authority::Authority;

/// The most gathered bytes: they are sent before more are gathered. Some connections of a server have a lower limit.
pub(crate) const LARGE: usize = 128 << 10;

/// Bytes of one read from the socket. h2 by itself reads 8 KiB.
const RECEIVED: usize = 64 << 10;

/// The frames after which other connections have a turn, and the number of bytes that count as one frame. A turn has enough frames that a
/// client which cancels its calls at once exceeds the limit of cancelled calls within one turn.
const FRAMES_AT_A_TIME: usize = 1024;
const FRAME: usize = 512;

/// A socket that every child of a fork closes.
pub(crate) struct Marked<T: AsRawFd>(T);

impl<T: AsRawFd> Marked<T> {
    pub(crate) fn new(socket: T) -> Self {
        mark(socket.as_raw_fd());
        Self(socket)
    }

    pub(crate) fn get(&self) -> &T {
        &self.0
    }
}

impl<T: AsRawFd> Drop for Marked<T> {
    fn drop(&mut self) {
        // Unmark the descriptor before it is closed: afterwards another file may have its number.
        unmark(self.0.as_raw_fd());
    }
}

/// The socket of a connection, for h2.
pub(crate) struct Socket {
    shared: Arc<Outgoing>,
    /// Changes the authority in received bytes; `None` for a socket to a server.
    authority: Option<Authority>,
    /// Received bytes that h2 has not read yet.
    incoming: BytesMut,
}

/// The socket, and the bytes that wait to be sent.
pub(crate) struct Outgoing {
    socket: Marked<UnixStream>,
    /// A ring buffer: it does not grow beyond `most`, however slowly the client reads.
    gathered: Mutex<VecDeque<u8>>,
    /// The most bytes that are gathered.
    most: usize,
    /// Frames that h2 has received in this turn.
    turn: AtomicUsize,
}

impl Socket {
    /// The socket of an accepted client. At most `most` bytes are gathered for it.
    pub(crate) fn new(socket: UnixStream, most: usize) -> Self {
        Self::of(socket, most, Some(Authority::new()))
    }

    /// The socket to a server.
    pub(crate) fn plain(socket: UnixStream) -> Self {
        Self::of(socket, LARGE, None)
    }

    fn of(socket: UnixStream, most: usize, authority: Option<Authority>) -> Self {
        let (gathered, turn) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Outgoing { socket: Marked::new(socket), gathered, most, turn };
        Self { shared: Arc::new(shared), authority, incoming: BytesMut::new() }
    }

    /// The sending side, for the task that drives the connection.
    pub(crate) fn outgoing(&self) -> Arc<Outgoing> {
        Arc::clone(&self.shared)
    }
}

impl Outgoing {
    /// Begin a turn of the connection's task.
    pub(crate) fn begin_receiving(&self) {
        self.turn.store(0, Ordering::Relaxed);
    }

    /// Send all gathered bytes.
    pub(crate) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_down_to(context, 0)
    }

    /// Send until at most `most` bytes are left.
    fn poll_down_to(&self, context: &mut Context<'_>, most: usize) -> Poll<io::Result<()>> {
        let mut gathered = self.gathered();
        while gathered.len() > most {
            let (first, second) = gathered.as_slices();
            match self.socket.get().try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(sent) => drop(gathered.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::task::ready!(self.socket.get().poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn gathered(&self) -> MutexGuard<'_, VecDeque<u8>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.shared.turn.load(Ordering::Relaxed) >= FRAMES_AT_A_TIME {
            // `yield_now` wakes this task after other tasks have run and the runtime has polled for new bytes.
            return pin!(yield_now()).poll(context).map(|()| Ok(()));
        }
        while this.incoming.is_empty() {
            std::task::ready!(this.shared.socket.get().poll_read_ready(context))?;
            this.incoming.reserve(RECEIVED);
            match this.shared.socket.get().try_read_buf(&mut this.incoming) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Very many connections may be idle: those with small buffers keep no memory meanwhile. The others keep it, which is faster.
                    if this.shared.most < LARGE {
                        this.incoming = BytesMut::new();
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let taken = this.incoming.len().min(into.remaining());
        let mut passed = this.incoming.split_to(taken);
        if let Some(authority) = &mut this.authority {
            let frames = authority.pass(&mut passed) + taken / FRAME;
            this.shared.turn.fetch_add(frames, Ordering::Relaxed);
        }
        into.put_slice(&passed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let most = self.shared.most;
        if self.shared.gathered().len() >= most {
            std::task::ready!(self.shared.poll_down_to(context, most / 2))?;
        }
        let mut gathered = self.shared.gathered();
        let before = gathered.len();
        gathered.reserve_exact(most - before);
        for part in data {
            // The other side decides how large a frame may be, so a frame may exceed the room.
            let taken = part.len().min(most - gathered.len());
            gathered.extend(&part[..taken]);
        }
        Poll::Ready(Ok(gathered.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task of the connection sends the gathered bytes.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.shared.poll_send(context))?;
        Poll::Ready(rustix::net::shutdown(self.shared.socket.get(), rustix::net::Shutdown::Write).map_err(Into::into))
    }
}
