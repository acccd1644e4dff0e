//! The last use of a blob: when it is recorded, what it costs, and what it must not change.

use std::fs::{File, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use steelyard_core::digest::Digest;
use steelyard_core::error::Error;
use steelyard_core::pipe::Job;
use steelyard_core::store::Store;
use steelyard_core::sys::{Around, Call, Layer, Linux, Op, Stat};

use crate::common::{SHA256, Scratch, sha256};

const HOURS: Duration = Duration::from_secs(2 * 3600);
const HOUR: Duration = Duration::from_secs(3600);

/// Writes down the calls, refuses access times, and lets time pass by moving the past back.
#[derive(Default)]
struct Past {
    calls: Mutex<Vec<Op>>,
    refuses: Mutex<Option<i32>>,
    /// The moments at which two hours have passed, in ns since the epoch.
    moments: Mutex<Vec<i64>>,
    /// Whether the files belong to another user.
    is_of_another: AtomicBool,
}

impl Around for Past {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.calls.lock().unwrap().push(call.op);
        match *self.refuses.lock().unwrap() {
            Some(errno) if call.op == Op::SetAtime => Err(io::Error::from_raw_os_error(errno)),
            _ => run(),
        }
    }

    fn file(&self, stat: Stat) -> Stat {
        let moments = self.moments.lock().unwrap();
        let passed = moments.iter().filter(|moment| stat.ctime_ns < **moment).count();
        let owner = stat.owner + u32::from(self.is_of_another.load(Ordering::Relaxed));
        Stat { ctime_ns: stat.ctime_ns - ns(HOURS) * i64::try_from(passed).unwrap(), owner, ..stat }
    }
}

struct Fixture {
    scratch: Scratch,
    sys: Arc<Layer<Past>>,
    store: Arc<Store>,
}

impl Fixture {
    fn new() -> Self {
        let scratch = Scratch::new();
        let sys = Arc::new(Layer::new(Arc::new(Linux), Past::default()));
        let store = scratch.open_with(Arc::clone(&sys) as _).unwrap();
        Self { scratch, sys, store }
    }

    fn put(&self, text: &str) -> Digest {
        self.store.put(text.as_bytes(), SHA256, None, None).unwrap().digest
    }

    /// Let two hours pass, for these blobs.
    fn pass(&self, digests: &[Digest]) {
        for digest in digests {
            let file = File::open(self.scratch.blob(digest)).unwrap();
            let found = file.metadata().unwrap();
            let times = FileTimes::new().set_accessed(found.accessed().unwrap() - HOURS);
            file.set_times(times.set_modified(found.modified().unwrap() - HOURS)).unwrap();
        }
        // The kernel's stamps lag.
        std::thread::sleep(Duration::from_millis(20));
        self.sys.around.moments.lock().unwrap().push(now());
    }

    fn accessed(&self, digest: &Digest) -> SystemTime {
        self.scratch.blob(digest).metadata().unwrap().accessed().unwrap()
    }

    fn is_recorded(&self, digest: &Digest) -> bool {
        self.accessed(digest) > SystemTime::now() - HOUR
    }

    /// How many calls of that kind a piece of work makes, and how many of any kind.
    fn count(&self, op: Op, work: impl FnOnce()) -> (usize, usize) {
        self.sys.around.calls.lock().unwrap().clear();
        work();
        let calls = self.sys.around.calls.lock().unwrap();
        (calls.iter().filter(|call| **call == op).count(), calls.len())
    }
}

fn ns(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap()
}

fn now() -> i64 {
    ns(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
}

/// A name and a piece of work.
type Work = (&'static str, fn(&Store, &Digest));

const USES: [Work; 5] = [
    ("open", |store, digest| {
        store.volume().blob(digest).unwrap();
    }),
    ("put", |store, _| {
        assert!(!store.put(b"data", SHA256, None, None).unwrap().new);
    }),
    ("commit", |store, _| {
        let ingest = store.ingests().open("ref", None, None, None).unwrap();
        ingest.write(b"data").unwrap();
        ingest.commit(None, None, None).ok();
    }),
    ("expected", |store, digest| {
        let opened = store.ingests().open("ref", None, Some(digest), None);
        assert!(matches!(opened, Err(Error::AlreadyExists { .. })), "a writer was opened");
    }),
    ("find", |store, _| {
        let path = store.volume().path().with_extension("source");
        std::fs::write(&path, b"data").unwrap();
        let source = File::open(&path).unwrap();
        store.find(std::os::fd::AsFd::as_fd(&source), 4, SHA256, &Job::default()).unwrap().unwrap();
    }),
];

const CHECKS: [Work; 4] = [
    ("inspect", |store, digest| {
        store.volume().inspect(digest).unwrap().read_exact_at(&mut [0; 4], 0).unwrap();
    }),
    ("hash", |store, digest| {
        assert!(store.volume().hash_many(&[*digest], &Job::default())[0].as_ref().unwrap().is_ok());
    }),
    ("info", |store, digest| {
        store.volume().info(digest).unwrap();
    }),
    ("cached", |store, digest| {
        assert!(store.volume().blob_cached(digest).unwrap().is_none(), "the call that may wait records the use");
    }),
];

#[test]
fn a_use_is_recorded_once_an_hour_and_moves_no_time_of_commit() {
    for (what, work) in USES {
        let fixture = Fixture::new();
        let digest = fixture.put("data");
        assert_eq!(0, fixture.count(Op::SetAtime, || work(&fixture.store, &digest)).0, "{what}: it is new");
        for _ in 0..2 {
            fixture.pass(&[digest]);
            let committed = fixture.scratch.blob(&digest).metadata().unwrap().mtime_nsec();
            assert_eq!(1, fixture.count(Op::SetAtime, || work(&fixture.store, &digest)).0, "{what}");
            assert!(fixture.is_recorded(&digest), "{what}");
            let repeated = fixture.count(Op::SetAtime, || work(&fixture.store, &digest));
            assert_eq!(0, repeated.0, "{what}: recorded a moment ago");
            assert_eq!(committed, fixture.scratch.blob(&digest).metadata().unwrap().mtime_nsec(), "{what}");
        }
    }
}

#[test]
fn a_check_is_no_use() {
    for (what, work) in CHECKS {
        let fixture = Fixture::new();
        let digest = fixture.put("data");
        fixture.pass(&[digest]);
        let before = fixture.accessed(&digest);
        assert_eq!(0, fixture.count(Op::SetAtime, || work(&fixture.store, &digest)).0, "{what}");
        assert_eq!(before, fixture.accessed(&digest), "{what}");
    }
}

#[test]
fn a_recorded_use_leaves_a_durable_name_durable() {
    let fixture = Fixture::new();
    let texts: Vec<_> = (0..100).map(|number| format!("known {number}")).collect();
    let digests: Vec<_> = texts.iter().map(|text| fixture.put(text)).collect();
    fixture.pass(&digests);
    let other = fixture.scratch.open_with(Arc::clone(&fixture.sys) as _).unwrap();
    fixture.put("a sync");

    let (syncs, _) = fixture.count(Op::SyncDir, || {
        for (text, digest) in texts.iter().zip(&digests) {
            // By this store, by another one, and when a use was recorded before.
            fixture.store.volume().blob(digest).unwrap();
            fixture.put(text);
            fixture.put(text);
        }
    });
    assert_eq!(0, syncs, "a put of a known blob after a record");

    fixture.pass(&digests);
    for digest in &digests {
        other.volume().blob(digest).unwrap();
    }
    let (syncs, _) = fixture.count(Op::SyncDir, || texts.iter().for_each(|text| _ = fixture.put(text)));
    assert_eq!(0, syncs, "a put of known blobs that another store has used");
}

#[test]
fn a_recorded_use_makes_no_new_name_durable() {
    let fixture = Fixture::new();
    fixture.put("a sync");
    std::thread::sleep(Duration::from_millis(250));
    // A name that another program gave a moment ago, to a file of an earlier time.
    let digest = sha256(b"data");
    let path = fixture.scratch.blob(&digest);
    std::fs::write(&path, b"data").unwrap();
    let times = FileTimes::new().set_accessed(SystemTime::now() - HOURS).set_modified(SystemTime::now() - HOURS);
    File::open(&path).unwrap().set_times(times).unwrap();

    assert_eq!(1, fixture.count(Op::SetAtime, || _ = fixture.store.volume().blob(&digest).unwrap()).0);
    assert_eq!(1, fixture.count(Op::SyncDir, || _ = fixture.put("data")).0, "the put relies on the name");
}

#[test]
fn a_use_that_cannot_be_recorded_is_tried_once_and_is_no_failure() {
    for errno in [libc::EPERM, libc::EROFS] {
        let fixture = Fixture::new();
        let digests = ["one", "two", "six"].map(|text| fixture.put(text));
        fixture.pass(&digests);
        *fixture.sys.around.refuses.lock().unwrap() = Some(errno);
        fixture.sys.around.is_of_another.store(true, Ordering::Relaxed);
        let opens = || digests.iter().for_each(|digest| _ = fixture.store.volume().blob(digest).unwrap());
        assert_eq!(1, fixture.count(Op::SetAtime, opens).0);
        let cached = fixture.store.volume().blob_cached(&digests[0]).unwrap();
        assert!(cached.is_some(), "a read that need not wait stays one");
    }
}

#[test]
fn one_file_that_is_refused_keeps_no_other_file_of_its_owner_from_being_recorded() {
    let fixture = Fixture::new();
    let [fixed, free] = ["fixed", "free"].map(|text| fixture.put(text));
    fixture.pass(&[fixed, free]);
    let open = |digest: &Digest| _ = fixture.store.volume().blob(digest).unwrap();
    *fixture.sys.around.refuses.lock().unwrap() = Some(libc::EPERM);
    assert_eq!(1, fixture.count(Op::SetAtime, || open(&fixed)).0);
    assert_eq!(0, fixture.count(Op::SetAtime, || open(&fixed)).0, "once is enough");
    assert!(fixture.store.volume().blob_cached(&fixed).unwrap().is_some(), "a read that need not wait stays one");

    *fixture.sys.around.refuses.lock().unwrap() = None;
    open(&free);

    assert!(fixture.is_recorded(&free));
    assert!(!fixture.is_recorded(&fixed));
}

#[test]
fn a_read_only_store_records_nothing() {
    let fixture = Fixture::new();
    let digest = fixture.put("data");
    fixture.pass(&[digest]);
    let before = fixture.accessed(&digest);
    let read_only = fixture.scratch.open_read_only();
    read_only.volume().blob(&digest).unwrap();
    assert_eq!(before, fixture.accessed(&digest));
}

#[test]
fn a_time_in_the_future_counts_as_now() {
    let fixture = Fixture::new();
    let digest = fixture.put("data");
    let file = File::open(fixture.scratch.blob(&digest)).unwrap();
    file.set_times(FileTimes::new().set_accessed(SystemTime::now() + HOURS)).unwrap();
    assert_eq!(0, fixture.count(Op::SetAtime, || _ = fixture.store.volume().blob(&digest).unwrap()).0);
}
