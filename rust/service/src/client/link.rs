//! The connection of a channel. It is made for the first call, and made again for the first one after its loss.

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

use crate::client::call::AHEAD;
use crate::socket::{Outgoing, Socket};

/// How long until the next try where the server has accepted no connection for a while: its queue is full.
const PAUSE: Duration = Duration::from_millis(20);

/// How often it is tried: ten seconds. A busy server is not an absent one.
const TRIES: usize = 500;

/// Bytes that a server may send on all calls together before we have taken them. It is no limit: calls whose answers are not taken must not
/// stop others.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// The longest frame that a server may send.
const FRAME: u32 = 256 << 10;

/// The most bytes of the headers of an answer: our own service sends its errors there.
const HEADERS: u32 = 64 << 10;

/// The most bytes that wait for the socket, for each call.
const SEND_BUFFER: usize = 256 << 10;

/// The connection, when there is one.
pub(super) struct Links {
    path: PathBuf,
    /// With its number: each new one has the next.
    current: Mutex<Option<(u64, SendRequest<Bytes>)>>,
}

impl Links {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, current: Mutex::default() }
    }

    /// Where a call can be made now. It waits while the server takes no further calls at once.
    pub(super) async fn ready(&self) -> io::Result<SendRequest<Bytes>> {
        let (number, link) = self.after(0).await?;
        if let Ok(ready) = link.ready().await {
            return Ok(ready);
        }
        let (_, link) = self.after(number).await?;
        link.ready().await.map_err(other)
    }

    /// The connection and its number, which is higher than that of the one that has ended.
    async fn after(&self, ended: u64) -> io::Result<(u64, SendRequest<Bytes>)> {
        // Held while it connects: of many calls one does.
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
            .initial_window_size(AHEAD)
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

/// Read and write a connection until it ends. Calls on it learn of its end by themselves.
async fn drive(connection: Connection<Socket, Bytes>, outgoing: std::sync::Arc<Outgoing>) {
    let mut connection = pin!(connection);
    drop(
        poll_fn(|context| {
            outgoing.begin_turn();
            let driven = connection.as_mut().poll(context);
            // A failure is found again by the next read or write.
            drop(outgoing.poll_send(context));
            driven
        })
        .await,
    );
}

fn other(error: h2::Error) -> io::Error {
    io::Error::other(error)
}
