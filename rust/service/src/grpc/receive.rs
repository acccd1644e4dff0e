//! The messages that a call receives, each after its length: the requests to a server, the answers to a client.

use bytes::{Buf as _, Bytes, BytesMut};
use h2::{Reason, RecvStream};
use http::HeaderMap;

/// Bytes of the prefix of a message: one says whether the message is compressed, four are its length.
const PREFIX: usize = 5;

/// The reason why no further message can be received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The other side has disconnected, or has reset the call with a reason.
    Gone(Option<Reason>),
    /// The stream ended within a message.
    Cut,
    /// The message is compressed, although no compression was negotiated.
    Compressed,
    /// The message is too large: its size, and the limit.
    TooLarge(usize, usize),
}

/// The received data of a call, in pieces of any size.
pub(crate) trait Pieces {
    /// Receive the next piece; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Bytes>, Broken>;
}

impl Pieces for RecvStream {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        let Some(data) = self.data().await else { return Ok(None) };
        let data = data.map_err(gone)?;
        // Only data that is taken is released to flow control, so the other side sends no faster than its messages are used.
        self.flow_control().release_capacity(data.len()).map_err(gone)?;
        Ok(Some(data))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "`map_err` passes it by value")]
fn gone(error: h2::Error) -> Broken {
    Broken::Gone(error.reason())
}

/// Receives the messages of a call.
pub(crate) struct Receiver<P = RecvStream> {
    pieces: P,
    /// Received bytes that are not consumed yet.
    rest: Bytes,
    /// The most bytes of a message.
    most: usize,
}

impl<P: Pieces> Receiver<P> {
    pub(crate) fn new(pieces: P, most: usize) -> Self {
        Self { pieces, rest: Bytes::new(), most }
    }

    /// Receive the next message; `None` after the last one. A message that lies within one piece is not copied.
    pub(crate) async fn message(&mut self) -> Result<Option<Bytes>, Broken> {
        let Some(length) = self.length().await? else { return Ok(None) };
        if self.rest.len() >= length {
            return Ok(Some(self.rest.split_to(length)));
        }
        let mut message = BytesMut::with_capacity(length);
        while message.len() < length {
            let piece = self.piece(length - message.len()).await?;
            message.extend_from_slice(&piece);
        }
        Ok(Some(message.freeze()))
    }

    /// Receive the length of the next message; `None` after the last one.
    pub(crate) async fn length(&mut self) -> Result<Option<usize>, Broken> {
        if !self.fill(PREFIX).await? {
            return if self.rest.is_empty() { Ok(None) } else { Err(Broken::Cut) };
        }
        let is_compressed = self.rest.get_u8() != 0;
        let length = usize::try_from(self.rest.get_u32()).unwrap_or(usize::MAX);
        if is_compressed {
            return Err(Broken::Compressed);
        }
        if length > self.most { Err(Broken::TooLarge(length, self.most)) } else { Ok(Some(length)) }
    }

    /// Receive the next message and discard it.
    pub(crate) async fn skip(&mut self) -> Result<(), Broken> {
        let mut rest = self.length().await?.unwrap_or(0);
        while rest > 0 {
            rest -= self.piece(rest).await?.len();
        }
        Ok(())
    }

    /// Receive some bytes of a message, at least one and at most `most`.
    pub(crate) async fn piece(&mut self, most: usize) -> Result<Bytes, Broken> {
        if self.rest.is_empty() && !self.fill(1).await? {
            return Err(Broken::Cut);
        }
        Ok(self.rest.split_to(self.rest.len().min(most)))
    }

    /// Receive exactly `size` bytes of a message.
    pub(crate) async fn exactly(&mut self, size: usize) -> Result<Bytes, Broken> {
        if self.fill(size).await? { Ok(self.rest.split_to(size)) } else { Err(Broken::Cut) }
    }

    /// Receive until `rest` has at least `size` bytes. Returns false if the data ends before.
    async fn fill(&mut self, size: usize) -> Result<bool, Broken> {
        let mut gathered = BytesMut::new();
        while self.rest.len() + gathered.len() < size {
            let Some(data) = self.pieces.next().await? else { break };
            if self.rest.is_empty() && gathered.is_empty() {
                self.rest = data;
            } else {
                gathered.extend_from_slice(&data);
            }
        }
        if !gathered.is_empty() {
            let mut whole = BytesMut::with_capacity(self.rest.len() + gathered.len());
            whole.extend_from_slice(&self.rest);
            whole.extend_from_slice(&gathered);
            self.rest = whole.freeze();
        }
        Ok(self.rest.len() >= size)
    }
}

impl Receiver {
    /// Receive the trailers after the last message, if there are any.
    pub(crate) async fn trailers(&mut self) -> Option<HeaderMap> {
        self.pieces.trailers().await.ok().flatten()
    }
}
