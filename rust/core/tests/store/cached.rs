//! Bytes that are returned at once, because the kernel has them in memory, and bytes that need a call that may wait.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use steelyard_core::error::Error;
use steelyard_core::sys::{Fault, Faulty, Linux, Op};
use steelyard_core::volume::blob::Blob;

use crate::common::{SHA256, Scratch, sha256};

/// Whether the file system says what it has in memory; tmpfs does not, and there every read is left to a call that may wait.
fn tells(blob: &Blob) -> bool {
    preadv2(blob.as_fd(), &mut [IoSliceMut::new(&mut [0])], 0, ReadWriteFlags::NOWAIT).is_ok()
}

#[test]
fn a_blob_that_was_just_read_is_there_at_once() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;
    store.volume().blob(&digest).unwrap().read_exact_at(&mut [0; 5], 0).unwrap();

    let blob = store.volume().blob_cached(&digest).unwrap().expect("its name was just looked up");
    let mut bytes = [0; 4];

    assert_eq!((blob.digest(), blob.size()), (&digest, 5));
    if tells(&blob) {
        assert!(blob.read_cached(&mut bytes, 1).unwrap());
        assert_eq!(&bytes, b"ello");
    }
}

#[test]
fn what_is_not_a_blob_is_left_to_the_call_that_says_why() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;
    let other = sha256(b"other");

    assert!(store.volume().blob_cached(&other).unwrap().is_none());
    symlink(scratch.blob(&digest), scratch.blob(&other)).unwrap();
    assert!(store.volume().blob_cached(&other).unwrap().is_none());
    fs::remove_file(scratch.blob(&other)).unwrap();
    fs::create_dir(scratch.blob(&other)).unwrap();
    assert!(store.volume().blob_cached(&other).unwrap().is_none());
    store.volume().delete(&digest).unwrap();
    assert!(store.volume().blob_cached(&digest).unwrap().is_none());
    store.close();
    assert!(matches!(store.volume().blob_cached(&digest), Err(Error::StoreClosed { .. })));
}

#[test]
fn a_system_without_that_call_costs_only_the_wait() {
    for errno in [libc::EAGAIN, libc::EOPNOTSUPP, libc::ENOSYS, libc::EPERM, libc::EIO] {
        let scratch = Scratch::new();
        let faulty = Faulty::over(Arc::new(Linux));
        let store = scratch.open_with(faulty.clone()).unwrap();
        let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;
        let blob = store.volume().blob(&digest).unwrap();

        faulty.set(Some(Fault::Every(Op::ReadAt, errno)));
        assert!(!blob.read_cached(&mut [0; 5], 0).unwrap());
        faulty.set(Some(Fault::Every(Op::Open, errno)));
        assert!(store.volume().blob_cached(&digest).unwrap().is_none());
        faulty.set(Some(Fault::Every(Op::Stat, errno)));
        assert!(store.volume().blob_cached(&digest).unwrap().is_none());
    }
}

#[test]
fn ranges_are_checked_and_a_cut_file_gives_nothing() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;
    let blob = store.volume().blob(&digest).unwrap();
    let path = scratch.blob(&digest);

    assert!(blob.read_cached(&mut [], 5).unwrap());
    assert!(matches!(blob.read_cached(&mut [0], 5), Err(Error::OutOfRange { offset: 6, .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, b"hel").unwrap();
    assert!(!blob.read_cached(&mut [0; 5], 0).unwrap());
}

#[test]
fn what_the_page_cache_lacks_is_not_waited_for() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let data = vec![7; 1 << 20];
    let digest = store.put(&data, SHA256, None, None).unwrap().digest;
    let blob = store.volume().blob(&digest).unwrap();
    let mut some = vec![0; 4096];

    // A file system without a disk drops nothing, so it is only sure that a read that waits makes the next come at once.
    fadvise(blob.as_fd(), 0, None, Advice::DontNeed).unwrap();
    let _ = blob.read_cached(&mut some, 512 << 10).unwrap();
    blob.read_exact_at(&mut some, 512 << 10).unwrap();

    if tells(&blob) {
        assert!(blob.read_cached(&mut some, 512 << 10).unwrap());
        assert_eq!(some, data[..4096]);
    }
}
