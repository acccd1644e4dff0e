//! Collections that end early, and work between their steps. Each look at the clock finds that the time is over, so that the steps are as
//! short as they can be.

use std::fs;
use std::sync::Arc;

use steelyard_core::digest::Digest;
use steelyard_core::model::Labels;
use steelyard_core::store::Store;
use steelyard_core::store::collect::Collection;
use steelyard_core::sys::{Layer, Linux};

use crate::common::{SHA256, Scratch};
use crate::support::{LATER, NOW, Slow, collect, image, name, put, sorted, stored};

/// Open the store so that each step is as short as it can be.
fn open(scratch: &Scratch) -> Arc<Store> {
    scratch.open_with(Arc::new(Layer::new(Arc::new(Linux), Slow::default()))).unwrap()
}

/// Take that many steps; whether the collection ended before.
fn steps(collection: &mut Collection, most: usize) -> bool {
    (0..most).any(|_| collection.step().unwrap())
}

/// Check that each document that is there has all that it names.
fn is_whole(store: &Arc<Store>, documents: &[[Digest; 3]]) -> bool {
    let there = stored(store);
    documents.iter().all(|blobs| !there.contains(&blobs[0]) || blobs.iter().all(|blob| there.contains(blob)))
}

#[test]
fn a_collection_that_ends_after_any_step_leaves_only_garbage() {
    let scratch = Scratch::in_memory();
    for most in 0.. {
        let store = open(&scratch);
        let kept = image(&store, "kept");
        name(&store, "kept", kept[0]);
        let garbage: Vec<_> = (0..20).map(|number| image(&store, &format!("garbage {number}"))).collect();
        let mut collection = store.collection(NOW).unwrap();
        let has_ended = steps(&mut collection, most);
        drop(collection);
        assert!(is_whole(&store, &garbage));
        drop(store);

        let store = open(&scratch);
        collect(&store, NOW).unwrap();
        assert_eq!(sorted(kept), stored(&store));
        assert_eq!(0, fs::read_dir(scratch.root.join("condemned/sha256")).map_or(0, Iterator::count));
        if has_ended {
            return;
        }
    }
}

#[test]
fn the_log_of_the_metadata_stays_short() {
    let scratch = Scratch::in_memory();
    let store = open(&scratch);
    for number in 0..12_000 {
        put(&store, &format!("garbage {number}"));
    }
    collect(&store, LATER).unwrap();
    let size = fs::metadata(scratch.root.join("meta.db-wal")).unwrap().len();
    assert!(
        (1 << 19..2 << 20).contains(&size),
        "{size} bytes: 1,000 pages, 4 MiB, are written to the file in a step of some 5 ms"
    );
}

/// Do that work between every two steps of a collection: the blobs that it returns are there after this collection and the next.
fn between_steps(what: &str, work: impl Fn(&Arc<Store>, &[Digest; 3]) -> Vec<Digest>) {
    for most in 0.. {
        let scratch = Scratch::in_memory();
        let store = open(&scratch);
        let blobs = image(&store, "a");
        collect(&store, NOW).unwrap();
        image(&store, "a");
        let mut collection = store.collection(NOW).unwrap();
        let has_ended = steps(&mut collection, most);
        let kept = work(&store, &blobs);
        while !collection.step().unwrap() {}
        drop(collection);
        collect(&store, NOW).unwrap();
        let there = stored(&store);
        assert!(kept.iter().all(|blob| there.contains(blob)), "{what} after {most} steps");
        if has_ended {
            return;
        }
    }
}

#[test]
fn a_name_that_is_set_between_two_steps_keeps_its_document_if_that_is_there() {
    between_steps("a name", |store, blobs| {
        let there = stored(store);
        name(store, "a", blobs[0]);
        // Without the document, nothing names the others.
        let is_named = |blob: &&Digest| there.contains(&blobs[0]) && there.contains(blob);
        blobs.iter().filter(is_named).copied().collect()
    });
}

#[test]
fn what_is_stored_under_a_lease_between_two_steps_is_there_afterwards() {
    between_steps("a lease", |store, blobs| {
        store.volume().create_lease("lease", &Labels::new(), crate::support::HOUR).unwrap();
        for text in ["a one", "a two"] {
            store.put_under(Some("lease"), text.as_bytes(), SHA256, None, None).unwrap();
        }
        blobs[1..].to_vec()
    });
}
