use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Events, Item, Report, Subscription};
use crate::digest::{Algorithm, Digest};
use crate::filter::Filter;
use crate::model::{Event, EventKind, Removal};

fn digest(number: u8) -> Digest {
    Digest::parse(&format!("{}:{}", Algorithm::ALL[0].name(), format!("{number:02x}").repeat(32))).expect("a digest")
}

fn source() -> (Arc<Events>, Subscription) {
    let events = Arc::<Events>::default();
    let subscription = events.subscribe(Filter::compile::<&str>(&[]).expect("no filter"), 100);
    (events, subscription)
}

fn created(events: &Arc<Events>, number: u8) -> Arc<Report> {
    let event = || Event { digest: Some(digest(number)), ..Event::new(EventKind::Created, 0) };
    events.begin(event).expect("there is a subscriber")
}

fn deleted(events: &Arc<Events>, number: u8) -> Arc<Report> {
    events.begin(|| Event::deleted(&digest(number), Removal::Deleted, 0)).expect("there is a subscriber")
}

fn taken(subscription: &Subscription) -> Vec<(EventKind, Option<Digest>)> {
    let items = subscription.take(usize::MAX).expect("it has not ended").into_iter();
    let event = |item| match item {
        Item::Event(event) => (event.kind, event.digest),
        Item::Missed(count) => panic!("{count} missed"),
    };
    items.map(event).collect()
}

#[test]
fn a_change_that_is_done_waits_for_earlier_ones_of_its_blob_only() {
    let (events, subscription) = source();
    let (first, second, other) = (created(&events, 1), deleted(&events, 1), created(&events, 2));

    second.done();
    assert_eq!(taken(&subscription), []);
    other.done();
    assert_eq!(taken(&subscription), [(EventKind::Created, Some(digest(2)))]);
    first.done();
    first.done();

    assert_eq!(taken(&subscription), [(EventKind::Created, Some(digest(1))), (EventKind::Deleted, Some(digest(1)))]);
}

#[test]
fn a_change_that_fails_has_no_event_and_frees_later_ones() {
    let (events, subscription) = source();
    let (first, second) = (created(&events, 1), deleted(&events, 1));

    second.done();
    drop(first);

    assert_eq!(taken(&subscription), [(EventKind::Deleted, Some(digest(1)))]);
    assert!(events.state().reports.is_empty());
}

#[test]
fn nothing_begins_without_a_subscriber() {
    let (events, subscription) = source();
    let begun = created(&events, 1);
    drop(subscription);
    begun.done();

    assert!(events.begin(|| panic!("no event is made")).is_none());
    assert!(events.state().queues.is_empty());
    assert!(events.state().reports.is_empty());
}

#[test]
fn a_full_buffer_counts_what_it_misses_in_its_place() {
    let events = Arc::<Events>::default();
    let subscription = events.subscribe(Filter::compile::<&str>(&[]).expect("no filter"), 2);
    for number in 0..5 {
        created(&events, number).done();
    }
    let first = subscription.take(1).expect("it has not ended");
    assert!(matches!(&first[..], [Item::Event(_)]));
    for number in 0..2 {
        created(&events, number).done();
    }
    let rest = subscription.take(usize::MAX).expect("it has not ended");
    assert!(matches!(&rest[..], [Item::Event(_), Item::Missed(5)]), "{rest:?}");
    created(&events, 9).done();

    assert_eq!(taken(&subscription), [(EventKind::Created, Some(digest(9)))]);
}

#[test]
fn a_wait_is_notified_once_by_an_event_by_a_wake_and_by_the_end() {
    let (events, subscription) = source();
    let count = Arc::<AtomicUsize>::default();
    let wait = || {
        let count = Arc::clone(&count);
        subscription.when_ready(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
    };
    wait();
    assert_eq!(count.load(Ordering::SeqCst), 0);
    created(&events, 1).done();
    created(&events, 2).done();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    wait();
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert_eq!(taken(&subscription).len(), 2);
    wait();
    subscription.wake();
    assert_eq!(count.load(Ordering::SeqCst), 3);
    wait();
    subscription.end();
    assert_eq!(count.load(Ordering::SeqCst), 4);
    wait();
    assert_eq!(count.load(Ordering::SeqCst), 5);
    assert!(subscription.take(1).is_none());
}
