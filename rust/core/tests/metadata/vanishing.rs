//! Another user of the metadata removes the log or makes its index while this one opens or reads the file.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use steelyard_core::sys::{Hold, Layer, Linux, Sys};
use steelyard_core::volume::lock::Locks;
use steelyard_core::volume::meta::{Meta, Mode};

use crate::hooked::Hooked;
use crate::support::{FRESH, READ, Scratch, WRITE, digest, labels, row};

/// Return a system that does the work before the call number `at`, counted from when it is armed.
fn before(at: u64, work: impl FnOnce() + Send + 'static) -> Arc<Layer<Hooked>> {
    let work = Mutex::new(Some(Box::new(work) as Box<dyn FnOnce() + Send>));
    Arc::new(Layer::new(Arc::new(Linux), Hooked { at, work, ..Hooked::default() }))
}

fn open(scratch: &Scratch, sys: &Arc<Layer<Hooked>>, mode: Mode) -> Meta {
    let sys = Arc::clone(sys) as Arc<dyn Sys>;
    let locks = Locks::none(Arc::clone(&sys), scratch.path());
    let opened = Meta::open(sys, locks, &File::open(scratch.path()).unwrap(), scratch.path(), mode);
    let (meta, notes) = opened.unwrap_or_else(|error| panic!("read-only {}: {error}", mode.read_only));
    assert_eq!(Vec::<String>::new(), notes);
    meta
}

fn assert_label(meta: &Meta) {
    assert_eq!(labels(&[("a", "b")]), meta.get(&digest(1)).unwrap().unwrap().labels);
}

/// Return metadata with a label that is in its log only, and a user that has it open.
fn labelled() -> (Scratch, Meta) {
    let scratch = Scratch::new();
    let (meta, _) = scratch.open(FRESH);
    meta.put(&row(1, &[("a", "b")])).unwrap();
    assert!(scratch.join("meta.db-wal").metadata().unwrap().len() > 0);
    (scratch, meta)
}

/// The byte of the index that each process which uses it has locked: SQLite's "dead man switch".
const IN_USE: Range<u64> = 128..129;

/// An index that is as another process leaves it for a moment: in use, but without a valid header.
struct Unfinished {
    scratch: Scratch,
    path: PathBuf,
    /// Open as in another process: its lock conflicts with those of SQLite.
    _in_use: File,
    bytes: Vec<u8>,
}

impl Unfinished {
    fn new() -> Self {
        let (scratch, meta) = labelled();
        let copy = scratch.copy();
        drop(meta);
        let path = copy.join("meta.db-shm");
        let bytes = fs::read(&path).unwrap();
        let in_use = File::options().read(true).write(true).open(&path).unwrap();
        assert!(Linux.lock(in_use.as_fd(), IN_USE, Hold::Shared).unwrap());
        Self { scratch: copy, path, _in_use: in_use, bytes }
    }

    fn begin(&self) {
        write_in_place(&self.path, &vec![0; self.bytes.len()]);
    }

    /// Return a system that finishes the index before the call number 20.
    fn finished_later(&self) -> Arc<Layer<Hooked>> {
        let (path, bytes) = (self.path.clone(), self.bytes.clone());
        before(20, move || write_in_place(&path, &bytes))
    }
}

/// Overwrite a file that may be mapped.
fn write_in_place(path: &Path, bytes: &[u8]) {
    File::options().write(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_log_that_its_last_user_removes_meanwhile_is_no_error() {
    for mode in [WRITE, READ] {
        let mut calls = 0;
        loop {
            let (scratch, other) = labelled();
            let sys = before(calls, move || drop(other));
            sys.around.is_armed.store(true, Ordering::SeqCst);

            assert_label(&open(&scratch, &sys, mode));

            if sys.around.work.lock().unwrap().is_some() {
                break;
            }
            calls += 1;
        }
        assert!(calls > 4, "an open makes {calls} calls");
    }
}

#[test]
fn an_open_waits_for_an_index_that_another_user_is_just_making() {
    let index = Unfinished::new();
    index.begin();
    let sys = index.finished_later();
    sys.around.is_armed.store(true, Ordering::SeqCst);

    assert_label(&open(&index.scratch, &sys, READ));
}

#[test]
fn a_query_waits_for_an_index_that_another_user_is_just_making() {
    let index = Unfinished::new();
    let sys = index.finished_later();
    let meta = open(&index.scratch, &sys, READ);
    index.begin();
    sys.around.is_armed.store(true, Ordering::SeqCst);

    assert_label(&meta);
}
