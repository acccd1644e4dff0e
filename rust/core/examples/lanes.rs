//! How fast one core hashes many blobs, by each kernel and by OpenSSL (through Python's hashlib, where there is one).
//!
//! ```console
//! $ cargo run --release --package steelyard-core --example lanes [ROUNDS]
//! ```
//!
//! All ways take their turns in every round. Printed are the best GB/s of each, in processor time, and the median of
//! the rounds' ratios to one stream: that is the plain hasher of this package, which asks for its input ahead, so that
//! OpenSSL can come out below 1.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use rustix::time::{ClockId, clock_gettime};
use sha2::Digest as _;
use steelyard_core::digest::Algorithm;
use steelyard_core::hash::Hasher;
use steelyard_core::hash::lanes::{digest_many, probe, update_many};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Blobs in a measurement: a multiple of every kernel's lanes.
const BLOBS: usize = 48;
/// The bytes that a measurement hashes at least.
const LEAST: usize = 12 * MIB;

type Way<'a> = (String, Box<dyn FnMut() -> f64 + 'a>);

/// Hashes the ranges of its own data that it is told, prints the seconds it took.
const PYTHON: &str = "
import hashlib, sys, time
data = memoryview(bytes(range(256)) * (64 << 12))
for line in sys.stdin:
    name, *ranges = line.split()
    hash = getattr(hashlib, name)
    blobs = [data[int(start) : int(end)] for start, end in (text.split(':') for text in ranges)]
    begin = time.thread_time()
    for blob in blobs:
        hash(blob).digest()
    print(time.thread_time() - begin, flush=True)
";

/// A Python process that waits for work.
struct Python<'a> {
    data: &'a [u8],
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl<'a> Python<'a> {
    fn start(data: &'a [u8]) -> Option<Self> {
        let mut child =
            Command::new("python3").args(["-c", PYTHON]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        let mut python = Self { data, input: child.stdin.take()?, output: BufReader::new(child.stdout.take()?) };
        let works = python.seconds(Algorithm::Sha256, &[&data[..1]]);
        works.map(|_| python)
    }

    /// How long it takes for the bytes that lie where these do.
    fn seconds(&mut self, algorithm: Algorithm, blobs: &[&[u8]]) -> Option<f64> {
        let range = |blob: &&[u8]| {
            let start = blob.as_ptr().addr() - self.data.as_ptr().addr();
            format!("{start}:{}", start + blob.len())
        };
        let ranges: Vec<_> = blobs.iter().map(range).collect();
        let mut line = format!("{algorithm} {}", ranges.join(" "));
        writeln!(self.input, "{line}").ok()?;
        line.clear();
        self.output.read_line(&mut line).ok()?;
        line.trim().parse().ok()
    }
}

/// Processor seconds of this thread.
#[allow(clippy::cast_precision_loss)]
fn seconds(mut work: impl FnMut()) -> f64 {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    };
    let start = now();
    work();
    now() - start
}

/// Run all ways in turn and print each beside the first.
#[allow(clippy::cast_precision_loss)]
fn compare(title: &str, bytes: usize, rounds: usize, mut ways: Vec<Way<'_>>) {
    let mut times = vec![Vec::new(); ways.len()];
    for round in 0..=rounds {
        let count = ways.len();
        for index in (0..count).map(|turn| (turn + round) % count) {
            let time = ways[index].1();
            // The first round warms up.
            if round > 0 {
                times[index].push(time);
            }
        }
    }
    println!("{title}");
    for (index, (name, _)) in ways.iter().enumerate() {
        let mut ratios: Vec<f64> = times[index].iter().zip(&times[0]).map(|(t, one)| one / t).collect();
        ratios.sort_by(f64::total_cmp);
        let best = times[index].iter().copied().fold(f64::MAX, f64::min);
        let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
        println!(
            "  {name:<28} {:6.2} GB/s  {:5.2} x one stream  ({low:.2} to {high:.2})",
            bytes as f64 / best / 1e9,
            ratios[ratios.len() / 2],
        );
    }
}

fn plain(algorithm: Algorithm, blobs: &[&[u8]]) {
    for blob in blobs {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(blob);
        black_box(hasher.digest());
    }
}

fn crate_alone(algorithm: Algorithm, blobs: &[&[u8]]) {
    for blob in blobs {
        match algorithm {
            Algorithm::Sha256 => drop(black_box(sha2::Sha256::digest(blob))),
            _ => drop(black_box(sha2::Sha512::digest(blob))),
        }
    }
}

/// The ways that go for any blobs.
fn ways<'a>(algorithm: Algorithm, blobs: &'a [&'a [u8]], python: Option<&'a mut Python<'_>>) -> Vec<Way<'a>> {
    let mut ways: Vec<Way> = vec![
        ("one stream".into(), Box::new(move || seconds(|| plain(algorithm, blobs)))),
        ("sha2 crate, no prefetch".into(), Box::new(move || seconds(|| crate_alone(algorithm, blobs)))),
    ];
    if let Some(python) = python {
        let time = move || python.seconds(algorithm, blobs).expect("Python answers");
        ways.push(("OpenSSL, hashlib".into(), Box::new(time)));
    }
    ways
}

/// At least `LEAST` bytes of blobs of that size; they take turns in `data`, over and over.
fn equal(data: &[u8], size: usize) -> Vec<&[u8]> {
    let count = (LEAST / size).max(BLOBS) / BLOBS * BLOBS;
    data.chunks_exact(size).cycle().take(count).collect()
}

fn kernels(data: &[u8], rounds: usize, python: &mut Option<Python<'_>>) {
    for (place, data) in [("cache", &data[..MIB]), ("memory", data)] {
        for size in [KIB, 4 * KIB, 64 * KIB, MIB] {
            let blobs = equal(data, size);
            let mut ways = ways(Algorithm::Sha256, &blobs, python.as_mut());
            for kernel in probe::kernels().into_iter().skip(1) {
                let blobs = &blobs;
                let work = move || seconds(|| drop(probe::digest_many_by(kernel, blobs)));
                ways.push((kernel.into(), Box::new(work)));
            }
            let (count, size) = (blobs.len(), size / KIB);
            let title = format!("\nsha256, {count} blobs of {size} KiB, from {place}");
            compare(&title, count * size * KIB, rounds, ways);
        }
    }
}

/// The kernels that are chosen for callers: for few streams, for uneven ones, for running hashers.
fn scheduling(data: &[u8], rounds: usize) {
    println!("\nchosen for 1, 2, ... streams: {}", probe::choices().join(", "));
    for streams in [2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24] {
        let blobs: Vec<_> = data.chunks_exact(256 * KIB).take(streams).collect();
        let mut ways = ways(Algorithm::Sha256, &blobs, None);
        ways.truncate(1);
        ways.push(many(&blobs));
        let title = format!("sha256, {streams} blobs of 256 KiB");
        compare(&title, streams * 256 * KIB, 4 * rounds, ways);
    }
    let uneven = uneven(data);
    let mut ways_of_uneven = ways(Algorithm::Sha256, &uneven, None);
    ways_of_uneven.push(many(&uneven));
    let bytes = uneven.iter().map(|blob| blob.len()).sum();
    let title = format!("sha256, {} blobs of 0 to 16 KiB, {} KiB", uneven.len(), bytes / KIB);
    compare(&title, bytes, rounds, ways_of_uneven);
    let pieces: Vec<_> = data.chunks_exact(64 * KIB).take(64).collect();
    let mut ways = ways(Algorithm::Sha256, &pieces, None);
    ways.push(("update_many".into(), Box::new(|| seconds(|| update_all(&pieces)))));
    compare("\nsha256, 64 running hashers, 64 KiB each", 4 * MIB, 4 * rounds, ways);
}

fn many<'a>(blobs: &'a [&'a [u8]]) -> Way<'a> {
    let work = move || seconds(|| drop(black_box(digest_many(Algorithm::Sha256, blobs))));
    ("digest_many".into(), Box::new(work))
}

fn update_all(pieces: &[&[u8]]) {
    let mut hashers: Vec<_> = pieces.iter().map(|_| Hasher::new(Algorithm::Sha256)).collect();
    let mut updates: Vec<_> = hashers.iter_mut().zip(pieces.iter().copied()).collect();
    update_many(&mut updates);
    black_box(hashers);
}

/// Blobs of lengths without order.
fn uneven(data: &[u8]) -> Vec<&[u8]> {
    let mut number = 1_usize;
    let mut rest = &data[..LEAST];
    let mut blobs = Vec::new();
    while rest.len() > 16 * KIB {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (blob, after) = rest.split_at((number >> 40) % (16 * KIB));
        blobs.push(blob);
        rest = after;
    }
    blobs
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(9, |text| text.parse().expect("a number of rounds"));
    let data: Vec<u8> = (0..=255).cycle().take(64 * MIB).collect();
    let mut python = Python::start(&data);
    let time = seconds(|| drop(probe::choices()));
    println!("planned in {:.0} microseconds: {:?}", time * 1e6, probe::choices());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        for (title, size) in [("64 MiB", 64 * MIB), ("256 KiB, 16 times", 256 * KIB)] {
            let blobs = vec![&data[..size]; if size == 64 * MIB { 1 } else { 16 }];
            let ways = ways(algorithm, &blobs, python.as_mut());
            compare(&format!("\n{algorithm}, one stream, {title}"), blobs.len() * size, rounds, ways);
        }
    }
    kernels(&data, rounds, &mut python);
    scheduling(&data, rounds);
}
