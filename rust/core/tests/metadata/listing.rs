//! Listings that are kept, and walks that are ahead of their caller: neither may show what is not there.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use steelyard_core::digest::Digest;
use steelyard_core::error::Error;
use steelyard_core::filter::Filter;
use steelyard_core::model::Info;
use steelyard_core::store::Store;
use steelyard_core::sys::{Fault, Faulty, Linux, Op};
use steelyard_core::volume::walk::Ahead;

use crate::common::Scratch;
use crate::recorder::{Recorder, recorder};
use crate::support::{labels, put, walk};

const HANG: Duration = Duration::from_secs(30);

/// A store whose calls are recorded, with blobs in it.
fn recorded(scratch: &Scratch, count: usize) -> (Arc<Recorder>, Arc<Store>, Vec<Digest>) {
    let sys = recorder();
    let store = scratch.open_with(sys.clone()).unwrap();
    let mut blobs: Vec<_> =
        (0..count).map(|number| put(&store, &number.to_string(), &[("odd", &(number % 2).to_string())])).collect();
    blobs.sort();
    (sys, store, blobs)
}

/// Wait until the last change of a directory is so long ago that a listing of it can be kept.
fn settle(scratch: &Scratch) {
    let stat = fs::metadata(scratch.root.join("blobs/sha256")).unwrap();
    let changed = UNIX_EPOCH + Duration::new(stat.ctime().unsigned_abs(), u32::try_from(stat.ctime_nsec()).unwrap());
    while SystemTime::now().duration_since(changed).is_ok_and(|age| age < Duration::from_millis(150)) {
        thread::yield_now();
    }
}

/// How often a directory was listed, and how often a single name was looked at, since the last time.
fn looks(sys: &Recorder) -> (usize, usize) {
    let events = sys.around.take();
    let of =
        |op| events.iter().filter(|event| event.op == op && event.path.to_string_lossy().contains("sha256")).count();
    (of(Op::Visit), of(Op::StatAt))
}

fn digests(infos: &[Info]) -> Vec<Digest> {
    infos.iter().map(|info| info.digest).collect()
}

#[test]
fn a_directory_is_listed_again_only_when_it_has_changed() {
    let scratch = Scratch::new();
    let (sys, store, mut blobs) = recorded(&scratch, 20);
    settle(&scratch);
    walk(&store, &[], 9);
    looks(&sys);

    assert_eq!(blobs, digests(&walk(&store, &[], 9)));
    assert_eq!((0, 0), looks(&sys));

    // By another way than this store's.
    fs::remove_file(scratch.blob(&blobs.remove(3))).unwrap();
    assert_eq!(blobs, digests(&walk(&store, &[], 9)));
    // One listing: the names, and their end.
    assert_eq!(2, looks(&sys).0);

    settle(&scratch);
    blobs.push(put(&store, "new", &[]));
    blobs.sort();
    assert_eq!(blobs, digests(&walk(&store, &[], 9)));
}

#[test]
fn a_listing_of_a_directory_that_has_just_changed_is_not_kept() {
    let scratch = Scratch::new();
    let (_, store, mut blobs) = recorded(&scratch, 5);
    for number in 0..50 {
        blobs.push(put(&store, &format!("new {number}"), &[]));
        assert_eq!(blobs.len(), walk(&store, &[], 99).len());

        // Perhaps within the same tick of the clock that stamps the directory.
        fs::remove_file(scratch.blob(&blobs.pop().unwrap())).unwrap();
        assert_eq!(blobs.len(), walk(&store, &[], 99).len());
    }
}

#[test]
fn a_filter_on_labels_looks_at_each_file_or_at_a_listing_that_is_good() {
    let scratch = Scratch::new();
    let (sys, store, blobs) = recorded(&scratch, 20);
    looks(&sys);
    assert_eq!(10, walk(&store, &["labels.odd==1"], 99).len());
    assert_eq!((0, 10), looks(&sys));

    settle(&scratch);
    walk(&store, &[], 99);
    looks(&sys);
    assert_eq!(10, walk(&store, &["labels.odd==1"], 99).len());
    assert_eq!((0, 0), looks(&sys));

    for digest in &blobs[..10] {
        fs::remove_file(scratch.blob(digest)).unwrap();
    }
    let left = walk(&store, &["labels.odd==1", "labels.odd==0"], 99);
    assert_eq!(blobs[10..], digests(&left));
    assert!(left.iter().all(|info| info.labels == labels(&[("odd", &info.labels["odd"])])));
}

fn ahead(store: &Arc<Store>, most: usize) -> Ahead<Vec<Digest>> {
    Ahead::new(store.volume().walk(&Filter::compile::<&str>(&[]).unwrap(), None).unwrap(), most, digests)
}

#[test]
fn a_walk_ahead_gives_each_blob_once_and_in_order_however_it_is_asked() {
    let scratch = Scratch::in_memory();
    let (_, store, blobs) = recorded(&scratch, 100);
    let (begun, mut were_ready) = (Instant::now(), 0);
    // Other tests may have all the threads that go ahead.
    while were_ready == 0 {
        assert!(begun.elapsed() < HANG, "nothing is found ahead");
        let (ahead, mut seen) = (ahead(&store, 7), Vec::new());

        while let Some(found) = ahead.next().unwrap() {
            seen.extend(found);
            for _ in 0..1000 {
                if let Some(found) = ahead.ready() {
                    seen.extend(found.unwrap().unwrap_or_default());
                    were_ready += 1;
                    break;
                }
                thread::yield_now();
            }
        }

        assert_eq!(blobs, seen);
        assert_eq!(None, ahead.next().unwrap());
        assert!(ahead.ready().is_none());
    }
}

#[test]
fn nothing_is_read_before_the_first_call() {
    let scratch = Scratch::in_memory();
    let (_, store, _) = recorded(&scratch, 3);

    assert!(ahead(&store, 9).ready().is_none());
}

#[test]
fn a_failure_of_a_step_ahead_is_returned_for_its_blobs() {
    let scratch = Scratch::in_memory();
    recorded(&scratch, 10);
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    let everything = Filter::compile::<&str>(&[]).unwrap();
    let of_one = |infos: &[Info]| infos.len();
    let ahead = Ahead::new(store.volume().walk(&everything, None).unwrap(), 99, of_one);
    faulty.set(Some(Fault::Every(Op::Visit, libc::EIO)));

    assert!(matches!(ahead.next(), Err(Error::Io { errno: libc::EIO, .. })));

    faulty.set(None);
    let ahead = Ahead::new(store.volume().walk(&everything, None).unwrap(), 10, of_one);
    assert_eq!(Some(10), ahead.next().unwrap());
    assert_eq!(None, ahead.next().unwrap());
}

#[test]
fn a_step_that_dies_is_not_taken_for_the_end() {
    let scratch = Scratch::in_memory();
    let (_, store, _) = recorded(&scratch, 10);
    let everything = Filter::compile::<&str>(&[]).unwrap();
    let dies = |infos: &[Info]| assert!(infos.len() > 4, "the test wants it");
    let ahead = Ahead::new(store.volume().walk(&everything, None).unwrap(), 6, dies);
    assert!(ahead.next().unwrap().is_some());

    for _ in 0..3 {
        assert!(matches!(ahead.next(), Err(Error::Io { errno: libc::EIO, .. })));
    }
}

#[test]
fn a_walk_of_a_closed_store_gives_nothing_that_was_found_before() {
    let scratch = Scratch::in_memory();
    let (_, store, _) = recorded(&scratch, 10);
    let ahead = ahead(&store, 3);
    assert!(ahead.next().unwrap().is_some());

    store.close();

    assert!(ahead.ready().is_none());
    assert!(matches!(ahead.next(), Err(Error::StoreClosed { .. })));
}

#[test]
fn a_walk_that_is_dropped_lets_go_of_the_store() {
    let scratch = Scratch::in_memory();
    let (_, store, _) = recorded(&scratch, 10);
    let walk = ahead(&store, 3);
    assert!(walk.next().unwrap().is_some());

    drop(walk);

    while Arc::strong_count(&store) > 1 {
        thread::yield_now();
    }
}
