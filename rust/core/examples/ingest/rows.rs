//! The ways that are compared, by the rows of the goals.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::{cell::RefCell, mem};

use steelyard_core::blob::Cache;
use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::hash::MultiHasher;
use steelyard_core::ingest::Source;
use steelyard_core::pipe::Job;
use steelyard_core::store::{Options, Store};

use crate::Bench;
use crate::report::Way;
use crate::yardsticks;

const SHA256: Algorithm = Algorithm::Sha256;
const SHA512: Algorithm = Algorithm::Sha512;
const BLAKE3: Algorithm = Algorithm::Blake3;

/// A way that makes something new, which is removed.
fn making<'a>(bench: &'a Bench, name: &str, work: impl Fn(&Path) + 'a) -> Way<'a> {
    let made = Rc::new(RefCell::new(PathBuf::new()));
    let making = Rc::clone(&made);
    let work = move || {
        let path = bench.fresh();
        work(&path);
        *making.borrow_mut() = path;
    };
    Way::new(name, work).after(move || {
        let path = mem::take(&mut *made.borrow_mut());
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    })
}

/// A way that makes a store.
fn storing<'a>(bench: &'a Bench, name: &str, work: impl Fn(&Arc<Store>) + 'a) -> Way<'a> {
    making(bench, name, move |root| work(&open(root)))
}

/// The core's own hash in memory.
fn hashing(bench: &Bench, algorithm: Algorithm) -> Way<'_> {
    let memory = fs::read(&bench.many[0]).unwrap();
    let name = format!("{algorithm} in memory, one thread, our own");
    Way::new(&name, move || yardsticks::hash(algorithm, &memory, bench.large_size))
}

fn open(root: &Path) -> Arc<Store> {
    Store::open(root, Options::default()).unwrap()
}

/// Store a file as a blob: with a ref, and so with checkpoints, or without; and compute other digests of it.
fn put(store: &Arc<Store>, path: &Path, algorithm: Algorithm, ref_: Option<&str>, also: &[Algorithm]) -> Digest {
    let file = File::open(path).unwrap();
    let ingest = match ref_ {
        None => store.anonymous(algorithm),
        Some(ref_) => store.ingest(ref_, None, None, Some(algorithm)),
    }
    .unwrap();
    let source = Source { file: file.as_fd(), from: 0, most: u64::MAX };
    let mut also = (!also.is_empty()).then(|| MultiHasher::new(also).unwrap());
    ingest.copy_from(source, &Job::default(), also.as_mut()).unwrap();
    ingest.commit(None, None, None).unwrap().digest
}

fn put_by_writes(store: &Arc<Store>, path: &Path) {
    let ingest = store.anonymous(SHA256).unwrap();
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        ingest.write(&buffer[..read]).unwrap();
    }
    ingest.commit(None, None, None).unwrap();
}

pub fn one_file(bench: &Bench) -> Vec<Way<'_>> {
    let large = &bench.large;
    vec![
        hashing(bench, SHA256),
        making(bench, "copy only, not durable", |path| yardsticks::copy(large, path)),
        making(bench, "read, hash, write on one thread, durable", |path| yardsticks::serial(large, path)),
        making(bench, "pipeline of two threads, durable", |path| yardsticks::pipeline(large, path)),
        storing(bench, "store, without a ref", |store| {
            put(store, large, SHA256, None, &[]);
        }),
        storing(bench, "store, with a ref, hence checkpoints", |store| {
            put(store, large, SHA256, Some("ref"), &[]);
        }),
        storing(bench, "store, by writes of 1 MiB", |store| put_by_writes(store, large)),
    ]
}

pub fn other_digests(bench: &Bench) -> Vec<Way<'_>> {
    let large = &bench.large;
    vec![
        hashing(bench, BLAKE3),
        hashing(bench, SHA512),
        making(bench, "copy only, not durable", |path| yardsticks::copy(large, path)),
        storing(bench, "store by BLAKE3", |store| {
            put(store, large, BLAKE3, None, &[]);
        }),
        storing(bench, "store by SHA-256, with SHA-512 and BLAKE3", |store| {
            put(store, large, SHA256, None, &[SHA512, BLAKE3]);
        }),
    ]
}

/// Do something for each item, by so many threads.
fn at_once<T: Sync>(items: &[T], threads: usize, work: impl Fn(usize, &T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let indices = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|index| *index < items.len());
                while let Some(index) = indices() {
                    work(index, &items[index]);
                }
            });
        }
    });
}

pub fn many_files(bench: &Bench) -> Vec<Way<'_>> {
    let yardstick = |threads| {
        making(bench, &format!("{threads} threads that read, hash, write, sync"), move |path| {
            fs::create_dir(path).unwrap();
            at_once(&bench.many, threads, |index, source| yardsticks::serial(source, &path.join(index.to_string())));
        })
    };
    let store = |callers| {
        storing(bench, &format!("store, {callers} callers"), move |store| {
            at_once(&bench.many, callers, |_, source| {
                put(store, source, SHA256, None, &[]);
            });
        })
    };
    vec![hashing(bench, SHA256), yardstick(2), yardstick(8), store(2), store(8), store(32)]
}

/// Read a whole blob and compare it with its digest.
fn verify(store: &Store, digest: &Digest) {
    let mut hasher = MultiHasher::new(&[digest.algorithm()]).unwrap();
    let blob = store.blob(digest).unwrap();
    blob.hash_at(&mut hasher, 0, u64::MAX, &Job::default(), Cache::Spare).unwrap();
    assert_eq!(vec![*digest], hasher.digests());
}

/// Stored blobs, and memory for the large one.
struct Filled {
    root: PathBuf,
    store: Arc<Store>,
    large: Digest,
    blake3: Digest,
    many: Vec<Digest>,
    memory: RefCell<Vec<u8>>,
}

impl Filled {
    fn new(bench: &Bench) -> Rc<Self> {
        let root = bench.fresh();
        let store = open(&root);
        let many = bench.many.iter().map(|path| put(&store, path, SHA256, None, &[])).collect();
        Rc::new(Self {
            large: put(&store, &bench.large, SHA256, None, &[]),
            blake3: put(&store, &bench.large, BLAKE3, None, &[]),
            many,
            memory: RefCell::new(vec![0; usize::try_from(bench.large_size).unwrap()]),
            root,
            store,
        })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.encoded())
    }

    /// Have these blobs in the page cache: verification leaves nothing there, and the machine itself drops what idles.
    fn warm(&self, digests: &[Digest]) {
        for digest in digests {
            let blob = self.store.blob(digest).unwrap();
            let size = usize::try_from(blob.size()).unwrap();
            blob.read_exact_at(&mut self.memory.borrow_mut()[..size], 0).unwrap();
        }
    }

    fn read(&self) {
        let blob = self.store.blob(&self.large).unwrap();
        blob.read_bulk(&mut self.memory.borrow_mut(), 0, &Job::default()).unwrap();
    }

    fn get(&self) {
        let mut hasher = MultiHasher::new(&[SHA256]).unwrap();
        let blob = self.store.blob(&self.large).unwrap();
        blob.read_and_hash(&mut hasher, &mut self.memory.borrow_mut(), 0, &Job::default()).unwrap();
        assert_eq!(vec![self.large], hasher.digests());
    }
}

pub fn reads(bench: &Bench) -> Vec<Way<'_>> {
    let filled = Filled::new(bench);
    let way = |name: &str, digests: Vec<Digest>, work: fn(&Filled)| {
        let (warmed, used) = (Rc::clone(&filled), Rc::clone(&filled));
        Way::new(name, move || work(&used)).before(move || warmed.warm(&digests))
    };
    let (large, blake3, many) = (vec![filled.large], vec![filled.blake3], filled.many.clone());
    vec![
        way("8: pread into memory, one thread", large.clone(), |filled| {
            yardsticks::read(&filled.path(&filled.large), &mut filled.memory.borrow_mut());
        }),
        way("8: blob into memory", large.clone(), Filled::read),
        way("8: blob into memory, verified", large.clone(), Filled::get),
        way("8: verify one blob", large, |filled| verify(&filled.store, &filled.large)),
        way("8: verify one blob by BLAKE3", blake3, |filled| verify(&filled.store, &filled.blake3)),
        way("10: two threads that read and hash 64 files", many.clone(), |filled| {
            yardsticks::verify(&filled.many.iter().map(|digest| filled.path(digest)).collect::<Vec<_>>());
        }),
        way("10: verify 64 blobs, two at once", many.clone(), |filled| {
            let store = &filled.store;
            at_once(&filled.many, 2, |_, digest| verify(store, digest));
        }),
        way("10: verify 64 blobs, 16 side by side on each of two threads", many, |filled| {
            let (store, sets) = (&filled.store, filled.many.chunks(16).collect::<Vec<_>>());
            at_once(&sets, 2, |_, digests| {
                for (found, digest) in store.hash_many(digests, &Job::default()).into_iter().zip(*digests) {
                    assert_eq!(*digest, found.unwrap().unwrap().digest);
                }
            });
        }),
    ]
}
