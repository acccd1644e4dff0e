//! A batch is bounded by settings, not by its size. Alone in its program: memory and descriptors are the process's.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

mod common;

use std::fs;

use common::{SHA256, Scratch};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use steelyard_core::store::{BatchItem, Outcome, Source};

const MIB: u64 = 1 << 20;

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn item(source: Source<'_>) -> BatchItem<'_> {
    BatchItem { source, algorithm: SHA256, expected: None, size: None, labels: None }
}

#[test]
fn neither_memory_nor_descriptors_grow_with_a_batch() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let limit = Rlimit { current: Some(100), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let large = (0..64).map(|number| {
        let path = scratch.path.join(number.to_string());
        fs::write(&path, number.to_string()).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(MIB).unwrap();
        item(Source::File { path, limit: MIB })
    });
    let small: Vec<_> = (0..1000_u32).map(u32::to_le_bytes).collect();
    let items: Vec<_> = large.chain(small.iter().map(|bytes| item(Source::Bytes(bytes)))).collect();
    let before = peak();

    let results = store.put_batch(&items);

    assert!(results.iter().all(|result| matches!(result, Ok(Outcome::Stored(put)) if put.new)));
    assert!(peak() - before < 32 * MIB, "{} MiB", (peak() - before) / MIB);
}
