//! Starting an ingest: refs, announced size and digest, holders of refs.

use std::sync::Arc;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::Error;
use steelyard_core::store::Store;
use steelyard_core::store::ingest::Pushed;

use crate::support::*;

#[test]
fn the_digest_of_an_untouched_ingest_is_that_of_the_empty_string() {
    let root = Root::new();
    let store = root.open();
    for algorithm in Algorithm::ALL {
        let ingest = store.ingests().open(algorithm.name(), None, None, Some(algorithm)).unwrap();

        assert_eq!(digest(algorithm, b""), ingest.digest().unwrap());
        assert_eq!(0, ingest.offset());
    }
}

#[test]
fn the_digest_moves_with_every_write_pushed_or_written() {
    let root = Root::new();
    let ingest = begin(&root.open());
    let data = bytes(3000);
    ingest.write(&data[..1000]).unwrap();
    assert_eq!(sha256(&data[..1000]), ingest.digest().unwrap());

    assert_eq!(Pushed::Taken, ingest.push(&data[1000..2000]).unwrap());
    assert_eq!((2000, sha256(&data[..2000])), (ingest.offset(), ingest.digest().unwrap()));

    ingest.write(&data[2000..]).unwrap();
    assert_eq!((3000, sha256(&data)), (ingest.offset(), ingest.digest().unwrap()));
    assert_eq!(Pushed::Taken, ingest.push(b"").unwrap());
}

#[test]
fn status_shows_what_was_announced_and_is_the_same_from_both_sides() {
    let root = Root::new();
    let store = root.open();
    let expected = sha256(b"later");
    let before = now();
    let ingest = store.ingests().open(REF, Some(5), Some(&expected), None).unwrap();
    ingest.push(b"la").unwrap();

    let status = ingest.status().unwrap();

    assert_eq!((REF, 2, Some(5), Some(expected)), (&*status.ref_, status.offset, status.total, status.expected));
    assert!(before <= status.started_ns && status.started_ns <= status.updated_ns && status.updated_ns <= now());
    assert_eq!(status, store.ingests().status(REF).unwrap());
    assert_eq!(vec![status], store.ingests().statuses().unwrap());
}

#[test]
fn another_store_sees_the_durable_offset_only() {
    let root = Root::new();
    let (store, other) = (root.open(), root.open());
    let ingest = store.ingests().open(REF, Some(9), None, None).unwrap();
    ingest.write(b"abc").unwrap();
    assert_eq!((0, Some(9)), (other.ingests().status(REF).unwrap().offset, other.ingests().status(REF).unwrap().total));

    ingest.sync().unwrap();
    ingest.write(b"def").unwrap();

    assert_eq!(3, other.ingests().status(REF).unwrap().offset);
    assert_eq!(6, store.ingests().status(REF).unwrap().offset);
}

#[test]
fn the_algorithm_is_the_asked_one_or_that_of_expected_or_of_the_ingest_or_sha256() {
    let root = Root::new();
    let store = root.open();
    let expected = digest(Algorithm::Sha512, b"abc");
    let open = |algorithm, expected| {
        let ingest = store.ingests().open(REF, None, expected, algorithm).unwrap();
        let found = ingest.algorithm();
        ingest.close().unwrap();
        found
    };

    assert_eq!(Algorithm::Sha256, open(None, None));
    assert_eq!(Algorithm::Sha512, open(None, Some(&expected)));
    assert_eq!(Algorithm::Sha512, open(None, None));
    assert_eq!(Algorithm::Blake3, open(Some(Algorithm::Blake3), Some(&expected)));
    assert_eq!(Algorithm::Blake3, open(None, None));
}

#[test]
fn a_held_ref_is_unavailable_with_its_holder_and_since() {
    let root = Root::new();
    let (store, other) = (root.open(), root.open());
    let before = now();
    let ingest = begin(&store);
    for (asked, is_local) in [(&store, true), (&other, false)] {
        let error = asked.ingests().open(REF, None, None, None).err().unwrap();

        let Error::Unavailable { name, holder, since_ns, local } = error else { panic!("{error:?}") };
        assert_eq!((REF, "this process", is_local), (&*name, &*holder, local));
        assert!((before..=now()).contains(&since_ns.unwrap()));
    }
    begin_named(&store, "another ref");

    ingest.close().unwrap();
    begin(&other).close().unwrap();
}

#[test]
fn an_ingest_that_is_dropped_frees_its_ref() {
    let root = Root::new();
    let store = root.open();
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();
    drop(ingest);

    assert_eq!(0, begin(&store).offset());
}

#[test]
fn an_expected_blob_that_is_stored_drops_the_ingest() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(100);
    let other = begin_named(&store, "other");
    other.write(&data).unwrap();
    let stored = other.commit(None, None, None).unwrap().digest;
    leave(&store, &data[..50]);

    let error = store.ingests().open(REF, Some(100), Some(&stored), None).err();

    assert_eq!(Some(Error::AlreadyExists { digest: stored.to_string() }), error);
    assert_eq!(Err(Error::no_ingest(REF)), store.ingests().status(REF));
    assert_eq!(0, root.ingests_left());
    begin(&store).close().unwrap();
}

#[test]
fn an_expected_blob_of_another_size_is_not_taken_for_stored() {
    let root = Root::new();
    let store = root.open();
    let other = begin_named(&store, "other");
    other.write(b"abc").unwrap();
    let stored = other.commit(None, None, None).unwrap().digest;

    assert!(store.ingests().open(REF, Some(4), Some(&stored), None).is_ok());
}

#[test]
fn refs_are_any_text_and_never_paths() {
    let root = Root::new();
    let store = root.open();
    let long = "é/".repeat((1 << 20) / 3);
    for ref_ in ["/", "..", "../../escape", "a/b/c", "nul\0in it", "new\nline", " ", "ref", &long] {
        let ingest = begin_named(&store, ref_);
        ingest.write(ref_.as_bytes()).unwrap();
        ingest.close().unwrap();
        assert!(root.ingest(ref_).join("data").is_file());

        assert_eq!(ref_, store.ingests().status(ref_).unwrap().ref_);
        let info = begin_named(&store, ref_).commit(None, None, None).unwrap();
        assert_eq!(sha256(ref_.as_bytes()), info.digest);
    }
    assert_eq!(0, root.ingests_left());
}

#[test]
fn an_empty_or_too_long_ref_is_an_invalid_argument() {
    let root = Root::new();
    let store = root.open();
    for ref_ in [String::new(), "x".repeat((1 << 20) + 1)] {
        let invalid = |error: Option<Error>| matches!(error, Some(Error::InvalidArgument { .. }));

        assert!(invalid(store.ingests().open(&ref_, None, None, None).err()));
        assert!(invalid(store.ingests().status(&ref_).err()));
        assert!(invalid(store.ingests().abort(&ref_).err()));
    }
    assert_eq!(0, root.ingests_left());
}

fn begin_named(store: &Arc<Store>, ref_: &str) -> Arc<steelyard_core::store::ingest::Ingest> {
    store.ingests().open(ref_, None, None, None).unwrap()
}
