//! A power cut: what the disk has got at the moment of an acknowledgement, checked and opened anew.
//!
//! The disk is a file, mounted for the test where that is allowed. A copy of that file is the disk after the cut, except
//! that a real one may also lose what it was not told to keep.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{SHA256, Scratch};
use steelyard_core::digest::Digest;
use steelyard_core::model::Labels;
use steelyard_core::store::{BatchItem, Options, Outcome, Source, Store};

const MIB: u64 = 1 << 20;

/// A kind of file system: its size in MiB, and the command that makes it.
type Kind = (u64, &'static [&'static str]);

const EXT4: Kind = (64, &["mkfs.ext4", "-q"]);
const EXT4_NO_JOURNAL: Kind = (64, &["mkfs.ext4", "-q", "-O", "^has_journal"]);
const XFS: Kind = (310, &["mkfs.xfs", "-q"]);
const BTRFS: Kind = (130, &["mkfs.btrfs", "-q"]);

/// A file system in a file.
struct Disk {
    kind: Kind,
    image: PathBuf,
    mounted: PathBuf,
}

impl Disk {
    /// Make one; None where that is not possible.
    fn make(scratch: &Scratch, kind: Kind) -> Option<Self> {
        let image = scratch.path.join("image");
        fs::File::create(&image).unwrap().set_len(kind.0 * MIB).unwrap();
        let made = Command::new(kind.1[0]).args(&kind.1[1..]).arg(&image).output().ok()?;
        assert!(made.status.success(), "{made:?}");
        let disk = Self::mount(scratch, kind, image);
        if disk.is_none() {
            println!("skipped {kind:?}: no right to mount a file system");
        }
        disk
    }

    fn mount(scratch: &Scratch, kind: Kind, image: PathBuf) -> Option<Self> {
        let mounted = scratch.path.join(format!("mounted-{}", image.file_name().unwrap().display()));
        fs::create_dir_all(&mounted).unwrap();
        let done = Command::new("mount").args(["-o", "loop"]).args([&image, &mounted]).output().ok()?;
        done.status.success().then_some(Self { kind, image, mounted })
    }

    /// Copy the disk as it is now.
    fn copy(&self, scratch: &Scratch) -> PathBuf {
        let copy = scratch.path.join("copy");
        run("cp", &["--sparse=always".as_ref(), &self.image, &copy]);
        copy
    }

    /// Mount a copy in place of this disk, after the check that follows a power cut.
    fn after_cut(self, scratch: &Scratch, copy: PathBuf) -> Self {
        let kind = self.kind;
        // Two with one identity cannot be mounted at the same time.
        drop(self);
        if kind.1[0] == "mkfs.ext4" {
            let check = Command::new("e2fsck").args(["-f", "-y"]).arg(&copy).output().unwrap();
            // 1: it had something to repair.
            assert!(matches!(check.status.code(), Some(0 | 1)), "{check:?}");
        }
        Self::mount(scratch, kind, copy).unwrap()
    }

    fn root(&self) -> PathBuf {
        self.mounted.join("store")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that another test is starting has our descriptors for a moment.
        for _ in 0..600 {
            let done = Command::new("umount").arg(&self.mounted).output().unwrap();
            if done.status.success() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
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

fn assert_there(store: &Store, digests: &[Digest], most_links: u64) {
    for digest in digests {
        let blob = store.blob(digest).unwrap_or_else(|error| panic!("acknowledged, and lost: {error}"));
        let mut bytes = vec![0; usize::try_from(blob.size()).unwrap()];
        blob.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(*digest, common::sha256(&bytes));
        let info = store.info(digest).unwrap();
        assert_eq!(1, info.labels.len());
        let path = store.path().join("blobs").join(digest.algorithm().name()).join(digest.encoded());
        let file = fs::metadata(path).unwrap();
        let time = file.mtime() * 1_000_000_000 + file.mtime_nsec();
        let found = (file.mode() & 0o7777, time);
        assert_eq!((0o444, info.created_ns), found, "mode and time of {} bytes", bytes.len());
        // Without a journal, a name that was removed may come back for the number of a file that was made since.
        assert!(file.nlink() <= most_links, "{} links of {} bytes", file.nlink(), bytes.len());
    }
}

fn cut_after(kind: Kind, fill: impl FnOnce(&Arc<Store>) -> Vec<Digest>) {
    let scratch = Scratch::new();
    let Some(disk) = Disk::make(&scratch, kind) else { return };
    let store = Store::open(&disk.root(), Options::default()).unwrap();
    let acknowledged = fill(&store);
    let copy = disk.copy(&scratch);
    drop(store);
    let disk = disk.after_cut(&scratch, copy);
    let store = Store::open(&disk.root(), Options::default()).unwrap();
    assert_eq!(Vec::<String>::new(), store.notes());
    let most_links = if kind == EXT4_NO_JOURNAL && acknowledged.len() > 1 { 2 } else { 1 };
    println!("after a cut of {kind:?}");
    assert_there(&store, &acknowledged, most_links);
    assert_eq!(acknowledged.len() as u64, store.stats().unwrap().blobs);
}

#[test]
fn what_was_acknowledged_is_on_the_disk() {
    for kind in [EXT4, EXT4_NO_JOURNAL, XFS, BTRFS] {
        cut_after(kind, fill);
    }
}

#[test]
fn a_blob_has_its_mode_time_and_only_name_on_the_disk() {
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    // A file of one extent, and one whose size changes how btrfs logs it.
    for (kind, size) in [(EXT4, 1), (EXT4_NO_JOURNAL, 1), (XFS, 1), (BTRFS, 1), (BTRFS, 3_000_000)] {
        let bytes = vec![7; size];
        for synced in [false, true] {
            cut_after(kind, |store| {
                let ingest = store.ingest("layer", None, None, None).unwrap();
                ingest.write(&bytes).unwrap();
                if synced {
                    ingest.sync().unwrap();
                }
                vec![ingest.commit(None, None, Some(&labels)).unwrap().digest]
            });
        }
        cut_after(kind, |store| vec![store.put(&bytes, SHA256, None, Some(&labels)).unwrap().digest]);
    }
}
