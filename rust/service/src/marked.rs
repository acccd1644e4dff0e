//! Sockets whose descriptors every child of a fork closes: otherwise a client would not notice the end of this process.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use steelyard_core::sys::{mark, unmark};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use crate::authority::Authority;

/// A socket.
pub(crate) struct Marked<T: AsRawFd> {
    socket: T,
    authority: Authority,
}

impl<T: AsRawFd> Marked<T> {
    pub(crate) fn new(socket: T) -> Self {
        mark(socket.as_raw_fd());
        Self { socket, authority: Authority::new() }
    }

    pub(crate) fn get(&self) -> &T {
        &self.socket
    }
}

impl<T: AsRawFd> Drop for Marked<T> {
    fn drop(&mut self) {
        // Before it is closed: its number may be used again afterwards.
        unmark(self.socket.as_raw_fd());
    }
}

impl AsyncRead for Marked<UnixStream> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let this = &mut *self;
        let read = Pin::new(&mut this.socket).poll_read(context, into);
        this.authority.pass(&mut into.filled_mut()[before..]);
        read
    }
}

impl AsyncWrite for Marked<UnixStream> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
