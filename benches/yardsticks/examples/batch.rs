//! Many small durable blobs, beside plain programs that make the same system calls and nothing else.
//!
//! `cargo run --release --example batch -- DIRECTORY [COUNT [ROUNDS]]` stores COUNT (10,000) blobs of 4 KiB in each case and
//! round. The cases take turns, with fresh names each time, and nothing is deleted: ext4 without a journal makes files
//! slowly for a while after many deletions. Remove the directory it names when it is done.
#![allow(clippy::disallowed_methods, reason = "it makes its directories itself")]
#![allow(clippy::print_stdout, reason = "it is a program")]

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::syncfs;
use rustix::time::{ClockId, clock_gettime};
use steelyard_core::digest::Algorithm;
use steelyard_core::model::Labels;
use steelyard_core::store::{BatchItem, Options, Source, Store};
use steelyard_yardsticks::{Flush, Small};

const SIZE: usize = 4096;

/// One case: what it is called, and how it stores all blobs below a directory that is empty.
struct Case {
    name: &'static str,
    /// The case that it is compared with.
    against: usize,
    run: fn(&Path, &Blobs) -> f64,
}

const CASES: [Case; 12] = [
    Case {
        name: "plain: write all, syncfs, rename all, syncfs",
        against: 0,
        run: |at, blobs| plain(at, blobs, 1, Flush::Batch, false),
    },
    Case { name: "  the same, and sha256", against: 0, run: |at, blobs| plain(at, blobs, 1, Flush::Batch, true) },
    Case { name: "  2 threads", against: 0, run: |at, blobs| plain(at, blobs, 2, Flush::Batch, false) },
    Case { name: "  2 threads, and sha256", against: 0, run: |at, blobs| plain(at, blobs, 2, Flush::Batch, true) },
    Case { name: "put_batch of 256", against: 0, run: |at, blobs| batches(at, blobs, 256, 1) },
    Case { name: "put_batch of 1,024", against: 0, run: |at, blobs| batches(at, blobs, 1024, 1) },
    Case { name: "put_batch of all", against: 0, run: |at, blobs| batches(at, blobs, usize::MAX, 1) },
    Case {
        name: "plain: 64 threads, write, fdatasync, rename, fsync",
        against: 7,
        run: |at, blobs| plain(at, blobs, 64, Flush::Each, false),
    },
    Case { name: "put by 64 threads", against: 7, run: puts },
    Case { name: "put_batch of 64 by 4 threads", against: 7, run: |at, blobs| batches(at, blobs, 64, 4) },
    Case { name: "put_batch of 256", against: 7, run: |at, blobs| batches(at, blobs, 256, 1) },
    Case { name: "put_batch of all, with a label", against: 0, run: labelled },
];

/// Blobs of one case and round: bytes that no other has.
struct Blobs {
    bytes: Vec<u8>,
}

impl Blobs {
    fn new(count: usize) -> Self {
        let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
        let bytes = (0..count * SIZE / 8).flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self { bytes: bytes.collect() }
    }

    fn renew(&mut self, serial: usize) {
        for blob in self.bytes.chunks_exact_mut(SIZE) {
            blob[8..16].copy_from_slice(&serial.to_le_bytes());
        }
    }

    fn all(&self) -> Vec<&[u8]> {
        self.bytes.chunks_exact(SIZE).collect()
    }
}

/// Let threads take numbers below `count` in turn.
fn share(threads: usize, count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn plain(at: &Path, blobs: &Blobs, threads: usize, flush: Flush, hashed: bool) -> f64 {
    let size = NonZero::new(SIZE).unwrap();
    Small::new(at, hashed).unwrap().store(&blobs.bytes, size, threads, flush).unwrap()
}

fn open(at: &Path) -> std::sync::Arc<Store> {
    let store = Store::open(at, Options::default()).unwrap();
    store.put(b"makes the directory", Algorithm::Sha256, None, None).unwrap();
    syncfs(fs::File::open(at).unwrap()).unwrap();
    store
}

fn batches(at: &Path, blobs: &Blobs, most: usize, threads: usize) -> f64 {
    put_batches(at, blobs, most, threads, None)
}

fn labelled(at: &Path, blobs: &Blobs) -> f64 {
    let labels = Labels::from([("example.com/from".to_owned(), "the benchmark".to_owned())]);
    put_batches(at, blobs, usize::MAX, 1, Some(&labels))
}

fn put_batches(at: &Path, blobs: &Blobs, most: usize, threads: usize, labels: Option<&Labels>) -> f64 {
    let (store, blobs) = (open(at), blobs.all());
    let batches: Vec<_> = blobs.chunks(most.min(blobs.len())).collect();
    seconds(|| {
        share(threads, batches.len(), |number| {
            let item = |bytes| BatchItem {
                source: Source::Bytes(bytes),
                algorithm: Algorithm::Sha256,
                expected: None,
                size: None,
                labels,
            };
            let items: Vec<_> = batches[number].iter().copied().map(item).collect();
            assert!(store.put_batch(&items).iter().all(Result::is_ok));
        });
    })
}

fn puts(at: &Path, blobs: &Blobs) -> f64 {
    let (store, blobs) = (open(at), blobs.all());
    seconds(|| {
        share(64, blobs.len(), |number| {
            assert!(store.put(blobs[number], Algorithm::Sha256, None, None).unwrap().new);
        });
    })
}

fn cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap().as_secs_f64()
}

/// The least and the median.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = PathBuf::from(arguments.next().expect("a directory"));
    let mut number = |otherwise| arguments.next().map_or(otherwise, |text| text.parse().expect("a number"));
    let (count, rounds) = (number(10_000), number(5));
    let only: Vec<usize> = arguments.map(|text| text.parse().expect("a case")).collect();
    let cases: Vec<usize> = (0..CASES.len()).filter(|case| only.is_empty() || only.contains(case)).collect();
    let base = parent.join(format!("batch-{}", std::process::id()));
    fs::create_dir(&base).unwrap();
    let mut blobs = Blobs::new(count);
    let (mut wall, mut busy) = (vec![Vec::new(); CASES.len()], vec![Vec::new(); CASES.len()]);
    // The first round warms up.
    for round in 0..=rounds {
        for turn in 0..cases.len() {
            let case = cases[(turn + round) % cases.len()];
            let at = base.join(format!("{round}-{case}"));
            fs::create_dir(&at).unwrap();
            blobs.renew(round * CASES.len() + case);
            let before = cpu();
            let seconds = (CASES[case].run)(&at, &blobs);
            if round > 0 {
                wall[case].push(seconds);
                busy[case].push(cpu() - before);
            }
        }
    }
    let micros = 1e6 / f64::from(u32::try_from(count).expect("not as many"));
    println!("{count} blobs of {SIZE} bytes, {rounds} rounds; us per blob; x: median of the rounds' ratios");
    println!("{:52} {:>7} {:>7} {:>7} {:>6}", "", "median", "least", "cpu", "x");
    for case in cases {
        let Case { name, against, .. } = CASES[case];
        // A partial run may be without it.
        let ratios = wall[case].iter().zip(&wall[against]).map(|(ours, theirs)| ours / theirs).chain([f64::NAN]);
        let ((_, ratio), (_, cpu)) = (spread(ratios.take(rounds)), spread(busy[case].iter().copied()));
        let (least, middle) = spread(wall[case].iter().copied());
        println!("{name:52} {:7.1} {:7.1} {:7.1} {ratio:6.2}", middle * micros, least * micros, cpu * micros);
    }
    println!("remove {} when every run is over", base.display());
}
