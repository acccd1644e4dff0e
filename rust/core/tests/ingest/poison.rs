//! A failed write, sync or truncation poisons: nothing is tried again, nothing is committed, the last checkpoint counts.

use std::sync::Arc;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::{Error, Result};
use steelyard_core::store::ingest::Ingest;
use steelyard_core::sys::{Fault, Faulty, Linux, Op};

use crate::support::*;

/// Make the first call of that kind fail while `work` is done on an ingest with 1000 durable bytes.
fn assert_poisons(op: Op, work: impl Fn(&Ingest) -> Result<()>) {
    assert_poisons_after(op, &bytes(1000), work);
}

/// Likewise; `durable` is what a resume then has.
fn assert_poisons_after(op: Op, durable: &[u8], work: impl Fn(&Ingest) -> Result<()>) {
    let root = Root::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    leave(&store, &bytes(1000));
    let ingest = begin(&store);
    faulty.set(Some(Fault::First(op, libc::EIO)));

    let error = work(&ingest).unwrap_err();

    assert!(matches!(error, Error::Io { errno: libc::EIO, path: Some(_), .. }));
    faulty.set(None);
    assert_eq!(Err(error.clone()), ingest.push(b"x").map(drop));
    assert_eq!(Err(error.clone()), ingest.write(b"x"));
    assert_eq!(Err(error.clone()), ingest.flush());
    assert_eq!(Err(error.clone()), ingest.catch_up(1).map(drop));
    assert_eq!(Err(error.clone()), ingest.set_algorithm(Algorithm::Blake3));
    assert_eq!(Err(error.clone()), ingest.digest().map(drop));
    assert_eq!(Err(error.clone()), ingest.status().map(drop));
    assert_eq!(Err(error.clone()), ingest.truncate(0));
    assert_eq!(Err(error.clone()), ingest.sync());
    assert_eq!(0, faulty.calls(), "a poisoned ingest touches the disk");
    assert_eq!(durable.len() as u64, store.ingests().status(REF).unwrap().offset);
    let held = store.ingests().open(REF, None, None, None).err();
    assert!(matches!(held, Some(Error::Unavailable { local: true, .. })));
    assert_eq!(Err(error), ingest.close());
    assert_eq!(Ok(()), ingest.close());
    assert!(is_closed(&ingest.push(b"x").unwrap_err()));
    let ingest = begin(&store);
    assert_eq!(sha256(durable), ingest.digest().unwrap());
}

#[test]
fn a_failed_write_poisons() {
    assert_poisons(Op::WriteAt, |ingest| ingest.write(b"abc"));
    assert_poisons(Op::WriteAt, |ingest| {
        ingest.push(b"abc")?;
        ingest.flush()
    });
    assert_poisons(Op::WriteAt, |ingest| {
        ingest.push(b"abc")?;
        ingest.sync()
    });
}

#[test]
fn a_failed_sync_poisons() {
    let sync = |ingest: &Ingest| {
        ingest.write(b"abc")?;
        ingest.sync()
    };
    assert_poisons(Op::SyncData, sync);
    // The bytes and the slot were synced by then; only the directory was not.
    assert_poisons_after(Op::SyncDir, &[&bytes(1000)[..], b"abc"].concat(), sync);
}

#[test]
fn a_failed_truncation_poisons() {
    assert_poisons(Op::Truncate, |ingest| {
        ingest.write(&[7; 100])?;
        ingest.truncate(1050)
    });
}

#[test]
fn a_failed_writeback_poisons() {
    let piece = bytes(8 << 20);
    assert_poisons(Op::StartWriteback, |ingest| ingest.write(&piece));
}

#[test]
fn a_file_system_without_early_writeback_does_without() {
    let root = Root::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let ingest = begin(&store);
    faulty.set(Some(Fault::First(Op::StartWriteback, libc::ENOSYS)));

    ingest.write(&bytes(9 << 20)).unwrap();

    assert_eq!(1, faulty.hits());
}

#[test]
fn a_commit_after_a_failure_gives_the_failure_closes_and_stores_nothing() {
    let root = Root::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let ingest = begin(&store);
    faulty.set(Some(Fault::First(Op::WriteAt, libc::ENOSPC)));
    let error = ingest.write(b"abc").unwrap_err();

    assert_eq!(Some(error), ingest.commit(None, None, None).err());
    assert!(is_closed(&ingest.commit(None, None, None).unwrap_err()));
    assert_eq!(Ok(()), ingest.close());
    assert_eq!(None, root.blob(&sha256(b"abc")));
    assert_eq!(0, begin(&store).offset());
}

#[test]
fn a_sync_that_fails_in_commit_is_not_repeated() {
    let root = Root::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();
    faulty.set(Some(Fault::First(Op::SyncData, libc::EIO)));

    let error = ingest.commit(None, None, None).unwrap_err();

    assert!(matches!(error, Error::Io { errno: libc::EIO, operation: "fdatasync", .. }));
    assert!(is_closed(&ingest.sync().unwrap_err()));
    assert_eq!(None, root.blob(&sha256(b"abc")));
    assert_eq!(0, begin(&store).offset(), "bytes whose sync failed are not trusted");
}

#[test]
fn a_failed_read_costs_nothing_and_can_be_tried_again() {
    let root = Root::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    leave(&store, b"abc");
    let sha512 = Some(Algorithm::Sha512);
    let ingest = store.ingests().open(REF, None, None, sha512).unwrap();
    ingest.push(b"def").unwrap();
    faulty.set(Some(Fault::Every(Op::ReadAt, libc::EIO)));

    assert!(ingest.digest().is_err());
    ingest.flush().unwrap();
    ingest.write(b"ghi").unwrap();
    assert!(ingest.digest().is_err());
    faulty.set(None);

    let expected = digest(Algorithm::Sha512, b"abcdefghi");
    assert_eq!((9, expected), (ingest.offset(), ingest.digest().unwrap()));
    assert_eq!(expected, ingest.commit(None, None, None).unwrap().digest);
}
