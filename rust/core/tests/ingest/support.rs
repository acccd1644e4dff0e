//! A root for one test, and what the tests ask of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::error::Error;
use steelyard_core::hash::Hasher;
use steelyard_core::store::ingest::Ingest;
use steelyard_core::store::{Options, Store};
use steelyard_core::sys::{Linux, Sys};

use crate::common::Scratch;

pub const REF: &str = "layer-1";

/// A root of its own, gone at the end.
pub struct Root {
    pub path: PathBuf,
    _scratch: Scratch,
}

impl Root {
    pub fn new() -> Self {
        Self::below(Scratch::new())
    }

    /// One without a real disk under it, for the tests that open thousands of ingests.
    pub fn in_memory() -> Self {
        Self::below(Scratch::in_memory())
    }

    fn below(scratch: Scratch) -> Self {
        let path = scratch.root.clone();
        fs::create_dir(&path).unwrap();
        Self { path, _scratch: scratch }
    }

    pub fn open(&self) -> Arc<Store> {
        Store::open(&self.path, Options::default()).unwrap()
    }

    pub fn open_with(&self, sys: Arc<dyn Sys>) -> Arc<Store> {
        Store::open_with(&self.path, Options::default(), sys).unwrap()
    }

    /// The directory of an ingest.
    pub fn ingest(&self, ref_: &str) -> PathBuf {
        let name = digest(Algorithm::Sha256, ref_.as_bytes()).encoded();
        self.path.join("ingest").join(name)
    }

    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        let algorithm = digest.algorithm().name();
        self.path.join("blobs").join(algorithm).join(digest.encoded())
    }

    pub fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        fs::read(self.blob_path(digest)).ok()
    }

    /// Assert that every name under `blobs` holds the bytes that it says.
    pub fn assert_blobs_whole(&self) {
        for algorithm in children(&self.path.join("blobs")) {
            let kind = Algorithm::parse(algorithm.file_name().unwrap().to_str().unwrap()).unwrap();
            for blob in children(&algorithm) {
                let found = digest(kind, &fs::read(&blob).unwrap()).encoded();
                assert_eq!(blob.file_name().unwrap().to_str().unwrap(), found);
            }
        }
    }

    /// The names in `ingest`.
    pub fn ingests_left(&self) -> usize {
        children(&self.path.join("ingest")).len()
    }
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Bytes that differ everywhere, so that a shift or a hole shows.
pub fn bytes(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..size)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[7]
        })
        .collect()
}

pub fn digest(algorithm: Algorithm, data: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(data);
    hasher.digest()
}

pub fn sha256(data: &[u8]) -> Digest {
    digest(Algorithm::Sha256, data)
}

/// Open an ingest as soon as its ref is free: a thread that has written its bytes may still refer to the last one.
pub fn open_when_free(store: &Arc<Store>, name: &str) -> Arc<Ingest> {
    loop {
        match store.ingests().open(name, None, None, None) {
            Err(Error::Unavailable { .. }) => thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}

pub fn begin(store: &Arc<Store>) -> Arc<Ingest> {
    store.ingests().open(REF, None, None, None).unwrap()
}

/// Leave an ingest with a checkpoint after `data`.
pub fn leave(store: &Arc<Store>, data: &[u8]) {
    let ingest = begin(store);
    ingest.write(data).unwrap();
    ingest.close().unwrap();
}

pub fn now() -> i64 {
    Linux.now_ns()
}

pub fn is_closed(error: &Error) -> bool {
    matches!(error, Error::Closed { .. })
}
