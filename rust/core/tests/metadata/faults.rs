//! Every system call that opening, rebuilding and labelling make besides SQLite's own fails once, and from then on.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use steelyard_core::store::{Options, Store};
use steelyard_core::sys::{Fault, Faulty, Linux};

use crate::support::{Scratch, labels, put, store, walk};

/// Let `run` fail at every call in turn, each time on a copy of `original`, until it gets through; `check` looks at what
/// each failure left.
fn sweep(original: &Scratch, run: impl Fn(&Scratch, Arc<Faulty>) -> bool, check: impl Fn(&Scratch, bool, &str)) {
    for (errno, once) in [(libc::EIO, true), (libc::EMFILE, true), (libc::ENOSPC, false)] {
        for ordinal in 1.. {
            let scratch = original.copy();
            let faulty = Faulty::over(Arc::new(Linux));
            let fault = if once { Fault::Once(ordinal, errno) } else { Fault::From(ordinal, errno) };
            faulty.set(Some(fault));
            let done = run(&scratch, Arc::clone(&faulty));
            check(&scratch, done, &format!("call {ordinal}, errno {errno}, once {once}"));
            if faulty.hits() == 0 {
                assert!(done && ordinal > 5, "the sweep met {ordinal} calls");
                break;
            }
        }
    }
}

#[test]
fn a_rebuild_that_fails_anywhere_can_be_done_again() {
    let original = Scratch::new();
    put(&store(&original), "x", &[("a", "b")]);
    let mut bytes = fs::read(original.join("meta.db")).unwrap();
    bytes[..100].fill(0xa5);
    fs::write(original.join("meta.db"), &bytes).unwrap();
    let run = |scratch: &Scratch, faulty: Arc<Faulty>| {
        let Ok(store) = Store::open_with(scratch.path(), Options::default(), faulty) else {
            return false;
        };
        store.volume().rebuild().is_ok()
    };
    sweep(&original, run, |scratch, _, what| {
        let store = store(scratch);
        if !store.volume().notes().is_empty() {
            store.volume().rebuild().unwrap();
        }
        assert_eq!(1, walk(&store, &["labels.a==b"], 9).len(), "{what}");
        assert!(scratch.join("meta.db.damaged-1").exists(), "{what}");
    });
}

#[test]
fn an_open_or_an_update_that_fails_leaves_the_old_labels_or_the_new() {
    let original = Scratch::new();
    put(&store(&original), "x", &[("a", "old")]);
    let run = |scratch: &Scratch, faulty: Arc<Faulty>| {
        let Ok(store) = Store::open_with(scratch.path(), Options::default(), faulty) else {
            return false;
        };
        let Ok(all) = store.volume().infos(&[crate::support::name_of("x")]) else {
            return false;
        };
        all.iter().all(|info| store.volume().update(&info.digest, &labels(&[("a", "new")]), None).is_ok())
    };
    sweep(&original, run, |scratch, done, what| {
        let store = store(scratch);
        assert_eq!(Vec::<String>::new(), store.volume().notes(), "{what}");
        let all = walk(&store, &[], 9);
        let label = all[0].labels["a"].as_str();
        assert!(label == "new" || (!done && label == "old"), "{what}: {label}");
    });
}

#[test]
fn an_update_of_many_that_fails_changes_all_or_none() {
    let original = Scratch::new();
    let digests = ["x", "y", "z"].map(|text| put(&store(&original), text, &[("a", "old")]));
    let run = |scratch: &Scratch, faulty: Arc<Faulty>| {
        let Ok(store) = Store::open_with(scratch.path(), Options::default(), faulty) else {
            return false;
        };
        let updated = store.volume().update_many(&digests, &labels(&[("a", "new")]), None);
        updated.is_ok_and(|infos| infos.iter().all(Result::is_ok))
    };
    sweep(&original, run, |scratch, done, what| {
        let all = walk(&store(scratch), &[], 9);
        let found: HashSet<&str> = all.iter().map(|info| info.labels["a"].as_str()).collect();
        assert_eq!((3, 1), (all.len(), found.len()), "{what}: {found:?}");
        assert!(!done || found.contains("new"), "{what}");
    });
}

#[test]
fn a_new_store_whose_making_fails_is_made_by_the_next_open() {
    let run =
        |scratch: &Scratch, faulty: Arc<Faulty>| Store::open_with(scratch.path(), Options::default(), faulty).is_ok();
    sweep(&Scratch::new(), run, |scratch, _, what| {
        let store = store(scratch);
        let digest = put(&store, "x", &[("a", "b")]);
        assert_eq!(labels(&[("a", "b")]), store.volume().info(&digest).unwrap().labels, "{what}");
    });
}
