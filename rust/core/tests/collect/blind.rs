//! A process that has met damage in `meta.db`, beside a collector that has not.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use steelyard_core::pipe::Job;
use steelyard_core::store::collect::Options;
use steelyard_core::store::{BatchItem, Source, Store};
use steelyard_core::sys::{Around, Call, Layer, Linux};

use crate::common::{SHA256, Scratch, sha256};
use crate::support::{HOUR, NOW, collect, put};

const OLD: &str = "old";

/// The system two hours later.
struct Later;

impl Around for Later {
    fn around<T>(&self, _: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        run()
    }

    fn clock_ns(&self, _: bool, ns: i64) -> i64 {
        ns + 2 * HOUR
    }
}

/// A store that has met damage, which is repaired since; a collection has noted its only blob as garbage two hours ago.
fn blind() -> (Scratch, Arc<Store>) {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    put(&store, OLD);
    collect(&store, Options { grace_ns: HOUR, ..NOW }).unwrap();
    drop(store);
    let path = scratch.root.join("meta.db");
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[..100].fill(0);
    fs::write(&path, &damaged).unwrap();
    let store = scratch.open();
    fs::write(&path, &whole).unwrap();
    assert_ne!(Vec::<String>::new(), store.volume().notes());
    (scratch, store)
}

/// Collect in another process, two hours later, and check that the blob is there.
fn check(scratch: &Scratch) {
    let other = scratch.open_with(Arc::new(Layer::new(Arc::new(Linux), Later))).unwrap();
    let (report, _) = collect(&other, Options { grace_ns: HOUR, ..NOW }).unwrap();
    assert_eq!((0, 1), (report.blobs, report.spared));
    assert_eq!(OLD, fs::read_to_string(scratch.blob(&sha256(OLD.as_bytes()))).unwrap());
}

#[test]
fn a_put_stores_a_blob_again_whose_note_it_cannot_remove() {
    let (scratch, store) = blind();
    let before = fs::metadata(scratch.blob(&sha256(OLD.as_bytes()))).unwrap();
    assert!(!store.put(OLD.as_bytes(), SHA256, None, None).unwrap().new);
    let after = fs::metadata(scratch.blob(&sha256(OLD.as_bytes()))).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert!(!scratch.root.join("quarantine").exists());
    check(&scratch);
}

#[test]
fn a_batch_stores_a_blob_again_whose_note_it_cannot_remove() {
    let (scratch, store) = blind();
    let item =
        |data| BatchItem { source: Source::Bytes(data), algorithm: SHA256, expected: None, size: None, labels: None };
    assert!(store.put_batch(&[item(OLD.as_bytes()), item(OLD.as_bytes())]).iter().all(Result::is_ok));
    check(&scratch);
}

#[test]
fn a_file_is_not_found_whose_note_cannot_be_removed() {
    let (scratch, store) = blind();
    let source = scratch.path.join("source");
    fs::write(&source, OLD).unwrap();
    let source = File::open(source).unwrap();
    assert_eq!(None, store.find(source.as_fd(), OLD.len() as u64, SHA256, &Job::default()).unwrap());
}

#[test]
fn a_writer_is_not_refused_for_a_blob_whose_note_cannot_be_removed() {
    let (scratch, store) = blind();
    let digest = sha256(OLD.as_bytes());
    let ingest = store.ingests().open("ref", None, Some(&digest), None).unwrap();
    ingest.write(OLD.as_bytes()).unwrap();
    ingest.commit(None, None, None).ok();
    check(&scratch);
}
