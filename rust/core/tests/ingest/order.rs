//! The order of an ingest's system calls: what the disk is told to keep is synced before anything says that it is there.

use std::os::fd::AsFd;
use std::sync::Arc;

use steelyard_core::store::{Options, Store};
use steelyard_core::sys::{Linux, Naming, Op, Sys};

use crate::recorder::{Event, Recorder, assert_durable, changes, recorder};
use crate::support::*;

fn open(root: &Root) -> (Arc<Store>, Arc<Recorder>) {
    let recorder = recorder();
    let store = root.open_with(recorder.clone());
    recorder.around.take();
    (store, recorder)
}

/// The calls that change something, each with the last component of what it is about.
fn steps(events: &[Event]) -> Vec<(Op, &str)> {
    let mut steps = Vec::new();
    for event in events.iter().filter(|event| changes(event.op) && event.op != Op::Lock) {
        steps.push((event.op, event.path.file_name().unwrap().to_str().unwrap()));
    }
    steps
}

/// The name of the blob of these bytes.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// How the file system of the tests names files without a name.
fn naming(root: &Root) -> Naming {
    Linux.naming(std::fs::File::open(&root.path).unwrap().as_fd()).unwrap()
}

/// Without the names of directories that are hashes.
fn plain<'a>(root: &Root, steps: Vec<(Op, &'a str)>) -> Vec<(Op, &'a str)> {
    let dir = root.ingest(REF);
    let name = dir.file_name().unwrap().to_str().unwrap();
    let is_dir = |file: &str| file.trim_end_matches(" (deleted)") == name;
    let rename = |(op, file): (Op, &'a str)| (op, if is_dir(file) { "<ref>" } else { file });
    steps.into_iter().map(rename).collect()
}

#[test]
fn a_checkpoint_syncs_the_bytes_then_the_slot_then_at_first_the_directories() {
    let root = Root::new();
    let (store, recorder) = open(&root);
    let ingest = begin(&store);
    ingest.write(b"abc").unwrap();
    let mut all = recorder.around.take();

    ingest.sync().unwrap();

    let slot = [(Op::SyncData, "data"), (Op::WriteAt, "state"), (Op::SyncData, "state")];
    let names = [(Op::SyncDir, "<ref>"), (Op::SyncDir, "ingest")];
    let events = recorder.around.take();
    all.extend_from_slice(&events);
    assert_durable(&all);
    assert_eq!([&slot[..], &names].concat(), plain(&root, steps(&events)));

    ingest.push(b"def").unwrap();
    ingest.close().unwrap();

    let events = recorder.around.take();
    assert_eq!([&[(Op::WriteAt, "data")], &slot[..]].concat(), plain(&root, steps(&events)));
}

#[test]
fn beginning_syncs_nothing() {
    let root = Root::new();
    let (store, recorder) = open(&root);

    let ingest = begin(&store);

    let events = recorder.around.take();
    let made = [(Op::Mkdir, "<ref>"), (Op::Create, "data"), (Op::Create, "state"), (Op::WriteAt, "state")];
    assert_eq!(made[..], plain(&root, steps(&events)));
    drop(ingest);
}

#[test]
fn a_commit_syncs_the_bytes_before_the_name_and_the_name_before_it_says_so() {
    let root = Root::new();
    let (store, recorder) = open(&root);
    begin(&store).commit(None, None, None).unwrap();
    let ingest = begin(&store);
    ingest.write(b"ab").unwrap();
    ingest.push(b"c").unwrap();
    recorder.around.take();

    ingest.commit(None, None, None).unwrap();

    let events = recorder.around.take();
    let published = [
        (Op::WriteAt, "data"),
        (Op::SyncData, "data"),
        (Op::SetMode, "data"),
        (Op::SetMtime, "data"),
        (Op::Lease, "data"),
        (Op::Rename, "data"),
    ];
    let (file, dir, old) = ((Op::SyncFile, ABC), (Op::SyncDir, "sha256"), (Op::SyncDir, "<ref>"));
    let removed = [(Op::Unlink, "state"), (Op::Rmdir, "<ref>")];
    // Where an inode may be used again before the removal of its name is durable, that is synced too.
    let (named, settled) = match naming(&root) {
        Naming::Directory => (vec![dir], vec![]),
        Naming::File => (vec![file, dir], vec![]),
        Naming::Everything => (vec![file, dir, old], vec![(Op::SyncDir, "<ref>"), (Op::SyncDir, "ingest")]),
    };
    assert_eq!([&published[..], &named, &removed, &settled].concat(), plain(&root, steps(&events)));
}

#[test]
fn a_cut_below_a_checkpoint_first_makes_both_slots_durable() {
    let root = Root::new();
    let (store, recorder) = open(&root);
    let ingest = begin(&store);
    ingest.write(b"abcdef").unwrap();
    ingest.sync().unwrap();
    ingest.write(b"ghi").unwrap();
    recorder.around.take();

    ingest.truncate(7).unwrap();
    ingest.truncate(2).unwrap();
    ingest.truncate(1).unwrap();

    let events = recorder.around.take();
    let cut = [(Op::Truncate, "data")];
    let slot = [(Op::WriteAt, "state"), (Op::SyncData, "state")];
    let below = [&slot[..], &slot, &cut].concat();
    assert_eq!([&cut[..], &below, &below].concat(), plain(&root, steps(&events)));
}

#[test]
fn an_abort_removes_the_bytes_first_and_syncs_last() {
    let root = Root::new();
    let (store, recorder) = open(&root);
    begin(&store).commit(None, None, None).unwrap();
    leave(&store, b"abc");
    recorder.around.take();

    store.ingests().abort(REF).unwrap();

    let events = recorder.around.take();
    let removed = [(Op::Unlink, "data"), (Op::Unlink, "state"), (Op::Rmdir, "<ref>")];
    let gone = [(Op::SyncDir, "<ref>")];
    let gone = if naming(&root) == Naming::Everything { &gone[..] } else { &[] };
    assert_eq!([&removed[..], gone, &[(Op::SyncDir, "ingest")]].concat(), plain(&root, steps(&events)));
}

#[test]
fn a_long_write_begins_writeback_every_8_mib_and_checkpoints_every_64() {
    let root = Root::in_memory();
    let (store, recorder) = open(&root);
    let ingest = begin(&store);
    let piece = bytes(13 << 20);
    recorder.around.take();
    for _ in 0..5 {
        ingest.write(&piece).unwrap();
    }
    // Also waits for the checkpoint that is made beside the writes, which `digest` does not.
    ingest.catch_up(u64::MAX).unwrap();

    let events = recorder.around.take();

    let steps = plain(&root, steps(&events));
    let count = |step| steps.iter().filter(|found| **found == step).count();
    assert_eq!(8, count((Op::StartWriteback, "data")));
    assert_eq!((1, 1), (count((Op::SyncData, "data")), count((Op::SyncData, "state"))));
    let at = steps.iter().position(|step| *step == (Op::SyncData, "data")).unwrap();
    assert!(64 <= steps[..at].iter().filter(|step| **step == (Op::WriteAt, "data")).count());
}

#[test]
fn beside_others_writeback_begins_sooner() {
    let root = Root::in_memory();
    let (store, recorder) = open(&root);
    // Each has bytes that no flusher takes yet: they are too few, and no caller waits for them.
    let others: Vec<_> =
        (0..4).map(|number| store.ingests().open(&format!("other {number}"), None, None, None).unwrap()).collect();
    for other in &others {
        other.push(b"abc").unwrap();
    }
    let ingest = begin(&store);
    recorder.around.take();
    ingest.write(&bytes(7 << 20)).unwrap();
    ingest.digest().unwrap();

    let events = recorder.around.take();

    let begun = steps(&events).into_iter().filter(|(op, _)| *op == Op::StartWriteback).count();
    assert_eq!(3, begun, "of 2 MiB each");
}

#[test]
fn a_push_and_a_digest_of_what_is_hashed_make_no_call() {
    let root = Root::new();
    let (store, recorder) = open(&root);
    let ingest = begin(&store);
    ingest.write(&bytes(1 << 20)).unwrap();
    recorder.around.take();

    ingest.push(b"abc").unwrap();
    ingest.digest().unwrap();
    ingest.status().unwrap();

    assert_eq!(Vec::<Event>::new(), recorder.around.take());
}

#[test]
fn without_durability_nothing_is_synced_and_all_else_is_the_same() {
    let root = Root::new();
    let recorder = recorder();
    let options = Options { durable: false, ..Options::default() };
    let store = Store::open_with(&root.path, options, recorder.clone()).unwrap();
    recorder.around.take();
    leave(&store, &bytes(9 << 20));
    let ingest = begin(&store);
    ingest.truncate(5).unwrap();
    ingest.commit(None, None, None).unwrap();

    let events = recorder.around.take();

    let is_sync = |event: &&Event| matches!(event.op, Op::SyncData | Op::SyncDir | Op::StartWriteback);
    assert_eq!(None, events.iter().find(is_sync));
    assert_eq!(Some(bytes(5)), root.blob(&sha256(&bytes(5))));
}
