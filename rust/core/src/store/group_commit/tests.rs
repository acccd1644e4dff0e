//! Who shares a flush shares its failure, and nothing else.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;
use crate::hash::lanes::digest_many;
use crate::store::{Options, Put, Store};
use crate::sys::{Around, Call, Fault, Faulty, Layer, Linux, Op};

/// Enough for a `syncfs`.
const MANY: usize = 12;

/// Few enough for a sync of each file.
const FEW: usize = 5;

/// A store whose groups the test starts.
struct Fixture {
    path: PathBuf,
    faulty: Arc<Faulty>,
    watch: Arc<Layer<Watch>>,
    store: Arc<Store>,
}

/// Looks at each `syncfs`.
#[derive(Default)]
struct Watch {
    panics: AtomicBool,
    files: Mutex<Vec<i32>>,
}

impl Around for Watch {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        if call.op == Op::SyncFs {
            self.files.lock().unwrap().push(call.fd);
            assert!(!self.panics.swap(false, Ordering::SeqCst), "the test wants it");
        }
        run()
    }
}

impl Fixture {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("steelyard-group-{name}-{}", std::process::id()));
        let faulty = Faulty::over(Arc::new(Linux));
        let watch = Arc::new(Layer::new(faulty.clone(), Watch::default()));
        let store = Store::open_with(&path, Options::default(), watch.clone()).unwrap();
        store.put(b"makes the directory", Algorithm::Sha256, None, None).unwrap();
        Self { path, faulty, watch, store }
    }

    fn put(&self, number: usize) -> Result<Put> {
        self.store.put(&number.to_le_bytes(), Algorithm::Sha256, None, None)
    }

    /// Put that many blobs, from as many threads, in one group that meets with `fault`. None: the caller's thread died.
    fn share_a_group(&self, count: usize, fault: Option<Fault>) -> Vec<Option<Result<Put>>> {
        let group_commit = &self.store.group_commit;
        // As if other groups were under way, until all have come.
        group_commit.schedule.hold();
        thread::scope(|scope| {
            let puts: Vec<_> = (0..count).map(|number| scope.spawn(move || self.put(number))).collect();
            while group_commit.schedule.counts().0 < count {
                thread::yield_now();
            }
            self.faulty.set(fault);
            group_commit.schedule.end_one();
            let results = puts.into_iter().map(|put| put.join().ok()).collect();
            self.faulty.set(None);
            group_commit.schedule.end_one();
            assert_eq!((0, 0), group_commit.schedule.counts());
            results
        })
    }

    fn stored(&self, count: usize) -> usize {
        let digests = (0..count).map(|number| digest_many(Algorithm::Sha256, &[&number.to_le_bytes()])[0]);
        self.store.volume.infos(&digests.collect::<Vec<_>>()).unwrap().len()
    }

    /// Nothing that failed is in the way of another try.
    fn assert_usable(&self, count: usize) {
        for number in 0..count {
            self.put(number).unwrap();
        }
        assert_eq!(count, self.stored(count));
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
    }
}

fn failed(results: &[Option<Result<Put>>]) -> usize {
    results.iter().filter(|result| matches!(result, Some(Err(Error::Io { errno: libc::EIO, .. })))).count()
}

#[test]
fn all_waiting_callers_share_one_flush() {
    let fixture = Fixture::new("shared");

    let results = fixture.share_a_group(MANY, Some(Fault::Every(Op::SyncData, libc::EIO)));

    // No single sync was asked for.
    assert!(results.iter().all(|result| result.as_ref().unwrap().as_ref().unwrap().new));
    assert_eq!(MANY, fixture.stored(MANY));
}

#[test]
fn a_flush_that_fails_fails_all_and_nothing_is_stored() {
    let fixture = Fixture::new("flush");

    let results = fixture.share_a_group(MANY, Some(Fault::First(Op::SyncFs, libc::EIO)));

    assert_eq!(MANY, failed(&results));
    assert_eq!(0, fixture.stored(MANY));
    fixture.assert_usable(MANY);
}

#[test]
fn a_sync_of_names_that_fails_fails_all() {
    let fixture = Fixture::new("names");

    let results = fixture.share_a_group(MANY, Some(Fault::Second(Op::SyncFs, libc::EIO)));

    assert_eq!(MANY, failed(&results));
    fixture.assert_usable(MANY);
}

#[test]
fn one_file_that_fails_fails_its_caller_alone() {
    for (count, op) in [(MANY, Op::LinkUnnamed), (MANY, Op::Stat), (FEW, Op::LinkUnnamed), (FEW, Op::SyncData)] {
        let fixture = Fixture::new(&format!("one-{count}-{op:?}"));

        let results = fixture.share_a_group(count, Some(Fault::First(op, libc::EIO)));

        assert_eq!(1, failed(&results), "{op:?}: {results:?}");
        assert_eq!(count - 1, fixture.stored(count));
        fixture.assert_usable(count);
    }
}

#[test]
fn where_the_whole_is_not_synced_every_file_is() {
    let fixture = Fixture::new("each");
    let unsupported = Some(Fault::Every(Op::SyncFs, libc::EOPNOTSUPP));

    let results = fixture.share_a_group(MANY, unsupported);

    assert!(results.iter().all(|result| matches!(result, Some(Ok(_)))), "{results:?}");
    assert_eq!(MANY, fixture.stored(MANY));
}

#[test]
fn a_leader_that_dies_leaves_no_caller_waiting() {
    let fixture = Fixture::new("panic");
    fixture.watch.around.panics.store(true, Ordering::SeqCst);

    let results = fixture.share_a_group(MANY, None);

    assert_eq!(1, results.iter().filter(|result| result.is_none()).count());
    assert_eq!(MANY - 1, failed(&results));
    fixture.assert_usable(MANY);
}

/// Write a file of an entry.
fn stage(store: &Store, entry: &mut Entry, data: &[u8]) {
    let digest = digest_many(Algorithm::Sha256, &[data])[0];
    assert!(store.stage(entry, digest, data, None, 0, false).unwrap());
}

/// Commit a group while no other process holds a lock.
fn run(store: &Store, mut entries: Vec<Entry>) -> Vec<Answer> {
    let done = |went| match went {
        Went::Done(answer) => answer,
        Went::Busy(_) => panic!("no other thread is there"),
    };
    commit_group(&store.volume, &mut entries).into_iter().map(done).collect()
}

#[test]
fn the_flush_goes_through_the_file_that_was_opened_first() {
    let fixture = Fixture::new("oldest");
    let store = &fixture.store;
    let (mut first, mut second) = (Entry::new(Algorithm::Sha256), Entry::new(Algorithm::Sha256));
    stage(store, &mut first, &[0]);
    for number in 1..MANY {
        stage(store, &mut second, &number.to_le_bytes());
    }
    let oldest = first.files[0].fd().as_raw_fd();

    let answers = run(store, vec![second, first]);

    assert_eq!(vec![MANY - 1, 1], answers.iter().map(Vec::len).collect::<Vec<_>>());
    assert_eq!(vec![oldest; 2], *fixture.watch.around.files.lock().unwrap());
}

#[test]
fn the_flush_goes_through_no_file_that_was_flushed_before() {
    let fixture = Fixture::new("fresh");
    let store = &fixture.store;
    let (mut large, mut small) = (Entry::new(Algorithm::Sha256), Entry::new(Algorithm::Sha256));
    for number in 0..MANY {
        stage(store, &mut large, &vec![u8::try_from(number).unwrap(); 400_000]);
        stage(store, &mut small, &number.to_le_bytes());
    }
    let (first, second) = (large.files[0].fd().as_raw_fd(), small.files[0].fd().as_raw_fd());

    flush_large(&store.volume, &mut large).unwrap();
    let answers = run(store, vec![large, small]);

    assert!(answers.iter().flatten().all(Result::is_ok));
    assert_eq!(vec![first, second, second], *fixture.watch.around.files.lock().unwrap());
}

#[test]
fn the_same_bytes_twice_in_a_round_are_one_blob_with_the_labels_of_the_first() {
    for count in [2, MANY] {
        let fixture = Fixture::new(&format!("same-{count}"));
        let store = &fixture.store;
        let all: Vec<_> = (0..count).map(|number| Labels::from([("who".to_owned(), number.to_string())])).collect();
        let entries: Vec<_> = all
            .iter()
            .map(|labels| {
                let (mut entry, digest) =
                    (Entry::new(Algorithm::Sha256), digest_many(Algorithm::Sha256, &[b"same"])[0]);
                assert!(store.stage(&mut entry, digest, b"same", Some(labels), 0, false).unwrap());
                entry
            })
            .collect();

        let answers = run(store, entries);

        let published: Vec<_> = answers.into_iter().flatten().map(Result::unwrap).collect();
        assert!(matches!(published[0], Published::New { .. }), "{published:?}");
        assert!(published[1..].iter().all(|one| *one == Published::Existed), "{published:?}");
        let info = store.volume.info(&digest_many(Algorithm::Sha256, &[b"same"])[0]).unwrap();
        assert_eq!(all[0], *info.labels);
    }
}

#[test]
fn the_second_of_the_same_bytes_is_stored_where_the_first_fails() {
    for op in [Op::LinkUnnamed, Op::Stat] {
        let fixture = Fixture::new(&format!("second-{op:?}"));
        let store = &fixture.store;
        let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
        let digest = digest_many(Algorithm::Sha256, &[b"same"])[0];
        let mut entry = Entry::new(Algorithm::Sha256);
        for _ in 0..2 {
            assert!(store.stage(&mut entry, digest, b"same", Some(&labels), 0, false).unwrap());
        }
        fixture.faulty.set(Some(Fault::First(op, libc::EIO)));

        let answers = run(store, vec![entry]);

        fixture.faulty.set(None);
        assert!(matches!(answers[0][0], Err(Error::Io { errno: libc::EIO, .. })), "{answers:?}");
        assert!(matches!(answers[0][1], Ok(Published::New { .. })), "{answers:?}");
        assert_eq!(labels, *store.volume.info(&digest).unwrap().labels);
    }
}
