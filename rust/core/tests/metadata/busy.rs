//! Another process writes to `meta.db`, and may be suspended meanwhile: no thread waits for it with a digest's lock.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::error::{Error, Result};
use steelyard_core::store::{BatchItem, Options, Outcome, Put, Source, Store};
use steelyard_core::sys::{Around, Call, Layer, Linux, Op, Sys};
use steelyard_core::volume::lock::Locks;
use steelyard_core::waiting::{Caller, for_caller};

use crate::support::{Scratch, labels, name_of, put, store};

const HANG: Duration = Duration::from_secs(30);

/// Take SQLite's write lock, until this is dropped.
fn writes(root: &Path) -> Connection {
    let connection = Connection::open(root.join("meta.db")).unwrap();
    connection.busy_timeout(HANG).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

/// A caller that can change its mind.
#[derive(Default)]
struct Wanting {
    cancelled: AtomicBool,
    waits: AtomicBool,
}

impl Caller for Wanting {
    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn waits(&self, begins: bool) {
        self.waits.store(begins, Ordering::SeqCst);
    }
}

fn until(mut happens: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happens() {
        assert!(begun.elapsed() < HANG);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Let a call wait, take the digest's lock meanwhile as another store does, call `then` and return what became of it.
fn while_it_waits<T: Send>(
    scratch: &Scratch,
    digest: Digest,
    call: impl FnOnce() -> T + Send,
    then: impl FnOnce(&Wanting),
) -> T {
    let caller = Arc::new(Wanting::default());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| for_caller(Some(Arc::clone(&caller) as _), call));
        until(|| caller.waits.load(Ordering::SeqCst));
        let root = Linux.open_root(scratch.path()).unwrap();
        let others = Locks::open(Arc::new(Linux), root.as_fd(), scratch.path()).unwrap();
        until(|| others.try_digests(&[digest]).unwrap().is_some());
        assert!(!waiting.is_finished());
        then(&caller);
        waiting.join().unwrap()
    })
}

fn cancel(caller: &Wanting) {
    caller.cancelled.store(true, Ordering::SeqCst);
}

fn put_labelled(store: &Store, text: &str) -> Result<Put> {
    store.put(text.as_bytes(), Algorithm::Sha256, None, Some(&labels(&[("ours", "yes")])))
}

#[test]
fn an_update_waits_without_the_digest_and_a_cancelled_one_changes_nothing() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "x", &[("a", "b")]);
    let writer = writes(scratch.path());
    let update = || store.volume().update(&digest, &labels(&[("a", "c")]), None);

    assert_eq!(Err(Error::Cancelled), while_it_waits(&scratch, digest, update, cancel));

    assert_eq!(labels(&[("a", "b")]), store.volume().info(&digest).unwrap().labels);
    while_it_waits(&scratch, digest, update, |_| drop(writer)).unwrap();
    assert_eq!(labels(&[("a", "c")]), store.volume().info(&digest).unwrap().labels);
}

#[test]
fn an_update_of_many_waits_without_their_digests_and_a_cancelled_one_changes_nothing() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digests = [put(&store, "x", &[("a", "b")]), put(&store, "y", &[("a", "b")])];
    let writer = writes(scratch.path());
    let update = || store.volume().update_many(&digests, &labels(&[("a", "c")]), None);

    assert_eq!(Err(Error::Cancelled), while_it_waits(&scratch, digests[0], update, cancel));

    assert!(digests.iter().all(|digest| store.volume().info(digest).unwrap().labels == labels(&[("a", "b")])));
    while_it_waits(&scratch, digests[0], update, |_| drop(writer)).unwrap();
    assert!(digests.iter().all(|digest| store.volume().info(digest).unwrap().labels == labels(&[("a", "c")])));
}

#[test]
fn a_put_with_labels_waits_without_the_digest_and_a_cancelled_one_leaves_nothing() {
    let scratch = Scratch::new();
    let (store, digest) = (store(&scratch), name_of("x"));
    let writer = writes(scratch.path());

    let result = while_it_waits(&scratch, digest, || put_labelled(&store, "x"), cancel);

    assert_eq!(Error::Cancelled, result.unwrap_err());
    assert!(matches!(store.volume().info(&digest), Err(Error::NotFound { .. })));
    assert!(while_it_waits(&scratch, digest, || put_labelled(&store, "x"), |_| drop(writer)).unwrap().new);
    assert_eq!(labels(&[("ours", "yes")]), store.volume().info(&digest).unwrap().labels);
}

type TakeAway = fn(&Store, &Digest) -> Result<()>;

#[test]
fn what_takes_a_blob_away_ends_and_its_row_labels_no_later_blob() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let take_away: [(&str, TakeAway); 3] = [
        ("deleted", |store, digest| store.volume().delete(digest)),
        ("deleted with another", |store, digest| {
            let other = put(store, "another", &[]);
            store.volume().delete_many(None, &[other, *digest])?.remove(1)
        }),
        ("aside", |store, digest| store.volume().quarantine(digest).map(drop)),
    ];
    for (text, take) in take_away {
        for is_cancelled in [false, true] {
            let digest = put(&store, text, &[("old", "yes")]);
            let caller = Arc::new(Wanting::default());
            caller.cancelled.store(is_cancelled, Ordering::SeqCst);
            let writer = writes(scratch.path());

            // It is true: the blob is gone, whether or not the caller still waits.
            for_caller(Some(caller as _), || take(&store, &digest)).unwrap();

            assert!(matches!(store.volume().info(&digest), Err(Error::NotFound { .. })));
            drop(writer);
            put(&store, text, &[]);
            assert_eq!(labels(&[]), store.volume().info(&digest).unwrap().labels, "{text}");
            take(&store, &digest).unwrap();
        }
    }
}

#[test]
fn a_row_that_could_not_be_removed_at_once_is_removed_a_moment_later() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    // The moment is short, so that it may have to be tried again on a busy machine.
    until(|| {
        let digest = put(&store, "x", &[("old", "yes")]);
        let writer = writes(scratch.path());
        thread::scope(|scope| {
            let deleting = scope.spawn(|| store.volume().delete(&digest).unwrap());
            until(|| !scratch.join(&format!("blobs/sha256/{}", digest.encoded())).exists());
            drop(writer);
            deleting.join().unwrap();
        });
        count_rows(scratch.path()) == 0
    });
}

fn count_rows(root: &Path) -> i64 {
    let connection = Connection::open(root.join("meta.db")).unwrap();
    connection.query_row("SELECT count(*) FROM blobs", [], |row| row.get(0)).unwrap()
}

#[test]
fn notes_of_a_verification_are_left_out_while_another_process_writes() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let digest = put(&store, "x", &[("a", "b")]);
    let _writer = writes(scratch.path());

    store.volume().mark_verified(&[digest], 5).unwrap();
    store.volume().set_verify_started(Some(5)).unwrap();

    assert_eq!(labels(&[("a", "b")]), store.volume().info(&digest).unwrap().labels);
}

type Trick = Box<dyn FnMut() + Send>;

/// Does something when a name is looked at for the second time (once under its lock), and when the first file is about to get one.
#[derive(Default)]
struct Tricks {
    name: String,
    looked: Mutex<(u32, Option<Trick>, Option<Trick>)>,
    linked: Mutex<Option<Trick>>,
}

impl Around for Tricks {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        if call.to.is_some()
            && let Some(mut trick) = self.linked.lock().unwrap().take()
        {
            trick();
        }
        if call.op != Op::StatAt || call.name != self.name {
            return run();
        }
        let mut looked = self.looked.lock().unwrap();
        looked.0 += 1;
        if looked.0 != 2 {
            return run();
        }
        looked.1.iter_mut().for_each(|trick| trick());
        let result = run();
        looked.2.iter_mut().for_each(|trick| trick());
        result
    }
}

fn tricked(scratch: &Scratch, tricks: Tricks) -> Arc<Store> {
    put(&store(scratch), "makes the directory", &[]);
    let sys: Arc<dyn Sys> = Arc::new(Layer::new(Arc::new(Linux), tricks));
    Store::open_with(scratch.path(), Options::default(), sys).unwrap()
}

fn blob(scratch: &Scratch, digest: &Digest) -> PathBuf {
    scratch.join(&format!("blobs/sha256/{}", digest.encoded()))
}

/// Put a blob with labels, of whose name something else takes hold after its row was written and while another process writes.
fn put_beside(appears: impl Fn(&Path) + Send + 'static) -> (Scratch, Arc<Store>) {
    let scratch = Scratch::new();
    let digest = name_of("x");
    let held: Arc<Mutex<Option<Connection>>> = Arc::default();
    let (holder, path, root) = (Arc::clone(&held), blob(&scratch, &digest), scratch.path().to_owned());
    let trick = move || {
        appears(&path);
        *holder.lock().unwrap() = Some(writes(&root));
    };
    let tricks = Tricks { linked: Mutex::new(Some(Box::new(trick))), name: digest.encoded(), ..Tricks::default() };
    let store = tricked(&scratch, tricks);

    assert!(put_labelled(&store, "x").unwrap().new);

    assert!(held.lock().unwrap().take().is_some(), "the trick was played");
    assert_eq!(b"x", &*fs::read(blob(&scratch, &digest)).unwrap());
    assert_eq!(labels(&[("ours", "yes")]), store.volume().info(&digest).unwrap().labels);
    (scratch, store)
}

#[test]
fn what_takes_the_name_after_the_row_was_written_has_our_bytes_or_gets_them() {
    put_beside(|path| fs::write(path, "x").unwrap());
    for bad in ["y", "longer"] {
        let (scratch, _store) = put_beside(move |path| fs::write(path, bad).unwrap());
        let aside = scratch.join(&format!("quarantine/sha256/{}.1", name_of("x").encoded()));
        assert_eq!(bad, fs::read_to_string(aside).unwrap());
    }
    put_beside(|path| std::os::unix::fs::symlink("elsewhere", path).unwrap());
    put_beside(|path| fs::create_dir(path).unwrap());
}

#[test]
fn what_has_the_name_with_a_row_of_its_own_keeps_it() {
    let scratch = Scratch::new();
    let digest = name_of("x");
    let (path, root) = (blob(&scratch, &digest), scratch.path().to_owned());
    // As a process that uses another file `lock`, because this one was removed.
    let trick = move || {
        fs::write(&path, "x").unwrap();
        let connection = Connection::open(root.join("meta.db")).unwrap();
        let theirs = "UPDATE blobs SET labels = '{\"theirs\":\"yes\"}', updated_ns = updated_ns + 1000";
        assert_eq!(1, connection.execute(theirs, []).unwrap());
    };
    let tricks = Tricks { linked: Mutex::new(Some(Box::new(trick))), name: digest.encoded(), ..Tricks::default() };
    let store = tricked(&scratch, tricks);

    assert!(!put_labelled(&store, "x").unwrap().new);

    assert_eq!(labels(&[("theirs", "yes")]), store.volume().info(&digest).unwrap().labels);
}

/// A file that has the name when publication looks for it, and is gone when it is compared.
fn vanishing(scratch: &Scratch, digest: Digest) -> Tricks {
    let (path, gone) = (blob(scratch, &digest), blob(scratch, &digest));
    let appears: Trick = Box::new(move || fs::write(&path, "other").unwrap());
    let vanishes: Trick = Box::new(move || fs::remove_file(&gone).unwrap());
    let looked = Mutex::new((0, Some(appears), Some(vanishes)));
    Tricks { name: digest.encoded(), looked, ..Tricks::default() }
}

#[test]
fn a_put_whose_name_becomes_free_waits_without_the_digest() {
    let digest = name_of("x");
    for is_cancelled in [true, false] {
        let scratch = Scratch::new();
        let store = tricked(&scratch, vanishing(&scratch, digest));
        let mut writer = Some(writes(scratch.path()));

        let result = while_it_waits(
            &scratch,
            digest,
            || put_labelled(&store, "x"),
            |caller| if is_cancelled { cancel(caller) } else { drop(writer.take()) },
        );

        drop(writer);
        if is_cancelled {
            assert_eq!(Error::Cancelled, result.unwrap_err());
            assert!(matches!(store.volume().info(&digest), Err(Error::NotFound { .. })));
            assert!(put_labelled(&store, "x").unwrap().new);
        } else {
            assert!(result.unwrap().new);
        }
        assert_eq!(labels(&[("ours", "yes")]), store.volume().info(&digest).unwrap().labels);
    }
}

#[test]
fn of_a_batch_only_what_was_busy_is_tried_again() {
    let (scratch, last) = (Scratch::new(), name_of("x"));
    let held: Arc<Mutex<Option<Connection>>> = Arc::default();
    let (holder, root) = (Arc::clone(&held), scratch.path().to_owned());
    let mut tricks = vanishing(&scratch, last);
    tricks.linked = Mutex::new(Some(Box::new(move || *holder.lock().unwrap() = Some(writes(&root)))));
    let store = tricked(&scratch, tricks);
    let ours = labels(&[("ours", "yes")]);
    let item = |text: &'static str| BatchItem {
        source: Source::Bytes(text.as_bytes()),
        algorithm: Algorithm::Sha256,
        expected: None,
        size: None,
        labels: Some(&ours),
    };

    let call = || store.put_batch(&[item("first"), item("second"), item("x")]);
    let results = while_it_waits(&scratch, last, call, |_| {
        // What is stored meanwhile may be deleted, too, and is not stored again.
        store.volume().delete(&name_of("first")).unwrap();
        held.lock().unwrap().take();
    });

    assert!(results.iter().all(|result| matches!(result, Ok(Outcome::Stored(put)) if put.new)), "{results:?}");
    assert!(matches!(store.volume().info(&name_of("first")), Err(Error::NotFound { .. })));
    for text in ["second", "x"] {
        assert_eq!(ours, store.volume().info(&name_of(text)).unwrap().labels);
    }
}
