//! A power cut: what the disk has got at the moment of an acknowledgement, checked and opened again.
//!
//! The disk is a file, mounted for the test where that is allowed. A copy of that file is the disk after the cut, except
//! that a real one may also lose what it was not told to keep.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

mod common;
mod disk;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use common::{SHA256, Scratch};
use disk::{BTRFS, Disk, EXT4, EXT4_NO_JOURNAL, Kind, XFS};
use steelyard_core::digest::Digest;
use steelyard_core::model::Labels;
use steelyard_core::store::{BatchItem, Options, Outcome, Source, Store};

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
        let ingest = if name.is_empty() {
            store.ingests().anonymous(SHA256)
        } else {
            store.ingests().open(name, None, None, None)
        };
        let ingest = ingest.unwrap();
        ingest.write(format!("an ingest {name}").as_bytes()).unwrap();
        acknowledged.push(ingest.commit(None, None, Some(&labels)).unwrap().digest);
    }
    acknowledged
}

fn assert_there(store: &Store, digests: &[Digest], most_links: u64) {
    for digest in digests {
        let blob = store.volume().blob(digest).unwrap_or_else(|error| panic!("acknowledged, and lost: {error}"));
        let mut bytes = vec![0; usize::try_from(blob.size()).unwrap()];
        blob.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(*digest, common::sha256(&bytes));
        let info = store.volume().info(digest).unwrap();
        assert_eq!(1, info.labels.len());
        let path = store.volume().path().join("blobs").join(digest.algorithm().name()).join(digest.encoded());
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
    assert_eq!(Vec::<String>::new(), store.volume().notes());
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
                let ingest = store.ingests().open("layer", None, None, None).unwrap();
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
