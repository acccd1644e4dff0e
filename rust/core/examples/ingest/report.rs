//! Rounds, times, and the table.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// A name, what is timed, and what is done before and after it without being timed.
pub struct Way<'a> {
    name: String,
    before: Box<dyn FnMut() + 'a>,
    work: Box<dyn FnMut() + 'a>,
    after: Box<dyn FnMut() + 'a>,
}

impl<'a> Way<'a> {
    /// One that leaves nothing.
    pub fn new(name: &str, work: impl FnMut() + 'a) -> Self {
        Self { name: name.to_owned(), before: Box::new(|| ()), work: Box::new(work), after: Box::new(|| ()) }
    }

    /// Do this before.
    pub fn before(self, before: impl FnMut() + 'a) -> Self {
        Self { before: Box::new(before), ..self }
    }

    /// Do this after.
    pub fn after(self, after: impl FnMut() + 'a) -> Self {
        Self { after: Box::new(after), ..self }
    }
}

/// A Python process that hashes as many bytes as it is told, and says how long that took.
pub struct OpenSsl {
    child: Child,
    output: BufReader<ChildStdout>,
}

const PYTHON: &str = "
import hashlib, os, sys, time
data = memoryview(os.urandom(64 << 20))
for line in sys.stdin:
    left, hasher, begin = int(line), hashlib.sha256(), time.perf_counter()
    while left > 0:
        start = left % len(data)
        hasher.update(data[start : start + (1 << 20)])
        left -= 1 << 20
    hasher.digest()
    print(time.perf_counter() - begin, flush=True)
";

impl OpenSsl {
    /// Start it.
    pub fn start() -> Self {
        let mut python = Command::new("python3");
        let child = python.args(["-c", PYTHON]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("python3 is needed for OpenSSL's SHA-256");
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn hash(&mut self, bytes: u64) -> f64 {
        writeln!(self.child.stdin.as_ref().unwrap(), "{bytes}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// Run all ways in turns and print what they took.
pub fn run(name: &str, folder: &Path, rounds: usize, bytes: u64, openssl: &mut OpenSsl, mut ways: Vec<Way<'_>>) {
    let mut times = vec![Vec::new(); ways.len()];
    let mut used = vec![Vec::new(); ways.len()];
    let mut units = Vec::new();
    let disk = File::open(folder).unwrap();
    for round in 0..=rounds {
        let mut of_round = vec![openssl.hash(bytes)];
        for turn in 0..ways.len() {
            let index = (turn + round) % ways.len();
            warm(folder, bytes);
            (ways[index].before)();
            // What others left to be written is not charged to this one.
            rustix::fs::syncfs(&disk).unwrap();
            let (begin, used_before) = (Instant::now(), processor_time());
            (ways[index].work)();
            let (time, used_now) = (begin.elapsed().as_secs_f64(), processor_time() - used_before);
            (ways[index].after)();
            if round > 0 {
                times[index].push(time);
                used[index].push(used_now);
            }
        }
        of_round.push(openssl.hash(bytes));
        if round > 0 {
            units.extend(of_round);
        }
    }
    let (best_unit, unit) = (best(&units), median(&mut units));
    println!("\n{name}: H = {:.0} ms, median {:.0} ms", best_unit * 1e3, unit * 1e3);
    for ((way, times), used) in ways.iter().zip(&mut times).zip(&used) {
        let (best_time, median_time) = (best(times) / best_unit, median(times) / unit);
        println!("  {:<56} {best_time:5.2} H  median {median_time:5.2}  cpu {:5.2}", way.name, best(used) / best_unit);
    }
}

/// Have the machine hold as much free memory as the page cache will want. A hypervisor may have taken it back, and
/// what it then costs to get it again is many times what is measured here.
fn warm(folder: &Path, bytes: u64) {
    let path = folder.join("warm");
    let mut file = File::create(&path).unwrap();
    let piece = vec![1; 1 << 20];
    for _ in 0..bytes >> 20 {
        file.write_all(&piece).unwrap();
    }
    fs::remove_file(&path).unwrap();
}

fn best(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[allow(clippy::cast_precision_loss, reason = "seconds of a bench")]
    let time = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    time
}
