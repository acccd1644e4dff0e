//! A power cut: what the disk has got at the moment of an acknowledgement, checked and opened anew.
//!
//! The disk is a file, mounted for the test where that is allowed. A copy of that file is the disk after the cut, except
//! that a real one may also lose what it was not told to keep.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use common::{SHA256, Scratch};
use steelyard_core::digest::Digest;
use steelyard_core::model::Labels;
use steelyard_core::store::{BatchItem, Options, Outcome, Source, Store};

const MIB: u64 = 1 << 20;

/// A file system in a file.
struct Disk {
    image: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    /// Make one; None where that is not allowed.
    fn make(scratch: &Scratch, options: &[&str]) -> Option<Self> {
        let image = scratch.path.join("image");
        fs::File::create(&image).unwrap().set_len(64 * MIB).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").args(options).arg(&image).output().ok()?;
        assert!(made.status.success(), "{made:?}");
        Self::mount(scratch, image)
    }

    fn mount(scratch: &Scratch, image: PathBuf) -> Option<Self> {
        let mounted = scratch.path.join(format!("mounted-{}", image.file_name().unwrap().display()));
        fs::create_dir_all(&mounted).unwrap();
        let done = Command::new("mount").args(["-o", "loop"]).args([&image, &mounted]).output().ok()?;
        done.status.success().then_some(Self { image, mounted })
    }

    /// Return the disk as it is after a power cut now and the check that follows.
    fn cut(&self, scratch: &Scratch) -> Self {
        let image = scratch.path.join("copy");
        run("cp", &["--sparse=always".as_ref(), &self.image, &image]);
        let check = Command::new("e2fsck").args(["-f", "-y"]).arg(&image).output().unwrap();
        // 1: it had something to repair.
        assert!(matches!(check.status.code(), Some(0 | 1)), "{check:?}");
        Self::mount(scratch, image).unwrap()
    }

    fn root(&self) -> PathBuf {
        self.mounted.join("store")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy".as_ref(), &self.mounted]);
    }
}

fn run(program: &str, arguments: &[&Path]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// Store by every way in; return what was acknowledged.
fn fill(store: &Arc<Store>) -> Vec<Digest> {
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    let mut acknowledged = vec![store.put(b"one put", SHA256, None, Some(&labels)).unwrap().digest];
    for (batch, count) in [4_u32, 300].into_iter().enumerate() {
        let blobs: Vec<_> = (0..count).map(|number| [number.to_le_bytes(), count.to_le_bytes()].concat()).collect();
        let item = |bytes| BatchItem {
            source: Source::Bytes(bytes),
            algorithm: SHA256,
            expected: None,
            size: None,
            labels: Some(&labels),
        };
        let results = store.put_batch(&blobs.iter().map(|blob| item(blob)).collect::<Vec<_>>());
        acknowledged.extend(results.into_iter().map(|result| match result {
            Ok(Outcome::Stored(put)) => put.digest,
            other => panic!("batch {batch}: {other:?}"),
        }));
    }
    for name in ["layer", ""] {
        let ingest = if name.is_empty() { store.anonymous(SHA256) } else { store.ingest(name, None, None, None) };
        let ingest = ingest.unwrap();
        ingest.write(format!("an ingest {name}").as_bytes()).unwrap();
        acknowledged.push(ingest.commit(None, None, Some(&labels)).unwrap().digest);
    }
    acknowledged
}

fn assert_there(store: &Store, digests: &[Digest]) {
    for digest in digests {
        let blob = store.blob(digest).unwrap_or_else(|error| panic!("acknowledged, and lost: {error}"));
        let mut bytes = vec![0; usize::try_from(blob.size()).unwrap()];
        blob.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(*digest, common::sha256(&bytes));
        assert_eq!(1, store.info(digest).unwrap().labels.len());
    }
}

#[test]
fn what_was_acknowledged_is_on_the_disk() {
    for options in [[].as_slice(), &["-O", "^has_journal"]] {
        let scratch = Scratch::new();
        let Some(disk) = Disk::make(&scratch, options) else {
            println!("skipped: no right to mount a file system, or no mkfs.ext4");
            return;
        };
        let store = Store::open(&disk.root(), Options::default()).unwrap();

        let acknowledged = fill(&store);

        let copy = disk.cut(&scratch);
        let store = Store::open(&copy.root(), Options::default()).unwrap();
        assert_eq!(Vec::<String>::new(), store.notes());
        assert_there(&store, &acknowledged);
        assert_eq!(acknowledged.len() as u64, store.stats().unwrap().blobs);
    }
}
