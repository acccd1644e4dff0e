//! Several processes on one root: the parent starts this test program again, with a part to play.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use steelyard_core::digest::Digest;
use steelyard_core::error::Error;

use crate::support::{Scratch, labels, put, read_only, store, walk};

const PART: &str = "STEELYARD_TEST_PART";
const ROOT: &str = "STEELYARD_TEST_ROOT";

/// Start a child that plays a part; `shell` may prepare its surroundings.
fn start(part: &str, scratch: &Scratch, shell: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "processes::child"])
        .env(PART, part)
        .env(ROOT, scratch.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
#[ignore = "is what the other tests here start"]
fn child() {
    let (Ok(part), Some(root)) = (std::env::var(PART), std::env::var_os(ROOT)) else {
        return;
    };
    let scratch = Scratch::existing(PathBuf::from(root));
    match part.as_str() {
        "frozen" => read_on_a_read_only_file_system(&scratch),
        "full" => delete_on_a_full_disk(&scratch),
        "endless" => put_labelled(&scratch, "endless", usize::MAX),
        name => put_labelled(&scratch, name, 40),
    }
}

/// Store blobs whose label tells their content, and say so of each that was acknowledged.
fn put_labelled(scratch: &Scratch, name: &str, count: usize) {
    let store = store(scratch);
    for number in 0..count {
        let text = format!("{name} {number}");
        let digest = put(&store, &text, &[("text", &text), ("by", name)]);
        println!("\nstored {digest} {text}");
    }
}

fn stored(line: &str) -> Option<(Digest, String)> {
    let (digest, text) = line.strip_prefix("stored ")?.split_once(' ')?;
    Some((Digest::parse(digest).unwrap(), text.to_owned()))
}

#[test]
fn processes_that_label_at_once_lose_nothing() {
    let scratch = Scratch::new();
    let children: Vec<_> = ["a", "b", "c"].map(|name| start(name, &scratch, "")).into();

    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }

    let store = store(&scratch);
    assert_eq!(Vec::<String>::new(), store.volume().notes());
    for name in ["a", "b", "c"] {
        assert_eq!(40, walk(&store, &[&format!("labels.by=={name}")], 100).len());
    }
}

#[test]
fn a_killed_process_leaves_every_visible_blob_with_its_labels() {
    let scratch = Scratch::new();
    for round in 0..6 {
        let mut child = start("endless", &scratch, "");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Begins again with the first blob each time: those are there already, and say so fast.
        let wanted = round * 9 + 5;
        let acknowledged: Vec<_> = lines.map_while(Result::ok).filter_map(|line| stored(&line)).take(wanted).collect();
        child.kill().unwrap();
        child.wait().unwrap();

        let store = store(&scratch);
        assert_eq!(Vec::<String>::new(), store.volume().notes());
        for (digest, text) in &acknowledged {
            assert_eq!(text, &store.volume().info(digest).unwrap().labels["text"]);
        }
        for info in walk(&store, &[], 100) {
            assert_eq!(labels(&[("by", "endless"), ("text", &info.labels["text"])]), info.labels);
        }
    }
}

#[test]
fn a_full_disk_can_be_listed_and_emptied() {
    let scratch = Scratch::new();
    put(&store(&scratch), "here", &[("a", "b")]);
    // No file may grow beyond a block, as if there were no room: SQLite cannot even make the index of its log.
    let child = start("full", &scratch, "trap '' XFSZ; ulimit -f 1;");

    assert!(child.wait_with_output().unwrap().status.success());

    assert!(walk(&store(&scratch), &[], 9).is_empty());
}

fn delete_on_a_full_disk(scratch: &Scratch) {
    let store = store(scratch);
    let all = walk(&store, &["labels.a==b"], 9);
    assert_eq!(1, all.len());
    let digest = all[0].digest;
    assert_eq!(labels(&[("a", "b")]), store.volume().info(&digest).unwrap().labels);
    let error = store.volume().update(&digest, &labels(&[]), None).unwrap_err();
    assert!(matches!(error, Error::Io { errno: libc::ENOSPC, .. }), "{error}");
    store.volume().mark_verified(&[digest], 1).unwrap();
    store.volume().delete(&digest).unwrap();
    assert_eq!(Vec::<String>::new(), store.volume().notes());
}

/// Run what follows where the root is mounted read-only.
const FROZEN: &str = "exec unshare -rm sh -c 'mount --bind \"$STEELYARD_TEST_ROOT\" \"$STEELYARD_TEST_ROOT\" && \
    mount -o remount,bind,ro \"$STEELYARD_TEST_ROOT\" && exec \"$0\" \"$@\"' \"$0\" \"$@\";";

#[test]
fn a_read_only_file_system_is_read_with_and_without_a_log() {
    let allowed = Command::new("unshare").args(["-rm", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("not tested: this machine refuses mounts");
        return;
    }
    let scratch = Scratch::new();
    put(&store(&scratch), "here", &[("a", "b")]);
    assert!(start("frozen", &scratch, FROZEN).wait_with_output().unwrap().status.success());

    // What a kill leaves: the label is in the log only.
    let copy = Scratch::new();
    let open = store(&scratch);
    let digest = walk(&open, &[], 9)[0].digest;
    open.volume().update(&digest, &labels(&[("a", "c")]), None).unwrap();
    assert!(Command::new("cp").arg("-a").arg(scratch.join(".")).arg(copy.path()).status().unwrap().success());
    assert!(start("frozen", &copy, FROZEN).wait_with_output().unwrap().status.success());

    std::fs::remove_file(copy.join("meta.db-shm")).unwrap();
    assert!(start("frozen", &copy, FROZEN).wait_with_output().unwrap().status.success());
}

fn read_on_a_read_only_file_system(scratch: &Scratch) {
    let refused = std::fs::write(scratch.join("try"), "").unwrap_err();
    assert_eq!(Some(libc::EROFS), refused.raw_os_error());
    let log = scratch.join("meta.db-wal").exists();
    let store = read_only(scratch);
    assert_eq!(Vec::<String>::new(), store.volume().notes());

    let all = walk(&store, &[], 9);

    let expected = if log { "c" } else { "b" };
    assert_eq!(vec![labels(&[("a", expected)])], all.iter().map(|info| info.labels.clone()).collect::<Vec<_>>());
}
