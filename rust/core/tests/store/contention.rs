//! Many threads and two stores change the same few blobs at once.

use std::fs;
use std::thread;

use steelyard_core::error::Error;
use steelyard_core::store::Store;

use crate::common::{SHA256, Scratch, sha256};

const ROUNDS: usize = 60;

/// Put, read, delete and quarantine the same three blobs; each call succeeds, or finds nothing.
fn disturb(store: &Store, thread: usize) {
    for round in 0..ROUNDS {
        let bytes = [u8::try_from((thread + round) % 3).unwrap(); 100];
        let digest = sha256(&bytes);
        let result = match (thread * 7 + round) % 5 {
            0 => store.volume().delete(&digest),
            1 => store.volume().quarantine(&digest).map(drop),
            2 => store.volume().blob(&digest).and_then(|blob| {
                let mut found = [255; 100];
                blob.read_exact_at(&mut found, 0)?;
                assert_eq!(bytes, found);
                Ok(())
            }),
            _ => store.put(&bytes, SHA256, None, None).map(drop),
        };
        assert!(matches!(result, Ok(()) | Err(Error::NotFound { .. })), "{result:?}");
    }
}

#[test]
fn the_blobs_are_whole_in_any_order_of_the_writers() {
    let scratch = Scratch::in_memory();
    let stores = [scratch.open(), scratch.open()];

    thread::scope(|scope| {
        for thread in 0..8 {
            let store = &stores[thread % 2];
            scope.spawn(move || disturb(store, thread));
        }
    });

    for name in fs::read_dir(scratch.root.join("blobs/sha256")).unwrap() {
        let path = name.unwrap().path();
        assert!(path.ends_with(sha256(&fs::read(&path).unwrap()).encoded()));
    }
    for value in 0..3 {
        let bytes = [value; 100];
        stores[0].put(&bytes, SHA256, None, None).unwrap();
        assert_eq!(100, stores[1].volume().info(&sha256(&bytes)).unwrap().size);
    }
}
