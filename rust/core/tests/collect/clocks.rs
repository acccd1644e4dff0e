//! The grace time: what clocks say of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use steelyard_core::archive::json::Role;
use steelyard_core::store::Store;
use steelyard_core::store::collect::Options;
use steelyard_core::sys::{Around, Call, Layer, Linux};

use crate::common::{Scratch, sha256};
use crate::support::{
    EXPIRE, HOUR, NOW, ROOT, collect, document, name, name_with, put, put_labelled, reason, removed, sorted, stored,
};

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

struct Timed {
    sys: Arc<Layer<Clocks>>,
    store: Arc<Store>,
    _scratch: Scratch,
}

impl Timed {
    fn new() -> Self {
        let scratch = Scratch::new();
        let sys = Arc::new(Layer::new(Arc::new(Linux), Clocks::default()));
        let store = scratch.open_with(Arc::clone(&sys) as _).unwrap();
        Self { sys, store, _scratch: scratch }
    }

    fn set(&self, wall: i64, boot: i64) {
        self.sys.around.wall.store(wall, Ordering::SeqCst);
        self.sys.around.boot.store(boot, Ordering::SeqCst);
    }

    /// Collect with a grace time of an hour, and return how many blobs went.
    fn collect(&self) -> u64 {
        collect(&self.store, Options { grace_ns: HOUR, ..NOW }).unwrap().0.blobs
    }
}

#[test]
fn garbage_goes_a_grace_time_after_a_collection_first_found_it() {
    let timed = Timed::new();
    put(&timed.store, "garbage");
    timed.set(10 * HOUR, 10 * HOUR);
    assert_eq!(0, timed.collect());
    assert!(reason(&timed.store, sha256(b"garbage")).since_ns.is_some());
    timed.set(10 * HOUR + HOUR / 2, 10 * HOUR + HOUR / 2);
    assert_eq!(0, timed.collect());
    timed.set(11 * HOUR + 1, 11 * HOUR + 1);
    assert_eq!(1, timed.collect());
}

#[test]
fn a_clock_that_is_set_removes_nothing_too_early() {
    let timed = Timed::new();
    put(&timed.store, "garbage");
    assert_eq!(0, timed.collect());
    for (wall, boot) in [(HOUR * 24 * 365, 0), (0, HOUR * 2), (-HOUR, HOUR * 2)] {
        timed.set(wall, boot);
        assert_eq!(0, timed.collect(), "{wall} {boot}");
        timed.set(0, 0);
        assert_eq!(0, timed.collect());
    }
    // A note from the future was made again, so the time counts from then on.
    timed.set(HOUR * 2, HOUR * 4);
    assert_eq!(1, timed.collect());
}

#[test]
fn after_a_boot_the_wall_clock_counts() {
    let timed = Timed::new();
    put(&timed.store, "garbage");
    assert_eq!(0, timed.collect());
    timed.sys.around.rebooted.store(true, Ordering::SeqCst);
    timed.set(HOUR / 2, -HOUR);
    assert_eq!(0, timed.collect());
    timed.set(HOUR * 2, -HOUR);
    assert_eq!(1, timed.collect());
}

#[test]
fn a_blob_that_was_kept_meanwhile_gets_the_whole_grace_time_again() {
    let timed = Timed::new();
    let blob = put(&timed.store, "garbage");
    assert_eq!(0, timed.collect());
    name(&timed.store, "a", blob);
    timed.set(2 * HOUR, 2 * HOUR);
    assert_eq!(0, timed.collect());
    timed.store.volume().delete_image("a", None).unwrap();
    assert_eq!(0, timed.collect());
    // Another file has another note.
    timed.set(4 * HOUR, 4 * HOUR);
    timed.store.volume().delete(&blob).unwrap();
    put(&timed.store, "garbage");
    assert_eq!(0, timed.collect());
    timed.set(6 * HOUR, 6 * HOUR);
    assert_eq!(1, timed.collect());
}

#[test]
fn a_young_document_spares_what_it_names_and_all_of_a_chain_goes_at_once() {
    let timed = Timed::new();
    let blob = put(&timed.store, "blob");
    assert_eq!(0, timed.collect());
    timed.set(2 * HOUR, 2 * HOUR);
    let manifest = put(&timed.store, &document(&[(blob, Role::Part)]));
    let index = put(&timed.store, &document(&[(manifest, Role::Document)]));
    assert_eq!(0, timed.collect());
    assert_eq!(3, stored(&timed.store).len());
    timed.set(4 * HOUR, 4 * HOUR);
    let _ = index;
    assert_eq!(3, timed.collect());
}

/// A name and a label that expire on the first of January 2100, and a clock an hour before that.
fn expiring() -> (Timed, i64, [steelyard_core::digest::Digest; 2]) {
    let timed = Timed::new();
    let expire = [(EXPIRE, "2100-01-01T00:00:00Z"), (ROOT, "1")];
    let named = put(&timed.store, "named");
    name_with(&timed.store, "a", named, &expire[..1]);
    let labelled = put_labelled(&timed.store, "labelled", &expire);
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let before = 4_102_444_800_000_000_000 - now - HOUR;
    timed.set(before, 0);
    assert_eq!(0, removed(&timed.store).len());
    (timed, before, [named, labelled])
}

#[test]
fn a_clock_that_is_set_ahead_ends_no_name_and_no_label() {
    let (timed, before, all) = expiring();
    for _ in 0..2 {
        timed.set(before + 365 * 24 * HOUR, HOUR / 2);
        assert_eq!(0, removed(&timed.store).len());
        assert!(reason(&timed.store, all[0]).root.is_some());
    }
    timed.set(before + HOUR / 2, 2 * HOUR);
    assert_eq!(0, removed(&timed.store).len());
    timed.set(before + 2 * HOUR, 2 * HOUR);
    assert_eq!(sorted(all), removed(&timed.store));
}

#[test]
fn after_a_boot_names_and_labels_end_by_the_wall_clock() {
    let (timed, before, all) = expiring();
    timed.sys.around.rebooted.store(true, Ordering::SeqCst);
    timed.set(before + 2 * HOUR, -HOUR);
    assert_eq!(sorted(all), removed(&timed.store));
}
