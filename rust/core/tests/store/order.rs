//! Everything acknowledged was made durable first: the order of the system calls, step by step.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::error::{Error, Result};
use steelyard_core::model::Labels;
use steelyard_core::store::{Options, Store};
use steelyard_core::sys::Op;

use crate::common::{SHA256, Scratch, sha256};
use crate::recorder::{Event, Recorder, assert_durable, changes, recorder};

/// Open a store over a recorder, and forget what opening did.
fn open(scratch: &Scratch) -> (Arc<Store>, Arc<Recorder>) {
    let recorder = recorder();
    let store = scratch.open_with(recorder.clone()).unwrap();
    recorder.around.take();
    (store, recorder)
}

fn position(events: &[Event], op: Op, ends: &str) -> usize {
    let found = events.iter().position(|event| {
        event.op == op && (event.path.ends_with(ends) || event.to.as_ref().is_some_and(|to| to.ends_with(ends)))
    });
    found.unwrap_or_else(|| panic!("no {op:?} of {ends} in {events:#?}"))
}

/// Overwrite a blob's first byte behind the store's back.
fn damage(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_new_root_is_durable_up_to_its_parents() {
    let scratch = Scratch::new();
    let recorder = recorder();
    let path = scratch.path.join("some/where/store");

    let store = Store::open_with(&path, Options::default(), recorder.clone()).unwrap();

    let events = recorder.around.take();
    assert_durable(&events);
    let marked = position(&events, Op::LinkUnnamed, "steelyard.json");
    assert!(position(&events, Op::SyncDir, "where") < marked, "{events:#?}");
    drop(store);
}

#[test]
fn the_first_put_syncs_the_bytes_then_the_name_then_the_new_directory() {
    let scratch = Scratch::new();
    let (store, recorder) = open(&scratch);

    let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;

    let events = recorder.around.take();
    assert_durable(&events);
    let synced = position(&events, Op::SyncDir, "blobs");
    let linked = position(&events, Op::LinkUnnamed, &digest.encoded());
    assert!(position(&events, Op::Mkdir, "sha256") < synced && synced < linked, "{events:#?}");
    let mut later = events[linked..].iter().map(|event| event.op);
    assert!(!later.any(|op| matches!(op, Op::WriteAt | Op::SetMode | Op::SetMtime)), "{events:#?}");
}

#[test]
fn a_put_of_what_is_there_is_durable_even_if_its_writer_died() {
    let scratch = Scratch::new();
    let digest = scratch.open().put(b"hello", SHA256, None, None).unwrap().digest;
    let (store, recorder) = open(&scratch);

    let put = store.put(b"hello", SHA256, None, None).unwrap();

    let events = recorder.around.take();
    assert!(!put.new);
    assert!(position(&events, Op::SyncData, &digest.encoded()) < position(&events, Op::SyncDir, "sha256"));
}

#[test]
fn healing_keeps_a_durable_copy_before_it_replaces() {
    let scratch = Scratch::new();
    let digest = scratch.open().put(b"hello", SHA256, None, None).unwrap().digest;
    damage(&scratch.blob(&digest));
    let (store, recorder) = open(&scratch);

    let put = store.put(b"hello", SHA256, None, None).unwrap();

    let events = recorder.around.take();
    assert!(!put.new);
    assert_durable(&events);
    let kept = position(&events, Op::SyncDir, "quarantine/sha256");
    assert!(kept < position(&events, Op::Rename, &digest.encoded()), "{events:#?}");
    assert_eq!(fs::read(scratch.blob(&digest)).unwrap(), b"hello");
    let copy = scratch.root.join(format!("quarantine/sha256/{}.1", digest.encoded()));
    assert_eq!(fs::read(copy).unwrap(), b"iello");
}

#[test]
fn delete_and_quarantine_are_durable() {
    let scratch = Scratch::new();
    let (store, recorder) = open(&scratch);
    for quarantine in [false, true] {
        let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;
        recorder.around.take();

        if quarantine {
            store.volume().quarantine(&digest).unwrap();
        } else {
            store.volume().delete(&digest).unwrap();
        }

        assert_durable(&recorder.around.take());
    }
}

#[test]
fn many_blobs_are_deleted_with_one_sync_of_their_directory() {
    let scratch = Scratch::new();
    let (store, recorder) = open(&scratch);
    let texts: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let put = |text: &String| store.put(text.as_bytes(), SHA256, None, Some(&labels)).unwrap().digest;
    let digests: Vec<Digest> = texts.iter().map(put).collect();
    recorder.around.take();

    let results = store.volume().delete_many(None, &digests).unwrap();

    let events = recorder.around.take();
    assert!(results.iter().all(Result::is_ok));
    assert_durable(&events);
    assert_eq!(100, events.iter().filter(|event| event.op == Op::Unlink).count());
    // One more on a file system that needs the files to be kept open meanwhile.
    assert!(events.iter().filter(|event| event.op == Op::SyncDir).count() <= 2, "{events:#?}");
    assert!(digests.iter().all(|digest| store.volume().info(digest).is_err()));
}

#[test]
fn each_of_many_deleted_blobs_has_its_own_result() {
    let scratch = Scratch::new();
    let (store, _) = open(&scratch);
    let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;
    let other = store.put(b"other", Algorithm::Blake3, None, None).unwrap().digest;
    let absent = sha256(b"absent");

    let results = store.volume().delete_many(None, &[absent, digest, other, digest]).unwrap();

    assert_eq!([Err(Error::no_blob(absent)), Ok(()), Ok(()), Err(Error::no_blob(digest))], results[..]);
    assert_eq!(Vec::<Result<()>>::new(), store.volume().delete_many(None, &[]).unwrap());
    assert_eq!(store.stats().unwrap().blobs, 0);
}

#[test]
fn without_durability_the_same_is_done_but_nothing_is_synced() {
    let scratch = Scratch::new();
    let recorder = recorder();
    let options = Options { durable: false, ..Options::default() };

    let store = Store::open_with(&scratch.root, options, recorder.clone()).unwrap();
    let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;

    let events = recorder.around.take();
    assert!(events.iter().all(|event| !matches!(event.op, Op::SyncData | Op::SyncDir)));
    assert_eq!(digest, sha256(&fs::read(scratch.blob(&digest)).unwrap()));
}

#[test]
fn a_read_only_store_changes_and_locks_nothing() {
    let scratch = Scratch::new();
    let digest = scratch.open().put(b"hello", SHA256, None, None).unwrap().digest;
    let recorder = recorder();
    let options = Options { read_only: true, ..Options::default() };

    let store = Store::open_with(&scratch.root, options, recorder.clone()).unwrap();
    assert_eq!(store.volume().blob(&digest).unwrap().size(), 5);
    assert_eq!(store.stats().unwrap().blobs, 1);
    store.put(b"other", SHA256, None, None).unwrap_err();
    store.volume().delete(&digest).unwrap_err();

    let events = recorder.around.take();
    let changed: Vec<_> = events.iter().filter(|event| changes(event.op)).collect();
    assert!(changed.is_empty(), "{changed:#?}");
}
