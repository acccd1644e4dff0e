//! Abort: the ingest is gone, its writer fenced, and no other ingest is touched.

use std::fs;

use steelyard_core::error::Error;

use crate::support::*;

#[test]
fn an_aborted_ingest_is_gone_and_its_ref_free() {
    let root = Root::new();
    let store = root.open();
    leave(&store, b"abc");

    store.ingests().abort(REF).unwrap();

    assert_eq!(Err(Error::no_ingest(REF)), store.ingests().status(REF));
    assert_eq!(Err(Error::no_ingest(REF)), store.ingests().abort(REF));
    assert_eq!(0, root.ingests_left());
    assert_eq!(0, begin(&store).offset());
}

#[test]
fn a_directory_of_others_in_an_ingest_stays_and_in_no_ones_way() {
    let root = Root::new();
    let store = root.open();
    leave(&store, b"abc");
    let others = root.ingest(REF).join("others");
    fs::create_dir(&others).unwrap();

    for _ in 0..2 {
        store.ingests().abort(REF).unwrap();

        assert_eq!(Err(Error::no_ingest(REF)), store.ingests().status(REF));
        assert_eq!(Err(Error::no_ingest(REF)), store.ingests().abort(REF));
        leave(&store, b"abc");
    }
    assert_eq!(sha256(b"abc"), begin(&store).commit(None, None, None).unwrap().digest);
    assert!(others.is_dir());
}

#[test]
fn a_live_writer_of_the_store_is_fenced_and_the_ref_free_at_once() {
    let root = Root::new();
    let store = root.open();
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();

    store.ingests().abort(REF).unwrap();

    let next = begin(&store);
    let aborted = Error::Aborted { name: REF.to_owned() };
    assert_eq!(Some(&aborted), ingest.push(b"x").err().as_ref());
    assert_eq!(Some(&aborted), ingest.write(b"x").err().as_ref());
    assert_eq!(Some(&aborted), ingest.digest().err().as_ref());
    assert_eq!(Some(&aborted), ingest.status().err().as_ref());
    assert_eq!(Some(&aborted), ingest.sync().err().as_ref());
    assert_eq!(Some(&aborted), ingest.truncate(0).err().as_ref());
    assert_eq!(Some(&aborted), ingest.commit(None, None, None).err().as_ref());
    assert_eq!(Ok(()), ingest.close());
    drop(ingest);
    next.write(b"def").unwrap();
    assert_eq!(sha256(b"def"), next.commit(None, None, None).unwrap().digest);
    assert_eq!(None, root.blob(&sha256(b"abc")));
}

#[test]
fn a_writer_of_another_store_is_left_alone() {
    let root = Root::new();
    let (store, other) = (root.open(), root.open());
    let ingest = begin(&store);

    let error = other.ingests().abort(REF).unwrap_err();

    assert!(matches!(error, Error::Unavailable { local: false, .. }));
    ingest.write(b"abc").unwrap();
    assert_eq!(sha256(b"abc"), ingest.commit(None, None, None).unwrap().digest);
}

#[test]
fn what_is_no_ingest_is_not_found_swept_and_not_listed() {
    let root = Root::new();
    let store = root.open();
    leave(&store, b"abc");
    let listed = store.ingests().statuses().unwrap();
    let names = [
        ("empty directory", vec![]),
        ("data without state", vec!["data"]),
        ("state without data", vec!["state"]),
        ("both, but garbage", vec!["data", "state"]),
    ];
    for (ref_, files) in &names {
        fs::create_dir(root.ingest(ref_)).unwrap();
        for file in files {
            fs::write(root.ingest(ref_).join(file), vec![0; 20_000]).unwrap();
        }
        assert_eq!(Err(Error::no_ingest(*ref_)), store.ingests().status(ref_));
    }
    fs::write(root.path.join("ingest/stray"), "x").unwrap();
    fs::create_dir(root.path.join("ingest/stray directory")).unwrap();
    // The files of one ingest under another's name.
    let moved = root.ingest("moved");
    fs::create_dir(&moved).unwrap();
    for file in ["data", "state"] {
        fs::copy(root.ingest(REF).join(file), moved.join(file)).unwrap();
    }

    assert_eq!(listed, store.ingests().statuses().unwrap());
    for (index, (ref_, _)) in names.into_iter().enumerate() {
        if index % 2 == 0 {
            assert_eq!(Err(Error::no_ingest(ref_)), store.ingests().abort(ref_));
            assert!(!root.ingest(ref_).exists());
        }
        let ingest = store.ingests().open(ref_, None, None, None).unwrap();
        assert_eq!(0, ingest.offset());
        ingest.close().unwrap();
    }
    assert_eq!(0, store.ingests().open("moved", None, None, None).unwrap().offset());
}

#[test]
fn statuses_are_ordered_by_ref() {
    let root = Root::new();
    let store = root.open();
    let live = store.ingests().open("live", None, None, None).unwrap();
    live.push(b"abc").unwrap();
    for ref_ in ["b", "a/2", "c", "a/1", "", "Ω"] {
        if let Ok(ingest) = store.ingests().open(ref_, None, None, None) {
            ingest.close().unwrap();
        }
    }

    let statuses = store.ingests().statuses().unwrap();

    let refs: Vec<_> = statuses.iter().map(|status| &*status.ref_).collect();
    assert_eq!(["a/1", "a/2", "b", "c", "live", "Ω"], *refs);
    assert_eq!(3, statuses[4].offset);
}
