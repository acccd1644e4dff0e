//! A writer that is suspended for longer than a grace time, at each of its system calls.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use steelyard_core::error::{Error, Result};
use steelyard_core::pipe::Job;
use steelyard_core::store::collect::Options;
use steelyard_core::store::{BatchItem, Source, Store};
use steelyard_core::sys::{Layer, Linux};
use steelyard_core::waiting::for_caller;

use crate::common::{SHA256, Scratch, sha256};
use crate::hooked::{Hooked, Impatient};
use crate::support::{HOUR, NOW, collect, put};

const OLD: &str = "old";
const GRACE: Options = Options { grace_ns: 2 * HOUR, ..NOW };

/// Suspend the writer at each of its calls, one run for each; return in how many of them the blob was removed meanwhile.
fn suspend_everywhere(writer: impl Fn(&Store, &Scratch) -> Result<()>) -> u64 {
    let mut removed = 0;
    for at in 0.. {
        let scratch = Scratch::in_memory();
        fs::write(scratch.path.join("source"), OLD).unwrap();
        let ahead = Arc::new(AtomicI64::new(0));
        let clocked = |at| Layer::new(Arc::new(Linux), Hooked { at, ahead: Arc::clone(&ahead), ..Hooked::default() });
        let first = scratch.open();
        put(&first, OLD);
        collect(&first, GRACE).unwrap();
        drop(first);
        let sys = Arc::new(clocked(at));
        let (store, other) = (scratch.open_with(Arc::clone(&sys) as _).unwrap(), Arc::new(clocked(0)));
        let other = scratch.open_with(other).unwrap();
        let gone = Arc::new(AtomicU64::new(0));
        let (count, time) = (Arc::clone(&gone), Arc::clone(&ahead));
        let work = move || {
            for _ in 0..2 {
                match for_caller(Some(Arc::new(Impatient)), || collect(&other, GRACE)) {
                    Ok((report, _)) => count.fetch_add(report.blobs, Ordering::SeqCst),
                    Err(Error::Cancelled) => 0,
                    Err(error) => panic!("{error}"),
                };
                time.fetch_add(3 * HOUR, Ordering::SeqCst);
            }
        };
        *sys.around.work.lock().unwrap() = Some(Box::new(work));
        sys.around.is_armed.store(true, Ordering::SeqCst);
        writer(&store, &scratch).unwrap();
        sys.around.is_armed.store(false, Ordering::SeqCst);
        assert!(scratch.blob(&sha256(OLD.as_bytes())).exists(), "gone after a pause before call {at}");
        removed += gone.load(Ordering::SeqCst);
        if sys.around.work.lock().unwrap().is_some() {
            return removed;
        }
    }
    unreachable!()
}

#[test]
fn a_put_that_is_suspended_looks_again() {
    let removed = suspend_everywhere(|store, _| store.put(OLD.as_bytes(), SHA256, None, None).map(drop));
    assert!(removed > 0);
}

#[test]
fn a_batch_that_is_suspended_looks_again() {
    let item =
        |data| BatchItem { source: Source::Bytes(data), algorithm: SHA256, expected: None, size: None, labels: None };
    let removed = suspend_everywhere(|store, _| {
        store.put_batch(&[item(OLD.as_bytes()), item(b"other")]).into_iter().try_for_each(|result| result.map(drop))
    });
    assert!(removed > 0);
}

#[test]
fn a_search_that_is_suspended_looks_again() {
    let removed = suspend_everywhere(|store, scratch| {
        let source = File::open(scratch.path.join("source")).unwrap();
        let size = OLD.len() as u64;
        if store.find(source.as_fd(), size, SHA256, &Job::default())?.is_none() {
            put(store, OLD);
        }
        Ok(())
    });
    assert!(removed > 0);
}

#[test]
fn a_writer_that_is_refused_after_a_pause_was_refused_for_a_blob_that_is_there() {
    let removed = suspend_everywhere(|store, _| {
        match store.ingests().open("ref", None, Some(&sha256(OLD.as_bytes())), None) {
            Ok(_) => put(store, OLD),
            Err(Error::AlreadyExists { .. }) => sha256(OLD.as_bytes()),
            Err(error) => return Err(error),
        };
        Ok(())
    });
    assert!(removed > 0);
}
