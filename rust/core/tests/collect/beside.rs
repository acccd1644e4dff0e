//! A writer and a collection, one of which does all of its work before each system call of the other.
//!
//! An old note lies at the blob `old`, which nothing keeps: every collection with a grace time of an hour may remove it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use steelyard_core::archive::json::Role;
use steelyard_core::error::{Error, Result};
use steelyard_core::model::{Labels, Resources, Target};
use steelyard_core::pipe::Job;
use steelyard_core::store::collect::Options;
use steelyard_core::store::{BatchItem, Outcome, Source, Store};
use steelyard_core::sys::{Layer, Linux};
use steelyard_core::volume::images::Taken;
use steelyard_core::waiting::for_caller;

use crate::common::{SHA256, Scratch, sha256};
use crate::hooked::{Hooked, Impatient};
use crate::support::{HOUR, NOW, REFERENCE, ROOT, document, labels, name, put, run};

const OLD: &str = "old";

/// The system two hours later. Before the call of that number it does the work of the other side.
fn two_hours_later(at: u64) -> Hooked {
    Hooked { at, ahead: Arc::new(AtomicI64::new(2 * HOUR)), ..Hooked::default() }
}

fn impatient<T>(work: impl FnOnce() -> Result<T>) -> Option<T> {
    match for_caller(Some(Arc::new(Impatient)), work) {
        Ok(done) => Some(done),
        Err(Error::Cancelled) => None,
        Err(error) => panic!("{error}"),
    }
}

/// One run: a store whose calls are hooked, and another one of the same root.
struct Sides {
    hooked: Arc<Store>,
    other: Arc<Store>,
    sys: Arc<Layer<Hooked>>,
    scratch: Scratch,
}

impl Sides {
    fn new(at: u64) -> Self {
        let scratch = Scratch::in_memory();
        let store = scratch.open();
        put(&store, OLD);
        put(&store, "kept");
        name(&store, "kept", sha256(b"kept"));
        assert_eq!(0, run(store.collection(Options { grace_ns: HOUR, ..NOW }).unwrap()).unwrap().0.blobs);
        drop(store);
        let sys = Arc::new(Layer::new(Arc::new(Linux), two_hours_later(at)));
        let hooked = scratch.open_with(Arc::clone(&sys) as _).unwrap();
        let later = Arc::new(Layer::new(Arc::new(Linux), two_hours_later(0)));
        let other = scratch.open_with(later).unwrap();
        fs::write(scratch.path.join("source"), OLD).unwrap();
        Self { hooked, other, sys, scratch }
    }

    fn has_old(&self) -> bool {
        self.scratch.blob(&sha256(OLD.as_bytes())).exists()
    }

    /// Do the work `inner` before a call of `outer`; return whether `outer` made as many calls.
    fn run<T>(&self, inner: impl FnOnce() + Send + 'static, outer: impl FnOnce() -> T) -> (T, bool) {
        *self.sys.around.work.lock().unwrap() = Some(Box::new(inner));
        self.sys.around.is_armed.store(true, Ordering::SeqCst);
        let done = outer();
        self.sys.around.is_armed.store(false, Ordering::SeqCst);
        (done, self.sys.around.work.lock().unwrap().is_none())
    }
}

/// Go through all steps of a collection with a grace time of an hour.
fn collect(store: &Store) -> Result<()> {
    let mut collection = store.collection(Options { grace_ns: HOUR, ..NOW })?;
    while !collection.step()? {}
    Ok(())
}

fn store_text(store: &Store, text: &str) -> Result<bool> {
    store.put(text.as_bytes(), SHA256, None, None).map(|_| true)
}

fn set_name(store: &Store) -> Result<bool> {
    let target = Target { digest: sha256(OLD.as_bytes()), size: None, media_type: None, annotations: Labels::new() };
    store.volume().assign_images(&[("old".to_owned(), target)], None, Taken::Overwrite).map(|_| true)
}

/// A way to store the blob. It returns whether the caller was told that the blob is stored.
type Way = fn(&Store, &Sides) -> Result<bool>;

const WAYS: [(&str, Way); 8] = [
    ("put", |store, _| store.put(OLD.as_bytes(), SHA256, None, None).map(|_| true)),
    ("put under a lease", |store, _| {
        store.volume().create_lease("lease", &Labels::new(), HOUR)?;
        store.put_under(Some("lease"), OLD.as_bytes(), SHA256, None, None).map(|_| true)
    }),
    ("batch", |store, _| {
        let item = |data| BatchItem {
            source: Source::Bytes(data),
            algorithm: SHA256,
            expected: None,
            size: None,
            labels: None,
        };
        let results = store.put_batch(&[item(b"another"), item(OLD.as_bytes()), item(OLD.as_bytes())]);
        results
            .into_iter()
            .map(|result| result.map(|one| matches!(one, Outcome::Stored(_))))
            .collect::<Result<Vec<_>>>()?;
        Ok(true)
    }),
    ("find", |store, sides| {
        let file = File::open(sides.scratch.path.join("source")).unwrap();
        store.find(file.as_fd(), OLD.len() as u64, SHA256, &Job::default()).map(|found| found.is_some())
    }),
    ("protect", |store, sides| store.volume().protect(None, &[sha256(OLD.as_bytes())]).map(|()| sides.has_old())),
    ("expect", |store, _| match store.ingests().open("ref", None, Some(&sha256(OLD.as_bytes())), None) {
        Err(Error::AlreadyExists { .. }) => Ok(true),
        Ok(ingest) => ingest.close().map(|()| false),
        Err(error) => Err(error),
    }),
    ("commit", |store, _| {
        let ingest = store.ingests().open("ref", None, None, None)?;
        ingest.write(OLD.as_bytes())?;
        match ingest.commit(None, None, None) {
            Ok(_) | Err(Error::AlreadyExists { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }),
    ("image", |store, sides| {
        if !sides.has_old() {
            return Ok(false);
        }
        // A blob that goes before the name is set stays gone. Later ones than that call keep it.
        set_name(store)?;
        Ok(sides.has_old())
    }),
];

#[test]
fn a_collection_before_any_call_of_a_writer_takes_nothing_that_it_was_told() {
    for (text, way) in WAYS {
        for at in 0.. {
            let sides = Sides::new(at);
            let other = Arc::clone(&sides.other);
            let inner = move || {
                impatient(|| collect(&other));
            };
            let (told, was_reached) = sides.run(inner, || way(&sides.hooked, &sides).unwrap());
            assert!(!told || sides.has_old(), "{text}: told that it is stored, with a collection before call {at}");
            collect(&sides.other).unwrap();
            assert!(!told || sides.has_old(), "{text}: gone in its grace time, after a collection before call {at}");
            if !was_reached {
                break;
            }
        }
    }
}

/// A way to protect the blob without storing it.
const PROTECTIONS: [(&str, Way); 6] = [
    ("document", |store, _| store_text(store, &document(&[(sha256(OLD.as_bytes()), Role::Part)]))),
    ("index of a document", |store, _| {
        let manifest = document(&[(sha256(OLD.as_bytes()), Role::Part)]);
        store_text(store, &manifest)?;
        store_text(store, &document(&[(sha256(manifest.as_bytes()), Role::Document)]))
    }),
    ("image name", |store, _| set_name(store)),
    ("root label", |store, _| match store.volume().update(&sha256(OLD.as_bytes()), &labels(&[(ROOT, "yes")]), None) {
        Err(Error::NotFound { .. }) => Ok(false),
        other => other.map(|_| true),
    }),
    ("reference label", |store, _| {
        let labels = labels(&[(REFERENCE, &sha256(OLD.as_bytes()).to_string())]);
        store.volume().update(&sha256(b"kept"), &labels, None).map(|_| true)
    }),
    ("lease", |store, _| {
        store.volume().create_lease("lease", &Labels::new(), HOUR)?;
        let resources = Resources { digests: vec![sha256(OLD.as_bytes())], refs: Vec::new() };
        store.volume().add_to_lease("lease", &resources).map(|()| true)
    }),
];

#[test]
fn a_writer_before_any_call_of_a_collection_protects_what_is_there() {
    for (text, way) in WAYS.into_iter().chain(PROTECTIONS) {
        let is_store = WAYS.iter().any(|(other, _)| *other == text);
        for at in 0.. {
            let sides = Arc::new(Sides::new(at));
            let protected = Arc::new(AtomicBool::new(false));
            let (inner_sides, inner_protected) = (Arc::downgrade(&sides), Arc::clone(&protected));
            let inner = move || {
                let sides = inner_sides.upgrade().unwrap();
                let told = impatient(|| way(&sides.other, &sides)).unwrap_or(false);
                assert!(!told || !is_store || sides.has_old(), "{text}: told before call {at} that it is stored");
                inner_protected.store(told && sides.has_old(), Ordering::SeqCst);
            };
            let (result, was_reached) = sides.run(inner, || collect(&sides.hooked));
            result.unwrap();
            assert!(!protected.load(Ordering::SeqCst) || sides.has_old(), "{text}: gone, protected before call {at}");
            if !was_reached {
                break;
            }
        }
    }
}
