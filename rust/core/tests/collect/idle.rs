//! The cost of a collection for writers while none is under way: no system call more for a new blob.

use std::io;
use std::sync::{Arc, Mutex};

use steelyard_core::store::{BatchItem, Source, Store};
use steelyard_core::sys::{Around, Call, Layer, Linux, Op};

use crate::common::{SHA256, Scratch};
use crate::support::{NOW, collect, labels, put};

/// Writes down the calls.
#[derive(Default)]
struct Recorded(Mutex<Vec<Op>>);

impl Around for Recorded {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.0.lock().unwrap().push(call.op);
        run()
    }
}

/// A name and a piece of work.
type Work = (&'static str, fn(&Store));

const WORKS: [Work; 4] = [
    ("put", |store| {
        put(store, "put");
    }),
    ("put with labels", |store| {
        store.put(b"labelled", SHA256, None, Some(&labels(&[("a", "b")]))).unwrap();
    }),
    ("batch", |store| {
        let items = [b"one", b"two", b"six"].map(|data| BatchItem {
            source: Source::Bytes(data),
            algorithm: SHA256,
            expected: None,
            size: None,
            labels: None,
        });
        assert!(store.put_batch(&items).iter().all(Result::is_ok));
    }),
    ("commit", |store| {
        let ingest = store.ingests().open("ref", None, None, None).unwrap();
        ingest.write(b"committed").unwrap();
        ingest.commit(None, None, None).unwrap();
    }),
];

#[test]
fn a_new_blob_costs_no_call_more_after_a_collection() {
    let scratch = [false, true].map(|is_collected| (Scratch::in_memory(), is_collected));
    let calls = scratch.each_ref().map(|(scratch, is_collected)| {
        let sys = Arc::new(Layer::new(Arc::new(Linux), Recorded::default()));
        let store = scratch.open_with(Arc::clone(&sys) as _).unwrap();
        put(&store, "first");
        if *is_collected {
            collect(&store, NOW).unwrap();
        }
        put(&store, "second");
        WORKS.map(|(name, work)| {
            sys.around.0.lock().unwrap().clear();
            work(&store);
            let mut calls = std::mem::take(&mut *sys.around.0.lock().unwrap());
            // A time is set only if the kernel's clock, which lags by up to a tick, gave an earlier one.
            calls.retain(|op| *op != Op::SetMtime);
            // The flusher of an ingest works beside the caller.
            calls.sort_by_key(|op| format!("{op:?}"));
            (name, calls)
        })
    });
    let [before, after] = &calls;
    assert_eq!(before, after);
}
