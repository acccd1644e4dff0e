//! Power cuts at random points of a random workload: blobs, labels, image names, deletions, ingests, and openings of the store,
//! each of which removes or resets SQLite's log.
//!
//! The default is a few cuts. The long form, with its seeds and counts:
//!
//! ```sh
//! STEELYARD_POWER_CUTS=100 STEELYARD_SEED=1 cargo test -p steelyard-core --test power_cut_random -- --nocapture
//! ```
//!
//! `docs/durability.md` has what it gave.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

mod common;
mod disk;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use common::{SHA256, Scratch};
use disk::{BTRFS, Disk, EXT4, EXT4_NO_JOURNAL, Kind, XFS};
use steelyard_core::digest::Digest;
use steelyard_core::model::{Labels, Target};
use steelyard_core::store::collect::Options as CollectOptions;
use steelyard_core::store::{Options, Store};
use steelyard_core::volume::images::Taken;

/// After so many cuts a new disk is made, as the older ones fill up. A copy of a btrfs cannot be mounted beside it.
fn cuts_of_a_disk(kind: Kind) -> u64 {
    if kind == BTRFS { 1 } else { 20 }
}

/// Everything acknowledged: the labels of each blob, and the target of each name.
#[derive(Default)]
struct Acknowledged {
    blobs: BTreeMap<Digest, Labels>,
    names: BTreeMap<String, Digest>,
}

/// Random numbers, the same ones for a seed (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn labels(&mut self) -> Labels {
        Labels::from([("number".to_owned(), self.below(1 << 40).to_string())])
    }

    fn bytes(&mut self) -> Vec<u8> {
        let most = [20, 5_000, 200_000][usize::try_from(self.below(3)).unwrap()];
        let seed = self.below(1 << 40);
        let size = 16 + self.below(most);
        (0..size).map(|index| seed.to_le_bytes()[usize::try_from(index % 8).unwrap()]).collect()
    }

    fn pick(&mut self, from: &BTreeMap<Digest, Labels>) -> Option<Digest> {
        let count = u64::try_from(from.len()).unwrap();
        if count == 0 {
            return None;
        }
        from.keys().nth(usize::try_from(self.below(count)).unwrap()).copied()
    }
}

/// Do one thing to the store, and note what it acknowledged.
fn step(store: &mut Arc<Store>, disk: &Disk, random: &mut Random, known: &mut Acknowledged) {
    match random.below(16) {
        0..5 => {
            let (bytes, labels) = (random.bytes(), random.labels());
            let put = store.put(&bytes, SHA256, None, Some(&labels)).unwrap();
            known.blobs.entry(put.digest).or_insert(labels);
        }
        5..8 => {
            let (bytes, labels, synced) = (random.bytes(), random.labels(), random.below(2) == 0);
            let ingest = store.ingests().open("layer", None, None, None).unwrap();
            ingest.write(&bytes).unwrap();
            if synced {
                ingest.sync().unwrap();
            }
            let digest = ingest.commit(None, None, Some(&labels)).unwrap().digest;
            known.blobs.entry(digest).or_insert(labels);
        }
        8..10 => {
            let labels = random.labels();
            let digests: Vec<Digest> = (0..random.below(4)).filter_map(|_| random.pick(&known.blobs)).collect();
            for updated in store.volume().update_many(&digests, &labels, None).unwrap() {
                known.blobs.insert(updated.unwrap().digest, labels.clone());
            }
        }
        10..13 => {
            if let Some(digest) = random.pick(&known.blobs) {
                let name = format!("name-{}", random.below(8));
                let target = Target { digest, size: None, media_type: None, annotations: Labels::new() };
                store.volume().assign_images(&[(name.clone(), target)], None, Taken::Overwrite).unwrap();
                known.names.insert(name, digest);
            }
        }
        13..15 => {
            let mut digests: Vec<Digest> = (0..random.below(4)).filter_map(|_| random.pick(&known.blobs)).collect();
            digests.sort();
            digests.dedup();
            for (digest, deleted) in digests.iter().zip(store.volume().delete_many(None, &digests).unwrap()) {
                deleted.unwrap();
                known.blobs.remove(digest);
            }
        }
        _ => {
            store.close();
            *store = Store::open(&disk.root(), Options::default()).unwrap();
        }
    }
}

/// Return what is missing after a cut, or is not as it was acknowledged.
fn missing(kind: Kind, store: &Store, known: &Acknowledged) -> Vec<String> {
    let mut missing: Vec<_> = store.volume().notes();
    for (digest, labels) in &known.blobs {
        let whole = store.volume().blob(digest).and_then(|blob| {
            let mut bytes = vec![0; usize::try_from(blob.size()).unwrap()];
            blob.read_exact_at(&mut bytes, 0).map(|()| common::sha256(&bytes) == *digest)
        });
        if !whole.is_ok_and(|whole| whole) {
            missing.push(format!("blob {digest}"));
            continue;
        }
        let (mode, links, as_stored) = attributes(store, digest);
        // Without a journal, a name that was removed may come back for the number of a file that was made since.
        if mode != 0o444 || !as_stored || (links != 1 && kind != EXT4_NO_JOURNAL) {
            missing.push(format!("attributes of {digest}: mode {mode:o}, {links} links, time as stored: {as_stored}"));
        }
        let found = store.volume().info(digest).map(|info| Labels::clone(&info.labels)).unwrap_or_default();
        if found != *labels {
            missing.push(format!("labels of {digest}: {found:?} for {labels:?}"));
        }
    }
    for (name, digest) in &known.names {
        match store.volume().image(name) {
            Ok(image) if image.target.digest == *digest => (),
            other => missing.push(format!("name {name}: {other:?} for {digest}")),
        }
    }
    missing
}

/// The mode and number of links of a blob's file, and whether its time is the one that was acknowledged.
fn attributes(store: &Store, digest: &Digest) -> (u32, u64, bool) {
    let path = store.volume().path().join("blobs").join(digest.algorithm().name()).join(digest.encoded());
    let file = fs::metadata(path).unwrap();
    let time = file.mtime() * 1_000_000_000 + file.mtime_nsec();
    (file.mode() & 0o7777, file.nlink(), store.volume().info(digest).is_ok_and(|info| info.created_ns == time))
}

/// Cut the power so often; return how often something was missing, or None where no disk can be made.
fn cuts(kind: Kind, count: u64, seed: u64) -> Option<u64> {
    let mut random = Random(seed);
    let (mut done, mut losses) = (0, 0);
    while done < count {
        let scratch = Scratch::new();
        let disk = Disk::make(&scratch, kind)?;
        let mut store = Store::open(&disk.root(), Options::default()).unwrap();
        let mut known = Acknowledged::default();
        let last = count.min(done + cuts_of_a_disk(kind));
        loop {
            for _ in 0..=random.below(40) {
                step(&mut store, &disk, &mut random, &mut known);
            }
            let copy = disk.copy(&scratch);
            done += 1;
            if done == last {
                store.close();
                drop(store);
                losses += loses(kind, &disk.after_cut(&scratch, copy), &known, seed, done);
                break;
            }
            losses += loses(kind, &disk.beside(&scratch, copy), &known, seed, done);
        }
    }
    println!("{kind:?}, seed {seed}: {losses} of {count} cuts lost something");
    Some(losses)
}

/// Return 1 if something is missing after a cut.
fn loses(kind: Kind, after: &Disk, known: &Acknowledged, seed: u64, cut: u64) -> u64 {
    let opened = Store::open(&after.root(), Options::default());
    let missing = opened.map_or_else(|error| vec![error.to_string()], |store| missing(kind, &store, known));
    if !missing.is_empty() {
        println!("seed {seed}, cut {cut}: {missing:?}");
    }
    u64::from(!missing.is_empty())
}

fn setting(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// Cut so often as the environment says, or twice.
fn assert_nothing_is_lost(kind: Kind) {
    let lost = cuts(kind, setting("STEELYARD_POWER_CUTS", 2), setting("STEELYARD_SEED", 1));
    assert!(matches!(lost, None | Some(0)), "{kind:?}: {lost:?}");
}

#[test]
fn ext4_loses_nothing_acknowledged() {
    assert_nothing_is_lost(EXT4);
}

#[test]
fn ext4_without_a_journal_loses_nothing_acknowledged() {
    assert_nothing_is_lost(EXT4_NO_JOURNAL);
}

#[test]
fn xfs_loses_nothing_acknowledged() {
    assert_nothing_is_lost(XFS);
}

#[test]
fn btrfs_loses_nothing_acknowledged() {
    assert_nothing_is_lost(BTRFS);
}

/// Without a journal, blocks of a removed file are used again before its removal is on the disk.
#[test]
fn a_removed_log_whose_blocks_are_used_again_takes_nothing_back() {
    let (count, seed) = (setting("STEELYARD_POWER_CUTS", 2), setting("STEELYARD_SEED", 1));
    let mut random = Random(seed);
    let mut losses = 0;
    for cut in 0..count {
        let scratch = Scratch::new();
        let Some(disk) = Disk::make(&scratch, EXT4_NO_JOURNAL) else { return };
        let mut known = Acknowledged::default();
        let mut digests = Vec::new();
        for _ in 0..=random.below(3) {
            let store = Store::open(&disk.root(), Options::default()).unwrap();
            for _ in 0..4 {
                let labels = random.labels();
                let digest = store.put(&random.bytes(), SHA256, None, Some(&labels)).unwrap().digest;
                known.blobs.insert(digest, labels);
                digests.push(digest);
            }
            for _ in 0..5 + random.below(60) {
                let index = random.below(u64::try_from(digests.len()).unwrap());
                let digest = digests[usize::try_from(index).unwrap()];
                let labels = random.labels();
                store.volume().update(&digest, &labels, None).unwrap();
                known.blobs.insert(digest, labels);
            }
            // The last one that closes `meta.db` removes its log.
            store.close();
        }
        for number in 0..random.below(20) {
            let bytes = random.bytes();
            let mut file = fs::File::create(disk.mounted.join(format!("other-{number}"))).unwrap();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
        }
        let copy = disk.copy(&scratch);
        losses += loses(EXT4_NO_JOURNAL, &disk.beside(&scratch, copy), &known, seed, cut);
    }
    println!("a removed log, seed {seed}: {losses} of {count} cuts lost something");
    assert_eq!(0, losses);
}

#[test]
fn a_note_that_a_lease_of_a_process_removed_is_gone_from_the_disk() {
    let options = CollectOptions { grace_ns: 3_600_000_000_000, ..CollectOptions::default() };
    let is_noted = |store: &Store, digest| {
        let mut why = store.why(vec![digest]).unwrap();
        while !why.step().unwrap() {}
        why.reasons().unwrap()[0].since_ns.is_some()
    };
    for kind in [EXT4, XFS] {
        let scratch = Scratch::new();
        let Some(disk) = Disk::make(&scratch, kind) else { continue };
        let store = Store::open(&disk.root(), Options::default()).unwrap();
        let digest = store.put(b"leased", SHA256, None, None).unwrap().digest;
        let mut collection = store.collection(options).unwrap();
        while !collection.step().unwrap() {}
        drop(collection);
        // A change that is synced, and all before it.
        store.put(b"labelled", SHA256, None, Some(&Labels::from([("a".to_owned(), "b".to_owned())]))).unwrap();
        assert!(is_noted(&store, digest));
        store.volume().begin_lease("own", &Labels::new(), None).unwrap();
        store.put_under(Some("own"), b"leased", SHA256, None, None).unwrap();
        let copy = disk.copy(&scratch);
        drop(store);
        let disk = disk.after_cut(&scratch, copy);
        let store = Store::open(&disk.root(), Options::default()).unwrap();
        assert!(!is_noted(&store, digest));
    }
}

#[test]
fn an_entry_of_a_lease_that_outlives_its_process_is_on_the_disk() {
    let hour = 3_600_000_000_000;
    for kind in [EXT4, XFS] {
        let scratch = Scratch::new();
        let Some(disk) = Disk::make(&scratch, kind) else { continue };
        let store = Store::open(&disk.root(), Options::default()).unwrap();
        let lease = store.volume().create_lease("nightly", &Labels::new(), hour).unwrap();
        let digest = store.put_under(Some("nightly"), b"leased", SHA256, None, None).unwrap().digest;
        let copy = disk.copy(&scratch);
        drop(store);
        let disk = disk.after_cut(&scratch, copy);
        let store = Store::open(&disk.root(), Options::default()).unwrap();
        assert_eq!(lease, store.volume().lease("nightly").unwrap());
        assert_eq!(vec![digest], store.volume().lease_resources("nightly").unwrap().digests);
        assert!(store.volume().info(&digest).is_ok());
    }
}
