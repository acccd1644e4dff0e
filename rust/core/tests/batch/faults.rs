//! Every system call of a batch fails once, and from then on; no item is acknowledged that is not stored.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use steelyard_core::error::{Error, Result};
use steelyard_core::model::Labels;
use steelyard_core::store::{BatchItem, Outcome, Store};
use steelyard_core::sys::{Fault, Faulty, Linux, Op};

use crate::common::{SHA256, Scratch, sha256};
use crate::support::{file, item, numbered, put_all, stored};

/// Too few for a `syncfs`, and enough for one.
const SIZES: [usize; 2] = [3, 10];

/// Put a batch of everything there is: stored before and not, labelled, twice, from a file.
fn put(scratch: &Scratch, store: &Arc<Store>, blobs: &[Vec<u8>]) -> Vec<Result<Outcome>> {
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let mut items: Vec<_> = blobs.iter().map(|blob| item(blob)).collect();
    items[1].labels = Some(&labels);
    items.push(BatchItem { labels: Some(&labels), ..item(&blobs[2]) });
    items.push(file(&scratch.path.join("source"), 100));
    store.put_batch(&items)
}

fn prepare(scratch: &Scratch, blobs: &[Vec<u8>]) {
    scratch.open().put(&blobs[0], SHA256, None, None).unwrap();
    fs::write(scratch.path.join("source"), b"from a file").unwrap();
}

fn assert_whole(scratch: &Scratch) {
    for name in fs::read_dir(scratch.root.join("blobs/sha256")).unwrap() {
        let path = name.unwrap().path();
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), sha256(&fs::read(&path).unwrap()).encoded());
        assert_eq!(0o444, fs::metadata(&path).unwrap().permissions().mode() & 0o7777);
    }
    assert_eq!(Vec::<String>::new(), scratch.tmp());
}

/// Let call `n` fail; return whether there was such a call.
fn fail_at(count: usize, n: u64, errno: i32, fault: fn(u64, i32) -> Fault) -> bool {
    let scratch = Scratch::in_memory();
    let blobs = numbered(0..count);
    prepare(&scratch, &blobs);
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    faulty.set(Some(fault(n, errno)));

    let results = put(&scratch, &store, &blobs);

    let hit = faulty.hits() > 0;
    faulty.set(None);
    assert_whole(&scratch);
    for result in &results {
        match result {
            Ok(Outcome::Stored(put)) => assert!(scratch.blob(&put.digest).is_file(), "call {n}: {put:?}"),
            Err(Error::Io { errno: found, path: Some(_), .. }) => assert_eq!(errno, *found),
            other => panic!("call {n}: {other:?}"),
        }
    }
    assert!(hit || results.iter().all(Result::is_ok));
    assert!(put(&scratch, &store, &blobs).iter().all(Result::is_ok));
    assert_eq!(count as u64 + 1, store.stats().unwrap().blobs);
    hit
}

fn sweep(fault: fn(u64, i32) -> Fault) {
    for errno in [libc::EIO, libc::ENOSPC, libc::EMFILE] {
        for count in SIZES {
            let calls = (1..1000).find(|n| !fail_at(count, *n, errno, fault)).unwrap();
            assert!(calls > 20, "only {calls} calls");
        }
    }
}

#[test]
fn a_batch_survives_every_call_that_fails_once() {
    sweep(Fault::Once);
}

#[test]
fn a_batch_survives_every_call_from_which_on_all_fail() {
    sweep(Fault::From);
}

#[test]
fn a_flush_that_fails_acknowledges_and_stores_nothing() {
    for fault in [Fault::First(Op::SyncFs, libc::EIO), Fault::Second(Op::SyncFs, libc::EIO)] {
        let scratch = Scratch::in_memory();
        let faulty = Faulty::over(Arc::new(Linux));
        let store = scratch.open_with(faulty.clone()).unwrap();
        faulty.set(Some(fault));

        let results = put_all(&store, &numbered(0..50));

        assert!(results.iter().all(|result| matches!(result, Err(Error::Io { errno: libc::EIO, .. }))), "{results:?}");
        let stored = if matches!(fault, Fault::First(..)) { 0 } else { 50 };
        assert_eq!(stored, store.stats().unwrap().blobs);
    }
}

#[test]
fn a_flush_that_fails_fails_all_its_entries() {
    let scratch = Scratch::in_memory();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    // Enough for two threads, whose files may meet in one round or not.
    let count = 200;
    faulty.set(Some(Fault::First(Op::SyncFs, libc::EIO)));

    let results = put_all(&store, &numbered(0..count));

    let failed = results.iter().filter(|result| result.is_err()).count();
    assert!([count / 2, count].contains(&failed), "{failed}");
    assert_eq!((count - failed) as u64, store.stats().unwrap().blobs);
}

#[test]
fn labels_that_cannot_be_written_fail_their_own_items() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let blobs = numbered(0..20);
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    fs::remove_file(scratch.root.join("meta.db")).unwrap();
    let given = |number: usize| number.is_multiple_of(4).then_some(&labels);

    let items = blobs.iter().enumerate().map(|(number, blob)| BatchItem { labels: given(number), ..item(blob) });
    let results = store.put_batch(&items.collect::<Vec<_>>());

    for (number, result) in results.iter().enumerate() {
        assert_eq!(number.is_multiple_of(4), matches!(result, Err(Error::DataCorrupt { .. })), "{number}: {result:?}");
    }
    assert_eq!(15, store.stats().unwrap().blobs);
}

#[test]
fn a_batch_waits_for_its_own_descriptors_when_there_are_no_more() {
    let scratch = Scratch::in_memory();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    faulty.set(Some(Fault::Second(Op::CreateUnnamed, libc::EMFILE)));

    let results = put_all(&store, &numbered(0..50));

    assert_eq!(1, faulty.hits());
    assert!(results.iter().all(|result| stored(result).new));
}
