//! Many batches and puts at once, of the same blobs, through one store and through two.

use std::fs;
use std::sync::Arc;
use std::thread;

use steelyard_core::error::Error;
use steelyard_core::model::Labels;
use steelyard_core::store::Store;

use crate::common::{SHA256, Scratch, sha256};
use crate::support::{numbered, put_all, stored};

const BLOBS: usize = 60;

fn assert_whole(scratch: &Scratch) {
    for name in fs::read_dir(scratch.root.join("blobs/sha256")).unwrap() {
        let path = name.unwrap().path();
        assert!(path.ends_with(sha256(&fs::read(&path).unwrap()).encoded()));
    }
    assert_eq!(Vec::<String>::new(), scratch.tmp());
}

/// Put overlapping parts of the blobs from eight threads; return how often a blob was new.
fn crowd(stores: &[Arc<Store>]) -> usize {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let store = &stores[thread % stores.len()];
                scope.spawn(move || {
                    let blobs = numbered((0..BLOBS).map(|number| (number * 7 + thread * 11) % BLOBS));
                    let (batch, single) = blobs.split_at(if thread < 6 { BLOBS } else { 0 });
                    let batch = put_all(store, batch).iter().filter(|result| stored(result).new).count();
                    let single = single.iter().filter(|blob| store.put(blob, SHA256, None, None).unwrap().new).count();
                    batch + single
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn each_blob_is_new_to_one_caller_of_one_store() {
    let scratch = Scratch::new();
    let store = scratch.open();

    assert_eq!(BLOBS, crowd(&[Arc::clone(&store)]));

    assert_eq!(BLOBS as u64, store.stats().unwrap().blobs);
    assert_whole(&scratch);
}

#[test]
fn each_blob_is_new_to_one_caller_of_two_stores() {
    let scratch = Scratch::in_memory();
    let stores = [scratch.open(), scratch.open()];

    assert_eq!(BLOBS, crowd(&stores));

    assert_eq!(BLOBS as u64, stores[0].stats().unwrap().blobs);
    assert_whole(&scratch);
}

#[test]
fn deletes_and_labels_go_on_beside_batches() {
    let scratch = Scratch::in_memory();
    let stores = [scratch.open(), scratch.open()];
    let blobs = numbered(0..BLOBS);

    thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| (0..10).for_each(|_| assert!(put_all(store, &blobs).iter().all(Result::is_ok))));
            scope.spawn(|| {
                for (round, blob) in blobs.iter().cycle().take(BLOBS * 4).enumerate() {
                    let digest = sha256(blob);
                    let result = match round % 5 {
                        0 => store.volume().delete(&digest),
                        3 => store.volume().delete_many(None, &[digest, sha256(b"absent")]).map(drop),
                        4 => store.volume().update_many(&[digest, sha256(b"absent")], &Labels::new(), None).map(drop),
                        1 => store.volume().update(&digest, &[("a".to_owned(), "b".to_owned())].into(), None).map(drop),
                        _ => store.volume().quarantine(&digest).map(drop),
                    };
                    assert!(matches!(result, Ok(()) | Err(Error::NotFound { .. })), "{result:?}");
                }
            });
        }
    });

    assert_whole(&scratch);
    assert!(put_all(&stores[0], &blobs).iter().all(Result::is_ok));
    assert_eq!(BLOBS as u64, stores[1].stats().unwrap().blobs);
}
