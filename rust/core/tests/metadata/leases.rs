//! Leases: who ends them, what time does to them, and what other releases see of them.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use steelyard_core::digest::Algorithm;
use steelyard_core::error::{Error, Result};
use steelyard_core::filter::Filter;
use steelyard_core::model::{Labels, Resources};
use steelyard_core::store::{BatchItem, Options, Outcome, Source, Store};
use steelyard_core::sys::{Around, Call, Layer, Linux, Op};

use crate::support::{Scratch, digest, name_of, read_only, store};

const HOUR: i64 = 3_600_000_000_000;

fn ids(store: &Store) -> Vec<String> {
    let leases = store.volume().leases(&Filter::compile::<&str>(&[]).unwrap()).unwrap();
    leases.into_iter().map(|lease| lease.id).collect()
}

fn count(scratch: &Scratch, table: &str) -> i64 {
    let connection = rusqlite::Connection::open(scratch.join("meta.db")).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn put(store: &Store, lease: &str, text: &str) -> Result<steelyard_core::digest::Digest> {
    Ok(store.put_under(Some(lease), text.as_bytes(), Algorithm::Sha256, None, None)?.digest)
}

fn item(text: &str) -> BatchItem<'_> {
    let source = Source::Bytes(text.as_bytes());
    BatchItem { source, algorithm: Algorithm::Sha256, expected: None, size: None, labels: None }
}

#[test]
fn a_lease_of_a_process_ends_with_the_store_that_created_it() {
    let scratch = Scratch::new();
    let (first, other) = (store(&scratch), store(&scratch));
    first.volume().begin_lease("a", &Labels::new(), None).unwrap();
    other.volume().create_lease("b", &Labels::new(), HOUR).unwrap();
    for store in [&first, &other, &read_only(&scratch)] {
        assert_eq!(vec!["a", "b"], ids(store));
    }
    assert_eq!(Some(std::process::id()), other.volume().lease("a").unwrap().process);
    put(&first, "a", "under a").unwrap();
    assert_eq!(vec![name_of("under a")], other.volume().lease_resources("a").unwrap().digests);

    first.close();
    drop(first);

    assert_eq!(vec!["b"], ids(&other));
    assert_eq!(vec!["b"], ids(&read_only(&scratch)));
    assert!(matches!(other.volume().lease("a"), Err(Error::NotFound { kind: "lease", .. })));
    assert_eq!((2, 1), (count(&scratch, "leases"), count(&scratch, "lease_resources")));
    // The next lease sweeps what is left of it.
    other.volume().begin_lease("c", &Labels::new(), None).unwrap();
    assert_eq!((2, 0), (count(&scratch, "leases"), count(&scratch, "lease_resources")));
    other.volume().end_lease("c");
    other.volume().end_lease("c");
    assert_eq!(1, count(&scratch, "leases"));
}

#[test]
fn an_id_is_used_once_by_both_kinds_of_leases() {
    let scratch = Scratch::new();
    let (first, other) = (store(&scratch), store(&scratch));
    first.volume().begin_lease("a", &Labels::new(), None).unwrap();
    let taken = || Err(Error::LeaseExists { lease: "a".to_owned() });
    for store in [&first, &other] {
        assert_eq!(taken(), store.volume().begin_lease("a", &Labels::new(), None));
        assert_eq!(taken(), store.volume().create_lease("a", &Labels::new(), HOUR));
    }
    assert_eq!(vec!["a"], ids(&first));
    drop(first);
    other.volume().create_lease("a", &Labels::new(), HOUR).unwrap();
    assert_eq!(taken(), other.volume().begin_lease("a", &Labels::new(), None));
    assert_eq!(None, other.volume().lease("a").unwrap().process);
}

#[test]
fn all_that_is_stored_is_entered_first_and_a_batch_in_one_transaction() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    store.volume().create_lease("a", &Labels::new(), HOUR).unwrap();
    let blobs: Vec<_> = (0..300).map(|number| format!("blob {number}")).collect();
    let items: Vec<_> = blobs.iter().map(|text| item(text)).collect();
    let results = store.put_batch_under(Some("a"), &items);
    assert!(results.iter().all(|result| matches!(result, Ok(Outcome::Stored(put)) if put.new)));
    let mut expected: Vec<_> = blobs.iter().map(|text| name_of(text)).collect();
    expected.sort();
    assert_eq!(expected, store.volume().lease_resources("a").unwrap().digests);

    store.volume().delete_lease("a").unwrap();
    let refused = store.put_batch_under(Some("a"), &items);
    let ended = Error::LeaseEnded { lease: "a".to_owned(), reason: "deleted" };
    assert!(refused.iter().all(|result| *result == Err(ended.clone())), "also what is stored already");
    assert_eq!((0, 0), (count(&scratch, "leases"), count(&scratch, "lease_resources")));
}

#[test]
fn an_ingest_keeps_its_bytes_when_its_lease_ends() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    store.volume().create_lease("a", &Labels::new(), HOUR).unwrap();
    let ingest = store.ingests().open_under(Some("a"), "ref", None, None, None).unwrap();
    ingest.write(b"data").unwrap();
    assert_eq!(vec!["ref"], store.volume().lease_resources("a").unwrap().refs);
    store.volume().delete_lease("a").unwrap();

    assert!(matches!(ingest.commit(None, None, None), Err(Error::LeaseEnded { .. })));

    assert!(store.volume().info(&name_of("data")).is_err());
    store.volume().create_lease("b", &Labels::new(), HOUR).unwrap();
    let again = store.ingests().open_under(Some("b"), "ref", None, None, None).unwrap();
    assert_eq!(4, again.offset());
    again.commit(None, None, None).unwrap();
    let found = store.volume().lease_resources("b").unwrap();
    assert_eq!(Resources { digests: vec![name_of("data")], refs: Vec::new() }, found);
}

/// Clocks that a test sets, by how much they are ahead.
#[derive(Default)]
struct Clocks {
    wall: AtomicI64,
    boot: AtomicI64,
    rebooted: AtomicBool,
}

impl Around for Clocks {
    fn around<T>(&self, _: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        run()
    }

    fn clock_ns(&self, is_wall: bool, ns: i64) -> i64 {
        ns + if is_wall { &self.wall } else { &self.boot }.load(Ordering::SeqCst)
    }

    fn boot_id(&self, id: Option<String>) -> Option<String> {
        if self.rebooted.load(Ordering::SeqCst) { Some("another".to_owned()) } else { id }
    }
}

#[test]
fn a_time_has_passed_only_if_both_clocks_say_so_or_the_machine_was_booted() {
    let scratch = Scratch::new();
    let sys = Arc::new(Layer::new(Arc::new(Linux), Clocks::default()));
    let store = Store::open_with(scratch.path(), Options::default(), Arc::clone(&sys) as _).unwrap();
    let clocks = &sys.around;
    let set = |wall: i64, boot: i64| {
        clocks.wall.store(wall, Ordering::SeqCst);
        clocks.boot.store(boot, Ordering::SeqCst);
    };
    store.volume().create_lease("a", &Labels::new(), HOUR).unwrap();
    store.volume().begin_lease("b", &Labels::new(), Some(HOUR)).unwrap();
    for (wall, boot) in [(HOUR * 24 * 365, 0), (0, HOUR * 2), (-HOUR, HOUR * 2), (HOUR / 2, HOUR / 2)] {
        set(wall, boot);
        assert_eq!(vec!["a", "b"], ids(&store), "{wall} {boot}");
        put(&store, "a", "lasts").unwrap();
    }
    set(HOUR * 2, HOUR * 2);
    assert_eq!(Vec::<String>::new(), ids(&store));
    for lease in ["a", "b"] {
        let ended = Error::LeaseEnded { lease: lease.to_owned(), reason: "expired" };
        assert_eq!(Err(ended), put(&store, lease, "ended"));
    }
    // After a boot only the wall clock counts.
    set(HOUR * 2, 0);
    clocks.rebooted.store(true, Ordering::SeqCst);
    assert_eq!(Vec::<String>::new(), ids(&store));
    set(0, 0);
    assert_eq!(vec!["a", "b"], ids(&store));
}

#[test]
fn a_file_with_leases_is_still_one_that_older_releases_open() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let before = fs::metadata(scratch.join("meta.db")).unwrap().len();
    put_plain(&store);
    let connection = rusqlite::Connection::open(scratch.join("meta.db")).unwrap();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name IN ('leases', 'lease_resources')";
    let has = || connection.query_row(tables, [], |row| row.get::<_, i32>(0)).unwrap();
    assert_eq!(0, has(), "a store without leases has no tables for them, {before} bytes");
    store.volume().create_lease("a", &Labels::new(), HOUR).unwrap();
    assert_eq!(2, has());
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(2, version);
    // What a release without leases looks at.
    let known =
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('blobs', 'blobs_by_size', 'labels', 'settings', 'images')";
    assert_eq!(5, connection.query_row(known, [], |row| row.get::<_, i32>(0)).unwrap());
}

fn put_plain(store: &Store) {
    store.put(b"plain", Algorithm::Sha256, None, None).unwrap();
}

#[test]
fn a_rebuild_keeps_leases() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    store.volume().create_lease("a", &Labels::from([("k".to_owned(), "v".to_owned())]), HOUR).unwrap();
    let resources = Resources { digests: vec![digest(1), digest(2)], refs: vec!["ref".to_owned()] };
    store.volume().add_to_lease("a", &resources).unwrap();
    let before = store.volume().lease("a").unwrap();

    let lines = store.volume().rebuild().unwrap();

    assert!(lines.iter().any(|line| line.contains("lost nothing")), "{lines:?}");
    assert_eq!(before, store.volume().lease("a").unwrap());
    assert_eq!(resources, store.volume().lease_resources("a").unwrap());
}

#[test]
fn a_damaged_file_says_so_in_place_of_no_leases() {
    let scratch = Scratch::new();
    store(&scratch).volume().create_lease("a", &Labels::new(), HOUR).unwrap();
    fs::write(scratch.join("meta.db"), b"nothing of ours").unwrap();
    let store = store(&scratch);
    let corrupt = |result: Result<()>| assert!(matches!(result, Err(Error::DataCorrupt { .. })), "{result:?}");
    corrupt(store.volume().leases(&Filter::compile::<&str>(&[]).unwrap()).map(drop));
    corrupt(store.volume().begin_lease("b", &Labels::new(), None).map(drop));
    corrupt(put(&store, "a", "text").map(drop));
    put_plain(&store);
}

/// Counts the calls that ask for a lock.
#[derive(Default)]
struct Seen(Mutex<Vec<Op>>);

impl Around for Seen {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.0.lock().unwrap().push(call.op);
        run()
    }
}

#[test]
fn a_put_without_a_lease_asks_the_system_for_nothing_more() {
    let scratch = Scratch::new();
    let sys = Arc::new(Layer::new(Arc::new(Linux), Seen::default()));
    let store = Store::open_with(scratch.path(), Options::default(), Arc::clone(&sys) as _).unwrap();
    let seen = &sys.around;
    let calls = |text: &str, lease: Option<&str>| {
        seen.0.lock().unwrap().clear();
        store.put_under(lease, text.as_bytes(), Algorithm::Sha256, None, None).unwrap();
        let mut calls = std::mem::take(&mut *seen.0.lock().unwrap());
        // A time is set only if the kernel's clock, which lags by up to a tick, gave an earlier one.
        calls.retain(|op| *op != Op::SetMtime);
        calls
    };
    calls("warm", None);
    let before = calls("1", None);
    store.volume().begin_lease("a", &Labels::new(), None).unwrap();
    assert_eq!(before, calls("2", None));
    // SQLite makes its own calls, on its own files.
    let under: Vec<_> = calls("3", Some("a")).into_iter().filter(|op| before.contains(op)).collect();
    assert!(under.len() <= before.len() + 2, "{under:?} {before:?}");
}
