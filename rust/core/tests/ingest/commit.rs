//! Commit: what it checks, what it leaves, and that it always closes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::Error;

use crate::support::*;

#[test]
fn a_committed_blob_is_whole_read_only_and_labelled_and_its_ref_is_free() {
    let root = Root::new();
    let store = root.open();
    let labels = BTreeMap::from([("kind".to_owned(), "test".to_owned())]);
    let before = now();
    let ingest = begin(&store);
    ingest.write(b"ab").unwrap();
    ingest.push(b"c").unwrap();

    let info = ingest.commit(Some(3), Some(&sha256(b"abc")), Some(&labels)).unwrap();

    assert_eq!((sha256(b"abc"), 3, &labels), (info.digest, info.size, &*info.labels));
    assert!((before..=now()).contains(&info.created_ns) && info.created_ns == info.updated_ns);
    assert_eq!(Ok(&info), store.volume().info(&info.digest).as_ref());
    assert_eq!(Some(b"abc".to_vec()), root.blob(&info.digest));
    let mode = fs::metadata(root.blob_path(&info.digest)).unwrap().permissions().mode();
    assert_eq!(0o444, mode & 0o7777);
    assert_eq!(0, root.ingests_left());
    assert!(is_closed(&ingest.push(b"x").unwrap_err()));
    assert!(is_closed(&ingest.commit(None, None, None).unwrap_err()));
    assert_eq!(Ok(()), ingest.close());
    assert_eq!(0, begin(&store).offset());
}

#[test]
fn an_empty_ingest_commits_the_empty_blob() {
    let root = Root::new();
    let info = begin(&root.open()).commit(Some(0), None, None).unwrap();

    assert_eq!((sha256(b""), Some(Vec::new())), (info.digest, root.blob(&info.digest)));
}

#[test]
fn a_wrong_size_or_digest_closes_and_keeps_the_bytes() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(1000);
    let wrong = sha256(b"other");
    let name = Some(REF.to_owned());
    let ingest = begin(&store);
    ingest.write(&data).unwrap();
    let status = ingest.status().unwrap();

    let error = ingest.commit(Some(999), None, None).unwrap_err();

    assert_eq!(Error::UnexpectedSize { expected: 999, actual: 1000, name: name.clone() }, error);
    assert!(is_closed(&ingest.write(b"x").unwrap_err()));
    let ingest = begin(&store);
    assert_eq!(status, ingest.status().unwrap());

    let error = ingest.commit(None, Some(&wrong), None).unwrap_err();

    let (expected, actual) = (wrong.to_string(), sha256(&data).to_string());
    assert_eq!(Error::UnexpectedDigest { expected, actual, name }, error);
    assert!(is_closed(&ingest.write(b"x").unwrap_err()));
    assert_eq!(status, root.open().ingests().status(REF).unwrap());
    let info = begin(&store).commit(Some(1000), Some(&sha256(&data)), None).unwrap();
    assert_eq!(Some(data), root.blob(&info.digest));
}

#[test]
fn an_invalid_label_closes_and_keeps_the_bytes() {
    let root = Root::new();
    let store = root.open();
    let labels = BTreeMap::from([(String::new(), "value".to_owned())]);
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();

    let error = ingest.commit(None, None, Some(&labels)).unwrap_err();

    assert!(matches!(error, Error::InvalidLabel { .. }));
    assert!(is_closed(&ingest.write(b"x").unwrap_err()));
    assert_eq!(None, root.blob(&sha256(b"abc")));
    assert_eq!(3, begin(&store).offset());
}

#[test]
fn expected_of_another_algorithm_is_computed_from_the_bytes() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(3_000_000);
    for algorithm in [Algorithm::Sha512, Algorithm::Blake3] {
        let expected = digest(algorithm, &data);
        let ingest = begin(&store);
        ingest.write(&data).unwrap();

        let info = ingest.commit(None, Some(&expected), None).unwrap();

        assert_eq!((expected, Some(data.clone())), (info.digest, root.blob(&expected)));
    }
}

#[test]
fn a_blob_that_exists_drops_the_ingest() {
    let root = Root::new();
    let store = root.open();
    for expected in [None, None, Some(sha256(b"abc"))] {
        let ingest = begin(&store);
        ingest.write(b"abc").unwrap();
        let result = ingest.commit(None, expected.as_ref(), None);

        assert!(result.is_ok() || result == Err(Error::AlreadyExists { digest: sha256(b"abc").to_string() }));
        assert!(is_closed(&ingest.write(b"x").unwrap_err()));
        assert_eq!(Err(Error::no_ingest(REF)), store.ingests().status(REF));
        assert_eq!(0, root.ingests_left());
    }
    assert_eq!(Some(b"abc".to_vec()), root.blob(&sha256(b"abc")));
}

#[test]
fn a_damaged_blob_is_healed_by_the_ingest() {
    let root = Root::new();
    let store = root.open();
    let digest = sha256(b"abc");
    begin(&store).commit(None, None, None).unwrap();
    let path = root.blob_path(&digest);
    fs::write(&path, b"abx").unwrap();
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();

    let error = ingest.commit(None, None, None).unwrap_err();

    assert_eq!(Error::AlreadyExists { digest: digest.to_string() }, error);
    assert_eq!(Some(b"abc".to_vec()), root.blob(&digest));
    assert_eq!(0, root.ingests_left());
}

#[test]
fn of_two_commits_at_once_exactly_one_stores() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(100_000);
    let ingests: Vec<_> = (0..4)
        .map(|index| {
            let ingest = store.ingests().open(&format!("ref {index}"), None, None, None).unwrap();
            ingest.write(&data).unwrap();
            ingest
        })
        .collect();
    let threads = ingests.into_iter().map(|ingest| thread::spawn(move || ingest.commit(None, None, None)));

    let results: Vec<_> = threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect();

    assert_eq!(1, results.iter().filter(|result| result.is_ok()).count());
    assert_eq!(3, results.iter().filter(|result| matches!(result, Err(Error::AlreadyExists { .. }))).count());
    assert_eq!(0, root.ingests_left());
    root.assert_blobs_whole();
}
