//! How long large blobs take through the core, beside programs that do less.
//!
//! ```console
//! $ cargo run --release --package steelyard-core --example ingest DIRECTORY [ROUNDS [MIB [ROWS]]]
//! ```
//!
//! The unit is H: the time in which one thread of OpenSSL (through Python's hashlib) computes SHA-256 of as many bytes.
//! All ways take their turns in every round, in another order each time; the first round does not count. Printed are the
//! best and the median time of each way, over the best and the median H, and its best processor time.
#![allow(clippy::disallowed_methods, reason = "the yardsticks make files of their own")]

#[path = "ingest/report.rs"]
mod report;
#[path = "ingest/rows.rs"]
mod rows;
#[path = "ingest/yardsticks.rs"]
mod yardsticks;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use report::{OpenSsl, Way, run};

/// Makes the ways of a row.
type Group = fn(&Bench) -> Vec<Way<'_>>;

/// The source files, and where the results go.
pub struct Bench {
    folder: PathBuf,
    large: PathBuf,
    large_size: u64,
    many: Vec<PathBuf>,
}

impl Bench {
    /// Make sources of random bytes; both sets are as long.
    fn new(folder: PathBuf, mib: u64) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let large_size = mib << 20;
        let many_size = large_size / 64;
        let large = folder.join("source");
        fill(&large, large_size, 1);
        let many: Vec<_> = (0..64).map(|index| folder.join(format!("source {index}"))).collect();
        for (index, path) in many.iter().enumerate() {
            fill(path, many_size, index as u64 + 2);
        }
        Self { folder, large, large_size, many }
    }

    /// A path that is not there.
    fn fresh(&self) -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        self.folder.join(format!("result {}", COUNT.fetch_add(1, Ordering::Relaxed)))
    }
}

fn fill(path: &Path, size: u64, seed: u64) {
    let mut file = File::create(path).unwrap();
    let mut state = seed;
    let mut piece = vec![0_u8; 1 << 20];
    for _ in 0..size >> 20 {
        for word in piece.as_chunks_mut::<8>().0 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *word = (state ^ state >> 33).to_le_bytes();
        }
        file.write_all(&piece).unwrap();
    }
    file.sync_all().unwrap();
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("usage: ingest DIRECTORY [ROUNDS] [MIB] [ROWS]");
    let rounds = arguments.next().map_or(5, |text| text.parse().expect("a number of rounds"));
    let mib: u64 = arguments.next().map_or(1024, |text| text.parse().expect("a number of MiB"));
    let only = arguments.next();
    let is_wanted = |row: &str| only.as_ref().is_none_or(|only| only.contains(&row[..1]));
    let folder = Path::new(&folder).join(format!("ingest-{}", std::process::id()));
    let bench = Bench::new(folder, mib);
    let mut openssl = OpenSsl::start();
    let bytes = bench.large_size;
    let groups: [(&str, Group); 4] = [
        ("1: one file, SHA-256", rows::one_file),
        ("2: one file, BLAKE3, and three digests", rows::other_digests),
        ("3: 64 files at once, SHA-256", rows::many_files),
        ("8, 10: reads", rows::reads),
    ];
    println!("{} MiB in {}", bytes >> 20, bench.folder.display());
    for (name, ways) in groups.into_iter().filter(|(name, _)| is_wanted(name)) {
        run(name, &bench.folder, rounds, bytes, &mut openssl, ways(&bench));
    }
    fs::remove_dir_all(&bench.folder).unwrap();
}
