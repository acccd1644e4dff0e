//! One call: its requests and responses, its subject, and its outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::grpc::code::Code;
use crate::grpc::receive::{Broken, Receiver};
use crate::grpc::send::{Sender, Unsent};
use crate::log::{Level, Note, Record};
use crate::method::Method;
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::store::Store;
use crate::values::head;

/// How long a refused call waits for its first request. If the stream ends while a Go client sends its first request, the client gets
/// EOF in place of the error, and does not retry.
const REFUSED: Duration = Duration::from_secs(1);

/// The most bytes of a request, except for a Write. A decoded request may take ten times as much memory.
pub(crate) const REQUEST: usize = 2 << 20;

/// The most characters of a namespace; the same as in containerd.
const NAMESPACE_LIMIT: usize = 76;

/// The reason why a call ends early.
pub(crate) enum End {
    /// The call is refused.
    Refused(Refusal),
    /// The client has disconnected, cancelled, or was cut off: no error can be sent.
    Gone(Code),
}

impl<E: Into<Refusal>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Unsent> for End {
    fn from(unsent: Unsent) -> Self {
        Self::Gone(if unsent == Unsent::Idle { Code::DeadlineExceeded } else { Code::Cancelled })
    }
}

/// A call in progress.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) method: Method,
    /// The ref, digest or name that the call concerns, for the log.
    pub(crate) subject: String,
    headers: HeaderMap,
    receiver: Receiver,
    pub(crate) sender: Sender,
    started: Instant,
    bytes_in: u64,
    bytes_out: u64,
    /// Whether the last response has been sent: the call has then succeeded, whatever the client does.
    pub(crate) is_answered: bool,
}

impl Call {
    pub(crate) fn new(
        shared: Arc<Shared>,
        method: Method,
        request: Request<RecvStream>,
        response: SendResponse<Bytes>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        let (idle, most) = (shared.settings.idle, shared.settings.message_bytes);
        let most = if method.is_write() { most } else { most.min(REQUEST) };
        Self {
            shared,
            method,
            subject: String::new(),
            headers: parts.headers,
            receiver: Receiver::new(body, most),
            sender: Sender::new(response, idle),
            started: Instant::now(),
            bytes_in: 0,
            bytes_out: 0,
            is_answered: false,
        }
    }

    /// Refuse the call because the limit of open calls is reached. Wait for its first request before, up to `REFUSED`.
    pub(crate) async fn refuse(mut self) {
        let most = self.shared.settings.calls;
        let is_write = self.method.is_write();
        let (limit, kind) = if is_write { ("writes", "Write calls") } else { ("calls", "calls other than Write") };
        let refused = Refusal::busy(limit, &format!("{most} {kind} are open, the most that --calls allows"));
        // Very many calls may wait here, so each must hold little memory.
        self.headers = HeaderMap::new();
        self.log_refusal(&refused);
        drop(timeout(REFUSED, self.receiver.skip()).await);
        self.sender.end(Some(&refused));
        self.leave(refused.code);
    }

    /// The timeout that the client has set for the call.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.headers.get("grpc-timeout").and_then(|value| deadline(value.as_bytes()))
    }

    /// Refuse an invalid namespace. The value of a valid one makes no difference: all namespaces share the store.
    pub(crate) fn check_namespace(&self) -> Result<(), Refusal> {
        let Some(namespace) = self.header("containerd-namespace") else { return Ok(()) };
        let is_valid = namespace.len() <= NAMESPACE_LIMIT
            && namespace
                .split(['.', '_', '-'])
                .all(|part| !part.is_empty() && part.bytes().all(|letter| letter.is_ascii_alphanumeric()));
        if is_valid {
            return Ok(());
        }
        let text = format!(
            "namespace {:?}: expected at most {NAMESPACE_LIMIT} letters and digits, with single . _ - between",
            head(&namespace)
        );
        Err(Refusal::invalid(&text))
    }

    /// Return the value of a header, if the client has sent it.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Receive the next request; `None` after the client's last one.
    pub(crate) async fn receive(&mut self) -> Result<Option<Bytes>, End> {
        let received = timeout(self.shared.settings.idle, self.receiver.message()).await;
        let received = self.received(received)?;
        if let Some(message) = &received {
            self.count_received(message.len());
        }
        Ok(received)
    }

    /// Receive the length of the next request, whose bytes are then received in parts; `None` after the client's last request.
    pub(crate) async fn receive_length(&mut self) -> Result<Option<usize>, End> {
        let received = timeout(self.shared.settings.idle, self.receiver.length()).await;
        let length = self.received(received)?;
        if let Some(length) = length {
            self.count_received(length);
        }
        Ok(length)
    }

    /// Receive exactly `size` bytes of a request that is received in parts.
    pub(crate) async fn receive_exactly(&mut self, size: usize) -> Result<Bytes, End> {
        let received = timeout(self.shared.settings.idle, self.receiver.exactly(size)).await;
        self.received(received)
    }

    /// Receive some bytes of a request that is received in parts, at most `most`.
    pub(crate) async fn receive_some(&mut self, most: usize) -> Result<Bytes, End> {
        let received = timeout(self.shared.settings.idle, self.receiver.piece(most)).await;
        self.received(received)
    }

    fn received<T>(&self, received: Result<Result<T, Broken>, Elapsed>) -> Result<T, End> {
        match received {
            Err(_) => Err(self.silent()),
            Ok(Err(broken)) => Err(end_of(&broken)),
            Ok(Ok(received)) => Ok(received),
        }
    }

    fn count_received(&mut self, size: usize) {
        self.bytes_in += size as u64;
        self.shared.metrics.received(self.method, size as u64);
    }

    fn silent(&self) -> End {
        let seconds = self.shared.settings.idle.as_secs_f64();
        self.warn(Code::DeadlineExceeded, &format!("the client sent no message for {seconds} s"));
        Refusal::new(Code::DeadlineExceeded, &format!("{}: no message for {seconds} s", self.name())).into()
    }

    /// Receive the only request of a call, or the first one of a stream.
    pub(crate) async fn request<M: Message + Default>(&mut self) -> Result<M, End> {
        let bytes = self.receive().await?.ok_or_else(|| Refusal::malformed("the call ended without a request"))?;
        decode(bytes)
    }

    /// Send one response; others may follow.
    pub(crate) async fn send(&mut self, message: &impl Message) -> Result<(), End> {
        let (size, most) = (message.encoded_len(), self.shared.settings.message_bytes);
        if size > most {
            let text = format!("the answer has {size} bytes; a message may have at most {most}");
            return Err(Refusal::exhausted("message_bytes", &text).into());
        }
        let sent = self.sender.message(message).await;
        self.note_unsent(&sent);
        self.count_sent(sent? as u64);
        Ok(())
    }

    /// Send the response that ends the call.
    pub(crate) async fn answer(&mut self, message: &impl Message) -> Result<(), End> {
        self.send(message).await?;
        self.is_answered = true;
        Ok(())
    }

    /// Wait until the client accepts bytes, and return how many, at most `most`.
    pub(crate) async fn room(&mut self, most: usize) -> Result<usize, End> {
        let room = self.sender.room(most).await;
        self.note_unsent(&room);
        Ok(room?)
    }

    /// Send an encoded message with its prefix; `size` is the size of the message without the prefix.
    pub(crate) async fn send_bytes(&mut self, bytes: Bytes, size: usize) -> Result<(), End> {
        let sent = self.sender.all(bytes).await;
        self.note_unsent(&sent);
        sent?;
        self.count_sent(size as u64);
        Ok(())
    }

    fn note_unsent<T>(&self, sent: &Result<T, Unsent>) {
        if matches!(sent, Err(Unsent::Idle)) {
            let seconds = self.shared.settings.idle.as_secs_f64();
            self.warn(Code::DeadlineExceeded, &format!("the client took no message for {seconds} s"));
        }
    }

    pub(crate) fn count_sent(&mut self, bytes: u64) {
        self.bytes_out += bytes;
        self.shared.metrics.sent(self.method, bytes);
    }

    /// Call the store on a thread that may block.
    pub(crate) async fn store<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn Store) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let store = Arc::clone(&self.shared.store);
        self.shared.threads.run(move || call(&*store)).await
    }

    /// End the call: send the status to the client, count and log the outcome.
    pub(crate) fn end(mut self, ended: Result<(), End>) {
        let code = match ended {
            Ok(()) => {
                self.sender.end(None);
                Code::Ok
            }
            Err(_) if self.is_answered => Code::Ok,
            Err(End::Refused(refused)) => {
                self.log_refusal(&refused);
                self.sender.end(Some(&refused));
                refused.code
            }
            Err(End::Gone(code)) => {
                self.sender.reset(Reason::CANCEL);
                code
            }
        };
        self.leave(code);
    }

    fn leave(&self, code: Code) {
        let took = self.started.elapsed();
        self.shared.metrics.end(self.method, code, took);
        if self.shared.notes.logs_all() {
            let message = format!("{}: {}", self.name(), code.name());
            self.log(Level::Debug, code, message, Some((took, self.bytes_in, self.bytes_out)));
        }
    }

    pub(crate) fn log_refusal(&self, refused: &Refusal) {
        if let Some(limit) = refused.limit {
            self.shared.metrics.refused(self.method, limit);
        }
        let code = refused.code;
        if !code.is_normal() {
            let level = if code.is_fault() { Level::Error } else { Level::Warning };
            let text = refused.log.as_ref().filter(|_| code.is_fault()).unwrap_or(&refused.message);
            self.log(level, code, format!("{}: {}: {text}", self.name(), code.name()), None);
        }
    }

    fn warn(&self, code: Code, text: &str) {
        self.log(Level::Warning, code, format!("{}: {text}", self.name()), None);
    }

    fn log(&self, level: Level, code: Code, message: String, ended: Option<(Duration, u64, u64)>) {
        let (method, subject, code) = (self.method.name(), self.subject.clone(), code.name());
        self.shared.notes.add(Note::Log(Record { level, message, method, subject, code, ended }));
    }

    /// The call for messages: its method and its subject.
    fn name(&self) -> String {
        let name = self.method.short_name();
        if self.subject.is_empty() { name.to_owned() } else { format!("{name} {}", self.subject) }
    }
}

/// The end of a call whose requests broke off.
fn end_of(broken: &Broken) -> End {
    match broken {
        Broken::Gone(_) => End::Gone(Code::Cancelled),
        Broken::Cut => Refusal::malformed("the call ended within a request").into(),
        Broken::Compressed => {
            let text = "the request is compressed; the service takes no compressed messages";
            Refusal::new(Code::Unimplemented, text).into()
        }
        Broken::TooLarge(size, most) => too_large(*size, *most).into(),
    }
}

/// The error for a request that exceeds the limit of its size.
pub(crate) fn too_large(size: usize, most: usize) -> Refusal {
    Refusal::exhausted("message_bytes", &format!("the request has {size} bytes; it may have at most {most}"))
}

/// Decode a request.
pub(crate) fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, End> {
    M::decode(bytes).map_err(|error| Refusal::malformed(&format!("request: {error}")).into())
}

/// Parse the value of a `grpc-timeout` header: at most 8 digits and a unit.
fn deadline(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    let number: u64 = std::str::from_utf8(digits).ok().filter(|digits| digits.len() <= 8)?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}
