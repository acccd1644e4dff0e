//! The responses of a served call, and its end.

use std::future::poll_fn;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::timeout;

use crate::grpc::code::Code;
use crate::refusal::Refusal;

/// ASCII characters of a message that must be encoded in a header. Characters outside of ASCII are always encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Trailing metadata of a refused call, from which Steelyard's client reconstructs the error.
pub(crate) const DETAILS: &str = "steelyard-error-bin";

/// Messages up to this size are buffered for a slow client, so that their call need not wait.
pub(crate) const WAITING_MESSAGE_BYTES: usize = 16 << 10;

/// The most bytes of such messages that a call buffers before it waits for its client.
const WAITING_BYTES: usize = 64 << 10;

/// The reason why a response cannot be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The client has disconnected or cancelled.
    Gone,
    /// The client has accepted nothing for too long; the call is cancelled.
    Idle,
}

/// Sends the responses of a call.
pub(crate) struct Sender {
    response: SendResponse<Bytes>,
    /// Present from the first response on.
    stream: Option<SendStream<Bytes>>,
    idle: Duration,
    /// Bytes that were sent without waiting until the client accepts them.
    waiting_bytes: usize,
}

impl Sender {
    pub(crate) fn new(response: SendResponse<Bytes>, idle: Duration) -> Self {
        Self { response, stream: None, idle, waiting_bytes: 0 }
    }

    /// Send the headers, unless they have been sent.
    pub(crate) fn begin(&mut self) -> Result<&mut SendStream<Bytes>, Unsent> {
        if self.stream.is_none() {
            let stream = self.response.send_response(headers(), false).map_err(|_| Unsent::Gone)?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().ok_or(Unsent::Gone)
    }

    /// Encode and send a message. Returns its size.
    pub(crate) async fn message(&mut self, message: &impl prost::Message) -> Result<usize, Unsent> {
        let size = message.encoded_len();
        let mut bytes = BytesMut::with_capacity(prefix_len() + size);
        put_prefix(&mut bytes, size);
        // Encoding cannot fail: the buffer grows.
        message.encode(&mut bytes).map_err(|_| Unsent::Gone)?;
        self.all(bytes.freeze()).await?;
        Ok(size)
    }

    /// Send all of these bytes as the client accepts them. The last few are buffered.
    pub(crate) async fn all(&mut self, mut bytes: Bytes) -> Result<(), Unsent> {
        while bytes.len() > WAITING_MESSAGE_BYTES {
            let room = self.room(bytes.len()).await?;
            self.bytes(bytes.split_to(room))?;
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.waiting_bytes += bytes.len();
        if self.waiting_bytes > WAITING_BYTES {
            // There is room only after the client has accepted everything that was sent before.
            self.room(1).await?;
            self.waiting_bytes = bytes.len();
        }
        self.bytes(bytes)
    }

    /// Wait until the client accepts bytes, and return how many, at most `most`.
    pub(crate) async fn room(&mut self, most: usize) -> Result<usize, Unsent> {
        let idle = self.idle;
        let stream = self.begin()?;
        stream.reserve_capacity(most);
        loop {
            let room = stream.capacity();
            if room > 0 {
                return Ok(room.min(most));
            }
            match timeout(idle, poll_fn(|context| stream.poll_capacity(context))).await {
                Ok(Some(Ok(_))) => {}
                Ok(None | Some(Err(_))) => return Err(Unsent::Gone),
                Err(_) => {
                    // An error message would wait behind the responses, so the call is reset.
                    stream.send_reset(Reason::CANCEL);
                    return Err(Unsent::Idle);
                }
            }
        }
    }

    /// Send bytes without waiting: there must be room for them, or they must be few.
    pub(crate) fn bytes(&mut self, bytes: Bytes) -> Result<(), Unsent> {
        self.begin()?.send_data(bytes, false).map_err(|_| Unsent::Gone)
    }

    /// Wait until the client has disconnected or cancelled.
    pub(crate) async fn gone(&mut self) {
        match &mut self.stream {
            Some(stream) => drop(poll_fn(|context| stream.poll_reset(context)).await),
            None => drop(poll_fn(|context| self.response.poll_reset(context)).await),
        }
    }

    /// End the call, with an error if `refused` is given.
    pub(crate) fn end(&mut self, refused: Option<&Refusal>) {
        let trailers = trailers(refused);
        // Failures are ignored: the client has disconnected.
        if let Some(stream) = &mut self.stream {
            drop(stream.send_trailers(trailers));
        } else {
            let mut response = headers();
            response.headers_mut().extend(trailers);
            drop(self.response.send_response(response, true));
        }
    }

    /// Reset the call, for an end within a message, where no error can be sent.
    pub(crate) fn reset(&mut self, reason: Reason) {
        match &mut self.stream {
            Some(stream) => stream.send_reset(reason),
            None => self.response.send_reset(reason),
        }
    }
}

/// The number of bytes before a message.
pub(crate) fn prefix_len() -> usize {
    5
}

/// Append the prefix of a message of `size` bytes.
pub(crate) fn put_prefix(bytes: &mut BytesMut, size: usize) {
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
}

fn headers() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn trailers(refused: Option<&Refusal>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(3);
    let code = refused.map_or(Code::Ok, |refused| refused.code);
    trailers.insert("grpc-status", HeaderValue::from(code as u16));
    if let Some(refused) = refused {
        let message = utf8_percent_encode(&refused.message, ENCODED).to_string();
        let details = STANDARD_NO_PAD.encode(&refused.details);
        if let Ok(message) = HeaderValue::try_from(message) {
            trailers.insert("grpc-message", message);
        }
        if let (false, Ok(details)) = (details.is_empty(), HeaderValue::try_from(details)) {
            trailers.insert(DETAILS, details);
        }
    }
    trailers
}

/// Whether a content type is `application/grpc`, possibly with a suffix or parameters.
pub(crate) fn is_grpc(value: &HeaderValue) -> bool {
    let kind = value.as_bytes().strip_prefix(b"application/grpc");
    kind.is_some_and(|rest| rest.is_empty() || matches!(rest[0], b';' | b'+'))
}
