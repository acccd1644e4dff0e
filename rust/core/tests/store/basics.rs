//! Blobs in and out of a store on a real file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::Error;
use steelyard_core::model::Labels;
use steelyard_core::store::{Options, Stats, Store};

use crate::common::{SHA256, Scratch, sha256};

fn mode(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_blob_is_stored_once_and_read_back() {
    let scratch = Scratch::new();
    let store = scratch.open();

    let first = store.put(b"hello", SHA256, None, None).unwrap();
    let second = store.put(b"hello", SHA256, None, None).unwrap();

    assert_eq!((first.new, second.new), (true, false));
    assert_eq!(first.digest, sha256(b"hello"));
    let blob = store.volume().blob(&first.digest).unwrap();
    let mut bytes = [0; 5];
    blob.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn a_root_is_made_with_its_directories_and_exact_modes() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let put = store.put(b"hello", SHA256, None, None).unwrap();

    assert_eq!(mode(&scratch.root), 0o700);
    assert_eq!(mode(&scratch.root.join("blobs")), 0o755);
    assert_eq!(mode(&scratch.root.join("blobs/sha256")), 0o755);
    assert_eq!(mode(&scratch.root.join("ingest")), 0o700);
    assert_eq!(mode(&scratch.root.join("lock")), 0o600);
    assert_eq!(mode(&scratch.blob(&put.digest)), 0o444);
    let marker = fs::read_to_string(scratch.root.join("steelyard.json")).unwrap();
    assert_eq!(marker, "{\"format\": 1}\n");
}

#[test]
fn a_deleted_blob_is_not_found() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;

    store.volume().delete(&digest).unwrap();

    let missing = Err(Error::no_blob(digest));
    assert_eq!(store.volume().delete(&digest), missing);
    assert_eq!(store.volume().blob(&digest).map(|_| ()), missing);
}

#[test]
fn a_closed_store_refuses_every_call() {
    let scratch = Scratch::new();
    let store = scratch.open();

    store.close();

    let refused = store.put(b"hello", SHA256, None, None);
    assert_eq!(refused, Err(Error::store_closed(scratch.root.display())));
}

#[test]
fn the_path_of_a_root_may_be_relative_but_not_empty() {
    let refused = Store::open(std::path::Path::new(""), Options::default());

    assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
}

#[test]
fn a_closed_store_holds_no_lock() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let ingest = store.ingests().open("layer", None, None, None).unwrap();
    ingest.write(b"hello").unwrap();

    store.close();

    let refused = ingest.commit(None, None, None).map(drop);
    assert!(matches!(refused, Err(Error::StoreClosed { .. })), "{refused:?}");
    let other = scratch.open();
    other.volume().rebuild().unwrap();
    assert_eq!(5, other.ingests().status("layer").unwrap().offset);
}

#[test]
fn labels_are_there_as_soon_as_the_blob_and_stay_when_it_is_healed() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let digest = store.put(b"hello", SHA256, None, Some(&labels)).unwrap().digest;
    let before = store.volume().info(&digest).unwrap();
    fs::set_permissions(scratch.blob(&digest), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(scratch.blob(&digest), "damaged").unwrap();

    store.put(b"hello", SHA256, None, None).unwrap();

    assert_eq!(labels, *before.labels);
    assert_eq!(before, store.volume().info(&digest).unwrap());
}

#[test]
fn a_put_after_a_delete_has_none_of_the_old_labels() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let digest = store.put(b"hello", SHA256, None, Some(&labels)).unwrap().digest;
    store.volume().delete(&digest).unwrap();

    store.put(b"hello", SHA256, None, None).unwrap();

    assert_eq!(Labels::new(), *store.volume().info(&digest).unwrap().labels);
}

#[test]
fn a_label_that_is_too_long_is_refused_before_anything_is_stored() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let labels = Labels::from([("key".to_owned(), "v".repeat(4094))]);

    let refused = store.put(b"hello", SHA256, None, Some(&labels));

    let key = "key".to_owned();
    assert_eq!(Err(Error::InvalidLabel { key, size: 4097, limit: 4096 }), refused);
    assert_eq!(0, store.stats().unwrap().blobs);
}

#[test]
fn bytes_of_another_digest_are_not_stored() {
    let scratch = Scratch::new();
    let store = scratch.open();

    let refused = store.put(b"hello", Algorithm::Blake3, Some(&sha256(b"other")), None);

    let (expected, actual) = (sha256(b"other").to_string(), sha256(b"hello").to_string());
    assert_eq!(Err(Error::UnexpectedDigest { expected, actual, name: None }), refused);
    assert_eq!(0, store.stats().unwrap().blobs);
}

#[test]
fn stats_count_blobs_ingests_and_quarantined_copies() {
    let scratch = Scratch::new();
    let store = scratch.open();
    store.put(b"hello", SHA256, None, None).unwrap();
    let bad = store.put(b"bad", Algorithm::Blake3, None, None).unwrap().digest;
    store.volume().quarantine(&bad).unwrap();
    let ingest = store.ingests().open("layer", None, None, None).unwrap();
    ingest.write(b"begun").unwrap();
    fs::write(scratch.root.join("blobs/sha256/stray"), "not counted").unwrap();

    let stats = store.stats().unwrap();

    let expected = Stats { blobs: 1, blob_bytes: 5, ingests: 1, ingest_bytes: 5, quarantined: 1, quarantined_bytes: 3 };
    assert_eq!(expected, stats);
}

#[test]
fn puts_of_the_same_bytes_from_many_threads_make_one_blob() {
    let scratch = Scratch::new();
    let stores = [scratch.open(), scratch.open()];

    let new: usize = thread::scope(|scope| {
        let puts: Vec<_> = (0..16)
            .map(|n| {
                let store = &stores[n % 2];
                scope.spawn(move || store.put(b"hello", SHA256, None, None).unwrap().new)
            })
            .collect();
        puts.into_iter().map(|put| usize::from(put.join().unwrap())).sum()
    });

    assert_eq!(1, new);
    assert_eq!(1, stores[0].stats().unwrap().blobs);
}
