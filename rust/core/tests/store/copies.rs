//! Copies of blobs as files: whole, verified, and never in the place of another file.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steelyard_core::digest::Digest;
use steelyard_core::error::Error;
use steelyard_core::store::Store;
use steelyard_core::sys::{Fault, Faulty, Linux, Op};
use steelyard_core::volume::blob::Wanted;

use crate::common::{SHA256, Scratch, sha256};

fn wanted(data: &[u8], name: &str) -> Wanted {
    let digest = sha256(data);
    Wanted { digest, size: data.len() as u64, folder: 0, name: name.to_owned(), mode: 0o640, mtime_ns: None }
}

fn put(store: &Store, data: &[u8]) -> Digest {
    store.put(data, SHA256, None, None).unwrap().digest
}

/// A directory for copies, beside the store.
fn target(scratch: &Scratch) -> PathBuf {
    let path = scratch.path.join("target");
    fs::create_dir(&path).unwrap();
    path
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn copies_have_the_bytes_the_mode_and_the_time() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let path = target(&scratch);
    put(&store, b"one");
    put(&store, b"");
    let timed = Wanted { mtime_ns: Some(1_234_567_890_123_456_789), ..wanted(b"one", "timed") };
    let files = [wanted(b"one", "a"), wanted(b"", "b"), timed];

    let dir = File::open(&path).unwrap();
    assert_eq!(vec![Ok(true); 3], store.volume().write_copies(&[dir.as_fd()], &files));

    assert_eq!(b"one", &fs::read(path.join("a")).unwrap()[..]);
    assert_eq!(b"", &fs::read(path.join("b")).unwrap()[..]);
    let found = fs::metadata(path.join("timed")).unwrap();
    assert_eq!((1_234_567_890, 123_456_789), (found.mtime(), found.mtime_nsec()));
    assert_eq!(0o640, found.permissions().mode() & 0o777);
}

#[test]
fn what_is_there_stays_and_what_is_damaged_or_missing_is_an_error_of_its_own() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let path = target(&scratch);
    put(&store, b"good");
    let file = scratch.blob(&put(&store, b"bad"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, b"BAD").unwrap();
    fs::write(path.join("taken"), b"mine").unwrap();
    std::os::unix::fs::symlink("nothing", path.join("link")).unwrap();
    let files = [
        wanted(b"good", "taken"),
        wanted(b"good", "link"),
        wanted(b"bad", "bad"),
        wanted(b"missing", "missing"),
        wanted(b"good", "good"),
        Wanted { size: 5, ..wanted(b"good", "of another size") },
    ];

    let dir = File::open(&path).unwrap();
    let found = store.volume().write_copies(&[dir.as_fd()], &files);

    assert_eq!((&Ok(false), &Ok(false), &Ok(true)), (&found[0], &found[1], &found[4]));
    assert!(matches!(&found[2], Err(Error::DataCorrupt { actual, .. }) if *actual == sha256(b"BAD").to_string()));
    assert!(matches!(&found[3], Err(Error::NotFound { kind: "blob", .. })));
    assert!(matches!(&found[5], Err(Error::DataCorrupt { actual, .. }) if actual == "4 bytes"));
    assert_eq!(vec!["good", "link", "taken"], names(&path));
    assert_eq!(b"mine", &fs::read(path.join("taken")).unwrap()[..]);
}

#[test]
fn a_refused_call_leaves_no_file() {
    let scratch = Scratch::in_memory();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    let path = target(&scratch);
    put(&store, b"bytes");
    let dir = File::open(&path).unwrap();
    let copy = || store.volume().write_copies(&[dir.as_fd()], &[wanted(b"bytes", "copy")]).pop().unwrap();
    let mut refused = 0;
    for ordinal in 1.. {
        faulty.set(Some(Fault::Once(ordinal, libc::ENOSPC)));
        let found = copy();
        let was_met = faulty.hits() > 0;
        faulty.set(None);
        if !was_met {
            break;
        }
        if found == Ok(true) {
            fs::remove_file(path.join("copy")).unwrap(); // a record of the use, which may fail
        } else {
            assert!(matches!(found, Err(Error::Io { errno: libc::ENOSPC, .. })), "{ordinal}: {found:?}");
            refused += 1;
        }
        assert_eq!(Vec::<String>::new(), names(&path), "{ordinal}");
    }
    assert!(refused >= 4, "open, read, create, write and link can fail: {refused}");

    faulty.set(Some(Fault::Every(Op::CreateUnnamed, libc::EOPNOTSUPP)));
    assert_eq!(Ok(false), copy(), "the caller has another way");
}
