//! A read-only store makes, changes and locks no file, and still sees what others write.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use steelyard_core::error::Error;

use crate::support::{FRESH, READ, Scratch, WRITE, digest, labels, row};

/// Every name, size and time in the directory.
fn fingerprint(scratch: &Scratch) -> Vec<(String, u64, std::time::SystemTime)> {
    let names = scratch.names("");
    let look = |name: String| {
        let metadata = fs::metadata(scratch.join(&name)).unwrap();
        (name, metadata.len(), metadata.modified().unwrap())
    };
    names.into_iter().map(look).collect()
}

#[test]
fn no_file_is_no_labels() {
    let scratch = Scratch::new();

    let (meta, notes) = scratch.open(READ);

    assert_eq!(Vec::<String>::new(), notes);
    assert_eq!(None, meta.get(&digest(1)).unwrap());
    assert!(matches!(meta.put(&row(1, &[])), Err(Error::Io { errno: libc::EROFS, .. })));
    meta.remember(&[row(1, &[])]);
    assert_eq!(Vec::<String>::new(), scratch.names(""));
}

#[test]
fn a_closed_store_is_read_without_a_trace() {
    let scratch = Scratch::new();
    scratch.open(FRESH).0.put(&row(1, &[("a", "b")])).unwrap();
    let before = fingerprint(&scratch);

    let (meta, _) = scratch.open(READ);

    assert_eq!(labels(&[("a", "b")]), meta.get(&digest(1)).unwrap().unwrap().labels);
    drop(meta);
    assert_eq!(before, fingerprint(&scratch));
}

#[test]
fn a_store_in_use_is_read_up_to_its_last_change() {
    let scratch = Scratch::new();
    let (reader, _) = scratch.open(READ);
    let (writer, _) = scratch.open(FRESH);
    for number in 1..6 {
        writer.put(&row(number, &[("a", "b")])).unwrap();
        assert_eq!(Some(row(number, &[("a", "b")])), reader.get(&digest(number)).unwrap());
    }

    drop(writer);
    assert_eq!(Some(row(5, &[("a", "b")])), reader.get(&digest(5)).unwrap());

    let (writer, _) = scratch.open(WRITE);
    writer.put(&row(5, &[("a", "c")])).unwrap();
    assert_eq!(Some(row(5, &[("a", "c")])), reader.get(&digest(5)).unwrap());
}

#[test]
fn the_log_of_a_killed_process_is_read_without_a_trace() {
    let scratch = Scratch::new();
    let (writer, _) = scratch.open(FRESH);
    writer.put(&row(1, &[("a", "b")])).unwrap();
    let copy = Scratch::new();
    for name in scratch.names("") {
        fs::copy(scratch.join(&name), copy.join(&name)).unwrap();
    }
    let before = fingerprint(&copy);

    let (meta, notes) = copy.open(READ);

    assert_eq!(Vec::<String>::new(), notes);
    assert_eq!(Some(row(1, &[("a", "b")])), meta.get(&digest(1)).unwrap());
    drop(meta);
    assert_eq!(before, fingerprint(&copy));
}

#[test]
fn a_directory_that_refuses_writes_is_read() {
    let scratch = Scratch::new();
    scratch.open(FRESH).0.put(&row(1, &[("a", "b")])).unwrap();
    fs::set_permissions(scratch.join("meta.db"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o500)).unwrap();

    let (meta, notes) = scratch.open(READ);

    assert_eq!(Vec::<String>::new(), notes);
    assert_eq!(Some(row(1, &[("a", "b")])), meta.get(&digest(1)).unwrap());
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o700)).unwrap();
}
