//! A whole store with damaged metadata: blobs stay, labels don't, a rebuild brings back what is left.

use std::fs;

use steelyard_core::error::Error;
use steelyard_core::filter::Filter;

use crate::support::{Scratch, labels, put, store, walk};

#[test]
fn blobs_are_stored_read_listed_and_deleted_without_metadata() {
    let scratch = Scratch::new();
    let old = put(&store(&scratch), "old", &[("a", "b")]);
    fs::write(scratch.join("meta.db"), "garbage").unwrap();

    let store = store(&scratch);

    assert_eq!(1, store.volume().notes().len());
    assert_eq!((3, labels(&[])), store.volume().info(&old).map(|info| (info.size, info.labels)).unwrap());
    let new = put(&store, "new", &[]);
    assert_eq!(2, walk(&store, &[], 9).len());
    for filter in ["labels.a==b", "labels.a!=b", "size>1,labels.a"] {
        let error = store.volume().walk(&Filter::compile(&[filter]).unwrap(), None).unwrap().next(9).unwrap_err();
        assert!(matches!(error, Error::DataCorrupt { .. }), "{filter}: {error}");
    }
    store.volume().delete(&new).unwrap();
    let error = store.volume().update(&old, &labels(&[("a", "c")]), None).unwrap_err();
    assert!(matches!(error, Error::DataCorrupt { .. }) && error.to_string().contains("--rebuild"), "{error}");
    let error = store.put(b"labelled", old.algorithm(), None, Some(&labels(&[("a", "b")]))).unwrap_err();
    assert!(matches!(error, Error::DataCorrupt { .. }), "{error}");
    assert_eq!(vec![old], walk(&store, &[], 9).iter().map(|info| info.digest).collect::<Vec<_>>());
    assert_eq!("garbage", fs::read_to_string(scratch.join("meta.db")).unwrap());
}

#[test]
fn a_rebuild_brings_back_what_the_file_still_holds() {
    let scratch = Scratch::new();
    let digest = put(&store(&scratch), "x", &[("a", "b")]);
    let mut bytes = fs::read(scratch.join("meta.db")).unwrap();
    bytes[..100].fill(0xa5);
    fs::write(scratch.join("meta.db"), &bytes).unwrap();
    let store = store(&scratch);
    assert_eq!(labels(&[]), store.volume().info(&digest).unwrap().labels);

    let lines = store.volume().rebuild().unwrap();

    assert_eq!(labels(&[("a", "b")]), store.volume().info(&digest).unwrap().labels, "{lines:?}");
    assert_eq!(bytes, fs::read(scratch.join("meta.db.damaged-1")).unwrap());
    store.volume().update(&digest, &labels(&[("a", "c")]), None).unwrap();
}

#[test]
fn a_rebuild_needs_the_store_to_itself() {
    let scratch = Scratch::new();
    let (one, two) = (store(&scratch), store(&scratch));

    assert!(matches!(one.volume().rebuild(), Err(Error::Unavailable { .. })));

    drop(two);
    one.volume().rebuild().unwrap();
}

#[test]
fn damage_found_later_is_noted() {
    let scratch = Scratch::new();
    let digest = put(&store(&scratch), "x", &[("a", "b")]);
    let connection = rusqlite::Connection::open(scratch.join("meta.db")).unwrap();
    connection.execute("UPDATE blobs SET labels = 'garbage'", []).unwrap();
    drop(connection);
    let store = store(&scratch);
    assert_eq!(Vec::<String>::new(), store.volume().notes());

    assert_eq!(labels(&[]), store.volume().info(&digest).unwrap().labels);

    assert_eq!(1, store.volume().notes().len());
}
