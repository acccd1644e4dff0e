//! When nothing may be collected.

use std::fs;
use std::sync::Arc;

use steelyard_core::error::Error;
use steelyard_core::store::Store;
use steelyard_core::store::collect::Options;
use steelyard_core::sys::{Fault, Faulty, Linux, Op};

use crate::common::{Scratch, sha256};
use crate::support::{NOW, collect, document, image, name, put, removed, run, stored};

/// Collect, and expect a refusal of that cause; nothing is removed.
fn refused(store: &Arc<Store>, cause: &str) {
    let before = stored(store);
    match collect(store, NOW) {
        Err(Error::CollectionRefused { cause: found, .. }) => assert_eq!(cause, found),
        other => panic!("{other:?}"),
    }
    assert_eq!(before, stored(store));
}

#[test]
fn a_read_only_store_is_not_collected() {
    let scratch = Scratch::new();
    put(&scratch.open(), "garbage");
    let store = scratch.open_read_only();
    assert!(matches!(collect(&store, NOW), Err(Error::Io { errno: libc::EROFS, .. })));
    assert_eq!(vec![sha256(b"garbage")], stored(&store));
}

#[test]
fn the_first_collection_needs_the_store_to_itself_and_raises_the_format() {
    let scratch = Scratch::new();
    let store = scratch.open();
    put(&store, "garbage");
    let other = scratch.open();
    refused(&store, "open");
    assert_eq!("{\"format\": 1}\n", fs::read_to_string(scratch.root.join("steelyard.json")).unwrap());
    drop(other);

    assert_eq!(vec![sha256(b"garbage")], removed(&store));
    let marker = fs::read_to_string(scratch.root.join("steelyard.json")).unwrap();
    assert!(marker.starts_with("{\"format\": 2, \"id\": \""), "{marker}");
    // From now on others may have it open.
    let other = scratch.open();
    put(&other, "garbage");
    assert_eq!(vec![sha256(b"garbage")], removed(&store));
    assert_eq!(marker, fs::read_to_string(scratch.root.join("steelyard.json")).unwrap());
}

#[test]
fn one_collector_at_a_time() {
    let scratch = Scratch::new();
    let store = scratch.open();
    put(&store, "garbage");
    let mut first = store.collection(NOW).unwrap();
    let busy = || Err(Error::CollectionBusy { holder: "this process".to_owned() });
    assert_eq!(busy(), store.collection(NOW).map(drop));
    let other = scratch.open();
    assert_eq!(busy(), other.collection(NOW).map(drop));
    assert_eq!(1, collect(&other, Options { dry_run: true, ..NOW }).unwrap().0.blobs);
    while !first.step().unwrap() {}
    drop(first);
    assert_eq!(0, collect(&other, NOW).unwrap().0.blobs);
}

#[test]
fn metadata_that_was_rebuilt_replaced_or_lost_has_to_be_accepted() {
    let scratch = Scratch::new();
    let accepted = |store: &Arc<Store>| {
        refused(store, "roots");
        let (report, _) = collect(store, Options { dry_run: true, ..NOW }).unwrap();
        assert_eq!(1, report.blobs);
        refused(store, "roots");
        assert_eq!(1, collect(store, Options { accept_roots: true, ..NOW }).unwrap().0.blobs);
        put(store, "more garbage");
        assert_eq!(1, collect(store, NOW).unwrap().0.blobs);
        put(store, "garbage");
    };
    let store = scratch.open();
    put(&store, "garbage");
    store.volume().rebuild().unwrap();
    accepted(&store);
    store.volume().rebuild().unwrap();
    accepted(&store);
    drop(store);

    // An older file of the same store, and that of another one.
    let strange = Scratch::new();
    put(&strange.open(), "strange");
    assert_eq!(1, removed(&strange.open()).len());
    fs::copy(strange.root.join("meta.db"), scratch.root.join("meta.db")).unwrap();
    accepted(&scratch.open());

    fs::remove_file(scratch.root.join("meta.db")).unwrap();
    accepted(&scratch.open());
}

#[test]
fn blobs_of_another_program_have_their_names_elsewhere() {
    let (theirs, scratch) = (Scratch::new(), Scratch::new());
    let garbage = put(&theirs.open(), "theirs");
    fs::create_dir(&scratch.root).unwrap();
    fs::rename(theirs.root.join("blobs"), scratch.root.join("blobs")).unwrap();
    drop(scratch.open());

    let store = scratch.open();
    refused(&store, "roots");
    assert_eq!(vec![garbage], stored(&store));
    assert_eq!(1, collect(&store, Options { accept_roots: true, ..NOW }).unwrap().0.blobs);
    put(&store, "ours");
    assert_eq!(1, collect(&store, NOW).unwrap().0.blobs);
}

#[test]
fn damaged_metadata_stops_a_collection_before_and_within() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let [manifest, ..] = image(&store, "a");
    name(&store, "a", manifest);
    put(&store, "garbage");
    let before = stored(&store);
    let mut collection = store.collection(NOW).unwrap();
    fs::remove_file(scratch.root.join("meta.db")).unwrap();
    let error = loop {
        match collection.step() {
            Ok(ended) => assert!(!ended),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DataCorrupt { .. }), "{error:?}");
    drop(collection);
    drop(store);
    fs::write(scratch.root.join("meta.db"), "damaged").unwrap();
    let store = scratch.open();
    assert!(matches!(collect(&store, NOW), Err(Error::DataCorrupt { .. })));
    assert_eq!(before, stored(&store));
}

#[test]
fn an_index_of_a_layout_has_to_be_accepted_each_time_it_changes() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.root).unwrap();
    fs::write(scratch.root.join("index.json"), document(&[])).unwrap();
    let store = scratch.open();
    for number in 0..2 {
        put(&store, "garbage");
        refused(&store, "roots");
        collect(&store, Options { accept_roots: true, ..NOW }).unwrap();
        put(&store, "garbage");
        assert_eq!(vec![sha256(b"garbage")], removed(&store));
        fs::write(scratch.root.join("index.json"), format!("{}{number}", document(&[]))).unwrap();
    }
}

#[test]
fn a_store_that_containerd_collects_is_left_alone() {
    let scratch = Scratch::new();
    let store = scratch.open();
    put(&store, "garbage");
    store.serve(Some("containerd")).unwrap();
    refused(&store, "containerd");
    drop(store);
    refused(&scratch.open(), "containerd");
}

/// Collect as one who takes the store back.
const TAKE_BACK: Options = Options { take_back: true, ..NOW };

#[test]
fn a_store_is_taken_back_when_no_service_for_another_collector_has_it_open() {
    let scratch = Scratch::new();
    let store = scratch.open();
    put(&store, "garbage");
    let service = scratch.open();
    service.serve(Some("containerd")).unwrap();
    for open in [&store, &service] {
        match collect(open, TAKE_BACK) {
            Err(Error::CollectionRefused { cause: "open", .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(1, collect(&store, Options { dry_run: true, ..TAKE_BACK }).unwrap().0.blobs);
    drop(service);
    // Neither of these has changed anything.
    refused(&store, "containerd");

    assert_eq!(1, collect(&store, TAKE_BACK).unwrap().0.blobs);
    put(&store, "more");
    assert_eq!(vec![sha256(b"more")], removed(&store));
    assert_eq!(0, collect(&store, TAKE_BACK).unwrap().0.blobs);
}

#[test]
fn a_refused_collection_takes_nothing_back() {
    let scratch = Scratch::new();
    let store = scratch.open();
    put(&store, "garbage");
    store.serve(Some("containerd")).unwrap();
    drop(store);
    let store = scratch.open();
    let _other = scratch.open(); // the first collection needs the store to itself
    match collect(&store, TAKE_BACK) {
        Err(Error::CollectionRefused { cause: "open", .. }) => {}
        other => panic!("{other:?}"),
    }
    refused(&store, "containerd");
}

#[test]
fn a_store_is_served_for_one_collector_only() {
    let scratch = Scratch::new();
    let (own, other) = (scratch.open(), scratch.open());
    own.serve(None).unwrap();
    own.serve(None).unwrap();
    for open in [&own, &other] {
        assert!(matches!(open.serve(Some("containerd")), Err(Error::FailedPrecondition { .. })));
    }
    drop((own, other));

    let store = scratch.open();
    store.serve(Some("containerd")).unwrap();
    let message = match store.serve(None) {
        Err(Error::FailedPrecondition { message }) => message,
        other => panic!("{other:?}"),
    };
    assert!(message.contains("take it back first"), "{message}");
}

#[test]
fn no_collection_is_under_way_when_another_collector_begins() {
    let scratch = Scratch::new();
    let store = scratch.open();
    put(&store, "garbage");
    let collection = store.collection(NOW).unwrap();
    assert!(matches!(scratch.open().serve(Some("containerd")), Err(Error::CollectionBusy { .. })));
    drop(collection);
    scratch.open().serve(Some("containerd")).unwrap();
}

#[test]
fn a_service_of_the_own_collector_makes_the_store_ready_for_others_to_collect() {
    let scratch = Scratch::new();
    let service = scratch.open();
    service.serve(None).unwrap();
    put(&service, "garbage");
    assert_eq!(vec![sha256(b"garbage")], removed(&scratch.open()));
}

#[test]
fn a_blob_that_cannot_be_read_may_name_others() {
    let scratch = Scratch::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    let [manifest, ..] = image(&store, "a");
    name(&store, "a", manifest);
    put(&store, "garbage");
    let before = stored(&store);
    let collection = store.collection(NOW).unwrap();
    faulty.set(Some(Fault::Every(Op::ReadAt, libc::EIO)));
    match run(collection) {
        Err(Error::CollectionRefused { cause: "document", .. }) => {}
        other => panic!("{other:?}"),
    }
    faulty.set(None);
    assert_eq!(before, stored(&store));
    assert_eq!(1, removed(&store).len());
}
