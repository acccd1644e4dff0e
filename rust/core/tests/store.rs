//! Blobs in and out of a store on a real file system.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Scratch, sha256};
use steelyard_core::error::Error;
use steelyard_core::store::{Options, Store};

fn mode(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_blob_is_stored_once_and_read_back() {
    let scratch = Scratch::new();
    let store = scratch.open();

    let first = store.put(b"hello", common::SHA256, None, None).unwrap();
    let second = store.put(b"hello", common::SHA256, None, None).unwrap();

    assert_eq!((first.new, second.new), (true, false));
    assert_eq!(first.digest, sha256(b"hello"));
    let blob = store.blob(&first.digest).unwrap();
    let mut bytes = [0; 5];
    blob.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn a_root_is_made_with_its_directories_and_exact_modes() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let put = store.put(b"hello", common::SHA256, None, None).unwrap();

    assert_eq!(mode(&scratch.root), 0o700);
    assert_eq!(mode(&scratch.root.join("blobs")), 0o755);
    assert_eq!(mode(&scratch.root.join("blobs/sha256")), 0o755);
    assert_eq!(mode(&scratch.root.join("ingest")), 0o700);
    assert_eq!(mode(&scratch.root.join("lock")), 0o600);
    assert_eq!(mode(&scratch.blob(&put.digest)), 0o444);
    let marker = fs::read_to_string(scratch.root.join("steelyard.json")).unwrap();
    assert_eq!(marker, "{\"format\": 1}\n");
}

#[test]
fn a_deleted_blob_is_not_found() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let digest = store
        .put(b"hello", common::SHA256, None, None)
        .unwrap()
        .digest;

    store.delete(&digest).unwrap();

    let missing = Err(Error::no_blob(digest));
    assert_eq!(store.delete(&digest), missing);
    assert_eq!(store.blob(&digest).map(|_| ()), missing);
}

#[test]
fn a_closed_store_refuses_every_call() {
    let scratch = Scratch::new();
    let store = scratch.open();

    store.close();

    let refused = store.put(b"hello", common::SHA256, None, None);
    assert_eq!(
        refused,
        Err(Error::Closed {
            name: scratch.root.display().to_string()
        })
    );
}

#[test]
fn the_path_of_a_root_may_be_relative_but_not_empty() {
    let refused = Store::open(std::path::Path::new(""), Options::default());

    assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
}
