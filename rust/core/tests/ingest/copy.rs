//! Whole files in: the stored bytes are those that were hashed, and other callers are served meanwhile.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::{Error, Result};
use steelyard_core::pipe::Job;
use steelyard_core::pipe::MultiHasher;
use steelyard_core::store::ingest::{Ingest, Source};
use steelyard_core::sys::{Fault, Faulty, Linux, Op};

use crate::support::*;

const MIB: usize = 1 << 20;

/// A file with these bytes, outside the store.
pub fn source(root: &Root, data: &[u8]) -> File {
    let path: PathBuf = root.path.with_file_name("source");
    fs::write(&path, data).unwrap();
    File::options().read(true).write(true).open(path).unwrap()
}

fn copy_all(ingest: &Ingest, file: &File) -> Result<u64> {
    ingest.copy_from(Source { file: file.as_fd(), from: 0, most: u64::MAX }, &Job::default(), None)
}

#[test]
fn a_file_of_any_length_and_algorithm_becomes_its_blob() {
    let root = Root::in_memory();
    let store = root.open();
    let data = bytes(9 * MIB + 4321);
    for algorithm in Algorithm::ALL {
        for length in [0, 1, 1000, MIB - 1, MIB, MIB + 1, 2 * MIB, 8 * MIB, 9 * MIB, data.len()] {
            let data = &data[..length];
            let file = source(&root, data);
            let ingest = store.ingests().anonymous(algorithm).unwrap();
            let job = Job::default();
            let source = Source { file: file.as_fd(), from: 0, most: u64::MAX };

            assert_eq!(Ok(length as u64), ingest.copy_from(source, &job, None));

            assert_eq!((length as u64, length as u64), (ingest.offset(), job.done()));
            assert_eq!(digest(algorithm, data), ingest.commit(None, None, None).unwrap().digest);
            assert_eq!(Some(data), root.blob(&digest(algorithm, data)).as_deref());
        }
    }
}

#[test]
fn a_part_of_a_file_goes_after_what_was_pushed_and_written() {
    let root = Root::in_memory();
    let store = root.open();
    let data = bytes(3 * MIB);
    let file = source(&root, &data);
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();
    ingest.push(b"def").unwrap();
    let part = Source { file: file.as_fd(), from: 500, most: 2_000_000 };

    assert_eq!(Ok(2_000_000), ingest.copy_from(part, &Job::default(), None));

    ingest.push(b"ghi").unwrap();
    let expected = [b"abcdef", &data[500..2_000_500], b"ghi"].concat();
    assert_eq!(sha256(&expected), ingest.digest().unwrap());
    assert_eq!(sha256(&expected), ingest.commit(None, None, None).unwrap().digest);
}

#[test]
fn other_digests_are_computed_of_the_same_bytes() {
    let root = Root::in_memory();
    let data = bytes(5 * MIB + 3);
    let file = source(&root, &data);
    let ingest = root.open().ingests().anonymous(Algorithm::Sha256).unwrap();
    let mut also = MultiHasher::new(&[Algorithm::Blake3, Algorithm::Sha512]).unwrap();
    let source = Source { file: file.as_fd(), from: 0, most: u64::MAX };

    ingest.copy_from(source, &Job::default(), Some(&mut also)).unwrap();

    let expected = [Algorithm::Blake3, Algorithm::Sha512].map(|algorithm| digest(algorithm, &data));
    assert_eq!(expected.to_vec(), also.digests());
    assert_eq!(sha256(&data), ingest.digest().unwrap());
}

#[test]
fn a_source_that_changes_meanwhile_is_stored_as_it_was_hashed() {
    let root = Root::in_memory();
    let store = root.open();
    let file = source(&root, &bytes(24 * MIB));
    let (other, over) = (file.try_clone().unwrap(), Arc::new(AtomicBool::new(false)));
    let is_over = Arc::clone(&over);
    let changing = thread::spawn(move || {
        for round in (0..=255_u8).cycle() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            other.write_all_at(&vec![round; 5 * MIB], u64::from(round) * 70_001).unwrap();
        }
    });
    let ingest = store.ingests().anonymous(Algorithm::Sha256).unwrap();

    copy_all(&ingest, &file).unwrap();

    over.store(true, Ordering::Relaxed);
    changing.join().unwrap();
    let stored = ingest.commit(None, None, None).unwrap().digest;
    assert_eq!(stored, sha256(&root.blob(&stored).unwrap()));
}

#[test]
fn a_cancelled_copy_holds_what_it_counted_and_is_gone_on_with() {
    let root = Root::in_memory();
    let store = root.open();
    let data = bytes(40 * MIB);
    let file = source(&root, &data);
    let ingest = begin(&store);
    let job = Arc::new(Job::default());
    let watching = Arc::clone(&job);
    let watcher = thread::spawn(move || {
        while watching.done() == 0 {
            thread::yield_now();
        }
        watching.cancel();
    });
    let whole = Source { file: file.as_fd(), from: 0, most: u64::MAX };

    let copied = ingest.copy_from(whole, &job, None).unwrap();

    watcher.join().unwrap();
    assert_eq!((copied, copied), (ingest.offset(), job.done()));
    assert_eq!(sha256(&data[..usize::try_from(copied).unwrap()]), ingest.digest().unwrap());
    assert_eq!(Ok(0), ingest.copy_from(whole, &job, None), "a job that is cancelled stays so");
    ingest.copy_from(Source { from: copied, ..whole }, &Job::default(), None).unwrap();
    assert_eq!(sha256(&data), ingest.commit(None, None, None).unwrap().digest);
}

#[test]
fn a_source_that_cannot_be_read_fails_the_copy_and_not_the_ingest() {
    let root = Root::in_memory();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let data = bytes(3 * MIB);
    let file = source(&root, &data);
    let ingest = begin(&store);
    copy_all(&ingest, &file).unwrap();
    faulty.set(Some(Fault::First(Op::ReadAt, libc::EIO)));

    assert_eq!(Err(Error::Source { errno: libc::EIO }), copy_all(&ingest, &file));

    let directory = File::open(&root.path).unwrap();
    assert_eq!(Err(Error::Source { errno: libc::EISDIR }), copy_all(&ingest, &directory));
    assert_eq!(3 * MIB as u64, ingest.offset());
    assert_eq!(sha256(&data), ingest.commit(None, None, None).unwrap().digest);
}

/// The length of a source that takes longer to copy than anything else takes.
const LONG: u64 = 200 << 20;

/// Do something beside a long copy, once it has begun; return how the copy ended.
fn beside(root: &Root, ingest: &Arc<Ingest>, work: impl FnOnce()) -> Result<u64> {
    let file = source(root, b"");
    file.set_len(LONG).unwrap();
    let copying = Arc::clone(ingest);
    let copy = thread::spawn(move || copy_all(&copying, &file));
    while ingest.offset() == 0 {
        thread::yield_now();
    }
    work();
    copy.join().unwrap()
}

#[test]
fn an_abort_stops_a_copy_and_frees_the_ref() {
    let root = Root::in_memory();
    let store = root.open();
    let ingest = begin(&store);

    let result = beside(&root, &ingest, || store.ingests().abort(REF).unwrap());

    assert_eq!(Err(Error::Aborted { name: REF.to_owned() }), result);
    assert_eq!(0, root.ingests_left());
    assert_eq!(0, begin(&store).offset());
}

#[test]
fn a_close_stops_a_copy_and_keeps_what_it_has() {
    let root = Root::in_memory();
    let store = root.open();
    let ingest = begin(&store);

    let result = beside(&root, &ingest, || ingest.close().unwrap());

    assert!(is_closed(&result.unwrap_err()));
    let kept = ingest.offset();
    let again = begin(&store);
    assert_eq!(kept, again.offset());
    assert_eq!(sha256(&vec![0; usize::try_from(kept).unwrap()]), again.digest().unwrap());
}

#[test]
fn a_copy_is_looked_at_and_is_the_only_one() {
    let root = Root::in_memory();
    let store = root.open();
    let ingest = begin(&store);
    let other = File::open(&root.path).unwrap();

    let result = beside(&root, &ingest, || {
        let status = store.ingests().status(REF).unwrap();
        assert!((1..=LONG).contains(&status.offset));
        assert_eq!(1, store.ingests().statuses().unwrap().len());
        assert!(matches!(copy_all(&ingest, &other), Err(Error::FailedPrecondition { .. })));
    });

    assert_eq!(Ok(LONG), result);
}
