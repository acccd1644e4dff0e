//! Why a blob is kept: the question ends early, and says the same as one that goes through the whole store.

use std::sync::Arc;

use steelyard_core::archive::json::Role;
use steelyard_core::digest::Digest;
use steelyard_core::model::{Labels, Resources};
use steelyard_core::store::Store;
use steelyard_core::store::collect::{Keep, Options, Reason};
use steelyard_core::sys::{Layer, Linux};

use crate::common::{SHA256, Scratch};
use crate::support::removed;
use crate::support::{
    EXPIRE, FLAT, HOUR, LATER, NOW, REFERENCE, ROOT, Slow, collect, document, labels, name, name_with, put,
    put_labelled, reason, sorted,
};

/// Numbers from a seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Store blobs that name earlier ones and blobs that are missing, with roots of all kinds.
fn graph(store: &Arc<Store>, seed: u64) -> Vec<Digest> {
    let mut numbers = Numbers(seed);
    let mut blobs: Vec<Digest> = (0..6).map(|number| put(store, &format!("{seed} leaf {number}"))).collect();
    for number in 0..14 {
        let parts: Vec<_> = (0..numbers.below(4))
            .map(|_| {
                let role = [Role::Part, Role::Document, Role::Subject][numbers.below(3)];
                (blobs[numbers.below(blobs.len())], role)
            })
            .collect();
        let text = format!("{}{}", document(&parts), " ".repeat(number));
        let other = blobs[numbers.below(blobs.len())].to_string();
        let blob = match numbers.below(6) {
            0 => put_labelled(store, &text, &[(REFERENCE, &other)]),
            1 if numbers.below(3) == 0 => put_labelled(store, &text, &[(ROOT, "1")]),
            _ => put(store, &text),
        };
        blobs.push(blob);
    }
    for number in 0..numbers.below(3) {
        let blob = blobs[numbers.below(blobs.len())];
        match numbers.below(3) {
            0 => name_with(store, &format!("{number}"), blob, &[(EXPIRE, "2020-01-01T00:00:00Z")]),
            _ => name(store, &format!("{number}"), blob),
        }
    }
    for number in 0..numbers.below(4) {
        let id = format!("lease {number}");
        let flat = if numbers.below(2) == 0 { labels(&[(FLAT, "1")]) } else { Labels::new() };
        store.volume().create_lease(&id, &flat, HOUR).unwrap();
        let text = format!("{seed} leased {number}");
        let parts = [(blobs[numbers.below(blobs.len())], Role::Part)];
        for text in [text, document(&parts)] {
            blobs.push(store.put_under(Some(&id), text.as_bytes(), SHA256, None, None).unwrap().digest);
        }
    }
    sorted(blobs)
}

/// The reasons of all blobs, by one question. As one of them is garbage, it goes through the whole store.
fn reasons(store: &Store, blobs: &[Digest]) -> Vec<Reason> {
    let mut why = store.why(blobs.to_vec()).unwrap();
    while !why.step().unwrap() {}
    why.reasons().unwrap()
}

#[test]
fn one_blob_alone_has_the_same_reason_as_among_all_and_a_collection_takes_the_others() {
    for seed in 0..60 {
        let scratch = Scratch::in_memory();
        let store = scratch.open();
        let mut blobs = graph(&store, seed);
        blobs.push(put(&store, "garbage"));
        blobs = sorted(blobs);
        blobs.dedup();

        let all = reasons(&store, &blobs);

        assert_eq!(blobs.len(), all.len());
        for expected in &all {
            assert_eq!(*expected, reason(&store, expected.digest), "seed {seed}");
        }
        let garbage = all.iter().filter(|reason| reason.root.is_none()).map(|reason| reason.digest);
        assert_eq!(sorted(garbage), removed(&store), "seed {seed}");
        // Now the documents were read before.
        for expected in all.iter().filter(|reason| reason.root.is_some()) {
            assert_eq!(expected.digest, reason(&store, expected.digest).digest);
            assert!(reason(&store, expected.digest).root.is_some(), "seed {seed}");
        }
    }
}

#[test]
fn a_question_about_a_kept_blob_ends_when_a_root_has_reached_it() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let blob = put(&store, "blob");
    name(&store, "a", blob);
    let parts: Vec<_> = (0..2_000).map(|number| (put(&store, &format!("part {number}")), Role::Part)).collect();
    let damaged = put(&store, &document(&parts[1..]));
    name(&store, "b", put(&store, &document(&parts)));
    std::fs::remove_file(scratch.blob(&damaged)).unwrap();
    std::fs::write(scratch.blob(&damaged), "{ damaged }").unwrap();

    assert_eq!(Some("a"), reason(&store, blob).root.as_ref().map(|root| root.name.as_str()));
    // The whole store cannot be looked at.
    let mut why = store.why(vec![put(&store, "garbage")]).unwrap();
    let result = loop {
        match why.step() {
            Ok(false) => {}
            other => break other,
        }
    };
    assert!(result.is_err(), "{result:?}");
    // Neither does a digest that is not stored need a look at it.
    assert_eq!(Vec::<Reason>::new(), reasons(&store, &[crate::common::sha256(b"missing")]));
}

#[test]
fn a_blob_that_moves_to_a_root_that_was_read_has_a_root() {
    for most in 0.. {
        let scratch = Scratch::in_memory();
        let store = scratch.open_with(Arc::new(Layer::new(Arc::new(Linux), Slow::default()))).unwrap();
        store.volume().create_lease("lease", &Labels::new(), HOUR).unwrap();
        let moved = store.put_under(Some("lease"), b"moved", SHA256, None, None).unwrap().digest;
        let garbage = put(&store, "garbage");

        let mut why = store.why(vec![moved, garbage]).unwrap();
        let has_ended = (0..most).any(|_| why.step().unwrap());
        if !has_ended {
            name(&store, "name", moved);
            store.volume().delete_lease("lease").unwrap();
            while !why.step().unwrap() {}
        }
        let reasons = why.reasons().unwrap();

        assert!(reasons[0].root.is_some(), "after {most} steps");
        assert!(reasons[1].root.is_none());
        if has_ended {
            assert!(most > 5, "a question of {most} steps shows little");
            return;
        }
    }
}

#[test]
fn a_dry_run_does_not_list_a_blob_that_moves_to_a_root_that_was_read() {
    for most in 0.. {
        let scratch = Scratch::in_memory();
        let store = scratch.open_with(Arc::new(Layer::new(Arc::new(Linux), Slow::default()))).unwrap();
        store.volume().create_lease("lease", &Labels::new(), HOUR).unwrap();
        let [part, garbage] = ["part", "garbage"].map(|text| put(&store, text));
        let moved = document(&[(part, Role::Part)]);
        let moved = store.put_under(Some("lease"), moved.as_bytes(), SHA256, None, None).unwrap().digest;

        let mut collection = store.collection(Options { dry_run: true, ..NOW }).unwrap();
        let has_ended = (0..most).any(|_| collection.step().unwrap());
        if !has_ended {
            name(&store, "name", moved);
            store.volume().delete_lease("lease").unwrap();
            while !collection.step().unwrap() {}
        }

        let found: Vec<_> = collection.take_found().iter().map(|found| found.digest).collect();
        assert_eq!(vec![garbage], found, "after {most} steps");
        assert_eq!(2, collection.report().kept.iter().sum::<u64>());
        if has_ended {
            assert!(most > 5, "a dry run of {most} steps shows little");
            return;
        }
    }
}

/// Have a flat lease keep a blob.
fn lease_flatly(store: &Store, digest: Digest) {
    store.volume().create_lease("flat", &labels(&[(FLAT, "yes")]), HOUR).unwrap();
    let resources = Resources { digests: vec![digest], refs: Vec::new() };
    store.volume().add_to_lease("flat", &resources).unwrap();
}

#[test]
fn a_flat_lease_is_no_reason_for_what_its_blob_names() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let part = put(&store, "part");
    let parent = put(&store, &document(&[(part, Role::Part)]));
    lease_flatly(&store, parent);
    let kind = |digest| reason(&store, digest).root.map(|root| root.kind);
    assert_eq!([Some(Keep::Lease), None], [kind(parent), kind(part)]);

    // An ingest does not begin for a blob that is there.
    let text = document(&[(part, Role::Part)]);
    store.volume().delete(&parent).unwrap();
    let ingest = store.ingests().open("ref", None, Some(&parent), None).unwrap();
    put(&store, &text);
    assert_eq!([Some(Keep::Ingest); 2], [kind(parent), kind(part)]);
    assert_eq!(vec![parent, part], reason(&store, part).chain);
    assert_eq!([0, 0, 0, 2], collect(&store, NOW).unwrap().0.kept);
    drop(ingest);
    store.ingests().abort("ref").unwrap();

    // Documents that say something about a blob are looked at last.
    let image = put(&store, &document(&[]));
    name(&store, "a", image);
    let signature = put(&store, &document(&[(image, Role::Subject), (parent, Role::Document)]));
    assert_eq!([Some(Keep::Image); 2], [kind(parent), kind(part)]);
    assert_eq!(vec![image, signature, parent, part], reason(&store, part).chain);
}

#[test]
fn what_young_garbage_names_is_garbage_although_a_flat_lease_keeps_the_document_between() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let part = put(&store, "part");
    let parent = put(&store, &document(&[(part, Role::Part)]));
    lease_flatly(&store, parent);
    assert_eq!(1, collect(&store, LATER).unwrap().0.spared);
    let noted = reason(&store, part).since_ns;
    assert!(noted.is_some());

    put(&store, &document(&[(parent, Role::Document)]));
    let (report, _) = collect(&store, LATER).unwrap();

    assert_eq!(([0, 0, 1, 0], 2), (report.kept, report.spared));
    assert_eq!(noted, reason(&store, part).since_ns, "its grace time does not begin again");
    assert_eq!(2, removed(&store).len());
}
