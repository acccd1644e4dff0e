//! Shared parts of the integration tests.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::hash::Hasher;
use steelyard_core::store::{Options, Store};
use steelyard_core::sys::Sys;

/// The algorithm of most tests.
pub const SHA256: Algorithm = Algorithm::Sha256;

/// A directory that is removed at the end of the test.
pub struct Scratch {
    /// The directory.
    pub path: PathBuf,
    /// Where the store is made in it.
    pub root: PathBuf,
}

impl Scratch {
    /// Make one on the file system of the build.
    pub fn new() -> Self {
        Self::below(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// Make one on a tmpfs, if there is one.
    pub fn in_memory() -> Self {
        let shm = Path::new("/dev/shm");
        if shm.is_dir() { Self::below(shm) } else { Self::new() }
    }

    fn below(parent: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("steelyard-{}-{count}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let root = path.join("store");
        Self { path, root }
    }

    /// Open the store.
    pub fn open(&self) -> Arc<Store> {
        Store::open(&self.root, Options::default()).unwrap()
    }

    /// Open the store read-only.
    pub fn open_read_only(&self) -> Arc<Store> {
        let options = Options { read_only: true, ..Options::default() };
        Store::open(&self.root, options).unwrap()
    }

    /// Open the store over `sys`.
    pub fn open_with(&self, sys: Arc<dyn Sys>) -> steelyard_core::error::Result<Arc<Store>> {
        Store::open_with(&self.root, Options::default(), sys)
    }

    /// The path of a blob.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        let algorithm = digest.algorithm().name();
        self.root.join("blobs").join(algorithm).join(digest.encoded())
    }

    /// The names in `tmp/`.
    pub fn tmp(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("tmp")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
    }
}

/// The SHA-256 digest of bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(SHA256);
    hasher.update(bytes);
    hasher.digest()
}
