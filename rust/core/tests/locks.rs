//! Locks between threads, between stores and between processes, and the death of a holder.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{Scratch, sha256};
use steelyard_core::digest::Digest;
use steelyard_core::error::Error;
use steelyard_core::sys::{Fd, Linux, Sys};
use steelyard_core::volume::lock::{DigestLock, DigestLook, Locks};

/// Tells a child of this program which root to hold locks in.
const HOLD: &str = "STEELYARD_TEST_HOLD";

fn locks(root: &Path) -> Locks {
    let directory: Fd = Linux.open_root(root).unwrap();
    Locks::open(Arc::new(Linux), directory.as_fd(), root).unwrap()
}

/// Not a test by itself: what the child process runs, until it is killed or its input ends.
#[test]
fn child_holds_locks() {
    let Some(root) = std::env::var_os(HOLD) else {
        return;
    };
    let locks = locks(Path::new(&root));
    let _ref = locks.try_ref("layer").unwrap().unwrap();
    let _digest = locks.digest(&sha256(b"hello")).unwrap();
    println!("\nheld");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Start another process that holds the ref `layer` and the digest of `hello`.
fn holder(root: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_holds_locks", "--nocapture"])
        .env(HOLD, root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "held"));
    child
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_ref_has_one_holder_among_threads_and_stores() {
    let scratch = Scratch::new();
    let (one, two) = (locks(&scratch.path), locks(&scratch.path));

    let held = one.try_ref("layer").unwrap();

    assert!(held.is_some());
    assert!(one.clone().try_ref("layer").unwrap().is_none());
    assert!(two.try_ref("layer").unwrap().is_none());
    assert!(two.try_ref("other").unwrap().is_some());
    drop(held);
    assert!(two.try_ref("layer").unwrap().is_some());
}

#[test]
fn a_ref_is_free_as_soon_as_its_holder_is_killed() {
    let scratch = Scratch::new();
    let locks = locks(&scratch.path);
    let child = holder(&scratch.path);
    assert!(locks.try_ref("layer").unwrap().is_none());

    end(child);

    assert!(locks.try_ref("layer").unwrap().is_some());
}

#[test]
fn a_digest_is_waited_for_until_its_holder_is_killed() {
    let scratch = Scratch::new();
    let locks = locks(&scratch.path);
    let child = holder(&scratch.path);
    let (taken, was_taken) = mpsc::channel();
    let waiter = thread::spawn(move || {
        let _lock = locks.digest(&sha256(b"hello")).unwrap();
        taken.send(()).unwrap();
    });
    assert!(was_taken.try_recv().is_err());

    end(child);

    was_taken.recv().unwrap();
    waiter.join().unwrap();
}

#[test]
fn one_thread_at_a_time_has_a_digest() {
    let scratch = Scratch::new();
    let locks = locks(&scratch.path);
    let inside = std::sync::atomic::AtomicBool::new(false);
    let digest = sha256(b"hello");

    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let _lock = locks.digest(&digest).unwrap();
                    assert!(!inside.swap(true, std::sync::atomic::Ordering::SeqCst));
                    thread::yield_now();
                    inside.store(false, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
}

/// Take digests, waiting for other processes.
fn all_of(locks: &Locks, digests: &[Digest]) -> DigestLock {
    loop {
        if let Some(lock) = locks.try_digests(digests).unwrap() {
            return lock;
        }
        thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn the_lock_of_all_digests_excludes_that_of_one() {
    let scratch = Scratch::new();
    let (one, two) = (locks(&scratch.path), locks(&scratch.path));
    let (hello, other) = (sha256(b"hello"), sha256(b"other"));
    for waiting in [one.clone(), two] {
        let all = all_of(&one, &[hello, other]);
        let (taken, was_taken) = mpsc::channel();
        // One that is not among those asked for: all are all.
        let waiter = thread::spawn(move || {
            let _lock = waiting.digest(&sha256(b"third")).unwrap();
            taken.send(()).unwrap();
        });
        assert!(was_taken.recv_timeout(Duration::from_millis(20)).is_err());

        drop(all);

        was_taken.recv().unwrap();
        waiter.join().unwrap();
    }
}

#[test]
fn all_digests_are_waited_for_and_refs_are_not_among_them() {
    let scratch = Scratch::new();
    let (one, two) = (locks(&scratch.path), locks(&scratch.path));
    let (hello, other) = (sha256(b"hello"), sha256(b"other"));
    for waiting in [one.clone(), two] {
        let lock = one.digest(&hello).unwrap();
        let (taken, was_taken) = mpsc::channel();
        let waiter = thread::spawn(move || {
            let all = all_of(&waiting, &[hello, other]);
            taken.send(()).unwrap();
            all
        });
        assert!(was_taken.recv_timeout(Duration::from_millis(20)).is_err());

        drop(lock);

        was_taken.recv().unwrap();
        let all = waiter.join().unwrap();
        assert!(one.try_ref("layer").unwrap().is_some());
        drop(all);
    }
}

#[test]
fn one_digest_and_all_digests_exclude_each_other() {
    let scratch = Scratch::new();
    let stores = [locks(&scratch.path), locks(&scratch.path)];
    let (hello, other) = (sha256(b"hello"), sha256(b"other"));
    let inside = std::sync::atomic::AtomicBool::new(false);

    thread::scope(|scope| {
        for thread in 0..8 {
            let (locks, inside) = (&stores[thread % 2], &inside);
            scope.spawn(move || {
                for _ in 0..100 {
                    let wanted = [hello, other];
                    let _lock = all_of(locks, &wanted[..=thread / 4]);
                    assert!(!inside.swap(true, std::sync::atomic::Ordering::SeqCst));
                    thread::yield_now();
                    inside.store(false, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
}

#[test]
fn a_look_whether_digests_are_free_waits_for_own_threads_sees_other_stores_and_takes_nothing() {
    let scratch = Scratch::new();
    let (one, two) = (locks(&scratch.path), locks(&scratch.path));
    let digest = sha256(b"hello");

    let held = two.digest(&digest).unwrap();
    let mut look = DigestLook::default();
    assert!(!one.look_on(&mut look).unwrap(), "another store has one");
    assert!(!one.look_on(&mut look).unwrap(), "it has it still");
    drop(held);
    assert!(one.look_on(&mut look).unwrap());

    for wanted in [vec![digest], vec![digest, sha256(b"other")]] {
        let held = all_of(&one, &wanted);
        let (looked, has_looked) = mpsc::channel();
        let waiting = one.clone();
        let waiter = thread::spawn(move || looked.send(waiting.look_on(&mut DigestLook::default()).unwrap()).unwrap());
        assert!(has_looked.recv_timeout(Duration::from_millis(20)).is_err(), "a thread of this store has one");

        drop(held);

        assert!(has_looked.recv().unwrap());
        waiter.join().unwrap();
    }
    // Those that waited meanwhile go on, in this store and in others.
    assert!(one.try_digests(&[digest]).unwrap().is_some());
    assert!(two.try_digests(&[digest, sha256(b"other")]).unwrap().is_some());
}

#[test]
fn a_look_ends_although_another_store_has_a_digest_at_each_moment() {
    let scratch = Scratch::new();
    let (one, two) = (locks(&scratch.path), locks(&scratch.path));
    let digests: Vec<Digest> = (0_u32..200).map(|number| sha256(&number.to_le_bytes())).collect();
    let mut held: Vec<DigestLock> = digests[..100].iter().map(|digest| two.digest(digest).unwrap()).collect();
    let mut look = DigestLook::default();
    for _ in 0..10 {
        assert!(!one.look_on(&mut look).unwrap(), "a digest of the beginning was not free yet");
    }

    for digest in &digests[100..] {
        held.push(two.digest(digest).unwrap());
        held.remove(0);
    }

    assert!((0..10).any(|_| one.look_on(&mut look).unwrap()));
    assert_eq!(100, held.len());
}

#[test]
fn a_look_waits_for_a_store_that_has_all_digests() {
    let scratch = Scratch::new();
    let (one, two) = (locks(&scratch.path), locks(&scratch.path));
    let mut look = DigestLook::default();
    let held = all_of(&two, &[sha256(b"one"), sha256(b"other")]);
    assert!(!one.look_on(&mut look).unwrap());
    drop(held);
    let held = two.digest(&sha256(b"one")).unwrap();
    assert!(!one.look_on(&mut look).unwrap(), "this digest was never free");
    drop(held);
    let _held = two.digest(&sha256(b"other")).unwrap();

    assert!(one.look_on(&mut look).unwrap());
}

#[test]
fn the_whole_store_is_to_be_had_only_alone_and_keeps_others_out() {
    let scratch = Scratch::new();
    let one = locks(&scratch.path);
    let two = locks(&scratch.path);
    assert!(matches!(one.exclusive_store().map(drop), Err(Error::Unavailable { .. })));
    drop(two);

    let alone = one.exclusive_store().unwrap();

    let directory = Linux.open_root(&scratch.path).unwrap();
    let other = Locks::open(Arc::new(Linux), directory.as_fd(), &scratch.path);
    assert!(matches!(other.map(drop), Err(Error::Unavailable { .. })));
    drop(alone);
    let _two = locks(&scratch.path);
    assert!(matches!(one.exclusive_store().map(drop), Err(Error::Unavailable { .. })));
}
