//! Several writers at once: threads of one store, stores of one process, processes.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use steelyard_core::error::Error;
use steelyard_core::store::{Options, Store};

use crate::support::*;

/// Tells the test program that it is the other process, and of which root.
const CHILD: &str = "STEELYARD_TEST_INGEST_ROOT";

/// Append one byte as soon as the ref is free.
fn append(store: &Arc<Store>) {
    let ingest = open_when_free(store, REF);
    ingest.write(b"x").unwrap();
    ingest.close().unwrap();
}

#[test]
fn one_writer_at_a_time_has_a_ref() {
    let root = Root::in_memory();
    let options = Options { durable: false, ..Options::default() };
    let stores = [(); 2].map(|()| Store::open(&root.path, options).unwrap());
    thread::scope(|scope| {
        for store in stores.iter().cycle().take(4) {
            scope.spawn(move || (0..50).for_each(|_| append(store)));
        }
    });

    assert_eq!(200, stores[0].ingests().status(REF).unwrap().offset);
    assert_eq!(sha256(&[b'x'; 200]), begin(&stores[1]).digest().unwrap());
}

#[test]
fn an_abort_meets_a_writer_anywhere_and_both_get_a_clean_answer() {
    let root = Root::in_memory();
    let store = root.open();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut aborted = 0;
            for round in 0..200_u32 {
                let ingest = match store.ingests().open(REF, None, None, None) {
                    // The abort of the round before still has the ref.
                    Err(Error::Unavailable { local: true, .. }) => continue,
                    other => other.unwrap(),
                };
                let written = ingest.write(&round.to_le_bytes());
                match written.and_then(|()| ingest.commit(None, None, None).map(drop)) {
                    Err(Error::Aborted { .. }) => aborted += 1,
                    other => other.unwrap(),
                }
            }
            aborted
        });
        while !writer.is_finished() {
            match store.ingests().abort(REF) {
                Ok(()) | Err(Error::NotFound { .. } | Error::Unavailable { local: true, .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        writer.join().unwrap();
    });
    root.assert_blobs_whole();
    assert_eq!(0, begin(&store).offset());
}

/// The other process: it holds the ref until it is killed.
#[test]
fn holder() {
    let Some(root) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let store = Store::open(&root, Options::default()).unwrap();
    let ingest = begin(&store);
    ingest.write(b"durable").unwrap();
    ingest.sync().unwrap();
    ingest.write(b", and more").unwrap();
    println!("held");
    std::io::stdout().flush().unwrap();
    // The other end is never written to: this waits to be killed.
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn start_holder(root: &Root) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "others::holder", "--nocapture"])
        .env(CHILD, &root.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.as_mut().unwrap());
    assert!(output.lines().any(|line| line.unwrap().ends_with("held")));
    child
}

#[test]
fn a_ref_is_held_across_processes_and_dies_with_its_holder() {
    let root = Root::new();
    let store = root.open();
    let before = now();
    let mut child = start_holder(&root);

    let error = store.ingests().open(REF, None, None, None).err().unwrap();

    let Error::Unavailable { holder, since_ns, local, .. } = error else { panic!("{error:?}") };
    assert_eq!((format!("process {}", child.id()), false), (holder, local));
    assert!((before..=now()).contains(&since_ns.unwrap()));
    assert!(matches!(store.ingests().abort(REF), Err(Error::Unavailable { local: false, .. })));
    assert_eq!(7, store.ingests().status(REF).unwrap().offset);
    child.kill().unwrap();
    child.wait().unwrap();
    let ingest = begin(&store);
    assert_eq!(sha256(b"durable"), ingest.commit(None, None, None).unwrap().digest);
}
