//! A directory that goes away, and metadata opened in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::filter::Filter;
use steelyard_core::hash::Hasher;
use steelyard_core::model::{Info, Labels};
use steelyard_core::store::{Options, Store};
use steelyard_core::sys::{Linux, Sys};
use steelyard_core::volume::lock::Locks;
use steelyard_core::volume::meta::{Meta, Mode, Origin, Row};

pub const WRITE: Mode = Mode { read_only: false, durable: true, origin: Origin::Old };
pub const FRESH: Mode = Mode { read_only: false, durable: true, origin: Origin::New };
pub const READ: Mode = Mode { read_only: true, durable: true, origin: Origin::Old };

/// A directory; one that is new is removed at the end of the test.
pub struct Scratch {
    path: PathBuf,
    keep: bool,
}

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("steelyard-meta ?%-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self { path, keep: false }
    }

    /// Another directory with the same files.
    #[allow(dead_code, reason = "only one of the two programs needs it")]
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        copy_dir(&self.path, &copy.path);
        copy
    }

    /// A directory of another process's.
    #[allow(dead_code, reason = "only one of the two programs needs it")]
    pub fn existing(path: PathBuf) -> Self {
        Self { path, keep: true }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Open the metadata here.
    pub fn open(&self, mode: Mode) -> (Meta, Vec<String>) {
        self.try_open(mode).unwrap()
    }

    pub fn try_open(&self, mode: Mode) -> steelyard_core::error::Result<(Meta, Vec<String>)> {
        let sys: Arc<dyn Sys> = Arc::new(Linux);
        let locks = Locks::none(Arc::clone(&sys), &self.path);
        Meta::open(sys, locks, &File::open(&self.path).unwrap(), &self.path, mode)
    }

    /// Return the names that begin with `prefix`, in order.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with(prefix));
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.keep {
            std::fs::remove_dir_all(&self.path).ok();
        }
    }
}

/// A digest of no bytes in particular; those of greater numbers sort later.
pub fn digest(number: u32) -> Digest {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    Digest::new(Algorithm::Sha256, &hash)
}

pub fn labels(pairs: &[(&str, &str)]) -> Arc<Labels> {
    Arc::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

pub fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    Arc::unwrap_or_clone(labels(pairs)).into_iter().collect()
}

/// A row with labels.
pub fn row(number: u32, with: &[(&str, &str)]) -> Row {
    let mut row = Row::plain(digest(number), 100 + u64::from(number), 1_000 + i64::from(number));
    row.labels = labels(with);
    row
}

/// Open the store here.
pub fn store(scratch: &Scratch) -> Arc<Store> {
    Store::open(scratch.path(), Options::default()).unwrap()
}

/// Open the store here, to change nothing.
pub fn read_only(scratch: &Scratch) -> Arc<Store> {
    Store::open(scratch.path(), Options { read_only: true, ..Options::default() }).unwrap()
}

/// Store a blob of a few bytes.
pub fn put(store: &Store, text: &str, with: &[(&str, &str)]) -> Digest {
    let labels = labels(with);
    let labels = (!labels.is_empty()).then_some(&*labels);
    store.put(text.as_bytes(), Algorithm::Sha256, None, labels).unwrap().digest
}

/// Walk to the end in steps of `most`.
pub fn walk(store: &Arc<Store>, filters: &[&str], most: usize) -> Vec<Info> {
    let mut walk = store.volume().walk(&Filter::compile(filters).unwrap(), None).unwrap();
    let mut all = Vec::new();
    while let infos = walk.next(most).unwrap()
        && !infos.is_empty()
    {
        assert!(infos.len() <= most.max(1));
        all.extend(infos);
    }
    all
}

/// The digest of a text.
pub fn name_of(text: &str) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(text.as_bytes());
    hasher.digest()
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
