//! How long listing takes. Prints numbers and asserts none: `cargo test --release … -- --ignored --nocapture scale`.

use std::time::{Duration, Instant};

use steelyard_core::digest::Algorithm;
use steelyard_core::model::Info;

use crate::support::{Scratch, digest, labels, store, walk};

const BLOBS: u32 = 100_000;

/// The processor time of this thread, which other work on the machine disturbs less than the wall clock.
fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

fn timed(what: &str, run: impl Fn() -> usize) {
    let measure = |_| {
        let (wall, before) = (Instant::now(), processor());
        let found = run();
        (wall.elapsed(), processor().saturating_sub(before), found)
    };
    let best = (0..7).map(measure).min().unwrap();
    println!("{what}: {} blobs, best of 7 {:?}, processor {:?}", best.2, best.0, best.1);
}

#[test]
#[ignore = "makes 100,000 files and prints times"]
fn listing_scales() {
    let scratch = Scratch::new();
    let store = store(&scratch);
    let dir = scratch.join("blobs/sha256");
    std::fs::create_dir_all(&dir).unwrap();
    for number in 0..BLOBS {
        // A spread as of real digests.
        let digest = digest(number.wrapping_mul(2_654_435_761));
        std::fs::write(dir.join(digest.encoded()), "x").unwrap();
    }
    let all: Vec<Info> = {
        let start = Instant::now();
        let all = walk(&store, &[], 1024);
        println!("first walk, which remembers the rows: {} blobs, {:?}", all.len(), start.elapsed());
        all
    };
    timed("walk without labels", || walk(&store, &[], 1024).len());
    label_all(&scratch, &all);
    timed("scandir", || std::fs::read_dir(&dir).unwrap().flatten().count());
    timed("walk with labels", || walk(&store, &[], 1024).len());
    timed("walk with 1 % by label", || walk(&store, &["labels.percent==7"], 1024).len());
    timed("walk with 1 % by a regular expression", || walk(&store, &["labels.percent~=^7$"], 1024).len());
    let some: Vec<_> = all.iter().step_by(10).map(|info| info.digest).collect();
    timed("infos", || store.volume().infos(&some).unwrap().len());
    label_durably(&store, &all);
}

/// Give every blob two labels in one transaction.
fn label_all(scratch: &Scratch, all: &[Info]) {
    let connection = rusqlite::Connection::open(scratch.join("meta.db")).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    for (number, info) in all.iter().enumerate() {
        let (digest, percent) = (info.digest.to_string(), (number % 100).to_string());
        let json = format!("{{\"name\":\"blob number {number}\",\"percent\":\"{percent}\"}}");
        connection.execute("UPDATE blobs SET labels = ?2 WHERE digest = ?1", [&digest, &json]).unwrap();
        for (key, value) in [("name", format!("blob number {number}")), ("percent", percent)] {
            connection.execute("INSERT INTO labels VALUES (?1, ?2, ?3)", [key, &value, &digest]).unwrap();
        }
    }
    connection.execute_batch("COMMIT").unwrap();
}

fn label_durably(store: &steelyard_core::store::Store, all: &[Info]) {
    let (given, start) = (labels(&[("late", "yes")]), Instant::now());
    for info in &all[..500] {
        store.volume().update(&info.digest, &given, Some(&["late".to_owned()])).unwrap();
    }
    println!("update, durable, one by one: {:?} each", start.elapsed() / 500);
    let start = Instant::now();
    for number in 0..500 {
        store.put(format!("blob {number}").as_bytes(), Algorithm::Sha256, None, Some(&given)).unwrap();
    }
    println!("put of a small labelled blob: {:?} each", start.elapsed() / 500);
    let start = Instant::now();
    for number in 0..500 {
        store.put(format!("other {number}").as_bytes(), Algorithm::Sha256, None, None).unwrap();
    }
    println!("put of a small blob without labels: {:?} each", start.elapsed() / 500);
}
