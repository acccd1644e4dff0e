//! Images of a few bytes, and collections of them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use steelyard_core::archive::json::Role;
use steelyard_core::digest::Digest;
use steelyard_core::error::Result;
use steelyard_core::filter::Filter;
use steelyard_core::model::{Labels, Target};
use steelyard_core::store::Store;
use steelyard_core::store::collect::{Collection, Found, Options, Reason, Report};
use steelyard_core::sys::{Around, Call};
use steelyard_core::volume::images::Taken;

use crate::common::SHA256;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const ROOT: &str = "containerd.io/gc.root";
pub const REFERENCE: &str = "containerd.io/gc.ref.content";
pub const EXPIRE: &str = "containerd.io/gc.expire";
pub const FLAT: &str = "containerd.io/gc.flat";
pub const HOUR: i64 = 3_600_000_000_000;

/// No grace time.
pub const NOW: Options = Options {
    grace_ns: 0,
    max_bytes: None,
    ingest_age_ns: HOUR,
    dry_run: false,
    accept_roots: false,
    take_back: false,
};

/// A grace time that has not passed.
pub const LATER: Options = Options { grace_ns: HOUR, ..NOW };

/// A system on which every look at the clock takes longer than a step.
#[derive(Default)]
pub struct Slow(AtomicI64);

impl Around for Slow {
    fn around<T>(&self, _: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        run()
    }

    fn clock_ns(&self, _: bool, ns: i64) -> i64 {
        ns + self.0.fetch_add(10_000_000, Ordering::Relaxed)
    }
}

pub fn put(store: &Store, text: &str) -> Digest {
    store.put(text.as_bytes(), SHA256, None, None).unwrap().digest
}

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn put_labelled(store: &Store, text: &str, pairs: &[(&str, &str)]) -> Digest {
    store.put(text.as_bytes(), SHA256, None, Some(&labels(pairs))).unwrap().digest
}

/// A manifest of these layers, or an index of these manifests.
pub fn document(parts: &[(Digest, Role)]) -> String {
    let of = |wanted: Role| {
        let parts = parts.iter().filter(|(_, role)| *role == wanted);
        let text = parts.map(|(digest, role)| {
            let media_type = if *role == Role::Part { "application/octet-stream" } else { MANIFEST };
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1}}"#)
        });
        text.collect::<Vec<_>>().join(",")
    };
    let subject = of(Role::Subject);
    let subject = if subject.is_empty() { String::new() } else { format!(r#","subject":{subject}"#) };
    format!(r#"{{"layers":[{}],"manifests":[{}]{subject}}}"#, of(Role::Part), of(Role::Document))
}

/// An image of two layers; returns the manifest and the layers.
pub fn image(store: &Store, text: &str) -> [Digest; 3] {
    let layers = ["one", "two"].map(|layer| put(store, &format!("{text} {layer}")));
    let manifest = document(&layers.map(|layer| (layer, Role::Part)));
    [put(store, &manifest), layers[0], layers[1]]
}

pub fn name_with(store: &Store, name: &str, digest: Digest, pairs: &[(&str, &str)]) {
    let media_type = Some(MANIFEST.to_owned());
    let target = Target { digest, size: None, media_type, annotations: Labels::new() };
    let labels = labels(pairs);
    store.volume().assign_images(&[(name.to_owned(), target)], Some(&labels), Taken::Overwrite).unwrap();
}

pub fn name(store: &Store, text: &str, digest: Digest) {
    name_with(store, text, digest, &[]);
}

/// Go through all steps of a collection.
pub fn run(mut collection: Collection) -> Result<(Report, Vec<Found>)> {
    while !collection.step()? {}
    let found = collection.take_found();
    Ok((collection.report().clone(), found))
}

pub fn collect(store: &Store, options: Options) -> Result<(Report, Vec<Found>)> {
    run(store.collection(options)?)
}

/// Collect without a grace time, and return what went.
pub fn removed(store: &Store) -> Vec<Digest> {
    let (report, found) = collect(store, NOW).unwrap();
    assert_eq!(report.blobs, found.len() as u64);
    sorted(found.iter().map(|found| found.digest))
}

/// The blobs that are stored.
pub fn stored(store: &Arc<Store>) -> Vec<Digest> {
    let mut walk = store.volume().walk(&Filter::compile::<&str>(&[]).unwrap(), None).unwrap();
    let mut all = Vec::new();
    while let infos = walk.next(1024).unwrap()
        && !infos.is_empty()
    {
        all.extend(infos.iter().map(|info| info.digest));
    }
    sorted(all)
}

pub fn sorted(digests: impl IntoIterator<Item = Digest>) -> Vec<Digest> {
    let mut all: Vec<_> = digests.into_iter().collect();
    all.sort();
    all
}

pub fn reason(store: &Store, digest: Digest) -> Reason {
    let mut why = store.why(vec![digest]).unwrap();
    while !why.step().unwrap() {}
    why.reasons().unwrap().remove(0)
}
