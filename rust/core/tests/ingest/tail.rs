//! Bytes after the last checkpoint: those that the kernel has outlive the process, and nothing else passes for them.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use steelyard_core::digest::Algorithm;
use steelyard_core::format::state::{State, Tail};
use steelyard_core::store::Store;
use steelyard_core::sys::{Fault, Faulty, Linux, Op};

use crate::recorder::recorder;
use crate::support::*;

const MIB: usize = 1 << 20;
const SIZE: usize = 20 * MIB;

/// Write so much that notes were made, and forget the ingest as a killed process does.
fn crash(store: &Arc<Store>, algorithm: Algorithm, data: &[u8]) {
    let ingest = store.ingests().open(REF, None, None, Some(algorithm)).unwrap();
    let rest = &data[usize::try_from(ingest.offset()).unwrap()..];
    rest.chunks(MIB).for_each(|piece| ingest.write(piece).unwrap());
}

/// Change the note as `change` says.
fn renote(root: &Root, change: impl FnOnce(&mut Tail)) {
    let state = State::decode(&fs::read(root.ingest(REF).join("state")).unwrap()).unwrap();
    let path = root.ingest(REF).join("tail");
    let mut tail = state.layout.decode_tail(&fs::read(&path).unwrap()).unwrap();
    change(&mut tail);
    fs::write(path, state.layout.encode_tail(&tail)).unwrap();
}

#[test]
fn a_crashed_ingest_goes_on_after_its_last_checkpoint() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(SIZE);
    for algorithm in Algorithm::ALL {
        let checkpoint = 3 * MIB + 77;
        let ingest = store.ingests().open(REF, None, None, Some(algorithm)).unwrap();
        ingest.write(&data[..checkpoint]).unwrap();
        ingest.close().unwrap();
        crash(&store, algorithm, &data);
        assert_eq!(checkpoint as u64, store.ingests().status(REF).unwrap().offset);

        let ingest = begin(&store);

        let offset = usize::try_from(ingest.offset()).unwrap();
        assert!(checkpoint < offset && offset <= SIZE, "{offset}");
        assert_eq!(digest(algorithm, &data[..offset]), ingest.digest().unwrap());
        ingest.write(&data[offset..]).unwrap();
        let info = ingest.commit(None, None, None).unwrap();
        assert_eq!(digest(algorithm, &data), info.digest);
        assert_eq!(Some(&data), root.blob(&info.digest).as_ref());
        assert_eq!(0, root.ingests_left());
    }
}

#[test]
fn another_boot_another_file_or_other_bytes_leave_the_checkpoint() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(SIZE);
    let alter = |offset: u64| {
        let file = OpenOptions::new().write(true).open(root.ingest(REF).join("data")).unwrap();
        file.write_all_at(b"altered", offset).unwrap();
    };
    let spoils: [&dyn Fn(); 7] = [
        &|| renote(&root, |tail| tail.boot.replace_range(..1, "?")),
        &|| renote(&root, |tail| tail.inode += 1),
        &|| renote(&root, |tail| tail.device += 1),
        &|| renote(&root, |tail| tail.offset = SIZE as u64 + 1),
        &|| renote(&root, |tail| tail.hash_state.reverse()),
        &|| fs::write(root.ingest(REF).join("tail"), b"torn").unwrap(),
        &|| alter(1000),
    ];
    for spoil in spoils {
        leave(&store, &data[..500]);
        crash(&store, Algorithm::Sha256, &data);
        spoil();

        let ingest = begin(&store);

        assert_eq!(500, ingest.offset());
        assert_eq!(sha256(&data[..500]), ingest.digest().unwrap());
        drop(ingest);
        store.ingests().abort(REF).unwrap();
        assert_eq!(0, root.ingests_left());
    }
}

#[test]
fn what_was_found_is_written_again_before_it_is_synced() {
    let root = Root::new();
    let data = bytes(SIZE);
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    leave(&store, &data[..MIB]);
    crash(&store, Algorithm::Sha256, &data);
    let recorder = recorder();

    let ingest = begin(&root.open_with(recorder.clone()));

    let events = recorder.around.take();
    let writes = events.iter().filter(|event| event.op == Op::WriteAt && event.path.ends_with("data")).count();
    let tail = usize::try_from(ingest.offset()).unwrap() - MIB;
    assert_eq!(tail.div_ceil(MIB), writes);
    assert!(!events.iter().any(|event| event.op == Op::SyncData));
    drop(ingest);
    // Should a write of it fail, the checkpoint counts.
    faulty.set(Some(Fault::Second(Op::WriteAt, libc::EIO)));
    assert_eq!(MIB as u64, begin(&store).offset());
}

#[test]
fn after_a_failed_sync_only_the_checkpoint_counts() {
    let root = Root::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let data = bytes(SIZE);
    leave(&store, &data[..500]);
    let ingest = begin(&store);
    data[500..].chunks(MIB).for_each(|piece| ingest.write(piece).unwrap());
    assert!(root.ingest(REF).join("tail").exists());
    faulty.set(Some(Fault::First(Op::SyncData, libc::EIO)));

    ingest.sync().unwrap_err();

    assert!(!root.ingest(REF).join("tail").exists());
    drop(ingest);
    assert_eq!(500, begin(&store).offset());
}

#[test]
fn what_was_cut_off_does_not_come_back() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(SIZE);
    let ingest = begin(&store);
    data.chunks(MIB).for_each(|piece| ingest.write(piece).unwrap());
    ingest.truncate(1000).unwrap();
    ingest.write(&vec![7; SIZE]).unwrap();
    ingest.truncate(2000).unwrap();
    drop(ingest);

    assert_eq!(0, begin(&store).offset());
}
