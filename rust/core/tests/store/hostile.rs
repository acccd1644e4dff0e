//! Roots that a careless or hostile hand has prepared.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use steelyard_core::error::{Error, Result};
use steelyard_core::store::{Options, Store};
use steelyard_core::sys::{Fault, Faulty, Linux, Op};

use crate::common::{SHA256, Scratch, sha256};

fn read_only() -> Options {
    Options { read_only: true, ..Options::default() }
}

fn try_open(path: &Path, read_only: bool) -> Result<Arc<Store>> {
    Store::open(path, Options { read_only, ..Options::default() })
}

/// Check that both ways to open fail with that errno, and name that path.
fn assert_refused(root: &Path, errno: i32, path: &Path) {
    for read_only in [false, true] {
        let error = try_open(root, read_only).unwrap_err();
        assert!(
            matches!(&error, Error::Io { errno: found, path: Some(named), .. } if *found == errno && named == path),
            "{error:?}"
        );
    }
}

#[test]
fn a_root_that_is_a_file_is_refused() {
    let scratch = Scratch::new();
    fs::write(&scratch.root, "").unwrap();

    assert_refused(&scratch.root, libc::ENOTDIR, &scratch.root);
    let below = scratch.root.join("store");
    assert_refused(&below, libc::ENOTDIR, &below);
}

#[test]
fn a_missing_root_is_not_made_read_only() {
    let scratch = Scratch::new();

    let error = try_open(&scratch.root, true).unwrap_err();

    assert!(matches!(error, Error::Io { errno: libc::ENOENT, .. }), "{error:?}");
    assert!(!scratch.root.exists());
}

#[test]
fn a_root_may_be_a_symbolic_link_that_leads_somewhere() {
    let scratch = Scratch::new();
    let place = scratch.path.join("place");
    symlink(&place, &scratch.root).unwrap();

    let dangling = try_open(&scratch.root, false).unwrap_err();
    fs::create_dir(&place).unwrap();
    let store = try_open(&scratch.root, false).unwrap();

    assert!(matches!(dangling, Error::Io { errno: libc::ENOENT, .. }), "{dangling:?}");
    store.put(b"hello", SHA256, None, None).unwrap();
    assert!(place.join("blobs/sha256").is_dir());
}

#[test]
fn something_else_in_the_place_of_a_directory_is_refused() {
    for name in ["blobs", "ingest"] {
        let scratch = Scratch::new();
        fs::create_dir(&scratch.root).unwrap();
        fs::write(scratch.root.join(name), "").unwrap();
        assert_refused(&scratch.root, libc::ENOTDIR, &scratch.root.join(name));

        fs::remove_file(scratch.root.join(name)).unwrap();
        symlink("/", scratch.root.join(name)).unwrap();
        assert_refused(&scratch.root, libc::ENOTDIR, &scratch.root.join(name));
    }
}

#[test]
fn something_else_in_the_place_of_the_lock_is_refused() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.root.join("lock")).unwrap();

    let error = try_open(&scratch.root, false).unwrap_err();

    assert!(matches!(error, Error::Io { errno: libc::EISDIR, .. }), "{error:?}");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.root).unwrap();
    fs::write(scratch.root.join("steelyard.json"), "{\"format\": 3, \"more\": true}").unwrap();

    for read_only in [false, true] {
        let error = try_open(&scratch.root, read_only).unwrap_err();
        let expected =
            Error::IncompatibleFormat { path: scratch.root.clone(), found: "3".to_owned(), supported: "2".to_owned() };
        assert_eq!(expected, error);
    }
    assert_eq!(1, fs::read_dir(&scratch.root).unwrap().count());
}

#[test]
fn a_damaged_marker_is_named() {
    let scratch = Scratch::new();
    drop(scratch.open());
    fs::write(scratch.root.join("steelyard.json"), "\0\0\0").unwrap();

    let error = try_open(&scratch.root, false).unwrap_err();

    let marker = scratch.root.join("steelyard.json").display().to_string();
    assert!(matches!(&error, Error::DataCorrupt { name, .. } if *name == marker), "{error:?}");
}

#[test]
fn a_containerd_root_with_ingests_is_only_opened_read_only() {
    let scratch = Scratch::new();
    let ingest = scratch.root.join("ingest/0123");
    fs::create_dir_all(&ingest).unwrap();
    fs::write(ingest.join("ref"), "layer").unwrap();

    let error = try_open(&scratch.root, false).unwrap_err();

    assert!(matches!(&error, Error::FailedPrecondition { message } if message.contains("read-only")));
    assert_eq!(1, fs::read_dir(&scratch.root).unwrap().count());
    try_open(&scratch.root, true).unwrap();
}

#[test]
fn an_oci_layout_is_adopted_with_its_blobs() {
    let scratch = Scratch::new();
    let digest = sha256(b"hello");
    fs::create_dir_all(scratch.root.join("blobs/sha256")).unwrap();
    fs::write(scratch.blob(&digest), "hello").unwrap();
    fs::write(scratch.root.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").unwrap();

    let store = scratch.open();

    assert_eq!(5, store.volume().blob(&digest).unwrap().size());
    assert!(!store.put(b"hello", SHA256, None, None).unwrap().new);
}

#[test]
fn what_is_no_file_is_no_blob_and_a_put_moves_it_aside() {
    let digest = sha256(b"hello");
    let strays: [fn(&Path); 3] = [
        |path| symlink("/etc/passwd", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
    ];
    for stray in strays {
        let scratch = Scratch::new();
        let store = scratch.open();
        store.put(b"makes the directory", SHA256, None, None).unwrap();
        let blob = scratch.blob(&digest);
        // By way of its descriptor: a socket's path may only be short.
        let directory = File::open(blob.parent().unwrap()).unwrap();
        let short = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), digest.encoded());
        stray(Path::new(&short));

        assert_eq!(Err(Error::no_blob(digest)), store.volume().blob(&digest).map(drop));
        assert_eq!(Err(Error::no_blob(digest)), store.volume().delete(&digest));
        assert_eq!(1, store.stats().unwrap().blobs);
        assert!(store.put(b"hello", SHA256, None, None).unwrap().new);

        assert_eq!(b"hello", fs::read(&blob).unwrap().as_slice());
        let aside = scratch.root.join(format!("quarantine/sha256/{}.1", digest.encoded()));
        assert!(fs::symlink_metadata(aside).is_ok());
    }
}

#[test]
fn missing_directories_are_no_error_to_a_reader() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.root).unwrap();

    let store = Store::open(&scratch.root, read_only()).unwrap();

    let digest = sha256(b"hello");
    assert_eq!(Err(Error::no_blob(digest)), store.volume().blob(&digest).map(drop));
    assert_eq!(0, store.stats().unwrap().blobs);
    assert_eq!(0, fs::read_dir(&scratch.root).unwrap().count());
}

#[test]
fn a_read_only_file_system_is_said_with_errno_and_path() {
    let scratch = Scratch::new();
    for op in [Op::MkdirRoot, Op::Mkdir, Op::Create] {
        let faulty = Faulty::over(Arc::new(Linux));
        faulty.set(Some(Fault::Every(op, libc::EROFS)));

        let error = scratch.open_with(faulty).unwrap_err();

        assert!(matches!(error, Error::Io { errno: libc::EROFS, path: Some(_), .. }), "{error:?}");
        fs::create_dir_all(scratch.root.join(if op == Op::Mkdir { "blobs" } else { "" })).unwrap();
    }
}

#[test]
fn a_blob_that_is_cut_while_it_is_open_is_corrupt() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;
    let blob = store.volume().blob(&digest).unwrap();
    let path = scratch.blob(&digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(2).unwrap();

    let error = blob.read_exact_at(&mut [0; 5], 0).unwrap_err();

    let expected =
        Error::DataCorrupt { name: digest.to_string(), expected: "5 bytes".to_owned(), actual: "2 bytes".to_owned() };
    assert_eq!(expected, error);
}

#[test]
fn a_read_past_the_end_says_where_the_end_is() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;

    let error = store.volume().blob(&digest).unwrap().read_exact_at(&mut [], 6).unwrap_err();

    let name = digest.to_string();
    assert_eq!(Error::OutOfRange { name, offset: 6, size: 5 }, error);
}
