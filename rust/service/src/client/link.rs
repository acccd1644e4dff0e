//! The connection of a channel. The first call connects; if the connection is lost, the next call connects again.

use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::client::call::WINDOW_BYTES;
use crate::socket::{Outgoing, Socket};

/// The pause between attempts to connect while the server's queue of connections is full.
const PAUSE: Duration = Duration::from_millis(20);

/// The most further attempts, about ten seconds: a full queue means that the server is busy, not absent.
const TRIES: usize = 500;

/// The flow-control window of the connection: as large as possible, because calls whose answers are not taken must not stop others. The
/// window of each call is the limit.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// The longest frame that a server may send.
const FRAME: u32 = 256 << 10;

/// The most bytes of the headers of an answer. Steelyard's service sends its errors in them.
const HEADERS: u32 = 64 << 10;

/// The most bytes per call that wait until the socket accepts them.
const SEND_BUFFER: usize = 256 << 10;

/// Connects, and keeps the current connection.
pub(super) struct Links {
    path: PathBuf,
    /// The connection and its number; numbers grow with each connection.
    current: Mutex<Option<(u64, SendRequest<Bytes>)>>,
}

impl Links {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, current: Mutex::default() }
    }

    /// Return a connection that accepts a call. Waits while the server accepts no further concurrent calls.
    pub(super) async fn ready(&self) -> io::Result<SendRequest<Bytes>> {
        let (number, link) = self.after(0).await?;
        if let Ok(ready) = link.ready().await {
            return Ok(ready);
        }
        let (_, link) = self.after(number).await?;
        link.ready().await.map_err(other)
    }

    /// Return a connection whose number is above `ended`, and the number.
    async fn after(&self, ended: u64) -> io::Result<(u64, SendRequest<Bytes>)> {
        // The lock is held while connecting, so that only one of many calls connects.
        let mut current = self.current.lock().await;
        if let Some((number, link)) = current.as_ref().filter(|(number, _)| *number > ended) {
            return Ok((*number, link.clone()));
        }
        let link = self.connect().await?;
        *current = Some((ended + 1, link.clone()));
        Ok((ended + 1, link))
    }

    async fn connect(&self) -> io::Result<SendRequest<Bytes>> {
        let mut tries = 0;
        let stream = loop {
            match UnixStream::connect(&self.path).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tries < TRIES => {
                    tries += 1;
                    sleep(PAUSE).await;
                }
                other => break other?,
            }
        };
        let socket = Socket::plain(stream);
        let outgoing = socket.outgoing();
        let mut builder = Builder::new();
        builder
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_header_list_size(HEADERS)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false);
        let (link, connection) = builder.handshake(socket).await.map_err(other)?;
        tokio::spawn(drive(connection, outgoing));
        Ok(link)
    }
}

/// Read and write on a connection until it ends. h2 reports the end to the calls on it.
async fn drive(connection: Connection<Socket, Bytes>, outgoing: std::sync::Arc<Outgoing>) {
    let mut connection = pin!(connection);
    drop(
        poll_fn(|context| {
            outgoing.begin_receiving();
            let driven = connection.as_mut().poll(context);
            // The next read or write reports a failure again.
            drop(outgoing.poll_send(context));
            driven
        })
        .await,
    );
}

fn other(error: h2::Error) -> io::Error {
    io::Error::other(error)
}
