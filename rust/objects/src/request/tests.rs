//! A request notifies its owner once: at its outcome, at its cancellation, or at once if one of them came before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Ending, Request};
use crate::error::Kind;
use crate::operation::Outcome;

fn counting(count: &Arc<AtomicUsize>) -> super::Notify {
    let count = Arc::clone(count);
    Box::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    })
}

#[test]
fn the_owner_is_notified_once_and_takes_the_outcome_once() {
    let (request, count) = (Request::default(), Arc::default());
    request.when_ready(counting(&count));
    assert_eq!(0, count.load(Ordering::Relaxed));

    request.end(Ok(Outcome::Done));
    request.cancel();

    assert_eq!(1, count.load(Ordering::Relaxed));
    assert!(matches!(request.take(), Ok(Outcome::Done)));
    assert_eq!(Some(Kind::Cancelled), request.take().err().map(|error| error.kind));
}

#[test]
fn an_owner_that_comes_late_is_notified_at_once() {
    let (request, count) = (Request::default(), Arc::default());
    request.cancel();
    request.when_ready(counting(&count));

    assert_eq!(1, count.load(Ordering::Relaxed));
    assert_eq!(Some(Kind::Cancelled), request.take().err().map(|error| error.kind));
}

#[test]
fn a_task_that_ends_without_an_outcome_ends_the_request() {
    let (request, count) = (Arc::new(Request::default()), Arc::default());
    request.when_ready(counting(&count));
    drop(Ending(Arc::clone(&request)));

    assert_eq!(1, count.load(Ordering::Relaxed));
    assert_eq!(Some(Kind::Unreachable), request.take().err().map(|error| error.kind));
}
