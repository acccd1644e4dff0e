//! A writer whose ingest is not its own any more, or not its own alone: no blob ever changes, and the writer learns of it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use steelyard_core::error::{Error, Result};
use steelyard_core::model::Labels;
use steelyard_core::sys::{Around, Call, Fault, Faulty, Layer, Linux, Op};

use crate::support::*;

fn is_aborted<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Aborted { .. }))
}

fn is_refused<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::FailedPrecondition { .. }))
}

/// A descriptor to write with, as a process has that holds the data of the ingest.
fn intruder(root: &Root) -> File {
    OpenOptions::new().write(true).open(root.ingest(REF).join("data")).unwrap()
}

#[test]
fn a_writer_whose_lock_file_was_removed_never_changes_the_blob_of_the_next_writer() {
    let root = Root::new();
    let first_store = root.open();
    let first = begin(&first_store);
    first.write(&[b'f'; 1000]).unwrap();
    first.sync().unwrap();
    fs::remove_file(root.path.join("lock")).unwrap();
    let second = begin(&root.open());
    assert_eq!(1000, second.offset());
    second.write(&[b's'; 2000]).unwrap();
    // Both have the file open now; the second writer's lock is the one that counts.
    assert!(is_refused(&first.write(&[b'F'; 100])));

    let info = second.commit(None, None, None).unwrap();

    let whole = [[b'f'; 1000].as_slice(), &[b's'; 2000]].concat();
    assert_eq!(Some(whole), root.blob(&info.digest));
    assert!(is_refused(&first.sync()));
    assert!(is_refused(&first.commit(None, None, None)));
    assert!(is_refused(&first_store.ingests().open("another", None, None, None)));
    root.assert_blobs_whole();
}

#[test]
fn bytes_pushed_to_an_ingest_that_another_writer_has_committed_are_refused_at_the_flush() {
    let root = Root::new();
    let store = root.open();
    let first = begin(&store);
    first.write(b"first").unwrap();
    first.sync().unwrap();
    fs::remove_file(root.path.join("lock")).unwrap();
    begin(&root.open()).commit(None, None, None).unwrap();

    first.push(b"more").unwrap();

    assert!(is_aborted(&first.flush()));
    assert!(is_aborted(&first.push(b"x").map(drop)));
    assert!(is_aborted(&first.commit(None, None, None)));
    first.close().unwrap();
    assert_eq!(Some(b"first".to_vec()), root.blob(&sha256(b"first")));
}

#[test]
fn an_ingest_whose_directory_was_removed_is_aborted() {
    let root = Root::new();
    let store = root.open();
    let works: [fn(&steelyard_core::store::ingest::Ingest) -> Result<()>; 5] = [
        |ingest| ingest.write(b"x"),
        |ingest| ingest.push(b"x").and_then(|_| ingest.flush()),
        |ingest| ingest.truncate(1),
        |ingest| ingest.sync(),
        |ingest| ingest.commit(None, None, None).map(drop),
    ];
    for work in works {
        let ingest = begin(&store);
        ingest.write(b"abc").unwrap();
        fs::remove_dir_all(root.ingest(REF)).unwrap();
        assert!(is_aborted(&work(&ingest)));
        ingest.close().unwrap();
        // The ref is free, and the next writer begins.
        assert_eq!(0, begin(&store).offset());
    }
    assert_eq!(None, root.blob(&sha256(b"abc")));
}

#[test]
fn a_writer_without_a_valid_lock_leaves_no_checkpoint_to_the_next_one() {
    let root = Root::new();
    let first_store = root.open();
    let first = begin(&first_store);
    first.write(b"first").unwrap();
    fs::remove_file(root.path.join("lock")).unwrap();
    let second = begin(&root.open());
    second.write(b"second").unwrap();
    second.sync().unwrap();
    let state = fs::read(root.ingest(REF).join("state")).unwrap();

    assert!(is_refused(&first.close()));

    assert_eq!(state, fs::read(root.ingest(REF).join("state")).unwrap());
    assert_eq!(sha256(b"second"), second.commit(None, None, None).unwrap().digest);
    root.assert_blobs_whole();
}

#[test]
fn data_that_another_process_has_open_for_writing_is_published_as_a_copy() {
    let root = Root::new();
    let store = root.open();
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    for damaged in [false, true] {
        let data = bytes(3 << 20);
        if damaged {
            fs::set_permissions(root.blob_path(&sha256(&data)), fs::Permissions::from_mode(0o644)).unwrap();
            fs::write(root.blob_path(&sha256(&data)), b"damaged").unwrap();
        }
        let ingest = begin(&store);
        ingest.write(&data).unwrap();
        let intruder = intruder(&root);
        let inode = intruder.metadata().unwrap().ino();

        let result = ingest.commit(None, None, Some(&labels));

        assert_eq!(damaged, matches!(result, Err(Error::AlreadyExists { .. })));
        intruder.write_all_at(b"other bytes", 0).unwrap();
        let blob = fs::metadata(root.blob_path(&sha256(&data))).unwrap();
        assert_ne!(inode, blob.ino());
        assert_eq!((0o444, 1), (blob.permissions().mode() & 0o777, blob.nlink()));
        assert_eq!(Some(data), root.blob(&sha256(&bytes(3 << 20))));
        assert_eq!(labels, *store.volume().info(&sha256(&bytes(3 << 20))).unwrap().labels);
        assert_eq!(0, root.ingests_left());
    }
}

#[test]
fn data_that_another_process_had_open_at_the_resume_is_published_as_a_copy() {
    let root = Root::new();
    let store = root.open();
    leave(&store, b"abc");
    let intruder = intruder(&root);
    let inode = intruder.metadata().unwrap().ino();
    let ingest = begin(&store);
    drop(intruder);

    let info = ingest.commit(None, None, None).unwrap();

    assert_ne!(inode, fs::metadata(root.blob_path(&info.digest)).unwrap().ino());
}

#[test]
fn bytes_that_another_process_has_changed_are_not_published() {
    let root = Root::new();
    let store = root.open();
    let ingest = begin(&store);
    ingest.write(&bytes(100_000)).unwrap();
    let intruder = intruder(&root);
    intruder.write_all_at(b"other bytes", 5000).unwrap();

    let error = ingest.commit(None, None, None).err().unwrap();

    assert!(matches!(error, Error::DataCorrupt { .. }));
    assert_eq!(None, root.blob(&sha256(&bytes(100_000))));
    root.assert_blobs_whole();
}

#[test]
fn without_leases_the_file_itself_is_published() {
    let root = Root::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();
    let inode = fs::metadata(root.ingest(REF).join("data")).unwrap().ino();
    faulty.set(Some(Fault::Every(Op::Lease, libc::EINVAL)));

    let info = ingest.commit(None, None, None).unwrap();

    assert!(faulty.hits() > 0);
    assert_eq!(inode, fs::metadata(root.blob_path(&info.digest)).unwrap().ino());
}

/// Tries to open the data for writing when it is about to be renamed.
#[derive(Default)]
struct Late {
    data: Mutex<Option<PathBuf>>,
    refusals: Mutex<Vec<Option<i32>>>,
}

impl Around for Late {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        if let (Op::Rename, Some(path)) = (call.op, &*self.data.lock().unwrap()) {
            let opened = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(Path::new(path));
            self.refusals.lock().unwrap().push(opened.err().and_then(|error| error.raw_os_error()));
        }
        run()
    }
}

#[test]
fn nothing_can_open_the_data_for_writing_once_it_is_about_to_be_published() {
    let root = Root::new();
    let late = Arc::new(Layer::new(Arc::new(Linux), Late::default()));
    let store = root.open_with(late.clone());
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();
    *late.around.data.lock().unwrap() = Some(root.ingest(REF).join("data"));

    ingest.commit(None, None, None).unwrap();

    assert_eq!([Some(libc::EAGAIN)][..], late.around.refusals.lock().unwrap()[..]);
    // The lease is given back: nothing waits for it.
    assert!(File::options().write(true).open(root.blob_path(&sha256(b"abc"))).is_ok());
}

#[test]
fn a_buffered_write_makes_no_system_call() {
    let root = Root::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let ingest = begin(&store);
    faulty.set(None);

    ingest.push(b"abc").unwrap();

    assert_eq!(0, faulty.calls());
}
