//! Events come after their changes are durable.

use std::io;
use std::sync::{Arc, Mutex};

use steelyard_core::filter::Filter;
use steelyard_core::model::{EventKind, Labels};
use steelyard_core::store::{Options, Store};
use steelyard_core::sys::{Around, Call, Layer, Linux, Op};
use steelyard_core::volume::events::{Item, Subscription};

use crate::common::{SHA256, Scratch};

const HOUR_NS: i64 = 3_600_000_000_000;

/// Counts the events that a subscriber has before each sync of a directory, and makes a sync fail.
#[derive(Default)]
struct Syncs {
    subscription: Mutex<Option<Subscription>>,
    early: Mutex<Vec<usize>>,
    fails: Mutex<bool>,
    calls: Mutex<Vec<Op>>,
}

impl Syncs {
    fn taken(&self) -> Vec<EventKind> {
        let subscription = self.subscription.lock().unwrap();
        let items = subscription.as_ref().and_then(|subscription| subscription.take(usize::MAX)).unwrap_or_default();
        let kind = |item| match item {
            Item::Event(event) => event.kind,
            Item::Missed(count) => panic!("{count} missed"),
        };
        items.into_iter().map(kind).collect()
    }
}

impl Around for Syncs {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.calls.lock().unwrap().push(call.op);
        if call.op == Op::SyncDir {
            let count = self.taken().len();
            self.early.lock().unwrap().push(count);
            if *self.fails.lock().unwrap() {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
        }
        run()
    }
}

fn open(scratch: &Scratch) -> (Arc<Store>, Arc<Layer<Syncs>>) {
    let layer = Arc::new(Layer::new(Arc::new(Linux), Syncs::default()));
    let store = Store::open_with(&scratch.root, Options::default(), layer.clone()).unwrap();
    let everything = Filter::compile::<&str>(&[]).unwrap();
    *layer.around.subscription.lock().unwrap() = Some(store.volume().events().subscribe(everything, 100));
    layer.around.early.lock().unwrap().clear();
    (store, layer)
}

#[test]
fn an_event_comes_after_the_sync_that_makes_its_change_durable() {
    let scratch = Scratch::new();
    let (store, layer) = open(&scratch);

    let digest = store.put(b"data", SHA256, None, None).unwrap().digest;
    assert_eq!(layer.around.taken(), [EventKind::Created]);
    store.volume().delete(&digest).unwrap();
    assert_eq!(layer.around.taken(), [EventKind::Deleted]);

    let early = layer.around.early.lock().unwrap();
    assert!(early.len() >= 2);
    assert!(early.iter().all(|count| *count == 0), "{early:?}");
}

#[test]
fn a_change_that_is_not_durable_has_no_event() {
    let scratch = Scratch::new();
    let (store, layer) = open(&scratch);
    store.put(b"first", SHA256, None, None).unwrap();
    assert_eq!(layer.around.taken(), [EventKind::Created]);
    *layer.around.fails.lock().unwrap() = true;

    store.put(b"data", SHA256, None, None).unwrap_err();
    assert_eq!(layer.around.taken(), []);
    *layer.around.fails.lock().unwrap() = false;
    store.volume().delete(&crate::common::sha256(b"data")).unwrap();

    // The report of the failed put does not hold this one back.
    assert_eq!(layer.around.taken(), [EventKind::Deleted]);
}

#[test]
fn a_subscriber_costs_no_system_call() {
    let calls = |is_subscribed: bool| {
        let scratch = Scratch::new();
        let (store, layer) = open(&scratch);
        if !is_subscribed {
            layer.around.subscription.lock().unwrap().take();
        }
        layer.around.calls.lock().unwrap().clear();
        let digest = store.put(b"data", SHA256, None, None).unwrap().digest;
        store.put(b"data", SHA256, None, None).unwrap();
        let ingest = store.ingests().open("ref", None, None, None).unwrap();
        ingest.write(b"other").unwrap();
        ingest.commit(None, None, None).unwrap();
        let labels = Labels::from([("key".to_owned(), "value".to_owned())]);
        store.volume().update(&digest, &labels, None).unwrap();
        store.volume().create_lease("lease", &Labels::new(), HOUR_NS).unwrap();
        store.volume().delete_lease("lease").unwrap();
        store.volume().delete(&digest).unwrap();
        let mut calls = std::mem::take(&mut *layer.around.calls.lock().unwrap());
        // A publication sets the time of a file only if the kernel's coarse clock is behind ours.
        calls.retain(|call| *call != Op::SetMtime);
        // The flusher of an ingest works beside the caller.
        calls.sort_by_key(|call| format!("{call:?}"));
        let events = layer.around.taken().len() + layer.around.early.lock().unwrap().iter().sum::<usize>();
        (calls, events)
    };

    let (without, none) = calls(false);
    let (with, some) = calls(true);

    assert_eq!((0, 6), (none, some));
    assert_eq!(without, with);
}
