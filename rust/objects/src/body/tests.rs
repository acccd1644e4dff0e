//! The bytes, ends and failures that the reader of a body gets, without a server. `tests/objects/test_streams.py` tests the requests.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Builder;

use super::*;

/// A body of `size` bytes, and the part of it that its task uses.
fn body(size: u64) -> (Body, Arc<Shared>) {
    let body = Body::new("key".to_owned(), 0..size, None);
    let shared = body.shared();
    (body, shared)
}

/// A request, and the number of notifications of its owner.
fn request() -> (Arc<Request>, Arc<AtomicUsize>) {
    let (request, count) = (Arc::new(Request::default()), Arc::new(AtomicUsize::new(0)));
    let notified = Arc::clone(&count);
    request.when_ready(Box::new(move || {
        notified.fetch_add(1, Ordering::Relaxed);
    }));
    (request, count)
}

fn bytes(size: usize) -> Bytes {
    Bytes::from((0..size).map(|byte| (byte % 251).to_le_bytes()[0]).collect::<Vec<_>>())
}

/// The bytes that were taken; None if the reader must wait.
fn taken(body: &Body, most: usize) -> Option<Vec<u8>> {
    body.take(most).map(|pieces| pieces.concat())
}

#[test]
fn a_reader_gets_at_most_what_it_asks_for_in_order() {
    let (body, shared) = body(700);
    let data = bytes(700);
    for piece in [data.slice(..300), data.slice(300..)] {
        shared.add(piece);
    }
    assert_eq!(Some(data[..100].to_vec()), taken(&body, 100));
    assert_eq!(Some(data[100..500].to_vec()), taken(&body, 400));
    assert_eq!(Some(data[500..].to_vec()), taken(&body, 1000));
    assert_eq!(None, taken(&body, 1000));
    shared.state().is_whole = true;
    assert_eq!(Some(Vec::new()), taken(&body, 1000));
}

#[test]
fn an_empty_body_ends_without_a_request() {
    let (body, shared) = body(0);
    assert_eq!(Some(Vec::new()), taken(&body, 10));
    let (request, notified) = request();
    assert!(!shared.wait(&request));
    assert_eq!(1, notified.load(Ordering::Relaxed));
}

#[test]
fn one_task_is_started_and_a_piece_notifies_the_reader_once() {
    let (_body, shared) = body(10 << 20);
    let (first, notified) = request();
    assert!(shared.wait(&first), "a task has to be started");
    shared.add(bytes(WAKE_BYTES - 1));
    assert_eq!(0, notified.load(Ordering::Relaxed), "too few bytes notify no reader");
    shared.add(bytes(1));
    shared.add(bytes(WAKE_BYTES));
    assert_eq!(1, notified.load(Ordering::Relaxed));
    assert!(matches!(first.take(), Ok(Outcome::Done)));

    let (second, notified) = request();
    assert!(!shared.wait(&second), "there is a task, and something to take");
    assert_eq!(1, notified.load(Ordering::Relaxed));
}

#[test]
fn a_failure_comes_after_what_was_received_and_once() {
    let (body, shared) = body(1000);
    let (first, _) = request();
    assert!(shared.wait(&first));
    shared.add(bytes(10));
    shared.stop(Some(Error::new(Kind::Unreachable, "broken")));
    assert!(matches!(first.take(), Ok(Outcome::Done)));
    assert_eq!(Some(10), taken(&body, 1000).map(|bytes| bytes.len()));

    let (second, _) = request();
    assert!(!shared.wait(&second));
    assert!(matches!(second.take(), Err(error) if error.kind == Kind::Unreachable));

    let (third, notified) = request();
    assert!(shared.wait(&third), "a new task asks for the rest");
    shared.stop(Some(Error::new(Kind::Unreachable, "broken again")));
    assert!(matches!(third.take(), Err(error) if error.kind == Kind::Unreachable));
    assert_eq!(1, notified.load(Ordering::Relaxed));
}

#[test]
fn a_closed_body_ends_its_reader_and_takes_no_more() {
    let (body, shared) = body(1000);
    let (waiting, notified) = request();
    assert!(shared.wait(&waiting));
    body.close();
    assert_eq!(1, notified.load(Ordering::Relaxed));
    assert!(matches!(waiting.take(), Err(error) if error.kind == Kind::Cancelled));
    assert_eq!((0, 0), shared.add(bytes(10)));

    let (late, _) = request();
    assert!(!shared.wait(&late));
    assert!(matches!(late.take(), Err(error) if error.kind == Kind::Cancelled));
}

#[test]
fn a_task_that_panics_leaves_no_reader_waiting() {
    let (_body, shared) = body(1000);
    let (waiting, _) = request();
    assert!(shared.wait(&waiting));
    drop(Stopped(Arc::clone(&shared)));
    assert!(waiting.take().is_err());
    assert!(!shared.state().is_receiving);
}

#[test]
fn a_task_waits_for_room_and_a_reader_makes_it() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (body, shared) = body(100 << 20);
        let limits = Limits::new();
        shared.add(bytes(READ_AHEAD_BYTES));
        let waits = shared.has_room(&limits);
        tokio::pin!(waits);
        assert!(timeout(Duration::from_millis(20), &mut waits).await.is_err());
        assert_eq!(Some(READ_AHEAD_BYTES / 2), taken(&body, READ_AHEAD_BYTES / 2).map(|bytes| bytes.len()));
        assert!(timeout(LOOK / 2, &mut waits).await.unwrap());
    });
}
