//! Each item by itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::Error;
use steelyard_core::model::Labels;
use steelyard_core::store::{BatchItem, Outcome, Put};

use crate::common::{SHA256, Scratch, sha256};
use crate::support::{file, item, numbered, put_all, stored};

/// More than two threads take at a time.
const THOUSANDS: usize = 2500;

#[test]
fn every_item_gets_its_own_result_in_its_own_place() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    store.put(b"stored before", SHA256, None, None).unwrap();
    let path = scratch.path.join("source");
    fs::write(&path, b"from a file").unwrap();
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let too_long = Labels::from([("key".to_owned(), "v".repeat(4094))]);
    let items = [
        item(b"one"),
        BatchItem { expected: Some(sha256(b"other")), ..item(b"wrong digest") },
        file(&path, 11),
        BatchItem { size: Some(3), ..item(b"wrong size") },
        item(b"one"),
        file(&scratch.path.join("missing"), 11),
        file(&path, 10),
        item(b"stored before"),
        BatchItem { labels: Some(&labels), size: Some(8), expected: Some(sha256(b"labelled")), ..item(b"labelled") },
        BatchItem { algorithm: Algorithm::Blake3, expected: Some(sha256(b"named by two")), ..item(b"named by two") },
        file(&scratch.path, 11),
        BatchItem { labels: Some(&too_long), ..item(b"label too long") },
        item(b""),
    ];

    let results = store.put_batch(&items);

    let put = |bytes: &[u8], new| Ok(Outcome::Stored(Put { digest: sha256(bytes), size: bytes.len() as u64, new }));
    assert_eq!(put(b"one", true), results[0]);
    assert!(matches!(&results[1], Err(Error::UnexpectedDigest { .. })));
    assert_eq!(put(b"from a file", true), results[2]);
    assert_eq!(Err(Error::UnexpectedSize { expected: 3, actual: 10, name: None }), results[3]);
    assert_eq!(put(b"one", false), results[4]);
    assert!(
        matches!(&results[5], Err(Error::Io { errno: libc::ENOENT, path: Some(path), .. }) if path.ends_with("missing"))
    );
    assert_eq!(Ok(Outcome::TooLarge), results[6]);
    assert_eq!(put(b"stored before", false), results[7]);
    assert_eq!(put(b"labelled", true), results[8]);
    assert_eq!(labels, *store.volume().info(&sha256(b"labelled")).unwrap().labels);
    let named = stored(&results[9]);
    assert_eq!((Algorithm::Blake3, true), (named.digest.algorithm(), named.new));
    assert_eq!(Ok(Outcome::TooLarge), results[10]);
    assert!(matches!(&results[11], Err(Error::InvalidLabel { size: 4097, .. })));
    assert_eq!(put(b"", true), results[12]);
    assert_eq!(6, store.stats().unwrap().blobs);
}

#[test]
fn thousands_are_stored_whole_and_once() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let blobs = numbered((0..THOUSANDS).chain(0..THOUSANDS));

    let results = put_all(&store, &blobs);

    assert_eq!(THOUSANDS, results.iter().filter(|result| stored(result).new).count());
    for (blob, result) in blobs.iter().zip(&results) {
        let path = scratch.blob(&stored(result).digest);
        assert_eq!(*blob, fs::read(&path).unwrap());
        assert_eq!(0o444, fs::metadata(&path).unwrap().permissions().mode() & 0o7777);
    }
    assert!(put_all(&store, &blobs).iter().all(|result| !stored(result).new));
    assert_eq!(Vec::<String>::new(), scratch.tmp());
}

#[test]
fn a_blob_is_created_when_its_batch_begins_or_later() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let before_ns = now_ns();

    let results = store.put_batch(&[item(b"plain"), BatchItem { labels: Some(&labels), ..item(b"labelled") }]);

    let after_ns = now_ns();
    for result in results {
        let digest = stored(&result).digest;
        let info = store.volume().info(&digest).unwrap();
        assert!((before_ns..=after_ns).contains(&info.created_ns));
        let modified = fs::metadata(scratch.blob(&digest)).unwrap().modified().unwrap();
        let modified_ns = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        assert_eq!(modified_ns, u128::try_from(info.created_ns).unwrap());
    }
}

fn now_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_nanos()).unwrap()
}

#[test]
fn what_is_in_the_way_of_one_item_is_dealt_with_as_by_a_put() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let blobs = numbered(0..20);
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let (damaged, stray) = (sha256(&blobs[3]), sha256(&blobs[7]));
    store.put(&blobs[3], SHA256, None, Some(&labels)).unwrap();
    fs::set_permissions(scratch.blob(&damaged), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(scratch.blob(&damaged), b"damaged").unwrap();
    std::os::unix::fs::symlink("/nowhere", scratch.blob(&stray)).unwrap();

    let results = put_all(&store, &blobs);

    let new: Vec<bool> = results.iter().map(|result| stored(result).new).collect();
    assert_eq!((0..20).map(|number| number != 3).collect::<Vec<_>>(), new);
    assert_eq!(blobs[3], fs::read(scratch.blob(&damaged)).unwrap());
    assert_eq!(labels, *store.volume().info(&damaged).unwrap().labels);
    assert_eq!(blobs[7], fs::read(scratch.blob(&stray)).unwrap());
    assert_eq!(2, fs::read_dir(scratch.root.join("quarantine/sha256")).unwrap().count());
}

#[test]
fn a_new_blob_has_its_own_labels_and_none_of_an_earlier_one() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let blobs = numbered(0..20);
    let labels = |value: &str| Labels::from([("a".to_owned(), value.to_owned())]);
    store.put(&blobs[0], SHA256, None, Some(&labels("old"))).unwrap();
    store.put(&blobs[1], SHA256, None, Some(&labels("kept"))).unwrap();
    // The file goes, the row stays.
    fs::remove_file(scratch.blob(&sha256(&blobs[0]))).unwrap();
    let new = labels("new");
    let given = |number: usize| (number % 2 == 1).then_some(&new);

    let items = blobs.iter().enumerate().map(|(number, blob)| BatchItem { labels: given(number), ..item(blob) });
    let results = store.put_batch(&items.collect::<Vec<_>>());

    for (number, result) in results.iter().enumerate() {
        let info = store.volume().info(&stored(result).digest).unwrap();
        let expected = if number == 1 { labels("kept") } else { given(number).cloned().unwrap_or_default() };
        assert_eq!(expected, *info.labels, "{number}");
    }
}

#[test]
fn a_closed_or_read_only_store_refuses_every_item() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();

    let refused = put_all(&scratch.open_read_only(), &numbered(0..3));
    assert!(refused.iter().all(|result| matches!(result, Err(Error::Io { errno: libc::EROFS, .. }))), "{refused:?}");
    store.close();
    let refused = put_all(&store, &numbered(0..3));

    assert_eq!(3, refused.len());
    assert!(refused.iter().all(|result| matches!(result, Err(Error::StoreClosed { .. }))), "{refused:?}");
    assert!(put_all(&scratch.open(), &[]).is_empty());
}
