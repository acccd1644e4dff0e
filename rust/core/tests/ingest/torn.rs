//! A damaged state file: an older checkpoint counts, or the ingest starts over. Never a wrong prefix.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use steelyard_core::store::{Options, Store};

use crate::support::*;

/// An ingest with checkpoints after 1000 and 2000 bytes, and 500 bytes after them.
struct Left {
    root: Root,
    store: Arc<Store>,
    source: Vec<u8>,
    state: Vec<u8>,
    data: Vec<u8>,
}

impl Left {
    fn new() -> Self {
        let root = Root::in_memory();
        let options = Options { durable: false, ..Options::default() };
        let store = Store::open(&root.path, options).unwrap();
        let source = bytes(3000);
        let ingest = begin(&store);
        for end in [1000, 2000] {
            ingest.write(&source[end - 1000..end]).unwrap();
            ingest.sync().unwrap();
        }
        ingest.write(&[0xaa; 500]).unwrap();
        drop(ingest);
        let [state, data] = ["state", "data"].map(|name| fs::read(root.ingest(REF).join(name)).unwrap());
        Self { root, store, source, state, data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.ingest(REF).join(name)
    }

    /// Resume with that state file and that data; return the offset, having checked that it can be finished.
    fn resume(&self, state: &[u8], data: &[u8]) -> u64 {
        let dir = self.root.ingest(REF);
        fs::create_dir_all(&dir).unwrap();
        fs::write(self.path("state"), state).unwrap();
        fs::write(self.path("data"), data).unwrap();
        let listed = self.store.ingests().status(REF).map_or(0, |status| status.offset);

        let ingest = begin(&self.store);

        let offset = ingest.offset();
        assert!([0, 1000, 2000].contains(&offset) && offset == listed);
        let at = usize::try_from(offset).unwrap();
        assert_eq!(sha256(&self.source[..at]), ingest.digest().unwrap());
        assert_eq!(self.source[..at], fs::read(self.path("data")).unwrap());
        // Other bytes than before, then another crash: what was damaged must not come back to life.
        ingest.write(&[0x55; 2500]).unwrap();
        drop(ingest);
        let ingest = begin(&self.store);
        assert_eq!((offset, sha256(&self.source[..at])), (ingest.offset(), ingest.digest().unwrap()));
        self.store.ingests().abort(REF).unwrap();
        offset
    }
}

#[test]
fn an_undamaged_state_resumes_at_the_last_checkpoint() {
    let left = Left::new();

    assert_eq!(2000, left.resume(&left.state, &left.data));
}

#[test]
fn a_cut_state_never_gives_a_wrong_prefix() {
    let left = Left::new();
    for size in (0..left.state.len()).step_by(256) {
        left.resume(&left.state[..size], &left.data);
    }
}

#[test]
fn flipped_and_overwritten_bytes_never_give_a_wrong_prefix() {
    let left = Left::new();
    let mut offsets = Vec::new();
    for at in (0..left.state.len()).step_by(97) {
        for (length, with) in [(1, 0x01), (512, 0xff), (4096, 0xff)] {
            let mut state = left.state.clone();
            let end = state.len().min(at + length);
            state[at..end].iter_mut().for_each(|byte| *byte ^= with);
            offsets.push(left.resume(&state, &left.data));
        }
    }
    offsets.sort_unstable();
    offsets.dedup();

    assert_eq!([0, 1000, 2000], *offsets, "the damage reached no slot");
}

#[test]
fn zeroed_blocks_never_give_a_wrong_prefix() {
    let left = Left::new();
    for at in (0..left.state.len()).step_by(512) {
        let mut state = left.state.clone();
        state[at..at + 512].fill(0);
        left.resume(&state, &left.data);
    }
}

#[test]
fn a_torn_checkpoint_leaves_the_one_before() {
    let left = Left::new();
    // Begin wrote slot 0 and the first checkpoint slot 1, so the second one went to slot 0 again.
    let at = left.state.len() - 2 * 4096;
    assert_eq!(2000_u64.to_le_bytes(), left.state[at + 16..at + 24]);
    for written in (0..4096).step_by(512) {
        let mut state = left.state.clone();
        state[at + written..at + 4096].fill(0xee);

        assert_eq!(1000, left.resume(&state, &left.data));
    }
}

#[test]
fn data_shorter_than_the_checkpoint_falls_back() {
    let left = Left::new();
    for (size, offset) in [(2000, 2000), (1999, 1000), (1000, 1000), (999, 0), (0, 0)] {
        assert_eq!(offset, left.resume(&left.state, &left.data[..size]));
    }
}
