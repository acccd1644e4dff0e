//! Every system call of every way to change the store fails once, and from then on; each time the store stays whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use steelyard_core::digest::Digest;
use steelyard_core::error::{Error, Result};
use steelyard_core::model::Labels;
use steelyard_core::store::Store;
use steelyard_core::sys::{Fault, Faulty, Linux, Op};

use crate::common::{SHA256, Scratch, sha256};

const BYTES: &[u8] = b"the bytes of the blob";
const OTHER: &[u8] = b"the bytes of another blob";

/// A way to change a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Put,
    PutLabelled,
    PutAgain,
    Heal,
    ReplaceStray,
    Delete,
    DeleteMany,
    Quarantine,
}

impl Change {
    /// Make the state that it starts from.
    fn prepare(self, scratch: &Scratch) {
        let store = scratch.open();
        let blob = scratch.blob(&sha256(BYTES));
        match self {
            Self::Put | Self::PutLabelled => {}
            Self::ReplaceStray => {
                store.put(b"makes the directory", SHA256, None, None).unwrap();
                std::os::unix::fs::symlink("/nowhere", blob).unwrap();
            }
            _ => {
                store.put(BYTES, SHA256, None, None).unwrap();
            }
        }
        if self == Self::DeleteMany {
            store.put(OTHER, SHA256, None, Some(&Labels::from([("a".to_owned(), "b".to_owned())]))).unwrap();
        }
        if self == Self::Heal {
            let blob = scratch.blob(&sha256(BYTES));
            fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
            fs::write(&blob, b"damaged").unwrap();
        }
    }

    fn run(self, store: &Arc<Store>) -> Result<()> {
        let digest = sha256(BYTES);
        let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
        match self {
            Self::Put | Self::PutAgain | Self::Heal | Self::ReplaceStray => {
                store.put(BYTES, SHA256, None, None).map(drop)
            }
            Self::PutLabelled => store.put(BYTES, SHA256, None, Some(&labels)).map(drop),
            Self::Delete => store.volume().delete(&digest),
            Self::DeleteMany => store.volume().delete_many(None, &[sha256(OTHER), digest])?.into_iter().collect(),
            Self::Quarantine => store.volume().quarantine(&digest).map(drop),
        }
    }

    fn removes(self) -> bool {
        matches!(self, Self::Delete | Self::DeleteMany | Self::Quarantine)
    }

    /// Check what an acknowledgement promises.
    fn assert_done(self, scratch: &Scratch) {
        let blob = fs::read(scratch.blob(&sha256(BYTES))).ok();
        let promised = (!self.removes()).then(|| BYTES.to_vec());
        assert_eq!(promised, blob, "{self:?}");
    }

    /// Check the state after a failure.
    fn assert_whole(self, scratch: &Scratch) {
        let Ok(names) = fs::read_dir(scratch.root.join("blobs/sha256")) else {
            return;
        };
        for name in names {
            let path = name.unwrap().path();
            // What was damaged or no blob before may still be there; only half of ours may not.
            if !path.is_file() || (self == Self::Heal && fs::read(&path).unwrap() == b"damaged") {
                continue;
            }
            let encoded = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(encoded, sha256(&fs::read(&path).unwrap()).encoded(), "{self:?}");
            assert_eq!(0o444, fs::metadata(&path).unwrap().permissions().mode() & 0o777);
        }
    }
}

fn files_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn assert_typed(error: &Error, errno: i32) {
    let fitting = match error {
        Error::Io { errno: found, path, .. } => *found == errno && path.is_some(),
        _ => false,
    };
    assert!(fitting, "{error:?}");
}

/// Let call `n` fail; return whether there was such a call.
fn fail_at(change: Change, n: u64, errno: i32, fault: fn(u64, i32) -> Fault) -> bool {
    let scratch = Scratch::in_memory();
    change.prepare(&scratch);
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    faulty.set(Some(fault(n, errno)));

    let result = change.run(&store);

    let hit = faulty.hits() > 0;
    faulty.set(None);
    change.assert_whole(&scratch);
    match &result {
        Ok(()) => change.assert_done(&scratch),
        Err(error) => assert_typed(error, errno),
    }
    assert!(hit || result.is_ok());
    assert_usable(change, &store, &scratch);
    drop(store);
    assert_usable(change, &scratch.open(), &scratch);
    assert!(files_in(&scratch.root.join("tmp")).is_empty(), "{change:?} call {n}");
    hit
}

/// The same call succeeds now that nothing fails: no lock is stuck and nothing is in the way.
fn assert_usable(change: Change, store: &Arc<Store>, scratch: &Scratch) {
    match change.run(store) {
        Err(Error::NotFound { .. }) if change.removes() => {}
        other => other.unwrap(),
    }
    change.assert_done(scratch);
}

fn sweep(change: Change) {
    for errno in [libc::EIO, libc::ENOSPC, libc::EMFILE] {
        for fault in [Fault::Once as fn(u64, i32) -> Fault, Fault::From] {
            let calls = (1..1000).find(|n| !fail_at(change, *n, errno, fault)).unwrap();
            assert!(calls > 5, "{change:?} makes only {calls} calls");
        }
    }
}

#[test]
fn a_put_survives_every_fault() {
    sweep(Change::Put);
}

#[test]
fn a_labelled_put_survives_every_fault() {
    sweep(Change::PutLabelled);
}

#[test]
fn a_put_of_what_is_there_survives_every_fault() {
    sweep(Change::PutAgain);
}

#[test]
fn healing_survives_every_fault() {
    sweep(Change::Heal);
}

#[test]
fn replacing_a_stray_name_survives_every_fault() {
    sweep(Change::ReplaceStray);
}

#[test]
fn a_delete_survives_every_fault() {
    sweep(Change::Delete);
}

#[test]
fn a_delete_of_many_survives_every_fault() {
    sweep(Change::DeleteMany);
}

#[test]
fn a_quarantine_survives_every_fault() {
    sweep(Change::Quarantine);
}

#[test]
fn making_a_root_survives_every_fault() {
    for errno in [libc::EIO, libc::ENOSPC, libc::EMFILE] {
        for fault in [Fault::Once as fn(u64, i32) -> Fault, Fault::From] {
            for n in 1..1000 {
                let scratch = Scratch::in_memory();
                let faulty = Faulty::over(Arc::new(Linux));
                faulty.set(Some(fault(n, errno)));
                let result = scratch.open_with(faulty.clone());
                let hit = faulty.hits() > 0;
                if let Err(error) = &result {
                    assert_typed(error, errno);
                }
                faulty.set(None);
                drop(result);

                let store = scratch.open();

                assert_eq!(Vec::<String>::new(), store.volume().notes());
                assert!(store.put(BYTES, SHA256, None, None).unwrap().new);
                let mut names = files_in(&scratch.root);
                names.retain(|name| !name.starts_with("meta.db"));
                names.sort();
                assert_eq!(["blobs", "ingest", "lock", "steelyard.json"].as_slice(), names);
                if !hit {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_signal_interrupts_nothing() {
    let interruptible = [
        Op::Open,
        Op::OpenDir,
        Op::CreateUnnamed,
        Op::ReadAt,
        Op::WriteAt,
        Op::SyncData,
        Op::SyncFile,
        Op::SyncDir,
        Op::SetMode,
        Op::Stat,
        Op::StatAt,
        Op::Lock,
    ];
    for change in [Change::Put, Change::Heal, Change::Delete] {
        for op in interruptible {
            let scratch = Scratch::in_memory();
            change.prepare(&scratch);
            let faulty = Faulty::over(Arc::new(Linux));
            let store = scratch.open_with(faulty.clone()).unwrap();
            faulty.set(Some(Fault::First(op, libc::EINTR)));

            change.run(&store).unwrap();

            change.assert_done(&scratch);
        }
    }
}

#[test]
fn short_writes_are_continued() {
    let scratch = Scratch::in_memory();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    faulty.set_short_writes(3);

    let digest: Digest = store.put(BYTES, SHA256, None, None).unwrap().digest;

    assert_eq!(BYTES, fs::read(scratch.blob(&digest)).unwrap());
}

#[test]
fn without_unnamed_files_named_ones_do() {
    for change in [Change::Put, Change::PutLabelled, Change::Heal, Change::ReplaceStray] {
        let scratch = Scratch::in_memory();
        change.prepare(&scratch);
        let faulty = Faulty::over(Arc::new(Linux));
        let store = scratch.open_with(faulty.clone()).unwrap();
        faulty.set(Some(Fault::Every(Op::CreateUnnamed, libc::EOPNOTSUPP)));

        change.run(&store).unwrap();

        change.assert_done(&scratch);
        change.assert_whole(&scratch);
        assert!(files_in(&scratch.root.join("tmp")).is_empty(), "{change:?}");
    }
}

#[test]
fn without_hard_links_a_damaged_blob_is_moved_aside() {
    let scratch = Scratch::in_memory();
    Change::Heal.prepare(&scratch);
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    faulty.set(Some(Fault::Every(Op::Link, libc::EPERM)));

    Change::Heal.run(&store).unwrap();

    Change::Heal.assert_done(&scratch);
    assert_eq!(1, files_in(&scratch.root.join("quarantine/sha256")).len());
}
