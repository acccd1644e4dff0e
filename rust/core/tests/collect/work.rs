//! How much a step does: counted in system calls, so that no clock decides. Each look at the clock finds that the time is over.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::{io, mem, thread};

use steelyard_core::archive::json::Role;
use steelyard_core::error::Error;
use steelyard_core::store::Store;
use steelyard_core::store::collect::Options;
use steelyard_core::sys::{Around, Call, Hold, Layer, Linux, Op, Sys};
use steelyard_core::waiting::{Caller, for_caller};

use crate::common::{Scratch, sha256};
use crate::support::{HOUR, LATER, NOW, collect, document, image, labels, name, put, put_labelled, reason, stored};

/// Counts calls; its clock runs fast.
#[derive(Default)]
struct Count {
    calls: Mutex<Vec<Op>>,
    ahead_ns: AtomicI64,
    /// Whether the file system does not say which syncs it needs, so that each is made.
    is_unknown: bool,
}

impl Around for Count {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.calls.lock().unwrap().push(call.op);
        if self.is_unknown && call.op == Op::Naming {
            return Err(io::ErrorKind::Unsupported.into());
        }
        run()
    }

    fn clock_ns(&self, is_wall: bool, ns: i64) -> i64 {
        if is_wall { ns } else { ns + self.ahead_ns.fetch_add(1_000_000_000, Ordering::SeqCst) }
    }
}

type Counted = Layer<Count>;

const BLOBS: usize = 1_500;

fn counted(scratch: &Scratch) -> (Arc<Counted>, Arc<Store>) {
    counted_by(scratch, Count::default())
}

fn counted_by(scratch: &Scratch, count: Count) -> (Arc<Counted>, Arc<Store>) {
    let sys = Arc::new(Layer::new(Arc::new(Linux), count));
    let store = scratch.open_with(Arc::clone(&sys) as _).unwrap();
    for number in 0..BLOBS {
        put(&store, &format!("{number}"));
    }
    (sys, store)
}

/// The calls of each step.
fn steps(sys: &Counted, mut step: impl FnMut() -> bool) -> Vec<Vec<Op>> {
    let mut all = Vec::new();
    loop {
        mem::take(&mut *sys.around.calls.lock().unwrap());
        let has_ended = step();
        all.push(mem::take(&mut *sys.around.calls.lock().unwrap()));
        if has_ended {
            return all;
        }
    }
}

#[test]
fn no_step_of_a_collection_does_much() {
    for (most, options) in [
        (40, NOW),
        (40, Options { grace_ns: HOUR, ..NOW }),
        (40, Options { dry_run: true, ..NOW }),
        (300, Options { max_bytes: Some(100), ..NOW }),
    ] {
        let scratch = Scratch::in_memory();
        let (sys, store) = counted(&scratch);
        let blobs = image(&store, "kept");
        name(&store, "kept", blobs[0]);
        let mut collection = store.collection(options).unwrap();

        let steps = steps(&sys, || collection.step().unwrap());

        let of = |op| steps.iter().map(move |calls| calls.iter().filter(|call| **call == op).count());
        assert!(of(Op::Visit).sum::<usize>() > 3, "the names are read in parts");
        assert!(of(Op::Visit).max() <= Some(2), "a part, and the end of a small directory");
        for op in [Op::Open, Op::StatAt, Op::Rename, Op::Unlink] {
            assert!(of(op).max() <= Some(most), "{op:?}: {:?} in one step of {options:?}", of(op).max());
        }
        // The blobs are sorted, put in order and counted: each in several parts, of which none needs a call.
        let quiet = steps.iter().filter(|calls| calls.is_empty()).count();
        assert!(quiet >= 8, "{quiet} steps in memory");
    }
}

#[test]
fn what_an_ended_collection_has_condemned_is_removed_in_steps() {
    let scratch = Scratch::in_memory();
    let (sys, store) = counted(&scratch);
    let mut collection = store.collection(NOW).unwrap();
    while scratch.root.join("condemned/sha256").read_dir().map_or(0, Iterator::count) < BLOBS {
        assert!(!collection.step().unwrap());
    }
    drop(collection);
    let mut collection = store.collection(LATER).unwrap();

    let steps = steps(&sys, || collection.step().unwrap());

    let most = |op| steps.iter().map(|calls| calls.iter().filter(|call| **call == op).count()).max();
    assert_eq!(Some(1), most(Op::Unlink));
    assert!(most(Op::Visit) <= Some(2));
    drop(collection);
    assert_eq!(0, stored(&store).len());
    assert_eq!(0, collect(&store, NOW).unwrap().0.blobs);
}

#[test]
fn files_that_are_held_until_their_removal_is_durable_are_freed_one_in_a_step() {
    let scratch = Scratch::in_memory();
    let (sys, store) = counted_by(&scratch, Count { is_unknown: true, ..Count::default() });
    let mut collection = store.collection(NOW).unwrap();

    let steps = steps(&sys, || collection.step().unwrap());

    assert_eq!(BLOBS as u64, collection.report().blobs);
    let first = steps.iter().position(|calls| calls.contains(&Op::Unlink)).unwrap();
    let parts: Vec<_> = steps[first..].split(|calls| calls.contains(&Op::SyncDir)).collect();
    // The part before the first sync, the parts between two, and the end.
    assert_eq!(BLOBS.div_ceil(64) + 1, parts.len());
    for (number, part) in parts.iter().enumerate() {
        let freed = part.iter().take_while(|calls| calls.is_empty()).count();
        assert!(number == 0 || freed >= 64.min(BLOBS % 64), "{freed} steps without a call after sync {number}");
        assert!(part.iter().all(|calls| calls.iter().filter(|call| **call == Op::Unlink).count() <= 1));
    }
    assert!(stored(&store).is_empty());
}

#[test]
fn a_question_follows_what_the_last_file_says_of_a_kept_blob() {
    let scratch = Scratch::in_memory();
    let sys = Arc::new(Layer::new(Arc::new(Linux), Count::default()));
    let store = scratch.open_with(sys).unwrap();
    let image = put(&store, &document(&[]));
    name(&store, "a", image);
    let note = put(&store, "note");
    let signature = put(&store, &document(&[(image, Role::Subject), (note, Role::Part)]));

    assert_eq!(vec![image, signature, note], reason(&store, note).chain);
}

#[test]
fn documents_that_name_many_blobs_are_read_one_in_a_step() {
    let scratch = Scratch::in_memory();
    let sys = Arc::new(Layer::new(Arc::new(Linux), Count::default()));
    let store = scratch.open_with(Arc::clone(&sys) as _).unwrap();
    let parts: Vec<_> = (0..1_100_u32).map(|number| (sha256(&number.to_be_bytes()), Role::Part)).collect();
    for number in 0..20 {
        let text = format!("{}{}", document(&parts), " ".repeat(number));
        let digest = put(&store, &text);
        if number < 10 {
            name(&store, &format!("{number}"), digest);
        }
    }
    // Kept ones and garbage, before and after what they name is remembered.
    for options in [LATER, NOW] {
        let mut collection = store.collection(options).unwrap();
        let before = steps(&sys, || collection.step().unwrap());
        let reads = before.iter().map(|calls| calls.iter().filter(|call| **call == Op::ReadAt).count()).max();
        // The beginning of a document, and its rest.
        assert!(reads <= Some(2), "{reads:?} reads in one step");
        assert_eq!(if options.grace_ns == 0 { 10 } else { 0 }, collection.report().blobs);
    }
}

/// How many documents and edges are recorded.
fn recorded(scratch: &Scratch) -> [i64; 2] {
    let connection = rusqlite::Connection::open(scratch.root.join("meta.db")).unwrap();
    ["SELECT count(*) FROM documents WHERE digest IN (SELECT document FROM edges)", "SELECT count(*) FROM edges"]
        .map(|sql| connection.query_row(sql, [], |row| row.get(0)).unwrap())
}

#[test]
fn what_a_document_names_is_recorded_in_parts_and_counts_when_all_are_there() {
    let scratch = Scratch::in_memory();
    let sys = Arc::new(Layer::new(Arc::new(Linux), Count::default()));
    let store = scratch.open_with(sys).unwrap();
    let parts: Vec<_> = (0..1_100_u32).map(|number| (put(&store, &format!("part {number}")), Role::Part)).collect();
    let image = put(&store, &document(&parts));
    name(&store, "a", image);
    let mut collection = store.collection(NOW).unwrap();
    let mut edges = 0;
    while edges < 500 {
        assert!(!collection.step().unwrap());
        let before = edges;
        let documents;
        [documents, edges] = recorded(&scratch);
        assert_eq!(0, documents);
        assert!(edges - before <= 128, "{} rows in one transaction", edges - before);
    }
    // It ends early; the next one does not take the parts that were recorded for all of them.
    drop(collection);

    let (report, _) = collect(&store, NOW).unwrap();

    assert_eq!((0, [1, 1_100]), (report.blobs, recorded(&scratch)));
    assert_eq!(0, collect(&store, NOW).unwrap().0.blobs);
}

/// The byte of the file `lock` that a thread holds which waits to write to the metadata: 2^62 + 4.
const WAITING: Range<u64> = (1 << 62) + 4..(1 << 62) + 5;

/// How many notes there are.
fn notes(scratch: &Scratch) -> i64 {
    let connection = rusqlite::Connection::open(scratch.root.join("meta.db")).unwrap();
    connection.query_row("SELECT count(*) FROM notes", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_collection_lets_a_thread_that_waits_write_first_but_not_for_ever() {
    for is_given_back in [true, false] {
        let scratch = Scratch::in_memory();
        let (sys, store) = counted(&scratch);
        let lock = File::options().read(true).write(true).open(scratch.root.join("lock")).unwrap();
        assert!(Linux.lock(lock.as_fd(), WAITING, Hold::Exclusive).unwrap());
        let mut collection = store.collection(NOW).unwrap();
        let asked = || sys.around.calls.lock().unwrap().iter().filter(|call| **call == Op::FindLock).count();
        while asked() < 10 {
            assert!(!collection.step().unwrap());
        }
        assert_eq!(0, notes(&scratch));
        if is_given_back {
            assert!(Linux.lock(lock.as_fd(), WAITING, Hold::Free).unwrap());
            assert!(!collection.step().unwrap());
            assert!(notes(&scratch) > 0);
        }
        while !collection.step().unwrap() {}
        assert_eq!(BLOBS as u64, collection.report().blobs);
    }
}

#[test]
fn a_thread_that_finds_another_program_writing_has_collections_wait() {
    let scratch = Scratch::in_memory();
    let (store, other) = (scratch.open(), scratch.open());
    let digest = put(&store, "blob");
    let program = rusqlite::Connection::open(scratch.root.join("meta.db")).unwrap();
    program.execute_batch("BEGIN IMMEDIATE").unwrap();
    let lock = File::options().read(true).write(true).open(scratch.root.join("lock")).unwrap();
    let is_held = || Linux.find_lock(lock.as_fd(), WAITING).unwrap().is_some();
    assert!(!is_held());
    thread::scope(|scope| {
        let label = |store: Arc<Store>, key: &str| {
            let labels = labels(&[(key, "1")]);
            store.volume().update(&digest, &labels, None).unwrap();
        };
        scope.spawn(move || label(store, "a"));
        scope.spawn(move || label(other, "b"));
        while !is_held() {
            thread::yield_now();
        }
        program.execute_batch("COMMIT").unwrap();
    });
    assert!(!is_held());
}

/// A caller that can change its mind.
#[derive(Default)]
struct Wanting(AtomicBool);

impl Caller for Wanting {
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn waits(&self, _: bool) {}
}

#[test]
fn a_thread_that_is_cancelled_or_gives_up_has_no_collection_wait() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let digest = put_labelled(&store, "blob", &[("a", "0")]);
    let program = rusqlite::Connection::open(scratch.root.join("meta.db")).unwrap();
    program.execute_batch("BEGIN IMMEDIATE").unwrap();
    let lock = File::options().read(true).write(true).open(scratch.root.join("lock")).unwrap();
    let is_held = || Linux.find_lock(lock.as_fd(), WAITING).unwrap().is_some();
    for is_cancelled_first in [false, true] {
        let caller = Arc::new(Wanting(AtomicBool::new(is_cancelled_first)));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let update = || store.volume().update(&digest, &labels(&[("a", "1")]), None);
                for_caller(Some(Arc::clone(&caller) as _), update)
            });
            while !is_cancelled_first && !is_held() {
                thread::yield_now();
            }
            caller.0.store(true, Ordering::SeqCst);
            assert_eq!(Err(Error::Cancelled), waiting.join().unwrap().map(drop));
        });
        assert!(!is_held());
    }
    // The row means nothing without the file, so a deletion soon leaves it.
    store.volume().delete(&digest).unwrap();
    assert!(!is_held());
}
