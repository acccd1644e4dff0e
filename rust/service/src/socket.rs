//! The socket of a connection, as forks see it, and as h2 reads and writes it.
//!
//! * Every child of a fork closes it: otherwise a client would not notice the end of this process.
//! * A small part of what comes in is changed, see `authority.rs`.
//! * What goes out is gathered, and sent when the task of the connection has nothing more to do. h2 sends each frame of 16 KiB by itself,
//!   and each wakes the client.
//! * A connection of a client receives so many frames in a turn, and then the others have theirs. h2 would go on for as long as there is something:
//!   small frames cost their sender nothing.

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

/// The most bytes that are gathered, but for some connections of a server: they are sent before more are.
pub(crate) const LARGE: usize = 128 << 10;

/// Bytes that are received at a time. h2 asks for 8 KiB.
const RECEIVED: usize = 64 << 10;

/// Frames after which other connections have their turn, and the bytes that count as one. They are so many that a client which cancels its
/// calls at once has cancelled more than it may before they are looked at.
const TURN: usize = 1024;
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
        // Before it is closed: its number may be used again afterwards.
        unmark(self.0.as_raw_fd());
    }
}

/// The socket of a connection, for h2.
pub(crate) struct Socket {
    shared: Arc<Outgoing>,
    /// Changes a small part of the bytes that come in; None at a client.
    authority: Option<Authority>,
    /// Received, and not yet read.
    incoming: BytesMut,
}

/// The socket, and what is to be sent.
pub(crate) struct Outgoing {
    socket: Marked<UnixStream>,
    /// A ring: however slowly the client reads, it grows no further.
    gathered: Mutex<VecDeque<u8>>,
    /// The most bytes that are gathered.
    most: usize,
    /// Frames that were passed to h2 in this turn.
    turn: AtomicUsize,
}

impl Socket {
    /// The socket of a client that was accepted, for which so many bytes are gathered.
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

    /// The other end of what is gathered.
    pub(crate) fn outgoing(&self) -> Arc<Outgoing> {
        Arc::clone(&self.shared)
    }
}

impl Outgoing {
    /// The connection has its turn.
    pub(crate) fn begin_turn(&self) {
        self.turn.store(0, Ordering::Relaxed);
    }

    /// Send what was gathered.
    pub(crate) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_down_to(context, 0)
    }

    /// Send until at most so many bytes are left.
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
        if this.shared.turn.load(Ordering::Relaxed) >= TURN {
            // It wakes this task when the others have had theirs, and new bytes were looked for.
            return pin!(yield_now()).poll(context).map(|()| Ok(()));
        }
        while this.incoming.is_empty() {
            std::task::ready!(this.shared.socket.get().poll_read_ready(context))?;
            this.incoming.reserve(RECEIVED);
            match this.shared.socket.get().try_read_buf(&mut this.incoming) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // There may be very many connections that rest. The others are as fast as they can be.
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
            // A frame may be as large as the client likes.
            let taken = part.len().min(most - gathered.len());
            gathered.extend(&part[..taken]);
        }
        Poll::Ready(Ok(gathered.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task of the connection sends it.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.shared.poll_send(context))?;
        Poll::Ready(rustix::net::shutdown(self.shared.socket.get(), rustix::net::Shutdown::Write).map_err(Into::into))
    }
}
