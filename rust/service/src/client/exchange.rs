//! A call on the connection: requests are sent while answers are received. Spec: gRPC's `PROTOCOL-HTTP2.md`.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::header::{CONTENT_TYPE, HeaderValue, TE, USER_AGENT};
use http::{Method as HttpMethod, Request, StatusCode, Version};
use tokio::time::sleep;

use crate::client::call::{Call, Ending};
use crate::client::link::Links;
use crate::client::outcome::Outcome;
use crate::grpc::code::Code;
use crate::grpc::receive::{Broken, Receiver};
use crate::grpc::send::{WAITING_MESSAGE_BYTES, is_grpc, prefix_len, put_prefix};

/// The most bytes of an answer; containerd's own limit.
const MESSAGE_LIMIT: usize = 16 << 20;

/// How often a call is attempted if the server reports that it has not processed it.
const ATTEMPTS: usize = 3;

/// The bound of the number in a timeout: it has at most eight digits.
const DIGITS: u128 = 100_000_000;

/// Why a call has no status from the server.
struct Lost {
    outcome: Outcome,
    /// The server has not processed the call, so it can be repeated.
    is_unseen: bool,
}

/// Make a call, and set its outcome.
pub(super) async fn exchange(links: Arc<Links>, call: Arc<Call>) {
    let _ending = Ending(Arc::clone(&call));
    let outcome = tokio::select! {
        biased;
        // `cancel` has set the outcome.
        () = call.until_cancelled() => return,
        outcome = make(&links, &call) => outcome,
        () = time(call.timeout) => Outcome::new(Code::DeadlineExceeded, "no answer in time"),
    };
    call.end(outcome);
}

async fn time(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => sleep(timeout).await,
        None => pending().await,
    }
}

async fn make(links: &Links, call: &Call) -> Outcome {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let link = match links.ready().await {
            Ok(link) => link,
            Err(error) => return Outcome::unavailable(format_args!("cannot connect: {error}")),
        };
        match converse(link, call).await {
            Ok(outcome) => return outcome,
            Err(lost) if lost.is_unseen && attempt < ATTEMPTS && call.rewind() => {}
            Err(lost) => return lost.outcome,
        }
    }
}

async fn converse(mut link: SendRequest<Bytes>, call: &Call) -> Result<Outcome, Lost> {
    let (response, stream) = link.send_request(request(call), false).map_err(|error| lost(&error))?;
    let mut receiving = pin!(receive(call, response));
    let mut sending = pin!(send(call, stream));
    let mut is_sending = true;
    loop {
        tokio::select! {
            biased;
            outcome = &mut receiving => return outcome,
            // If sending has failed, receiving finds the reason.
            () = &mut sending, if is_sending => is_sending = false,
        }
    }
}

fn request(call: &Call) -> Request<()> {
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_2;
    *request.method_mut() = HttpMethod::POST;
    *request.uri_mut() = call.method.uri();
    let headers = request.headers_mut();
    headers.clone_from(&call.headers);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("steelyard/", env!("CARGO_PKG_VERSION"))));
    if let Some(timeout) = call.timeout.and_then(|timeout| HeaderValue::try_from(written(timeout)).ok()) {
        headers.insert("grpc-timeout", timeout);
    }
    request
}

/// Format a timeout for the wire: digits and a unit.
fn written(timeout: Duration) -> String {
    let millis = timeout.as_millis();
    if millis < DIGITS { format!("{millis}m") } else { format!("{}S", u128::from(timeout.as_secs()).min(DIGITS - 1)) }
}

/// Send the requests, as fast as the caller provides them and the server accepts them.
async fn send(call: &Call, mut stream: SendStream<Bytes>) {
    while let Some((request, is_last)) = call.next_request().await {
        let size = request.iter().map(Bytes::len).sum();
        let mut pieces = request.into_iter();
        let head = pieces.next().unwrap_or_default();
        let mut begin = BytesMut::with_capacity(prefix_len() + head.len());
        put_prefix(&mut begin, size);
        begin.extend_from_slice(&head);
        let mut left = prefix_len() + size;
        for piece in std::iter::once(begin.freeze()).chain(pieces) {
            left -= piece.len();
            if send_piece(&mut stream, piece, is_last && left == 0).await.is_none() {
                return;
            }
        }
        if is_last {
            return;
        }
    }
    drop(stream.send_data(Bytes::new(), true));
}

/// Send some bytes. Returns `None` if the server accepts no more.
async fn send_piece(stream: &mut SendStream<Bytes>, mut piece: Bytes, is_last: bool) -> Option<()> {
    while piece.len() > WAITING_MESSAGE_BYTES {
        stream.reserve_capacity(piece.len());
        while stream.capacity() == 0 {
            poll_fn(|context| stream.poll_capacity(context)).await?.ok()?;
        }
        let part = piece.split_to(stream.capacity().min(piece.len()));
        let is_end = is_last && piece.is_empty();
        stream.send_data(part, is_end).ok()?;
        if is_end {
            return Some(());
        }
    }
    if piece.is_empty() && !is_last { Some(()) } else { stream.send_data(piece, is_last).ok() }
}

/// Receive the answers, as fast as the caller takes them.
async fn receive(call: &Call, response: ResponseFuture) -> Result<Outcome, Lost> {
    let response = response.await.map_err(|error| lost(&error))?;
    if response.status() != StatusCode::OK {
        return Ok(Outcome::of_http(response.status()));
    }
    if !response.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Ok(Outcome::new(Code::Unknown, "the server does not speak gRPC: another content type"));
    }
    if let Some(outcome) = Outcome::of_trailers(response.headers()) {
        return Ok(whole(outcome, call, 0));
    }
    let mut receiver = Receiver::new(response.into_body(), MESSAGE_LIMIT);
    let mut messages = 0;
    loop {
        // A call with one message has no limit here: its caller may wait for the end before it takes any of the answers.
        if !call.method.is_answered_once {
            call.room().await;
        }
        match receiver.message().await {
            Ok(Some(_)) if call.method.is_answered_once && messages == 1 => {
                return Ok(Outcome::new(Code::Internal, "answer: several messages, expected one"));
            }
            Ok(Some(message)) => match call.method.decode(message) {
                Ok(answers) => {
                    messages += 1;
                    call.push(answers);
                }
                Err(error) => return Ok(Outcome::new(Code::Internal, format!("answer: not a message: {error}"))),
            },
            Ok(None) => break,
            Err(broken) => return Ok(of_broken(&broken)),
        }
    }
    let trailers = receiver.trailers().await;
    let outcome = trailers.as_ref().and_then(Outcome::of_trailers);
    let outcome = outcome.unwrap_or_else(|| Outcome::new(Code::Unknown, "the server ended the call without a status"));
    Ok(whole(outcome, call, messages))
}

/// Check the outcome of a call that received `messages` messages: a successful call with one answer must have it.
fn whole(outcome: Outcome, call: &Call, messages: usize) -> Outcome {
    if outcome.code == Code::Ok && call.method.is_answered_once && messages == 0 {
        return Outcome::new(Code::Internal, "answer: no message, expected one");
    }
    outcome
}

fn of_broken(broken: &Broken) -> Outcome {
    match broken {
        Broken::Gone(reason) => Outcome::of_reset(*reason),
        Broken::Cut => Outcome::new(Code::Internal, "the server ended the call within an answer"),
        Broken::Compressed => Outcome::new(Code::Unimplemented, "answer: compressed, which was not agreed on"),
        Broken::TooLarge(size, most) => {
            let text = format!("answer: {size} bytes, expected at most {most}");
            Outcome::new(Code::ResourceExhausted, text)
        }
    }
}

fn lost(error: &h2::Error) -> Lost {
    // Only calls that the server has not begun fail with a GOAWAY. The others end with the connection.
    let is_unseen = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
    let outcome = if error.is_go_away() {
        Outcome::unavailable("the server ends the connection")
    } else {
        Outcome::of_reset(error.reason())
    };
    Lost { outcome, is_unseen }
}
