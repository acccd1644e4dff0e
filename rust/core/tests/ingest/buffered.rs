//! Bytes that are written and hashed after the call that brings them, those of many ingests side by side.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use steelyard_core::digest::Algorithm;
use steelyard_core::error::{Error, Result};
use steelyard_core::hash::Hasher;
use steelyard_core::store::ingest::{Ingest, Pushed};
use steelyard_core::store::{Options, Store};
use steelyard_core::sys::{Around, Call, Fault, Faulty, Layer, Linux, Op};

use crate::support::*;

/// Numbers without a pattern, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn unsynced(root: &Root) -> Arc<Store> {
    Store::open(&root.path, Options { durable: false, ..Options::default() }).unwrap()
}

/// Bring bytes as a writer does: wait when there is no room, and write what is not taken otherwise.
fn bring(ingest: &Ingest, data: &[u8], is_lasting: bool) -> Result<()> {
    loop {
        let pushed = if is_lasting { ingest.hold(Box::new(data.to_vec()))? } else { ingest.push(data)? };
        match pushed {
            Pushed::Taken => return Ok(()),
            Pushed::Full => await_room(ingest, data.len()),
            Pushed::Short => return ingest.write(data),
        }
    }
}

fn await_room(ingest: &Ingest, size: usize) {
    let (notify, notified) = mpsc::channel();
    assert!(ingest.when_room(size, Box::new(move || notify.send(()).unwrap())));
    notified.recv().unwrap();
}

fn await_written(ingest: &Ingest) {
    let (notify, notified) = mpsc::channel();
    assert!(ingest.when_written(Box::new(move || notify.send(()).unwrap())));
    notified.recv().unwrap();
}

/// An ingest, and what should be in it.
struct Pair {
    ingest: Arc<Ingest>,
    content: Vec<u8>,
}

impl Pair {
    fn plain(&self) -> steelyard_core::digest::Digest {
        digest(self.ingest.algorithm(), &self.content)
    }

    fn step(&mut self, random: &mut Random, source: &[u8]) {
        let (ingest, content) = (&self.ingest, &mut self.content);
        match random.below(40) {
            0 => assert_eq!(digest(ingest.algorithm(), content), ingest.digest().unwrap()),
            1 => assert_eq!(content.len() as u64, ingest.status().unwrap().offset),
            2 => {
                content.truncate(random.below(content.len() + 1));
                ingest.truncate(content.len() as u64).unwrap();
            }
            3 => await_written(ingest),
            4 => ingest.flush().unwrap(),
            5 => ingest.sync().unwrap(),
            _ => {
                let size = [100, 5_000, 16 << 10, 64 << 10, 64 << 10, 150_000, 300_000][random.below(7)];
                let from = random.below(source.len() - size);
                let data = &source[from..from + size];
                bring(ingest, data, random.below(2) == 0).unwrap();
                content.extend(data);
            }
        }
        assert_eq!(content.len() as u64, ingest.offset());
    }
}

#[test]
fn any_interleaving_of_many_ingests_gives_the_plain_digests() {
    let source = bytes(1 << 20);
    for (seed, write_buffer) in [(1, 128 << 20), (2, 6 << 20), (3, 1 << 20)] {
        let root = Root::in_memory();
        let store = Store::open(&root.path, Options { durable: false, write_buffer, ..Options::default() }).unwrap();
        let mut random = Random(seed);
        let begin = |index: usize| {
            let algorithm = Algorithm::ALL[if index < 16 { 1 } else { index % 4 }];
            let ingest = store.ingests().open(&format!("{index}"), None, None, Some(algorithm)).unwrap();
            Pair { ingest, content: index.to_le_bytes().to_vec() }
        };
        let mut pairs: Vec<_> = (0..22).map(begin).collect();
        for pair in &pairs {
            bring(&pair.ingest, &pair.content, false).unwrap();
        }
        for _ in 0..500 {
            let pair = random.below(pairs.len());
            pairs[pair].step(&mut random, &source);
        }
        for pair in &pairs {
            let info = pair.ingest.commit(Some(pair.content.len() as u64), Some(&pair.plain()), None).unwrap();
            assert_eq!(Some(&pair.content), root.blob(&info.digest).as_ref(), "seed {seed}");
        }
    }
}

#[test]
fn a_flush_unit_is_written_without_a_further_call() {
    let root = Root::in_memory();
    let ingest = unsynced(&root).ingests().open(REF, None, None, None).unwrap();
    let data = root.ingest(REF).join("data");
    for _ in 0..8 {
        bring(&ingest, &bytes(64 << 10), true).unwrap();
    }

    while fs::metadata(&data).unwrap().len() < 256 << 10 {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_gathered_is_bounded_over_all_ingests() {
    let root = Root::in_memory();
    let options = Options { durable: false, write_buffer: 256 << 10, ..Options::default() };
    let store = Store::open(&root.path, options).unwrap();
    let ingests: Vec<_> =
        (0..5).map(|index| store.ingests().open(&format!("{index}"), None, None, None).unwrap()).collect();

    let pushed: Vec<_> = ingests.iter().map(|ingest| ingest.push(b"abc").unwrap()).collect();

    assert_eq!([Pushed::Taken, Pushed::Taken, Pushed::Taken, Pushed::Taken, Pushed::Short], *pushed);
    drop(ingests);
    let again = store.ingests().open("again", None, None, None).unwrap();
    assert_eq!(Pushed::Taken, again.push(b"abc").unwrap());
}

#[test]
fn a_waiting_writer_is_notified_when_the_ingest_ends() {
    let root = Root::in_memory();
    let store = unsynced(&root);
    for end in
        [|store: &Arc<Store>, _: &Ingest| store.ingests().abort(REF), |_: &Arc<Store>, ingest: &Ingest| ingest.close()]
    {
        let ingest = store.ingests().open(REF, None, None, None).unwrap();
        ingest.push(b"abc").unwrap();
        end(&store, &ingest).unwrap();

        await_room(&ingest, 100);
        await_written(&ingest);

        assert!(ingest.push(b"abc").is_err());
    }
}

/// Refuses writes to one file, from a moment on.
#[derive(Default)]
struct OneBad(AtomicU64);

impl Around for OneBad {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        use std::os::unix::fs::MetadataExt;
        let bad = self.0.load(Ordering::Relaxed);
        if call.op == Op::WriteAt && bad > 0 {
            let file = fs::metadata(format!("/proc/self/fd/{}", call.fd))?;
            if file.ino() == bad {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
        }
        run()
    }
}

#[test]
fn a_write_that_fails_poisons_its_own_ingest_alone() {
    use std::os::unix::fs::MetadataExt;
    let root = Root::in_memory();
    let layer = Arc::new(Layer::new(Arc::new(Linux), OneBad::default()));
    let store = root.open_with(layer.clone());
    let data = bytes(700_000);
    let ingests: Vec<_> =
        (0..20).map(|index| store.ingests().open(&format!("{index}"), None, None, None).unwrap()).collect();
    layer.around.0.store(fs::metadata(root.ingest("7").join("data")).unwrap().ino(), Ordering::Relaxed);
    let mut refused = Vec::new();
    for part in data.chunks(50_000) {
        for (index, ingest) in ingests.iter().enumerate() {
            let part: Vec<u8> = part.iter().map(|byte| byte.wrapping_add(u8::try_from(index).unwrap())).collect();
            if bring(ingest, &part, true).is_err() {
                refused.push(index);
            }
        }
    }
    refused.dedup();

    let committed = ingests.iter().map(|ingest| ingest.commit(Some(data.len() as u64), None, None));

    for (index, result) in committed.enumerate() {
        match result {
            Ok(info) => assert_eq!(data.len() as u64, info.size),
            Err(error) => assert!(index == 7 && matches!(error, Error::Io { errno: libc::ENOSPC, .. }), "{error}"),
        }
    }
    assert!(refused.iter().all(|index| *index == 7));
    root.assert_blobs_whole();
    layer.around.0.store(0, Ordering::Relaxed);
    assert_eq!(0, open_when_free(&store, "7").offset());
}

#[test]
fn checkpoints_are_made_after_the_call_with_the_hash_at_their_offset() {
    let root = Root::in_memory();
    let zeros = Arc::new(vec![0; 1 << 20]);
    let store = root.open();
    let ingests = ["one", "two"].map(|name| store.ingests().open(name, None, None, None).unwrap());
    for _ in 0..66 {
        for ingest in &ingests {
            bring(ingest, &zeros, true).unwrap();
        }
    }
    for ingest in &ingests {
        await_written(ingest);
    }
    drop(ingests);
    drop(store);
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let resumed = ["one", "two"].map(|name| open_when_free(&store, name));
    faulty.set(Some(Fault::Every(Op::ReadAt, libc::EIO)));

    for ingest in resumed {
        let offset = ingest.offset();
        assert!((64 << 20..=66 << 20).contains(&offset), "{offset}");
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&vec![0; usize::try_from(offset).unwrap()]);
        assert_eq!(hasher.digest(), ingest.digest().unwrap());
    }
}

#[test]
fn bytes_that_are_written_outlive_the_process_although_no_more_come() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(5 << 20);
    for algorithm in Algorithm::ALL {
        let ingest = store.ingests().open(REF, None, None, Some(algorithm)).unwrap();
        data.chunks(256 << 10).for_each(|piece| bring(&ingest, piece, false).unwrap());
        await_written(&ingest);
        // As a killed process forgets it.
        drop(ingest);

        let ingest = open_when_free(&store, REF);

        assert!(ingest.offset() >= 4 << 20, "{algorithm:?}: {}", ingest.offset());
        drop(ingest);
        store.ingests().abort(REF).unwrap();
    }
}
