//! Checkpoints that are made beside a long copy: in the right order, and when they fail.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};

use steelyard_core::error::{Error, Result};
use steelyard_core::format::state::State;
use steelyard_core::pipe::Job;
use steelyard_core::store::ingest::{Ingest, Source};
use steelyard_core::sys::{Around, Call, Fault, Faulty, Layer, Linux, Op};

use crate::copy::source;
use crate::support::*;

/// Past the first checkpoint, which is made after 64 MiB, and past the second.
const LONG: u64 = 67 << 20;
const LONGER: u64 = 133 << 20;

fn copy(ingest: &Ingest, file: &File) -> Result<u64> {
    let from = ingest.offset();
    ingest.copy_from(Source { file: file.as_fd(), from, most: u64::MAX }, &Job::default(), None)
}

/// Zeros: what is in them does not matter here, and a file of them takes no memory.
fn long_source(root: &Root, size: u64) -> File {
    let file = source(root, b"");
    file.set_len(size).unwrap();
    file
}

/// Knows how long each file was when its last sync began, and looks at every slot that is written.
#[derive(Default)]
struct Watch(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    synced: HashMap<u64, u64>,
    /// Of each slot: what it counts, and what was synced by then.
    slots: Vec<(u64, u64)>,
}

impl Around for Watch {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let file = format!("/proc/self/fd/{}", call.fd);
        let before = fs::metadata(&file).ok();
        let result = run()?;
        let Some(before) = before else { return Ok(result) };
        let mut seen = self.0.lock().unwrap();
        if call.op == Op::SyncData {
            seen.synced.insert(before.ino(), before.size());
        }
        let path = fs::read_link(&file).unwrap_or_default();
        if call.op == Op::WriteAt && path.ends_with("state") {
            let state = State::decode(&fs::read(&path).unwrap()).unwrap();
            let newest = state.slots.iter().flatten().max_by_key(|slot| slot.sequence).unwrap();
            let data = fs::metadata(path.with_file_name("data")).unwrap().ino();
            let synced = seen.synced.get(&data).copied().unwrap_or(0);
            seen.slots.push((newest.offset, synced));
        }
        Ok(result)
    }
}

#[test]
fn a_slot_counts_only_bytes_that_were_synced_before_though_more_is_written_meanwhile() {
    let root = Root::in_memory();
    let watch = Arc::new(Layer::new(Arc::new(Linux), Watch::default()));
    let store = root.open_with(watch.clone());
    let ingest = begin(&store);
    copy(&ingest, &long_source(&root, LONGER)).unwrap();
    ingest.close().unwrap();

    let seen = watch.around.0.lock().unwrap();

    let counted: Vec<_> = seen.slots.iter().map(|(counted, _)| *counted).collect();
    // One is written at the beginning; the one of a holder's record does not count.
    assert_eq!([0, 64 << 20, 128 << 20, LONGER], *counted);
    assert!(seen.slots.iter().all(|(counted, synced)| counted <= synced || *counted == 0));
}

#[test]
fn an_ingest_that_was_forgotten_goes_on_without_hashing_again_what_its_checkpoint_covers() {
    let root = Root::in_memory();
    let file = long_source(&root, LONGER);
    let store = root.open();
    copy(&begin(&store), &file).unwrap();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let ingest = begin(&store);
    let offset = ingest.offset();
    assert!((128 << 20..=LONGER).contains(&offset), "{offset}");
    faulty.set(Some(Fault::Every(Op::ReadAt, libc::EIO)));

    let found = ingest.digest().unwrap();

    assert_eq!(sha256(&vec![0; usize::try_from(offset).unwrap()]), found);
    faulty.set(None);
    copy(&ingest, &file).unwrap();
    assert_eq!(LONGER, ingest.commit(None, None, None).unwrap().size);
}

#[test]
fn bytes_after_a_checkpoint_in_the_same_write_are_synced_too() {
    let root = Root::in_memory();
    let store = root.open();
    let ingest = begin(&store);
    ingest.write(&vec![0; 70 << 20]).unwrap();

    ingest.sync().unwrap();

    drop((ingest, store));
    assert_eq!(70 << 20, root.open().ingests().status(REF).unwrap().offset);
}

/// Let the calls fail that `fault` says while a copy goes on; check what is left and that it can be finished.
fn assert_survives(fault: Fault) {
    let root = Root::in_memory();
    let file = long_source(&root, LONG);
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let ingest = begin(&store);
    faulty.set(Some(fault));
    let mut result = copy(&ingest, &file);
    if let Err(Error::Source { errno: libc::EIO }) = result {
        faulty.set(None);
        result = Ok(0);
    }
    // The thread that syncs may be the last to end; then the next call that needs it gets its failure.
    let result = result.and_then(|_| ingest.sync());
    let ingest = match result {
        Ok(()) => ingest,
        Err(error) => {
            assert_poisoned(&faulty, &ingest, &error);
            faulty.set(None);
            let durable = store.ingests().status(REF).unwrap().offset;
            assert!([0, 64 << 20, LONG].contains(&durable), "{fault:?}: {durable}");
            let resumed = begin(&store);
            // Where the note of further bytes can still be removed, they do not count.
            assert!(resumed.offset() == durable || matches!(fault, Fault::From(..)), "{fault:?}: {}", resumed.offset());
            resumed
        }
    };
    copy(&ingest, &file).unwrap();
    assert_eq!(sha256(&vec![0; usize::try_from(LONG).unwrap()]), ingest.commit(None, None, None).unwrap().digest);
    root.assert_blobs_whole();
}

fn assert_poisoned(faulty: &Faulty, ingest: &Ingest, error: &Error) {
    assert!(matches!(error, Error::Io { errno: libc::EIO, path: Some(_), .. }), "{error}");
    let calls = faulty.calls();
    assert_eq!(Err(error), ingest.push(b"x").as_ref().map(drop));
    assert_eq!(Err(error), copy(ingest, &File::open("/dev/null").unwrap()).as_ref().map(drop));
    assert_eq!(Err(error), ingest.digest().as_ref().map(drop));
    assert_eq!(Some(error), ingest.commit(None, None, None).err().as_ref());
    assert_eq!(calls, faulty.calls(), "a poisoned ingest touches the disk");
    assert!(is_closed(&ingest.sync().unwrap_err()));
}

#[test]
fn a_failure_of_any_kind_of_call_in_a_copy_or_beside_it_is_survived() {
    for op in [Op::WriteAt, Op::ReadAt, Op::StartWriteback, Op::SyncData, Op::SyncDir] {
        assert_survives(Fault::First(op, libc::EIO));
    }
}

#[test]
fn a_failure_at_any_moment_around_a_checkpoint_is_survived() {
    // Each MiB is read and written, each eighth is given to the disk. The checkpoint begins after 64, with call 137 or so;
    // what it does mingles with the calls of the copy.
    for call in [1, 2, 135, 136, 137, 138, 139, 140, 141, 142, 145, 150, 270] {
        assert_survives(Fault::Once(call, libc::EIO));
        assert_survives(Fault::From(call, libc::EIO));
    }
}

/// The ways to end with an ingest whose last bytes are still pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Sync,
    Close,
    Commit,
}

/// Let a sync fail of the checkpoint that the last flush begins, once: another sync would report nothing.
fn assert_last_flush_is_reported(end: End, fault: Fault, then: &[u64]) {
    const BEFORE: usize = 1 << 20;
    let root = Root::in_memory();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let data = vec![0; BEFORE + (64 << 20) + 5];
    let ingest = begin(&store);
    ingest.write(&data[..BEFORE]).unwrap();
    ingest.sync().unwrap();
    let last = data.len() - 1000;
    ingest.write(&data[BEFORE..last]).unwrap();
    ingest.push(&data[last..]).unwrap();
    faulty.set(Some(fault));

    let result = match end {
        End::Sync => ingest.sync(),
        End::Close => ingest.close(),
        End::Commit => ingest.commit(None, None, None).map(drop),
    };

    assert!(matches!(result, Err(Error::Io { errno: libc::EIO, path: Some(_), .. })), "{end:?}: {result:?}");
    assert_eq!(1, faulty.hits());
    assert!(ingest.push(b"x").is_err());
    assert_eq!(None, root.blob(&sha256(&data)));
    drop(ingest);
    let resumed = begin(&store);
    assert!(then.contains(&resumed.offset()), "{end:?}: {}", resumed.offset());
    resumed.write(&data[usize::try_from(resumed.offset()).unwrap()..]).unwrap();
    assert_eq!(sha256(&data), resumed.commit(None, None, None).unwrap().digest);
}

#[test]
fn a_failed_sync_beside_the_last_flush_is_an_error_of_the_call_that_ends_the_ingest() {
    let (before, after) = (1 << 20, (65 << 20) + 5);
    for end in [End::Sync, End::Close, End::Commit] {
        assert_last_flush_is_reported(end, Fault::First(Op::SyncData, libc::EIO), &[before]);
        // That of the slot: what it says may count or not.
        assert_last_flush_is_reported(end, Fault::Second(Op::SyncData, libc::EIO), &[before, after]);
    }
}

#[test]
fn a_failed_sync_beside_a_write_is_reported_before_anything_is_published() {
    let root = Root::in_memory();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let ingest = begin(&store);
    faulty.set(Some(Fault::First(Op::SyncData, libc::EIO)));
    // The failure is the write's if the checkpoint has ended by then, else the commit's.
    let written = ingest.write(&vec![0; 65 << 20]);

    let result = written.and_then(|()| ingest.commit(None, None, None).map(drop));

    assert!(matches!(result, Err(Error::Io { errno: libc::EIO, .. })), "{result:?}");
    drop(ingest);
    assert_eq!(0, begin(&store).offset());
}
