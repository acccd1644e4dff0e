//! A batch makes durable first what it acknowledges, with few syncs.

use std::sync::Arc;

use steelyard_core::model::Labels;
use steelyard_core::store::{BatchItem, Options, Store};
use steelyard_core::sys::{Fault, Faulty, Linux, Op};

use crate::common::{SHA256, Scratch};
use crate::recorder::{Event, Record, Recorder, assert_durable, recorder};
use crate::support::{item, numbered, put_all, stored};

/// Open a store over a recorder, and forget what opening did.
fn open(scratch: &Scratch) -> (Arc<Store>, Arc<Recorder>) {
    let recorder = recorder();
    let store = scratch.open_with(recorder.clone()).unwrap();
    store.put(b"makes the directory", SHA256, None, None).unwrap();
    recorder.around.take();
    (store, recorder)
}

fn count(events: &[Event], op: Op) -> usize {
    events.iter().filter(|event| event.op == op).count()
}

#[test]
fn all_bytes_are_flushed_then_all_are_named_then_the_names_are_synced() {
    let scratch = Scratch::new();
    let (store, recorder) = open(&scratch);

    let results = put_all(&store, &numbered(0..50));

    assert!(results.iter().all(|result| stored(result).new));
    let events = recorder.around.take();
    assert_durable(&events);
    assert_eq!((2, 0, 0), (count(&events, Op::SyncFs), count(&events, Op::SyncData), count(&events, Op::SyncDir)));
    let syncs: Vec<_> = (0..events.len()).filter(|index| events[*index].op == Op::SyncFs).collect();
    let between = |event: &&Event| event.op == Op::LinkUnnamed;
    assert_eq!(50, events[syncs[0]..syncs[1]].iter().filter(between).count());
    assert!(!events[syncs[0]..].iter().any(|event| matches!(event.op, Op::WriteAt | Op::Truncate)), "{events:#?}");
}

#[test]
fn a_small_batch_syncs_its_own_files_and_the_directory_once() {
    let scratch = Scratch::new();
    let (store, recorder) = open(&scratch);

    let results = put_all(&store, &numbered(0..5));

    assert!(results.iter().all(|result| stored(result).new));

    let events = recorder.around.take();
    assert_durable(&events);
    assert_eq!((0, 5, 1), (count(&events, Op::SyncFs), count(&events, Op::SyncData), count(&events, Op::SyncDir)));
}

#[test]
fn large_files_are_flushed_before_they_join_a_round() {
    let scratch = Scratch::new();
    let (store, recorder) = open(&scratch);
    let blobs: Vec<_> = (0..3_u8).map(|number| vec![number; 5 << 20]).collect();

    let results = put_all(&store, &blobs);

    assert!(results.iter().all(|result| stored(result).new));
    let events = recorder.around.take();
    assert_durable(&events);
    assert_eq!((0, 3, 1), (count(&events, Op::SyncFs), count(&events, Op::SyncData), count(&events, Op::SyncDir)));
}

#[test]
fn a_batch_costs_a_lock_for_all_and_few_calls_for_each() {
    let scratch = Scratch::new();
    let (store, recorder) = open(&scratch);

    put_all(&store, &numbered(0..60));

    let events = recorder.around.take();
    assert_eq!(1, count(&events, Op::Lock));
    for op in [Op::CreateUnnamed, Op::WriteAt, Op::Stat, Op::LinkUnnamed] {
        assert_eq!(60, count(&events, op), "{op:?}");
    }
    // The record has no calls that fail, like the look for a name that is free.
    assert!(events.len() < 60 * 4 + 10, "{}", events.len());
}

#[test]
fn what_others_left_undurable_is_made_durable_with_the_rest() {
    let scratch = Scratch::new();
    let blobs = numbered(0..50);
    put_all(&scratch.open(), &blobs[..25]);
    let (store, recorder) = open(&scratch);

    let new = put_all(&store, &blobs).iter().filter(|result| stored(result).new).count();

    assert_eq!(25, new);
    let events = recorder.around.take();
    assert_durable(&events);
    assert_eq!((2, 0, 0), (count(&events, Op::SyncFs), count(&events, Op::SyncData), count(&events, Op::SyncDir)));
}

#[test]
fn a_link_is_synced_with_its_file_where_the_directory_does_not_do_it() {
    for count in [1, 5, 50] {
        let scratch = Scratch::new();
        let faulty = Faulty::over(Arc::new(Linux));
        let recorder = Arc::new(Recorder::new(faulty.clone(), Record::default()));
        let store = scratch.open_with(recorder.clone()).unwrap();
        // It cannot tell, so that the worst is assumed.
        faulty.set(Some(Fault::Every(Op::Naming, libc::EIO)));

        assert!(put_all(&store, &numbered(0..count)).iter().all(Result::is_ok));

        let events = recorder.around.take();
        let linked: Vec<_> = (0..events.len()).filter(|index| events[*index].op == Op::LinkUnnamed).collect();
        assert!(linked.len() >= count);
        for index in linked {
            let settles = |event: &Event| match event.op {
                Op::SyncFs => true,
                Op::SyncFile => event.inode == events[index].inode,
                _ => false,
            };
            assert!(events[index..].iter().any(settles), "{:?} in {events:#?}", events[index]);
        }
    }
}

#[test]
fn an_update_does_not_outlive_the_name_that_it_is_about() {
    let scratch = Scratch::new();
    let digest = scratch.open().put(b"hello", SHA256, None, None).unwrap().digest;
    let recorder = recorder();
    let store = scratch.open_with(recorder.clone()).unwrap();
    recorder.around.take();

    store.volume().update(&digest, &Labels::from([("a".to_owned(), "b".to_owned())]), None).unwrap();

    // The process that gave it may not have come to its sync yet.
    let events = recorder.around.take();
    assert!(events.iter().any(|event| event.op == Op::SyncDir && event.path.ends_with("blobs/sha256")), "{events:#?}");
}

#[test]
fn without_durability_the_same_is_done_but_nothing_is_synced() {
    let scratch = Scratch::new();
    let recorder = recorder();
    let options = Options { durable: false, ..Options::default() };
    let store = Store::open_with(&scratch.root, options, recorder.clone()).unwrap();
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let blobs = numbered(0..50);
    let items: Vec<_> = blobs.iter().map(|blob| BatchItem { labels: Some(&labels), ..item(blob) }).collect();

    let results = store.put_batch(&items);

    assert!(results.iter().all(|result| stored(result).new));
    let events = recorder.around.take();
    assert!(!events.iter().any(|event| matches!(event.op, Op::SyncData | Op::SyncDir | Op::SyncFs)), "{events:#?}");
}
