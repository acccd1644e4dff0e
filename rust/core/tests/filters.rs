//! Lists of filters that are made to cost memory. Alone in its program: memory is the process's.
#![allow(clippy::disallowed_methods, reason = "tests look at the process")]

use std::sync::Arc;
use std::time::Instant;

use steelyard_core::digest::Digest;
use steelyard_core::filter::{Filter, MAX_FILTERS};
use steelyard_core::model::Info;

fn expressions(expression: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("digest~={expression}x{number}")).collect()
}

/// The most memory that this process ever had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn the_worst_lists_stay_within_a_bound_of_memory() {
    let digest = Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap();
    let info = Info { digest, size: 1, created_ns: 0, updated_ns: 0, labels: Arc::default() };
    let worst = [
        expressions(r"\w{100}", 100),
        expressions(r"\w{9}", MAX_FILTERS),
        expressions(&format!("(?i){}", r"\pL".repeat(600)), 10),
        // Parsed in full, and then nothing of it is compiled.
        expressions(&format!("(?i)(?:{}){{0}}", r"\pL".repeat(600)), 17),
        expressions(&format!("(?:{}){{0}}", r"\PL".repeat(600)), 17),
        expressions(&"()".repeat(1000), 16),
        expressions("(?s-u:a?b?c?){100}{20}", MAX_FILTERS),
        expressions("[a-z]", MAX_FILTERS),
    ];
    let before = peak();

    for texts in worst {
        let began = Instant::now();
        let matched = Filter::compile(&texts).map(|filter| filter.matches(&info)).map_err(|error| error.to_string());
        println!("{:?}, {} MiB: {matched:?}", began.elapsed(), (peak() - before) >> 20);
    }

    assert!(peak() - before < 64 << 20, "{} MiB", (peak() - before) >> 20);
}
