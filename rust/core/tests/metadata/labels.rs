//! Rows of single blobs, and changes of labels.

use std::sync::Barrier;

use steelyard_core::digest::Digest;
use steelyard_core::error::Error;
use steelyard_core::volume::meta::LARGE;

use crate::support::{Scratch, digest, labels, put, read_only, store, walk};

#[test]
fn info_has_size_times_and_labels() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "hello", &[("a", "b")]);

    let info = store.volume().info(&digest).unwrap();

    assert_eq!((5, labels(&[("a", "b")])), (info.size, info.labels));
    assert_eq!(info.created_ns, info.updated_ns);
    let file = scratch.join(&format!("blobs/sha256/{}", digest.encoded()));
    let modified = std::fs::metadata(file).unwrap().modified().unwrap();
    let since = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert_eq!(since, u128::try_from(info.created_ns).unwrap(), "a blob without a row would tell the same");
}

#[test]
fn infos_are_of_what_is_stored_in_the_order_asked_for() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let (one, two) = (put(&store, "one", &[("n", "1")]), put(&store, "two", &[]));

    let infos = store.volume().infos(&[two, digest(1), one, two]).unwrap();

    assert_eq!(vec![two, one, two], infos.iter().map(|info| info.digest).collect::<Vec<_>>());
    assert_eq!(store.volume().info(&one).unwrap(), infos[1]);
}

#[test]
fn a_full_update_replaces_and_moves_only_updated() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "x", &[("a", "1"), ("b", "2")]);
    let before = store.volume().info(&digest).unwrap();

    let after = store.volume().update(&digest, &labels(&[("c", "3")]), None).unwrap();

    assert_eq!(labels(&[("c", "3")]), after.labels);
    assert_eq!(before.created_ns, after.created_ns);
    assert!(after.updated_ns / 1_000 > before.updated_ns / 1_000);
    assert_eq!(after, store.volume().info(&digest).unwrap());
}

#[test]
fn an_update_by_keys_leaves_the_others_and_removes_what_is_absent() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "x", &[("keep", "1"), ("change", "2"), ("remove", "3")]);
    let given = labels(&[("keep", "other"), ("change", "4"), ("ignored", "5")]);

    let keys = ["change", "remove", "unknown"].map(str::to_owned);
    let after = store.volume().update(&digest, &given, Some(&keys)).unwrap();

    assert_eq!(labels(&[("keep", "1"), ("change", "4")]), after.labels);
}

#[test]
fn many_blobs_are_labelled_at_once_and_each_has_its_own_result() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let mut digests: Vec<Digest> = (0..50).map(|number| put(&store, &number.to_string(), &[("keep", "1")])).collect();
    digests.extend([put(&store, "plain", &[]), digest(7), put(&store, "last", &[("keep", "1"), ("gone", "1")])]);
    let given = labels(&[("set", "2")]);

    let infos = store.volume().update_many(&digests, &given, Some(&["set".to_owned(), "gone".to_owned()])).unwrap();

    for (place, (digest, info)) in digests.iter().zip(&infos).enumerate() {
        if place == 51 {
            assert!(matches!(info, Err(Error::NotFound { .. })));
            continue;
        }
        let info = info.as_ref().unwrap();
        assert_eq!(Some("2"), info.labels.get("set").map(String::as_str));
        assert_eq!((place != 50, false), (info.labels.contains_key("keep"), info.labels.contains_key("gone")));
        assert_eq!(*info, store.volume().info(digest).unwrap());
    }
    assert_eq!(52, walk(&store, &["labels.set==2"], 99).len());
    assert!(store.volume().update_many(&[], &given, None).unwrap().is_empty());
}

#[test]
fn updated_moves_forward_even_when_the_clock_does_not() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "x", &[]);
    let mut last = store.volume().info(&digest).unwrap().updated_ns;
    for _ in 0..20 {
        let updated = store.volume().update(&digest, &labels(&[]), None).unwrap().updated_ns;
        assert!(updated >= last + 1_000);
        last = updated;
    }
}

#[test]
fn labels_have_a_limit_that_is_met_exactly() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "x", &[("a", "b")]);
    let long = "v".repeat(4095);
    store.volume().update(&digest, &labels(&[("k", &long)]), None).unwrap();

    for bad in [("kk", long.as_str()), ("", "v")] {
        let given = labels(&[bad]);
        let keys = [bad.0.to_owned()];
        for keys in [None, Some(&keys[..])] {
            let error = store.volume().update(&digest, &given, keys).unwrap_err();
            let size = bad.0.len() + bad.1.len();
            assert_eq!(Error::InvalidLabel { key: bad.0.to_owned(), size, limit: 4096 }, error);
        }
        let error = store.put(b"new", digest.algorithm(), None, Some(&given)).unwrap_err();
        assert!(matches!(error, Error::InvalidLabel { .. }), "{error}");
    }
    assert_eq!(labels(&[("k", &long)]), store.volume().info(&digest).unwrap().labels);
}

#[test]
fn what_is_not_stored_is_not_found() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let gone = put(&store, "gone", &[("a", "b")]);
    std::fs::remove_file(scratch.join(&format!("blobs/sha256/{}", gone.encoded()))).unwrap();

    for digest in [gone, digest(7)] {
        assert!(matches!(store.volume().info(&digest), Err(Error::NotFound { .. })), "its row means nothing");
        assert!(matches!(store.volume().update(&digest, &labels(&[]), None), Err(Error::NotFound { .. })));
    }
    assert!(store.volume().infos(&[gone]).unwrap().is_empty());
    assert!(walk(&store, &[], 9).is_empty());
    assert!(walk(&store, &["labels.a==b"], 9).is_empty());
}

#[test]
fn a_blob_that_comes_again_has_no_old_labels() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "x", &[("old", "yes")]);
    let first = store.volume().info(&digest).unwrap();
    // What a crash between the row and the name leaves, and what a hand that deletes files does.
    std::fs::remove_file(scratch.join(&format!("blobs/sha256/{}", digest.encoded()))).unwrap();

    put(&store, "x", &[]);

    let info = store.volume().info(&digest).unwrap();
    assert_eq!(labels(&[]), info.labels);
    assert!(info.created_ns > first.created_ns);
    assert!(walk(&store, &["labels.old==yes"], 9).is_empty());
}

#[test]
fn stores_that_write_labels_at_once_lose_none() {
    const STORES: usize = 3;
    const CHANGES: usize = 20;
    let scratch = Scratch::new();
    let digest = put(&store(&scratch), "shared", &[]);
    let barrier = Barrier::new(STORES);
    std::thread::scope(|scope| {
        for number in 0..STORES {
            let (store, barrier) = (store(&scratch), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for change in 0..CHANGES {
                    let key = format!("{number}-{change}");
                    store.volume().update(&digest, &labels(&[(&key, "x")]), Some(std::slice::from_ref(&key))).unwrap();
                }
            });
        }
    });

    assert_eq!(STORES * CHANGES, store(&scratch).volume().info(&digest).unwrap().labels.len());
}

#[test]
fn a_read_only_store_reads_labels_and_refuses_to_set_them() {
    let scratch = Scratch::new();
    let digest = put(&store(&scratch), "x", &[("a", "b")]);
    let store = read_only(&scratch);

    assert_eq!(labels(&[("a", "b")]), store.volume().info(&digest).unwrap().labels);
    assert!(matches!(store.volume().update(&digest, &labels(&[]), None), Err(Error::Io { errno: libc::EROFS, .. })));
    store.volume().mark_verified(&[digest], 1).unwrap();
    store.volume().set_verify_started(Some(1)).unwrap();
    assert_eq!(None, store.volume().verify_started().unwrap());
}

#[test]
fn large_blobs_are_known_by_their_size() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let size = usize::try_from(LARGE).unwrap();
    let bytes = vec![7; size];
    assert!(!store.volume().has_size(LARGE).unwrap());

    let digest: Digest = store.put(&bytes, steelyard_core::digest::Algorithm::Blake3, None, None).unwrap().digest;

    assert!(store.volume().has_size(LARGE).unwrap());
    assert!(!store.volume().has_size(LARGE + 1).unwrap());
    store.volume().delete(&digest).unwrap();
    assert!(!store.volume().has_size(LARGE).unwrap());
}

#[test]
fn the_begin_of_a_verification_is_remembered() {
    let scratch = Scratch::new();
    store(&scratch).volume().set_verify_started(Some(-3)).unwrap();
    assert_eq!(Some(-3), store(&scratch).volume().verify_started().unwrap());

    store(&scratch).volume().set_verify_started(None).unwrap();
    assert_eq!(None, store(&scratch).volume().verify_started().unwrap());
}
